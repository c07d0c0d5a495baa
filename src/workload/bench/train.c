/* Training and fine-tuning: steps, their losses, held-out text, checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bench/bench.h"

/* Rises over the warm-up (a tenth of the steps, at most 1000; where only a time is given, 20), then
 * falls to 0 at the last one, or stays. */
static float rate_at(const struct bench *b, uint64_t step)
{
    static const struct {
        const char *name;
        float rate;
    } rates[] = {{"bert-tiny", 1e-3f}, {"bert-mini", 5e-4f}, {"bert-small", 5e-4f}};
    const struct bench_options *o = b->o;
    /* Of a model that is trained from the beginning, and of one that knows something. */
    float top = o->rate > 0                                 ? o->rate
                : o->work == WORK_FINETUNE                  ? (b->source.hub ? 5e-5f : 5e-4f)
                : b->source.hub                             ? 5e-5f
                : b->source.config.family == WT_FAMILY_GPT2 ? 3e-4f
                                                            : 1e-4f;
    for (size_t i = 0; o->rate <= 0 && o->work == WORK_TRAIN && i < WT_COUNTOF(rates); i++)
        if (strcmp(rates[i].name, b->source.name) == 0)
            top = rates[i].rate;
    uint64_t warmup = o->steps ? o->steps / 10 : 20;
    warmup = o->warmup >= 0 ? (uint64_t)o->warmup : warmup > 1000 ? 1000 : warmup;
    if (step < warmup)
        return top * (float)(step + 1) / (float)(warmup + 1);
    if (o->schedule == SCHEDULE_CONSTANT || !o->steps || o->steps <= warmup)
        return top;
    if (o->schedule == SCHEDULE_COSINE) {
        double done = (double)(step - warmup) / (double)(o->steps - warmup);
        return top * 0.5f * (1 + (float)cos(M_PI * done));
    }
    return top * (float)(o->steps - step) / (float)(o->steps - warmup);
}

static struct wt_input input_of(const struct bench *b)
{
    bool is_table = b->o->work == WORK_FINETUNE;
    bool is_masked = !is_table && b->source.config.family != WT_FAMILY_GPT2;
    return wt_feed_input(&b->feed, is_masked, is_table || is_masked);
}

/* How many positions of the batch in the feed have a loss. */
static size_t positions_of(const struct bench *b)
{
    if (b->o->work == WORK_FINETUNE)
        return 0;
    return b->source.config.family == WT_FAMILY_GPT2 ? wt_feed_tokens(&b->feed) - b->feed.count
                                                     : b->feed.chosen_count;
}

static uint64_t next_batch(struct bench *b)
{
    const struct bench_options *o = b->o;
    if (b->corpus)
        return wt_corpus_next(b->corpus, &b->feed, o->batch);
    if (b->items.count)
        return wt_items_next(&b->items, &b->feed, o->batch);
    /* Counted only: full sequences. */
    b->feed.count = o->batch;
    b->feed.rows = (size_t)o->batch * o->seq;
    bool is_masked = b->source.config.family != WT_FAMILY_GPT2;
    b->feed.chosen_count = is_masked ? o->batch * wt_masked_per_sequence(o->seq) : 0;
    for (size_t i = 0; i < o->batch; i++) {
        b->feed.starts[i] = (int32_t)(i * o->seq);
        b->feed.lengths[i] = (int32_t)o->seq;
    }
    for (size_t i = 0; i < b->feed.chosen_count; i++)
        b->feed.chosen[i] = (int32_t)i;
    return b->feed.rows;
}

/* The losses of the steps before, and whether they are sound. */
static int read_loss(struct bench *b, uint64_t step, float rate, struct wt_error *err)
{
    double loss = NAN, norm = NAN;
    int rc = wt_model_result(b->model, &loss, &norm, err);
    if (rc < 0)
        return rc;
    if (isnan(b->loss_first))
        b->loss_first = b->loss_smooth = loss;
    b->loss_last = loss;
    b->loss_smooth = 0.9 * b->loss_smooth + 0.1 * loss;
    bool is_number = isfinite(loss) && isfinite(norm);
    double choices = b->o->work == WORK_FINETUNE ? b->classes : b->source.config.vocab;
    if (!is_number || bench_is_diverging(b->loss_first, b->loss_smooth, choices)) {
        if (is_number)
            rc = wt_fail(err, WT_E_STATE,
                         "training diverges: the loss was %.3f in the first step and is %.3f "
                         "around step %" PRIu64,
                         b->loss_first, b->loss_smooth, step);
        else
            rc = wt_fail(err, WT_E_STATE,
                         "training broke down: in step %" PRIu64 " the %s is not a number", step,
                         isfinite(loss) ? "gradient" : "loss");
        if (!is_number && step == 1 && b->source.hub)
            bench_blame_weights(b, err); /* before the first update no rate has done that */
        else
            wt_fix(err, "the learning rate was %g: try --lr %g", (double)rate, (double)rate / 10);
        return rc;
    }
    wt_door_value(b->door, "loss", loss);
    return 0;
}

