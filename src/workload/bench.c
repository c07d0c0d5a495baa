/* wattune-bench: the built-in workloads as a program of its own, which `wattune bench` becomes.
 * Apart from the command so that `wattune run -- true` need not load OpenBLAS.
 *
 * What it does is told through the door: steps, tokens, phases, the loss. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/door.h"
#include "workload/bert.h"
#include "workload/corpus.h"

#define PROGRAM "wattune bench"

enum { EXIT_USAGE = 2 };
enum device { DEVICE_CPU, DEVICE_EMU };

struct options {
    struct wt_model_shape shape;
    const char *data, *vocab;
    size_t vocab_size;
    uint64_t steps; /* 0: not limited */
    double seconds; /* 0: not limited */
    unsigned batch, seq, threads, gpu, evaluate;
    enum wt_dtype dtype;
    enum device device;
    float rate; /* 0: the model's own */
    float dropout;
    uint64_t seed;
    bool is_json, is_quiet;
};

static void print_help(FILE *out)
{
    fputs("usage: wattune bench train MODEL [OPTION...]\n\n"
          "Trains a BERT masked-language model on text: a real training step in C on the CPU, or "
          "the\n"
          "same step's operations on an emulated GPU. Steps, tokens, phases and loss are reported "
          "to\n"
          "`wattune run` and `wattune sweep`, so that results carry joules per token.\n\n"
          "MODEL: bert-tiny (2 layers, width 128), bert-mini (4, 256), bert-base (12, 768)\n\n"
          "  --data FILE       train on this UTF-8 text; needed on the CPU\n"
          "  --vocab FILE      WordPiece vocabulary, an entry a line; default: made from the text\n"
          "  --vocab-size N    entries of the vocabulary that is made (default 8000)\n"
          "  --steps N         stop after N steps (default 100, without --seconds)\n"
          "  --seconds S       stop at the end of the step that reaches S seconds\n"
          "  --batch B         sequences a step (default 8)\n"
          "  --seq L           tokens a sequence (default 128, at most 512)\n"
          "  --dtype TYPE      fp32, or bf16 on the emulated device (default fp32)\n"
          "  --device WHERE    cpu or emu (default emu inside an emulation, else cpu)\n"
          "  --gpu I           which emulated GPU, as the program numbers them (default 0)\n"
          "  --threads T       CPU threads (default: the CPUs this process may use)\n"
          "  --lr X            highest learning rate (default by model: 1e-3, 5e-4, 1e-4)\n"
          "  --dropout P       dropout (default 0)\n"
          "  --seed N          of weights, order, masks and dropout (default 1)\n"
          "  --evaluate N      held-out batches for the last loss, CPU only (default 4; 0: none)\n"
          "  --json            one JSON document on stdout when done\n"
          "  --quiet           no progress\n"
          "  --help            this text\n\n"
          "Ctrl-C ends with the step under way and the summary.\n",
          out);
}

/* ---- words ---- */

static int fail(const struct wt_error *err)
{
    fprintf(stderr, "%s: %s\n", PROGRAM, err->text);
    if (err->fix[0])
        fprintf(stderr, "  %s\n", err->fix);
    return wt_exit_code(err->code);
}

static int usage(const char *fmt, ...) WT_PRINTF(1, 2);
static int usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: ", PROGRAM);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n  `%s --help` lists what there is\n", PROGRAM);
    va_end(args);
    return EXIT_USAGE;
}

/* "13,070": a count with its digits in groups of three. */
static const char *grouped(char *buf, size_t size, double count)
{
    char digits[40];
    wt_text(digits, sizeof(digits), "%.0f", count);
    size_t n = strlen(digits), used = 0;
    for (size_t i = 0; i < n && used + 2 < size; i++) {
        if (i && (n - i) % 3 == 0)
            buf[used++] = ',';
        buf[used++] = digits[i];
    }
    buf[used] = '\0';
    return buf;
}

/* "13,070 tokens/s"; with decimals where whole numbers would tell too little. */
static const char *rate_words(char *buf, size_t size, uint64_t tokens, double seconds)
{
    char number[48];
    double rate = (double)tokens / seconds;
    if (rate < 99.95)
        return wt_text(buf, size, "%.1f tokens/s", rate);
    return wt_text(buf, size, "%s tokens/s", grouped(number, sizeof(number), rate));
}

