/* The command line: one table of options, what each takes, and for which work it is. */
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bench/bench.h"

static void print_help(FILE *out)
{
    fputs("usage: wattune bench train MODEL [OPTION...]\n"
          "       wattune bench finetune MODEL --data TABLE [OPTION...]\n"
          "       wattune bench infer MODEL [OPTION...]\n"
          "       wattune bench generate MODEL [OPTION...]\n\n"
          "Language models, in C: trained, fine-tuned, run as encoders or made to write, on\n"
          "the CPU, on an NVIDIA GPU, or as counted operations on an emulated one. Steps,\n"
          "tokens, phases and losses are told to `wattune run` and `wattune sweep`, so that\n"
          "results carry joules per token.\n\n"
          "MODEL: bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large,\n"
          "distilbert-base, gpt2, gpt2-medium, gpt2-large, gpt2-xl; a config.json; or a\n"
          "folder as Hugging Face has them (config.json, and model.safetensors and\n"
          "tokenizer files where they are there). Without weights: seeded random ones.\n"
          "Without a vocabulary: one made from the text.\n\n"
          "text\n"
          "  --data FILE            UTF-8 text; finetune: a table,\n"
          "                         label<TAB>text[<TAB>text] a line, or .csv\n"
          "  --synthetic            seeded random tokens in place of text; no held-out loss\n"
          "  --vocab FILE|DIR       a vocab.txt, or a folder with a tokenizer's files\n"
          "  --vocab-size N         entries of a vocabulary that is made (default 8000)\n"
          "how much\n"
          "  --steps N              stop after N steps (default 100, without --seconds;\n"
          "                         generate: 1)\n"
          "  --seconds S            stop at the end of the step that reaches S seconds\n"
          "  --batch B              sequences a step (default 8; generate: 1)\n"
          "  --seq L                tokens a sequence (default 128); generate: of a\n"
          "                         synthetic prompt\n"
          "where and how\n"
          "  --device WHERE         cpu, emu or cuda (default emu inside an emulation, else\n"
          "                         cpu)\n"
          "  --gpu I                which GPU, as the program numbers them (default 0)\n"
          "  --dtype TYPE           fp32, bf16, tf32 (GPUs that have it), int8 (inference,\n"
          "                         not on cuda) (default fp32)\n"
          "  --threads T            CPU threads (default: the CPUs this process may use)\n"
          "  --pin                  each thread on a CPU of its own\n"
          "  --repeatable           the same numbers each time: products are not chosen by\n"
          "                         speed\n"
          "  --peak FLOPS           products' peak a second, for the share of it that is\n"
          "                         used (default: measured for 0.3 s first; \"none\": not\n"
          "                         wanted)\n"
          "  --phases               on cuda, tell phases too: each waits for the device\n"
          "  --seed N               of weights, order, masks, dropout and sampling (default\n"
          "                         1)\n"
          "train and finetune\n"
          "  --lr X                 highest learning rate (default by model)\n"
          "  --warmup N             steps in which it rises (default a tenth, at most 1000)\n"
          "  --schedule S           then linear or cosine to 0, or constant (default\n"
          "                         linear; constant without --steps)\n"
          "  --clip X               largest norm of the gradient (default 1; 0: not\n"
          "                         clipped)\n"
          "  --decay X              AdamW's weight decay (default 0.01)\n"
          "  --accumulate N         batches whose gradients make a step (default 1)\n"
          "  --dropout P            dropout, or \"config\": as config.json says (default 0)\n"
          "  --evaluate N           held-out batches for a loss (default 4; 0: none;\n"
          "                         finetune: all)\n"
          "  --evaluate-every N     also every N steps\n"
          "  --checkpoint DIR       leave all that goes on from here: at the end, and when\n"
          "                         a signal ends it\n"
          "  --checkpoint-every N   also every N steps\n"
          "  --resume               go on from --checkpoint\n"
          "  --save DIR             write the model as a Hugging Face folder\n"
          "  --new-head             finetune: a new classifier in place of the folder's\n"
          "  --evaluate-only        finetune: no step; how many rows of the table the\n"
          "                         folder's classifier has right\n"
          "infer\n"
          "  --padded               each sequence takes the longest one's room (default)\n"
          "  --packed               sequences lie one after the other; BERT and DistilBERT\n"
          "generate\n"
          "  --prompt TEXT          what the model goes on from\n"
          "  --prompt-file FILE     the same from a file\n"
          "  --tokens N             new tokens of each sequence (default 64)\n"
          "  --greedy               always the likeliest (default: sampled)\n"
          "  --temperature X        flatter above 1, sharper below (default 1)\n"
          "  --top-k K              only of the K likeliest\n"
          "  --top-p P              only of the likeliest that make up P together\n"
          "said\n"
          "  --json                 one JSON document on stdout when done\n"
          "  --quiet                no progress and no summary\n"
          "  --help                 this text\n\n"
          "Ctrl-C ends with the step under way and the summary.\n",
          out);
}

