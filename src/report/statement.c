/* statement: what all runs with a tag took together, and what of it nobody measured.
 *
 * The total is of the devices that are counted, as each run's own is. Where the energy of one is
 * not known the total is what is known, and every document says "at least". A run that failed took
 * its energy all the same. Errors of runs on one sensor may be the same error, so bounds add. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/statement.h"
#include "report/words.h"

static const struct wt_joules unknown_joules = {NAN, NAN, NAN, WT_PROV_UNKNOWN};

/* ---- lists ---- */

/* Room for one more at the end. NULL: no memory. */
static void *grow(void *list, size_t *count, size_t size)
{
    void **at = list;
    void *more = reallocarray(*at, *count + 1, size);
    if (!more)
        return NULL;
    *at = more;
    memset((char *)more + *count * size, 0, size);
    return (char *)more + (*count)++ * size;
}

static int tell(struct wt_statement *s, const char *what, const char *fmt, ...) WT_PRINTF(3, 4);
static int tell(struct wt_statement *s, const char *what, const char *fmt, ...)
{
    struct wt_statement_text *text = grow(&s->missing, &s->missing_count, sizeof(*text));
    if (!text)
        return WT_E_NOMEM;
    va_list args;
    va_start(args, fmt);
    text->what = what;
    vsnprintf(text->text, sizeof(text->text), fmt, args);
    va_end(args);
    return 0;
}

/* Adds what is known to what is known so far. Of one kind, so that it cannot be mixed. */
static void add_known(struct wt_joules *sum, const struct wt_joules *part)
{
    if (part->provenance == WT_PROV_UNKNOWN)
        return;
    if (sum->provenance == WT_PROV_UNKNOWN)
        *sum = *part;
    else
        wt_joules_add(sum, sum, part);
}

/* ---- of one kind ---- */

static enum wt_statement_kind kind_of(const struct wt_run *run)
{
    return run->is_emulated   ? WT_STATEMENT_EMULATED
           : run->is_replayed ? WT_STATEMENT_REPLAYED
                              : WT_STATEMENT_REAL;
}

const char *wt_statement_kind_name(enum wt_statement_kind kind)
{
    static const char *const names[] = {"real", "emulated", "replayed"};
    return names[kind];
}

/* "A, B and 3 more" of the runs of one kind. */
static void name_runs(const struct wt_run *runs, size_t count, enum wt_statement_kind kind,
                      char *buf, size_t size)
{
    size_t seen = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(buf);
        if (kind_of(&runs[i]) == kind && seen++ < 2)
            wt_text(buf + used, size - used, "%s%s", used ? ", " : "", runs[i].id);
    }
    size_t used = strlen(buf);
    if (seen > 2)
        wt_text(buf + used, size - used, " and %zu more", seen - 2);
}

static int check_kind(struct wt_statement *s, struct wt_error *err)
{
    s->kind = kind_of(&s->runs[0]);
    for (size_t i = 1; i < s->run_count; i++) {
        enum wt_statement_kind other = kind_of(&s->runs[i]);
        char mine[140], others[140];
        if (other == s->kind)
            continue;
        name_runs(s->runs, s->run_count, s->kind, mine, sizeof(mine));
        name_runs(s->runs, s->run_count, other, others, sizeof(others));
        wt_fail(err, WT_E_MIXED, "%s%s runs (%s) and %s%s ones (%s): a statement is of one kind",
                s->kind ? "" : "not ", wt_statement_kind_name(s->kind ? s->kind : other), mine,
                other ? "" : "not ", wt_statement_kind_name(other ? other : s->kind), others);
        wt_fix(err, "give what is not measured here a tag of its own: wattune run --tag");
        return WT_E_MIXED;
    }
    for (size_t i = 0; i < s->run_count; i++)
        wt_run_add_origin(&s->runs[i], s->origin, sizeof(s->origin));
    return 0;
}

/* ---- runs and time ---- */

static int64_t end_of(const struct wt_run *run)
{
    return run->start_unix_ns + (isfinite(run->wall_s) ? (int64_t)(run->wall_s * 1e9) : 0);
}

static bool is_failed(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && run->exit_code != 0 && !wt_run_is_unstarted(run);
}

/* Whether an earlier run is of the same sweep. A job of many ranks is a group, too, without labels.
 */
static bool is_new_sweep(const struct wt_statement *s, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(s->runs[i].group, s->runs[at].group) == 0)
            return false;
    return true;
}

