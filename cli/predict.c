/* wattune predict: time, energy and cost of a model's work on a device that need not be at hand. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "predict_options.h"

static void print_help(void)
{
    fputs("usage: wattune predict train|infer|generate MODEL --gpu GPU[:N] [OPTION...]\n"
          "       wattune predict --list\n\n"
          "Says what time and energy a model's work takes on a GPU, and what limits it,\n"
          "before it is run and where the GPU is not at hand. MODEL is a name, a\n"
          "config.json or a folder with one; --list shows the names of models and GPUs.\n\n"
          "  --gpu GPU[:N]      of the catalogue, and how many: parts of a large decoder,\n"
          "                     else copies with a batch each\n",
          stdout);
    fputs(cli_predict_help, stdout);
    fputs("  --price-hour P     what an hour of the machine costs, in the same currency\n"
          "  --calibrate RUN    a stored run of this work on this GPU, which the prediction\n"
          "                     is made to meet\n"
          "  --list             the names of models and GPUs\n"
          "  --json             one JSON document on stdout, of the shape of a run's\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 4 no such model or GPU.\n",
          stdout);
}

#define LIST_WIDTH 80

/* "a, b, c" in lines that a narrow terminal holds, after what stands in the line already. */
static void print_names(const char *names, size_t *io_at)
{
    while (*names) {
        size_t len = strcspn(names, ",");
        if (*io_at + len + 2 > LIST_WIDTH) {
            fputs("\n ", stdout);
            *io_at = 1;
        }
        printf(" %.*s%s", (int)len, names, names[len] ? "," : "");
        *io_at += len + 2;
        names += len + strspn(names + len, ", ");
    }
}

static void print_models(void)
{
    struct wt_error err = {0};
    struct wt_model_shape none;
    size_t at = 1;
    wt_model_shape_named("", &none, &err); /* which names those there are */
    const char *names = strchr(err.fix, ':') ? strchr(err.fix, ':') + 2 : err.fix;
    fputs("models of the workload, and decoders that are only counted:\n ", stdout);
    print_names(names, &at);
    fputs("\n ", stdout);
    at = 1;
    for (const char *const *name = wt_decoder_names(); *name; name++) {
        char word[64];
        snprintf(word, sizeof(word), "%s%s", *name, name[1] ? "," : "");
        print_names(word, &at);
    }
    putchar('\n');
}

static int print_list(const struct cli_predict *p)
{
    struct wt_gpu gpu;
    int id = 3, name = 4, arch = 4;
    print_models();
    for (size_t i = 0; wt_gpu_at(p->catalogue, i, &gpu); i++) {
        id = (int)fmax(id, (double)strlen(gpu.id));
        name = (int)fmax(name, (double)strlen(gpu.name));
        arch = (int)fmax(arch, (double)strlen(gpu.arch));
    }
    puts("\nGPUs, with their power and the limits that it can be given, in W:");
    printf("  %-*s  %-*s  %-*s   TDP limits    profile\n", id, "GPU", name, "name", arch, "arch");
    for (size_t i = 0; wt_gpu_at(p->catalogue, i, &gpu); i++) {
        char limits[40] = "";
        if (gpu.limit_min_w > 0)
            snprintf(limits, sizeof(limits), "%.0f-%.0f", gpu.limit_min_w, gpu.limit_max_w);
        printf("  %-*s  %-*s  %-*s  %4.0f", id, gpu.id, name, gpu.name, arch, gpu.arch, gpu.tdp_w);
        if (gpu.profile[0])
            printf(" %-8s  %s", limits, gpu.profile);
        else if (limits[0])
            printf(" %s", limits);
        printf("%s%s\n", gpu.origin[0] ? "\n    of " : "", gpu.origin);
    }
    return CLI_OK;
}

static int read_measured(struct cli_predict *p, const char *id, const struct wt_gpu *gpu,
                         const struct wt_work *work, struct wt_predict_measured *ret_measured)
{
    struct wt_store *store = NULL;
    struct wt_run run = {0};
    struct wt_error err = {0};
    int rc = wt_store_open(&store, NULL, &err);
    if (rc == 0)
        rc = wt_store_load(store, id, &run, &err);
    if (rc == 0)
        rc = wt_predict_measured_from(ret_measured, &run, p->catalogue, gpu, work, p->o.devices,
                                      &err);
    wt_run_done(&run);
    wt_store_close(store);
    return rc < 0 ? cli_fail("predict", &err) : -1;
}

