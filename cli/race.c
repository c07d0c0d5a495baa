/* wattune race: of many trainings stop the hopeless early; on recorded loss curves, what that saves
 * and what it risks. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

static void print_help(void)
{
    fputs(
        "usage: wattune race --replay DIR [OPTION...]\n\n"
        "Races recorded trainings against each other: at rungs they are ranked by their losses so "
        "far, and\n"
        "only the best go on. Prints the survivor, how far each trial was run, what that saves "
        "against\n"
        "running all to their end, and the risk: how often a stopped one would have won, and by "
        "how much.\n"
        "DIR holds a .csv file for each trial: a header step,loss, and energy_j (from its start) "
        "where it was\n"
        "measured; else each step costs the same.\n\n"
        "  --replay DIR       the recorded curves\n"
        "  --loss COLUMN      the column to race by (default loss)\n"
        "  --rule RULE        forecast, tse, tse-e, tse-ema, lcga or asha (default\n"
        "                     forecast; docs/race.md)\n"
        "  --first PCT        the first rung, of a whole trial (default 13.3)\n"
        "  --eta X            one in X goes on, to a rung X times as far (default 1.5)\n"
        "  --epoch STEPS      steps whose mean loss is one term of tse and lcga (default: the "
        "distance\n"
        "                     between two points)\n"
        "  --epochs N         of tse-e: the last N (default 1)\n"
        "  --decay X          of tse-ema: weight of an epoch against the next (default 0.999)\n"
        "  --burn-in N        of lcga: epochs at the start that do not count (default 2)\n"
        "  --epoch-cut N      of lcga: fits the first N epochs at most (default: all)\n"
        "  --draw N           a race has N of the curves, drawn by its seed (default: all, at most "
        "1000)\n"
        "  --races N          for the risk (default 500)\n"
        "  --seed N           of the first race, which is the one shown (default 1)\n"
        "  --tolerance PCT    a loss that is higher by less is as good (default 1)\n"
        "  --json             one JSON document on stdout\n"
        "  --help             this text\n\n"
        "Exit code: 0, 1 failure, 2 usage.\n",
        stdout);
}

struct race_options {
    const char *replay, *loss;
    struct wt_race_options race;
    size_t draw, races;
    uint64_t seed;
    double tolerance;
    bool is_json;
};

/* A number of --option from least to most; NaN: it is none, which was told. */
static double number(const char *option, const char *text, double least, double most)
{
    double value;
    size_t len = strlen(text);
    if (len && text[len - 1] == '%')
        len--;
    if (!cli_number_parse(text, len, &value) || value < least || value > most) {
        cli_usage("race", "--%s %s: a number from %g to %g", option, text, least, most);
        return NAN;
    }
    return value;
}