enum {
    OPT_DATA = 256,
    OPT_SYNTHETIC,
    OPT_VOCAB,
    OPT_VOCAB_SIZE,
    OPT_STEPS,
    OPT_SECONDS,
    OPT_BATCH,
    OPT_SEQ,
    OPT_DEVICE,
    OPT_GPU,
    OPT_DTYPE,
    OPT_THREADS,
    OPT_PIN,
    OPT_REPEATABLE,
    OPT_PEAK,
    OPT_PHASES,
    OPT_SEED,
    OPT_LR,
    OPT_WARMUP,
    OPT_SCHEDULE,
    OPT_CLIP,
    OPT_DECAY,
    OPT_ACCUMULATE,
    OPT_DROPOUT,
    OPT_EVALUATE,
    OPT_EVALUATE_EVERY,
    OPT_CHECKPOINT,
    OPT_CHECKPOINT_EVERY,
    OPT_RESUME,
    OPT_SAVE,
    OPT_NEW_HEAD,
    OPT_EVALUATE_ONLY,
    OPT_PADDED,
    OPT_PACKED,
    OPT_PROMPT,
    OPT_PROMPT_FILE,
    OPT_TOKENS,
    OPT_GREEDY,
    OPT_TEMPERATURE,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_JSON,
    OPT_QUIET,
    OPT_HELP,
    OPT_END,
};
static const struct option long_options[] = {
    {"data", required_argument, NULL, OPT_DATA},
    {"synthetic", no_argument, NULL, OPT_SYNTHETIC},
    {"vocab", required_argument, NULL, OPT_VOCAB},
    {"vocab-size", required_argument, NULL, OPT_VOCAB_SIZE},
    {"steps", required_argument, NULL, OPT_STEPS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"seq", required_argument, NULL, OPT_SEQ},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"gpu", required_argument, NULL, OPT_GPU},
    {"dtype", required_argument, NULL, OPT_DTYPE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"pin", no_argument, NULL, OPT_PIN},
    {"repeatable", no_argument, NULL, OPT_REPEATABLE},
    {"peak", required_argument, NULL, OPT_PEAK},
    {"phases", no_argument, NULL, OPT_PHASES},
    {"seed", required_argument, NULL, OPT_SEED},
    {"lr", required_argument, NULL, OPT_LR},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"schedule", required_argument, NULL, OPT_SCHEDULE},
    {"clip", required_argument, NULL, OPT_CLIP},
    {"decay", required_argument, NULL, OPT_DECAY},
    {"accumulate", required_argument, NULL, OPT_ACCUMULATE},
    {"dropout", required_argument, NULL, OPT_DROPOUT},
    {"evaluate", required_argument, NULL, OPT_EVALUATE},
    {"evaluate-every", required_argument, NULL, OPT_EVALUATE_EVERY},
    {"checkpoint", required_argument, NULL, OPT_CHECKPOINT},
    {"checkpoint-every", required_argument, NULL, OPT_CHECKPOINT_EVERY},
    {"resume", no_argument, NULL, OPT_RESUME},
    {"save", required_argument, NULL, OPT_SAVE},
    {"new-head", no_argument, NULL, OPT_NEW_HEAD},
    {"evaluate-only", no_argument, NULL, OPT_EVALUATE_ONLY},
    {"padded", no_argument, NULL, OPT_PADDED},
    {"packed", no_argument, NULL, OPT_PACKED},
    {"prompt", required_argument, NULL, OPT_PROMPT},
    {"prompt-file", required_argument, NULL, OPT_PROMPT_FILE},
    {"tokens", required_argument, NULL, OPT_TOKENS},
    {"greedy", no_argument, NULL, OPT_GREEDY},
    {"temperature", required_argument, NULL, OPT_TEMPERATURE},
    {"top-k", required_argument, NULL, OPT_TOP_K},
    {"top-p", required_argument, NULL, OPT_TOP_P},
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* Those that are not for every work. */
#define LEARNS (1u << WORK_TRAIN | 1u << WORK_FINETUNE)
static const struct {
    int from, to;
    unsigned works;
} only[] = {
    {OPT_LR, OPT_SAVE, LEARNS},
    {OPT_NEW_HEAD, OPT_EVALUATE_ONLY, 1u << WORK_FINETUNE},
    {OPT_PADDED, OPT_PACKED, 1u << WORK_INFER},
    {OPT_PROMPT, OPT_TOP_P, 1u << WORK_GENERATE},
};

