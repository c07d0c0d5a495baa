/* What is said while a run goes on and when it is done. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"

#define UNKNOWN_MUCH                                                                               \
    0.05 /* of a text: more of it is said, for what is learnt is then not of the text */

int bench_fail(const struct wt_error *err)
{
    fprintf(stderr, "%s: %s\n", PROGRAM, err->text);
    if (err->fix[0])
        fprintf(stderr, "  %s\n", err->fix);
    return wt_exit_code(err->code);
}

void bench_blame_weights(const struct bench *b, struct wt_error *err)
{
    wt_fix(err, "the weights in %s give no finite numbers%s",
           b->source.hub ? b->source.folder : b->source.name,
           b->o->dtype == WT_F32 ? "" : ": try --dtype fp32");
}

int bench_usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: ", PROGRAM);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n  `%s --help` lists what there is\n", PROGRAM);
    va_end(args);
    return EXIT_USAGE;
}

/* "13,070 tokens/s"; with decimals where whole numbers would tell too little. */
const char *bench_rate_words(char *buf, size_t size, double tokens, double seconds)
{
    char number[48];
    double rate = tokens / seconds;
    if (rate < 99.95 || !(rate < 1e18))
        return wt_text(buf, size, "%.1f tokens/s", rate);
    return wt_text(buf, size, "%s tokens/s",
                   wt_grouped(number, sizeof(number), (uint64_t)llround(rate)));
}

const char *bench_flops_words(char *buf, size_t size, double flops_s)
{
    bool is_large = flops_s >= 1e12;
    return wt_text(buf, size, "%.4g %s", flops_s * (is_large ? 1e-12 : 1e-9),
                   is_large ? "TFLOP/s" : "GFLOP/s");
}

const char *bench_time_words(char *buf, size_t size, double seconds)
{
    if (seconds < 1e-3)
        return wt_text(buf, size, "%.3g us", seconds * 1e6);
    if (seconds < 1)
        return wt_text(buf, size, "%.3g ms", seconds * 1e3);
    return wt_text(buf, size, "%.3g s", seconds);
}

/* Of the text's tokens, those that the vocabulary does not have. */
static double unknown_share(const struct bench *b)
{
    if (b->corpus)
        return wt_corpus_unknown_share(b->corpus);
    return b->items.words ? (double)b->items.unknown / (double)b->items.words : 0;
}

#define CLASSES_SHOWN 8

/* How many rows each class has, and what is odd about that. */
static void say_classes(const struct bench *b)
{
    const struct wt_items *items = &b->items;
    size_t *all = calloc(items->class_count, sizeof(*all)), untrained = 0;
    size_t *trained = calloc(items->class_count, sizeof(*trained));
    if (all && trained) {
        wt_items_count_classes(items, all, trained);
        if (items->class_count <= CLASSES_SHOWN) {
            fprintf(stderr, "%s: rows: ", PROGRAM);
            for (size_t i = 0; i < items->class_count; i++)
                fprintf(stderr, "%s%.40s %zu", i ? ", " : "", items->classes[i], all[i]);
            fprintf(stderr, "%s\n",
                    items->has_number_labels ? "; the table has these classes' numbers" : "");
        } else if (items->has_number_labels) {
            fprintf(stderr, "%s: the table's labels are numbers of %s's classes\n", PROGRAM,
                    b->source.name);
        }
        size_t labels = 0; /* of the table; the classes may be a folder's */
        for (size_t i = 0; i < items->class_count; i++)
            labels += all[i] > 0;
        for (size_t i = 0; i < items->class_count; i++)
            untrained += all[i] > 0 && trained[i] == 0;
        if (untrained && !b->o->is_evaluated_only)
            fprintf(stderr, "%s: %zu class%s, all of whose rows are held out\n", PROGRAM, untrained,
                    untrained == 1 ? " cannot be learnt" : "es cannot be learnt");
        if (2 * labels > items->count && labels > CLASSES_SHOWN)
            fprintf(stderr, "%s: %zu labels in %zu rows: is the first field of a row its label?\n",
                    PROGRAM, labels, items->count);
    }
    free(all);
    free(trained);
}