/* ---- the command line ---- */

static unsigned cpus_allowed(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
    return count > 0 ? (unsigned)count : 1;
}

static bool take_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t value;
    if (wt_text_to_u64(text, &value) < 0 || value < min || value > max)
        return false;
    *ret = value;
    return true;
}

static bool take_real(const char *text, double min, double max, double *ret)
{
    double value;
    if (wt_text_to_double(text, &value) < 0 || !(value >= min && value <= max))
        return false;
    *ret = value;
    return true;
}

enum {
    OPT_DATA = 256,
    OPT_VOCAB,
    OPT_VOCAB_SIZE,
    OPT_STEPS,
    OPT_SECONDS,
    OPT_BATCH,
    OPT_SEQ,
    OPT_DTYPE,
    OPT_DEVICE,
    OPT_GPU,
    OPT_THREADS,
    OPT_LR,
    OPT_DROPOUT,
    OPT_SEED,
    OPT_EVALUATE,
    OPT_JSON,
    OPT_QUIET,
    OPT_HELP,
};
static const struct option long_options[] = {
    {"data", required_argument, NULL, OPT_DATA},
    {"vocab", required_argument, NULL, OPT_VOCAB},
    {"vocab-size", required_argument, NULL, OPT_VOCAB_SIZE},
    {"steps", required_argument, NULL, OPT_STEPS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"seq", required_argument, NULL, OPT_SEQ},
    {"dtype", required_argument, NULL, OPT_DTYPE},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"gpu", required_argument, NULL, OPT_GPU},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"lr", required_argument, NULL, OPT_LR},
    {"dropout", required_argument, NULL, OPT_DROPOUT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"evaluate", required_argument, NULL, OPT_EVALUATE},
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* What an option takes, for the message when it got something else. */
static int wrong(int option, const char *wants)
{
    const char *name = "";
    for (const struct option *o = long_options; o->name; o++)
        if (o->val == option)
            name = o->name;
    return usage("--%s %s: %s", name, optarg, wants);
}

