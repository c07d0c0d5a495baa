/* wattune-bench: the built-in workloads as a program of its own, which `wattune bench` becomes.
 * Apart from the command so that `wattune run -- true` need not load OpenBLAS.
 *
 * main.c puts a run together; options.c is the one place of options; source.c finds a model by name
 * or folder; text.c opens vocabulary and text; device.c makes the backend, measures its peak and
 * ends phases; places.c looks where the run may leave something, weights.c loads and keeps;
 * train.c, infer.c and generate.c do the work, pace.c, flops.c and sample.c what of it is
 * arithmetic alone; words.c says it. What is done is told through the door: steps, tokens, phases,
 * losses. */
#ifndef WT_WORKLOAD_BENCH_H
#define WT_WORKLOAD_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "wattune/door.h"
#include "wattune/emulate.h"
#include "workload/checkpoint.h"
#include "workload/corpus.h"
#include "workload/hub.h"
#include "workload/items.h"
#include "workload/model.h"

#define PROGRAM "wattune bench"

enum { EXIT_USAGE = 2 };

/* ---- options ---- */

enum bench_work { WORK_TRAIN, WORK_FINETUNE, WORK_INFER, WORK_GENERATE };
enum bench_place { PLACE_CPU, PLACE_EMU, PLACE_CUDA };
enum bench_schedule { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT };

struct bench_options {
    enum bench_work work;
    const char *model; /* as it was given */

    const char *data, *vocab;
    size_t vocab_size;
    bool is_synthetic, has_vocab_size, has_seq;
    uint64_t steps; /* 0: not limited */
    double seconds; /* 0: not limited */
    unsigned batch, seq, threads, gpu;
    unsigned cpus; /* this process may use; counted before any thread is bound to one */
    bool is_pinned, is_repeatable, has_phases;
    enum wt_dtype dtype;
    enum bench_place place;
    uint64_t seed;
    double peak_flops_s; /* 0: measured; NaN: none */

    float rate; /* 0: the model's own */
    float clip, decay;
    int64_t warmup; /* -1: by the number of steps */
    enum bench_schedule schedule;
    bool has_schedule;
    unsigned accumulate;
    double dropout; /* below 0: the configuration's. As it was given: it goes into config.json */
    unsigned evaluate;
    uint64_t evaluate_every, checkpoint_every; /* 0: at the end */
    const char *checkpoint, *save;
    bool is_resumed;
    bool has_new_head, is_evaluated_only; /* finetune */

    bool is_packed;

    const char *prompt, *prompt_file;
    unsigned tokens;
    bool is_greedy;
    float temperature, top_p;
    unsigned top_k;

    bool is_json, is_quiet;
};

/* 0: go on; else the exit code plus 1. */
int bench_read_options(int argc, char **argv, struct bench_options *o);
const char *bench_work_name(enum bench_work work);
const char *bench_place_name(enum bench_place place);

/* ---- a model by name or folder ---- */

struct bench_source {
    struct wt_config config;
    char name[128];
    char folder[4000];  /* "": a name, or a config.json by itself */
    struct wt_hub *hub; /* the folder's weights; NULL: it has none */
    bool has_vocabulary;
};
int bench_source_find(struct bench_source *ret, const char *model, struct wt_error *err);
void bench_source_done(struct bench_source *source);

/* ---- a run ---- */

/* Latencies, and what they come to. */
struct bench_times {
    double *seconds;
    size_t count, room;
};

struct bench {
    const struct bench_options *o;
    struct wt_door *door;
    struct bench_source source;
    bool has_made_folder;             /* of --save; goes when nothing came into it */
    bool is_unsaved;                  /* for a signal ended the run */
    bool is_line_open;                /* progress stands on the terminal's line */
    struct wt_vocabulary *vocabulary; /* NULL: random tokens, or none */

    struct wt_backend backend;
    struct wt_emu *emu;  /* with the counting backend */
    double peak_flops_s; /* NaN: not known */
    const char *peak;    /* "measured", "given" or "profile": where it is from; NULL: not known */

    struct wt_model *model;
    struct wt_feed feed;
    struct wt_corpus *corpus; /* train */
    struct wt_items items;    /* finetune, infer */
    unsigned classes;

    int32_t *prompt; /* generate: the tokens of each sequence's prompt */
    size_t prompt_count;

    int64_t start_ns, shown_ns;
    uint64_t shown_step;
    double seconds;                   /* of the steps */
    uint64_t steps, tokens;           /* done here */
    uint64_t step_from;               /* done before a resume */
    uint64_t kept;                    /* step of the last checkpoint */
    struct wt_checkpoint_stamp stamp; /* of that, or of the one it goes on from */
    double flops;                     /* of the products of all steps */
    double loss_first, loss_last, loss_smooth, loss_held_out; /* NaN: none */
    uint64_t held_out_step;                                   /* which that loss is of */
    double loss_resumed;                                      /* where it was resumed; NaN */
    double accuracy;                                          /* of held-out rows; NaN */
    size_t judged, judged_most; /* rows or sequences of that loss; of one class, at most */
    /* infer and generate */
    struct bench_times times, first_times; /* of batches or tokens; of first tokens */
    uint64_t rows;                         /* padding counted */
    double scored_sum;                     /* nats */
    uint64_t scored;
    double prefill_s, decode_s, prefill_flops;
    uint64_t prefill_tokens, decode_tokens;
    json_t *texts; /* of the last round */

    json_t *evaluations; /* [{step, loss_held_out}]; NULL: none yet */
};

/* Steps that were done, those before a resume counted. */
static inline uint64_t bench_step(const struct bench *b)
{
    return b->step_from + b->steps;
}

