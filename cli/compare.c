/* wattune compare: one model's work on several GPUs, or on machines that are offered, side by side.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "predict_options.h"

struct compare {
    struct cli_predict p;
    const char *gpus, *offers, *plot;
    bool has_instances;
    const char *instances; /* patterns; NULL: all of them */
    enum wt_compare_by by;
    bool is_json;
};

static void print_help(void)
{
    fputs("usage: wattune compare train|infer|generate MODEL [OPTION...]\n\n"
          "Predicts a model's work on each GPU of the catalogue, on cloud instances, or on\n"
          "the machines of a file, and shows them side by side: time, energy, and with what\n"
          "is given carbon and cost; which is fastest, thriftiest, cleanest and cheapest,\n"
          "and which no other beats. Nothing is measured (wattune-predict(1)).\n\n"
          "  --gpu GPU[:N],...  only these GPUs, and how many of each (default: one of\n"
          "                     each)\n"
          "  --instances [LIST]  cloud instances: of a cloud, with a GPU or by id, * for\n"
          "                     any, as aws,gcp:a3*,h100-sxm (default: all in the\n"
          "                     catalogue)\n"
          "  --offers FILE      machines as a CSV:\n"
          "                     name,gpu,gpus,instance,price_per_hour,region,\n"
          "                     gco2_per_kwh,pue; all but gpu or instance may be left out\n",
          stdout);
    fputs(cli_predict_help, stdout);
    fputs("  --sort WHAT        time, energy (the default), carbon or cost\n"
          "  --plot FILE        time against energy, as an SVG\n"
          "  --json             one JSON document on stdout\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such model, GPU or file.\n",
          stdout);
}

/* "a40,h100-sxm:8" */
static int take_gpus(const struct compare *o, struct wt_offer **ret_offers, size_t *ret_count)
{
    size_t count = 1, n = 0;
    for (const char *at = o->gpus; (at = strchr(at, ',')); at++)
        count++;
    char *words = strdup(o->gpus);
    struct wt_offer *offers = calloc(count, sizeof(*offers));
    int code = -1;
    if (!words || !offers) {
        struct wt_error err = {.code = WT_E_NOMEM, .text = "no memory for a list of GPUs"};
        code = cli_fail("compare", &err);
    }
    for (char *rest = words, *word; code < 0 && (word = strsep(&rest, ",")) != NULL; n++) {
        code = cli_predict_gpu(&o->p, word, &offers[n].gpu, &offers[n].devices);
        snprintf(offers[n].name, sizeof(offers[n].name), "%s", offers[n].gpu.id);
        offers[n].price_per_hour = offers[n].carbon_g_per_kwh = offers[n].pue = NAN;
        offers[n].vcpus = offers[n].memory_gib = NAN;
    }
    free(words);
    *ret_offers = offers;
    *ret_count = n;
    return code;
}

static int read_offers(const struct compare *o, struct wt_offer **ret_offers, size_t *ret_count)
{
    const struct wt_catalogue *catalogue = o->p.catalogue;
    struct wt_error err = {0};
    size_t left_out = 0;
    int rc = 0;
    if (o->gpus) {
        int code = take_gpus(o, ret_offers, ret_count);
        if (code >= 0)
            return code;
    } else if (o->has_instances) {
        rc = wt_offers_instances(catalogue, o->instances, ret_offers, ret_count, &err);
    } else if (o->offers) {
        rc = wt_offers_read(catalogue, o->offers, ret_offers, ret_count, &err);
    } else {
        rc = wt_offers_catalogue(catalogue, 1, ret_offers, ret_count, &err);
    }
    if (rc == 0 && o->p.regions)
        rc = wt_offers_place(catalogue, o->p.regions, ret_offers, ret_count, &left_out, &err);
    if (left_out)
        cli_note("%zu row%s left out: an instance of one cloud is not in a region of another",
                 left_out, left_out == 1 ? "" : "s");
    return rc < 0 ? cli_fail("compare", &err) : -1;
}

/* The same machine elsewhere: what takes long, its prediction, is done. */
static const struct wt_compare_row *find_same(const struct wt_compare_row *rows, size_t count,
                                              const struct wt_offer *offer)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].offer.devices == offer->devices &&
            strcmp(rows[i].offer.gpu.id, offer->gpu.id) == 0)
            return &rows[i];
    return NULL;
}

/* The same tokens everywhere. What a row does not say of its place, the options do. */
static void predict(const struct compare *o, struct wt_compare_row *row,
                    const struct wt_compare_row *same)
{
    const struct wt_offer *offer = &row->offer;
    struct wt_predict_options options = o->p.o;
    struct wt_predict_site site = o->p.site;
    struct wt_work work = cli_predict_work_on(&o->p, &offer->gpu);
    struct wt_error err = {0};
    uint64_t pass = o->p.answer ? (uint64_t)work.batch * o->p.answer : wt_work_tokens(&work);
    options.devices = offer->devices;
    site.price_per_hour = offer->price_per_hour;
    if (!isnan(offer->carbon_g_per_kwh)) {
        site.carbon_g_per_kwh = offer->carbon_g_per_kwh;
        memcpy(site.carbon_source, offer->carbon_source, sizeof(site.carbon_source));
    }
    if (!isnan(offer->pue)) {
        site.pue = offer->pue;
        snprintf(site.pue_source, sizeof(site.pue_source), "%s", offer->pue_source);
    }
    if (same) {
        struct wt_offer own = row->offer;
        *row = *same;
        row->offer = own;
        if (row->is_predicted)
            wt_predict_job_place(&row->job, &site);
        return;
    }
    row->is_predicted =
        wt_predict_job(&row->job, &offer->gpu, &work, o->p.answer, o->p.tokens ? o->p.tokens : pass,
                       &options, &site, &err) == 0;
    snprintf(row->why, sizeof(row->why), "%.199s", row->is_predicted ? "" : err.text);
    row->fits = row->is_fit_known = row->is_predicted;
    for (size_t i = 0; row->is_predicted && i < row->job.part_count; i++) {
        row->fits &= row->job.parts[i].each.fits;
        row->is_fit_known &= row->job.parts[i].each.is_fit_known;
    }
}

