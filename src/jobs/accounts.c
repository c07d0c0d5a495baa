/* accounts: the energy of a node's jobs, tick by tick: what there is (scan), whose the joules were
 * (split), and rows of it in the node's store.
 *
 * Rows of what runs are written when it begins and every half minute, so that a program or node
 * that dies leaves a figure and the time up to which it holds. What the next start finds open is
 * taken up where its job still runs, with a gap, and closed as lost where it does not: the least is
 * what was noted, the most adds full power until the end or the boot. */
#include "jobs/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "window/meter.h"

#define NOTE_NS   (30 * WT_NS_PER_S)
#define WAIT_NS   (WT_NS_PER_S / 4) /* for the samples of what has just begun or ended */
#define PRUNE_NS  (3600 * WT_NS_PER_S)
#define DAY_NS    (86400 * WT_NS_PER_S)
#define KEEP_DAYS 400
#define NOBODY    "idle"

int wt_accounts_trouble(struct wt_accounts *a, int rc, const struct wt_error *err)
{
    if (a->first.code == 0 && rc < 0)
        a->first = *err;
    return rc;
}

/* ---- rows ---- */

static void row_of_job(const struct wt_accounts *a, const struct job *job, const struct step *step,
                       struct wt_job_row *row)
{
    const struct wt_job_facts *f = &job->facts;
    memset(row, 0, sizeof(*row));
    memcpy(row->cluster, f->cluster, sizeof(row->cluster));
    memcpy(row->node, f->node, sizeof(row->node));
    row->job = f->job;
    row->begin_ns = step ? step->begin_ns : f->begin_ns;
    if (step)
        memcpy(row->step, step->name, sizeof(row->step));
    else if (!f->job)
        wt_text(row->step, sizeof(row->step), NOBODY);
    row->uid = f->uid;
    memcpy(row->user, f->user, sizeof(row->user));
    memcpy(row->account, f->account, sizeof(row->account));
    memcpy(row->partition, f->partition, sizeof(row->partition));
    memcpy(row->name, f->name, sizeof(row->name));
    memcpy(row->model, f->model, sizeof(row->model));
    row->nodes = f->nodes;
    row->cap_mw = f->cap_mw;
    row->cap_set_mw = f->cap_set_mw;
    int64_t end_ns = step ? step->end_ns : job->end_ns;
    bool is_ended = step ? step->is_ended : job->is_ended;
    row->state = is_ended ? WT_JOB_ENDED : WT_JOB_RUNNING;
    row->end_ns = is_ended ? end_ns : 0;
    row->updated_ns = is_ended ? end_ns : a->split_unix_ns;
}

/* Whether the GPU that Slurm gave by this number is among what is measured. */
static bool is_measured(const struct wt_accounts *a, const struct job *job, unsigned gpu)
{
    const struct step one = {.gpus = {gpu}, .gpu_count = 1};
    for (size_t i = 0; i < a->count; i++)
        if (a->devices[i].is_split && wt_accounts_holds(a, job, &one, i))
            return true;
    return false;
}

/* A GPU that Slurm gave and that is not. */
static int add_unseen(struct wt_accounts *a, const struct job *job, const struct step *step,
                      struct wt_job_row **rows, size_t *count, size_t *room)
{
    const unsigned *gpus = step ? step->gpus : job->facts.gpus;
    size_t gpu_count = step ? step->gpu_count : job->facts.gpu_count;
    for (size_t k = 0; k < gpu_count; k++) {
        if (is_measured(a, job, gpus[k]))
            continue;
        const char *id = wt_accounts_id_of(job, gpus[k]);
        struct wt_job_row *row = wt_job_rows_add(rows, count, room);
        if (!row)
            return WT_E_NOMEM;
        row_of_job(a, job, step, row);
        if (id)
            wt_text(row->device, sizeof(row->device), "%s", id);
        else
            wt_text(row->device, sizeof(row->device), "gpu-%u", gpus[k]);
        row->kind = WT_DEVICE_GPU;
        row->index = (int)gpus[k];
        row->is_counted = true;
        row->high_uj = UINT64_MAX;
        wt_text(row->rule, sizeof(row->rule), "exclusive");
        wt_text(row->note, sizeof(row->note), "Slurm gave this GPU, and no sensor here reads it");
    }
    return 0;
}