/* 0: go on; else the exit code plus 1. */
static int read_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.vocab_size = 8000, .batch = 8, .seq = 128, .seed = 1, .evaluate = 4};
    o->device = getenv("WATTUNE_EMULATION") ? DEVICE_EMU : DEVICE_CPU;
    o->threads = cpus_allowed();
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        uint64_t n = 0;
        double x = 0;
        switch (option) {
        case OPT_DATA:
            o->data = optarg;
            break;
        case OPT_VOCAB:
            o->vocab = optarg;
            break;
        case OPT_VOCAB_SIZE:
            if (!take_count(optarg, 64, 4194304, &n))
                return 1 + wrong(option, "takes 64 or more entries");
            o->vocab_size = n;
            break;
        case OPT_STEPS:
            if (!take_count(optarg, 1, UINT64_C(1000000000000), &o->steps))
                return 1 + wrong(option, "takes a number of steps, 1 or more");
            break;
        case OPT_SECONDS:
            if (!take_real(optarg, 0.001, 1e9, &o->seconds))
                return 1 + wrong(option, "takes seconds, 0.001 or more");
            break;
        case OPT_BATCH:
            if (!take_count(optarg, 1, 65536, &n))
                return 1 + wrong(option, "takes 1 to 65536 sequences");
            o->batch = (unsigned)n;
            break;
        case OPT_SEQ:
            if (!take_count(optarg, 3, 512, &n))
                return 1 + wrong(option, "takes 3 to 512 tokens");
            o->seq = (unsigned)n;
            break;
        case OPT_DTYPE:
            if (strcmp(optarg, "fp32") == 0)
                o->dtype = WT_F32;
            else if (strcmp(optarg, "bf16") == 0)
                o->dtype = WT_BF16;
            else
                return 1 + wrong(option, "takes fp32 or bf16");
            break;
        case OPT_DEVICE:
            if (strcmp(optarg, "cpu") == 0)
                o->device = DEVICE_CPU;
            else if (strcmp(optarg, "emu") == 0)
                o->device = DEVICE_EMU;
            else
                return 1 + wrong(option, "takes cpu or emu");
            break;
        case OPT_GPU:
            if (!take_count(optarg, 0, 1023, &n))
                return 1 + wrong(option, "takes the number of an emulated GPU");
            o->gpu = (unsigned)n;
            break;
        case OPT_THREADS:
            if (!take_count(optarg, 1, 1024, &n))
                return 1 + wrong(option, "takes 1 to 1024 threads");
            o->threads = (unsigned)n;
            break;
        case OPT_LR:
            if (!take_real(optarg, 1e-12, 10, &x))
                return 1 + wrong(option, "takes a learning rate from 1e-12 to 10, such as 1e-4");
            o->rate = (float)x;
            break;
        case OPT_DROPOUT:
            if (!take_real(optarg, 0, 0.9, &x))
                return 1 + wrong(option, "takes a probability, 0 to 0.9");
            o->dropout = (float)x;
            break;
        case OPT_SEED:
            if (!take_count(optarg, 0, INT64_MAX, &o->seed))
                return 1 + wrong(option, "takes a whole number");
            break;
        case OPT_EVALUATE:
            if (!take_count(optarg, 0, 1000000, &n))
                return 1 + wrong(option, "takes a number of batches");
            o->evaluate = (unsigned)n;
            break;
        case OPT_JSON:
            o->is_json = true;
            break;
        case OPT_QUIET:
            o->is_quiet = true;
            break;
        case OPT_HELP:
        case 'h':
            print_help(stdout);
            return 1;
        default: /* getopt_long has said what is wrong */
            fprintf(stderr, "  `%s --help` lists what there is\n", PROGRAM);
            return 1 + EXIT_USAGE;
        }
    }
    if (optind >= argc)
        return 1 + usage("what is to be done? `train MODEL` is possible");
    if (strcmp(argv[optind], "train") != 0)
        return 1 + usage("\"%s\" is not possible; `train MODEL` is", argv[optind]);
    if (optind + 1 >= argc)
        return 1 + usage("train: which model? bert-tiny, bert-mini or bert-base");
    if (optind + 2 < argc)
        return 1 + usage("train %s: nothing can follow but options, and here is \"%s\"",
                         argv[optind + 1], argv[optind + 2]);
    struct wt_error err = {0};
    if (wt_model_shape_named(argv[optind + 1], &o->shape, &err) < 0) {
        fail(&err);
        return 1 + EXIT_USAGE;
    }
    if (o->device == DEVICE_CPU && o->dtype != WT_F32)
        return 1 + usage("--dtype bf16: the CPU trains in fp32 only; the emulated device (--device "
                         "emu) counts bf16");
    if (o->device == DEVICE_CPU && !o->data)
        return 1 + usage("train %s: --data FILE is needed, the text to train on", o->shape.name);
    if (o->vocab && !o->data)
        return 1 + usage("--vocab %s: there is no --data to cut into tokens", o->vocab);
    if (o->vocab_size > o->shape.vocab)
        return 1 + usage("--vocab-size %zu: %s has room for %u", o->vocab_size, o->shape.name,
                         o->shape.vocab);
    if (o->steps == 0 && o->seconds <= 0)
        o->steps = 100;
    return 0;
}

/* ---- OpenBLAS ---- */

/* OpenBLAS has it, other libraries with the same interface need not. */
extern char *openblas_get_corename(void) __attribute__((weak));

/* OpenBLAS chooses its kernels by the processor's name, when it is loaded; versions older than a
 * processor (0.3.21 and Zen 4) take AVX2 kernels where AVX-512 is there, at half the speed. Where
 * that is so and nobody has chosen otherwise, start again with the choice made. */
static void prefer_avx512(char **argv)
{
#if defined(__x86_64__)
    static const char *const older[] = {"Haswell", "Zen"};
    const char *name = openblas_get_corename ? openblas_get_corename() : "";
    bool is_older = false;
    for (size_t i = 0; i < WT_COUNTOF(older); i++)
        is_older |= strcmp(name, older[i]) == 0;
    if (!is_older || getenv("OPENBLAS_CORETYPE") || !__builtin_cpu_supports("avx512f") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw"))
        return;
    if (setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) == 0)
        execv("/proc/self/exe", argv); /* where it fails, the slower kernels do */
#else
    (void)argv;
#endif
}

/* ---- signals: the step under way is finished, the second signal ends at once ---- */

static volatile sig_atomic_t asked_to_end;

