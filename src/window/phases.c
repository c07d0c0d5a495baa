/* phases: least squares over ticks, and the honest answer when it has none. */
#include "window/phases.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A direction in which the ticks vary by less than this, against the largest, holds nothing but
 * rounding and the error of tick times. */
#define RANK_TOLERANCE 1e-3
/* A phase whose 95 % half width is above this share of the mean power has not been measured. */
#define USELESS_SHARE 1.0
#define COLUMNS_MOST  ((1 + WT_PHASE_SHAPES) * WT_PHASES_MOST)
/* A tick that is this much of its own fit tells little of how well it fits. */
#define LONE 0.5
/* Ticks for each phase, from which on the fit can afford three numbers a phase. */
#define SHAPE_TICKS 60
/* A member of a direction that cannot be seen. */
#define MEMBER 0.05

/* LAPACK's singular value decomposition, as its Fortran binding defines it (netlib, dgesdd). */
typedef void dgesdd_fn(const char *jobz, const int *m, const int *n, double *a, const int *lda,
                       double *s, double *u, const int *ldu, double *vt, const int *ldvt,
                       double *work, const int *lwork, int *iwork, int *info, size_t jobz_len);

static dgesdd_fn *dgesdd;
static pthread_once_t lapack_once = PTHREAD_ONCE_INIT;

/* Linking LAPACK would cost every start of the command the loading of a BLAS. The library stays
 * open: it has threads of its own in some builds. */
static void open_lapack(void)
{
    void *library = dlopen("liblapack.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library) {
        void *symbol = dlsym(library, "dgesdd_");
        memcpy(&dgesdd, &symbol, sizeof(dgesdd));
    }
}

/* Seconds of each phase in each tick, column by column: d[phase * count + tick]. The last column is
 * what no span covers. */
static void fill_durations(double *d, const int64_t *tick_ns, size_t count,
                           const struct wt_phase_span *spans, size_t span_count, unsigned phases)
{
    double *rest = d + (size_t)phases * count;
    for (size_t k = 0; k < count; k++)
        rest[k] = (double)(tick_ns[k + 1] - tick_ns[k]) * 1e-9;
    for (size_t s = 0; s < span_count; s++) {
        const struct wt_phase_span *span = &spans[s];
        if (span->phase >= phases || span->end_ns <= tick_ns[0] || span->begin_ns >= tick_ns[count])
            continue;
        /* The last tick that begins at or before the span. */
        size_t low = 0, high = count;
        while (high - low > 1) {
            size_t middle = (low + high) / 2;
            if (tick_ns[middle] <= span->begin_ns)
                low = middle;
            else
                high = middle;
        }
        for (size_t k = low; k < count && tick_ns[k] < span->end_ns; k++) {
            int64_t from = span->begin_ns > tick_ns[k] ? span->begin_ns : tick_ns[k];
            int64_t to = span->end_ns < tick_ns[k + 1] ? span->end_ns : tick_ns[k + 1];
            if (to <= from)
                continue;
            double seconds = (double)(to - from) * 1e-9;
            d[(size_t)span->phase * count + k] += seconds;
            rest[k] -= seconds;
        }
    }
    for (size_t k = 0; k < count; k++)
        if (rest[k] < 1e-9) /* spans touch or overlap by rounding */
            rest[k] = 0;
}

/* Decomposition of the scaled matrix: columns n, ticks m. */
struct system {
    size_t m, n;
    double *d, *u, *s, *vt; /* d: m x n, u: m x n, vt: n x n; column-major */
    double *scale;          /* norm of each column of the durations */
};

static int decompose(struct system *sys, struct wt_error *err)
{
    int m = (int)sys->m, n = (int)sys->n, info = 0, lwork = -1;
    double best = 0;
    int *iwork = calloc(8 * sys->n, sizeof(*iwork));
    double *copy = malloc(sys->m * sys->n * sizeof(*copy));
    double *work = NULL;
    int rc = 0;
    if (!iwork || !copy) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory to separate phases");
        goto out;
    }
    memcpy(copy, sys->d, sys->m * sys->n * sizeof(*copy));
    dgesdd("S", &m, &n, copy, &m, sys->s, sys->u, &m, sys->vt, &n, &best, &lwork, iwork, &info, 1);
    lwork = (int)best;
    work = calloc((size_t)lwork + 1, sizeof(*work));
    if (!work) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory to separate phases");
        goto out;
    }
    dgesdd("S", &m, &n, copy, &m, sys->s, sys->u, &m, sys->vt, &n, work, &lwork, iwork, &info, 1);
    if (info != 0)
        rc = wt_fail(err, WT_E_INTERNAL, "LAPACK dgesdd: info %d", info);