static int compare(const struct compare *o)
{
    struct wt_offer *offers = NULL;
    size_t count = 0, done = 0;
    struct wt_error err = {0};
    int code = read_offers(o, &offers, &count);
    struct wt_compare_row *rows = code < 0 ? calloc(count, sizeof(*rows)) : NULL;
    if (code < 0 && !rows) {
        err = (struct wt_error){.code = WT_E_NOMEM, .text = "no memory for a table"};
        code = cli_fail("compare", &err);
    }
    for (size_t i = 0; code < 0 && i < count; i++) {
        rows[i].offer = offers[i];
        predict(o, &rows[i], find_same(rows, i, &offers[i]));
        done += rows[i].is_predicted;
    }
    if (code < 0 && !done)
        code = cli_usage("compare", "%s", rows[0].why);
    bool is_known = o->by < WT_COMPARE_CARBON;
    for (size_t i = 0; i < count && code < 0; i++)
        is_known |=
            rows[i].is_predicted &&
            !isnan(o->by == WT_COMPARE_COST ? rows[i].job.cost.value : rows[i].job.carbon_g.value);
    if (code < 0 && !is_known)
        code = cli_usage("compare", "--sort %s: it is known of none: %s",
                         o->by == WT_COMPARE_COST ? "cost" : "carbon",
                         o->by == WT_COMPARE_COST ? "--price-kwh, or prices in --offers"
                                                  : "--region or --carbon-intensity");
    if (code < 0) {
        wt_compare_mark(rows, count);
        wt_compare_sort(rows, count, o->by);
    }
    if (code < 0 && o->plot && wt_report_compare_svg(o->plot, rows, count, &err) < 0)
        code = cli_fail("compare", &err);
    if (code < 0 && o->is_json) {
        code = cli_print_json("compare", wt_compare_to_json(rows, count));
    } else if (code < 0) {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_compare(&term, rows, count);
        code = CLI_OK;
    }
    free(rows);
    free(offers);
    return code;
}

static int take_sort(const char *text, enum wt_compare_by *ret_by)
{
    static const char *const names[] = {"time", "energy", "carbon", "cost"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_by = (enum wt_compare_by)i;
            return -1;
        }
    return cli_usage("compare", "--sort %s: is not time, energy, carbon or cost", text);
}

/* The word behind an option whose argument may be left out: none where an option or what is done
 * comes next. */
static const char *next_word(int argc, char **argv)
{
    static const char *const others[] = {"train", "infer", "generate"};
    if (optind >= argc || argv[optind][0] == '-')
        return NULL;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        if (strcmp(argv[optind], others[i]) == 0)
            return NULL;
    return argv[optind++];
}

int cmd_compare(int argc, char **argv)
{
    enum { GPU = 256, INSTANCES, OFFERS, SORT, PLOT, JSON, HELP };
    static const struct option options[] = {
        PREDICT_OPTIONS,
        {"gpu", required_argument, NULL, GPU},
        {"instances", optional_argument, NULL, INSTANCES},
        {"offers", required_argument, NULL, OFFERS},
        {"sort", required_argument, NULL, SORT},
        {"plot", required_argument, NULL, PLOT},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct compare o = {.p = CLI_PREDICT_INIT("compare"), .by = WT_COMPARE_ENERGY};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        int code = cli_predict_option(c, optarg, &o.p);
        if (code != CLI_OTHER) {
            if (code >= 0)
                return code;
            continue;
        }
        switch (c) {
        case GPU:
            o.gpus = optarg;
            break;
        case INSTANCES:
            o.has_instances = true;
            o.instances = optarg ? optarg : next_word(argc, argv);
            break;
        case OFFERS:
            o.offers = optarg;
            break;
        case SORT:
            code = take_sort(optarg, &o.by);
            if (code >= 0)
                return code;
            break;
        case PLOT:
            o.plot = optarg;
            break;
        case JSON:
            o.is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("compare");
        }
    }
    if ((o.gpus != NULL) + (o.offers != NULL) + o.has_instances > 1)
        return cli_usage("compare", "--gpu, --instances and --offers: one of them");
    struct wt_error err = {0};
    if (cli_output_name("--plot", o.plot, &err) < 0)
        return cli_fail("compare", &err);
    int code = cli_predict_work(&o.p, argc - optind, argv + optind);
    if (code < 0)
        code = cli_predict_open(&o.p);
    if (code < 0)
        code = compare(&o);
    cli_predict_close(&o.p);
    return code;
}
