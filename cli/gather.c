/* wattune gather: this machine's sensors and settings as one small archive, for a report of a fault
 * or a test case. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

extern char **environ;

#define FOLDER "machine" /* inside the archive */

static void print_help(void)
{
    fputs("usage: wattune gather [OPTION...]\n\n"
          "Records what Wattune sees of this machine (the files of its sensors and\n"
          "settings, what the vendors' tools answer, and what `wattune doctor` makes of it)\n"
          "in one archive, which plays back with --sysroot. Nothing is changed. No serial\n"
          "number, UUID, host name or container id is kept; look into the archive before\n"
          "you give it away.\n\n"
          "  --output FILE   the archive (default: wattune-machine.tar.gz); must not be\n"
          "                  there\n"
          "  --title TEXT    one line on what machine it is\n"
          "  --sysroot DIR   record what lies below DIR\n"
          "  --help          this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted.\n",
          stdout);
}

struct gather {
    const char *output;
    struct wt_gather_options options;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct gather *g)
{
    enum { OUTPUT = 256, TITLE, SYSROOT, HELP };
    static const struct option options[] = {
        {"output", required_argument, NULL, OUTPUT},
        {"title", required_argument, NULL, TITLE},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1)
        switch (c) {
        case OUTPUT:
            g->output = optarg;
            break;
        case TITLE:
            g->options.title = optarg;
            break;
        case SYSROOT:
            g->options.sysroot = optarg;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("gather");
        }
    if (optind < argc)
        return cli_usage("gather", "\"%s\": gather takes options only", argv[optind]);
    return -1;
}

static int fail(struct wt_error *err, int code, const char *what, const char *why)
{
    return cli_error(err, code, "", "%.300s: %s", what, why);
}

static int fail_errno(struct wt_error *err, const char *what)
{
    int code = errno == EACCES || errno == EPERM || errno == EROFS ? WT_E_DENIED
               : errno == ENOSPC                                   ? WT_E_FULL
                                                                   : WT_E_IO;
    return fail(err, code, what, strerror(errno));
}

/* Runs a program with a stream of it, its stdout or stderr, in a file (NULL: all is ours).
 * *ret_exit is its exit code. */
static int run(char *const argv[], int stream, const char *path, int *ret_exit,
               struct wt_error *err)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    if (path)
        posix_spawn_file_actions_addopen(&actions, stream, path, O_WRONLY | O_CREAT | O_TRUNC,
                                         0644);
    int errnum = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (errnum) {
        errno = errnum;
        return fail_errno(err, argv[0]);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail_errno(err, argv[0]);
    *ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return 0;
}

/* What doctor makes of the recording, so that a later Wattune can be held against it. */
static int write_doctor(const char *folder, struct wt_error *err)
{
    char path[4200], self[] = "/proc/self/exe", doctor[] = "doctor", option[] = "--sysroot";
    snprintf(path, sizeof(path), "%s/doctor.txt", folder);
    char *argv[] = {self, doctor, option, (char *)folder, NULL};
    int code;
    int rc = run(argv, STDOUT_FILENO, path, &code, err);
    if (rc == 0 && code != CLI_OK && code != CLI_NO_SENSOR)
        rc = fail(err, WT_E_INTERNAL, "wattune doctor", "failed on what was recorded");
    return rc;
}

/* The first line of what tar said: those after it say that it ends. */
static void fail_by_tar(struct wt_error *err, const char *output, const char *said)
{
    char line[200] = "", why[240];
    FILE *in = fopen(said, "re");
    if (in && fgets(line, sizeof(line), in))
        line[strcspn(line, "\n")] = '\0';
    if (in)
        fclose(in);
    snprintf(why, sizeof(why), "tar could not write it%s%s", line[0] ? ": " : "", line);
    fail(err, WT_E_IO, output, why);
}

/* Packs beside the archive and renames, so that there is a whole archive or none. */
static int pack(const char *folder, const char *output, struct wt_error *err)
{
    char parent[4096], part[4200], said[4200], tar[] = "tar", c[] = "-C", czf[] = "-czf",
                                               name[] = FOLDER;
    char owner[] = "--owner=0", group[] = "--group=0", numeric[] = "--numeric-owner";
    snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(folder, '/') - folder), folder);
    snprintf(part, sizeof(part), "%s.%ld.part", output, (long)getpid());
    snprintf(said, sizeof(said), "%s/tar.err", parent);
    char *argv[] = {tar, c, parent, owner, group, numeric, czf, part, name, NULL};
    int code = 0;
    int rc = run(argv, STDERR_FILENO, said, &code, err);
    if (rc == 0 && code) {
        fail_by_tar(err, output, said);
        rc = err->code;
    }
    /* link() and not rename(): what is there meanwhile is not replaced. */
    if (rc == 0 && link(part, output) < 0)
        rc = fail_errno(err, output);
    unlink(part);
    return rc;
}

static void remove_folder(const char *folder)
{
    char rm[] = "rm", options[] = "-rf", end[] = "--";
    char *argv[] = {rm, options, end, (char *)folder, NULL};
    int code;
    struct wt_error err;
    (void)run(argv, STDOUT_FILENO, NULL, &code, &err);
}

int cmd_gather(int argc, char **argv)
{
    struct gather g = {.output = "wattune-machine.tar.gz"};
    struct wt_gathered found;
    struct wt_error err = {0};
    int code = parse(argc, argv, &g);
    if (code >= 0)
        return code;
    if (cli_sysroot_check(g.options.sysroot, &err) < 0)
        return cli_fail("gather", &err);
    struct stat st;
    if (cli_output_name("--output", g.output, &err) < 0)
        return cli_fail("gather", &err);
    if (lstat(g.output, &st) == 0) {
        fail(&err, WT_E_USAGE, g.output, "is there already");
        snprintf(err.fix, sizeof(err.fix), "move it away, or name another with --output");
        return cli_fail("gather", &err);
    }
    if (cli_output_check("--output", g.output, &err) < 0)
        return cli_fail("gather", &err);
    const char *tmp = getenv("TMPDIR");
    char temporary[4096], folder[4120];
    snprintf(temporary, sizeof(temporary), "%s/wattune-gather-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(temporary)) {
        fail_errno(&err, temporary);
        return cli_fail("gather", &err);
    }
    snprintf(folder, sizeof(folder), "%s/" FOLDER, temporary);
    int rc = wt_gather(folder, &g.options, &found, &err);
    if (rc == 0 && !found.files) {
        fail(&err, WT_E_IO, g.options.sysroot ? g.options.sysroot : "/",
             "nothing of a machine lies below: no file of /proc or /sys that Wattune looks at");
        snprintf(err.fix, sizeof(err.fix), "--sysroot names the folder that holds proc and sys");
        rc = err.code;
    }
    if (rc == 0)
        rc = write_doctor(folder, &err);
    if (rc == 0)
        rc = pack(folder, g.output, &err);
    remove_folder(temporary);
    if (rc < 0)
        return cli_fail("gather", &err);
    printf("%s: %s\n%zu files, %zu that could not be read (and are noted as such)\n", g.output,
           found.title, found.files, found.refused);
    printf("play it back:  tar xf %s && wattune doctor --sysroot " FOLDER "\n", g.output);
    return CLI_OK;
}
