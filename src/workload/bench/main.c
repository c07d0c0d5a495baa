/* wattune-bench: a run put together. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/kernels.h"

/* ---- OpenBLAS ---- */

/* OpenBLAS has it, other libraries with the same interface need not. */
extern char *openblas_get_corename(void) __attribute__((weak));

/* OpenBLAS chooses its kernels by the processor's name, when it is loaded; versions older than a
 * processor (0.3.21 and Zen 4) take AVX2 kernels where AVX-512 is there, at half the speed. Where
 * that is so and nobody has chosen otherwise, start again with the choice made. */
static void prefer_avx512(char **argv)
{
    static const char *const older[] = {"Haswell", "Zen"};
    const char *name = openblas_get_corename ? openblas_get_corename() : "";
    bool is_older = false;
    for (size_t i = 0; i < WT_COUNTOF(older); i++)
        is_older |= strcmp(name, older[i]) == 0;
    if (!is_older || getenv("OPENBLAS_CORETYPE") || !wt_has_avx512())
        return;
    if (setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) == 0)
        execv("/proc/self/exe", argv); /* where it fails, the slower kernels do */
}

/* ---- signals: the step under way is finished, the second signal ends at once ---- */

static atomic_int asked_to_end; /* written on another thread */

static void on_signal(int number)
{
    asked_to_end = number;
}

static void *take_signals(void *nothing)
{
    (void)nothing;
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &ending, NULL);
    for (;;)
        pause();
    return NULL;
}

/* By a thread of their own: oneDNN's generated kernels (2.6) use the stack pointer for data, and a
 * signal's frame that is written there is written into the heap. All threads that are begun from
 * here on compute with signals blocked. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigset_t ending, before;
    pthread_t thread;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ending, &before);
    if (pthread_create(&thread, NULL, take_signals, NULL) == 0)
        pthread_detach(thread);
    else
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int bench_asked_to_end(void)
{
    return asked_to_end;
}

/* ---- steps ---- */

bool bench_goes_on(const struct bench *b)
{
    const struct bench_options *o = b->o;
    return !asked_to_end && !o->is_evaluated_only && (!o->steps || bench_step(b) < o->steps) &&
           (o->seconds <= 0 || b->seconds < o->seconds);
}

void bench_step_done(struct bench *b, uint64_t tokens, double flops)
{
    b->steps++;
    b->tokens += tokens;
    b->flops += flops;
    if (b->o->work != WORK_GENERATE) /* which tells them as they come */
        wt_door_mark(b->door, WT_MARK_WORK, "tokens", tokens);
    wt_door_mark(b->door, WT_MARK_STEP, "step", 1);
    int64_t now = wt_ctx_now_ns(NULL);
    b->seconds = wt_s_from_ns(now - b->start_ns);
    bench_show_progress(b, now, false);
}

/* ---- the run ---- */

/* A file that is not there is a failure like any other; "not found" is for GPUs and emulations. */
static int of_files(int rc, struct wt_error *err)
{
    if (rc == WT_E_NOTFOUND)
        err->code = rc = WT_E_IO;
    return rc;
}

/* What can be said of the options once the model is known. */
static int check_sizes(const struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    const struct wt_config *c = &b->source.config;
    if (o->work != WORK_GENERATE && o->seq > c->positions)
        return wt_fail(err, WT_E_USAGE, "--seq %u: %s takes 3 to %u", o->seq, b->source.name,
                       c->positions);
    bool is_made = o->data && !o->vocab && !b->source.has_vocabulary;
    if (is_made && o->vocab_size > c->vocab && o->has_vocab_size)
        return wt_fail(err, WT_E_USAGE, "--vocab-size %zu: %s has room for %u", o->vocab_size,
                       b->source.name, c->vocab);
    if (o->is_packed && c->family == WT_FAMILY_GPT2)
        return wt_fail(err, WT_E_USAGE,
                       "--packed: %s is a gpt2; BERT and DistilBERT read packed batches",
                       b->source.name);
    if (o->work == WORK_GENERATE && c->family != WT_FAMILY_GPT2)
        return wt_fail(err, WT_E_USAGE, "generate: %s is a %s, which does not write; gpt2 does",
                       b->source.name, wt_family_name(c->family));
    return 0;
}

static int prepare(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    wt_door_mark(b->door, WT_MARK_BEGIN, "prepare", 1);
    int rc = of_files(bench_open_text(b, err), err);
    b->classes = (unsigned)b->items.class_count;
    if (rc == 0 && o->work == WORK_GENERATE)
        rc = of_files(bench_open_prompt(b, err), err);
    unsigned seq = o->work == WORK_GENERATE ? (unsigned)b->prompt_count + o->tokens : o->seq;
    if (rc == 0)
        rc = wt_feed_init(&b->feed, o->batch, seq, err);
    b->feed.is_packed = o->is_packed;
    if (rc == 0)
        rc = bench_open_device(b, err);
    if (rc == 0 && o->is_resumed)
        rc = of_files(bench_resume(b, err), err);
    else if (rc == 0 && b->source.hub && o->place != PLACE_EMU)
        rc = of_files(bench_load_weights(b, err), err);
    wt_door_mark(b->door, WT_MARK_END, "prepare", 1);
    return rc;
}