static double whole(const char *option, const char *text, double least, double most)
{
    double value = strchr(text, '%') ? NAN : number(option, text, least, most);
    if (isnan(value) && strchr(text, '%'))
        cli_usage("race", "--%s %s: a number from %g to %g", option, text, least, most);
    if (!isnan(value) && value > floor(value)) {
        cli_usage("race", "--%s %s: a whole number", option, text);
        return NAN;
    }
    return value;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct race_options *o)
{
    enum {
        REPLAY = 256,
        LOSS,
        RULE,
        FIRST,
        ETA,
        EPOCH,
        EPOCHS,
        DECAY,
        BURN_IN,
        EPOCH_CUT,
        DRAW,
        RACES,
        SEED,
        TOLERANCE,
        JSON,
        HELP
    };
    static const struct option options[] = {
        {"replay", required_argument, NULL, REPLAY},
        {"loss", required_argument, NULL, LOSS},
        {"rule", required_argument, NULL, RULE},
        {"first", required_argument, NULL, FIRST},
        {"eta", required_argument, NULL, ETA},
        {"epoch", required_argument, NULL, EPOCH},
        {"epochs", required_argument, NULL, EPOCHS},
        {"decay", required_argument, NULL, DECAY},
        {"burn-in", required_argument, NULL, BURN_IN},
        {"epoch-cut", required_argument, NULL, EPOCH_CUT},
        {"draw", required_argument, NULL, DRAW},
        {"races", required_argument, NULL, RACES},
        {"seed", required_argument, NULL, SEED},
        {"tolerance", required_argument, NULL, TOLERANCE},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        double value = 0;
        switch (c) {
        case REPLAY:
            o->replay = optarg;
            break;
        case LOSS:
            if (!*optarg || strlen(optarg) > 31 || strcasecmp(optarg, "step") == 0 ||
                strcasecmp(optarg, "energy_j") == 0)
                return cli_usage("race", "--loss %s: the name of a column of losses", optarg);
            o->loss = optarg;
            break;
        case RULE:
            if (wt_race_rule_from_name(optarg, &o->race.rule) < 0)
                return cli_usage("race", "--rule %s: forecast, tse, tse-e, tse-ema, lcga or asha",
                                 optarg);
            break;
        case FIRST:
            value = number("first", optarg, 0.1, 100);
            o->race.first_share = value / 100;
            break;
        case ETA:
            value = o->race.eta = number("eta", optarg, 1.1, 1000);
            break;
        case EPOCH:
            value = o->race.epoch_steps = number("epoch", optarg, 1e-6, 1e12);
            break;
        case EPOCHS:
            value = whole("epochs", optarg, 1, 1e6);
            o->race.epochs = isnan(value) ? 0 : (unsigned)value;
            break;
        case DECAY:
            value = o->race.decay = number("decay", optarg, 0.001, 1);
            break;
        case BURN_IN:
            value = whole("burn-in", optarg, 0, 1e6);
            o->race.burn_in = isnan(value) ? 0 : (unsigned)value;
            break;
        case EPOCH_CUT:
            value = whole("epoch-cut", optarg, 0, 1e6);
            o->race.epoch_cut = isnan(value) ? 0 : (unsigned)value;
            break;
        case DRAW:
            value = whole("draw", optarg, 2, 1000);
            o->draw = isnan(value) ? 0 : (size_t)value;
            break;
        case RACES:
            value = whole("races", optarg, 1, 1e6);
            o->races = isnan(value) ? 0 : (size_t)value;
            break;
        case SEED:
            value = whole("seed", optarg, 0, 1e15);
            o->seed = isnan(value) ? 0 : (uint64_t)value;
            break;
        case TOLERANCE:
            value = number("tolerance", optarg, 0, 100);
            o->tolerance = value / 100;
            break;
        case JSON:
            o->is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("race");
        }
        if (isnan(value))
            return CLI_USAGE;
    }
    if (optind < argc)
        return cli_usage("race", "%s: recorded curves are raced, and no command run", argv[optind]);
    if (!o->replay)
        return cli_usage("race", "no curves: wattune race --replay DIR");
    return -1;
}

int cmd_race(int argc, char **argv)
{
    struct race_options o = {.races = 500, .seed = 1, .tolerance = 0.01};
    struct wt_race_curves curves;
    struct wt_race_replayed replayed = {0};
    struct wt_race_risk risk;
    struct wt_error err = {0};
    wt_race_options_init(&o.race, 0);
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    if (wt_race_curves_read(&curves, o.replay, o.loss, &err) < 0) {
        cli_fail("race", &err);
        return CLI_FAILURE; /* a folder that is not there is no missing sensor */
    }
    int rc = wt_race_replay(&replayed, &curves, &o.race, o.draw, o.seed, &err);
    if (rc == 0)
        rc = wt_race_judge(&risk, &curves, &o.race, o.draw, o.seed, o.races, o.tolerance, &err);
    if (rc < 0) {
        code = cli_fail("race", &err);
    } else if (o.is_json) {
        code =
            cli_print_json("race", wt_race_to_json(&curves, &o.race, &replayed, &risk, o.replay));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_race(&term, &curves, &o.race, &replayed, &risk);
        code = CLI_OK;
    }
    wt_race_replayed_done(&replayed);
    wt_race_curves_done(&curves);
    return code;
}
