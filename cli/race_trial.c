/* race_trial: one training of a race - its process group, and the losses that it tells: through the
 * door, in lines on stdout, or in a CSV that grows. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "race.h"

/* A curve's first line, before its header: where its energies come from, the last and its bounds.
 */
#define SPENT "# energy_j"
/* Steps, seconds and joules that are spent and not in the curve, and the furthest step. */
#define AGAIN "# run again"
/* It went on when this was written, or had in a race that was killed then: not all that it ran is
 * known. */
#define RUN_ON "# ran on"

static int fail_file(struct wt_error *err, const char *path, const char *what)
{
    return cli_error(err, WT_E_IO, "", "%.400s: %s: %s", path, what, strerror(errno));
}

/* ---- its process ---- */

int race_trial_start(struct race_trial *t, bool is_end, const char *cuda, struct wt_error *err)
{
    int rc = 0;
    if (t->log_fd < 0) {
        t->log_fd = open(t->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (t->log_fd < 0)
            return fail_file(err, t->log, "cannot be written");
        struct stat st;
        t->out.at = fstat(t->log_fd, &st) == 0 ? st.st_size : 0; /* of a race that is resumed */
    }
    if (!t->keeper && (rc = wt_doorkeeper_new(&t->keeper, NULL, err)) < 0)
        return rc;
    if (t->loss_file && t->csv.fd < 0 && !t->lives) {
        /* What is there already is an older training's. */
        struct stat st;
        t->csv.at = stat(t->loss_file, &st) == 0 ? st.st_size : 0;
        t->csv.inode = t->csv.at ? st.st_ino : 0;
    }
    char door[] = "WATTUNE_DOOR", visible[] = "CUDA_VISIBLE_DEVICES";
    char *env[5] = {door, (char *)(uintptr_t)wt_doorkeeper_path(t->keeper)};
    if (cuda) {
        env[2] = visible;
        env[3] = (char *)(uintptr_t)cuda;
    }
    t->child = (struct cli_child){.output_fd = t->log_fd,
                                  .is_error_moved = true,
                                  .terminal_fd = -1,
                                  .is_group = true,
                                  .env = env};
    /* One that begins anew counts from 0, and what it says of steps that are known is left out. */
    t->base = is_end && t->count ? t->points[t->count - 1].step : 0;
    t->twice.before = t->count ? fmax(t->points[t->count - 1].step, t->step) : 0;
    t->twice.at = !is_end ? 0 : t->source->progress || t->loss_file ? NAN : t->twice.before;
    t->step = t->source->progress || t->loss_file ? 0 : t->base;
    t->steps = (struct cli_steps){0};
    t->has_new_loss = t->has_said = t->has_step = t->has_loss = false;
    t->epochs_steps = 0;
    t->order = RACE_ORDER_UNKNOWN;
    rc = cli_child_start(&t->child, is_end && t->base > 0 && t->again ? t->again : t->command, err);
    t->child.env = NULL;
    if (rc < 0)
        return rc;
    t->process = RACE_RUNS;
    t->is_over = t->is_killed = false;
    t->lives++;
    return 0;
}

static void tell_group(const struct race_trial *t, int number)
{
    kill(-t->child.pid, number);
}

void race_trial_stop(struct race_trial *t)
{
    if (t->process != RACE_RUNS)
        return;
    tell_group(t, SIGSTOP);
    t->process = RACE_STOPPED;
}

void race_trial_go_on(struct race_trial *t)
{
    if (t->process != RACE_STOPPED)
        return;
    tell_group(t, SIGCONT);
    t->process = RACE_RUNS;
}

void race_trial_end(struct race_trial *t, int number, int64_t grace_ns)
{
    if (t->process == RACE_NONE || t->process == RACE_ENDING)
        return;
    tell_group(t, number);
    tell_group(t, SIGCONT);
    t->process = RACE_ENDING;
    t->deadline_ns = cli_now_ns() + grace_ns;
}

bool race_trial_look(struct race_trial *t)
{
    if (t->process == RACE_NONE)
        return false;
    if (cli_child_wait(&t->child, 0)) {
        t->is_over = t->process != RACE_ENDING;
        t->exit_code = cli_child_exit_code(&t->child);
        tell_group(t, SIGKILL); /* what it left behind would be in the others' energy */
        cli_child_done(&t->child);
        t->process = RACE_NONE;
    } else if (t->process == RACE_ENDING && !t->is_killed && cli_now_ns() > t->deadline_ns) {
        tell_group(t, SIGKILL);
        t->is_killed = true;
        return true;
    }
    return false;
}

/* ---- what it says ---- */

static int add(struct race_trial *t, const struct race_point *point)
{
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 64;
        void *more = realloc(t->points, room * sizeof(*t->points));
        if (!more)
            return WT_E_NOMEM;
        t->points = more;
        t->room = room;
    }
    t->points[t->count++] = *point;
    return 0;
}