out:
    free(iwork);
    free(copy);
    free(work);
    return rc;
}

/* Standard 97.5 % point of Student's t, by its expansion in 1/dof (Abramowitz and Stegun 26.7.5).
 */
static double student(double dof)
{
    const double z = 1.959963985;
    double z3 = z * z * z, z5 = z3 * z * z;
    return z + (z3 + z) / (4 * dof) + (5 * z5 + 16 * z3 + 3 * z) / (96 * dof * dof);
}

/* A tick that has a phase almost to itself (h near 1: its own weight in its fit, the diagonal of
 * the hat matrix) leaves no residual, whatever is wrong with it. It counts with the others' noise.
 */
static void give_noise_to_lone_ticks(const struct system *sys, size_t rank, double *residual)
{
    double sum_j2 = 0;
    for (size_t k = 0; k < sys->m; k++)
        sum_j2 += residual[k] * residual[k];
    double noise_j = sqrt(sum_j2 / (double)(sys->m - rank));
    for (size_t k = 0; k < sys->m; k++) {
        double h = 0;
        for (size_t i = 0; i < rank; i++)
            h += sys->u[i * sys->m + k] * sys->u[i * sys->m + k];
        if (h > LONE && fabs(residual[k]) < noise_j)
            residual[k] = copysign(noise_j, residual[k]);
    }
}

/* Covariance of the scaled coefficients, robust to the error that neighbouring ticks share: a tick
 * placed too late gives to one what it takes from the next (Newey and West 1987, lag 1 and 2).
 * cov: n x n. Directions beyond rank are left out. */
static void covariance(const struct system *sys, size_t rank, const double *residual, double *cov)
{
    size_t n = sys->n, m = sys->m;
    double meat[rank][rank];
    memset(meat, 0, sizeof(meat));
    for (size_t lag = 0; lag <= 2; lag++) {
        double weight = lag ? 1.0 - (double)lag / 3.0 : 1.0;
        for (size_t k = lag; k < m; k++) {
            double rr = weight * residual[k] * residual[k - lag];
            for (size_t i = 0; i < rank; i++)
                for (size_t j = 0; j < rank; j++) {
                    double a = sys->u[i * m + k] * sys->u[j * m + k - lag];
                    double b = sys->u[i * m + k - lag] * sys->u[j * m + k];
                    meat[i][j] += lag ? rr * (a + b) : rr * a;
                }
        }
    }
    double inflate = (double)m / (double)(m - rank);
    for (size_t p = 0; p < n; p++)
        for (size_t q = 0; q < n; q++) {
            double sum = 0;
            for (size_t i = 0; i < rank; i++)
                for (size_t j = 0; j < rank; j++)
                    sum += sys->vt[p * n + i] / sys->s[i] * meat[i][j] * sys->vt[q * n + j] /
                           sys->s[j];
            cov[p * n + q] = sum * inflate;
        }
}

/* Energy and interval of the sum of the phases in `group` (mask), whose joint energy is seen even
 * where each alone is not. */
static void joint_energy(const struct system *sys, const double *coef, const double *cov,
                         const double *span_s, const bool *is_member, double t, double gain,
                         double *ret_j, double *ret_low, double *ret_high)
{
    double energy = 0, variance = 0;
    for (size_t p = 0; p < sys->n; p++) {
        if (!is_member[p] || sys->scale[p] <= 0)
            continue;
        double wp = span_s[p] / sys->scale[p];
        energy += coef[p] * wp;
        for (size_t q = 0; q < sys->n; q++)
            if (is_member[q] && sys->scale[q] > 0)
                variance += wp * cov[p * sys->n + q] * span_s[q] / sys->scale[q];
    }
    double half = t * sqrt(variance > 0 ? variance : 0) + gain * fabs(energy);
    *ret_j = energy;
    *ret_low = energy - half;
    *ret_high = energy + half;
}