/* Whether a later run went on with the same race. */
static bool is_resumed_later(const struct wt_statement *s, size_t at)
{
    const struct wt_run *run = &s->runs[at];
    for (size_t i = at + 1; i < s->run_count; i++)
        if (s->runs[i].race.trials && strcmp(s->runs[i].race.folder, run->race.folder) == 0 &&
            strcmp(s->runs[i].host, run->host) == 0)
            return true;
    return false;
}

static void count_runs(struct wt_statement *s)
{
    s->first_unix_ns = INT64_MAX;
    for (size_t i = 0; i < s->run_count; i++) {
        const struct wt_run *run = &s->runs[i];
        double wall_s = isfinite(run->wall_s) ? run->wall_s : 0;
        int64_t end_ns = end_of(run);
        s->failed += is_failed(run);
        s->unstarted += wt_run_is_unstarted(run);
        s->done += run->state == WT_RUN_DONE && !run->exit_code;
        s->incomplete += run->state == WT_RUN_INCOMPLETE;
        s->running += run->state == WT_RUN_RUNNING;
        s->trials += run->param_count > 0;
        if (run->race.trials && !is_resumed_later(s, i)) {
            s->races++;
            s->raced += run->race.trials;
            s->raced_finished += run->race.finished;
            s->raced_stopped += run->race.stopped;
            s->raced_failed += run->race.failed;
        }
        s->nodes += run->node.count > 0;
        if (run->group[0] && !run->node.count) {
            s->swept++;
            s->sweeps += is_new_sweep(s, i);
        }
        s->wall_s += wall_s;
        for (size_t k = 0; k < run->device_count; k++)
            s->gpu_hours += run->devices[k].kind == WT_DEVICE_GPU && !run->devices[k].is_part
                                ? wall_s / 3600
                                : 0;
        s->first_unix_ns =
            run->start_unix_ns < s->first_unix_ns ? run->start_unix_ns : s->first_unix_ns;
        s->last_unix_ns = end_ns > s->last_unix_ns ? end_ns : s->last_unix_ns;
        if (is_failed(run))
            add_known(&s->failed_energy, &run->total);
        if (run->state == WT_RUN_INCOMPLETE)
            add_known(&s->incomplete_energy, &run->total);
    }
}

/* ---- hardware ---- */

static size_t count_in(const struct wt_run *run, const struct wt_run_device *like)
{
    size_t n = 0;
    for (size_t i = 0; i < run->device_count; i++)
        n += !run->devices[i].is_part && run->devices[i].kind == like->kind &&
             strcmp(run->devices[i].name, like->name) == 0;
    return n;
}

bool wt_statement_is_new_host(const struct wt_statement *s, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(s->runs[i].host, s->runs[at].host) == 0)
            return false;
    return true;
}

bool wt_statement_is_new_command(const struct wt_statement *s, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(s->runs[i].command, s->runs[at].command) == 0)
            return false;
    return true;
}

/* Of each host the most that one of its runs had. */
static size_t count_of(const struct wt_statement *s, const struct wt_run_device *like)
{
    size_t sum = 0;
    for (size_t i = 0; i < s->run_count; i++) {
        size_t most = 0;
        if (!wt_statement_is_new_host(s, i))
            continue;
        for (size_t k = i; k < s->run_count; k++)
            if (strcmp(s->runs[k].host, s->runs[i].host) == 0) {
                size_t n = count_in(&s->runs[k], like);
                most = n > most ? n : most;
            }
        sum += most;
    }
    return sum;
}

static int list_devices(struct wt_statement *s)
{
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = 0; k < s->runs[i].device_count; k++) {
            const struct wt_run_device *d = &s->runs[i].devices[k];
            bool is_known = d->is_part;
            for (size_t n = 0; n < s->device_count; n++)
                is_known |=
                    s->devices[n].kind == d->kind && strcmp(s->devices[n].name, d->name) == 0;
            if (is_known)
                continue;
            struct wt_statement_device *new = grow(&s->devices, &s->device_count, sizeof(*new));
            if (!new)
                return WT_E_NOMEM;
            wt_text(new->name, sizeof(new->name), "%s", d->name);
            new->kind = d->kind;
            new->is_modeled = d->is_modeled;
            new->count = count_of(s, d);
        }
    return 0;
}

/* ---- energy ---- */

