/* wattune budget: keeps the watts that Slurm gives out as licences in step with signals. Safe to
 * call every few minutes: it changes what is not as it should be, and nothing else. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "budget.h"
#include "plan_options.h"

struct budget_options {
    struct cli_plan signals;
    struct wt_budget budget;
    struct budget_slurm slurm;
    const char *levels[WT_BUDGET_RULES], *floor, *unknown;
    size_t level_count;
    double total_w; /* 0: all that there are licences of */
    int64_t horizon_s;
    bool is_dry_run, is_json, is_removing;
};

static void print_help(void)
{
    fputs("usage: wattune budget --signal KIND=WHAT --level LEVEL:KIND>N [OPTION...]\n"
          "       wattune budget --remove [--licence NAME]\n\n"
          "Sets aside, by Slurm reservations, as many of the watts that jobs take as\n"
          "licences as are above the budget in each of the hours to come. Call it every few\n"
          "minutes (docs/budget.md).\n\n"
          "  --licence NAME     of slurm.conf's Licenses=NAME:WATTS (default watt)\n"
          "  --total POWER      the budget at its highest: 50kW (default: all of the\n"
          "                     licence)\n"
          "  --signal KIND=WHAT carbon, pue or price: as in `wattune plan --help`\n"
          "  --level LEVEL:KIND>N  while the signal is above N (or below: <N), no more than\n"
          "                     LEVEL, 60% of the total or 12kW; of several the lowest\n"
          "                     holds (repeatable)\n"
          "  --follow KIND=N    above N as much less: what is emitted (or paid) an hour\n"
          "                     stays at what the total takes at N; down to the next 5 %\n"
          "  --floor LEVEL      the least of --follow (default 0%)\n"
          "  --when-unknown LEVEL  where a signal is not known (default 100%)\n"
          "  --horizon TIME     how far ahead (default 6h): jobs that would reach into a\n"
          "                     lower level wait for it, by their time limit\n"
          "  --step TIME        the budget is the lowest of each such step (default 15min)\n"
          "  --reservation-user NAME  whom the reservations are for (default root)\n"
          "  --feed-max-age TIME  of live feeds: as in `wattune plan --help`\n"
          "  --feed-timeout TIME  likewise\n"
          "  --remove           give all of it back\n"
          "  --dry-run          only print the scontrol commands\n"
          "  --json             one JSON document on stdout\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such licence.\n",
          stdout);
}

/* Whole minutes: Slurm's reservations have no less. Returns an exit code, or -1. */
static int parse_minutes(const char *option, const char *text, int64_t *ret_s)
{
    struct wt_error err = {0};
    int64_t ns;
    if (cli_duration_parse(option, text, &ns, &err) < 0 || ns < INT64_C(60000000000) ||
        ns % INT64_C(60000000000))
        return cli_usage("budget", "%s %s: whole minutes, such as 15min or 6h", option, text);
    *ret_s = ns / 1000000000;
    return -1;
}

static int parse_follow(struct budget_options *o, const char *text)
{
    char name[16];
    size_t len = strcspn(text, "=");
    struct wt_budget *b = &o->budget;
    if (!text[len] || len >= sizeof(name))
        return cli_usage("budget", "--follow %s: is not KIND=N, such as carbon=300", text);
    snprintf(name, sizeof(name), "%.*s", (int)len, text);
    if (wt_signal_kind_from_name(name, &b->followed) < 0 ||
        !cli_number_parse(text + len + 1, strlen(text + len + 1), &b->follow_limit) ||
        !(b->follow_limit > 0))
        return cli_usage("budget", "--follow %s: is not KIND=N, such as carbon=300", text);
    b->is_following = true;
    return -1;
}

static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return len && !text[len] && len < 48 && text[0] != '-';
}