/* Puts phases that share an unseen direction into one group. */
static void find_groups(const struct system *sys, size_t rank, struct wt_phase_fit *fits)
{
    size_t n = sys->n;
    for (size_t p = 0; p < n; p++)
        fits[p].group = (unsigned)p;
    for (size_t i = rank; i < n; i++) {
        unsigned lead = UINT32_MAX;
        for (size_t p = 0; p < n; p++) {
            if (fabs(sys->vt[p * n + i]) < MEMBER)
                continue;
            fits[p].is_separable = false;
            if (lead == UINT32_MAX) {
                lead = fits[p].group;
                continue;
            }
            unsigned old = fits[p].group;
            for (size_t q = 0; q < n; q++)
                if (fits[q].group == old)
                    fits[q].group = lead;
        }
    }
}

/* A tick placed too late takes from the next what it gives: the errors of neighbours are opposite,
 * an MA(1) process. Their correlation rho says how much of the noise is of that kind; the
 * covariance is then tridiagonal and its Cholesky factor two numbers a row. Divides every column of
 * d and e by that factor, so that what is left is white and the slow changes, which placing hardly
 * touches, count for what they are worth. */
static void whiten(double *d, double *e, size_t m, size_t n, double rho)
{
    double below = 0;
    double diagonal = 1;
    for (size_t k = 0; k < m; k++) {
        if (k) {
            below = rho / diagonal;
            diagonal = sqrt(1 - below * below);
            for (size_t p = 0; p < n; p++)
                d[p * m + k] -= below * d[p * m + k - 1];
            e[k] -= below * e[k - 1];
        }
        for (size_t p = 0; p < n; p++)
            d[p * m + k] /= diagonal;
        e[k] /= diagonal;
    }
}

/* One least-squares fit of e on the columns of sys->d, which it scales to norm 1. *rank goes in as
 * 0, to be found, or as what it is: whitened columns are all alike at first sight. */
static int regress(struct system *sys, const double *e, const bool *is_there, double *coef,
                   double *residual, size_t *rank, struct wt_error *err)
{
    size_t m = sys->m, n = sys->n;
    for (size_t p = 0; p < n; p++) {
        double norm = 0;
        for (size_t k = 0; k < m; k++)
            norm += sys->d[p * m + k] * sys->d[p * m + k];
        /* A phase that hardly occurs has no equation of its own: its column stays 0. */
        sys->scale[p] = is_there[p] ? sqrt(norm) : 0;
        for (size_t k = 0; k < m; k++)
            sys->d[p * m + k] = is_there[p] ? sys->d[p * m + k] / sys->scale[p] : 0;
    }
    int rc = decompose(sys, err);
    if (rc < 0)
        return rc;
    if (!*rank)
        while (*rank < n && sys->s[*rank] > RANK_TOLERANCE * sys->s[0])
            ++*rank;
    for (size_t p = 0; p < n; p++)
        coef[p] = 0;
    for (size_t i = 0; i < *rank; i++) {
        double dot = 0;
        for (size_t k = 0; k < m; k++)
            dot += sys->u[i * m + k] * e[k];
        for (size_t p = 0; p < n; p++)
            coef[p] += sys->vt[p * n + i] * dot / sys->s[i];
    }
    for (size_t k = 0; k < m; k++) {
        double fitted = 0;
        for (size_t p = 0; p < n; p++)
            fitted += sys->d[p * m + k] * coef[p];
        residual[k] = e[k] - fitted;
    }
    return 0;
}

/* Correlation of neighbouring residuals, in the range an MA(1) process can have. */
static double neighbour_correlation(const double *residual, size_t m)
{
    double zero = 0, one = 0;
    for (size_t k = 0; k < m; k++) {
        zero += residual[k] * residual[k];
        one += k ? residual[k] * residual[k - 1] : 0;
    }
    double rho = zero > 0 ? one / zero : 0;
    return rho < -0.4999 ? -0.4999 : rho > 0 ? 0 : rho;
}

