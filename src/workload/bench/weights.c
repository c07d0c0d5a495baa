/* Weights from a model's folder and into one, and where a run stood, for checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/checkpoint.h"
#include "workload/digest.h"

/* ---- weights ---- */

static int values_of(const struct bench *b, float **ret_values, struct wt_error *err)
{
    size_t total = wt_model_parameters_of(b->model)->total;
    *ret_values = malloc(total * sizeof(**ret_values));
    return *ret_values
               ? 0
               : wt_fail(err, WT_E_NOMEM, "no memory for the weights of %s", b->source.name);
}

/* A head that is random in part judges nothing. */
static int check_whole(const struct bench *b, struct wt_error *err)
{
    const char *left_out = wt_hub_left_out(b->source.hub);
    if (!b->o->is_evaluated_only || !*left_out)
        return 0;
    return wt_fail(err, WT_E_FORMAT, "--evaluate-only: %s has no tensor %.200s", b->source.folder,
                   left_out);
}

int bench_load_weights(struct bench *b, struct wt_error *err)
{
    float *values = NULL;
    int rc = values_of(b, &values, err);
    if (rc == 0) /* what the folder leaves out stays as it was made */
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = wt_hub_load(b->source.hub, wt_model_parameters_of(b->model), values, err);
    if (rc == 0)
        rc = check_whole(b, err);
    if (rc == 0)
        rc = wt_model_set(b->model, values, err);
    free(values);
    return rc;
}

int bench_save(struct bench *b, struct wt_error *err)
{
    float *values = NULL;
    bench_begin(b, "save");
    int rc = values_of(b, &values, err);
    if (rc == 0)
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = wt_hub_save(b->o->save, &b->source.config, wt_model_parameters_of(b->model), values,
                         WT_TENSOR_F32, b->items.classes, err);
    if (rc == 0)
        rc = bench_save_vocabulary(b, b->o->save, err);
    free(values);
    int ended = bench_end(b, "save", rc < 0 ? NULL : err);
    return rc < 0 ? rc : ended;
}

/* ---- checkpoints ---- */

/* What must be the same for a run to go on as the one it was. */
static const struct {
    const char *key, *words;
} fixed[] = {
    {"seed", "--seed"},
    {"batch", "--batch"},
    {"seq", "--seq"},
    {"accumulate", "--accumulate"},
    {"sequences", "the number of sequences of the text"},
    {"vocabulary", "the size of the vocabulary"},
};

/* Text and labels, token for token. */
static const char *text_digest(char *buf, size_t size, const struct bench *b)
{
    uint64_t digest = b->corpus ? wt_corpus_digest(b->corpus) : wt_items_digest(&b->items);
    return wt_text(buf, size, "%016" PRIx64, digest);
}

static json_int_t fixed_value(const struct bench *b, size_t i)
{
    const struct bench_options *o = b->o;
    const json_int_t values[] = {
        (json_int_t)o->seed,
        o->batch,
        o->seq,
        o->accumulate,
        (json_int_t)(b->corpus ? wt_corpus_sequences(b->corpus) : b->items.order.count),
        b->vocabulary ? (json_int_t)wt_vocabulary_size(b->vocabulary) : 0,
    };
    return values[i];
}

int bench_checkpoint(struct bench *b, struct wt_error *err)
{
    char digest[32];
    json_t *j = json_pack(
        "{s:I, s:I, s:s, s:o, s:o, s:o}", "step", (json_int_t)bench_step(b), "place",
        (json_int_t)(b->corpus ? wt_corpus_place(b->corpus) : wt_items_place(&b->items)), "text",
        text_digest(digest, sizeof(digest), b), "loss_first", wt_json_number(b->loss_first),
        "loss_last", wt_json_number(b->loss_last), "loss_smooth", wt_json_number(b->loss_smooth));
    for (size_t i = 0; i < WT_COUNTOF(fixed); i++)
        json_object_set_new(j, fixed[i].key, json_integer(fixed_value(b, i)));
    char *position = j ? json_dumps(j, JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!position)
        return wt_fail(err, WT_E_NOMEM, "no memory for a checkpoint");
    struct wt_error note;
    bench_begin(b, "checkpoint");
    int rc = wt_checkpoint_save(b->o->checkpoint, b->model, position, b->items.classes, &b->stamp,
                                &note, err);
    free(position);
    int ended = bench_end(b, "checkpoint", rc < 0 ? NULL : err);
    rc = rc < 0 ? rc : ended;
    if (note.code < 0) {
        bench_clear_line(b);
        fprintf(stderr, "%s: the checkpoint from before could not be removed: %s\n", PROGRAM,
                note.text);
    }
    return rc;
}

