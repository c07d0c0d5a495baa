/* audit: see audit.h. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
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
    bool is_own, is_started, is_ending, is_over;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t has_line, has_ended;
    char (*lines)[LINE_MAX];
    size_t first, count;
    uint64_t lost;
};

static void put(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        left -= (size_t)n;
    }
}

static void *work(void *data)
{
    struct wt_audit *a = data;
    char line[LINE_MAX];
    pthread_mutex_lock(&a->lock);
    while (!a->is_ending || a->count || a->lost) {
        if (!a->count && !a->lost) {
            pthread_cond_wait(&a->has_line, &a->lock);
            continue;
        }
        if (a->count) {
            memcpy(line, a->lines[a->first], LINE_MAX);
            a->first = (a->first + 1) % LINES;
            a->count--;
        } else {
            wt_text(line, sizeof(line), "{\"event\":\"lost\",\"lines\":%llu}\n",
                    (unsigned long long)a->lost);
            a->lost = 0;
        }
        pthread_mutex_unlock(&a->lock);
        put(a->fd, line);
        pthread_mutex_lock(&a->lock);
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
    a->fd = STDERR_FILENO;
    int rc = 0;
    if (path) {
        const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
        a->fd = open(path, flags | O_CREAT | O_EXCL, 0640);
        if (a->fd >= 0)
            fchmod(a->fd, 0640); /* the daemon's umask would hide it from the site's collector */
        else if (errno == EEXIST)
            a->fd = open(path, flags);
        a->is_own = a->fd >= 0;
        if (a->fd < 0)
            rc = wt_fail_errno(err, errno, "%s", path);
    }
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
    if (a->is_own)
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