static int solve(struct system *sys, const double *tick_j, double gain, struct wt_phase_fit *fits,
                 struct wt_error *err)
{
    size_t m = sys->m, n = sys->n, rank = 0;
    double coef[n], cov[n * n], span_s[n], total_j = 0, total_s = 0;
    bool is_there[n];
    double *residual = malloc(m * sizeof(*residual)), *e = malloc(m * sizeof(*e));
    double *durations = malloc(m * n * sizeof(*durations));
    int rc = 0;
    if (!residual || !e || !durations) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory to separate phases");
        goto out;
    }
    memcpy(durations, sys->d, m * n * sizeof(*durations));
    for (size_t k = 0; k < m; k++)
        total_j += tick_j[k];
    for (size_t p = 0; p < n; p++) {
        double size_s = 0;
        span_s[p] = 0;
        for (size_t k = 0; k < m; k++) {
            span_s[p] += sys->d[p * m + k];
            size_s += fabs(sys->d[p * m + k]);
        }
        total_s += span_s[p];
        is_there[p] = size_s > 1e-6;
    }
    rc = regress(sys, tick_j, is_there, coef, residual, &rank, err);
    if (rc < 0)
        goto out;
    double rho = neighbour_correlation(residual, m), residual_j2 = 0;
    for (size_t k = 0; k < m; k++)
        residual_j2 += residual[k] * residual[k];
    if (rho < -0.05) {
        memcpy(sys->d, durations, m * n * sizeof(*durations));
        memcpy(e, tick_j, m * sizeof(*e));
        whiten(sys->d, e, m, n, rho);
        rc = regress(sys, e, is_there, coef, residual, &rank, err);
        if (rc < 0)
            goto out;
    }
    give_noise_to_lone_ticks(sys, rank, residual);
    covariance(sys, rank, residual, cov);

    double t = student((double)(m - rank)), mean_w = total_j / total_s;
    for (size_t p = 0; p < n; p++) {
        fits[p] = (struct wt_phase_fit){.is_separable = is_there[p],
                                        .span_s = span_s[p],
                                        .residual_j = sqrt(residual_j2 / (double)m)};
        if (!is_there[p])
            continue;
        double power = coef[p] / sys->scale[p];
        double half = t * sqrt(cov[p * n + p] > 0 ? cov[p * n + p] : 0) / sys->scale[p];
        fits[p].power_w = power;
        fits[p].low_w = power - half - gain * fabs(power);
        fits[p].high_w = power + half + gain * fabs(power);
        if (half > USELESS_SHARE * fabs(mean_w))
            fits[p].is_separable = false;
    }
    find_groups(sys, rank, fits);
    /* Those that the noise hides, rather than arithmetic, go together too. */
    unsigned hidden = UINT32_MAX;
    for (size_t p = 0; p < n; p++) {
        if (fits[p].is_separable || sys->scale[p] <= 0 || fits[p].group != p)
            continue;
        bool is_alone = true;
        for (size_t q = 0; q < n; q++)
            is_alone &= q == p || fits[q].group != p;
        if (!is_alone)
            continue;
        if (hidden == UINT32_MAX)
            hidden = (unsigned)p;
        fits[p].group = hidden;
    }
    for (size_t p = 0; p < n; p++) {
        struct wt_phase_fit *fit = &fits[p];
        bool is_member[n];
        for (size_t q = 0; q < n; q++)
            is_member[q] = fit->is_separable ? q == p : fits[q].group == fit->group;
        double j, low, high;
        joint_energy(sys, coef, cov, span_s, is_member, t, gain, &j, &low, &high);
        fit->energy_j = fit->is_separable ? j : NAN;
        fit->low_j = fit->is_separable ? low : NAN;
        fit->high_j = fit->is_separable ? high : NAN;
        fit->joint_j = fit->is_separable ? NAN : j;
        fit->joint_low_j = fit->is_separable ? NAN : low;
        fit->joint_high_j = fit->is_separable ? NAN : high;
        if (!fit->is_separable)
            fit->power_w = fit->low_w = fit->high_w = NAN;
    }
out:
    free(residual);
    free(e);
    free(durations);
    return rc;
}