static void on_signal(int number)
{
    asked_to_end = number;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- text ---- */

/* A whole file. *ret_text owned: free(). */
static int read_file(const char *path, char **ret_text, size_t *ret_size, struct wt_error *err)
{
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        /* Exit code 1: "no such thing" is that of sensors and models. */
        return rc == WT_E_NOTFOUND ? (err->code = WT_E_IO) : rc;
    }
    char *text = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        if (room - used < 65536) {
            room = room ? 2 * room : 1 << 20;
            char *more = realloc(text, room);
            if (!more) {
                rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for its text", path);
                goto out;
            }
            text = more;
        }
        ssize_t n = read(fd, text + used, room - used);
        if (n < 0 && errno == EINTR && !asked_to_end)
            continue;
        if (n < 0) {
            rc = wt_fail_errno(err, errno, "reading %s", path);
            goto out;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    if (used == 0) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: the file is empty", path);
        goto out;
    }
    *ret_text = text;
    *ret_size = used;
    text = NULL;
out:
    free(text);
    close(fd);
    return rc;
}

/* The tokenizer and the batches of --data and --vocab. */
static int open_text(const struct options *o, struct wt_tokenizer **ret_tokenizer,
                     struct wt_corpus **ret_corpus, struct wt_error *err)
{
    char *text = NULL, *vocab = NULL;
    size_t size = 0, vocab_size = 0;
    struct wt_tokenizer *tokenizer = NULL;
    int rc = read_file(o->data, &text, &size, err);
    if (rc == 0)
        rc = wt_utf8_check(o->data, text, size, err);
    if (rc == 0 && o->vocab) {
        rc = read_file(o->vocab, &vocab, &vocab_size, err);
        if (rc == 0)
            rc = wt_tokenizer_parse(&tokenizer, o->vocab, vocab, vocab_size, err);
    } else if (rc == 0) {
        rc = wt_tokenizer_train(&tokenizer, text, size, o->vocab_size, err);
        if (rc == WT_E_FORMAT)
            wt_fail(err, rc, "%s: there are no words in it", o->data);
    }
    if (rc == 0 && wt_tokenizer_size(tokenizer) > o->shape.vocab)
        rc = wt_fail(err, WT_E_FORMAT, "%s: %zu entries, but %s has room for %u", o->vocab,
                     wt_tokenizer_size(tokenizer), o->shape.name, o->shape.vocab);
    if (rc == 0)
        rc = wt_corpus_new(ret_corpus, tokenizer, o->data, text, size, o->seq, o->seed, err);
    if (rc == 0) {
        *ret_tokenizer = tokenizer;
        tokenizer = NULL;
    }
    wt_tokenizer_free(tokenizer);
    free(vocab);
    free(text);
    return rc;
}

/* ---- a run ---- */

struct run {
    const struct options *o;
    struct wt_door *door;
    struct wt_tokenizer *tokenizer; /* NULL without --data, as is corpus */
    struct wt_corpus *corpus;
    struct wt_batch batch;
    struct wt_bert *bert; /* on the CPU */
    struct wt_emu *emu;   /* or there */
    struct wt_emu_kernel *kernels;
    size_t phases[3];
    double step_flops;

    int64_t start_ns, shown_ns;
    uint64_t shown_step;
    double seconds; /* of the steps */
    uint64_t steps, tokens;
    double loss_first, loss_last, loss_smooth, loss_held_out; /* NaN: none */
};

static const char *const phase_names[] = {"forward", "backward", "optimizer"};

static void begin(struct run *r, const char *phase)
{
    wt_door_mark(r->door, WT_MARK_BEGIN, phase, 1);
}

static void end(struct run *r, const char *phase)
{
    wt_door_mark(r->door, WT_MARK_END, phase, 1);
}

/* Rises over the first tenth of the steps (at most 1000), then falls to 0 at the last one. Where
 * only a time is given the last step is not known: it stays up after 20 steps. */
static float rate_at(const struct options *o, uint64_t step)
{
    static const struct {
        const char *name;
        float rate;
    } rates[] = {{"bert-tiny", 1e-3f}, {"bert-mini", 5e-4f}, {"bert-base", 1e-4f}};
    float top = o->rate;
    for (size_t i = 0; top <= 0 && i < WT_COUNTOF(rates); i++)
        if (strcmp(rates[i].name, o->shape.name) == 0)
            top = rates[i].rate;
    uint64_t warm_up = o->steps ? o->steps / 10 : 20;
    warm_up = warm_up > 1000 ? 1000 : warm_up;
    if (step < warm_up)
        return top * (float)(step + 1) / (float)(warm_up + 1);
    return o->steps ? top * (float)(o->steps - step) / (float)(o->steps - warm_up) : top;
}

