/* budget_slurm: a budget as stock Slurm reservations of licences, by scontrol. Commands are
 * arguments, never a string for a shell. Each reservation has an end, so that nothing of ours stays
 * when nobody calls us again.
 *
 * Facts of Slurm 22.05, by trial: scontrol writes times by $SLURM_TIME_FORMAT; a reservation of
 * licences can be made while they are in use (jobs that run keep theirs); those of one time must
 * not be more than the licences there are; start and count of one that is active can be changed
 * in its end and its licences. */
#include "budget.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "slurm.h"

/* scontrol with these arguments: all that it wrote, owned. */
static int scontrol(char *const argv[], char **ret_text, struct wt_error *err)
{
    char line[512], *text = NULL;
    int rc = cli_slurm_run(argv, &text, err);
    if (rc > 0) {
        cli_command_text(line, sizeof(line), (char **)argv);
        text[strcspn(text, "\n")] = '\0';
        rc = cli_error(err, WT_E_IO, "", "%.200s: %.150s", line, *text ? text : "failed");
        free(text);
    }
    if (rc == 0)
        *ret_text = text;
    return rc;
}

/* The value of KEY= in one line of scontrol -o. */
static bool value_of(const char *line, const char *key, char *buf, size_t size)
{
    size_t len = strlen(key);
    for (const char *at = line; (at = strstr(at, key)) != NULL; at += len) {
        if ((at != line && at[-1] != ' ') || at[len] != '=')
            continue;
        size_t n = strcspn(at + len + 1, " \n");
        if (n >= size)
            return false;
        snprintf(buf, size, "%.*s", (int)n, at + len + 1);
        return true;
    }
    return false;
}

static bool whole(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static int ask_licence(struct budget_slurm *s, struct wt_error *err)
{
    char *const argv[] = {"scontrol", "show", "licenses", "-o", NULL};
    char *text, name[96], number[32];
    int rc = scontrol(argv, &text, err);
    if (rc < 0)
        return rc;
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest)) != NULL;)
        if (value_of(line, "LicenseName", name, sizeof(name)) && strcmp(name, s->licence) == 0)
            s->count.is_known = value_of(line, "Total", number, sizeof(number)) &&
                                whole(number, &s->count.total_w) &&
                                value_of(line, "Used", number, sizeof(number)) &&
                                whole(number, &s->count.used_w);
    free(text);
    if (s->count.is_known)
        return 0;
    cli_error(err, WT_E_NOTFOUND, "", "Slurm has no licence \"%.60s\"", s->licence);
    snprintf(err->fix, sizeof(err->fix),
             "add Licenses=%.60s:WATTS to slurm.conf and `scontrol reconfigure` (docs/budget.md)",
             s->licence);
    return WT_E_NOTFOUND;
}

static void name_of(char *buf, size_t size, const struct budget_slurm *s, uint64_t watts)
{
    snprintf(buf, size, "wattune-%s-%llu", s->licence, (unsigned long long)watts);
}

/* Ours: the prefix and nothing but a number behind it. */
static bool is_ours(const struct budget_slurm *s, const char *name)
{
    char again[96];
    uint64_t watts;
    size_t len = strlen("wattune-") + strlen(s->licence) + 1;
    if (strlen(name) <= len || !whole(name + len, &watts))
        return false;
    name_of(again, sizeof(again), s, watts);
    return strcmp(again, name) == 0;
}

static int take_reservation(struct budget_slurm *s, const char *line, struct wt_error *err)
{
    struct budget_reservation r = {0};
    char start[32], end[32], licences[160];
    uint64_t start_s, end_s;
    if (!value_of(line, "ReservationName", r.name, sizeof(r.name)) || !is_ours(s, r.name))
        return 0;
    size_t len = strlen(s->licence);
    if (!value_of(line, "StartTime", start, sizeof(start)) || !whole(start, &start_s) ||
        !value_of(line, "EndTime", end, sizeof(end)) || !whole(end, &end_s) ||
        !value_of(line, "Licenses", licences, sizeof(licences)))
        return cli_error(err, WT_E_FORMAT,
                         "report it with what `scontrol show reservation -o` says",
                         "scontrol says of %.60s what is not understood: %.150s", r.name, line);
    if (strncmp(licences, s->licence, len) != 0 || licences[len] != ':' ||
        !whole(licences + len + 1, &r.watts))
        r.watts = 0; /* somebody changed it: it is put right */
    r.start_s = (int64_t)start_s;
    r.end_s = (int64_t)end_s;
    void *more = realloc(s->there, (s->there_count + 1) * sizeof(*s->there));
    if (!more)
        return cli_error(err, WT_E_NOMEM, "", "no memory for reservations");
    s->there = more;
    s->there[s->there_count++] = r;
    return 0;
}

int cli_budget_ask(struct budget_slurm *s, struct wt_error *err)
{
    char *const argv[] = {"scontrol", "show", "reservation", "-o", NULL};
    char *text;
    setenv("SLURM_TIME_FORMAT", "%s", 1);
    int rc = ask_licence(s, err);
    if (rc == 0)
        rc = scontrol(argv, &text, err);
    if (rc < 0)
        return rc;
    for (char *rest = text, *line; rc == 0 && (line = strtok_r(rest, "\n", &rest)) != NULL;)
        rc = take_reservation(s, line, err);
    free(text);
    return rc;
}

/* ---- what is to be done ---- */