/* Returns an exit code, or -1. */
static int parse(int argc, char **argv, struct budget_options *o)
{
    enum {
        LICENCE = 256,
        TOTAL,
        LEVEL,
        FOLLOW,
        FLOOR,
        UNKNOWN,
        HORIZON,
        STEP,
        USER,
        REMOVE,
        DRY_RUN,
        JSON,
        HELP
    };
    static const struct option options[] = {
        {"signal", required_argument, NULL, PLAN_SIGNAL},
        {"feed-max-age", required_argument, NULL, PLAN_MAX_AGE},
        {"feed-timeout", required_argument, NULL, PLAN_TIMEOUT},
        {"licence", required_argument, NULL, LICENCE},
        {"total", required_argument, NULL, TOTAL},
        {"level", required_argument, NULL, LEVEL},
        {"follow", required_argument, NULL, FOLLOW},
        {"floor", required_argument, NULL, FLOOR},
        {"when-unknown", required_argument, NULL, UNKNOWN},
        {"horizon", required_argument, NULL, HORIZON},
        {"step", required_argument, NULL, STEP},
        {"reservation-user", required_argument, NULL, USER},
        {"remove", no_argument, NULL, REMOVE},
        {"dry-run", no_argument, NULL, DRY_RUN},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        code = -1;
        switch (c) {
        case LICENCE:
            o->slurm.licence = optarg;
            if (!is_name(optarg))
                code = cli_usage("budget", "--licence %s: is no name of a licence", optarg);
            break;
        case TOTAL:
            if (!cli_plan_power(optarg, false, &o->total_w) || o->total_w < 1 || o->total_w > 4e9)
                code = cli_usage("budget", "--total %s: is no power, such as 50kW", optarg);
            break;
        case LEVEL:
            if (o->level_count == WT_BUDGET_RULES)
                code = cli_usage("budget", "--level %s: more than %d", optarg, WT_BUDGET_RULES);
            else
                o->levels[o->level_count++] = optarg;
            break;
        case FOLLOW:
            code = parse_follow(o, optarg);
            break;
        case FLOOR:
            o->floor = optarg;
            break;
        case UNKNOWN:
            o->unknown = optarg;
            break;
        case HORIZON:
            code = parse_minutes("--horizon", optarg, &o->horizon_s);
            break;
        case STEP:
            code = parse_minutes("--step", optarg, &o->budget.step_s);
            break;
        case USER:
            o->slurm.user = optarg;
            if (!is_name(optarg))
                code = cli_usage("budget", "--reservation-user %s: is no user's name", optarg);
            break;
        case REMOVE:
            o->is_removing = true;
            break;
        case DRY_RUN:
            o->is_dry_run = true;
            break;
        case JSON:
            o->is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_plan_option(c, optarg, &o->signals);
            if (code == CLI_OTHER)
                return cli_bad_option("budget");
        }
        if (code >= 0)
            return code;
    }
    if (optind < argc)
        return cli_usage("budget", "no command is run: %s", argv[optind]);
    if (o->is_removing && (o->level_count || o->budget.is_following))
        return cli_usage("budget", "--remove gives all back; a level is for a call without it");
    if (!o->is_removing && !o->level_count && !o->budget.is_following)
        return cli_usage("budget", "by what: --level 60%%:carbon>400, or --follow carbon=300");
    if (!o->is_removing && !o->signals.signal_count && !o->signals.feed_count)
        return cli_usage("budget", "no signal: --signal carbon=FILE, pue= or price=");
    if (o->floor && !o->budget.is_following)
        return cli_usage("budget", "--floor goes with --follow");
    for (size_t i = 0; i < o->signals.place_count; i++)
        if (*o->signals.places[i].region)
            return cli_usage("budget", "--signal %s@...: a budget is of one place, without @REGION",
                             "KIND");
    return -1;
}