static const char *const works[] = {"train", "finetune", "infer", "generate"};
static const char *const places[] = {"cpu", "emu", "cuda"};
static const char *const schedules[] = {"linear", "cosine", "constant"};

const char *bench_work_name(enum bench_work work)
{
    return works[work];
}

const char *bench_place_name(enum bench_place place)
{
    return places[place];
}

static unsigned cpus_allowed(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
    return count > 0 ? (unsigned)count : 1;
}

static const char *name_of(int option)
{
    for (const struct option *o = long_options; o->name; o++)
        if (o->val == option)
            return o->name;
    return "";
}

/* What an option takes, for the message when it got something else. */
static int wrong(int option, const char *wants)
{
    return 1 + bench_usage("--%s %s: %s", name_of(option), optarg, wants);
}

static bool take_word(const char *text, const char *const *words, size_t count, int *ret)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = (int)i;
            return true;
        }
    return false;
}

/* ---- what an option takes ---- */

static const struct {
    int option;
    uint64_t min, max;
    size_t at, size;
    const char *wants;
} counts[] = {
#define COUNT(option, field, min, max, wants)                                                      \
    {                                                                                              \
        option, min, max, offsetof(struct bench_options, field),                                   \
            sizeof(((struct bench_options *)0)->field), wants                                      \
    }
    COUNT(OPT_VOCAB_SIZE, vocab_size, 64, 4000000, "takes 64 to 4000000 entries"),
    COUNT(OPT_STEPS, steps, 1, UINT64_C(1000000000000), "takes a number of steps, 1 or more"),
    COUNT(OPT_BATCH, batch, 1, WT_BATCH_MOST, "takes 1 to 65535 sequences"),
    COUNT(OPT_SEQ, seq, 3, 1000000, "takes 3 or more tokens"),
    COUNT(OPT_GPU, gpu, 0, 1023, "takes the number of a GPU"),
    COUNT(OPT_THREADS, threads, 1, 1024, "takes 1 to 1024 threads"),
    COUNT(OPT_SEED, seed, 0, INT64_MAX, "takes a whole number"),
    COUNT(OPT_WARMUP, warmup, 0, UINT64_C(1000000000000), "takes a number of steps"),
    COUNT(OPT_ACCUMULATE, accumulate, 1, 65536, "takes a number of batches, 1 or more"),
    COUNT(OPT_EVALUATE, evaluate, 0, 1000000, "takes a number of batches"),
    COUNT(OPT_EVALUATE_EVERY, evaluate_every, 1, UINT64_C(1000000000000),
          "takes a number of steps, 1 or more"),
    COUNT(OPT_CHECKPOINT_EVERY, checkpoint_every, 1, UINT64_C(1000000000000),
          "takes a number of steps, 1 or more"),
    COUNT(OPT_TOKENS, tokens, 1, 1000000, "takes a number of tokens, 1 or more"),
    COUNT(OPT_TOP_K, top_k, 1, 4000000, "takes a number of entries, 1 or more"),
};
static const struct {
    int option;
    double min, max;
    size_t at;
    bool is_double;
    const char *wants;
} reals[] = {
#define REAL(option, field, min, max, wants)                                                       \
    {                                                                                              \
        option, min, max, offsetof(struct bench_options, field),                                   \
            sizeof(((struct bench_options *)0)->field) == sizeof(double), wants                    \
    }
    REAL(OPT_SECONDS, seconds, 0.001, 1e9, "takes seconds, 0.001 or more"),
    REAL(OPT_PEAK, peak_flops_s, 1e6, 1e18, "takes FLOP/s, such as 2e11, or none"),
    REAL(OPT_LR, rate, 1e-12, 10, "takes a learning rate from 1e-12 to 10, such as 1e-4"),
    REAL(OPT_CLIP, clip, 0, 1e9, "takes a norm, 0 for none"),
    REAL(OPT_DECAY, decay, 0, 1, "takes 0 to 1"),
    REAL(OPT_DROPOUT, dropout, 0, 0.9, "takes a probability, 0 to 0.9, or config"),
    REAL(OPT_TEMPERATURE, temperature, 0.01, 100, "takes 0.01 to 100"),
    REAL(OPT_TOP_P, top_p, 0.0001, 1, "takes a share above 0, at most 1"),
};