static int add_rows(struct wt_accounts *a, const struct job *job, const struct step *step,
                    struct wt_job_row **rows, size_t *count, size_t *room)
{
    const struct place *places = step ? step->places : job->places;
    for (size_t i = 0; i < a->count; i++) {
        const struct device *d = &a->devices[i];
        if (!d->is_split || !(places[i].is_here || places[i].has_carry))
            continue;
        struct wt_job_row *row = wt_job_rows_add(rows, count, room);
        if (!row)
            return WT_E_NOMEM;
        row_of_job(a, job, step, row);
        memcpy(row->device, d->info->id, sizeof(row->device));
        memcpy(row->device_name, d->info->name, sizeof(row->device_name));
        row->kind = d->info->kind;
        row->index = (int)d->info->index;
        row->is_counted = d->info->is_counted;
        wt_accounts_fill(a, i, &places[i], job == &a->nobody, row);
        if (job->note[0] && !step)
            wt_text(row->note, sizeof(row->note), "%s", job->note);
    }
    return add_unseen(a, job, step, rows, count, room);
}

/* ---- what a restart finds ---- */

static size_t find_device(const struct wt_accounts *a, const char *id)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->devices[i].info->id, id) == 0)
            return i;
    return SIZE_MAX;
}

/* The most that a device drew unseen. False: no bound is known. */
static bool gap_uj(const struct wt_accounts *a, size_t i, int64_t gap_ns, uint64_t *ret_uj)
{
    *ret_uj = 0;
    if (gap_ns <= 0)
        return true;
    if (i == SIZE_MAX || !a->devices[i].power_max_mw)
        return false;
    *ret_uj = wt_energy_uj_from(a->devices[i].power_max_mw, (uint64_t)gap_ns);
    return true;
}

/* A stored row goes on: it is the beginning of this place, and from its last note until now (or its
 * end) nobody looked. */
static void take_up(struct wt_accounts *a, const struct wt_job_row *row, struct place *place,
                    size_t i, int64_t until_ns)
{
    uint64_t most_uj;
    int64_t gap_ns = until_ns > row->updated_ns ? until_ns - row->updated_ns : 0;
    place->has_carry = true;
    place->carry_uj = row->energy_uj;
    place->carry_low_uj = row->low_uj;
    place->carry_high_uj = row->high_uj;
    if (row->provenance != WT_PROV_UNKNOWN) {
        place->weakest = row->provenance;
        place->is_known = true;
    }
    place->gap_ns += row->gap_ns + gap_ns;
    if (gap_uj(a, i, gap_ns, &most_uj))
        place->gap_uj += most_uj;
    else
        place->is_unbounded = true;
}

/* Of a job whose begin nobody here saw there is a gap from there on. */
static void take_late(struct wt_accounts *a, struct place *place, size_t i, int64_t begin_ns,
                      int64_t until_ns)
{
    const struct wt_job_row none = {.updated_ns = begin_ns};
    if (place->has_carry || until_ns <= begin_ns)
        return;
    take_up(a, &none, place, i, until_ns);
    place->has_carry = false;
}

static struct step *step_named(struct job *job, const char *name, int64_t begin_ns)
{
    for (struct step *step = job->steps; step; step = step->next)
        if (strcmp(step->name, name) == 0 && step->begin_ns == begin_ns)
            return step;
    return NULL;
}

/* When these accounts began to look. */
static int64_t unix_begin_ns(const struct wt_accounts *a)
{
    return a->meter.unix_ns(a->meter.data) - (wt_ctx_now_ns(a->ctx) - a->base_begin_ns);
}

/* What the store knows of a job or steps that are new to us. */
static int take_up_job(struct wt_accounts *a, struct job *job, struct wt_error *err)
{
    struct wt_job_row *rows = NULL;
    size_t count = 0;
    const struct wt_job_filter filter = {.job = job->facts.job, .has_steps = true};
    int rc = wt_job_sqlite.list(a->store, &filter, &rows, &count, err);
    if (rc < 0)
        return rc;
    int64_t begun_ns = unix_begin_ns(a);
    for (size_t k = 0; k < count; k++) {
        const struct wt_job_row *row = &rows[k];
        size_t i = find_device(a, row->device);
        struct step *step = row->step[0] ? step_named(job, row->step, row->begin_ns) : NULL;
        if (row->step[0] ? !step || step->is_taken
                         : job->is_taken || row->begin_ns != job->facts.begin_ns)
            continue;
        bool is_ended = step ? step->is_ended : job->is_ended;
        int64_t end_ns = step ? step->end_ns : job->end_ns;
        if (row->state == WT_JOB_ENDED && is_ended) { /* died before the fact was removed */
            if (step)
                step->is_final = true;
            else
                job->is_final = true;
            continue;
        }
        if (i != SIZE_MAX)
            take_up(a, row, step ? &step->places[i] : &job->places[i], i,
                    is_ended && end_ns < begun_ns ? end_ns : begun_ns);
    }
    free(rows);
    return 0;
}