/* One step of --accumulate batches. */
static int step(struct bench *b, uint64_t *ret_tokens, double *ret_flops, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    int rc = 0;
    *ret_tokens = 0;
    *ret_flops = 0;
    for (unsigned part = 0; part < o->accumulate && rc == 0; part++) {
        *ret_tokens += next_batch(b);
        /* The gradient of a product is two products. */
        *ret_flops += 3 * bench_forward_flops(&b->source.config, &b->feed, positions_of(b),
                                              o->work == WORK_FINETUNE ? b->classes : 0);
        struct wt_input input = input_of(b);
        bench_begin(b, "forward");
        wt_model_forward(b->model, &input, true, part, 1.0f / (float)o->accumulate);
        rc = bench_end(b, "forward", err);
        if (rc < 0)
            break;
        bench_begin(b, "backward");
        wt_model_backward(b->model);
        rc = bench_end(b, "backward", err);
    }
    if (rc < 0)
        return rc;
    float rate = rate_at(b, bench_step(b));
    struct wt_rate adam = {rate, 0.9f, 0.999f, 1e-6f, o->decay, o->clip};
    bench_begin(b, "optimizer");
    wt_model_optimize(b->model, &adam);
    return bench_end(b, "optimizer", err);
}

/* ---- held-out text ---- */

static size_t held_out_count(const struct bench *b)
{
    return b->emu ? 0 : b->corpus ? wt_corpus_held_out(b->corpus) : b->items.held_out_count;
}

/* How many of the forward pass's rows are right; of: [classes], adds how many there are of each. */
static int count_right(struct bench *b, size_t *right, size_t *of, struct wt_error *err)
{
    float *logits = calloc((size_t)b->o->batch * b->classes, sizeof(*logits));
    if (!logits)
        return wt_fail(err, WT_E_NOMEM, "no memory for %u x %u logits", b->o->batch, b->classes);
    int rc = wt_model_class_logits(b->model, logits, err);
    for (size_t i = 0; rc == 0 && i < b->feed.count; i++) {
        const float *l = logits + i * b->classes;
        int32_t best = 0;
        for (unsigned k = 1; k < b->classes; k++)
            if (l[k] > l[best])
                best = (int32_t)k;
        *right += best == b->feed.targets[i];
        of[b->feed.targets[i]]++;
    }
    free(logits);
    return rc;
}

/* What is said of these rows or sequences; names differ where nothing was held out. */
static void tell_evaluation(struct bench *b, const size_t *of, size_t rows, size_t right)
{
    bool is_all = b->o->is_evaluated_only;
    b->held_out_step = bench_step(b);
    b->judged = rows;
    wt_door_value(b->door, is_all ? "loss" : "loss held out", b->loss_held_out);
    if (b->corpus)
        return;
    b->accuracy = (double)right / (double)rows;
    b->judged_most = 0;
    for (unsigned i = 0; i < b->classes; i++)
        b->judged_most = of[i] > b->judged_most ? of[i] : b->judged_most;
    wt_door_value(b->door, is_all ? "accuracy" : "accuracy held out", b->accuracy);
}