/* Of a step that is known already (run again) nothing is kept. */
static void say(struct race_trial *t)
{
    t->has_new_loss = false;
    if (!(t->step > (t->count ? t->points[t->count - 1].step : 0)))
        return;
    const struct race_point point = {t->step, t->loss, race_trial_run_s(t) - t->twice.run_s, NAN};
    /* Of a race that was killed it may have kept more than was saved here. */
    if (t->has_run_on && t->base > 0 && t->count == t->known)
        t->is_skipped = t->step > t->points[t->count - 1].step * (1 + 1.5 / (double)t->count);
    if (add(t, &point) < 0)
        cli_note("%s: no memory for a point of its curve", t->name);
}

/* Until now its process only came to what the curve has already. */
static void put_again(struct race_trial *t)
{
    t->twice.until_s = race_trial_run_s(t);
    t->twice.run_s = t->twice.until_s - t->points[t->count - 1].run_s;
}

/* One that was told to end goes on from where it says. */
static void count_again(struct race_trial *t)
{
    double last = t->count ? t->points[t->count - 1].step : 0, gap = last / (double)t->count;
    if (!(t->twice.before > 0))
        return;
    if (isnan(t->twice.at))
        t->twice.at = t->step > t->twice.before ? t->twice.before : fmax(0, t->step - gap);
    double at = fmin(t->step, t->twice.before);
    if (at > t->twice.at) {
        t->twice.steps += at - t->twice.at;
        t->twice.at = at;
        if (t->step <= last)
            put_again(t);
    }
    if (t->step >= t->twice.before)
        t->twice.before = 0;
}

void race_trial_close_again(struct race_trial *t)
{
    if (t->count && t->twice.before > 0 && t->step < t->points[t->count - 1].step)
        put_again(t);
}

/* Whichever a process tells first, step or loss, it tells first of every step. */
static void said_step(struct race_trial *t, double step)
{
    t->has_step = true;
    if (t->order == RACE_ORDER_UNKNOWN)
        t->order = RACE_STEP_FIRST;
    if (step <= t->step)
        return;
    t->step = step;
    count_again(t);
    if (t->order == RACE_LOSS_FIRST && t->has_new_loss)
        say(t);
}

static void said_loss(struct race_trial *t, double loss)
{
    t->has_loss = true;
    if (t->order == RACE_ORDER_UNKNOWN)
        t->order = RACE_LOSS_FIRST;
    t->loss = loss;
    t->has_new_loss = true;
    if (t->order == RACE_STEP_FIRST)
        say(t);
}

/* A number as the program says it. One that falls to where it began to count is the next epoch's;
 * one that falls by less is another rank's, a little behind. */
static void said_number(struct race_trial *t, double number)
{
    if (t->has_said && number <= t->first_said && number < t->last_said) {
        t->epochs_steps += t->last_said;
        t->last_said = number;
    } else if (!t->has_said) {
        t->first_said = t->last_said = number;
    } else if (number > t->last_said) {
        t->last_said = number;
    }
    t->has_said = true;
    said_step(t, t->epochs_steps + t->last_said);
}

struct hearing {
    struct race_trial *t;
    void (*fn)(void *data, const struct wt_mark *mark);
    void *data;
};

static void take_mark(void *data, const struct wt_mark *mark)
{
    struct hearing *h = data;
    double value, steps = (double)cli_steps_take(&h->t->steps, mark);
    switch (mark->kind) {
    case WT_MARK_STEP:
        if (!h->t->source->progress)
            said_step(h->t, h->t->base + steps);
        break;
    case WT_MARK_VALUE:
        memcpy(&value, &mark->count, sizeof(value));
        if (!h->t->source->wanted && !h->t->loss_file &&
            strcmp(mark->name, h->t->source->loss) == 0)
            said_loss(h->t, value);
        break;
    case WT_MARK_WORK:
        h->fn(h->data, mark);
        break;
    case WT_MARK_BEGIN:
    case WT_MARK_END: /* the phases of a race are its trials */
    case WT_MARK_GONE:
        break;
    }
}

