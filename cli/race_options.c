/* race_options: the command line of `wattune race`, and the file of --trials. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "race.h"
#include "slurm.h"

#define GRACE_NS INT64_C(30000000000)

static void print_help(void)
{
    fputs("usage: wattune race --param NAME=V,... --steps N [OPTION...] [--] CMD [ARG...]\n"
          "       wattune race --replay DIR [OPTION...]\n\n"
          "Races trainings against each other: at rungs they are ranked by their losses so\n"
          "far, and only the best go on. The first form runs CMD with every combination of\n"
          "its parameters, each in {NAME}, one after the other; it stops them at their\n"
          "rungs, lets the best go on, and says who won, what it took and what was saved.\n"
          "The second does so with recorded curves, and says how often a stopped one would\n"
          "have won: DIR holds a .csv file for each trial, with a header step,loss, and\n"
          "energy_j (from its start) where it was measured.\n\n"
          "commands\n"
          "  --param NAME=V,... values of {NAME} in CMD, or LO:HI:STEP (repeatable: all\n"
          "                     combinations)\n"
          "  --trials FILE      instead: a CSV whose header names the parameters, a line\n"
          "                     for each trial\n"
          "  --steps N          of a whole trial\n"
          "  --progress REGEX   its group 1 is the step, in a line that CMD writes: 'step\n"
          "                     (\\d+)'. Without: steps are told through a door (`wattune\n"
          "                     bench`, the Python package)\n"
          "  --loss-pattern REGEX  its group 1 is the loss, in a line that CMD writes:\n"
          "                     'loss=(\\S+)'\n"
          "  --loss-file FILE   a CSV with step and the loss, which CMD adds to; {NAME} and\n"
          "                     {trial} are filled in, here and in CMD\n"
          "  --pause HOW        stop (default): a trial at a rung is stopped as it is, and\n"
          "                     keeps its memory; end: it is told to end, is to keep its\n"
          "                     work, and is run again later\n"
          "  --again ARG        with --pause end: an argument more for CMD then,\n"
          "                     --again=--resume (repeatable)\n"
          "  --end-signal NAME  instead of TERM: USR1, USR2, INT or HUP (srun passes on\n"
          "                     USR1)\n"
          "  --grace TIME       so long after that it is killed (default 30s)\n"
          "  --at-once N        trials that run at the same time, each on its share of the\n"
          "                     GPUs (default 1)\n"
          "  --to-the-end       run the stopped ones to their ends afterwards: what the\n"
          "                     race saved and risked, measured\n"
          "  --folder DIR       for logs, curves and race.json (default: wattune-race-DATE\n"
          "                     here)\n"
          "  --resume           go on with the race in --folder\n"
          "  --dry-run          show trials and rungs, and run nothing\n"
          "  --tag NAME         a word to find this run by\n"
          "  --no-store         do not store the run\n"
          "  --gpu LIST         only these GPUs: indices or UUIDs\n"
          "  --emulate SPEC     on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
          "  --fault SPEC       a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                     [KIND[/NAME]@]PERIOD:COMMAND (repeatable)\n"
          "  --sysroot DIR      read /proc and /sys below DIR\n"
          "recorded curves\n"
          "  --replay DIR       the recorded curves\n"
          "  --draw N           a race has N of the curves, drawn by its seed, and the risk\n"
          "                     is over many (default: all, at most 1000: one race, and no\n"
          "                     risk is told)\n"
          "  --races N          for the risk (default 500)\n"
          "  --seed N           of the first race, which is the one shown (default 1)\n"
          "  --tolerance PCT    a loss that is higher by less is as good (default 1)\n"
          "both\n"
          "  --loss NAME        the column to race by, or the door's value (default loss)\n"
          "  --rule RULE        forecast, tse, tse-e, tse-ema, lcga or asha (default\n"
          "                     forecast; docs/race.md)\n"
          "  --first PCT        the first rung, of a whole trial (default 13.3)\n"
          "  --eta X            one in X goes on, to a rung X times as far (default 1.5)\n"
          "  --epoch STEPS      steps whose mean loss is one term of a score (default: the\n"
          "                     distance between two points; of commands, an eighth of the\n"
          "                     first rung)\n"
          "  --epochs N         of tse-e: the last N (default 1)\n"
          "  --decay X          of tse-ema: weight of an epoch against the next (default\n"
          "                     0.999)\n"
          "  --burn-in N        of lcga: epochs at the start that do not count (default 2)\n"
          "  --epoch-cut N      of lcga: fits the first N epochs at most (default: all)\n"
          "  --json             one JSON document on stdout\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure (also when no trial came to its end), 2 usage, 3 not\n"
          "permitted, 4 no such sensor; 126 or 127 where CMD cannot be started; 130 or 143\n"
          "when interrupted: --resume goes on.\n",
          stdout);
}

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

/* ---- --trials ---- */

