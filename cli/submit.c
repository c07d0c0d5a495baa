/* wattune submit: plans a job and hands it to Slurm for then.
 *
 * One piece is `sbatch --begin=...` of the script as it is. Several pieces need somebody who stops
 * the job and starts it again, and nobody stays for that: the script is handed over with `wattune
 * segment` as its interpreter and the pieces in lines of its own, so that Slurm keeps them with the
 * job, and the job itself asks to be requeued for the next piece. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plan_options.h"
#include "slurm.h"

#define NOW_S 30 /* so near a start is now */

struct submit {
    struct cli_plan plan;
    const char *signal;
    int64_t lead_s; /* -1: not given */
    bool is_dry;
    char **args; /* what sbatch is given */
    int arg_count;
    int script;            /* which of them; -1: none was found */
    char self[200];        /* this program */
    char interpreter[200]; /* of the script: what follows its #! */
    char folder[64];       /* of the script as it is handed over; "": none */
    char path[4400];
};

static void print_help(void)
{
    fputs("usage: wattune submit [OPTION...] -- [SBATCH OPTION...] SCRIPT [ARG...]\n\n"
          "Plans a job as `wattune plan` does and hands it to Slurm for then: sbatch\n"
          "--begin. A job of several pieces (--interruptible) is requeued for each; before\n"
          "a piece ends its script gets a signal, upon which it writes a checkpoint and\n"
          "ends.\n\n"
          "  --dry-run          print what would be run, and run nothing\n"
          "  --checkpoint-signal NAME  that signal: USR1 (the default), USR2, TERM, INT,\n"
          "                     HUP\n"
          "  --checkpoint-lead TIME  so long before the end (default: --checkpoint-cost,\n"
          "                     and a minute at least)\n",
          stdout);
    fputs(cli_plan_help, stdout);
    fputs("  --help             this text\n\n"
          "Exit code: sbatch's own; 1 failure, 2 usage, 3 not permitted, 4 no such run.\n",
          stdout);
}

static int parse(int argc, char **argv, struct submit *s)
{
    enum { DRY = 256, SIGNAL_NAME, LEAD, HELP };
    static const struct option options[] = {
        PLAN_OPTIONS,
        {"dry-run", no_argument, NULL, DRY},
        {"checkpoint-signal", required_argument, NULL, SIGNAL_NAME},
        {"checkpoint-lead", required_argument, NULL, LEAD},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        int code = cli_plan_option(c, optarg, &s->plan);
        if (code >= 0)
            return code;
        if (code != CLI_OTHER)
            continue;
        switch (c) {
        case DRY:
            s->is_dry = true;
            break;
        case SIGNAL_NAME:
            s->signal = optarg;
            if (!cli_slurm_signal(optarg))
                return cli_usage("submit",
                                 "--checkpoint-signal %s: is not USR1, USR2, TERM, INT or HUP",
                                 optarg);
            break;
        case LEAD:
            code = cli_plan_seconds("submit", "--checkpoint-lead", optarg, true, &s->lead_s);
            if (code >= 0)
                return code;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("submit");
        }
    }
    if (optind == argc)
        return cli_usage("submit", "which script: -- SCRIPT");
    s->args = argv + optind;
    s->arg_count = argc - optind;
    return cli_plan_check(&s->plan);
}

/* The first argument that is a script; sbatch's own options and their values go before it. */
static void find_script(struct submit *s)
{
    s->script = -1;
    for (int i = 0; i < s->arg_count && s->script < 0; i++) {
        char line[256] = "";
        FILE *in = s->args[i][0] == '-' ? NULL : fopen(s->args[i], "re");
        if (!in)
            continue;
        if (fgets(line, sizeof(line), in) && strncmp(line, "#!", 2) == 0) {
            s->script = i;
            char *from = line + 2 + strspn(line + 2, " \t");
            size_t n = strcspn(from, "\r\n");
            while (n && (from[n - 1] == ' ' || from[n - 1] == '\t'))
                n--;
            snprintf(s->interpreter, sizeof(s->interpreter), "%.*s", (int)n, from);
        }
        fclose(in);
    }
}

