/* tap: a thread that copies the child's stdout to ours and looks at each line on the way. */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "pattern.h"

/* A line longer than this is looked at in pieces; it is passed on whole. */
#define LINE_MAX_BYTES 8192

/* How long a process that outlives the command may go on writing before we leave. */
#define SURVIVOR_NS INT64_C(200000000)

struct cli_tap {
    struct cli_pattern *patterns[2]; /* of --progress and --mark; NULL: not given */
    int out_fd, read_fd, child_fd, stop_fd[2];
    bool is_terminal, is_running;
    pthread_t thread;
    char line[LINE_MAX_BYTES];
    size_t line_used;
    int64_t line_ns; /* when the line's first byte came */
    bool has_steps, is_refusal_said;
    uint64_t steps, first_step; /* as the program said, last and first since it began to count */
    char phase[32];             /* open phase, or "" */

    pthread_mutex_t lock;
    struct wt_mark *marks;
    size_t mark_count, mark_room;
};

static int compile(struct cli_pattern *patterns[2], const char *progress, const char *mark,
                   struct wt_error *err)
{
    int rc = progress ? cli_pattern_new(&patterns[0], "--progress", progress, err) : 0;
    if (rc == 0 && mark)
        rc = cli_pattern_new(&patterns[1], "--mark", mark, err);
    return rc;
}

int cli_tap_check(const char *progress, const char *mark, struct wt_error *err)
{
    struct cli_pattern *patterns[2] = {NULL, NULL};
    int rc = compile(patterns, progress, mark, err);
    cli_pattern_free(patterns[0]);
    cli_pattern_free(patterns[1]);
    return rc;
}

static void keep(struct cli_tap *tap, enum wt_mark_kind kind, int64_t t_ns, const char *name,
                 uint64_t count)
{
    pthread_mutex_lock(&tap->lock);
    if (tap->mark_count == tap->mark_room) {
        size_t room = tap->mark_room ? 2 * tap->mark_room : 64;
        void *more = realloc(tap->marks, room * sizeof(*tap->marks));
        if (!more) {
            pthread_mutex_unlock(&tap->lock);
            return;
        }
        tap->marks = more;
        tap->mark_room = room;
    }
    struct wt_mark *mark = &tap->marks[tap->mark_count++];
    *mark = (struct wt_mark){.t_ns = t_ns, .kind = kind, .count = count};
    snprintf(mark->name, sizeof(mark->name), "%s", name);
    pthread_mutex_unlock(&tap->lock);
}

/* Steps since the last line that said so. A number that falls to where the program began to count
 * is the next epoch's; one that falls by less is another rank's, a little behind. */