/* Mean over the positions of up to --evaluate batches; of a table, also the share that is right. */
static int evaluate(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    size_t held_out = held_out_count(b), count = 0, rows = 0, right = 0;
    double sum = 0;
    if (!o->evaluate || !held_out || bench_asked_to_end())
        return 0;
    size_t *of = calloc(b->classes + 1, sizeof(*of));
    int rc = of ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for %u classes", b->classes);
    bench_begin(b, "evaluate");
    for (size_t i = 0;
         rc == 0 && i < o->evaluate && i * o->batch < held_out && !bench_asked_to_end(); i++) {
        if (b->corpus)
            wt_corpus_evaluation(b->corpus, i * o->batch, &b->feed, o->batch);
        else
            wt_items_fill(&b->items, b->items.held_out, held_out, i * o->batch, &b->feed, o->batch);
        size_t positions = b->corpus ? positions_of(b) : b->feed.count;
        if (positions == 0)
            continue;
        struct wt_input input = input_of(b);
        double loss = 0;
        wt_model_forward(b->model, &input, false, 0, 1);
        rc = wt_model_result(b->model, &loss, NULL, err);
        if (rc == 0 && !isfinite(loss)) {
            rc = wt_fail(err, WT_E_STATE, "evaluation broke down: a loss is not a number");
            if (bench_step(b) == 0 || o->is_evaluated_only)
                bench_blame_weights(b, err);
            else
                wt_fix(err, "the last steps went too far: try a lower --lr");
        }
        sum += loss * (double)positions;
        count += positions;
        if (rc == 0 && !b->corpus)
            rc = count_right(b, &right, of, err);
        rows += b->feed.count;
        if (rc == 0 && o->is_evaluated_only)
            bench_step_done(b, wt_feed_tokens(&b->feed),
                            bench_forward_flops(&b->source.config, &b->feed, 0, b->classes));
    }
    int ended = bench_end(b, "evaluate", rc < 0 ? NULL : err);
    if (rc == 0 && ended == 0 && count > 0) {
        b->loss_held_out = sum / (double)count;
        tell_evaluation(b, of, rows, right);
    }
    free(of);
    if (rc < 0 || ended < 0 || count == 0)
        return rc < 0 ? rc : ended;
    if (!b->evaluations)
        b->evaluations = json_array();
    json_array_append_new(b->evaluations,
                          json_pack("{s:I, s:o, s:o}", "step", (json_int_t)bench_step(b),
                                    "loss_held_out", wt_json_number(b->loss_held_out), "accuracy",
                                    wt_json_number(b->accuracy)));
    return 0;
}

/* ---- the run ---- */

static bool is_due(uint64_t step, uint64_t every)
{
    return every && step % every == 0;
}

static int64_t end_ns(const struct bench *b)
{
    return b->o->seconds > 0 ? b->start_ns + (int64_t)(b->o->seconds * 1e9) : 0;
}

/* Where it stands in mid run. */
static void say_evaluation(struct bench *b)
{
    if (b->o->is_quiet || b->held_out_step != bench_step(b) || !isfinite(b->loss_held_out))
        return;
    bench_clear_line(b);
    fprintf(stderr, "step %" PRIu64 "  held out %.4f", b->held_out_step, b->loss_held_out);
    if (isfinite(b->accuracy))
        fprintf(stderr, "  %.1f %% right", 100 * b->accuracy);
    fputc('\n', stderr);
}

int bench_train(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    struct bench_pace pace = {.from_ns = b->start_ns};
    uint64_t evaluated = UINT64_MAX;
    b->kept = UINT64_MAX;
    while (bench_goes_on(b)) {
        uint64_t tokens;
        double flops;
        float rate = rate_at(b, bench_step(b));
        int rc = step(b, &tokens, &flops, err);
        if (rc < 0)
            return rc;
        uint64_t done = bench_step(b) + 1;
        bool evaluates = is_due(done, o->evaluate_every), keeps = is_due(done, o->checkpoint_every);
        bool waits =
            o->place != PLACE_CUDA || bench_pace_is_due(&pace, wt_ctx_now_ns(NULL), end_ns(b));
        waits |= done == o->steps || evaluates || keeps;
        if (waits && !b->emu)
            rc = read_loss(b, done, rate, err);
        if (waits)
            bench_pace_waited(&pace, wt_ctx_now_ns(NULL));
        if (rc < 0)
            return rc;
        bench_step_done(b, tokens, flops);
        /* What is done beside the steps is not in their time. */
        int64_t from_ns = wt_ctx_now_ns(NULL);
        if (evaluates) {
            rc = evaluate(b, err);
            evaluated = done;
            say_evaluation(b);
        }
        if (rc == 0 && keeps) {
            rc = bench_checkpoint(b, err);
            b->kept = done;
        }
        if (rc < 0)
            return rc;
        if (evaluates || keeps) {
            int64_t now_ns = wt_ctx_now_ns(NULL);
            b->start_ns += now_ns - from_ns;
            bench_pace_waited(&pace, now_ns);
        }
    }
    int rc = bench_sync(b, err);
    if (rc == 0 && pace.queued) { /* a signal came before they were done */
        b->seconds = wt_s_from_ns(wt_ctx_now_ns(NULL) - b->start_ns);
        rc = read_loss(b, bench_step(b), rate_at(b, bench_step(b) - 1), err);
    }
    if (rc == 0 && evaluated != bench_step(b))
        rc = evaluate(b, err);
    return rc;
}

