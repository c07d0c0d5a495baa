/* wattune segment: the interpreter of a script that `wattune submit` handed to Slurm in pieces.
 *
 * It runs the script by its own interpreter. Before a piece ends the script gets a signal; when it
 * has ended, or at the piece's end, the job asks Slurm to requeue it and to begin then at the next
 * piece. No process waits between pieces. The last piece has no end: work that is late is done.
 *
 * `scontrol requeue` ends this job, and only then a new StartTime is accepted, so that the second
 * call is a race with our own end: signals are blocked, and KillWait (30 s) is time enough. Where
 * it is lost the job starts at once, finds that it is in no piece, and asks again. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "slurm.h"

#define NEAR_S     60  /* so long before a piece it may begin */
#define WAIT_S     120 /* for our own end, once requeued */
#define PIECES_MAX 10000
#define UPDATES    20
#define UPDATE_NS  500000000

struct job {
    char interpreter[256];
    char *argument; /* the interpreter's own, inside that text; NULL: none */
    int64_t lead_s;
    int signal;
    struct wt_segment *pieces; /* owned */
    size_t count;
    const char *id; /* Slurm's */
};

static int bad_line(const char *path, size_t number, const char *line)
{
    return cli_usage("segment", "%s:%zu: no line of `wattune submit`: %.60s", path, number, line);
}

static int add_piece(struct job *j, const char *from, const char *to)
{
    struct wt_segment piece;
    if (wt_moment_parse(from, &piece.start_s) < 0 || wt_moment_parse(to, &piece.end_s) < 0 ||
        piece.end_s <= piece.start_s || j->count == PIECES_MAX ||
        (j->count && piece.start_s < j->pieces[j->count - 1].end_s))
        return -1;
    struct wt_segment *more = realloc(j->pieces, (j->count + 1) * sizeof(*more));
    if (!more)
        return -1;
    j->pieces = more;
    j->pieces[j->count++] = piece;
    return 0;
}

/* The lines of `wattune submit` on top of the script. Returns an exit code, or -1. */
static int read_head(struct job *j, const char *path)
{
    char line[512], name[16], from[32], to[32];
    FILE *in = fopen(path, "re");
    int code = -1;
    if (!in) {
        cli_note("segment: %s: %s", path, strerror(errno));
        return CLI_FAILURE;
    }
    for (size_t number = 1; code < 0 && fgets(line, sizeof(line), in); number++) {
        const char *text = line + strlen(CLI_SLURM_MARK);
        long long lead_s;
        line[strcspn(line, "\r\n")] = '\0';
        if (number == 1)
            continue;
        if (strncmp(line, CLI_SLURM_MARK, strlen(CLI_SLURM_MARK)) != 0)
            break;
        if (strncmp(text, "interpreter /", 13) == 0 && strlen(text) < sizeof(j->interpreter)) {
            memcpy(j->interpreter, text + 12, strlen(text + 12) + 1);
        } else if (sscanf(text, "checkpoint %lld %15s", &lead_s, name) == 2 && lead_s >= 0 &&
                   lead_s <= 86400 && cli_slurm_signal(name)) {
            j->lead_s = lead_s;
            j->signal = cli_slurm_signal(name);
        } else if (sscanf(text, "piece %31s %31s", from, to) != 2 || add_piece(j, from, to) < 0) {
            code = bad_line(path, number, line);
        }
    }
    fclose(in);
    if (code < 0 && (!j->interpreter[0] || !j->count || !j->signal))
        code = cli_usage("segment", "%s: has not the lines that `wattune submit` writes", path);
    for (size_t i = 0; code < 0 && i + 1 < j->count; i++) /* the last has no end */
        if (j->pieces[i].end_s - j->pieces[i].start_s <= j->lead_s)
            code = cli_usage("segment", "%s: piece %zu is over before its script is to be told",
                             path, i + 1);
    j->argument = strpbrk(j->interpreter, " \t");
    if (j->argument) {
        *j->argument++ = '\0';
        j->argument += strspn(j->argument, " \t");
    }
    return code;
}

/* The piece to run in, or wait for: the first with time left for more than a checkpoint. */
static size_t piece_at(const struct job *j, int64_t now_s)
{
    size_t i = 0;
    while (i + 1 < j->count && j->pieces[i].end_s - now_s <= j->lead_s)
        i++;
    return i;
}