static int bad_file(const char *path, size_t number, const char *what)
{
    return cli_usage("race", "--trials %s:%zu: %s", path, number, what);
}

/* One line's cells, into the next value of each parameter, or in the header into their names. */
static int read_line(struct race_options *o, char *line, size_t number, bool is_header)
{
    size_t n = 0;
    char *cell;
    while ((cell = race_cell(&line)) != NULL) {
        size_t length = strlen(cell);
        struct cli_param *p = &o->params[n++];
        if (is_header && n > CLI_PARAMS_MAX)
            return bad_file(o->trials, number, "too many parameters");
        if (!is_header && n > o->param_count)
            return bad_file(o->trials, number, "more values than the header has names");
        if (is_header) {
            if (!cli_param_is_name(cell) || strcmp(cell, "trial") == 0)
                return bad_file(o->trials, number, "the header names the parameters: lr,batch");
            snprintf(p->name, sizeof(p->name), "%s", cell);
            p->values = calloc(1001, sizeof(*p->values));
            o->param_count = n;
            if (!p->values)
                return CLI_FAILURE;
        } else if (!*cell || length >= sizeof(*p->values)) {
            return bad_file(o->trials, number, "an empty value, or one of more than 63 bytes");
        } else if (p->count == 1000) {
            return bad_file(o->trials, number, "more than 1000 trials");
        } else {
            memcpy(p->values[p->count++], cell, length + 1);
        }
    }
    return is_header || n == o->param_count
               ? -1
               : bad_file(o->trials, number, "fewer values than the header has names");
}

static int read_trials(struct race_options *o)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    int code = -1;
    FILE *in = fopen(o->trials, "re");
    if (!in)
        return cli_usage("race", "--trials %s: %s", o->trials, strerror(errno));
    while (code < 0 && getline(&line, &room, in) > 0) {
        char *text = line;
        if (number++ == 0 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
            text += 3;
        text += strspn(text, " \t");
        if (*text && *text != '#' && *text != '\n' && *text != '\r')
            code = read_line(o, text, number, o->param_count == 0);
    }
    free(line);
    fclose(in);
    return code;
}

/* ---- the options ---- */

/* Options of both, of rules and rungs. CLI_OTHER: it is none; otherwise -1 or the exit code. */
enum {
    LOSS = 256,
    RULE,
    FIRST,
    ETA,
    EPOCH,
    EPOCHS,
    DECAY,
    BURN_IN,
    EPOCH_CUT,
    JSON,
    HELP,
    /* of recorded curves */
    REPLAY,
    DRAW,
    RACES,
    SEED,
    TOLERANCE,
    /* of commands */
    PARAM,
    TRIALS,
    STEPS,
    PROGRESS,
    LOSS_PATTERN,
    LOSS_FILE,
    PAUSE,
    AGAIN,
    END_SIGNAL,
    GRACE,
    AT_ONCE,
    TO_THE_END,
    FOLDER,
    RESUME,
    DRY_RUN,
    TAG,
    NO_STORE
};