void bench_say_what(const struct bench *b)
{
    static const char *const doing[] = {"training", "fine-tuning", "reading with",
                                        "generating with"};
    const struct bench_options *o = b->o;
    if (o->is_quiet)
        return;
    fprintf(stderr, "%s: %s %s, %.1f M parameters%s, batch %u", PROGRAM,
            o->is_evaluated_only ? "evaluating" : doing[o->work], b->source.name,
            (double)wt_model_parameters_of(b->model)->total * 1e-6,
            o->is_resumed           ? " of the checkpoint"
            : b->source.hub         ? " of its folder"
            : o->place == PLACE_EMU ? ""
                                    : " from seeded random numbers",
            o->batch);
    if (o->work != WORK_GENERATE)
        fprintf(stderr, " x %u", o->seq);
    if (o->accumulate > 1)
        fprintf(stderr, ", %u batches a step", o->accumulate);
    if (o->is_resumed)
        fprintf(stderr, ", resumed at step %" PRIu64, b->step_from);
    fprintf(stderr, ", %s", wt_dtype_name(o->dtype));
    switch (o->place) {
    case PLACE_CPU:
        fprintf(stderr, ", %u CPU thread%s%s\n", o->threads, o->threads == 1 ? "" : "s",
                o->is_pinned ? ", pinned" : "");
        break;
    case PLACE_CUDA:
        fprintf(stderr, ", on GPU %u, %s\n", o->gpu, bench_device_name(b));
        break;
    case PLACE_EMU:
        fprintf(stderr, ", on emulated GPU %u: no arithmetic is done, so there is no %s\n", o->gpu,
                o->work == WORK_GENERATE ? "text"
                : o->work == WORK_INFER  ? "result"
                                         : "loss");
        break;
    }
    if (o->place == PLACE_CPU && getenv("WATTUNE_EMULATION"))
        fprintf(stderr,
                "%s: the CPU does the work, and the emulated GPU idles: its energy is not the "
                "work's (--device emu)\n",
                PROGRAM);
    unsigned cpus = o->cpus;
    if (o->place == PLACE_CPU && o->threads > cpus)
        fprintf(stderr,
                "%s: --threads %u is more than the %u CPU%s this process may use: threads will "
                "wait for each other\n",
                PROGRAM, o->threads, cpus, cpus == 1 ? "" : "s");
    if (b->source.hub && o->place != PLACE_EMU && !o->is_resumed &&
        wt_hub_left_out(b->source.hub)[0])
        fprintf(stderr, "%s: not %s %s, and random: %.300s\n", PROGRAM,
                o->has_new_head ? "taken from" : "in", b->source.folder,
                wt_hub_left_out(b->source.hub));
    if (b->source.hub && o->vocab && b->vocabulary && o->place != PLACE_EMU &&
        (double)wt_vocabulary_size(b->vocabulary) < 0.9 * b->source.config.vocab)
        fprintf(stderr,
                "%s: the weights of %s know %u entries, and %s has %zu: is it the vocabulary they "
                "were trained with?\n",
                PROGRAM, b->source.name, b->source.config.vocab, o->vocab,
                wt_vocabulary_size(b->vocabulary));
    if (!b->vocabulary && (b->corpus || b->items.count))
        fprintf(stderr, "%s: the tokens are random, not text\n", PROGRAM);
    if (!b->vocabulary)
        return;
    fprintf(stderr, "%s: %s: ", PROGRAM, o->data ? o->data : "prompt");
    if (b->corpus)
        fprintf(stderr,
                "%zu tokens of a vocabulary of %zu (the model has %u), %zu sequence%s, %zu "
                "held out\n",
                wt_corpus_tokens(b->corpus), wt_vocabulary_size(b->vocabulary),
                b->source.config.vocab, wt_corpus_sequences(b->corpus),
                wt_corpus_sequences(b->corpus) == 1 ? "" : "s", wt_corpus_held_out(b->corpus));
    else if (o->is_evaluated_only)
        fprintf(stderr, "%zu row%s of %u classes; a vocabulary of %zu\n", b->items.count,
                b->items.count == 1 ? "" : "s", b->classes, wt_vocabulary_size(b->vocabulary));
    else if (b->items.labels)
        fprintf(stderr, "%zu row%s of %u classes, %zu held out; a vocabulary of %zu\n",
                b->items.order.count, b->items.order.count == 1 ? "" : "s", b->classes,
                b->items.held_out_count, wt_vocabulary_size(b->vocabulary));
    else
        fprintf(stderr, "a vocabulary of %zu (the model has %u)\n",
                wt_vocabulary_size(b->vocabulary), b->source.config.vocab);
    if (b->items.labels)
        say_classes(b);
    if (b->items.cut)
        fprintf(stderr, "%s: %zu of %zu texts are longer than %u tokens and lost their end\n",
                PROGRAM, b->items.cut, b->items.count, o->seq);
    if (unknown_share(b) > UNKNOWN_MUCH)
        fprintf(stderr,
                "%s: %.0f %% of the text is not in the vocabulary and was read as one unknown "
                "token: is it the right one? --vocab FILE|DIR\n",
                PROGRAM, 100 * unknown_share(b));
}