/* 0: taken; 1: it is no such option; else the exit code plus 1. */
static int take_number(struct bench_options *o, int option)
{
    for (size_t i = 0; i < WT_COUNTOF(counts); i++) {
        uint64_t value;
        if (counts[i].option != option)
            continue;
        if (wt_text_to_u64(optarg, &value) < 0 || value < counts[i].min || value > counts[i].max)
            return wrong(option, counts[i].wants);
        unsigned narrow = (unsigned)value;
        if (counts[i].size == sizeof(value))
            memcpy((char *)o + counts[i].at, &value, sizeof(value));
        else
            memcpy((char *)o + counts[i].at, &narrow, sizeof(narrow));
        return 0;
    }
    for (size_t i = 0; i < WT_COUNTOF(reals); i++) {
        double value;
        if (reals[i].option != option)
            continue;
        if (wt_text_to_double(optarg, &value) < 0 || !(value >= reals[i].min) ||
            !(value <= reals[i].max))
            return wrong(option, reals[i].wants);
        float narrow = (float)value;
        if (reals[i].is_double)
            memcpy((char *)o + reals[i].at, &value, sizeof(value));
        else
            memcpy((char *)o + reals[i].at, &narrow, sizeof(narrow));
        return 0;
    }
    return 1;
}

static int take(struct bench_options *o, int option)
{
    int word = 0;
    switch (option) {
    case OPT_DATA:
        o->data = optarg;
        return 0;
    case OPT_SYNTHETIC:
        o->is_synthetic = true;
        return 0;
    case OPT_VOCAB:
        o->vocab = optarg;
        return 0;
    case OPT_DEVICE:
        if (!take_word(optarg, places, WT_COUNTOF(places), &word))
            return wrong(option, "takes cpu, emu or cuda");
        o->place = (enum bench_place)word;
        return 0;
    case OPT_DTYPE:
        for (word = WT_F32; word <= WT_TF32; word++)
            if (strcmp(optarg, wt_dtype_name((enum wt_dtype)word)) == 0) {
                o->dtype = (enum wt_dtype)word;
                return 0;
            }
        return wrong(option, "takes fp32, bf16, tf32 or int8");
    case OPT_PIN:
        o->is_pinned = true;
        return 0;
    case OPT_REPEATABLE:
        o->is_repeatable = true;
        return 0;
    case OPT_PHASES:
        o->has_phases = true;
        return 0;
    case OPT_SCHEDULE:
        if (!take_word(optarg, schedules, WT_COUNTOF(schedules), &word))
            return wrong(option, "takes linear, cosine or constant");
        o->schedule = (enum bench_schedule)word;
        o->has_schedule = true;
        return 0;
    case OPT_CHECKPOINT:
        o->checkpoint = optarg;
        return 0;
    case OPT_RESUME:
        o->is_resumed = true;
        return 0;
    case OPT_SAVE:
        o->save = optarg;
        return 0;
    case OPT_NEW_HEAD:
        o->has_new_head = true;
        return 0;
    case OPT_EVALUATE_ONLY:
        o->is_evaluated_only = true;
        return 0;
    case OPT_PADDED:
        o->is_packed = false;
        return 0;
    case OPT_PACKED:
        o->is_packed = true;
        return 0;
    case OPT_PROMPT:
        o->prompt = optarg;
        return 0;
    case OPT_PROMPT_FILE:
        o->prompt_file = optarg;
        return 0;
    case OPT_GREEDY:
        o->is_greedy = true;
        return 0;
    case OPT_JSON:
        o->is_json = true;
        return 0;
    case OPT_QUIET:
        o->is_quiet = true;
        return 0;
    case OPT_PEAK:
        if (strcmp(optarg, "none") == 0) {
            o->peak_flops_s = NAN;
            return 0;
        }
        break;
    case OPT_DROPOUT:
        if (strcmp(optarg, "config") == 0) {
            o->dropout = -1;
            return 0;
        }
        break;
    default:
        break;
    }
    return take_number(o, option);
}