/* Before the first tick, devices were not looked at: what began before that has a gap. */
static void take_gaps(struct wt_accounts *a, struct job *job)
{
    int64_t begun_ns = unix_begin_ns(a);
    for (size_t i = 0; i < a->count; i++) {
        const struct device *d = &a->devices[i];
        bool is_gpu = d->info->kind == WT_DEVICE_GPU;
        if (!d->is_split)
            continue;
        if (!job->is_taken && (!is_gpu || wt_accounts_holds(a, job, NULL, i))) {
            int64_t until_ns = job->is_ended && job->end_ns < begun_ns ? job->end_ns : begun_ns;
            take_late(a, &job->places[i], i, job->facts.begin_ns, until_ns);
            job->places[i].is_here = true;
        }
        for (struct step *step = job->steps; step; step = step->next) {
            if (step->is_taken || (is_gpu && !wt_accounts_holds(a, job, step, i)))
                continue;
            int64_t until_ns = step->is_ended && step->end_ns < begun_ns ? step->end_ns : begun_ns;
            take_late(a, &step->places[i], i, step->begin_ns, until_ns);
            step->places[i].is_here = true;
        }
    }
}

/* Finds open rows of jobs that run no more, and of nobody: closes them as lost. */
static int close_lost(struct wt_accounts *a, struct wt_error *err)
{
    struct wt_job_row *rows = NULL;
    size_t count = 0, lost = 0;
    char boot[64] = "";
    const struct wt_job_filter filter = {.has_steps = true, .has_idle = true, .is_open_only = true};
    int rc = wt_job_sqlite.list(a->store, &filter, &rows, &count, err);
    if (rc == 0)
        rc = wt_job_sqlite_get(a->store, "boot", boot, sizeof(boot), err);
    int64_t now_ns = a->meter.unix_ns(a->meter.data);
    bool is_booted = strcmp(boot, a->meter.boot) != 0;
    for (size_t k = 0; rc == 0 && k < count; k++) {
        struct wt_job_row row = rows[k];
        bool is_alive = false;
        for (struct job *job = a->jobs; job && row.job; job = job->next)
            is_alive |= job->facts.job == row.job &&
                        (row.step[0] ? step_named(job, row.step, row.begin_ns) != NULL
                                     : job->facts.begin_ns == row.begin_ns) &&
                        find_device(a, row.device) != SIZE_MAX;
        if (is_alive)
            continue;
        uint64_t most_uj;
        int64_t until_ns = is_booted && a->meter.boot_ns < now_ns ? a->meter.boot_ns : now_ns;
        if (until_ns < row.updated_ns)
            until_ns = row.updated_ns;
        row.state = WT_JOB_LOST;
        row.end_ns = until_ns;
        row.gap_ns += until_ns - row.updated_ns;
        if (row.high_uj != UINT64_MAX &&
            gap_uj(a, find_device(a, row.device), until_ns - row.updated_ns, &most_uj) &&
            most_uj <= INT64_MAX - row.high_uj)
            row.high_uj += most_uj;
        else
            row.high_uj = UINT64_MAX;
        wt_text(row.note, sizeof(row.note), "%s",
                is_booted ? "the node was started anew: full power until then is the most"
                : row.job ? "its end was not seen: full power until now is the most"
                          : "nobody measured until the next start");
        rows[lost++] = row;
    }
    if (rc == 0 && lost)
        rc = wt_job_sqlite.write(a->store, rows, lost, err);
    if (rc == 0)
        rc = wt_job_sqlite_set(a->store, "boot", a->meter.boot, err);
    free(rows);
    return rc;
}

/* ---- the tick ---- */

/* JOB or JOB.STEP, as its file is called. */
static const char *name_of(char *buf, size_t size, const struct job *job, const struct step *step)
{
    return wt_text(buf, size, "%u%s%s", job->facts.job, step ? "." : "", step ? step->name : "");
}

static void forget(struct wt_accounts *a, const struct job *job, const struct step *step)
{
    char name[48];
    wt_accounts_forget(a, name_of(name, sizeof(name), job, step), step ? step->ino : job->ino,
                       step ? step->mtime_ns : job->mtime_ns);
}