static uint64_t new_steps(struct cli_tap *tap, uint64_t step)
{
    uint64_t done = 0;
    if (!tap->has_steps || (step <= tap->first_step && step < tap->steps)) {
        tap->has_steps = true;
        tap->first_step = step;
        done = step;
    } else if (step > tap->steps) {
        done = step - tap->steps;
    } else {
        return 0;
    }
    tap->steps = step;
    return done;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "20", "20/200", "20:", and "1,000" as Python's {:,} has it; not "1.5", "3e3", "1k", "50%". */
static bool read_count(const char *word, uint64_t *ret_count)
{
    uint64_t count = 0;
    const char *c = word;
    for (; is_digit(*c) && count <= (WT_MARK_COUNT_MAX - 9) / 10; c++)
        count = 10 * count + (uint64_t)(*c - '0');
    for (bool is_grouped = c - word <= 3;
         is_grouped && *c == ',' && is_digit(c[1]) && is_digit(c[2]) && is_digit(c[3]) &&
         count <= (WT_MARK_COUNT_MAX - 999) / 1000;
         c += 4)
        count = 1000 * count + (uint64_t)(100 * (c[1] - '0') + 10 * (c[2] - '0') + c[3] - '0');
    bool has_tail = *c == '%' || *c == '_' || (*c >= 'a' && *c <= 'z') ||
                    (*c >= 'A' && *c <= 'Z') || is_digit(*c) ||
                    ((*c == '.' || *c == ',') && is_digit(c[1]));
    *ret_count = count;
    return is_digit(*word) && !has_tail;
}

static void take_line(struct cli_tap *tap)
{
    char word[32];
    if (cli_pattern_find(tap->patterns[0], tap->line, tap->line_used, word, sizeof(word))) {
        uint64_t step;
        bool is_count = read_count(word, &step);
        uint64_t done = is_count ? new_steps(tap, step) : 0;
        bool is_number = is_digit(*word) || (*word == '-' && is_digit(word[1]));
        if (is_number && !is_count && !tap->is_refusal_said) {
            tap->is_refusal_said = true;
            cli_note("--progress: a step %s on stdout is no count of steps; such are left out",
                     word);
        }
        if (done)
            keep(tap, WT_MARK_STEP, tap->line_ns, "stdout", done);
    }
    if (cli_pattern_find(tap->patterns[1], tap->line, tap->line_used, word, sizeof(word))) {
        if (tap->phase[0])
            keep(tap, WT_MARK_END, tap->line_ns, tap->phase, 1);
        snprintf(tap->phase, sizeof(tap->phase), "%s", word);
        keep(tap, WT_MARK_BEGIN, tap->line_ns, tap->phase, 1);
    }
    tap->line_used = 0;
}

static void look(struct cli_tap *tap, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!tap->line_used)
            tap->line_ns = cli_now_ns();
        /* Progress bars end their lines with a carriage return. */
        if (bytes[i] == '\n' || bytes[i] == '\r') {
            if (tap->line_used)
                take_line(tap);
            continue;
        }
        if (tap->line_used == sizeof(tap->line))
            take_line(tap);
        tap->line[tap->line_used++] = bytes[i];
    }
}

/* 0, or why it could not be. */
static int pass_on(int fd_out, const char *bytes, size_t count)
{
    while (count) {
        ssize_t n = write(fd_out, bytes, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            struct pollfd fd = {.fd = fd_out, .events = POLLOUT};
            poll(&fd, 1, -1);
            continue;
        }
        if (n <= 0)
            return n < 0 ? errno : EIO;
        bytes += n;
        count -= (size_t)n;
    }
    return 0;
}

/* Milliseconds for poll, rounded up; 0 when it is over. */
static int left_ms(int64_t until_ns)
{
    int64_t left = until_ns - cli_now_ns();
    return left > 0 ? (int)(left / 1000000 + 1) : 0;
}

static void *copy(void *data)
{
    struct cli_tap *tap = data;
    bool is_stopping = false, is_losing = false;
    int64_t last_ns = 0;
    char buf[16384];
    for (;;) {
        struct pollfd fds[2] = {{.fd = tap->read_fd, .events = POLLIN},
                                {.fd = is_stopping ? -1 : tap->stop_fd[0], .events = POLLIN}};
        int n = poll(fds, 2, is_stopping ? left_ms(last_ns) : -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (is_stopping && cli_now_ns() > last_ns)) /* a survivor holds its end */
            break;
        if (fds[1].revents) {
            is_stopping = true;
            last_ns = cli_now_ns() + SURVIVOR_NS;
        }
        if (!fds[0].revents)
            continue;
        ssize_t got = read(tap->read_fd, buf, sizeof(buf));
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0) /* the last writer has gone; a terminal says EIO */
            break;
        look(tap, buf, (size_t)got);
        int why = pass_on(tap->out_fd, buf, (size_t)got);
        if (why == EPIPE) { /* as without us: the program's next write fails */
            close(tap->read_fd);
            tap->read_fd = -1;
            break;
        }
        /* A full disk is no end: without us the program would be told, and go on or not. */
        if (why && !is_losing)
            cli_note("stdout cannot be written (%s): a part of what the command says is lost",
                     strerror(why));
        is_losing |= why != 0;
    }
    if (tap->line_used)
        take_line(tap);
    if (tap->phase[0])
        keep(tap, WT_MARK_END, cli_now_ns(), tap->phase, 1);
    return NULL;
}