/* Where it runs: its carbon by the catalogue. Returns an exit code, or -1. */
static int take_region(struct cli_predict *p)
{
    struct wt_region region;
    struct wt_error err = {0};
    if (wt_region_find(p->catalogue, &region, p->regions, &err) < 0)
        return cli_fail("predict", &err);
    if (isnan(region.carbon_g))
        return cli_usage("predict",
                         "--region %s: the catalogue has no carbon factor of it; give "
                         "--carbon-intensity in its place",
                         p->regions);
    p->site.carbon_g_per_kwh = region.carbon_g;
    wt_region_words(&region, p->site.carbon_source, sizeof(p->site.carbon_source));
    return -1;
}

static int predict(struct cli_predict *p, const char *name, const char *run, bool is_json)
{
    struct wt_gpu gpu;
    struct wt_predict_job job;
    struct wt_predict_measured measured;
    struct wt_error err = {0};
    int code = p->regions ? take_region(p) : -1;
    if (code < 0)
        code = cli_predict_gpu(p, name, &gpu, &p->o.devices);
    if (code >= 0)
        return code;
    struct wt_work work = cli_predict_work_on(p, &gpu);
    struct wt_predict_options o = p->o;
    if (run) {
        code = read_measured(p, run, &gpu, &work, &measured);
        if (code >= 0)
            return code;
        o.measured = &measured;
    }
    if (wt_predict_job(&job, &gpu, &work, p->answer, p->tokens, &o, &p->site, &err) < 0)
        return err.code == WT_E_UNSUPPORTED ? cli_usage("predict", "%s", err.text)
                                            : cli_fail("predict", &err);
    if (run && is_json && *measured.doubt) /* who reads the document is not always who typed this */
        cli_note("run %s is doubtful: %s", measured.run_id, measured.doubt);
    if (is_json)
        return cli_print_json("predict", wt_predict_job_to_json(&job));
    struct wt_term term;
    wt_term_init(&term, stdout);
    wt_report_predict(&term, &job);
    return CLI_OK;
}

int cmd_predict(int argc, char **argv)
{
    enum { GPU = 256, PRICE_HOUR, CALIBRATE, LIST, JSON, HELP };
    static const struct option options[] = {
        PREDICT_OPTIONS,
        {"gpu", required_argument, NULL, GPU},
        {"price-hour", required_argument, NULL, PRICE_HOUR},
        {"calibrate", required_argument, NULL, CALIBRATE},
        {"list", no_argument, NULL, LIST},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct cli_predict p = CLI_PREDICT_INIT("predict");
    const char *gpu = NULL, *run = NULL;
    bool is_json = false, is_list = false;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        int code = cli_predict_option(c, optarg, &p);
        if (code != CLI_OTHER) {
            if (code >= 0)
                return code;
            continue;
        }
        switch (c) {
        case GPU:
            if (gpu)
                return cli_usage("predict",
                                 "--gpu %s: a prediction is of one GPU; `wattune compare` takes "
                                 "several",
                                 optarg);
            gpu = optarg;
            break;
        case PRICE_HOUR:
            code = cli_predict_number(&p, "--price-hour", optarg, 0, &p.site.price_per_hour);
            if (code >= 0)
                return code;
            break;
        case CALIBRATE:
            run = optarg;
            break;
        case LIST:
            is_list = true;
            break;
        case JSON:
            is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("predict");
        }
    }
    int code = is_list ? -1 : cli_predict_work(&p, argc - optind, argv + optind);
    if (code < 0 && !is_list && !gpu)
        code = cli_usage("predict", "--gpu is wanted; `wattune predict --list` names them");
    if (code < 0)
        code = cli_predict_open(&p);
    if (code < 0)
        code = is_list ? print_list(&p) : predict(&p, gpu, run, is_json);
    cli_predict_close(&p);
    return code;
}