/* Levels are shares of a total, which Slurm may have to tell. Returns an exit code, or -1. */
static int settle(struct budget_options *o)
{
    struct wt_budget *b = &o->budget;
    struct wt_error err = {0};
    if (!o->slurm.count.is_known)
        b->licensed_w = (uint64_t)o->total_w;
    else
        b->licensed_w = o->slurm.count.total_w;
    b->total_w = o->total_w > 0 ? (uint64_t)o->total_w : b->licensed_w;
    if (b->total_w > b->licensed_w)
        return cli_usage("budget", "--total %llu W: slurm.conf has licences for %llu W",
                         (unsigned long long)b->total_w, (unsigned long long)b->licensed_w);
    for (size_t i = 0; i < o->level_count; i++)
        if (wt_budget_rule_parse(&b->rules[b->rule_count++], o->levels[i], (double)b->total_w,
                                 &err) < 0)
            return cli_usage("budget", "--level %s", err.text);
    b->unknown_share = 1;
    if (o->floor && wt_budget_level_parse(&b->floor_share, o->floor, (double)b->total_w, &err) < 0)
        return cli_usage("budget", "--floor %s", err.text);
    if (o->unknown &&
        wt_budget_level_parse(&b->unknown_share, o->unknown, (double)b->total_w, &err) < 0)
        return cli_usage("budget", "--when-unknown %s", err.text);
    return -1;
}

/* ---- saying it ---- */

/* Moments as the machine's clock shows them, which is Slurm's too. */
static const char *clock_text(char *buf, size_t size, int64_t t_s)
{
    time_t t = (time_t)t_s;
    struct tm tm;
    if (!localtime_r(&t, &tm) || !strftime(buf, size, "%a %H:%M", &tm))
        snprintf(buf, size, "%lld", (long long)t_s);
    return buf;
}

static void print_why(const struct wt_budget_step *s)
{
    const char *gap = "  ";
    for (int k = 0; k < WT_SIGNAL_KINDS; k++)
        if (!isnan(s->value[k])) {
            printf("%s%s %.4g%s", gap, wt_signal_kind_name((enum wt_signal_kind)k), s->value[k],
                   s->is_forecast ? " (forecast)" : "");
            gap = ", ";
        }
    if (s->is_unknown)
        printf("%snot known", gap);
}

static void print_plan(const struct budget_options *o, const struct wt_budget_plan *plan)
{
    char from[32], until[32];
    printf("budget of licence %s: %llu W", o->slurm.licence, (unsigned long long)o->budget.total_w);
    if (o->slurm.count.is_known)
        printf(", jobs have %llu W", (unsigned long long)o->slurm.count.used_w);
    putchar('\n');
    for (size_t i = 0, k; i < plan->step_count; i = k) {
        for (k = i + 1; k < plan->step_count && plan->steps[k].watts == plan->steps[i].watts;)
            k++;
        printf("  %s to %s %10llu W", clock_text(from, sizeof(from), plan->steps[i].start_s),
               clock_text(until, sizeof(until), plan->steps[k - 1].end_s),
               (unsigned long long)plan->steps[i].watts);
        print_why(&plan->steps[i]);
        putchar('\n');
    }
}

static void print_actions(const struct budget_options *o)
{
    static const char *const done[] = {"created", "changed", "deleted"};
    const struct budget_slurm *s = &o->slurm;
    char line[1400];
    for (size_t i = 0; i < s->action_count; i++) {
        const struct budget_action *a = &s->actions[i];
        if (o->is_dry_run) {
            cli_budget_line(line, sizeof(line), a);
            printf("%s\n", line);
        } else if (a->rc == 0) {
            printf("  %s %s%s%s\n", done[a->verb], a->name, *a->what ? ": " : "", a->what);
        }
    }
    if (!s->action_count && !o->is_dry_run)
        printf("  nothing to change\n");
}

static void print_notes(const struct budget_options *o, const struct wt_budget_plan *plan)
{
    for (size_t i = 0; i < plan->note_count; i++)
        cli_note("%s", plan->notes[i].text);
    if (plan->step_count && o->slurm.count.is_known && o->slurm.count.used_w > plan->steps[0].watts)
        cli_note(
            "jobs that run have %llu W, %llu W more than the budget: they keep them until they "
            "end",
            (unsigned long long)o->slurm.count.used_w,
            (unsigned long long)(o->slurm.count.used_w - plan->steps[0].watts));
}