/* All rows of a tick, which are written at once: a store asks its disk at each commit. */
struct batch {
    struct wt_job_row *rows; /* owned */
    size_t count, room;
    struct ended { /* whose file goes once they are written */
        struct job *job;
        struct step *step; /* NULL: the job */
        size_t at, count;
    } * ended; /* owned */
    size_t ended_count, ended_room;
};

static void batch_done(struct batch *b)
{
    free(b->rows);
    free(b->ended);
}

static int add_ended(struct wt_accounts *a, struct batch *b, struct job *job, struct step *step)
{
    if (b->ended_count == b->ended_room) {
        size_t more_room = b->ended_room ? b->ended_room * 2 : 16;
        struct ended *more = reallocarray(b->ended, more_room, sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        b->ended = more;
        b->ended_room = more_room;
    }
    size_t at = b->count;
    int rc = add_rows(a, job, step, &b->rows, &b->count, &b->room);
    b->ended[b->ended_count++] = (struct ended){job, step, at, b->count - at};
    return rc;
}

static int add_job(struct wt_accounts *a, struct batch *b, struct job *job, bool is_due)
{
    int rc = 0;
    for (struct step *step = job->steps; step && rc == 0; step = step->next)
        if (step->is_ended && !step->is_final)
            rc = add_ended(a, b, job, step);
        else if (!step->is_ended && (is_due || step->is_unwritten))
            rc = add_rows(a, job, step, &b->rows, &b->count, &b->room);
    if (rc == 0 && job->is_ended && !job->is_final)
        rc = add_ended(a, b, job, NULL);
    else if (rc == 0 && !job->is_ended && (is_due || job->is_unwritten))
        rc = add_rows(a, job, NULL, &b->rows, &b->count, &b->room);
    return rc;
}

/* They are in the store: users are told, and what told of them is done with. */
static void take_written(struct wt_accounts *a, const struct batch *b)
{
    for (size_t i = 0; i < b->ended_count; i++) {
        const struct ended *e = &b->ended[i];
        char text[2048], name[48];
        wt_accounts_leave_text(a, name_of(name, sizeof(name), e->job, e->step),
                               e->step ? e->step->ino : e->job->ino,
                               e->step ? e->step->mtime_ns : e->job->mtime_ns,
                               wt_accounts_text(text, sizeof(text), b->rows + e->at, e->count));
        if (e->step)
            e->step->is_final = true;
        else
            e->job->is_final = true;
        a->ended += !e->step;
    }
    for (struct job *job = a->jobs; job; job = job->next) {
        job->is_unwritten = false;
        for (struct step *step = job->steps; step; step = step->next)
            step->is_unwritten = false;
    }
}

/* What has ended and is in the store goes, and its file. */
static void sweep(struct wt_accounts *a)
{
    for (struct job **at = &a->jobs; *at;) {
        struct job *job = *at;
        for (struct step **to = &job->steps; *to;) {
            struct step *step = *to;
            if (!step->is_ended || !step->is_final) {
                to = &step->next;
                continue;
            }
            forget(a, job, step);
            *to = step->next;
            wt_accounts_step_free(step);
        }
        if (!job->is_ended || !job->is_final || job->steps) {
            at = &job->next;
            continue;
        }
        forget(a, job, NULL);
        *at = job->next;
        wt_accounts_job_free(job);
    }
}

/* Nobody's rows begin: up to their end they have one key. */
static void begin_nobody(struct wt_accounts *a, int64_t begin_ns)
{
    struct wt_job_facts *f = &a->nobody.facts;
    memcpy(f->cluster, a->cluster, sizeof(f->cluster));
    memcpy(f->node, a->node, sizeof(f->node));
    f->begin_ns = begin_ns;
    a->nobody.is_ended = false;
    a->nobody.end_ns = 0;
    a->is_nobody_written = false;
    memset(a->nobody.places, 0, a->count * sizeof(*a->nobody.places));
    for (size_t i = 0; i < a->count; i++)
        a->nobody.places[i].is_here = a->devices[i].is_split;
}

/* They end with the day (UTC), so that a sum over some days holds no more than those, and when a
 * job tells another cluster or name of the node than was thought. */
static bool is_nobodys_end(struct wt_accounts *a)
{
    struct wt_job_facts *f = &a->nobody.facts;
    bool is_other = strcmp(f->cluster, a->cluster) != 0 || strcmp(f->node, a->node) != 0;
    if (is_other && !a->is_nobody_written) {
        memcpy(f->cluster, a->cluster, sizeof(f->cluster));
        memcpy(f->node, a->node, sizeof(f->node));
        is_other = false;
    }
    return is_other || a->split_unix_ns / DAY_NS != f->begin_ns / DAY_NS;
}

/* Writes what is due. is_last: nobody measures from here on. */
static int write_tick(struct wt_accounts *a, bool is_due, bool is_last, struct wt_error *err)
{
    struct batch b = {0};
    bool is_turn = is_last || is_nobodys_end(a);
    int rc = is_turn ? wt_accounts_split_turn(a, err) : 0;
    if (rc < 0)
        return rc;
    a->nobody.is_ended = is_turn;
    a->nobody.end_ns = is_turn ? a->split_unix_ns : 0;
    for (struct job *job = a->jobs; job && rc == 0; job = job->next)
        rc = add_job(a, &b, job, is_due);
    if (rc == 0 && (is_due || is_turn))
        rc = add_rows(a, &a->nobody, NULL, &b.rows, &b.count, &b.room);
    if (rc < 0)
        wt_fail(err, rc, "no memory for the rows of jobs");
    else if (b.count)
        rc = wt_job_sqlite.write(a->store, b.rows, b.count, err);
    a->nobody.is_ended = false;
    a->nobody.end_ns = 0;
    if (rc == 0) {
        take_written(a, &b);
        a->is_nobody_written |= is_due;
        if (is_turn)
            begin_nobody(a, a->split_unix_ns);
        if (a->sender && (is_due || b.ended_count))
            wt_job_sender_wake(a->sender);
    }
    batch_done(&b);
    return rc;
}

static int show(struct wt_accounts *a)
{
    struct wt_job_row *rows = NULL;
    size_t count = 0, room = 0, jobs = 0, steps = 0;
    int rc = 0;
    for (const struct job *job = a->jobs; job && rc == 0; job = job->next) {
        if (job->is_ended)
            continue;
        jobs++;
        rc = add_rows(a, job, NULL, &rows, &count, &room);
        for (const struct step *step = job->steps; step && rc == 0; step = step->next) {
            if (step->is_ended)
                continue;
            steps++;
            rc = add_rows(a, job, step, &rows, &count, &room);
        }
    }
    if (rc == 0)
        rc = add_rows(a, &a->nobody, NULL, &rows, &count, &room);
    if (rc < 0) {
        free(rows);
        return rc;
    }
    pthread_mutex_lock(&a->lock);
    free(a->shown.rows);
    a->shown.rows = rows;
    a->shown.row_count = count;
    for (size_t i = 0; i < a->count; i++) {
        struct wt_account_device *out = &a->shown.devices[i];
        const struct device *d = &a->devices[i];
        out->device_uj = d->device_uj;
        out->idle_uj = d->idle_uj;
        out->jobs_uj = d->jobs_uj;
    }
    a->shown.status.jobs = jobs;
    a->shown.status.steps = steps;
    a->shown.status.ended = a->ended;
    a->shown.status.has_facts = a->has_facts;
    wt_text(a->shown.status.problem, sizeof(a->shown.status.problem), "%.199s",
            a->first.code ? a->first.text : "");
    pthread_mutex_unlock(&a->lock);
    return 0;
}

/* Said once, and once more when it is over. */
static void log_trouble(struct wt_accounts *a)
{
    const char *now = a->first.code ? a->first.text : "";
    if (strncmp(now, a->problem, sizeof(a->problem) - 1) == 0)
        return;
    if (now[0])
        wt_log(a->ctx, WT_LOG_WARN, "jobs", "%s", now);
    else
        wt_log(a->ctx, WT_LOG_INFO, "jobs", "all is well again");
    wt_text(a->problem, sizeof(a->problem), "%.199s", now);
}

static int begin_new(struct wt_accounts *a, struct wt_error *err)
{
    for (struct job *job = a->jobs; job; job = job->next) {
        bool is_taken = job->is_taken;
        for (const struct step *step = job->steps; step; step = step->next)
            is_taken &= step->is_taken;
        if (is_taken)
            continue;
        int rc = take_up_job(a, job, err);
        if (rc < 0)
            return rc;
        take_gaps(a, job);
        if (!job->is_taken) {
            int64_t t_ns = wt_accounts_mono_ns(a, job->facts.begin_ns);
            job->from_ns = t_ns > a->base_begin_ns ? t_ns : a->base_begin_ns;
            job->is_unwritten = job->is_taken = true;
        }
        for (struct step *step = job->steps; step; step = step->next) {
            step->is_unwritten |= !step->is_taken;
            step->is_taken = true; /* even if this tick fails: a gap counts once */
        }
    }
    return 0;
}

static void prune(struct wt_accounts *a)
{
    struct wt_error err;
    int64_t now_ns = wt_ctx_now_ns(a->ctx);
    if (a->pruned_ns && now_ns - a->pruned_ns < PRUNE_NS)
        return;
    a->pruned_ns = now_ns;
    int rc = wt_job_sqlite_prune(a->store, a->meter.unix_ns(a->meter.data) - a->keep_ns,
                                 a->sender != NULL, &err);
    wt_accounts_trouble(a, rc, &err);
}

int wt_accounts_tick(struct wt_accounts *a, struct wt_error *err)
{
    struct wt_error why = {0};
    a->first = (struct wt_error){0};
    int rc = wt_accounts_scan(a, &why);
    /* A store that cannot be read now: what is new waits as new. */
    bool is_ready = rc == 0 && wt_accounts_trouble(a, begin_new(a, &why), &why) == 0;
    if (is_ready && !a->has_begun) {
        is_ready = wt_accounts_trouble(a, close_lost(a, &why), &why) == 0;
        a->has_begun = is_ready;
    }
    if (is_ready)
        rc = wt_accounts_split(a, &why);
    if (rc < 0)
        wt_accounts_trouble(a, rc, &why);
    a->is_ready = rc == 0 && is_ready;
    if (a->is_ready) {
        int64_t now_ns = wt_ctx_now_ns(a->ctx);
        bool is_due = !a->noted_ns || now_ns - a->noted_ns >= a->note_ns;
        if (wt_accounts_trouble(a, write_tick(a, is_due, false, &why), &why) == 0 && is_due)
            a->noted_ns = now_ns;
        sweep(a);
        wt_accounts_map(a);
        prune(a);
    }
    if (show(a) < 0)
        wt_accounts_trouble(a, wt_fail(&why, WT_E_NOMEM, "no memory to show the jobs"), &why);
    log_trouble(a);
    if (a->first.code && err)
        *err = a->first;
    return a->first.code;
}

/* ---- what others ask for ---- */

int wt_accounts_list(struct wt_accounts *a, bool has_steps, struct wt_job_row **ret_rows,
                     size_t *ret_count, struct wt_error *err)
{
    pthread_mutex_lock(&a->lock);
    size_t count = 0;
    struct wt_job_row *rows = calloc(a->shown.row_count + 1, sizeof(*rows));
    for (size_t i = 0; rows && i < a->shown.row_count; i++)
        if (has_steps || !a->shown.rows[i].step[0] || !a->shown.rows[i].job)
            rows[count++] = a->shown.rows[i];
    pthread_mutex_unlock(&a->lock);
    if (!rows)
        return wt_fail(err, WT_E_NOMEM, "no memory to list the jobs");
    *ret_rows = rows;
    *ret_count = count;
    return 0;
}

int wt_accounts_devices(struct wt_accounts *a, struct wt_account_device **ret_devices,
                        size_t *ret_count, struct wt_error *err)
{
    struct wt_account_device *devices = calloc(a->count + 1, sizeof(*devices));
    size_t count = 0;
    if (!devices)
        return wt_fail(err, WT_E_NOMEM, "no memory to list the devices");
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->count; i++)
        if (a->devices[i].is_split)
            devices[count++] = a->shown.devices[i];
    pthread_mutex_unlock(&a->lock);
    *ret_devices = devices;
    *ret_count = count;
    return 0;
}