static const struct option options[] = {
    BED_OPTIONS,
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
    {"param", required_argument, NULL, PARAM},
    {"trials", required_argument, NULL, TRIALS},
    {"steps", required_argument, NULL, STEPS},
    {"progress", required_argument, NULL, PROGRESS},
    {"loss-pattern", required_argument, NULL, LOSS_PATTERN},
    {"loss-file", required_argument, NULL, LOSS_FILE},
    {"pause", required_argument, NULL, PAUSE},
    {"again", required_argument, NULL, AGAIN},
    {"end-signal", required_argument, NULL, END_SIGNAL},
    {"grace", required_argument, NULL, GRACE},
    {"at-once", required_argument, NULL, AT_ONCE},
    {"to-the-end", no_argument, NULL, TO_THE_END},
    {"folder", required_argument, NULL, FOLDER},
    {"resume", no_argument, NULL, RESUME},
    {"dry-run", no_argument, NULL, DRY_RUN},
    {"tag", required_argument, NULL, TAG},
    {"no-store", no_argument, NULL, NO_STORE},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {0},
};

static int take_shared(int c, struct race_options *o)
{
    double value = 0;
    switch (c) {
    case LOSS:
        if (!*optarg || strlen(optarg) > 31 || strcasecmp(optarg, "step") == 0 ||
            strcasecmp(optarg, "energy_j") == 0)
            return cli_usage("race", "--loss %s: the name of a column of losses", optarg);
        o->loss = optarg;
        break;
    case RULE:
        if (wt_race_rule_from_name(optarg, &o->race.rule) < 0)
            return cli_usage(
                "race", "--rule %s: is not forecast, tse, tse-e, tse-ema, lcga or asha", optarg);
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
    case JSON:
        o->is_json = true;
        break;
    default:
        return CLI_OTHER;
    }
    return isnan(value) ? CLI_USAGE : -1;
}

static int take_replay(int c, struct race_options *o)
{
    double value = 0;
    switch (c) {
    case REPLAY:
        o->replay = optarg;
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
    default:
        return CLI_OTHER;
    }
    return isnan(value) ? CLI_USAGE : -1;
}

static int take_param(struct race_options *o)
{
    struct wt_error err = {0};
    if (o->param_count == CLI_PARAMS_MAX)
        return cli_usage("race", "--param: more than %d", CLI_PARAMS_MAX);
    if (cli_param_parse(optarg, &o->params[o->param_count], &err) < 0)
        return cli_fail("race", &err);
    const char *name = o->params[o->param_count++].name;
    if (strcmp(name, "trial") == 0)
        return cli_usage("race", "--param trial: {trial} is the name that a trial gets here");
    for (size_t i = 0; i + 1 < o->param_count; i++)
        if (strcmp(o->params[i].name, name) == 0)
            return cli_usage("race", "--param %s: given twice", name);
    return -1;
}

static int take_live(int c, struct race_options *o)
{
    struct wt_error err = {0};
    double value = 0;
    switch (c) {
    case PARAM:
        return take_param(o);
    case TRIALS:
        o->trials = optarg;
        break;
    case STEPS:
        value = o->race.step_max = whole("steps", optarg, 1, 1e12);
        break;
    case PROGRESS:
        o->progress = optarg;
        break;
    case LOSS_PATTERN:
        o->loss_pattern = optarg;
        break;
    case LOSS_FILE:
        o->loss_file = optarg;
        break;
    case PAUSE:
        o->is_end = strcmp(optarg, "end") == 0;
        if (!o->is_end && strcmp(optarg, "stop") != 0)
            return cli_usage("race", "--pause %s: stop or end", optarg);
        break;
    case AGAIN:
        if (o->again_count == RACE_AGAIN_MAX)
            return cli_usage("race", "--again: more than %d", RACE_AGAIN_MAX);
        o->again[o->again_count++] = optarg;
        break;
    case END_SIGNAL:
        o->end_signal = cli_slurm_signal(strncmp(optarg, "SIG", 3) == 0 ? optarg + 3 : optarg);
        if (!o->end_signal)
            return cli_usage("race", "--end-signal %s: TERM, USR1, USR2, INT or HUP", optarg);
        break;
    case GRACE:
        if (cli_duration_parse("--grace", optarg, &o->grace_ns, &err) < 0)
            return cli_fail("race", &err);
        break;
    case AT_ONCE:
        value = whole("at-once", optarg, 1, 64);
        o->at_once = isnan(value) ? 0 : (unsigned)value;
        break;
    case TO_THE_END:
        o->is_to_the_end = true;
        break;
    case FOLDER:
        o->folder = optarg;
        break;
    case RESUME:
        o->is_resume = true;
        break;
    case DRY_RUN:
        o->is_dry_run = true;
        break;
    case TAG:
        if (!*optarg)
            return cli_usage("race", "--tag: an empty tag names nothing");
        o->tag = optarg;
        break;
    case NO_STORE:
        o->is_without_store = true;
        break;
    default:
        return cli_bed_option_last("race", c, optarg, &o->bed);
    }
    return isnan(value) ? CLI_USAGE : -1;
}