static double number_of(const json_t *j, const char *key)
{
    const json_t *value = json_object_get(j, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int take_position(struct bench *b, const json_t *j, struct wt_error *err)
{
    const char *folder = b->o->checkpoint;
    json_int_t step = json_integer_value(json_object_get(j, "step")),
               place = json_integer_value(json_object_get(j, "place"));
    if (step < 0 || place < 0 || !json_is_integer(json_object_get(j, "step")) ||
        !json_is_integer(json_object_get(j, "place")))
        return wt_fail(err, WT_E_FORMAT, "%s: it does not say where the run stood", folder);
    for (size_t i = 0; i < WT_COUNTOF(fixed); i++) {
        json_int_t was = json_integer_value(json_object_get(j, fixed[i].key)),
                   is = fixed_value(b, i);
        if (was != is)
            return wt_fail(err, WT_E_USAGE,
                           "%s: %s was %" JSON_INTEGER_FORMAT ", and is %" JSON_INTEGER_FORMAT
                           " here",
                           folder, fixed[i].words, was, is);
    }
    /* Of checkpoints that say it. */
    char digest[32];
    const char *text = json_string_value(json_object_get(j, "text"));
    if (text && strcmp(text, text_digest(digest, sizeof(digest), b)) != 0) {
        int rc = wt_fail(err, WT_E_USAGE,
                         "%s: was trained on another text than %s: as many sequences, not the "
                         "same ones",
                         folder, b->o->data ? b->o->data : "this one");
        wt_fix(err, "give the text and the vocabulary it was begun with");
        return rc;
    }
    /* A masked model passes over batches in which it knows no word; others do not. */
    unsigned __int128 least = (unsigned __int128)step * b->o->batch * b->o->accumulate;
    bool passes_over = b->corpus && b->source.config.family != WT_FAMILY_GPT2;
    if ((uint64_t)place < least || ((uint64_t)place > least && !passes_over))
        return wt_fail(err, WT_E_FORMAT,
                       "%s: it is damaged: of %" JSON_INTEGER_FORMAT
                       " steps, its place cannot be %" JSON_INTEGER_FORMAT,
                       folder, step, place);
    if (b->o->steps && (uint64_t)step >= b->o->steps)
        return wt_fail(err, WT_E_USAGE,
                       "%s: %" JSON_INTEGER_FORMAT " steps are done, and --steps %" PRIu64
                       " counts those before as well",
                       folder, step, b->o->steps);
    b->step_from = (uint64_t)step;
    b->loss_first = number_of(j, "loss_first");
    b->loss_last = b->loss_resumed = number_of(j, "loss_last");
    b->loss_smooth = number_of(j, "loss_smooth");
    if (b->corpus)
        wt_corpus_seek(b->corpus, (uint64_t)place);
    else
        wt_items_seek(&b->items, (uint64_t)place);
    return 0;
}

int bench_resume(struct bench *b, struct wt_error *err)
{
    char *position = NULL;
    int rc = wt_checkpoint_load(b->o->checkpoint, b->model, &position, &b->stamp, err);
    if (rc < 0)
        return rc;
    json_t *j = json_loads(position, JSON_REJECT_DUPLICATES, NULL);
    rc = take_position(b, j, err);
    json_decref(j);
    free(position);
    return rc;
}
