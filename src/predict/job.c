/* job: predictions added up to work from begin to end, and what it costs where it runs. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "wattune/predict.h"

/* The parts' errors are one error: bounds add. */
static void add(struct wt_estimate *sum, const struct wt_estimate *more, double times)
{
    sum->value += times * more->value;
    sum->low += times * more->low;
    sum->high += times * more->high;
}

static struct wt_estimate scaled(const struct wt_estimate *e, double factor)
{
    return (struct wt_estimate){e->value * factor, e->low * factor, e->high * factor};
}

static const struct wt_estimate unknown = {NAN, NAN, NAN};

void wt_predict_job_place(struct wt_predict_job *job, const struct wt_predict_site *site)
{
    const struct wt_predict_site *s = &job->site;
    job->site = *site;
    struct wt_estimate j = job->energy_j;
    job->facility_kwh = job->carbon_g = job->cost = unknown;
    if (s->host_w > 0)
        add(&j, &job->time_s, s->host_w);
    j = scaled(&j, (s->pue > 0 ? s->pue : 1) / 3.6e6);
    if (s->pue > 0)
        job->facility_kwh = j;
    if (!isnan(s->carbon_g_per_kwh))
        job->carbon_g = scaled(&j, s->carbon_g_per_kwh);
    if (isnan(s->price_per_kwh) && isnan(s->price_per_hour))
        return;
    job->cost = (struct wt_estimate){0, 0, 0};
    if (!isnan(s->price_per_kwh))
        add(&job->cost, &j, s->price_per_kwh);
    if (!isnan(s->price_per_hour))
        add(&job->cost, &job->time_s, s->price_per_hour / 3600);
}

static int add_part(struct wt_predict_job *job, const struct wt_gpu *gpu,
                    const struct wt_work *work, double passes,
                    const struct wt_predict_options *options, struct wt_error *err)
{
    struct wt_predict_part *part = &job->parts[job->part_count];
    int rc = wt_predict(&part->each, gpu, work, options, err);
    if (rc < 0)
        return rc;
    wt_text(part->name, sizeof(part->name), "%s", wt_work_kind_name(work->kind));
    part->passes = passes;
    job->part_count++;
    return 0;
}

int wt_predict_job(struct wt_predict_job *ret_job, const struct wt_gpu *gpu,
                   const struct wt_work *work, unsigned answer, uint64_t tokens,
                   const struct wt_predict_options *options, const struct wt_predict_site *site,
                   struct wt_error *err)
{
    struct wt_predict_job job = {0};
    static const struct wt_predict_site nowhere = {NAN, NAN, NAN, NAN, NAN, "", ""};
    struct wt_work now = *work;
    unsigned devices = options && options->devices ? options->devices : 1;
    /* Copies of a model share the work; parts of one make it together. */
    double copies = work->is_decoder ? 1 : devices;
    double each = copies * (answer ? (double)work->batch * answer : (double)wt_work_tokens(work));
    double times = tokens ? (double)tokens / each : 1;
    int rc;
    if (!(each > 0))
        return wt_fail(err, WT_E_USAGE, "no tokens in a pass");
    /* A pass is of the mean length; the last ones are longer. As `wattune bench generate`. */
    if (answer && !work->is_decoder && (uint64_t)work->seq + answer > work->model.positions)
        return wt_fail(err, WT_E_USAGE,
                       "--seq %u and --new %u: %s has %u positions for a prompt and its answer",
                       work->seq, answer, work->model.name, work->model.positions);
    if (answer) {
        now.kind = WT_WORK_PREFILL; /* makes the first token of each answer */
        rc = add_part(&job, gpu, &now, times, options, err);
        now.kind = WT_WORK_DECODE;
        now.seq = work->seq + answer / 2; /* what it has read is as long on average */
        if (rc == 0 && answer > 1)
            rc = add_part(&job, gpu, &now, times * (answer - 1), options, err);
    } else {
        rc = add_part(&job, gpu, &now, times, options, err);
    }
    if (rc < 0)
        return rc;
    job.tokens = (uint64_t)llround(times * each);
    for (size_t i = 0; i < job.part_count; i++) {
        add(&job.time_s, &job.parts[i].each.pass_s, job.parts[i].passes);
        add(&job.energy_j, &job.parts[i].each.energy_j, job.parts[i].passes);
    }
    double n = (double)job.tokens, power = job.energy_j.value / job.time_s.value;
    const struct wt_estimate *w = &job.parts[0].each.power_w;
    job.power_w =
        (struct wt_estimate){power, power * w->low / w->value, power * w->high / w->value};
    job.tokens_per_s =
        (struct wt_estimate){n / job.time_s.value, n / job.time_s.high, n / job.time_s.low};
    job.j_per_token = scaled(&job.energy_j, 1 / n);
    wt_predict_job_place(&job, site ? site : &nowhere);
    *ret_job = job;
    return 0;
}