/* An option that would undo the plan. Returns an exit code, or -1. */
static int check_args(const struct submit *s)
{
    int end = s->script < 0 ? s->arg_count : s->script;
    for (int i = 0; i < end; i++) {
        const char *a = s->args[i];
        if (strncmp(a, "--begin", 7) == 0 || (a[0] == '-' && a[1] == 'b'))
            return cli_usage("submit", "%s: the start is the plan's; give --start to wattune", a);
    }
    return -1;
}

/* ---- a job of several pieces ---- */

static int64_t lead_of(const struct submit *s)
{
    int64_t cost_s = s->plan.job.checkpoint_s;
    return s->lead_s >= 0 ? s->lead_s : cost_s > 60 ? cost_s : 60;
}

/* Whether its script can be handed over so. Returns an exit code, or -1. */
static int check_pieces(struct submit *s, const struct wt_plan *plan)
{
    int64_t lead_s = lead_of(s);
    for (size_t i = 0; i + 1 < plan->count; i++) { /* the last has no end */
        int64_t long_s = plan->segments[i].end_s - plan->segments[i].start_s;
        if (long_s <= lead_s)
            return cli_usage("submit",
                             "piece %zu of %zu takes %lld s, and the script would be told %lld s "
                             "before its end: --min-segment for longer ones, or a shorter "
                             "--checkpoint-lead",
                             i + 1, plan->count, (long long)long_s, (long long)lead_s);
    }
    if (lead_s > 86400)
        return cli_usage("submit",
                         "the script would be told %lld s before a piece ends; a day at "
                         "most: --checkpoint-lead",
                         (long long)lead_s);
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof(s->self) - 1);
    if (n > 0)
        s->self[n] = '\0';
    if (s->script < 0)
        return cli_usage("submit",
                         "a job of several pieces needs a script that begins with #!, "
                         "and none is among: %s%s",
                         s->args[0], s->arg_count > 1 ? " ..." : "");
    for (int i = 0; i < s->script; i++)
        if (strcmp(s->args[i], "--no-requeue") == 0)
            return cli_usage("submit", "--no-requeue: a job of several pieces is requeued");
    if (n <= 0 || n == sizeof(s->self) - 1 || strpbrk(s->self, " \t\n")) {
        cli_note("this program's own path is too long, or has blanks, for the first line of a "
                 "script: %s",
                 s->self);
        return CLI_FAILURE;
    }
    if (s->interpreter[0] != '/' || strlen(s->interpreter) + 1 == sizeof(s->interpreter))
        return cli_usage("submit", "%s: its first line names no interpreter by its path",
                         s->args[s->script]);
    return -1;
}

static void write_head(const struct submit *s, const struct wt_plan *plan, FILE *out)
{
    char from[32], to[32];
    fprintf(out, "#!%s segment\n", s->self);
    fprintf(out, CLI_SLURM_MARK "interpreter %s\n", s->interpreter);
    fprintf(out, CLI_SLURM_MARK "checkpoint %lld %s\n", (long long)lead_of(s), s->signal);
    for (size_t i = 0; i < plan->count; i++)
        fprintf(out, CLI_SLURM_MARK "piece %s %s\n",
                wt_moment_text(from, sizeof(from), plan->segments[i].start_s),
                wt_moment_text(to, sizeof(to), plan->segments[i].end_s));
}