static int open_system(struct system *sys, size_t count, unsigned phases, struct wt_error *err)
{
    size_t n = (size_t)phases + 1;
    if (phases > COLUMNS_MOST)
        return wt_fail(err, WT_E_RANGE, "%u phases: at most %d can be told apart", phases,
                       WT_PHASES_MOST);
    if (count < 3 * n)
        return wt_fail(err, WT_E_RANGE, "%zu sensor ticks are too few to tell %u phases apart",
                       count, phases);
    pthread_once(&lapack_once, open_lapack);
    if (!dgesdd) {
        int rc = wt_fail(err, WT_E_UNSUPPORTED, "liblapack.so.3 is not here: phases stay together");
        wt_fix(err, "install liblapack3 or libopenblas0");
        return rc;
    }
    *sys = (struct system){.m = count, .n = n};
    sys->d = calloc(count * n, sizeof(*sys->d));
    sys->u = calloc(count * n, sizeof(*sys->u));
    sys->s = calloc(n, sizeof(*sys->s));
    sys->vt = calloc(n * n, sizeof(*sys->vt));
    sys->scale = calloc(n, sizeof(*sys->scale));
    if (!sys->d || !sys->u || !sys->s || !sys->vt || !sys->scale)
        return wt_fail(err, WT_E_NOMEM, "no memory to separate phases");
    return 0;
}

static void close_system(struct system *sys)
{
    free(sys->d);
    free(sys->u);
    free(sys->s);
    free(sys->vt);
    free(sys->scale);
}

int wt_phases_fit(const int64_t *tick_ns, const double *tick_j, size_t count,
                  const struct wt_phase_span *spans, size_t span_count, unsigned phases,
                  uint32_t gain_ppm, struct wt_phase_fit *ret_fits, struct wt_error *err)
{
    struct system sys = {0};
    for (size_t k = 0; k < count; k++)
        if (tick_ns[k + 1] <= tick_ns[k])
            return wt_fail(err, WT_E_FORMAT, "sensor tick %zu is not after the one before", k + 1);
    int rc = open_system(&sys, count, phases, err);
    if (rc == 0) {
        fill_durations(sys.d, tick_ns, count, spans, span_count, phases);
        rc = solve(&sys, tick_j, (double)gain_ppm * 1e-6, ret_fits, err);
    }
    close_system(&sys);
    return rc;
}

int wt_phases_fit_rows(const double *tick_s, const double *tick_j, const double *const *phase_s,
                       const double *const *shape_s, size_t count, unsigned phases,
                       uint32_t gain_ppm, struct wt_phase_fit *ret_fits, struct wt_error *err)
{
    struct system sys = {0};
    struct wt_phase_fit fits[COLUMNS_MOST + 1];
    bool is_shaped = shape_s && count >= SHAPE_TICKS * phases;
    unsigned columns = is_shaped ? (1 + WT_PHASE_SHAPES) * phases : phases;
    int rc = open_system(&sys, count, columns, err);
    if (rc == 0) {
        double *rest = sys.d + (size_t)columns * count;
        memcpy(rest, tick_s, count * sizeof(*rest));
        for (unsigned p = 0; p < columns; p++)
            for (size_t k = 0; k < count; k++) {
                double s = p < phases ? phase_s[p][k] : shape_s[p - phases][k];
                sys.d[(size_t)p * count + k] = s;
                rest[k] -= p < phases ? s : 0;
            }
        for (size_t k = 0; k < count; k++)
            if (rest[k] < 1e-9)
                rest[k] = 0;
        rc = solve(&sys, tick_j, (double)gain_ppm * 1e-6, fits, err);
    }
    close_system(&sys);
    if (rc < 0)
        return rc;
    memcpy(ret_fits, fits, phases * sizeof(*fits));
    ret_fits[phases] = fits[columns];
    /* Groups are named by a phase that is in the result. */
    for (unsigned p = 0; p <= phases; p++) {
        unsigned lead = p;
        for (unsigned q = p; q-- > 0;)
            if (ret_fits[q].group == ret_fits[p].group)
                lead = q;
        fits[p].group = lead;
    }
    for (unsigned p = 0; p <= phases; p++)
        ret_fits[p].group = fits[p].group;
    return 0;
}