static int work(struct bench *b, struct wt_error *err)
{
    switch (b->o->work) {
    case WORK_INFER:
        return bench_infer(b, err);
    case WORK_GENERATE:
        return bench_generate(b, err);
    case WORK_TRAIN:
    case WORK_FINETUNE:
        break;
    }
    return bench_train(b, err);
}

/* Where something else had the processor while the peak was measured, the work may come near it or
 * above: then it was no peak. Where it cannot be measured again (the model may leave no memory for
 * it) it stays what it was; the run is done. */
static void look_at_peak_again(struct bench *b)
{
    if (!b->peak || strcmp(b->peak, "measured") != 0 || b->steps == 0)
        return;
    double reached = b->flops / b->seconds;
    if (b->prefill_s > 0)
        reached = fmax(reached, b->prefill_flops / b->prefill_s);
    for (unsigned i = 0; i < 3 && !asked_to_end && reached > 0.9 * b->peak_flops_s; i++) {
        double before = b->peak_flops_s;
        if (bench_measure_peak(b, NULL) < 0)
            i = 3;
        b->peak_flops_s = fmax(before, b->peak_flops_s);
    }
}

/* What the whole run comes to, for the report of who measures it. */
static void tell(const struct bench *b)
{
    if (b->steps > 0 && isfinite(b->peak_flops_s))
        wt_door_value(b->door, "MFU", b->flops / b->seconds / b->peak_flops_s);
}

static int report(struct bench *b)
{
    switch (b->o->work) {
    case WORK_INFER:
        return bench_infer_report(b);
    case WORK_GENERATE:
        return bench_generate_report(b);
    case WORK_TRAIN:
    case WORK_FINETUNE:
        break;
    }
    return bench_train_report(b);
}

int main(int argc, char **argv)
{
    char name[] = PROGRAM;
    argv[0] = name; /* getopt speaks in it */
    struct bench_options o;
    int code = bench_read_options(argc, argv, &o);
    if (code > 0)
        return code - 1;
    if (o.place == PLACE_CPU)
        prefer_avx512(argv);
    if (o.is_repeatable)
        setenv("WATTUNE_PRODUCTS", "openblas", 1);
    catch_signals();

    struct wt_error err = {0};
    struct bench b = {.o = &o,
                      .peak_flops_s = NAN,
                      .loss_first = NAN,
                      .loss_last = NAN,
                      .loss_smooth = NAN,
                      .loss_held_out = NAN,
                      .loss_resumed = NAN,
                      .accuracy = NAN};
    int rc = of_files(bench_source_find(&b.source, o.model, &err), &err);
    if (rc == 0 && !o.has_seq && o.work != WORK_GENERATE && o.seq > b.source.config.positions)
        o.seq = b.source.config.positions;
    if (rc == 0)
        rc = check_sizes(&b, &err);
    if (rc == 0)
        rc = of_files(bench_check_places(&b, &err), &err);
    if (rc == 0)
        rc = wt_door_open(&b.door, &err);
    if (rc == 0)
        rc = prepare(&b, &err);
    if (rc == 0) {
        bench_say_what(&b);
        b.start_ns = wt_ctx_now_ns(NULL);
        rc = work(&b, &err);
        /* What the run came to is said also where it cannot be kept. */
        int kept = rc == 0 ? of_files(bench_keep(&b, &err), &err) : 0;
        if (rc == 0) {
            look_at_peak_again(&b);
            tell(&b);
            code = report(&b);
        }
        rc = kept < 0 ? kept : rc;
    }
    if (rc < 0) {
        bench_clear_line(&b);
        code = bench_fail(&err);
    }
    if ((rc < 0 || b.is_unsaved) && b.has_made_folder)
        rmdir(o.save); /* where something was written it stays */
    if (asked_to_end && code == 0)
        code = 128 + asked_to_end;

    bench_close_device(&b);
    wt_feed_done(&b.feed);
    wt_corpus_free(b.corpus);
    wt_items_done(&b.items);
    wt_vocabulary_free(b.vocabulary);
    bench_source_done(&b.source);
    bench_times_done(&b.times);
    bench_times_done(&b.first_times);
    free(b.prompt);
    json_decref(b.texts);
    json_decref(b.evaluations);
    wt_door_close(b.door);
    return code;
}