static int step_on_cpu(struct run *r, struct wt_error *err)
{
    begin(r, phase_names[0]);
    double loss = wt_bert_forward(r->bert, &r->batch, true);
    end(r, phase_names[0]);
    begin(r, phase_names[1]);
    wt_bert_backward(r->bert, &r->batch);
    end(r, phase_names[1]);
    begin(r, phase_names[2]);
    struct wt_bert_rate rate = {rate_at(r->o, r->steps), 0.9f, 0.999f, 1e-6f, 0.01f, 1.0f};
    double norm = wt_bert_optimize(r->bert, &rate);
    end(r, phase_names[2]);

    if (r->steps == 0)
        r->loss_first = r->loss_smooth = loss;
    r->loss_last = loss;
    r->loss_smooth = 0.9 * r->loss_smooth + 0.1 * loss;
    bool is_number = isfinite(loss) && isfinite(norm);
    if (!is_number || r->loss_smooth > 2 * r->loss_first) {
        int rc = is_number ? wt_fail(err, WT_E_STATE,
                                     "training diverges: the loss was %.3f in the first "
                                     "step and is %.3f around step %" PRIu64,
                                     r->loss_first, r->loss_smooth, r->steps + 1)
                           : wt_fail(err, WT_E_STATE,
                                     "training broke down: in step %" PRIu64 " the %s is "
                                     "not a number",
                                     r->steps + 1, isfinite(loss) ? "gradient" : "loss");
        wt_fix(err, "the learning rate was %g: try --lr %g", (double)rate.rate,
               (double)rate.rate / 10);
        return rc;
    }
    wt_door_value(r->door, "loss", loss);
    return 0;
}

static int step_on_emu(struct run *r, struct wt_error *err)
{
    const struct wt_emu_kernel *kernels = r->kernels;
    for (size_t i = 0; i < 3; i++) {
        begin(r, phase_names[i]);
        int rc = wt_emu_submit(r->emu, phase_names[i], kernels, r->phases[i], 0, err);
        end(r, phase_names[i]);
        if (rc < 0)
            return rc;
        kernels += r->phases[i];
    }
    return 0;
}

static void show_progress(struct run *r, int64_t now_ns, bool is_last)
{
    bool is_terminal = isatty(STDERR_FILENO);
    int64_t pause = is_terminal ? 250 * WT_NS_PER_MS : 10 * WT_NS_PER_S;
    if (r->o->is_quiet || (!is_last && r->shown_ns && now_ns - r->shown_ns < pause))
        return;
    /* The last step's line may stand there already; on a terminal it is finished in place. */
    if (is_last && !is_terminal && r->shown_step == r->steps)
        return;
    r->shown_ns = now_ns;
    r->shown_step = r->steps;
    char rate[64], of[32] = "", loss[48] = "", left[32] = "";
    if (r->o->steps)
        wt_text(of, sizeof(of), "/%" PRIu64, r->o->steps);
    if (isfinite(r->loss_last))
        wt_text(loss, sizeof(loss), "  loss %.4f", r->loss_last);
    double by_steps =
        r->o->steps ? (double)(r->o->steps - r->steps) * r->seconds / (double)r->steps : INFINITY;
    double by_time = r->o->seconds > 0 ? r->o->seconds - r->seconds : INFINITY;
    double wait = fmax(0, fmin(by_steps, by_time));
    if (!is_last && wait > 0)
        wt_text(left, sizeof(left), "  %.0f:%02.0f left", floor(wait / 60), floor(fmod(wait, 60)));
    fprintf(stderr, "%sstep %" PRIu64 "%s%s  %s so far%s%s", is_terminal ? "\r\033[K" : "",
            r->steps, of, loss, rate_words(rate, sizeof(rate), r->tokens, r->seconds), left,
            is_terminal && !is_last ? "" : "\n");
}