int cli_tap_open(struct cli_tap **ret_tap, int out_fd, const char *progress, const char *mark,
                 struct wt_error *err)
{
    struct cli_tap *tap = calloc(1, sizeof(*tap));
    if (!tap)
        return err->code = WT_E_NOMEM;
    tap->out_fd = out_fd;
    tap->read_fd = tap->child_fd = tap->stop_fd[0] = tap->stop_fd[1] = -1;
    pthread_mutex_init(&tap->lock, NULL);
    int rc = compile(tap->patterns, progress, mark, err);
    if (rc < 0)
        goto fail;
    int fds[2];
    tap->is_terminal = isatty(out_fd);
    if (tap->is_terminal) {
        struct termios mode;
        struct winsize size;
        bool has_mode = tcgetattr(out_fd, &mode) == 0;
        bool has_size = ioctl(out_fd, TIOCGWINSZ, &size) == 0;
        rc = openpty(&fds[0], &fds[1], NULL, has_mode ? &mode : NULL, has_size ? &size : NULL);
        if (rc == 0 && has_mode) {
            /* Newlines are made into returns by the real terminal, once. */
            mode.c_oflag &= ~(tcflag_t)OPOST;
            tcsetattr(fds[1], TCSANOW, &mode);
        }
    } else {
        rc = pipe(fds);
    }
    if (rc < 0 || pipe2(tap->stop_fd, O_CLOEXEC) < 0) {
        snprintf(err->text, sizeof(err->text), "cannot read along on stdout: %s", strerror(errno));
        rc = err->code = WT_E_IO;
        goto fail;
    }
    tap->read_fd = fds[0];
    tap->child_fd = fds[1];
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    *ret_tap = tap;
    return 0;
fail:
    cli_tap_close(tap);
    return rc;
}

int cli_tap_child_fd(const struct cli_tap *tap)
{
    return tap->child_fd;
}

int cli_tap_terminal_fd(const struct cli_tap *tap)
{
    return tap->is_terminal ? tap->read_fd : -1;
}

void cli_tap_started(struct cli_tap *tap)
{
    close(tap->child_fd);
    tap->child_fd = -1;
    /* Its writes fail when the reader of our stdout has gone; we must not die of it. */
    sigset_t pipes, before;
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipes, &before);
    tap->is_running = pthread_create(&tap->thread, NULL, copy, tap) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!tap->is_running) {
        cli_note("no thread to read along on stdout: its output is lost");
        close(tap->read_fd); /* rather than a program that waits for a full pipe */
        tap->read_fd = -1;
    }
}

void cli_tap_finish(struct cli_tap *tap)
{
    if (!tap->is_running)
        return;
    if (write(tap->stop_fd[1], "", 1) < 0)
        cli_note("cannot stop reading along on stdout");
    pthread_join(tap->thread, NULL);
    tap->is_running = false;
}

void cli_tap_drain(struct cli_tap *tap, void (*fn)(void *data, const struct wt_mark *mark),
                   void *data)
{
    pthread_mutex_lock(&tap->lock);
    for (size_t i = 0; i < tap->mark_count; i++)
        fn(data, &tap->marks[i]);
    tap->mark_count = 0;
    pthread_mutex_unlock(&tap->lock);
}

void cli_tap_close(struct cli_tap *tap)
{
    if (!tap)
        return;
    cli_tap_finish(tap);
    int fds[] = {tap->read_fd, tap->child_fd, tap->stop_fd[0], tap->stop_fd[1]};
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    cli_pattern_free(tap->patterns[0]);
    cli_pattern_free(tap->patterns[1]);
    pthread_mutex_destroy(&tap->lock);
    free(tap->marks);
    free(tap);
}
