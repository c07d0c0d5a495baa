/* wattune statement: the Energy Statement of all runs with a tag, for a paper or a model card. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void print_help(void)
{
    fputs("usage: wattune statement --tag TAG [OPTION...]\n\n"
          "The Energy Statement of all stored runs with this tag, failed and interrupted\n"
          "ones, trials and sweeps included: hardware, hours, energy by provenance with 95\n"
          "% intervals, what was not measured, PUE and CO2e. Markdown on stdout, unless\n"
          "another form is asked for. Runs on emulated or recorded machines are called so,\n"
          "and never mixed with real ones.\n\n"
          "  --tag TAG             the runs: as given to wattune run --tag, sweep --tag\n"
          "  --latex               LaTeX, to be \\input in a paper; needs no package\n"
          "  --json                one JSON document (docs/statement.schema.json)\n"
          "  --model-card          the co2_eq_emissions block of a Hugging Face model card\n"
          "  --training-type TEXT  for it: pre-training, fine-tuning, ...\n"
          "  --codecarbon FILE     writes the runs under CodeCarbon's columns (CSV),\n"
          "                        besides\n"
          "  --pue X               of the data centre, or one of `wattune data list pue`;\n"
          "                        without it none is included\n"
          "  --region NAME         gcp:europe-west4, DEU, ... (data/regions.csv): gives the\n"
          "                        carbon factor, its source and year. With\n"
          "                        --carbon-intensity any name\n"
          "  --data DIR            tables of your own, regions and PUE (wattune-data(1))\n"
          "  --carbon-intensity G  g CO2e per kWh, in place of the catalogue's; goes with\n"
          "  --carbon-source TEXT  who says so, and\n"
          "  --carbon-date DATE    of when it is: 2025, 2025-06 or 2025-06-30\n"
          "  --help                this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no run has this tag.\n",
          stdout);
}

enum form { FORM_MARKDOWN, FORM_LATEX, FORM_JSON, FORM_CARD };

struct statement_options {
    const char *tag, *region, *data, *codecarbon, *training_type, *source, *date, *factor;
    enum form form;
    const char *form_option; /* NULL: none was given */
    const char *pue_name;    /* NULL: it was a number, or is not given */
    char pue_source[400];    /* of a name */
    double pue, carbon_g;    /* NaN: not given */
};

/* All of a text is one decimal number. */
static bool read_number(const char *text, double *ret_value)
{
    return cli_number_parse(text, strlen(text), ret_value);
}