/* ---- what does not go together ---- */

/* With --evaluate-only nothing is trained and nothing kept, and all rows are read. */
static int check_evaluation(const struct bench_options *o, const bool *is_given)
{
    for (int option = OPT_STEPS; option <= OPT_NEW_HEAD; option++) {
        bool is_of_training = option <= OPT_SECONDS || option >= OPT_LR;
        if (is_given[option - OPT_DATA] && is_of_training)
            return 1 + bench_usage("--evaluate-only trains nothing and reads all rows: --%s has no "
                                   "place beside it",
                                   name_of(option));
    }
    if (o->place == PLACE_EMU)
        return 1 + bench_usage("--evaluate-only: on the emulated device no arithmetic is done, and "
                               "nothing is right or wrong");
    return 0;
}

static int check(const struct bench_options *o, const bool *is_given)
{
    for (size_t i = 0; i < WT_COUNTOF(only); i++)
        for (int option = only[i].from; option <= only[i].to; option++)
            if (is_given[option - OPT_DATA] && !(only[i].works & 1u << o->work))
                return 1 + bench_usage("--%s is not for %s", name_of(option), works[o->work]);
    bool learns = LEARNS & 1u << o->work;
    if (learns && o->dtype == WT_INT8)
        return 1 + bench_usage("--dtype int8: weights that are integers cannot be trained; infer "
                               "and generate can");
    if (o->dtype == WT_TF32 && o->place == PLACE_CPU)
        return 1 + bench_usage("--dtype tf32: GPUs have it, a CPU has not");
    if (o->is_pinned && o->place != PLACE_CPU)
        return 1 + bench_usage("--pin: threads compute on the CPU only (--device cpu)");
    if (o->is_repeatable && o->place != PLACE_CPU)
        return 1 + bench_usage("--repeatable: it is about the CPU's products (--device cpu)");
    if (is_given[OPT_GPU - OPT_DATA] && o->place == PLACE_CPU)
        return 1 + bench_usage("--gpu %u: a GPU is used with --device cuda or emu", o->gpu);
    if (o->has_phases && o->place != PLACE_CUDA)
        return 1 + bench_usage("--phases: without a GPU phases are told anyhow; it is for "
                               "--device cuda");
    if (o->has_schedule && o->schedule != SCHEDULE_CONSTANT && !o->steps && o->seconds > 0)
        return 1 + bench_usage("--schedule %s: it ends at the last step, which --seconds does not "
                               "know; --steps N says it",
                               schedules[o->schedule]);
    if (o->is_synthetic && o->data)
        return 1 +
               bench_usage("--synthetic and --data %s: text or random tokens, not both", o->data);
    if (o->is_synthetic && o->work == WORK_FINETUNE)
        return 1 +
               bench_usage("--synthetic: random tokens have no classes; --data TABLE is needed");
    if (o->work == WORK_FINETUNE && !o->data)
        return 1 +
               bench_usage("finetune %s: --data TABLE is needed, label<TAB>text a line", o->model);
    if (o->work != WORK_GENERATE && o->place != PLACE_EMU && !o->data && !o->is_synthetic)
        return 1 + bench_usage("%s %s: --data FILE is needed, %s; or --synthetic for random tokens",
                               works[o->work], o->model,
                               o->work == WORK_TRAIN ? "the text to train on" : "text to read");
    if (o->work == WORK_GENERATE) {
        if (!!o->prompt + !!o->prompt_file + o->is_synthetic > 1)
            return 1 + bench_usage("one of --prompt, --prompt-file and --synthetic is possible");
        if (!o->prompt && !o->prompt_file && !o->is_synthetic && o->place != PLACE_EMU)
            return 1 + bench_usage("generate %s: --prompt TEXT or --prompt-file FILE is needed; or "
                                   "--synthetic for random tokens",
                                   o->model);
        if (is_given[OPT_SEQ - OPT_DATA] && (o->prompt || o->prompt_file))
            return 1 + bench_usage("--seq %u: the prompt is as long as it is; --seq is for one of "
                                   "--synthetic tokens",
                                   o->seq);
        if (o->is_greedy && (is_given[OPT_TEMPERATURE - OPT_DATA] ||
                             is_given[OPT_TOP_K - OPT_DATA] || is_given[OPT_TOP_P - OPT_DATA]))
            return 1 + bench_usage("--greedy takes the likeliest token: nothing is sampled");
    } else if (o->vocab && !o->data) {
        return 1 + bench_usage("--vocab %s: there is no --data to cut into tokens", o->vocab);
    }
    if (o->is_evaluated_only)
        return check_evaluation(o, is_given);
    if (o->is_resumed && !o->checkpoint)
        return 1 + bench_usage("--resume: from where? --checkpoint DIR says it");
    if (o->checkpoint_every && !o->checkpoint)
        return 1 + bench_usage("--checkpoint-every: where to? --checkpoint DIR says it");
    if (learns && o->place == PLACE_EMU && (o->checkpoint || o->save))
        return 1 + bench_usage("--%s: on the emulated device no arithmetic is done, and there is "
                               "nothing to keep",
                               o->checkpoint ? "checkpoint" : "save");
    return 0;
}

