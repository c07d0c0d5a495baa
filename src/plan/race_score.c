/* race_score: what a training's losses so far say of it. Formulas only; race.c decides by them.
 *
 * TSE: Ru et al., "Speedy Performance Estimation for Neural Architecture Search", NeurIPS 2021.
 * LCGA: Zhao et al., "Loss Curve Gradient Approximation", IPDPSW 2022,
 * doi 10.1109/IPDPSW55747.2022.00123. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/race.h"

static const char *const rule_names[WT_RACE_RULES] = {"tse",  "tse-e", "tse-ema",
                                                      "lcga", "asha",  "forecast"};

const char *wt_race_rule_name(enum wt_race_rule rule)
{
    return (unsigned)rule < WT_RACE_RULES ? rule_names[rule] : NULL;
}

int wt_race_rule_from_name(const char *name, enum wt_race_rule *ret_rule)
{
    for (int i = 0; i < WT_RACE_RULES; i++)
        if (strcmp(name, rule_names[i]) == 0) {
            *ret_rule = (enum wt_race_rule)i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

/* ---- the fit ---- */

/* With d given, loss(k) = c / (1 + d k) + b3 is linear in c and b3: least squares with neither
 * below 0. Returns the sum of squares. b1 is then 1 / c and b2 is d / c. */
static double fit_linear(const double *y, size_t n, double d, double *ret_c, double *ret_b3)
{
    double sum_u = 0, sum_uu = 0, sum_y = 0, sum_uy = 0, count = (double)n;
    for (size_t i = 0; i < n; i++) {
        double u = 1 / (1 + d * (double)(i + 1));
        sum_u += u;
        sum_uu += u * u;
        sum_y += y[i];
        sum_uy += u * y[i];
    }
    double det = count * sum_uu - sum_u * sum_u;
    double c = det > 1e-12 * count * sum_uu ? (count * sum_uy - sum_u * sum_y) / det : 0;
    double b3 = (sum_y - c * sum_u) / count;
    if (c < 0) {
        c = 0;
        b3 = sum_y / count;
    } else if (b3 < 0) {
        b3 = 0;
        c = sum_uy / sum_uu;
    }
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        double off = c / (1 + d * (double)(i + 1)) + b3 - y[i];
        squares += off * off;
    }
    *ret_c = c;
    *ret_b3 = b3;
    return squares;
}

/* d lies between 1e-6 (a straight line) and 1e4 (1 / k); on a grid of its logarithm, then between
 * the neighbours of the best by thirds. */
#define D_LOW   (-6.0)
#define D_HIGH  4.0
#define D_GRID  80
#define D_TURNS 40

int wt_race_fit(struct wt_race_fit *ret_fit, const double *losses, size_t count,
                struct wt_error *err)
{
    if (count < 3)
        return wt_fail(err, WT_E_USAGE, "a curve of three numbers needs three epochs, not %zu",
                       count);
    double scale = 0, c, b3;
    for (size_t i = 0; i < count; i++) {
        if (!(losses[i] > 0) || !isfinite(losses[i]))
            return wt_fail(err, WT_E_USAGE, "the loss %g of epoch %zu: must be above 0", losses[i],
                           i + 1);
        scale = fmax(scale, losses[i]);
    }
    double *y = malloc(count * sizeof(*y));
    if (!y)
        return wt_fail(err, WT_E_NOMEM, "no memory for a fit");
    for (size_t i = 0; i < count; i++)
        y[i] = losses[i] / scale;
    double step = (D_HIGH - D_LOW) / D_GRID, at = D_LOW, least = INFINITY;
    for (int i = 0; i <= D_GRID; i++) {
        double squares = fit_linear(y, count, pow(10, D_LOW + i * step), &c, &b3);
        if (squares < least) {
            least = squares;
            at = D_LOW + i * step;
        }
    }
    double low = fmax(at - step, D_LOW), high = fmin(at + step, D_HIGH);
    for (int i = 0; i < D_TURNS; i++) {
        double a = low + (high - low) / 3, b = high - (high - low) / 3;
        if (fit_linear(y, count, pow(10, a), &c, &b3) < fit_linear(y, count, pow(10, b), &c, &b3))
            high = b;
        else
            low = a;
    }
    double d = pow(10, (low + high) / 2);
    least = fit_linear(y, count, d, &c, &b3);
    free(y);
    ret_fit->b1 = 1 / c; /* infinite where c is 0 */
    ret_fit->b2 = c > 0 ? d / c : 0;
    ret_fit->b3 = b3;
    ret_fit->scale = scale;
    ret_fit->rms = sqrt(least / (double)count);
    return 0;
}

/* ---- the scores ---- */

/* Mean over the epochs after the burn-in of d1 / sqrt(d2), with d1 = -b2 / (b1 + b2 k)^2 and d2 = 2
 * b2^2 / (b1 + b2 k)^3, both of the losses as they were. That is -sqrt of half of what the curve
 * still lies above its own end: the lowest is the training that has most before it. */
static double lcga(const struct wt_race_options *o, const double *epochs, size_t count)
{
    struct wt_race_fit fit;
    if (o->epoch_cut && count > o->epoch_cut)
        count = o->epoch_cut;
    if (count < (size_t)o->burn_in + 3 || wt_race_fit(&fit, epochs, count, NULL) < 0)
        return INFINITY;
    if (!isfinite(fit.b1) || fit.b2 <= 0)
        return INFINITY; /* it does not fall: no gradient, and nothing learnt */
    double sum = 0;
    for (size_t k = (size_t)o->burn_in + 1; k <= count; k++) {
        double base = fit.b1 + fit.b2 * (double)k;
        double d1 = -fit.b2 / (base * base) * fit.scale;
        double d2 = 2 * fit.b2 * fit.b2 / (base * base * base) * fit.scale;
        sum += d1 / sqrt(d2);
    }
    return sum / (double)(count - o->burn_in);
}

double wt_race_score(const struct wt_race_options *options, const double *epochs, size_t count)
{
    double sum = 0;
    if (!count)
        return INFINITY;
    switch (options->rule) {
    case WT_RACE_TSE:
        for (size_t i = 0; i < count; i++)
            sum += epochs[i];
        return sum;
    case WT_RACE_TSE_E:
        for (size_t i = count > options->epochs ? count - options->epochs : 0; i < count; i++)
            sum += epochs[i];
        return sum;
    case WT_RACE_TSE_EMA:
        for (size_t i = 0; i < count; i++)
            sum = sum * options->decay + epochs[i];
        return sum;
    case WT_RACE_LCGA:
        return lcga(options, epochs, count);
    case WT_RACE_FORECAST:
        return epochs[count - 1] - fmax(0, count > 1 ? epochs[count - 2] - epochs[count - 1] : 0);
    default:
        return epochs[count - 1];
    }
}