static int add_part(struct wt_statement *s, const struct wt_run_device *d, size_t run)
{
    size_t i = 0;
    while (i < s->part_count &&
           (s->parts[i].provenance != d->energy.provenance || s->parts[i].method != d->method))
        i++;
    if (i == s->part_count) {
        struct wt_statement_part *new = grow(&s->parts, &s->part_count, sizeof(*new));
        if (!new)
            return WT_E_NOMEM;
        new->provenance = d->energy.provenance;
        new->method = d->method;
        new->energy = unknown_joules;
        new->last_run = SIZE_MAX;
    }
    struct wt_statement_part *part = &s->parts[i];
    add_known(&part->energy, &d->energy);
    part->runs += part->last_run != run;
    part->last_run = run;
    return 0;
}

static int add_unknown(struct wt_statement *s, size_t run)
{
    size_t *at = grow(&s->unknown, &s->unknown_count, sizeof(*at));
    if (!at)
        return WT_E_NOMEM;
    *at = run;
    return 0;
}

static int sum_run(struct wt_statement *s, size_t at)
{
    const struct wt_run *run = &s->runs[at];
    if (wt_run_is_unstarted(run)) /* it took nothing, and nobody looked */
        return 0;
    /* What was drawn after the last note of a run that was cut short, or goes on, nobody knows. */
    bool is_whole = run->total.provenance != WT_PROV_UNKNOWN && run->state == WT_RUN_DONE;
    struct wt_joules of_devices = unknown_joules;
    for (size_t k = 0; k < run->device_count; k++) {
        const struct wt_run_device *d = &run->devices[k];
        bool is_known = d->energy.provenance != WT_PROV_UNKNOWN;
        if (d->is_counted && !is_known)
            is_whole = false;
        if (d->is_counted && is_known) {
            if (add_part(s, d, at) < 0)
                return WT_E_NOMEM;
            add_known(&of_devices, &d->energy);
        }
        if (!d->is_counted && d->is_modeled && !d->is_part)
            add_known(&s->modeled, &d->energy);
    }
    add_known(&s->total, run->total.provenance == WT_PROV_UNKNOWN ? &of_devices : &run->total);
    if (run->host_w > 0 && isfinite(run->wall_s)) {
        s->host_runs++;
        s->host_j += run->host_w * run->wall_s;
    }
    return is_whole ? 0 : add_unknown(s, at);
}

static int by_strength(const void *a, const void *b)
{
    const struct wt_statement_part *x = a, *y = b;
    if (x->provenance != y->provenance)
        return x->provenance < y->provenance ? 1 : -1;
    return (x->method < y->method) - (x->method > y->method);
}

static int sum_energy(struct wt_statement *s)
{
    for (size_t i = 0; i < s->run_count; i++)
        if (sum_run(s, i) < 0)
            return WT_E_NOMEM;
    if (s->part_count)
        qsort(s->parts, s->part_count, sizeof(*s->parts), by_strength);
    s->is_whole = !s->unknown_count && s->unstarted < s->run_count;
    s->sum = s->total;
    /* What the user gave has no error of its own, and no sensor. */
    if (s->sum.provenance != WT_PROV_UNKNOWN) {
        s->sum.energy_j += s->host_j;
        s->sum.low_j += s->host_j;
        s->sum.high_j += s->host_j;
    }
    return 0;
}

/* ---- what is missing ---- */

/* What of a kind of device is in a run. */
enum seen { SEEN_NONE, SEEN_BESIDE, SEEN_MODELED, SEEN_MEASURED };
static enum seen look_for(const struct wt_run *run, enum wt_device_kind kind)
{
    enum seen best = SEEN_NONE;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        bool is_node = d->kind == WT_DEVICE_NODE && d->is_counted; /* sees all of it */
        if (d->is_part || (d->kind != kind && !is_node))
            continue;
        enum seen seen = !d->is_modeled  ? d->is_counted ? SEEN_MEASURED : SEEN_NONE
                         : d->is_counted ? SEEN_MODELED
                                         : SEEN_BESIDE;
        best = seen > best ? seen : best;
    }
    return best;
}

/* " in 2 of 3 runs", or nothing where it is all of them. Of those that did start. */
static const char *of_runs(const struct wt_statement *s, size_t n, char *buf, size_t size)
{
    size_t all = s->run_count - s->unstarted;
    return n == all ? wt_text(buf, size, "%s", "")
                    : wt_text(buf, size, " in %zu of %zu runs", n, all);
}