/* The script with those lines, in a folder of ours, under its own name: Slurm calls the job so. */
static int write_script(struct submit *s, const struct wt_plan *plan)
{
    const char *temporary = getenv("TMPDIR"), *from = s->args[s->script];
    const char *slash = strrchr(from, '/');
    char first[256];
    int c;
    snprintf(s->folder, sizeof(s->folder), "%s/wattune-XXXXXX",
             temporary && strlen(temporary) < 40 ? temporary : "/tmp");
    if (!mkdtemp(s->folder)) {
        cli_note("submit: a folder for the script, %s: %s", s->folder, strerror(errno));
        s->folder[0] = '\0';
        return CLI_FAILURE;
    }
    snprintf(s->path, sizeof(s->path), "%s/%s", s->folder, slash ? slash + 1 : from);
    FILE *in = fopen(from, "re"), *out = fopen(s->path, "we");
    bool is_written = in && out;
    if (is_written) {
        write_head(s, plan, out);
        is_written = fgets(first, sizeof(first), in) != NULL; /* its own first line is not needed */
        while ((c = getc(in)) != EOF)
            putc(c, out);
        is_written &= !ferror(in) && !ferror(out);
    }
    if (in)
        fclose(in);
    is_written &= out && fclose(out) == 0 && chmod(s->path, 0700) == 0;
    if (!is_written)
        cli_note("%s could not be copied to %s", from, s->path);
    return is_written ? -1 : CLI_FAILURE;
}

static void remove_script(struct submit *s)
{
    if (s->folder[0]) {
        unlink(s->path);
        rmdir(s->folder);
    }
}

/* ---- */

static int submit(struct submit *s, const struct wt_plan *plan)
{
    struct wt_error err = {0};
    char begin[64], time_text[48];
    int64_t now_s = (int64_t)time(NULL);
    bool has_pieces = plan->count > 1;
    int n = 0, code = -1;
    char **argv = calloc((size_t)s->arg_count + 6, sizeof(*argv));
    if (!argv)
        return CLI_FAILURE;
    argv[n++] = (char *)(uintptr_t) "sbatch";
    /* Said also when it is now: the script may have a --begin of its own. */
    bool is_now = plan->segments[0].start_s <= now_s + NOW_S;
    snprintf(begin, sizeof(begin), "--begin=%s",
             is_now ? "now"
                    : cli_slurm_time(time_text, sizeof(time_text), plan->segments[0].start_s));
    argv[n++] = begin;
    if (has_pieces) {
        argv[n++] = (char *)(uintptr_t) "--requeue";
        argv[n++] = (char *)(uintptr_t) "--open-mode=append";
    }
    for (int i = 0; i < s->arg_count; i++)
        argv[n++] = s->args[i];
    if (has_pieces)
        code = check_pieces(s, plan);
    if (code < 0 && s->is_dry) {
        for (int i = 0; i < n; i++) {
            if (i)
                putchar(' ');
            cli_shell_word(stdout, argv[i]);
        }
        putchar('\n');
        if (has_pieces)
            write_head(s, plan, stdout);
        code = CLI_OK;
    } else if (code < 0) {
        if (has_pieces) {
            code = write_script(s, plan);
            argv[n - s->arg_count + s->script] = s->path;
        }
        if (code < 0)
            code = cli_slurm_run(argv, NULL, &err);
        if (code < 0) {
            cli_fail("submit", &err);
            code = CLI_FAILURE;
        }
        remove_script(s);
    }
    free(argv);
    return code;
}

int cmd_submit(int argc, char **argv)
{
    struct submit s = {.plan = CLI_PLAN_INIT("submit"), .signal = "USR1", .lead_s = -1};
    struct wt_plan_result result;
    int code = parse(argc, argv, &s);
    if (code < 0) {
        find_script(&s);
        code = check_args(&s);
    }
    if (code < 0 && s.plan.job.start_s < (int64_t)time(NULL) - NOW_S)
        code = cli_usage("submit", "--start: nothing can be submitted for the past");
    if (code < 0)
        code = cli_plan_make(&s.plan, &result);
    if (code < 0) {
        struct wt_term term;
        wt_term_init(&term, stderr);
        if (result.count > 1) {
            code = cli_usage("submit", "several regions: a job is submitted to this cluster alone");
        } else {
            wt_report_plan(&term, &result);
            fflush(stderr);
            code = submit(&s, &result.plans[0]);
        }
        wt_plan_result_done(&result);
    }
    cli_plan_done(&s.plan);
    return code;
}
