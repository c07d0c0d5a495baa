/* measured: what a stored run says of its work, for a calibration, and what speaks against its
 * being of the very work that is predicted, on that board. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/predict.h"
#include "workload/backend.h"

#define WANTED_S     20   /* a run; in a shorter one starting up and chance weigh much */
#define STEP_IS_SAME 0.02 /* tokens of a step, relative */

/* ---- doubts ---- */

/* One more, after "; ". */
static void doubt(struct wt_predict_measured *m, const char *fmt, ...) WT_PRINTF(2, 3);
static void doubt(struct wt_predict_measured *m, const char *fmt, ...)
{
    size_t used = strlen(m->doubt);
    va_list args;
    if (used)
        used = strlen(wt_text(m->doubt + used, sizeof(m->doubt) - used, "; ")) + used;
    va_start(args, fmt);
    vsnprintf(m->doubt + used, sizeof(m->doubt) - used, fmt, args);
    va_end(args);
}

/* A word of letters and digits stands in a text by itself: "A40" in "NVIDIA A40", not in "A400". */
static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; (at = strcasestr(at, word)) != NULL; at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[n]))
            return true;
    return false;
}

/* By its name: of the catalogue, where it has it (an H100 PCIe is no H100 SXM), else by the chip in
 * it. How much memory a board has does not change how it works. */
static void doubt_board(struct wt_predict_measured *m, const struct wt_catalogue *catalogue,
                        const struct wt_gpu *gpu)
{
    char chip[32];
    struct wt_gpu had;
    bool is_other = false;
    if (gpu->origin[0])
        return; /* a row of the user's own: what its board calls itself is not known */
    wt_text(chip, sizeof(chip), "%.*s", (int)strcspn(gpu->id, "-"), gpu->id);
    if (wt_gpu_find(catalogue, m->device, &had, NULL) == 0)
        is_other = strcmp(had.id, gpu->id) != 0 &&
                   (had.tdp_w != gpu->tdp_w || had.clock_max_mhz != gpu->clock_max_mhz ||
                    had.memory_gb_s != gpu->memory_gb_s);
    else if (strpbrk(chip, "0123456789"))
        is_other = !has_word(m->device, chip);
    if (is_other)
        doubt(m, "it was made on \"%s\", which is no %s", m->device, gpu->id);
}

/* The word after an option of a command, as `--batch 8` or `--batch=8`; fallback: it has none. */
static const char *option_of(const char *command, const char *option, const char *fallback,
                             char *buf, size_t size)
{
    const char *at = strstr(command, option);
    char after = at ? at[strlen(option)] : '\0';
    if (after != ' ' && after != '=')
        return fallback;
    at += strlen(option) + 1;
    return wt_text(buf, size, "%.*s", (int)strcspn(at, " "), at);
}

/* What a `wattune bench` was told to do; of other programs' words nothing is known. */
static void doubt_command(struct wt_predict_measured *m, const char *command,
                          const struct wt_work *work)
{
    static const char *const verbs[] = {"train", "finetune", "infer", "generate"};
    const char *model = work->is_decoder ? work->decoder.name : work->model.name;
    const char *bench = strstr(command, " bench "), *verb = bench ? bench + 7 : "";
    const char *want = verbs[work->kind == WT_WORK_TRAIN ? 0 : 2];
    char dtype[16], seq[16];
    if (!bench || !memmem(command, (size_t)(bench - command), "wattune", 7))
        return;
    for (size_t i = 0; i < WT_COUNTOF(verbs); i++)
        if (strncmp(verb, verbs[i], strlen(verbs[i])) == 0 && verbs[i] != want)
            doubt(m, "its command says %s", verbs[i]);
    if (*model && !strchr(model, '/') && !strstr(verb, model))
        doubt(m, "its command does not name %s", model);
    const char *had = option_of(verb, "--dtype", "fp32", dtype, sizeof(dtype));
    if (strcmp(had, wt_dtype_name(work->dtype)) != 0)
        doubt(m, "it ran in %s, and %s is asked for", had, wt_dtype_name(work->dtype));
    had = option_of(verb, "--seq", "128", seq, sizeof(seq));
    if (strtoul(had, NULL, 10) != work->seq)
        doubt(m, "its sequences were of %s tokens, and %u are asked for", had, work->seq);
}

/* Of all devices; parts of a model share one. */
static double pass_tokens(const struct wt_work *work, unsigned devices)
{
    return (double)wt_work_tokens(work) * (work->is_decoder ? 1 : devices);
}

static void doubt_work(struct wt_predict_measured *m, const struct wt_run *run,
                       const struct wt_work *work, unsigned devices)
{
    double want = pass_tokens(work, devices);
    doubt_command(m, run->command, work);
    if (!run->work.steps) {
        doubt(m, "it told of no steps, and so not of its batch (--progress, or a window, tells)");
    } else {
        double had = (double)run->work.count / (double)run->work.steps;
        if (fabs(had / want - 1) > STEP_IS_SAME)
            doubt(m, "its steps had %.0f tokens, where a pass of this batch has %.0f", had, want);
    }
    if (run->wall_s < WANTED_S)
        doubt(m, "it took %.1f s, in which starting up and chance weigh much: %d s are wanted",
              run->wall_s, WANTED_S);
}

/* ---- what it says ---- */

int wt_predict_measured_from(struct wt_predict_measured *ret_measured, const struct wt_run *run,
                             const struct wt_catalogue *catalogue, const struct wt_gpu *gpu,
                             const struct wt_work *work, unsigned devices, struct wt_error *err)
{
    struct wt_predict_measured m = {0};
    double power_w = 0;
    unsigned gpus = 0;
    if (work->kind == WT_WORK_PREFILL || work->kind == WT_WORK_DECODE)
        return wt_fail(
            err, WT_E_USAGE,
            "run %s tells one rate, and generation has two kinds of passes, over prompts "
            "and for a token more: it calibrates training and encoding only",
            run->id);
    if (!run->work.is_known || !run->work.count || strcmp(run->work.unit, "tokens") != 0 ||
        !(run->wall_s > 0)) {
        wt_fail(err, WT_E_USAGE, "run %s counted no tokens", run->id);
        wt_fix(err, "a run that tells of its work (wattune-run(1), --work), or of `wattune bench`");
        return WT_E_USAGE;
    }
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->kind != WT_DEVICE_GPU || d->is_part || !(d->mean_w > 0) || d->is_modeled)
            continue;
        power_w += d->mean_w;
        if (!gpus++)
            memcpy(m.device, d->name, sizeof(m.device));
    }
    if (gpus != devices)
        return wt_fail(err, WT_E_USAGE, "run %s has the power of %u GPUs, where %u are asked for",
                       run->id, gpus, devices);
    m.pass_s = pass_tokens(work, devices) * run->wall_s / (double)run->work.count;
    m.power_w = power_w / gpus;
    m.run_s = run->wall_s;
    for (size_t i = 0; i < run->setting_count; i++) {
        const struct wt_run_setting *set = &run->settings[i];
        if (set->knob == WT_KNOB_POWER)
            m.limit_w = wt_knob_to_user(set->enforced);
        else if (set->knob == WT_KNOB_CLOCK)
            m.clock_mhz = wt_knob_to_user(set->enforced);
    }
    memcpy(m.run_id, run->id, sizeof(m.run_id));
    doubt_board(&m, catalogue, gpu);
    doubt_work(&m, run, work, devices);
    if (run->is_emulated)
        wt_text(m.emulation, sizeof(m.emulation), "%s",
                run->emulation[0] ? run->emulation : "unknown");
    *ret_measured = m;
    return 0;
}