static bool is_blank(const struct wt_run *run)
{
    return run->state == WT_RUN_INCOMPLETE && !run->device_count;
}

/* Whether it can tell which sensors there were. */
static bool is_telling(const struct wt_run *run)
{
    return !is_blank(run) && !wt_run_is_unstarted(run);
}

static int tell_sensors(struct wt_statement *s)
{
    char text[48];
    static const struct {
        enum wt_device_kind kind;
        const char *what, *name, *energy;
    } rows[] = {
        {WT_DEVICE_GPU, "gpu", "GPU sensor", "the energy of GPUs, if there were any,"},
        {WT_DEVICE_CPU, "cpu", "CPU sensor", "the energy of the processors"},
        {WT_DEVICE_DRAM, "dram", "memory sensor", "the energy of the memory"},
        {WT_DEVICE_NODE, "node", "node meter",
         "the energy of fans, disks, the board and the power supply's loss"},
    };
    static const char *const lost[] = {
        [SEEN_NONE] = "is in no figure",
        [SEEN_BESIDE] = "is estimated by a model, beside the total",
        [SEEN_MODELED] = "is estimated by a model, and so it is in the total",
    };
    size_t blank = 0; /* cut short before they were written with what they ran on */
    for (size_t i = 0; i < s->run_count; i++)
        blank += is_blank(&s->runs[i]);
    if (blank && tell(s, "blank", "which sensors there were was not written yet%s",
                      of_runs(s, blank, text, sizeof(text))) < 0)
        return WT_E_NOMEM;
    for (size_t r = 0; r < WT_COUNTOF(rows); r++)
        for (enum seen seen = SEEN_NONE; seen < SEEN_MEASURED; seen++) {
            size_t count = 0;
            char where[48];
            for (size_t i = 0; i < s->run_count; i++)
                count += is_telling(&s->runs[i]) && look_for(&s->runs[i], rows[r].kind) == seen;
            if (count &&
                tell(s, rows[r].what, "no %s%s: %s %s", rows[r].name,
                     of_runs(s, count, where, sizeof(where)), rows[r].energy, lost[seen]) < 0)
                return WT_E_NOMEM;
        }
    if (s->host_runs && s->host_runs < s->run_count - s->unstarted &&
        tell(s, "host", "the rest of the node was given for %zu of %zu runs only", s->host_runs,
             s->run_count - s->unstarted) < 0)
        return WT_E_NOMEM;
    return 0;
}

/* The names of devices that the total leaves out, each once. */
static int tell_beside(struct wt_statement *s, bool is_modeled)
{
    char list[300] = "", name[128];
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = 0; k < s->runs[i].device_count; k++) {
            const struct wt_run_device *d = &s->runs[i].devices[k];
            size_t used = strlen(list);
            if (d->is_counted || d->is_part || d->is_modeled != is_modeled)
                continue;
            wt_device_title(&s->runs[i], k, name, sizeof(name));
            if (!strstr(list, name))
                wt_text(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", name);
        }
    if (!list[0])
        return 0;
    return is_modeled ? tell(s, "modeled", "estimated by a model, and not in the total: %s", list)
                      : tell(s, "beside",
                             "measured, and not in the total, as another figure "
                             "there has it: %s",
                             list);
}

/* Two runs at once on one device have its energy both. */
static int tell_overlaps(struct wt_statement *s)
{
    size_t pairs = 0;
    const struct wt_run *one = NULL, *other = NULL;
    /* By their start, so that the first one after the end is the last to look at. */
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = i + 1; k < s->run_count && s->runs[k].start_unix_ns < end_of(&s->runs[i]);
             k++)
            if (strcmp(s->runs[i].host, s->runs[k].host) == 0 &&
                wt_runs_share_device(&s->runs[i], &s->runs[k]) && !pairs++) {
                one = &s->runs[i];
                other = &s->runs[k];
            }
    if (!pairs)
        return 0;
    char more[48] = "";
    if (pairs > 1)
        wt_text(more, sizeof(more), ", and so did %zu other pairs", pairs - 1);
    return tell(s, "overlap",
                "runs %s and %s used a device at the same time%s: its energy then is in both, "
                "and the total has it twice",
                one->id, other->id, more);
}