/* Names are of letters, digits, - and _, and commands of those and =:. , so nothing is escaped. */
static void print_json(const struct budget_options *o, const struct wt_budget_plan *plan)
{
    char from[32], until[32], line[1400];
    const struct budget_slurm *s = &o->slurm;
    printf("{\"licence\": \"%s\", \"total_w\": ", s->licence);
    if (o->is_removing)
        fputs("null", stdout); /* none is kept to */
    else
        printf("%llu", (unsigned long long)o->budget.total_w);
    fputs(", \"used_w\": ", stdout);
    if (s->count.is_known)
        printf("%llu", (unsigned long long)s->count.used_w);
    else
        fputs("null", stdout);
    fputs(", \"steps\": [", stdout);
    for (size_t i = 0; i < plan->step_count; i++) {
        const struct wt_budget_step *t = &plan->steps[i];
        printf("%s\n{\"start\": \"%s\", \"end\": \"%s\", \"watts\": %llu, \"is_forecast\": %s, "
               "\"is_unknown\": %s}",
               i ? "," : "", wt_moment_text(from, sizeof(from), t->start_s),
               wt_moment_text(until, sizeof(until), t->end_s), (unsigned long long)t->watts,
               t->is_forecast ? "true" : "false", t->is_unknown ? "true" : "false");
    }
    fputs("], \"commands\": [", stdout);
    for (size_t i = 0; i < s->action_count; i++) {
        cli_budget_line(line, sizeof(line), &s->actions[i]);
        printf("%s\n{\"command\": \"%s\", \"is_done\": %s}", i ? "," : "", line,
               !o->is_dry_run && s->actions[i].rc == 0 ? "true" : "false");
    }
    fputs("]}\n", stdout);
}

/* ---- the command ---- */

static int budget(struct budget_options *o)
{
    struct wt_budget_plan plan = {0};
    struct wt_error err = {0};
    struct wt_place none = {.region = ""};
    int code = -1;
    if (cli_budget_ask(&o->slurm, &err) < 0) {
        if (!o->is_dry_run || !(o->total_w > 0) || o->is_removing)
            return cli_fail("budget", &err);
        cli_note("%s; this is what would be done if nothing were set aside yet", err.text);
    }
    if (!o->is_removing)
        code = settle(o);
    if (code >= 0)
        return code;
    o->budget.now_s = (int64_t)time(NULL);
    o->budget.until_s = o->budget.now_s + o->horizon_s;
    if (!o->is_removing &&
        wt_budget_make(&plan, &o->budget, o->signals.place_count ? &o->signals.places[0] : &none,
                       &err) < 0)
        return cli_fail("budget", &err);
    int rc = cli_budget_compare(&o->slurm, plan.layers, plan.layer_count, o->budget.now_s, &err);
    if (rc == 0 && !o->is_dry_run)
        rc = cli_budget_act(&o->slurm, &err);
    if (o->is_json) {
        print_json(o, &plan);
    } else {
        if (!o->is_dry_run && !o->is_removing)
            print_plan(o, &plan);
        print_actions(o);
    }
    print_notes(o, &plan);
    wt_budget_plan_done(&plan);
    return rc < 0 ? cli_fail("budget", &err) : CLI_OK;
}

int cmd_budget(int argc, char **argv)
{
    struct budget_options o = {.signals = CLI_PLAN_INIT("budget"),
                               .slurm = {.licence = "watt", .user = "root"},
                               .budget = {.step_s = 900},
                               .horizon_s = 6 * 3600};
    int code = parse(argc, argv, &o);
    if (code < 0 && !o.is_removing)
        code = cli_plan_read_feeds(&o.signals);
    if (code < 0)
        code = budget(&o);
    cli_budget_done(&o.slurm);
    cli_plan_done(&o.signals);
    return code;
}