void bench_show_progress(struct bench *b, int64_t now_ns, bool is_last)
{
    const struct bench_options *o = b->o;
    bool is_terminal = isatty(STDERR_FILENO);
    int64_t pause = is_terminal ? 250 * WT_NS_PER_MS : 10 * WT_NS_PER_S;
    if (o->is_quiet || (!is_last && b->shown_ns && now_ns - b->shown_ns < pause))
        return;
    /* The last step's line may stand there already; on a terminal it is finished in place. */
    if (is_last && !is_terminal && b->shown_step == b->steps)
        return;
    b->shown_ns = now_ns;
    b->shown_step = b->steps;
    char rate[64], of[32] = "", loss[48] = "", left[32] = "";
    if (o->steps)
        wt_text(of, sizeof(of), "/%" PRIu64, o->steps);
    if (isfinite(b->loss_last))
        wt_text(loss, sizeof(loss), "  loss %.4f", b->loss_last);
    double by_steps =
        o->steps ? (double)(o->steps - bench_step(b)) * b->seconds / (double)b->steps : INFINITY;
    double by_time = o->seconds > 0 ? o->seconds - b->seconds : INFINITY;
    double wait = fmax(0, fmin(by_steps, by_time));
    if (!is_last && wait > 0 && isfinite(wait))
        wt_text(left, sizeof(left), "  %.0f:%02.0f left", floor(wait / 60), floor(fmod(wait, 60)));
    char line[256];
    wt_text(line, sizeof(line), "step %" PRIu64 "%s%s  %s so far%s", bench_step(b), of, loss,
            bench_rate_words(rate, sizeof(rate), (double)b->tokens, b->seconds), left);
    /* A line that is drawn again in its place must not go on in the next one; the last column stays
     * free for terminals that wrap as soon as it is taken. */
    struct winsize window;
    if (is_terminal && !is_last && ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 &&
        window.ws_col > 1 && window.ws_col <= sizeof(line))
        line[window.ws_col - 1] = '\0';
    b->is_line_open = is_terminal && !is_last;
    fprintf(stderr, "%s%s%s", is_terminal ? "\r\033[K" : "", line, b->is_line_open ? "" : "\n");
}

void bench_clear_line(struct bench *b)
{
    if (b->is_line_open)
        fputs("\r\033[K", stderr);
    b->is_line_open = false;
}