/* All of the text a number; "nan" and "inf" are some. */
static bool read_number(const char *text, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    return end > text && end[strspn(end, " \t\r")] == '\0';
}

static void take_output(struct race_trial *t, char *line, size_t length)
{
    char word[64];
    double number;
    if (cli_pattern_find(t->source->progress, line, length, word, sizeof(word)) &&
        read_number(word, &number))
        said_number(t, number);
    if (cli_pattern_find(t->source->wanted, line, length, word, sizeof(word)) &&
        read_number(word, &number))
        said_loss(t, number);
}

char *race_cell(char **io_line)
{
    char *cell = strsep(io_line, ",");
    if (!cell)
        return NULL;
    cell += strspn(cell, " \t\"");
    size_t length = strcspn(cell, "\"\r\n");
    while (length && (cell[length - 1] == ' ' || cell[length - 1] == '\t'))
        length--;
    cell[length] = '\0';
    return cell;
}

static void read_columns(struct race_trial *t, char *line)
{
    char *name;
    t->csv.step_column = t->csv.loss_column = -1;
    for (int n = 0; (name = race_cell(&line)) != NULL; n++) {
        if (strcasecmp(name, "step") == 0)
            t->csv.step_column = n;
        else if (strcasecmp(name, t->source->loss) == 0)
            t->csv.loss_column = n;
    }
}

static void take_row(struct race_trial *t, char *line, size_t length)
{
    const char *step = "", *loss = "", *cell;
    double number;
    (void)length;
    if (*line == '#')
        return;
    if (t->csv.step_column < 0 || t->csv.loss_column < 0) {
        read_columns(t, line);
        return;
    }
    for (int n = 0; (cell = race_cell(&line)) != NULL; n++) {
        step = n == t->csv.step_column ? cell : step;
        loss = n == t->csv.loss_column ? cell : loss;
    }
    if (!read_number(step, &number))
        return;
    said_number(t, number);
    if (read_number(loss, &number))
        said_loss(t, number);
}

/* A header that lies before where we begin to read. */
static void read_header(struct race_trial *t)
{
    char line[4096];
    ssize_t n = pread(t->csv.fd, line, sizeof(line) - 1, 0);
    char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    if (!end)
        return;
    *end = '\0';
    read_columns(t, line);
}

static void follow(struct race_trial *t, struct race_follow *f, const char *path,
                   void (*fn)(struct race_trial *t, char *line, size_t length))
{
    struct stat st;
    char buf[16384];
    ssize_t n;
    if (stat(path, &st) < 0)
        return;
    if (f->fd >= 0 && st.st_ino != f->inode) { /* another file stands there now */
        close(f->fd);
        f->fd = -1;
    }
    if (f->fd < 0) {
        f->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (f->fd < 0)
            return;
        if (st.st_ino != f->inode && f->inode)
            f->at = 0;
        f->inode = st.st_ino;
        f->used = 0;
        if (f == &t->csv && f->at > 0)
            read_header(t);
    }
    if (st.st_size < f->at) { /* begun anew */
        f->at = 0;
        f->used = 0;
        f->step_column = f->loss_column = -1;
    }
    while ((n = pread(f->fd, buf, sizeof(buf), f->at)) > 0) {
        f->at += n;
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != '\n' && buf[i] != '\r') {
                f->is_cut |= f->used == sizeof(f->line) - 1;
                if (f->used < sizeof(f->line) - 1)
                    f->line[f->used++] = buf[i];
                continue;
            }
            f->line[f->used] = '\0';
            if (f->used && !f->is_cut)
                fn(t, f->line, f->used);
            f->used = 0;
            f->is_cut = false;
        }
    }
}

void race_trial_hear(struct race_trial *t, void (*fn)(void *data, const struct wt_mark *mark),
                     void *data)
{
    struct hearing h = {.t = t, .fn = fn, .data = data};
    if (t->keeper)
        wt_doorkeeper_drain(t->keeper, take_mark, &h, NULL, NULL);
    if (t->source->progress || t->source->wanted)
        follow(t, &t->out, t->log, take_output);
    if (t->loss_file && t->lives)
        follow(t, &t->csv, t->loss_file, take_row);
}

