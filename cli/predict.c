/* wattune predict: time, energy and cost of a model's work on a device that need not be at hand. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct predict_options {
    const char *model, *gpu, *calibrate;
    struct wt_work work;
    struct wt_predict_options o;
    struct wt_predict_measured measured;
    struct wt_predict_site site;
    unsigned answer; /* generate: tokens of each; 0: not given */
    uint64_t tokens;
    bool is_generate, has_dtype, is_json;
};

static void print_help(void)
{
    fputs(
        "usage: wattune predict train|infer|generate MODEL --gpu GPU[:N] [OPTION...]\n"
        "       wattune predict --list\n\n"
        "Says what time and energy a model's work takes on a GPU, and what limits it, before it "
        "is\n"
        "run and where the GPU is not at hand. MODEL is a name or a config.json; --list shows the\n"
        "names of models and GPUs.\n\n"
        "  --gpu GPU[:N]      of the catalogue, and how many: parts of a large decoder, else\n"
        "                     copies with a batch each\n"
        "  --batch N          sequences in a pass of each copy (default 8)\n"
        "  --seq N            tokens of each; of generate, of the prompt (default 128)\n"
        "  --new N            of generate, tokens of each answer (default 128)\n"
        "  --dtype TYPE       fp32, tf32, bf16 or int8 (default bf16 where the GPU has it, else\n"
        "                     fp32)\n"
        "  --tokens N         of all of the work, such as 300G; of generate those that are made\n"
        "                     (default: one pass)\n"
        "  --set KNOB=V       power=W or clock=MHZ of each GPU (repeatable)\n"
        "  --gap TIME         nothing runs so long between two passes (default 0s)\n"
        "  --calibrate RUN    a stored run of this work on this GPU, which the prediction is made\n"
        "                     to meet\n"
        "  --host-watts W     of the rest of the node, for what the facility draws\n"
        "  --pue X            of the facility\n"
        "  --carbon-intensity G  g CO2e a kWh\n"
        "  --price-kwh P      what a kWh costs\n"
        "  --price-hour P     what an hour of the machine costs, in the same currency\n"
        "  --list             the names of models and GPUs\n"
        "  --json             one JSON document on stdout, of the shape of a run's\n"
        "  --help             this text\n\n"
        "Exit code: 0, 1 failure, 2 usage, 4 no such model or GPU.\n",
        stdout);
}

static int print_list(void)
{
    struct wt_gpu gpu;
    struct wt_error err = {0};
    struct wt_model_shape none;
    puts("models of the workload, and decoders that are only counted:");
    wt_model_shape_named("", &none, &err); /* which names those there are */
    printf("  %s\n ", strchr(err.fix, ':') ? strchr(err.fix, ':') + 2 : err.fix);
    for (const char *const *name = wt_decoder_names(); *name; name++)
        printf(" %s%s", *name, name[1] ? "," : "\n");
    puts("\nGPUs:");
    for (size_t i = 0; wt_gpu_at(i, &gpu); i++) {
        printf("  %-16s %-18s %-10s %4.0f W", gpu.id, gpu.name, gpu.arch, gpu.tdp_w);
        if (gpu.limit_min_w > 0)
            printf(" (%.0f to %.0f)", gpu.limit_min_w, gpu.limit_max_w);
        printf("%s%s\n", gpu.profile[0] ? "  profile " : "", gpu.profile);
    }
    return CLI_OK;
}

/* ---- options ---- */

static int take_count(const char *option, const char *text, unsigned *ret_count)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < 1 || n > 10000000)
        return cli_usage("predict", "%s %s: a number from 1 to 10000000 is wanted", option, text);
    *ret_count = (unsigned)n;
    return -1;
}

static int take_tokens(const char *text, uint64_t *ret_count)
{
    static const struct {
        char letter;
        double factor;
    } units[] = {{'\0', 1}, {'k', 1e3}, {'M', 1e6}, {'G', 1e9}, {'T', 1e12}};
    size_t digits = strspn(text, ".0123456789");
    double value;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (!cli_number_parse(text, digits, &value) || text[digits] != units[i].letter ||
            (text[digits] && text[digits + 1]))
            continue;
        value *= units[i].factor;
        if (value < 1 || value > 1e18)
            break;
        *ret_count = (uint64_t)llround(value);
        return -1;
    }
    return cli_usage("predict", "--tokens %s: a number is wanted, such as 3000000, 3M or 300G",
                     text);
}

