/* What the commands share: the table of commands, how errors are said, the emulation and devices a
 * command line asks for, and running a child as if Wattune were not there.
 *
 * The command sees the library through its public headers only. Data goes to stdout, words to
 * stderr. */
#ifndef WT_CLI_H
#define WT_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "wattune/wattune.h"

/* Each command is cli/NAME.c; argv[0] is "wattune NAME". The result is the exit code. Options are
 * read with getopt_long and an optstring that begins with "+", so that CMD keeps its own. */
int cmd_bench(int argc, char **argv);
int cmd_budget(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_data(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_emulate(int argc, char **argv);
int cmd_gather(int argc, char **argv);
int cmd_jobs(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_predict(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_race(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_runs(int argc, char **argv);
int cmd_segment(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_statement(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_tune(int argc, char **argv);

/* Exit codes of our own (a child's own code passes through `run`). */
enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_DENIED = 3, CLI_NO_SENSOR = 4 };

/* ---- say.c ---- */

/* "wattune CMD: TEXT" and, when there is one, the fix on a line of its own. Returns the exit code.
 */
int cli_fail(const char *command, const struct wt_error *err);
/* The same for a mistake on the command line; points to --help. Returns CLI_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) WT_PRINTF(2, 3);
/* Fills the error: a code, what to do ("": nothing), what is wrong. Returns the code. */
int cli_error(struct wt_error *err, int code, const char *fix, const char *fmt, ...)
    WT_PRINTF(4, 5);
/* A --json document to stdout, at once; says why where it cannot. NULL is no memory. Frees text and
 * returns the exit code. */
int cli_print_json(const char *command, char *text);
/* "-", which elsewhere is standard output, is no name of a file. Errors: WT_E_USAGE. */
int cli_output_name(const char *option, const char *path, struct wt_error *err);
/* Found out before CMD runs, not hours after: whether an option's file can be written. Leaves what
 * is there as it is; NULL is no file. Errors: of cli_output_name(), WT_E_DENIED, WT_E_FULL,
 * WT_E_RANGE, WT_E_IO. */
int cli_output_check(const char *option, const char *path, struct wt_error *err);
/* A remark on stderr: "wattune: ...". */
void cli_note(const char *fmt, ...) WT_PRINTF(1, 2);
/* For wt_ctx_options.log: warnings and errors to stderr, debug when $WT_DEBUG asks. */
void cli_log(void *data, enum wt_log_level level, const char *area, const char *text);
/* After getopt_long's '?' (which has said what is wrong): points to --help. Returns CLI_USAGE. */
int cli_bad_option(const char *command);
/* One argument as a shell reads it back. */
void cli_shell_word(FILE *out, const char *text);

/* ---- data.c ---- */

/* The user's own tables: --data, else where they are by default; NULL: there are none. */
const char *cli_data_folder(const char *given, char *buf, size_t size);

/* ---- bed.c: where a command measures ---- */

#define CLI_SENSORS_MAX 8

/* The options --emulate, --sysroot, --gpu, --fault and --sensor-command, and what they open. */
struct cli_bed {
    const char *emulate, *sysroot, *gpus, *faults; /* borrowed from argv; NULL: not given */
    const char *sensors[CLI_SENSORS_MAX];          /* likewise, each a --sensor-command */
    size_t sensor_count;
    uint64_t emulation_seed;        /* of the boards that --emulate draws; 0: from the clock */
    bool is_sensor_optional;        /* one that does not work is a line, and no failure */
    struct wt_emulation *emulation; /* ours, when --emulate was given */
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    char emulation_name[64]; /* profile of the emulation we are in, ours or an outer one; "" */
};
/* Empty is a slip (an unset variable), and not this machine. Errors: WT_E_USAGE. */
int cli_sysroot_check(const char *sysroot, struct wt_error *err);
/* Starts the emulation (before any thread), makes the context, opens the devices. */
int cli_bed_open(struct cli_bed *bed, struct wt_error *err);
/* What getopt_long returns for the bed's options: beyond those of any command, and not goal.h's. */
enum { BED_GPU = 0x500, BED_EMULATE, BED_FAULT, BED_SENSOR_COMMAND, BED_SYSROOT };
/* clang-format off */
#define BED_OPTIONS                                                                                \
    {"gpu", required_argument, NULL, BED_GPU},                                                     \
    {"emulate", required_argument, NULL, BED_EMULATE},                                             \
    {"fault", required_argument, NULL, BED_FAULT},                                                 \
    {"sensor-command", required_argument, NULL, BED_SENSOR_COMMAND},                               \
    {"sysroot", required_argument, NULL, BED_SYSROOT}
/* clang-format on */
/* Takes one of them. Returns -1, CLI_OTHER when c is none of these, or an exit code: a mistake, of
 * which it has told. */
#define CLI_OTHER (-2)
int cli_bed_option(const char *command, int c, const char *arg, struct cli_bed *bed);
/* The same where no others are left: what is none of these is told, too. */
int cli_bed_option_last(const char *command, int c, const char *arg, struct cli_bed *bed);
/* Whether the options given go together: -1, or an exit code. */
int cli_bed_check(const char *command, const struct cli_bed *bed);
void cli_bed_close(struct cli_bed *bed);

/* ---- settings.c: --set ---- */

/* KNOB=V[,V...] or KNOB=LO:HI:STEP, typed in the user's units or by name. */
struct cli_setting {
    enum wt_knob knob;
    int64_t *values; /* owned; in the knob's unit */
    size_t count;
};
int cli_setting_parse(const char *text, struct cli_setting *ret_setting, struct wt_error *err);
void cli_setting_done(struct cli_setting *setting);
/* wt_lease_knob of a device of the knob's kind; of another kind WT_E_UNSUPPORTED. *why keeps the
 * first reason why one of that kind does not have it. */
int cli_knob(const struct cli_bed *bed, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
             struct wt_error *why, struct wt_error *err);
/* What a person knows a device by, and its id where that is another: "GPU 0 (GPU-5f...)". */
const char *cli_device_name(const struct wt_device_info *info, char *buf, size_t size);
/* The same in what an error says of that device, whose id alone the library and wattuned know. */
void cli_error_name(struct wt_error *err, const struct wt_device_info *info);
/* Tells that no device has it, with that reason. Returns WT_E_UNSUPPORTED. */
int cli_no_knob(enum wt_knob knob, const struct wt_error *why, struct wt_error *err);
/* "90s", "100ms", "5m" or "5min", "1.5h", "2d", "1w" to ns. option is for messages; NULL: it is no
 * option's. A number alone is none but 0: whoever types 2 of something that takes hours does not
 * mean seconds. */
int cli_duration_parse(const char *option, const char *text, int64_t *ret_ns, struct wt_error *err);

/* The decimal number that the first len characters are, all of them digits or a point. False: they
 * are none. */
bool cli_number_parse(const char *text, size_t len, double *ret_value);
/* UNIT=N of --work. */
int cli_work_parse(const char *text, char *unit, size_t size, uint64_t *ret_count,
                   struct wt_error *err);

/* ---- witness.c ---- */

/* Sees what is sent to the whole process group; NULL: there is none. */
struct cli_witness *cli_witness_start(void);
/* Whether it got this signal about when we did; waits a twentieth of a second for it. */
bool cli_witness_saw(struct cli_witness *witness, int number);
void cli_witness_end(struct cli_witness *witness);

/* ---- child.c ---- */

/* A command run in our own process group with our terminal, stdin and signals. Signals sent to us
 * by others are passed on; those the terminal sends to the group reach the child by themselves. */
struct cli_child {
    pid_t pid;
    int signal_fd;
    int status; /* of waitpid, valid once is_done */
    bool is_done;
    int asked_to_end; /* a terminating signal we received ourselves, or 0 */
    struct cli_witness *witness;
    /* Set before the start: */
    int output_fd;       /* its stdout goes here; -1: ours */
    bool is_error_moved; /* and its stderr too */
    int terminal_fd;     /* it writes to this pseudo-terminal, whose size follows ours; -1: none */
    /* It has a process group of its own, which can be stopped whole, and nothing to read from;
     * signals are not passed on to it. It does not outlive us: running it is killed, stopped it is
     * hung up (the kernel does so with a stopped group that nobody is left to continue). */
    bool is_group;
    char *const *env; /* NAME, value, ..., NULL: of its environment alone; NULL: nothing */
};
/* Blocks the signals it will pass on: call before threads are started, so that they inherit it.
 * The first call does; later ones change nothing. */
int cli_signals_block(struct wt_error *err);
/* Errors: WT_E_NOTFOUND (no such command, exit code 127), WT_E_DENIED (126). */
/* child holds output_fd and terminal_fd (-1 for none) and is_error_moved; the rest is filled. */
int cli_child_start(struct cli_child *child, char **argv, struct wt_error *err);
/* Waits until t_ns (monotonic) or the child's end, passing signals on. True when it has ended. */
bool cli_child_wait(struct cli_child *child, int64_t until_ns);
/* Its exit code, 128+n for signal n. */
int cli_child_exit_code(const struct cli_child *child);
/* Descendants still running after it: "1234 (sleep), ..." into buf; how many. */
size_t cli_child_survivors(const struct cli_child *child, char *buf, size_t size);
void cli_child_done(struct cli_child *child);
/* Without a child: waits until t_ns for a terminating signal. Returns it, or 0. */
int cli_signal_wait(int64_t until_ns);
/* Whether cli_signal_wait() would return one at once. */
bool cli_signal_is_pending(void);

int64_t cli_now_ns(void);

#endif