/* text.c */
int bench_open_text(struct bench *b, struct wt_error *err);
int bench_save_vocabulary(const struct bench *b, const char *folder, struct wt_error *err);
bool bench_is_of_a_tokenizer(const char *file);
/* Whether bench_save_vocabulary() will write a file of this name; may be asked before the text is
 * opened. */
bool bench_saves_file(const struct bench *b, const char *file);

/* device.c. Phases are told where they cost nothing, or where they were asked for. */
int bench_open_device(struct bench *b, struct wt_error *err);
void bench_close_device(struct bench *b);
const char *bench_device_name(const struct bench *b);
int bench_measure_peak(struct bench *b, struct wt_error *err);
void bench_begin(struct bench *b, const char *phase);
/* What the phase queued is done, where that must be known: on the emulated device, and with
 * --phases. */
int bench_end(struct bench *b, const char *phase, struct wt_error *err);
/* Waits. */
int bench_sync(struct bench *b, struct wt_error *err);
/* FLOPs of the products of one forward pass over these sequences: what the model needs, of real
 * tokens only. positions: those with a loss, with logits, or 0. */
double bench_forward_flops(const struct wt_config *config, const struct wt_feed *feed,
                           size_t positions, unsigned classes);
/* Of one of inference of whose last layer only `rows` rows are wanted, and their logits. */
double bench_trimmed_flops(const struct wt_config *config, const struct wt_feed *feed, size_t rows);
/* Of one more token of each sequence, which is `length` tokens long then. */
double bench_decode_flops(const struct wt_config *config, size_t sequences, size_t length);

/* places.c. Before any work: the folders of --save and --checkpoint can be written to, and no run
 * that is not resumed would replace a checkpoint. Makes the folder of --save, as saving would. */
int bench_check_places(struct bench *b, struct wt_error *err);

/* weights.c */
int bench_load_weights(struct bench *b, struct wt_error *err);
int bench_save(struct bench *b, struct wt_error *err);
int bench_checkpoint(struct bench *b, struct wt_error *err);
int bench_resume(struct bench *b, struct wt_error *err);

/* train.c: train and finetune */
int bench_train(struct bench *b, struct wt_error *err);
int bench_train_report(struct bench *b);
/* The last checkpoint and --save, once the steps are done. */
int bench_keep(struct bench *b, struct wt_error *err);
/* Each work says its summary, and prints its JSON document: the exit code. */
/* infer.c */
int bench_infer(struct bench *b, struct wt_error *err);
int bench_infer_report(struct bench *b);
/* generate.c: the prompt first, since the memory of a model depends on it */
int bench_open_prompt(struct bench *b, struct wt_error *err);
int bench_generate(struct bench *b, struct wt_error *err);
int bench_generate_report(struct bench *b);

/* main.c: a signal that came; 0: none */
int bench_asked_to_end(void);
/* Whether there is time and a step left. */
bool bench_goes_on(const struct bench *b);
/* After a step: counts, marks, progress. */
void bench_step_done(struct bench *b, uint64_t tokens, double flops);

/* ---- pace.c ---- */

/* Steps that are queued on a device and not waited for. */
struct bench_pace {
    int64_t from_ns; /* when all was done last */
    int64_t step_ns; /* what a step took before that; 0: not known yet */
    unsigned queued; /* since */
};
/* One more step is queued: whether to wait for them now. end_ns: when the run's time is up; 0: it
 * has as long as it takes. */
bool bench_pace_is_due(struct bench_pace *pace, int64_t now_ns, int64_t end_ns);
void bench_pace_waited(struct bench_pace *pace, int64_t now_ns);
/* By the first loss, the present one (smoothed), and among how many the model chooses. */
bool bench_is_diverging(double first, double smooth, double choices);

/* ---- words.c ---- */

int bench_fail(const struct wt_error *err);
/* Adds whose numbers they were to the story of some that are none. */
void bench_blame_weights(const struct bench *b, struct wt_error *err);
int bench_usage(const char *fmt, ...) WT_PRINTF(1, 2);
const char *bench_rate_words(char *buf, size_t size, double tokens, double seconds);
/* "2.3 TFLOP/s" */
const char *bench_flops_words(char *buf, size_t size, double flops_s);
/* "1.24 ms" */
const char *bench_time_words(char *buf, size_t size, double seconds);
void bench_say_what(const struct bench *b);
void bench_show_progress(struct bench *b, int64_t now_ns, bool is_last);
/* Before words that are no progress. */
void bench_clear_line(struct bench *b);
/* "26 steps, 13,070 tokens in 1.2 s ..." up to, but without, what the work adds and the line's end.
 */
void bench_say_summary(struct bench *b);
void bench_say_end(void);
/* The fields that every work has; NULL without memory. */
json_t *bench_json(const struct bench *b);
int bench_print_json(json_t *object);

bool bench_times_add(struct bench_times *times, double seconds);
/* share 0 to 1, by nearest rank; NaN without any. Sorts. */
double bench_times_at(struct bench_times *times, double share);
void bench_times_done(struct bench_times *times);

/* ---- sample.c ---- */

struct wt_random;
struct bench_sampler {
    bool is_greedy;
    float temperature, top_p; /* top_p 1: all */
    unsigned top_k;           /* 0: all */
    float *scratch;           /* [n] */
    int32_t *order;           /* [n] */
};
int bench_sampler_init(struct bench_sampler *s, const struct bench_options *o, size_t n,
                       struct wt_error *err);
void bench_sampler_done(struct bench_sampler *s);
/* One of n by its logits; below 0: there is none, they are not numbers. random: this sequence's
 * own.
 */
int32_t bench_sample(struct bench_sampler *s, const float *logits, size_t n,
                     struct wt_random *random);

#endif