static int take_number(const char *option, const char *text, double low, double *ret_value)
{
    double value;
    if (!cli_number_parse(text, strlen(text), &value) || value < low || value > 1e9)
        return cli_usage("predict", "%s %s: a number from %g on is wanted", option, text, low);
    *ret_value = value;
    return -1;
}

static int take_dtype(const char *text, enum wt_dtype *ret_dtype)
{
    static const struct {
        const char *name;
        enum wt_dtype dtype;
    } rows[] = {{"fp32", WT_F32}, {"tf32", WT_TF32}, {"bf16", WT_BF16}, {"int8", WT_INT8}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (strcmp(text, rows[i].name) == 0) {
            *ret_dtype = rows[i].dtype;
            return -1;
        }
    return cli_usage("predict", "--dtype %s: is not fp32, tf32, bf16 or int8", text);
}

static int take_setting(struct predict_options *p, const char *text)
{
    struct cli_setting setting;
    struct wt_error err = {0};
    if (cli_setting_parse(text, &setting, &err) < 0)
        return cli_fail("predict", &err);
    double value = wt_knob_to_user(setting.values[0]);
    size_t count = setting.count;
    enum wt_knob knob = setting.knob;
    cli_setting_done(&setting);
    if (count != 1)
        return cli_usage("predict", "--set %s: one value; a prediction is of one setting", text);
    if (knob == WT_KNOB_POWER)
        p->o.limit_w = value;
    else if (knob == WT_KNOB_CLOCK)
        p->o.clock_mhz = value;
    else
        return cli_usage("predict", "--set %s: power and clock can be predicted", text);
    return -1;
}

enum {
    GPU = 256,
    BATCH,
    SEQ,
    NEW,
    DTYPE,
    TOKENS,
    SET,
    GAP,
    CALIBRATE,
    HOST_WATTS,
    PUE,
    CARBON,
    PRICE_KWH,
    PRICE_HOUR,
    LIST,
    JSON,
    HELP
};

static int take_option(struct predict_options *p, int c)
{
    struct wt_error err = {0};
    int64_t ns;
    switch (c) {
    case GPU:
        p->gpu = optarg;
        return -1;
    case BATCH:
        return take_count("--batch", optarg, &p->work.batch);
    case SEQ:
        return take_count("--seq", optarg, &p->work.seq);
    case NEW:
        return take_count("--new", optarg, &p->answer);
    case DTYPE:
        p->has_dtype = true;
        return take_dtype(optarg, &p->work.dtype);
    case TOKENS:
        return take_tokens(optarg, &p->tokens);
    case SET:
        return take_setting(p, optarg);
    case GAP:
        if (cli_duration_parse(optarg, &ns, &err) < 0)
            return cli_usage("predict", "--gap %s: is no duration, such as 5ms", optarg);
        p->o.host_gap_s = (double)ns * 1e-9;
        return -1;
    case CALIBRATE:
        p->calibrate = optarg;
        return -1;
    case HOST_WATTS:
        return take_number("--host-watts", optarg, 0, &p->site.host_w);
    case PUE:
        return take_number("--pue", optarg, 1, &p->site.pue);
    case CARBON:
        return take_number("--carbon-intensity", optarg, 0, &p->site.carbon_g_per_kwh);
    case PRICE_KWH:
        return take_number("--price-kwh", optarg, 0, &p->site.price_per_kwh);
    case PRICE_HOUR:
        return take_number("--price-hour", optarg, 0, &p->site.price_per_hour);
    case JSON:
        p->is_json = true;
        return -1;
    case LIST:
        return print_list();
    case HELP:
        print_help();
        return CLI_OK;
    default:
        return cli_bad_option("predict");
    }
}

static int take_work(struct predict_options *p, const char *word)
{
    p->is_generate = strcmp(word, "generate") == 0;
    if (strcmp(word, "train") == 0)
        p->work.kind = WT_WORK_TRAIN;
    else if (strcmp(word, "infer") == 0)
        p->work.kind = WT_WORK_ENCODE;
    else if (p->is_generate)
        p->work.kind = WT_WORK_PREFILL;
    else
        return cli_usage("predict", "\"%s\" is not train, infer or generate", word);
    if (!p->is_generate && p->answer)
        return cli_usage("predict", "--new goes with generate");
    if (p->is_generate && !p->answer)
        p->answer = 128;
    return -1;
}

/* "h100-sxm:4" */
static int take_gpu(struct predict_options *p, struct wt_gpu *ret_gpu)
{
    char name[80];
    struct wt_error err = {0};
    const char *colon = strchr(p->gpu, ':');
    size_t n = colon ? (size_t)(colon - p->gpu) : strlen(p->gpu);
    if (n >= sizeof(name))
        return cli_usage("predict", "--gpu %s: no GPU has so long a name", p->gpu);
    memcpy(name, p->gpu, n);
    name[n] = '\0';
    int code = colon ? take_count("--gpu", colon + 1, &p->o.devices) : -1;
    if (code >= 0)
        return code;
    return wt_gpu_find(name, ret_gpu, &err) < 0 ? cli_fail("predict", &err) : -1;
}

/* ---- the prediction ---- */

static int read_measured(struct predict_options *p)
{
    struct wt_store *store = NULL;
    struct wt_run run = {0};
    struct wt_error err = {0};
    int rc = wt_store_open(&store, NULL, &err);
    if (rc == 0)
        rc = wt_store_load(store, p->calibrate, &run, &err);
    if (rc == 0)
        rc = wt_predict_measured_from(&p->measured, &run, &p->work, p->o.devices ? p->o.devices : 1,
                                      &err);
    p->o.measured = &p->measured;
    wt_run_done(&run);
    wt_store_close(store);
    return rc < 0 ? cli_fail("predict", &err) : -1;
}

static bool has_bf16(const struct wt_gpu *gpu)
{
    static const char *const without[] = {"Kepler", "Pascal", "Volta", "Turing"};
    for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
        if (strcmp(gpu->arch, without[i]) == 0)
            return false;
    return true;
}

static int predict(struct predict_options *p)
{
    struct wt_gpu gpu;
    struct wt_predict_job job;
    struct wt_error err = {0};
    int code = take_gpu(p, &gpu);
    if (code < 0 && wt_work_find(p->model, &p->work, &err) < 0)
        code = cli_fail("predict", &err);
    if (code < 0 && !p->has_dtype && !has_bf16(&gpu))
        p->work.dtype = WT_F32;
    if (code < 0 && p->calibrate) {
        code = read_measured(p);
    }
    if (code >= 0)
        return code;
    if (wt_predict_job(&job, &gpu, &p->work, p->answer, p->tokens, &p->o, &p->site, &err) < 0)
        return err.code == WT_E_UNSUPPORTED ? cli_usage("predict", "%s", err.text)
                                            : cli_fail("predict", &err);
    if (p->is_json)
        return cli_print_json("predict", wt_predict_job_to_json(&job));
    struct wt_term term;
    wt_term_init(&term, stdout);
    wt_report_predict(&term, &job);
    return CLI_OK;
}

int cmd_predict(int argc, char **argv)
{
    static const struct option options[] = {
        {"gpu", required_argument, NULL, GPU},
        {"batch", required_argument, NULL, BATCH},
        {"seq", required_argument, NULL, SEQ},
        {"new", required_argument, NULL, NEW},
        {"dtype", required_argument, NULL, DTYPE},
        {"tokens", required_argument, NULL, TOKENS},
        {"set", required_argument, NULL, SET},
        {"gap", required_argument, NULL, GAP},
        {"calibrate", required_argument, NULL, CALIBRATE},
        {"host-watts", required_argument, NULL, HOST_WATTS},
        {"pue", required_argument, NULL, PUE},
        {"carbon-intensity", required_argument, NULL, CARBON},
        {"price-kwh", required_argument, NULL, PRICE_KWH},
        {"price-hour", required_argument, NULL, PRICE_HOUR},
        {"list", no_argument, NULL, LIST},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct predict_options p = {.work = {.batch = 8, .seq = 128, .dtype = WT_BF16},
                                .site = {NAN, NAN, NAN, NAN, NAN}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        int code = take_option(&p, c);
        if (code >= 0)
            return code;
    }
    if (argc - optind != 2)
        return cli_usage("predict", "what is done and a model are wanted: train bert-base");
    int code = take_work(&p, argv[optind]);
    if (code >= 0)
        return code;
    if (!p.gpu)
        return cli_usage("predict", "--gpu is wanted; `wattune predict --list` names them");
    p.model = argv[optind + 1];
    return predict(&p);
}