void wt_accounts_status(struct wt_accounts *a, struct wt_accounts_status *ret_status)
{
    pthread_mutex_lock(&a->lock);
    *ret_status = a->shown.status;
    pthread_mutex_unlock(&a->lock);
    if (a->sender)
        wt_job_sender_status(a->sender, ret_status);
}

/* ---- begin and end ---- */

static const char *or_else(const char *text, const char *other)
{
    return text ? text : other;
}

static int open_devices(struct wt_accounts *a, const struct wt_device_info *const *infos,
                        const uint64_t *power_max_mw)
{
    a->devices = calloc(a->count + 1, sizeof(*a->devices));
    a->shown.devices = calloc(a->count + 1, sizeof(*a->shown.devices));
    a->nobody.places = calloc(a->count + 1, sizeof(*a->nobody.places));
    if (!a->devices || !a->shown.devices || !a->nobody.places)
        return WT_E_NOMEM;
    for (size_t i = 0; i < a->count; i++) {
        struct device *d = &a->devices[i];
        struct wt_account_device *out = &a->shown.devices[i];
        d->info = infos[i];
        /* A GPU that nothing measures is a job's, and said; of what a host has no sensor for there
         * is nothing to say. */
        d->is_split = !infos[i]->is_part && (infos[i]->kind == WT_DEVICE_GPU ||
                                             (infos[i]->can & (WT_CAN_ENERGY | WT_CAN_POWER)));
        d->power_max_mw =
            infos[i]->power_max_mw || !power_max_mw ? infos[i]->power_max_mw : power_max_mw[i];
        a->has_nvml |=
            d->is_split && infos[i]->kind == WT_DEVICE_GPU && strcmp(infos[i]->source, "nvml") == 0;
        a->has_cpu |= d->is_split && infos[i]->kind != WT_DEVICE_GPU;
        memcpy(out->id, infos[i]->id, sizeof(out->id));
        out->kind = infos[i]->kind;
        out->index = (int)infos[i]->index;
        out->is_counted = infos[i]->is_counted;
    }
    return 0;
}