/* "2025", "2025-06" or "2025-06-30". */
static bool is_date(const char *text)
{
    unsigned year, month = 1, day = 1;
    int used = 0;
    size_t length = strlen(text);
    if (length == 4)
        sscanf(text, "%4u%n", &year, &used);
    else if (length == 7)
        sscanf(text, "%4u-%2u%n", &year, &month, &used);
    else if (length == 10)
        sscanf(text, "%4u-%2u-%2u%n", &year, &month, &day, &used);
    return used > 0 && (size_t)used == length && strspn(text, "0123456789-") == length &&
           month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static int take_form(struct statement_options *o, enum form form, const char *option)
{
    if (o->form_option && strcmp(o->form_option, option) != 0)
        return cli_usage("statement", "%s and %s: one form at a time", o->form_option, option);
    o->form = form;
    o->form_option = option;
    return -1;
}

static int find_in_catalogue(const struct statement_options *o, struct wt_region *ret_region,
                             struct wt_error *err)
{
    char folder[4096];
    struct wt_catalogue *catalogue;
    int rc = wt_catalogue_open(&catalogue, cli_data_folder(o->data, folder, sizeof(folder)), err);
    if (rc < 0)
        return rc == WT_E_NOTFOUND ? WT_E_IO : rc; /* the folder, and not the region */
    rc = wt_region_find(catalogue, ret_region, o->region, err);
    wt_catalogue_close(catalogue);
    return rc;
}

static int bad_pue(const char *text)
{
    return cli_usage("statement",
                     "--pue %s: a number from 1 to 10 is wanted, or one of `wattune data list pue`",
                     text);
}

/* An example by its name. Returns an exit code, or -1. */
static int find_pue(struct statement_options *o)
{
    char folder[4096];
    struct wt_catalogue *catalogue;
    struct wt_pue pue;
    struct wt_error err = {0};
    if (!o->pue_name)
        return -1;
    if (wt_catalogue_open(&catalogue, cli_data_folder(o->data, folder, sizeof(folder)), &err) < 0)
        return cli_fail("statement", &err);
    int rc = wt_pue_find(catalogue, &pue, o->pue_name, &err);
    wt_catalogue_close(catalogue);
    if (rc == WT_E_NOTFOUND) /* and no exit code of 4: that is of a tag without runs */
        return bad_pue(o->pue_name);
    if (rc < 0)
        return cli_fail("statement", &err);
    if (isnan(pue.pue))
        return cli_usage("statement", "--pue %s: the catalogue has no number of it", o->pue_name);
    o->pue = pue.pue;
    wt_pue_words(&pue, o->pue_source, sizeof(o->pue_source));
    return -1;
}

/* Fills the region from the catalogue or from what was given. Returns an exit code, or -1. */
static int find_region(const struct statement_options *o, struct wt_region *ret_region)
{
    struct wt_error err = {0};
    struct wt_region region = {.carbon_g = NAN};
    int rc = o->region ? find_in_catalogue(o, &region, &err) : 0;
    if (rc < 0 && rc != WT_E_NOTFOUND)
        return cli_fail("statement", &err);
    if (!o->factor) {
        if (rc < 0) {
            snprintf(err.fix, sizeof(err.fix),
                     "or give its factor: --carbon-intensity, "
                     "--carbon-source and --carbon-date");
            cli_fail("statement", &err);
            return CLI_USAGE;
        }
        if (o->region && isnan(region.carbon_g))
            return cli_usage("statement",
                             "--region %s: the catalogue has no factor of it; give "
                             "--carbon-intensity, --carbon-source and --carbon-date",
                             o->region);
        *ret_region = region;
        return -1;
    }
    if (rc < 0) { /* a name of the user's own */
        region = (struct wt_region){.carbon_g = NAN};
        snprintf(region.name, sizeof(region.name), "%s", o->region);
    }
    region.carbon_g = o->carbon_g;
    region.is_catalogue = false;
    snprintf(region.source, sizeof(region.source), "%s", o->source);
    snprintf(region.date, sizeof(region.date), "%s", o->date);
    *ret_region = region;
    return -1;
}

/* Whether the options go together: -1, or an exit code. */
static int check_options(const struct statement_options *o)
{
    if (!o->tag)
        return cli_usage("statement", "of which runs: --tag TAG, as given to wattune run --tag");
    if (!o->tag[0])
        return cli_usage("statement", "an empty tag names no runs");
    if (o->factor && (!o->source || !o->date))
        return cli_usage("statement",
                         "--carbon-intensity goes with --carbon-source and --carbon-date: without "
                         "them nobody can check it");
    if (!o->factor && (o->source || o->date))
        return cli_usage("statement", "%s goes with --carbon-intensity",
                         o->source ? "--carbon-source" : "--carbon-date");
    if (o->data && !o->region && !o->pue_name)
        return cli_usage("statement", "--data goes with --region or the name of a PUE, which are "
                                      "looked for there");
    if (o->training_type && o->form != FORM_CARD)
        return cli_usage("statement", "--training-type goes with --model-card");
    if (o->region && (!o->region[0] || strlen(o->region) >= sizeof(((struct wt_region *)0)->name)))
        return cli_usage("statement", "--region: a name of up to %zu characters is wanted",
                         sizeof(((struct wt_region *)0)->name) - 1);
    if (o->source &&
        (!o->source[0] || strlen(o->source) >= sizeof(((struct wt_region *)0)->source)))
        return cli_usage("statement", "--carbon-source: a text of up to %zu characters is wanted",
                         sizeof(((struct wt_region *)0)->source) - 1);
    struct wt_error err = {0};
    if (cli_output_name("--codecarbon", o->codecarbon, &err) < 0)
        return cli_fail("statement", &err);
    return -1;
}

static int write_file(const char *path, char *text)
{
    struct wt_error err = {0};
    if (!text) {
        cli_note("no memory for --codecarbon");
        return CLI_FAILURE;
    }
    int rc = wt_file_write(path, text, &err);
    free(text);
    if (rc < 0) {
        int code = cli_fail("statement", &err);
        return code == CLI_NO_SENSOR ? CLI_FAILURE : code; /* a folder is no run */
    }
    fprintf(stderr, "codecarbon: %s\n", path);
    return CLI_OK;
}

static int print_text(char *text)
{
    if (!text) {
        cli_note("no memory for a statement");
        return CLI_FAILURE;
    }
    fputs(text, stdout);
    free(text);
    return CLI_OK;
}

static int deliver(const struct statement_options *o, const struct wt_statement *s)
{
    struct wt_error err = {0};
    char *text = NULL;
    int code = CLI_OK;
    switch (o->form) {
    case FORM_JSON:
        code = cli_print_json("statement", wt_statement_to_json(s));
        break;
    case FORM_LATEX:
        code = print_text(wt_statement_to_latex(s));
        break;
    case FORM_CARD:
        if (wt_statement_to_model_card(s, &text, &err) < 0)
            code = cli_fail("statement", &err);
        else
            code = print_text(text);
        break;
    default:
        code = print_text(wt_statement_to_markdown(s));
    }
    if (code == CLI_OK && o->codecarbon)
        code = write_file(o->codecarbon, wt_statement_to_codecarbon(s));
    return code;
}

static int statement(struct wt_store *store, const struct statement_options *o,
                     const struct wt_region *region)
{
    struct wt_error err = {0};
    struct wt_run *runs = NULL;
    size_t count = 0;
    if (wt_store_list(store, o->tag, NULL, 0, &runs, &count, &err) < 0)
        return cli_fail("statement", &err);
    if (!count) {
        cli_note("no stored run has the tag \"%s\"; `wattune runs` lists what is stored", o->tag);
        return CLI_NO_SENSOR;
    }
    for (size_t i = 0; i < count / 2; i++) { /* newest first; a statement tells from the start */
        struct wt_run keep = runs[i];
        runs[i] = runs[count - 1 - i];
        runs[count - 1 - i] = keep;
    }
    const struct wt_statement_options options = {
        .pue = o->pue,
        .pue_source = o->pue_source,
        .region = o->region || o->factor ? region : NULL,
        .training_type = o->training_type,
    };
    struct wt_statement s;
    int code;
    if (wt_statement_make(&s, runs, count, &options, &err) < 0) {
        code = cli_fail("statement", &err);
    } else {
        code = deliver(o, &s);
        wt_statement_done(&s);
    }
    wt_runs_free(runs, count);
    return code;
}

int cmd_statement(int argc, char **argv)
{
    enum {
        TAG = 256,
        LATEX,
        JSON,
        CARD,
        TRAINING,
        CODECARBON,
        PUE,
        REGION,
        DATA,
        FACTOR,
        SOURCE,
        DATE,
        HELP
    };
    static const struct option options[] = {
        {"tag", required_argument, NULL, TAG},
        {"latex", no_argument, NULL, LATEX},
        {"json", no_argument, NULL, JSON},
        {"model-card", no_argument, NULL, CARD},
        {"training-type", required_argument, NULL, TRAINING},
        {"codecarbon", required_argument, NULL, CODECARBON},
        {"pue", required_argument, NULL, PUE},
        {"region", required_argument, NULL, REGION},
        {"data", required_argument, NULL, DATA},
        {"carbon-intensity", required_argument, NULL, FACTOR},
        {"carbon-source", required_argument, NULL, SOURCE},
        {"carbon-date", required_argument, NULL, DATE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct statement_options o = {.pue = NAN, .carbon_g = NAN};
    int code = -1;
    for (int c; code < 0 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        switch (c) {
        case TAG:
            o.tag = optarg;
            break;
        case LATEX:
            code = take_form(&o, FORM_LATEX, "--latex");
            break;
        case JSON:
            code = take_form(&o, FORM_JSON, "--json");
            break;
        case CARD:
            code = take_form(&o, FORM_CARD, "--model-card");
            break;
        case TRAINING:
            o.training_type = optarg;
            break;
        case CODECARBON:
            o.codecarbon = optarg;
            break;
        case PUE:
            o.pue_name = read_number(optarg, &o.pue) ? NULL : optarg;
            if (!*optarg || (!o.pue_name && !(o.pue >= 1 && o.pue <= 10)))
                code = bad_pue(optarg);
            break;
        case REGION:
            o.region = optarg;
            break;
        case DATA:
            o.data = optarg;
            break;
        case FACTOR:
            o.factor = optarg;
            if (!read_number(optarg, &o.carbon_g) || o.carbon_g > 5000)
                code = cli_usage(
                    "statement",
                    "--carbon-intensity %s: g CO2e per kWh, from 0 to 5000, are wanted", optarg);
            break;
        case SOURCE:
            o.source = optarg;
            break;
        case DATE:
            o.date = optarg;
            if (!is_date(optarg))
                code = cli_usage(
                    "statement",
                    "--carbon-date %s: is no date, such as 2025, 2025-06 or 2025-06-30", optarg);
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("statement");
        }
    if (code < 0 && optind < argc)
        code =
            cli_usage("statement", "\"%s\" is too much: the runs are named by --tag", argv[optind]);
    if (code < 0)
        code = check_options(&o);
    struct wt_region region;
    if (code < 0)
        code = find_pue(&o);
    if (code < 0)
        code = find_region(&o, &region);
    if (code >= 0)
        return code;
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    if (wt_store_open(&store, NULL, &err) < 0)
        return cli_fail("statement", &err);
    code = statement(store, &o, &region);
    wt_store_close(store);
    return code;
}