static int train(struct run *r, struct wt_error *err)
{
    const struct options *o = r->o;
    r->start_ns = wt_ctx_now_ns(NULL);
    while (!asked_to_end && (!o->steps || r->steps < o->steps) &&
           (o->seconds <= 0 || r->seconds < o->seconds)) {
        uint64_t tokens = (uint64_t)o->batch * o->seq;
        if (r->corpus)
            tokens = wt_corpus_next(r->corpus, &r->batch, o->batch);
        int rc = r->bert ? step_on_cpu(r, err) : step_on_emu(r, err);
        if (rc < 0)
            return rc;
        r->steps++;
        r->tokens += tokens;
        wt_door_mark(r->door, WT_MARK_WORK, "tokens", tokens);
        wt_door_mark(r->door, WT_MARK_STEP, "step", 1);
        int64_t now = wt_ctx_now_ns(NULL);
        r->seconds = wt_s_from_ns(now - r->start_ns);
        show_progress(r, now, false);
    }
    return 0;
}

/* Mean over masked positions of up to --evaluate batches of held-out text. */
static void evaluate(struct run *r)
{
    const struct options *o = r->o;
    size_t held_out = r->bert ? wt_corpus_held_out(r->corpus) : 0;
    double sum = 0;
    size_t count = 0;
    if (!o->evaluate || !held_out || asked_to_end)
        return;
    begin(r, "evaluate");
    for (size_t i = 0; i < o->evaluate && i * o->batch < held_out && !asked_to_end; i++) {
        wt_corpus_evaluation(r->corpus, i * o->batch, &r->batch, o->batch);
        if (r->batch.masked_count == 0)
            continue;
        sum += wt_bert_forward(r->bert, &r->batch, false) * (double)r->batch.masked_count;
        count += r->batch.masked_count;
    }
    end(r, "evaluate");
    if (count > 0) {
        r->loss_held_out = sum / (double)count;
        wt_door_value(r->door, "loss held out", r->loss_held_out);
    }
}