int bench_keep(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    int rc = 0;
    if (o->checkpoint && b->kept != bench_step(b))
        rc = bench_checkpoint(b, err);
    /* A model that is not what it was to become replaces none. */
    if (!o->save)
        return rc;
    b->is_unsaved = bench_asked_to_end() != 0;
    if (b->is_unsaved)
        return rc;
    /* Also where the checkpoint could not be written. */
    struct wt_error another;
    int saved = bench_save(b, rc < 0 ? &another : err);
    return rc < 0 ? rc : saved;
}

/* "80.0 % of the 60 held-out rows right", or "of 8 of the 60". */
static void say_accuracy(const struct bench *b)
{
    const char *which = b->o->is_evaluated_only ? "" : "held-out ";
    size_t all = held_out_count(b);
    fprintf(stderr, ", %.1f %% of ", 100 * b->accuracy);
    if (b->judged < all)
        fprintf(stderr, "%zu of ", b->judged);
    fprintf(stderr, "the %zu %srow%s right (%.1f %% are of one class)", all, which,
            all == 1 ? "" : "s", 100 * (double)b->judged_most / (double)b->judged);
}

int bench_train_report(struct bench *b)
{
    const struct bench_options *o = b->o;
    if (!o->is_quiet) {
        bench_say_summary(b);
        if (b->steps > 0 && isfinite(b->loss_last) && isfinite(b->loss_resumed))
            fprintf(stderr, "; resumed at step %" PRIu64 ", loss %.4f -> %.4f", b->step_from,
                    b->loss_resumed, b->loss_last);
        else if (b->steps == 1 && isfinite(b->loss_last))
            fprintf(stderr, "; loss %.4f", b->loss_last);
        else if (b->steps > 0 && isfinite(b->loss_last))
            fprintf(stderr, "; loss %.4f -> %.4f", b->loss_first, b->loss_last);
        if (isfinite(b->loss_held_out))
            fprintf(stderr, "%s %.4f", o->is_evaluated_only ? "; loss" : ", held out",
                    b->loss_held_out);
        if (isfinite(b->loss_held_out) && b->held_out_step != bench_step(b))
            fprintf(stderr, " at step %" PRIu64, b->held_out_step);
        if (isfinite(b->accuracy))
            say_accuracy(b);
        bench_say_end();
    }
    if (b->is_unsaved)
        fprintf(stderr,
                "%s: not saved in %s, as it did not come to its end; --checkpoint keeps "
                "what a signal ends\n",
                PROGRAM, o->save);
    if (!o->is_json)
        return 0;
    json_t *j = bench_json(b);
    bool is_all = o->is_evaluated_only; /* nothing was held out */
    json_t *more = json_pack(
        "{s:o, s:o, s:o, s:o, s:o?, s:o, s:o, s:o, s:I, s:I, s:o?, s:i, s:I}", "loss_first",
        wt_json_number(b->loss_first), "loss_resumed", wt_json_number(b->loss_resumed), "loss_last",
        wt_json_number(b->loss_last), "loss_held_out",
        wt_json_number(is_all ? (double)NAN : b->loss_held_out), "held_out_step",
        isfinite(b->loss_held_out) && !is_all ? json_integer((json_int_t)b->held_out_step)
                                              : json_null(),
        "accuracy_held_out", wt_json_number(is_all ? (double)NAN : b->accuracy), "loss",
        wt_json_number(is_all ? b->loss_held_out : (double)NAN), "accuracy",
        wt_json_number(is_all ? b->accuracy : (double)NAN), "evaluated", (json_int_t)b->judged,
        "evaluated_of", (json_int_t)held_out_count(b), "evaluations",
        b->evaluations && !is_all ? json_incref(b->evaluations) : json_array(), "accumulate",
        (int)o->accumulate, "step_from", (json_int_t)b->step_from);
    if (!j || !more || json_object_update(j, more) < 0) {
        json_decref(j);
        j = NULL;
    }
    json_decref(more);
    return bench_print_json(j);
}
