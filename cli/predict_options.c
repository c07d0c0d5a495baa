/* predict_options: see predict_options.h. */
#include "predict_options.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char cli_predict_help[] =
    "  --batch N          sequences in a pass of each copy (default 8)\n"
    "  --seq N            tokens of each; of generate, of the prompt (default 128)\n"
    "  --new N            of generate, tokens of each answer (default 128)\n"
    "  --dtype TYPE       fp32, tf32 (of GPUs that have it), bf16 or int8 (of weights\n"
    "                     alone) (default bf16 where the GPU has it, else fp32)\n"
    "  --tokens N         of all of the work, such as 300G; of generate those that\n"
    "                     are made (default: one pass)\n"
    "  --set KNOB=V       power=W or clock=MHZ of each GPU (repeatable)\n"
    "  --gap TIME         nothing runs so long between two passes (default 0s)\n"
    "  --host-watts W     of the rest of the node, for what the facility draws\n"
    "  --pue X            of the facility, or one of `wattune data list pue`\n"
    "  --carbon-intensity G  g CO2e a kWh\n"
    "  --region ID        where it runs (`wattune data list regions`), for the\n"
    "                     carbon: DEU, gcp:europe-west4; compare takes several, with\n"
    "                     commas\n"
    "  --price-kwh P      what a kWh costs\n"
    "  --data DIR         tables of your own (wattune-data(1); default:\n"
    "                     ~/.config/wattune/data)\n";

static int take_count(const struct cli_predict *p, const char *option, const char *text,
                      unsigned *ret_count)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < 1 || n > 10000000)
        return cli_usage(p->command, "%s %s: a whole number from 1 to 10000000 is wanted", option,
                         text);
    *ret_count = (unsigned)n;
    return -1;
}

static int take_tokens(const struct cli_predict *p, const char *text, uint64_t *ret_count)
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
        double whole = round(value);
        /* 1.1G is whole, though its double, times a thousand million, need not be. */
        if (fabs(value - whole) > 1e-12 * whole || whole < 1 || whole > 1e18)
            break;
        *ret_count = (uint64_t)whole;
        return -1;
    }
    return cli_usage(p->command,
                     "--tokens %s: a whole number of tokens is wanted, such as 3000000, 3M or 1.5G",
                     text);
}

int cli_predict_number(const struct cli_predict *p, const char *option, const char *text,
                       double low, double *ret_value)
{
    double value;
    if (!cli_number_parse(text, strlen(text), &value) || value < low || value > 1e9)
        return cli_usage(p->command, "%s %s: a number from %g on is wanted", option, text, low);
    *ret_value = value;
    return -1;
}

static int take_dtype(const struct cli_predict *p, const char *text, enum wt_dtype *ret_dtype)
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
    return cli_usage(p->command, "--dtype %s: is not fp32, tf32, bf16 or int8", text);
}

static int take_setting(struct cli_predict *p, const char *text)
{
    struct cli_setting setting;
    struct wt_error err = {0};
    if (cli_setting_parse(text, &setting, &err) < 0)
        return cli_fail(p->command, &err);
    double value = wt_knob_to_user(setting.values[0]);
    size_t count = setting.count;
    enum wt_knob knob = setting.knob;
    cli_setting_done(&setting);
    if (count != 1)
        return cli_usage(p->command, "--set %s: one value; a prediction is of one setting", text);
    if ((knob == WT_KNOB_POWER && p->o.limit_w > 0) ||
        (knob == WT_KNOB_CLOCK && p->o.clock_mhz > 0))
        return cli_usage(p->command, "--set %s: this knob is given twice", text);
    if (knob == WT_KNOB_POWER)
        p->o.limit_w = value;
    else if (knob == WT_KNOB_CLOCK)
        p->o.clock_mhz = value;
    else
        return cli_usage(p->command, "--set %s: power and clock can be predicted", text);
    return -1;
}