int bench_read_options(int argc, char **argv, struct bench_options *o)
{
    *o = (struct bench_options){.vocab_size = 8000,
                                .seq = 128,
                                .seed = 1,
                                .evaluate = 4,
                                .clip = 1,
                                .decay = 0.01f,
                                .warmup = -1,
                                .accumulate = 1,
                                .tokens = 64,
                                .temperature = 1,
                                .top_p = 1};
    bool is_given[OPT_END - OPT_DATA] = {false};
    o->place = getenv("WATTUNE_EMULATION") ? PLACE_EMU : PLACE_CPU;
    o->threads = o->cpus = cpus_allowed();
    int option, code;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (option == OPT_HELP || option == 'h') {
            print_help(stdout);
            return 1;
        }
        if (option == '?') { /* getopt_long has said what is wrong */
            fprintf(stderr, "  `%s --help` lists what there is\n", PROGRAM);
            return 1 + EXIT_USAGE;
        }
        is_given[option - OPT_DATA] = true;
        code = take(o, option);
        if (code)
            return code;
    }
    if (optind >= argc)
        return 1 + bench_usage("what is to be done? `train MODEL`, `finetune MODEL`, `infer MODEL` "
                               "and `generate MODEL` are possible");
    int word = 0;
    if (!take_word(argv[optind], works, WT_COUNTOF(works), &word))
        return 1 + bench_usage("\"%s\" is not possible; train, finetune, infer and generate are",
                               argv[optind]);
    o->work = (enum bench_work)word;
    if (optind + 1 >= argc)
        return 1 +
               bench_usage("%s: which model? bert-base or gpt2, say, or a folder", argv[optind]);
    o->model = argv[optind + 1];
    if (optind + 2 < argc)
        return 1 + bench_usage("%s %s: nothing can follow but options, and here is \"%s\"",
                               argv[optind], o->model, argv[optind + 2]);
    code = check(o, is_given);
    if (code)
        return code;
    o->has_vocab_size = is_given[OPT_VOCAB_SIZE - OPT_DATA];
    o->has_seq = is_given[OPT_SEQ - OPT_DATA];
    if (!o->batch)
        o->batch = o->work == WORK_GENERATE ? 1 : 8;
    if (o->steps == 0 && o->seconds <= 0 && !o->is_evaluated_only)
        o->steps = o->work == WORK_GENERATE ? 1 : 100;
    if (o->work == WORK_FINETUNE && !is_given[OPT_EVALUATE - OPT_DATA])
        o->evaluate = 1000000; /* rows are few */
    if (!o->has_schedule && !o->steps)
        o->schedule = SCHEDULE_CONSTANT;
    return 0;
}