static int open_device(struct run *r, struct wt_error *err)
{
    const struct options *o = r->o;
    struct wt_bert_options model = {o->batch, o->seq, o->threads, o->seed, o->dropout};
    size_t count = 0;
    int rc = wt_workload_train_ops(&o->shape, o->batch, o->seq, o->dtype, &r->kernels, &count,
                                   r->phases, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        r->step_flops += r->kernels[i].flops;
    if (o->device == DEVICE_CPU)
        return wt_bert_new(&r->bert, &o->shape, &model, err);

    uint64_t bytes = 0;
    model.threads = 1;
    rc = wt_bert_memory(&o->shape, &model, &bytes, err);
    if (rc == 0)
        rc = wt_emu_attach(&r->emu, o->gpu, err);
    if (rc == 0)
        rc = wt_emu_memory(r->emu, bytes, err);
    return rc;
}

static void say_what(const struct run *r)
{
    const struct options *o = r->o;
    if (o->is_quiet)
        return;
    fprintf(stderr, "%s: training %s, %.1f M parameters, batch %u x %u, %s", PROGRAM, o->shape.name,
            (double)wt_model_parameters(&o->shape) * 1e-6, o->batch, o->seq,
            o->dtype == WT_BF16 ? "bf16" : "fp32");
    if (r->bert)
        fprintf(stderr, ", %u CPU thread%s\n", o->threads, o->threads == 1 ? "" : "s");
    else
        fprintf(stderr, ", on emulated GPU %u: no arithmetic is done, so there is no loss\n",
                o->gpu);
    if (r->bert && o->threads > cpus_allowed())
        fprintf(stderr,
                "%s: --threads %u is more than the %u CPU%s this process may use: threads will "
                "wait for each other\n",
                PROGRAM, o->threads, cpus_allowed(), cpus_allowed() == 1 ? "" : "s");
    if (!r->corpus)
        return;
    fprintf(stderr,
            "%s: %s: %zu tokens of a vocabulary of %zu (the model has %u), %zu sequence%s, "
            "%zu held out\n",
            PROGRAM, o->data, wt_corpus_tokens(r->corpus), wt_tokenizer_size(r->tokenizer),
            o->shape.vocab, wt_corpus_sequences(r->corpus),
            wt_corpus_sequences(r->corpus) == 1 ? "" : "s", wt_corpus_held_out(r->corpus));
    if (wt_corpus_unknown_share(r->corpus) > 0.1)
        fprintf(stderr, "%s: %.0f %% of the tokens are not in the vocabulary\n", PROGRAM,
                100 * wt_corpus_unknown_share(r->corpus));
}

static void say_summary(struct run *r)
{
    if (r->o->is_quiet)
        return;
    if (r->steps > 0)
        show_progress(r, wt_ctx_now_ns(NULL), true);
    char tokens[48], rate[64];
    fprintf(stderr, "%s: %" PRIu64 " step%s, %s tokens in %.1f s", PROGRAM, r->steps,
            r->steps == 1 ? "" : "s", grouped(tokens, sizeof(tokens), (double)r->tokens),
            r->seconds);
    if (r->steps > 0)
        fprintf(stderr, " of training: %s, %.4g GFLOP/s over all steps",
                rate_words(rate, sizeof(rate), r->tokens, r->seconds),
                r->step_flops * (double)r->steps / r->seconds * 1e-9);
    if (r->steps == 1 && isfinite(r->loss_last))
        fprintf(stderr, "; loss %.4f", r->loss_last);
    else if (r->steps > 0 && isfinite(r->loss_last))
        fprintf(stderr, "; loss %.4f -> %.4f", r->loss_first, r->loss_last);
    if (isfinite(r->loss_held_out))
        fprintf(stderr, ", held out %.4f", r->loss_held_out);
    fprintf(stderr, "%s\n", asked_to_end ? "; ended by a signal" : "");
}

static int print_json(const struct run *r)
{
    const struct options *o = r->o;
    double per_s = r->steps > 0 ? (double)r->tokens / r->seconds : NAN;
    double flops_s = r->steps > 0 ? r->step_flops * (double)r->steps / r->seconds : NAN;
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:I, s:i, s:i, s:o?, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o?, "
        "s:b}",
        "model", o->shape.name, "device", r->bert ? "cpu" : "emu", "dtype",
        o->dtype == WT_BF16 ? "bf16" : "fp32", "parameters",
        (json_int_t)wt_model_parameters(&o->shape), "batch", (int)o->batch, "seq", (int)o->seq,
        "threads", r->bert ? json_integer(o->threads) : json_null(), "seed", (json_int_t)o->seed,
        "steps", (json_int_t)r->steps, "tokens", (json_int_t)r->tokens, "seconds",
        wt_json_number(r->seconds), "tokens_per_s", wt_json_number(per_s), "flops_per_s",
        wt_json_number(flops_s), "loss_first", wt_json_number(r->loss_first), "loss_last",
        wt_json_number(r->loss_last), "loss_held_out", wt_json_number(r->loss_held_out),
        "vocabulary",
        r->tokenizer ? json_integer((json_int_t)wt_tokenizer_size(r->tokenizer)) : json_null(),
        "ended_by_signal", asked_to_end != 0);
    char *text = j ? wt_json_dump(j) : NULL;
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

int main(int argc, char **argv)
{
    char name[] = PROGRAM;
    argv[0] = name; /* getopt speaks in it */
    struct options o;
    int code = read_options(argc, argv, &o);
    if (code > 0)
        return code - 1;
    if (o.device == DEVICE_CPU)
        prefer_avx512(argv);
    catch_signals();

    struct wt_error err = {0};
    struct run r = {
        .o = &o, .loss_first = NAN, .loss_last = NAN, .loss_smooth = NAN, .loss_held_out = NAN};
    struct wt_dims dims;
    int rc = wt_dims_make(&dims, &o.shape, o.batch, o.seq, &err);
    if (rc == 0)
        rc = wt_door_open(&r.door, &err);
    if (rc == 0) {
        begin(&r, "prepare");
        if (o.data)
            rc = open_text(&o, &r.tokenizer, &r.corpus, &err);
        if (rc == 0)
            rc = wt_batch_init(&r.batch, &dims, &err);
        if (rc == 0)
            rc = open_device(&r, &err);
        end(&r, "prepare");
    }
    if (rc == 0) {
        say_what(&r);
        rc = train(&r, &err);
        if (rc == 0)
            evaluate(&r);
        say_summary(&r);
    }
    if (rc < 0)
        code = fail(&err);
    else if (o.is_json)
        code = print_json(&r);
    if (asked_to_end && code == 0)
        code = 128 + asked_to_end;

    wt_bert_free(r.bert);
    wt_emu_detach(r.emu);
    free(r.kernels);
    wt_batch_done(&r.batch);
    wt_corpus_free(r.corpus);
    wt_tokenizer_free(r.tokenizer);
    wt_door_close(r.door);
    return code;
}