static struct budget_action *action(struct budget_slurm *s, enum budget_verb verb, const char *name)
{
    static const char *const verbs[] = {"create", "update", "delete"};
    void *more = realloc(s->actions, (s->action_count + 1) * sizeof(*s->actions));
    if (!more)
        return NULL;
    s->actions = more;
    struct budget_action *a = &s->actions[s->action_count++];
    memset(a, 0, sizeof(*a));
    a->verb = verb;
    snprintf(a->name, sizeof(a->name), "%s", name);
    snprintf(a->words[a->count++], sizeof(a->words[0]), "%s", verbs[verb]);
    if (verb == BUDGET_CREATE)
        snprintf(a->words[a->count++], sizeof(a->words[0]), "reservation");
    snprintf(a->words[a->count++], sizeof(a->words[0]),
             verb == BUDGET_CREATE ? "reservationname=%s" : "reservation=%s", name);
    return a;
}

static void word(struct budget_action *a, const char *fmt, ...) WT_PRINTF(2, 3);
static void word(struct budget_action *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(a->words[a->count++], sizeof(a->words[0]), fmt, args);
    va_end(args);
}

static int want(struct budget_slurm *s, const struct wt_budget_layer *layer, int64_t now_s)
{
    uint64_t watts = layer->up_to_w - layer->below_w;
    bool is_now = layer->start_s <= now_s;
    char name[96], time[32];
    struct budget_reservation *r = NULL;
    name_of(name, sizeof(name), s, layer->up_to_w);
    for (size_t i = 0; i < s->there_count; i++)
        if (strcmp(s->there[i].name, name) == 0)
            r = &s->there[i];
    /* Slurm lists one that is over for a while yet, under the name that the next is to have: what
     * is not due is left to the next call. */
    if (r && r->end_s <= now_s && !is_now)
        return 0;
    /* One that is in force while it should not be is made anew: Slurm moves no start forward. */
    bool is_new = !r || r->end_s <= now_s || (r->start_s <= now_s && !is_now);
    if (is_new) {
        struct budget_action *a;
        if (r && r->end_s > now_s) {
            a = action(s, BUDGET_DELETE, name);
            if (!a)
                return WT_E_NOMEM;
            r->is_kept = true;
        }
        a = action(s, BUDGET_CREATE, name);
        if (!a)
            return WT_E_NOMEM;
        word(a, "starttime=%s",
             is_now ? "now" : cli_slurm_time(time, sizeof(time), layer->start_s));
        word(a, "endtime=%s", cli_slurm_time(time, sizeof(time), layer->end_s));
        word(a, "licenses=%s:%llu", s->licence, (unsigned long long)watts);
        word(a, "flags=license_only");
        word(a, "users=%s", s->user);
        snprintf(a->what, sizeof(a->what), "%llu W set aside", (unsigned long long)watts);
        return 0;
    }
    r->is_kept = true;
    bool is_moved = is_now ? r->start_s > now_s : r->start_s != layer->start_s;
    if (!is_moved && r->end_s == layer->end_s && r->watts == watts)
        return 0;
    struct budget_action *a = action(s, BUDGET_UPDATE, name);
    if (!a)
        return WT_E_NOMEM;
    if (is_moved)
        word(a, "starttime=%s",
             is_now ? "now" : cli_slurm_time(time, sizeof(time), layer->start_s));
    if (is_moved || r->end_s != layer->end_s)
        word(a, "endtime=%s", cli_slurm_time(time, sizeof(time), layer->end_s));
    if (r->watts != watts)
        word(a, "licenses=%s:%llu", s->licence, (unsigned long long)watts);
    snprintf(a->what, sizeof(a->what), "%llu W set aside", (unsigned long long)watts);
    return 0;
}

int cli_budget_compare(struct budget_slurm *s, const struct wt_budget_layer *layers, size_t count,
                       int64_t now_s, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = want(s, &layers[i], now_s);
    for (size_t i = 0; i < s->there_count && rc == 0; i++)
        if (!s->there[i].is_kept && s->there[i].end_s > now_s) {
            struct budget_action *a = action(s, BUDGET_DELETE, s->there[i].name);
            rc = a ? 0 : WT_E_NOMEM;
            if (a)
                snprintf(a->what, sizeof(a->what), "%llu W given back",
                         (unsigned long long)s->there[i].watts);
        }
    return rc < 0 ? cli_error(err, rc, "", "no memory for a budget") : 0;
}

/* ---- doing it ---- */

static char **argv_of(struct budget_action *a, char *argv[10])
{
    size_t n = 0;
    argv[n++] = "scontrol";
    for (size_t i = 0; i < a->count; i++)
        argv[n++] = a->words[i];
    argv[n] = NULL;
    return argv;
}

static int act(struct budget_action *a, struct wt_error *err)
{
    char *argv[10], *text = NULL;
    a->rc = scontrol(argv_of(a, argv), &text, err);
    free(text);
    return a->rc;
}

int cli_budget_act(struct budget_slurm *s, struct wt_error *err)
{
    struct wt_error first = {0}, why = {0};
    for (size_t i = 0; i < s->action_count; i++)
        act(&s->actions[i], &why);
    for (size_t i = 0; i < s->action_count; i++) {
        if (s->actions[i].rc < 0 && act(&s->actions[i], &why) < 0 && !first.code)
            first = why;
    }
    if (first.code)
        *err = first;
    return first.code;
}

void cli_budget_line(char *buf, size_t size, const struct budget_action *a)
{
    struct budget_action copy = *a;
    char *argv[10];
    cli_command_text(buf, size, argv_of(&copy, argv));
}

void cli_budget_done(struct budget_slurm *s)
{
    free(s->there);
    free(s->actions);
    *s = (struct budget_slurm){0};
}