int cli_predict_option(int c, const char *arg, struct cli_predict *p)
{
    struct wt_error err = {0};
    int64_t ns;
    switch (c) {
    case PREDICT_BATCH:
        return take_count(p, "--batch", arg, &p->work.batch);
    case PREDICT_SEQ:
        return take_count(p, "--seq", arg, &p->work.seq);
    case PREDICT_NEW:
        return take_count(p, "--new", arg, &p->answer);
    case PREDICT_DTYPE:
        p->has_dtype = true;
        return take_dtype(p, arg, &p->work.dtype);
    case PREDICT_TOKENS:
        return take_tokens(p, arg, &p->tokens);
    case PREDICT_SET:
        return take_setting(p, arg);
    case PREDICT_GAP:
        if (cli_duration_parse("--gap", arg, &ns, &err) < 0)
            return cli_usage(p->command, "--gap %s: is no duration, such as 5ms", arg);
        p->o.host_gap_s = (double)ns * 1e-9;
        return -1;
    case PREDICT_HOST_WATTS:
        return cli_predict_number(p, "--host-watts", arg, 0, &p->site.host_w);
    case PREDICT_PUE:
        p->pue = arg;
        return -1;
    case PREDICT_CARBON:
        snprintf(p->site.carbon_source, sizeof(p->site.carbon_source), "--carbon-intensity");
        return cli_predict_number(p, "--carbon-intensity", arg, 0, &p->site.carbon_g_per_kwh);
    case PREDICT_REGION:
        p->regions = arg;
        return -1;
    case PREDICT_DATA:
        p->data = arg;
        return -1;
    case PREDICT_PRICE_KWH:
        return cli_predict_number(p, "--price-kwh", arg, 0, &p->site.price_per_kwh);
    default:
        return CLI_OTHER;
    }
}

int cli_predict_work(struct cli_predict *p, int argc, char **argv)
{
    struct wt_error err = {0};
    if (argc != 2)
        return cli_usage(p->command, "what is done and a model are wanted: train bert-base");
    bool is_generate = strcmp(argv[0], "generate") == 0;
    if (strcmp(argv[0], "train") == 0)
        p->work.kind = WT_WORK_TRAIN;
    else if (strcmp(argv[0], "infer") == 0)
        p->work.kind = WT_WORK_ENCODE;
    else if (is_generate)
        p->work.kind = WT_WORK_PREFILL;
    else
        return cli_usage(p->command, "\"%s\" is not train, infer or generate", argv[0]);
    if (!is_generate && p->answer)
        return cli_usage(p->command, "--new goes with generate");
    if (is_generate && !p->answer)
        p->answer = 128;
    return wt_work_find(argv[1], &p->work, &err) < 0 ? cli_fail(p->command, &err) : -1;
}

/* A number, or the name of an example. */
static int find_pue(struct cli_predict *p)
{
    struct wt_pue pue;
    struct wt_error err = {0};
    double value;
    if (cli_number_parse(p->pue, strlen(p->pue), &value)) {
        snprintf(p->site.pue_source, sizeof(p->site.pue_source), "--pue");
        return cli_predict_number(p, "--pue", p->pue, 1, &p->site.pue);
    }
    if (wt_pue_find(p->catalogue, &pue, p->pue, &err) < 0)
        return cli_fail(p->command, &err);
    if (isnan(pue.pue))
        return cli_usage(p->command, "--pue %s: the catalogue has no number of it", p->pue);
    p->site.pue = pue.pue;
    wt_pue_words(&pue, p->site.pue_source, sizeof(p->site.pue_source));
    return -1;
}

int cli_predict_open(struct cli_predict *p)
{
    char folder[4096];
    struct wt_error err = {0};
    if (p->regions && !isnan(p->site.carbon_g_per_kwh))
        return cli_usage(p->command, "--region and --carbon-intensity: one of them; a region has "
                                     "its own carbon factor");
    if (wt_catalogue_open(&p->catalogue, cli_data_folder(p->data, folder, sizeof(folder)), &err) <
        0)
        return cli_fail(p->command, &err);
    return p->pue ? find_pue(p) : -1;
}

void cli_predict_close(struct cli_predict *p)
{
    wt_catalogue_close(p->catalogue);
    p->catalogue = NULL;
}

int cli_predict_gpu(const struct cli_predict *p, const char *text, struct wt_gpu *ret_gpu,
                    unsigned *ret_devices)
{
    char name[80];
    struct wt_error err = {0};
    const char *colon = strchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (n >= sizeof(name))
        return cli_usage(p->command, "--gpu %s: no GPU has so long a name", text);
    memcpy(name, text, n);
    name[n] = '\0';
    *ret_devices = 1;
    int code = colon ? take_count(p, "--gpu", colon + 1, ret_devices) : -1;
    if (code >= 0)
        return code;
    return wt_gpu_find(p->catalogue, name, ret_gpu, &err) < 0 ? cli_fail(p->command, &err) : -1;
}

struct wt_work cli_predict_work_on(const struct cli_predict *p, const struct wt_gpu *gpu)
{
    static const char *const without[] = {"Kepler", "Pascal", "Volta", "Turing"};
    struct wt_work work = p->work;
    for (size_t i = 0; i < sizeof(without) / sizeof(*without) && !p->has_dtype; i++)
        if (strcmp(gpu->arch, without[i]) == 0)
            work.dtype = WT_F32;
    return work;
}