static int check_live(struct race_options *o)
{
    struct wt_error err = {0};
    if (o->given_replay)
        return cli_usage("race", "--%s: is of --replay", o->given_replay);
    if (!*o->command)
        return cli_usage("race", "no command: wattune race --param lr=1e-3,1e-4 --steps N -- CMD "
                                 "{lr}; or --replay DIR");
    if (o->trials && o->param_count)
        return cli_usage("race", "--trials and --param: one of them");
    if (!o->trials && !o->param_count)
        return cli_usage("race", "nothing that differs: --param NAME=V,... with {NAME} in CMD, or "
                                 "--trials FILE");
    if (!(o->race.step_max > 0))
        return cli_usage("race", "--steps N is missing: the steps of a whole trial");
    if (o->loss_pattern && o->loss_file)
        return cli_usage("race", "--loss-pattern and --loss-file: one of them");
    if (o->progress && !o->loss_pattern && !o->loss_file)
        return cli_usage("race", "--progress says the step: --loss-pattern is to say the loss");
    if (o->again_count && !o->is_end)
        return cli_usage("race", "--again: is of --pause end");
    if (o->is_resume && !o->folder)
        return cli_usage("race", "--resume: --folder says which race");
    int code = o->trials ? read_trials(o) : -1;
    if (code >= 0)
        return code;
    struct cli_param *own = &o->params[o->param_count];
    *own = (struct cli_param){.name = "trial", .count = 1, .is_offered = true};
    own->values = calloc(2, sizeof(*own->values));
    if (!own->values)
        return CLI_FAILURE;
    if (cli_params_check(o->params, o->param_count + 1, o->command, &err) < 0)
        return cli_fail("race", &err);
    return cli_bed_check("race", &o->bed);
}

int race_parse(int argc, char **argv, struct race_options *o)
{
    int c, at = 0;
    *o = (struct race_options){.races = 500,
                               .seed = 1,
                               .tolerance = 0.01,
                               .at_once = 1,
                               .grace_ns = GRACE_NS,
                               .end_signal = SIGTERM};
    wt_race_options_init(&o->race, 0);
    while ((c = getopt_long(argc, argv, "+h", options, &at)) != -1) {
        if (c == HELP || c == 'h') {
            print_help();
            return CLI_OK;
        }
        int code = take_shared(c, o);
        if (code == CLI_OTHER && (code = take_replay(c, o)) != CLI_OTHER && c != REPLAY)
            o->given_replay = options[at].name;
        if (code == CLI_OTHER) {
            code = take_live(c, o);
            o->given_live = options[at].name;
        }
        if (code >= 0)
            return code;
    }
    o->command = argv + optind;
    if (!o->replay)
        return check_live(o);
    if (*o->command)
        return cli_usage("race", "%s: recorded curves are raced, and no command run", *o->command);
    if (o->given_live)
        return cli_usage("race", "--%s: is of a race of commands, and --replay is none",
                         o->given_live);
    return -1;
}

void race_options_done(struct race_options *o)
{
    for (size_t i = 0; i < sizeof(o->params) / sizeof(*o->params); i++)
        cli_param_done(&o->params[i]);
}