static void name_node(struct wt_accounts *a, const char *node)
{
    char host[65] = "";
    if (!node && gethostname(host, sizeof(host) - 1) == 0) {
        host[strcspn(host, ".")] = '\0';
        node = host;
    }
    wt_text(a->node, sizeof(a->node), "%s", node ? node : "");
}

/* Two that keep one store would each take what the other measures for theirs, and close it. */
static int lock_store(struct wt_accounts *a, const char *file, struct wt_error *err)
{
    char path[4200], pid[16] = "";
    wt_text(path, sizeof(path), "%s.lock", file);
    a->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (a->lock_fd < 0)
        return wt_fail_errno(err, errno, "%.300s", path);
    if (flock(a->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        wt_text(pid, sizeof(pid), "%d\n", (int)getpid());
        if (ftruncate(a->lock_fd, 0) < 0 || write(a->lock_fd, pid, strlen(pid)) < 0)
            pid[0] = '\0'; /* it holds all the same */
        return 0;
    }
    if (errno != EWOULDBLOCK)
        return 0; /* a folder without locks: shared, or of another kind of system */
    ssize_t n = read(a->lock_fd, pid, sizeof(pid) - 1);
    pid[n > 0 ? n : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    wt_fail(err, WT_E_STATE, "%.300s: process %s keeps the energy of jobs there", file,
            pid[0] ? pid : "?");
    wt_fix(err,
           "systemctl status wattune-serve; end that one, keep these elsewhere (--store FILE), "
           "or keep none (--no-jobs)");
    return WT_E_STATE;
}

static int open_stores(struct wt_accounts *a, const struct wt_accounts_options *o,
                       struct wt_error *err)
{
    const char *file = or_else(o->store, WT_JOB_STORE_FILE);
    if (wt_job_is_postgres(file)) {
        wt_fail(err, WT_E_USAGE, "a node's own store is a file: a PostgreSQL is the central one");
        wt_fix(err, "--push postgresql://..., beside --store FILE");
        return WT_E_USAGE;
    }
    int rc = wt_job_sqlite.open(&a->store, file, true, err);
    if (rc == 0)
        rc = lock_store(a, file, err);
    if (rc == 0)
        wt_text(a->shown.status.store, sizeof(a->shown.status.store), "%.255s", file);
    if (rc == 0 && o->central)
        rc = wt_job_sender_new(&a->sender, file, o->central, err);
    return rc;
}

int wt_accounts_new_over(struct wt_accounts **ret_accounts, struct wt_ctx *ctx,
                         const struct wt_device_info *const *infos, const uint64_t *power_max_mw,
                         size_t count, const struct wt_accounts_meter *meter,
                         const struct wt_accounts_options *options, struct wt_error *err)
{
    static const struct wt_accounts_options none;
    const struct wt_accounts_options *o = options ? options : &none;
    struct wt_accounts *a = calloc(1, sizeof(*a));
    if (!a)
        return wt_fail(err, WT_E_NOMEM, "no memory for the accounts");
    pthread_mutex_init(&a->lock, NULL);
    a->ctx = ctx;
    a->meter = *meter;
    a->count = count;
    a->note_ns = o->note_ns > 0 ? o->note_ns : NOTE_NS;
    a->keep_ns = (o->keep_days > 0 ? o->keep_days : KEEP_DAYS) * DAY_NS;
    wt_text(a->facts_dir, sizeof(a->facts_dir), "%s", or_else(o->facts_dir, WT_JOB_FACTS_DIR));
    wt_text(a->mapping_dir, sizeof(a->mapping_dir), "%s", or_else(o->mapping_dir, ""));
    wt_text(a->cluster, sizeof(a->cluster), "%s", or_else(o->cluster, ""));
    name_node(a, o->node);
    a->lock_fd = -1;
    a->is_mapping_stale = true;
    int rc = open_devices(a, infos, power_max_mw);
    if (rc < 0)
        wt_fail(err, rc, "no memory for the accounts");
    else
        rc = open_stores(a, o, err);
    if (rc == 0)
        rc = wt_accounts_split_begin(a, err);
    if (rc == 0)
        begin_nobody(a, a->split_unix_ns);
    if (rc < 0) {
        wt_accounts_free(a);
        return rc;
    }
    *ret_accounts = a;
    return 0;
}

void wt_accounts_free(struct wt_accounts *a)
{
    if (!a)
        return;
    if (a->has_begun) {
        if (a->is_ready) /* what was drawn since the last tick is theirs, too */
            wt_accounts_split(a, NULL);
        write_tick(a, true, true, NULL);
        wt_accounts_hide(a);
    }
    wt_job_sender_free(a->sender);
    wt_accounts_unmap(a);
    if (a->devices)
        wt_accounts_split_end(a);
    while (a->jobs) {
        struct job *next = a->jobs->next;
        wt_accounts_job_free(a->jobs);
        a->jobs = next;
    }
    wt_job_sqlite.close(a->store);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
    free(a->nobody.places);
    free(a->devices);
    free(a->shown.devices);
    free(a->shown.rows);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- over a real meter ---- */

static int real_begin_at(void *data, int64_t t_ns, uint64_t *ret_window)
{
    return wt_meter_begin_at(data, "job", t_ns, ret_window);
}

static int real_end_at(void *data, uint64_t window, int64_t t_ns)
{
    return wt_meter_end_at(data, window, t_ns);
}

static int real_cancel(void *data, uint64_t window)
{
    return wt_meter_cancel(data, window);
}

static void real_wait(void *data, int64_t t_ns)
{
    wt_meter_wait(data, t_ns, WAIT_NS);
}

static int real_result(void *data, uint64_t window, struct wt_window_result *ret,
                       struct wt_error *err)
{
    return wt_meter_result(data, window, 0, ret, err);
}

static int real_peek(void *data, uint64_t window, size_t device, struct wt_window_device *ret,
                     struct wt_error *err)
{
    return wt_meter_peek_device(data, window, device, ret, err);
}

static int64_t real_unix_ns(void *data)
{
    (void)data;
    return wt_clock_unix_ns();
}

/* The most that a GPU may draw, where its sensor does not say: the highest limit it takes. */
static uint64_t highest_limit_mw(struct wt_devices *devices, size_t i)
{
    struct wt_knob_info info;
    if (wt_devices_info(devices, i)->kind != WT_DEVICE_GPU ||
        wt_devices_knob(devices, i, WT_KNOB_POWER, &info, NULL) < 0 || info.max <= 0)
        return 0;
    return (uint64_t)info.max;
}

int wt_accounts_new(struct wt_accounts **ret_accounts, struct wt_ctx *ctx,
                    struct wt_devices *devices, struct wt_meter *meter,
                    const struct wt_accounts_options *options, struct wt_error *err)
{
    size_t count = wt_devices_count(devices);
    const struct wt_device_info **infos = calloc(count + 1, sizeof(*infos));
    uint64_t *power_max_mw = calloc(count + 1, sizeof(*power_max_mw));
    struct timespec since;
    clock_gettime(CLOCK_BOOTTIME, &since);
    int rc = infos && power_max_mw ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for the accounts");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        infos[i] = wt_devices_info(devices, i);
        power_max_mw[i] = infos[i]->power_max_mw ? 0 : highest_limit_mw(devices, i);
    }
    struct wt_accounts_meter real = {
        .begin_at = real_begin_at,
        .end_at = real_end_at,
        .cancel = real_cancel,
        .wait = real_wait,
        .result = real_result,
        .peek = real_peek,
        .data = meter,
        .unix_ns = real_unix_ns,
        .boot_ns = wt_clock_unix_ns() - (int64_t)since.tv_sec * WT_NS_PER_S - since.tv_nsec,
    };
    if (wt_fs_read(NULL, "/proc/sys/kernel/random/boot_id", real.boot, sizeof(real.boot), NULL) < 0)
        real.boot[0] = '\0';
    if (rc == 0)
        rc = wt_accounts_new_over(ret_accounts, ctx, infos, power_max_mw, count, &real, options,
                                  err);
    free(infos);
    free(power_max_mw);
    return rc;
}
