/* audit: see audit.h. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/audit.h"

#define LINES    1024
#define LINE_MAX 1400

struct wt_audit {
    int fd;
    char path[4096]; /* "": standard error */
    bool is_started, is_ending, is_over, is_reopen_due;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t has_line, has_ended;
    char (*lines)[LINE_MAX];
    size_t first, count;
    uint64_t lost, refused; /* lines: no room for them here, and in the file */
};

/* All of it, or none where it is a file. */
static bool put(int fd, const char *text)
{
    size_t size = strlen(text), done = 0;
    while (done < size) {
        ssize_t n = write(fd, text + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    int errnum = errno;
    struct stat st;
    if (done && done < size && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        ftruncate(fd, st.st_size - (off_t)done) < 0)
        (void)!write(fd, "\n", 1); /* so that the next line is one */
    errno = errnum;
    return done == size;
}

static int open_file(const char *path)
{
    const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | O_CREAT | O_EXCL, 0640);
    if (fd >= 0)
        fchmod(fd, 0640); /* the daemon's umask would hide it from the site's collector */
    else if (errno == EEXIST)
        fd = open(path, flags);
    return fd;
}

static void reopen(struct wt_audit *a)
{
    int fd = open_file(a->path);
    if (fd < 0) {
        fprintf(stderr, "wattuned: --audit %s: %s; it goes on in the file from before\n", a->path,
                strerror(errno));
        return;
    }
    close(a->fd);
    a->fd = fd;
}

/* The next line to write: first how many the file did not take, then those that wait, then how many
 * did not fit behind them. *ret_missing is the count that it tells, NULL for one that waits. false:
 * there is nothing to write. */
static bool take(struct wt_audit *a, char *line, uint64_t **ret_missing)
{
    *ret_missing = a->refused ? &a->refused : a->count ? NULL : &a->lost;
    if (!*ret_missing)
        memcpy(line, a->lines[a->first], LINE_MAX);
    else
        wt_text(line, LINE_MAX, "{\"event\":\"lost\",\"lines\":%llu}\n",
                (unsigned long long)**ret_missing);
    return !*ret_missing || **ret_missing;
}

static void wait_for_room(struct wt_audit *a)
{
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec++;
    pthread_cond_timedwait(&a->has_line, &a->lock, &soon);
}

static void *work(void *data)
{
    struct wt_audit *a = data;
    char line[LINE_MAX];
    bool is_refusing = false;
    pthread_mutex_lock(&a->lock);
    while (!a->is_ending || a->count || a->refused || a->lost) {
        uint64_t *missing, told = 0;
        bool is_reopen = a->is_reopen_due && (!a->count || is_refusing);
        if (!is_reopen && !take(a, line, &missing)) {
            pthread_cond_wait(&a->has_line, &a->lock);
            continue;
        }
        if (is_reopen) {
            a->is_reopen_due = false;
            pthread_mutex_unlock(&a->lock);
            reopen(a);
            pthread_mutex_lock(&a->lock);
            continue;
        }
        if (missing)
            told = *missing;
        pthread_mutex_unlock(&a->lock);
        bool is_written = put(a->fd, line);
        if (!is_written && !is_refusing)
            fprintf(stderr, "wattuned: audit log%s%s: %s; what is not written is counted\n",
                    a->path[0] ? " " : "", a->path, strerror(errno));
        is_refusing = !is_written;
        pthread_mutex_lock(&a->lock);
        if (missing && is_written) {
            *missing -= told;
        } else if (!missing) {
            a->first = (a->first + 1) % LINES;
            a->count--;
            a->refused += !is_written;
        } else if (a->is_ending) {
            break;
        } else {
            wait_for_room(a);
        }
    }
    a->is_over = true;
    pthread_cond_signal(&a->has_ended);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

int wt_audit_new(struct wt_audit **ret_audit, const char *path, struct wt_error *err)
{
    struct wt_audit *a = calloc(1, sizeof(*a));
    if (a)
        a->lines = calloc(LINES, sizeof(*a->lines));
    if (!a || !a->lines) {
        free(a);
        return wt_fail(err, WT_E_NOMEM, "no memory for the audit log");
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->has_line, NULL);
    wt_cond_init(&a->has_ended);
    wt_text(a->path, sizeof(a->path), "%s", path ? path : "");
    a->fd = path ? open_file(path) : STDERR_FILENO;
    int rc = a->fd < 0 ? wt_fail_errno(err, errno, "%s", path) : 0;
    if (rc == 0 && wt_thread_start(&a->thread, work, a) < 0)
        rc = wt_fail(err, WT_E_NOMEM, "no thread for the audit log");
    a->is_started = rc == 0;
    if (rc < 0) {
        wt_audit_free(a);
        return rc;
    }
    *ret_audit = a;
    return 0;
}

void wt_audit_reopen(struct wt_audit *a)
{
    if (!a->path[0])
        return;
    pthread_mutex_lock(&a->lock);
    a->is_reopen_due = true;
    pthread_cond_signal(&a->has_line);
    pthread_mutex_unlock(&a->lock);
}

void wt_audit_free(struct wt_audit *a)
{
    if (!a)
        return;
    if (a->is_started) {
        int64_t end_ns = wt_clock_now_ns() + WT_NS_PER_S;
        struct timespec end = {.tv_sec = (time_t)(end_ns / WT_NS_PER_S),
                               .tv_nsec = (long)(end_ns % WT_NS_PER_S)};
        int waited = 0;
        pthread_mutex_lock(&a->lock);
        a->is_ending = true;
        pthread_cond_signal(&a->has_line);
        while (!a->is_over && waited == 0)
            waited = pthread_cond_timedwait(&a->has_ended, &a->lock, &end);
        bool is_over = a->is_over;
        pthread_mutex_unlock(&a->lock);
        if (!is_over) {
            pthread_detach(a->thread); /* it hangs in a write, and needs all this */
            return;
        }
        pthread_join(a->thread, NULL);
    }
    if (a->path[0] && a->fd >= 0)
        close(a->fd);
    pthread_cond_destroy(&a->has_line);
    pthread_cond_destroy(&a->has_ended);
    pthread_mutex_destroy(&a->lock);
    free(a->lines);
    free(a);
}

/* A process may call itself anything; JSON takes UTF-8 alone. */
static void plain(const char *name, char *buf, size_t size)
{
    size_t n = 0;
    for (; name[n] && n + 1 < size; n++)
        buf[n] = (unsigned char)name[n] < 0x80 ? name[n] : '?';
    buf[n] = '\0';
}

/* Numbers as numbers, names and states that are no clock as words. */
static void set_value(json_t *object, const char *name, enum wt_knob knob, const int64_t *value)
{
    char text[48];
    if (value && (wt_knob_is_named(knob) || *value < 0))
        json_object_set_new(object, name,
                            json_string(wt_knob_value_typed(text, sizeof(text), knob, *value)));
    else if (value)
        json_object_set_new(object, name, wt_json_number(wt_knob_to_user(*value)));
}

void wt_audit_write(struct wt_audit *a, const struct wt_audit_line *line)
{
    char time_text[40], name[64], why[600];
    int64_t now_ns = wt_clock_unix_ns();
    time_t now_s = (time_t)(now_ns / WT_NS_PER_S);
    struct tm tm;
    gmtime_r(&now_s, &tm);
    size_t used = strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &tm);
    wt_text(time_text + used, sizeof(time_text) - used, ".%03dZ",
            (int)(now_ns % WT_NS_PER_S / WT_NS_PER_MS));
    json_t *object = json_pack("{s:s, s:s, s:s}", "time", time_text, "event", line->event,
                               "decision", line->rc == 0 ? "ok" : "refused");
    if (!object)
        return;
    if (line->who) {
        plain(line->who->name, name, sizeof(name));
        json_object_set_new(object, "uid", json_integer(line->who->uid));
        json_object_set_new(object, "pid", json_integer(line->who->pid));
        json_object_set_new(object, "process", json_string(name));
    }
    if (line->job)
        json_object_set_new(object, "job", json_integer(line->job));
    if (line->device)
        json_object_set_new(object, "device", json_string(line->device));
    if (line->knob) {
        json_object_set_new(object, "knob", json_string(wt_knob_name(line->knob)));
        if (!wt_knob_is_named(line->knob))
            json_object_set_new(object, "unit", json_string(wt_knob_unit(line->knob)));
    }
    set_value(object, "found", line->knob, line->found);
    set_value(object, "requested", line->knob, line->requested);
    set_value(object, "enforced", line->knob, line->enforced);
    if (line->rc < 0) {
        plain(line->why ? line->why : "", why, sizeof(why));
        json_object_set_new(object, "error", json_string(wt_error_name(line->rc)));
        json_object_set_new(object, "why", json_string(why));
    }
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    pthread_mutex_lock(&a->lock);
    if (text && a->count < LINES && strlen(text) + 2 <= LINE_MAX) {
        wt_text(a->lines[(a->first + a->count) % LINES], LINE_MAX, "%s\n", text);
        if (a->count++ == 0)
            pthread_cond_signal(&a->has_line);
    } else {
        a->lost++;
    }
    pthread_mutex_unlock(&a->lock);
    free(text);
}