void bench_say_summary(struct bench *b)
{
    if (b->o->is_quiet)
        return;
    if (b->steps > 0)
        bench_show_progress(b, wt_ctx_now_ns(NULL), true);
    char tokens[48], rate[64], flops[48];
    fprintf(stderr, "%s: %" PRIu64 " step%s, %s tokens in %.1f s", PROGRAM, b->steps,
            b->steps == 1 ? "" : "s", wt_grouped(tokens, sizeof(tokens), b->tokens), b->seconds);
    if (b->steps == 0)
        return;
    double flops_s = b->flops / b->seconds;
    fprintf(stderr, ": %s, %s", bench_rate_words(rate, sizeof(rate), (double)b->tokens, b->seconds),
            bench_flops_words(flops, sizeof(flops), flops_s));
    if (isfinite(b->peak_flops_s))
        fprintf(stderr, ", %.3g %% of the %s that products %s", 100 * flops_s / b->peak_flops_s,
                bench_flops_words(flops, sizeof(flops), b->peak_flops_s),
                flops_s <= b->peak_flops_s ? "reach here"
                                           : "reached when they were measured alone");
}

void bench_say_end(void)
{
    fprintf(stderr, "%s\n", bench_asked_to_end() ? "; ended by a signal" : "");
}

json_t *bench_json(const struct bench *b)
{
    const struct bench_options *o = b->o;
    double per_s = b->steps > 0 ? (double)b->tokens / b->seconds : NAN;
    double flops_s = b->steps > 0 ? b->flops / b->seconds : NAN;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:o?, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s?, "
        "s:o, "
        "s:o?, s:b, s:b}",
        "work", bench_work_name(o->work), "model", b->source.name, "family",
        wt_family_name(b->source.config.family), "device", bench_place_name(o->place), "dtype",
        wt_dtype_name(o->dtype), "parameters", (json_int_t)wt_model_parameters_of(b->model)->total,
        "batch", (int)o->batch, "seq", (int)b->feed.seq, "threads",
        o->place == PLACE_CPU ? json_integer(o->threads) : json_null(), "seed", (json_int_t)o->seed,
        "steps", (json_int_t)b->steps, "tokens", (json_int_t)b->tokens, "seconds",
        wt_json_number(b->seconds), "tokens_per_s", wt_json_number(per_s), "flops_per_s",
        wt_json_number(flops_s), "peak_flops_per_s", wt_json_number(b->peak_flops_s), "peak",
        b->peak, "mfu", wt_json_number(flops_s / b->peak_flops_s), "vocabulary",
        b->vocabulary ? json_integer((json_int_t)wt_vocabulary_size(b->vocabulary)) : json_null(),
        "synthetic", !b->vocabulary, "ended_by_signal", bench_asked_to_end() != 0);
}

/* Takes the object. */
int bench_print_json(json_t *object)
{
    char *text = object ? wt_json_dump(object) : NULL;
    if (!text) {
        fprintf(stderr, "%s: no memory for the JSON document\n", PROGRAM);
        return 1;
    }
    int rc = puts(text) < 0 || fflush(stdout) != 0;
    if (rc)
        fprintf(stderr, "%s: writing the JSON document: %s\n", PROGRAM, strerror(errno));
    free(text);
    return rc;
}

/* ---- latencies ---- */

bool bench_times_add(struct bench_times *t, double seconds)
{
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 4096;
        double *more = realloc(t->seconds, room * sizeof(*more));
        if (!more)
            return false;
        t->seconds = more;
        t->room = room;
    }
    t->seconds[t->count++] = seconds;
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_times_at(struct bench_times *t, double share)
{
    if (t->count == 0)
        return NAN;
    qsort(t->seconds, t->count, sizeof(*t->seconds), by_size);
    size_t rank = (size_t)ceil(share * (double)t->count);
    return t->seconds[rank > 0 ? rank - 1 : 0];
}

void bench_times_done(struct bench_times *t)
{
    free(t->seconds);
    *t = (struct bench_times){0};
}