/* Why the energy of a run is not known, by its first device of which it is not. */
void wt_statement_why(const struct wt_run *run, char *buf, size_t size)
{
    char name[128];
    if (run->state != WT_RUN_DONE)
        wt_text(buf, size, "%s",
                run->state == WT_RUN_RUNNING
                    ? "it is still going, and has the energy so far"
                    : "it was cut short, and what it took after its record was written last is "
                      "not known");
    else
        wt_text(buf, size, "%s",
                run->device_count ? "its record has no total" : "no device was measured");
    for (size_t k = run->device_count; k-- > 0;) {
        const struct wt_run_device *d = &run->devices[k];
        if (d->is_counted && d->energy.provenance == WT_PROV_UNKNOWN)
            wt_text(buf, size, "%.60s: %.160s", wt_device_title(run, k, name, sizeof(name)),
                    d->note[0] ? d->note : "it could not be read");
    }
}

static int tell_missing(struct wt_statement *s)
{
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = 0; k < s->runs[i].gap_count; k++)
            if (wt_gap_is_said(&s->runs[i], k)) {
                s->gap_count++;
                s->gap_j += s->runs[i].gaps[k].bound_j;
            }
    if (tell_sensors(s) < 0 || tell_beside(s, false) < 0 || tell_beside(s, true) < 0 ||
        tell_overlaps(s) < 0)
        return WT_E_NOMEM;
    if (s->running &&
        tell(s, "running", "still going, with the energy so far: %zu of the runs", s->running) < 0)
        return WT_E_NOMEM;
    if (s->incomplete &&
        tell(s, "incomplete",
             "what runs that were cut short (%zu) took after their records were written last "
             "is in no figure",
             s->incomplete) < 0)
        return WT_E_NOMEM;
    return 0;
}

/* ---- facility and carbon ---- */

static struct wt_estimate times(const struct wt_joules *energy, double factor)
{
    if (energy->provenance == WT_PROV_UNKNOWN)
        return (struct wt_estimate){NAN, NAN, NAN};
    return (struct wt_estimate){energy->energy_j * factor, energy->low_j * factor,
                                energy->high_j * factor};
}

static void fill_facility(struct wt_statement *s)
{
    double pue = isnan(s->pue) ? 1 : s->pue;
    double carbon_g = s->has_region ? s->region.carbon_g : (double)NAN;
    s->facility_kwh = s->co2_g = (struct wt_estimate){NAN, NAN, NAN};
    if (!isnan(s->pue))
        s->facility_kwh = times(&s->sum, pue / WT_J_PER_KWH);
    if (!isnan(carbon_g))
        s->co2_g = times(&s->sum, pue * carbon_g / WT_J_PER_KWH);
}

/* ---- making it ---- */

int wt_statement_make(struct wt_statement *ret_statement, const struct wt_run *runs, size_t count,
                      const struct wt_statement_options *options, struct wt_error *err)
{
    struct wt_statement s = {.runs = runs,
                             .run_count = count,
                             .failed_energy = unknown_joules,
                             .incomplete_energy = unknown_joules,
                             .total = unknown_joules,
                             .modeled = unknown_joules,
                             .pue = options->pue};
    if (!count)
        return wt_fail(err, WT_E_NOTFOUND, "a statement of no run");
    if (!isnan(s.pue) && !(s.pue >= 1 && s.pue <= 10))
        return wt_fail(err, WT_E_RANGE, "a PUE of %g: it is 1 or more, and 10 at most", s.pue);
    wt_text(s.pue_source, sizeof(s.pue_source), "%s",
            options->pue_source ? options->pue_source : "");
    int rc = check_kind(&s, err);
    if (rc < 0)
        return rc;
    wt_text(s.tag, sizeof(s.tag), "%s", runs[0].tag);
    wt_text(s.version, sizeof(s.version), "%s", wt_version());
    wt_text(s.training_type, sizeof(s.training_type), "%s",
            options->training_type ? options->training_type : "");
    s.has_region = options->region != NULL;
    if (options->region)
        s.region = *options->region;
    count_runs(&s);
    if (list_devices(&s) < 0 || sum_energy(&s) < 0 || tell_missing(&s) < 0) {
        wt_statement_done(&s);
        return wt_fail(err, WT_E_NOMEM, "no memory for a statement of %zu runs", count);
    }
    fill_facility(&s);
    *ret_statement = s;
    return 0;
}

void wt_statement_done(struct wt_statement *statement)
{
    free(statement->devices);
    free(statement->parts);
    free(statement->unknown);
    free(statement->missing);
    *statement = (struct wt_statement){0};
}