/* ---- its curve ---- */

double race_trial_run_s(const struct race_trial *t)
{
    return t->run_s + (t->since_ns ? (double)(cli_now_ns() - t->since_ns) * 1e-9 : 0);
}

int race_trial_save(const struct race_trial *t, const char *remark, bool is_going_on,
                    struct wt_error *err)
{
    char *text = NULL;
    size_t size = 0;
    bool has_energy = t->count > 0;
    double last = t->count ? t->points[t->count - 1].step : 0;
    double furthest = fmax(t->step, fmax(t->twice.before, last));
    for (size_t i = 0; i < t->count; i++)
        has_energy &= t->points[i].energy_j > 0 &&
                      t->points[i].energy_j >= (i ? t->points[i - 1].energy_j : 0);
    FILE *out = open_memstream(&text, &size);
    for (size_t i = 0; out && i < t->count; i++) {
        const struct race_point *p = &t->points[i];
        if (i == 0 && remark)
            fprintf(out, "# %s\n", remark);
        if (i == 0 && (is_going_on || t->has_run_on))
            fprintf(out, RUN_ON "\n");
        if (i == 0 && t->has_spent && t->spent.provenance != WT_PROV_UNKNOWN)
            fprintf(out, SPENT " %s %.10g %.10g %.10g\n", wt_provenance_name(t->spent.provenance),
                    t->spent.energy_j, t->spent.low_j, t->spent.high_j);
        if (i == 0 && (t->twice.steps > 0 || t->twice.run_s > 0 || furthest > last))
            fprintf(out, AGAIN " %.10g %.6g %.10g %.10g\n", t->twice.steps, t->twice.run_s,
                    t->twice.run_j, furthest);
        if (i == 0)
            fprintf(out, "step,loss,run_s%s\n", has_energy ? ",energy_j" : "");
        fprintf(out, "%.10g,%.10g,%.6g", p->step, p->loss, p->run_s);
        if (has_energy)
            fprintf(out, ",%.10g", p->energy_j);
        fputc('\n', out);
    }
    if (!out || fclose(out) != 0) {
        free(text);
        return err->code = WT_E_NOMEM;
    }
    int rc = t->count ? wt_file_write(t->curve, text, err) : 0;
    free(text);
    return rc;
}

int race_trial_read(struct race_trial *t, struct wt_error *err)
{
    char line[256];
    FILE *in = fopen(t->curve, "re");
    if (!in && errno != ENOENT)
        return fail_file(err, t->curve, "cannot be read");
    if (!in) { /* a log alone: it was started, and had told nothing that was saved */
        t->has_run_on = access(t->log, F_OK) == 0;
        return 0;
    }
    int rc = 0;
    while (rc == 0 && fgets(line, sizeof(line), in)) {
        struct race_point p = {.energy_j = NAN};
        char word[16];
        if (sscanf(line, SPENT " %15s %lf %lf %lf", word, &t->spent.energy_j, &t->spent.low_j,
                   &t->spent.high_j) == 4)
            t->spent.provenance = wt_provenance_from_name(word);
        sscanf(line, AGAIN " %lf %lf %lf %lf", &t->twice.steps, &t->twice.run_s, &t->twice.run_j,
               &t->step);
        t->has_run_on |= strncmp(line, RUN_ON, strlen(RUN_ON)) == 0;
        if (*line == '#' || strncmp(line, "step,", 5) == 0)
            continue;
        if (sscanf(line, "%lf,%lf,%lf,%lf", &p.step, &p.loss, &p.run_s, &p.energy_j) < 3 ||
            !(p.step > (t->count ? t->points[t->count - 1].step : 0))) {
            rc = cli_error(err, WT_E_FORMAT, "race in another --folder, or mend the file",
                           "%.300s: \"%.40s\" is no line of a race's curve", t->curve, line);
        } else {
            rc = add(t, &p);
        }
    }
    fclose(in);
    if (rc == 0 && t->count) {
        t->run_s = t->points[t->count - 1].run_s + t->twice.run_s;
        t->has_spent = true;
        t->known = t->count;
    }
    return rc;
}

void race_trial_done(struct race_trial *t)
{
    int fds[] = {t->log_fd, t->out.fd, t->csv.fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    wt_doorkeeper_free(t->keeper);
    cli_params_free(t->command);
    cli_params_free(t->again);
    free(t->loss_file);
    free(t->points);
}
