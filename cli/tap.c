/* tap: a thread that copies the child's stdout to ours and looks at each line on the way. */
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A line longer than this is looked at in pieces; it is passed on whole. */
#define LINE_MAX_BYTES 8192

struct cli_tap {
    pcre2_code *progress, *mark;
    pcre2_match_data *match;
    int out_fd, read_fd, child_fd, stop_fd[2];
    bool is_terminal, is_running;
    pthread_t thread;
    char line[LINE_MAX_BYTES];
    size_t line_used;
    int64_t line_ns; /* when the line's first byte came */
    uint64_t steps;
    char phase[32]; /* open phase, or "" */

    pthread_mutex_t lock;
    struct wt_mark *marks;
    size_t mark_count, mark_room;
};

static int compile(pcre2_code **ret_code, const char *option, const char *pattern,
                   struct wt_error *err)
{
    if (!pattern)
        return 0;
    int number;
    PCRE2_SIZE at;
    uint32_t groups = 0;
    *ret_code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &number, &at, NULL);
    if (!*ret_code) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(number, why, sizeof(why));
        snprintf(err->text, sizeof(err->text), "%s '%.200s': at character %zu: %s", option, pattern,
                 at, (const char *)why);
        err->fix[0] = '\0';
        return err->code = WT_E_USAGE;
    }
    pcre2_pattern_info(*ret_code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (!groups) {
        snprintf(err->text, sizeof(err->text), "%s '%.200s': has no group in brackets", option,
                 pattern);
        snprintf(err->fix, sizeof(err->fix), "--progress 'step (\\d+)' or --mark 'begin (\\w+)'");
        return err->code = WT_E_USAGE;
    }
    return 0;
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

/* Group 1 of the first match in the line, into buf. */
static bool find(struct cli_tap *tap, const pcre2_code *code, char *buf, size_t size)
{
    if (!code ||
        pcre2_match(code, (PCRE2_SPTR)tap->line, tap->line_used, 0, 0, tap->match, NULL) < 2)
        return false;
    PCRE2_SIZE used = size;
    int rc = pcre2_substring_copy_bynumber(tap->match, 1, (PCRE2_UCHAR *)buf, &used);
    return rc == 0 && used;
}

static void take_line(struct cli_tap *tap)
{
    char word[32];
    if (find(tap, tap->progress, word, sizeof(word))) {
        char *end;
        unsigned long long step = strtoull(word, &end, 10);
        /* A number that goes back is the first steps of another epoch. */
        if (end != word && step != tap->steps)
            keep(tap, WT_MARK_STEP, tap->line_ns, "step",
                 step > tap->steps ? step - tap->steps : step);
        if (end != word)
            tap->steps = step;
    }
    if (find(tap, tap->mark, word, sizeof(word))) {
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

static void pass_on(int fd_out, const char *bytes, size_t count)
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
            return; /* whoever read it has gone; go on counting */
        bytes += n;
        count -= (size_t)n;
    }
}

static void *copy(void *data)
{
    struct cli_tap *tap = data;
    bool is_stopping = false;
    int64_t last_ns = INT64_MAX;
    char buf[16384];
    for (;;) {
        struct pollfd fds[2] = {{.fd = tap->read_fd, .events = POLLIN},
                                {.fd = is_stopping ? -1 : tap->stop_fd[0], .events = POLLIN}};
        int n = poll(fds, 2, is_stopping ? 0 : -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (fds[1].revents && !is_stopping) {
            is_stopping = true;
            last_ns = cli_now_ns() + 200000000; /* a survivor may write for ever */
        }
        if (fds[0].revents && cli_now_ns() < last_ns) {
            ssize_t got = read(tap->read_fd, buf, sizeof(buf));
            if (got < 0 && (errno == EINTR || errno == EAGAIN))
                continue;
            if (got <= 0) /* the last writer has gone; a terminal says EIO */
                break;
            pass_on(tap->out_fd, buf, (size_t)got);
            look(tap, buf, (size_t)got);
        } else if (is_stopping) {
            break;
        }
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
    int rc = compile(&tap->progress, "--progress", progress, err);
    if (rc == 0)
        rc = compile(&tap->mark, "--mark", mark, err);
    if (rc < 0)
        goto fail;
    tap->match = pcre2_match_data_create(8, NULL);

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
    if (rc < 0 || !tap->match || pipe2(tap->stop_fd, O_CLOEXEC) < 0) {
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

void cli_tap_started(struct cli_tap *tap)
{
    close(tap->child_fd);
    tap->child_fd = -1;
    tap->is_running = pthread_create(&tap->thread, NULL, copy, tap) == 0;
    if (!tap->is_running)
        cli_note("no thread to read along on stdout: its output is lost");
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
    pcre2_match_data_free(tap->match);
    pcre2_code_free(tap->progress);
    pcre2_code_free(tap->mark);
    pthread_mutex_destroy(&tap->lock);
    free(tap->marks);
    free(tap);
}