/* Ends this job and has it begin again at t_s. True: it will be; our end is near. */
static bool requeue(const struct job *j, int64_t t_s)
{
    struct wt_error err = {0};
    char id[64], begin[80], text[48];
    snprintf(id, sizeof(id), "JobId=%s", j->id);
    char *const again[] = {(char *)(uintptr_t) "scontrol", (char *)(uintptr_t) "requeue",
                           (char *)(uintptr_t)j->id, NULL};
    char *const update[] = {(char *)(uintptr_t) "scontrol", (char *)(uintptr_t) "update", id, begin,
                            NULL};
    int rc = cli_slurm_run(again, NULL, &err);
    if (rc) {
        if (rc < 0)
            cli_fail("segment", &err);
        cli_note("the job could not be requeued for its next piece");
        return false;
    }
    for (int i = 0; i < UPDATES; i++) {
        snprintf(begin, sizeof(begin), "StartTime=%s", cli_slurm_time(text, sizeof(text), t_s));
        rc = cli_slurm_run(update, NULL, &err);
        if (!rc)
            break;
        struct timespec pause = {0, UPDATE_NS};
        nanosleep(&pause, NULL);
    }
    char moment[32];
    if (rc)
        cli_note("requeued, but Slurm did not take the next piece's start: it will be asked again");
    else
        cli_note("requeued; goes on at %s", wt_moment_text(moment, sizeof(moment), t_s));
    return true;
}

static int64_t ns_at(int64_t t_s)
{
    return cli_now_ns() + (t_s - (int64_t)time(NULL)) * 1000000000;
}

/* Runs the script in piece i. Returns the exit code. */
static int run(const struct job *j, size_t i, char **argv)
{
    struct wt_error err = {0};
    struct cli_child child = {.output_fd = -1, .terminal_fd = -1};
    bool is_last = i + 1 == j->count, is_told = false, is_over = false;
    int rc = cli_child_start(&child, argv, &err);
    if (rc < 0) {
        cli_fail("segment", &err);
        return rc == WT_E_NOTFOUND ? 127 : rc == WT_E_DENIED ? 126 : CLI_FAILURE;
    }
    if (!is_last) {
        is_over = cli_child_wait(&child, ns_at(j->pieces[i].end_s - j->lead_s));
        if (!is_over) {
            cli_note("the piece ends in %lld s: the script is told to keep its work",
                     (long long)j->lead_s);
            kill(child.pid, j->signal);
            is_told = true;
            is_over = cli_child_wait(&child, ns_at(j->pieces[i].end_s));
        }
    }
    /* Told and ended, with whatever code: it goes on later. Ended by somebody else: it does not. */
    if (is_told && !child.asked_to_end && requeue(j, j->pieces[i + 1].start_s)) {
        cli_signal_wait(cli_now_ns() + WAIT_S * INT64_C(1000000000));
        cli_child_done(&child);
        return CLI_OK;
    }
    while (!is_over)
        is_over = cli_child_wait(&child, INT64_MAX);
    int code = cli_child_exit_code(&child);
    if (is_told && !child.asked_to_end && code == CLI_OK)
        code = CLI_FAILURE; /* its work is not done, and nobody goes on with it */
    cli_child_done(&child);
    return code;
}

static void print_help(void)
{
    fputs("usage: wattune segment SCRIPT [ARG...]\n\n"
          "The interpreter of a script that `wattune submit` handed to Slurm in several\n"
          "pieces: runs it until the piece ends, tells it to keep its work, and has the job\n"
          "requeued for the next one. Slurm runs this; nobody types it.\n\n"
          "  --help             this text\n\n"
          "Exit code: the script's own; 0 requeued, 1 failure, 2 usage.\n",
          stdout);
}

int cmd_segment(int argc, char **argv)
{
    struct wt_error err = {0};
    struct job j = {0};
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int c = getopt_long(argc, argv, "+h", options, NULL);
    if (c == 'h') {
        print_help();
        return CLI_OK;
    }
    if (c != -1)
        return cli_bad_option("segment");
    argc -= optind - 1; /* argv[1] is the script, whatever its options */
    argv += optind - 1;
    if (argc < 2)
        return cli_usage("segment", "Slurm runs this, with a script of `wattune submit`");
    j.id = getenv("SLURM_JOB_ID");
    int code = read_head(&j, argv[1]);
    if (code < 0 && (!j.id || !*j.id || strspn(j.id, "0123456789") != strlen(j.id)))
        code = cli_usage("segment", "SLURM_JOB_ID is not set: this is no job of Slurm's");
    if (code < 0 && cli_signals_block(&err) < 0)
        code = cli_fail("segment", &err);
    char **command = calloc((size_t)argc + 2, sizeof(*command));
    if (code < 0 && command) {
        int n = 0;
        int64_t now_s = (int64_t)time(NULL);
        size_t i = piece_at(&j, now_s);
        command[n++] = j.interpreter;
        if (j.argument)
            command[n++] = j.argument;
        memcpy(command + n, argv + 1, (size_t)(argc - 1) * sizeof(*command));
        /* Too early for this piece (it waited long in the queue, past another). */
        if (now_s + NEAR_S < j.pieces[i].start_s && requeue(&j, j.pieces[i].start_s)) {
            cli_signal_wait(cli_now_ns() + WAIT_S * INT64_C(1000000000));
            code = CLI_OK;
        } else {
            code = run(&j, i, command);
        }
    } else if (code < 0) {
        code = CLI_FAILURE;
    }
    free(command);
    free(j.pieces);
    return code;
}
