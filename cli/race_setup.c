/* race_setup: a race of commands before it begins - its trials and their names, the folder, who
 * runs where. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

/* GPUs of each slot; one slot alone sees what we see. Returns an exit code, or -1. */
int race_make_slots(struct race_live *l)
{
    size_t gpus = 0, all[RACE_DEVICES_MAX];
    l->slot_count = l->o->at_once;
    l->slots = calloc(l->slot_count, sizeof(*l->slots));
    if (!l->slots)
        return CLI_FAILURE;
    for (size_t i = 0; i < l->slot_count; i++)
        l->slots[i].trial = SIZE_MAX;
    for (size_t i = 0; i < wt_devices_count(l->m.bed->devices) && gpus < RACE_DEVICES_MAX; i++) {
        const struct wt_device_info *info = wt_devices_info(l->m.bed->devices, i);
        if (info->kind == WT_DEVICE_GPU && info->is_counted)
            all[gpus++] = i;
    }
    if (l->slot_count == 1 || !gpus)
        return -1;
    if (gpus % l->slot_count)
        return cli_usage("race", "--at-once %zu: %zu GPUs cannot be shared out evenly",
                         l->slot_count, gpus);
    for (size_t i = 0; i < gpus; i++) {
        struct race_slot *slot = &l->slots[i * l->slot_count / gpus];
        size_t used = strlen(slot->cuda);
        snprintf(slot->cuda + used, sizeof(slot->cuda) - used, "%s%s", used ? "," : "",
                 wt_devices_info(l->m.bed->devices, all[i])->id);
        slot->devices[slot->device_count++] = all[i];
    }
    return -1;
}

/* "lr=0.001,batch=8", fit for a file's name. */
static void name_trial(const struct race_options *o, struct race_trial *t, size_t number)
{
    size_t used = 0;
    for (size_t p = 0; p < o->param_count && used < sizeof(t->name); p++)
        used += (size_t)snprintf(t->name + used, sizeof(t->name) - used, "%s%s=%s", p ? "," : "",
                                 o->params[p].name, o->params[p].values[t->choice[p]]);
    for (char *c = t->name; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,=_+-", *c))
            *c = '_';
    if (used >= sizeof(t->name) - 8)
        snprintf(t->name, sizeof(t->name), "trial-%zu", number + 1);
}

static bool is_name_taken(const struct race_live *l, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(l->trials[i].name, name) == 0)
            return true;
    return false;
}

static size_t combinations(const struct race_options *o)
{
    size_t count = 1;
    for (size_t p = 0; p < o->param_count && count <= 1000; p++)
        count = o->trials ? o->params[p].count : count * o->params[p].count;
    return count;
}

static bool fill_command(const struct race_options *o, struct race_trial *t)
{
    struct cli_param *own = (struct cli_param *)(uintptr_t)&o->params[o->param_count];
    size_t n = o->param_count + 1, words = 0;
    memcpy(own->values[0], t->name, sizeof(t->name));
    t->command = cli_params_fill(o->params, n, o->command, t->choice);
    if (o->loss_file)
        t->loss_file = cli_params_fill_text(o->params, n, o->loss_file, t->choice);
    while (t->command && t->command[words])
        words++;
    if (!t->command || (o->loss_file && !t->loss_file))
        return false;
    if (!o->again_count)
        return true;
    t->again = calloc(words + o->again_count + 1, sizeof(*t->again));
    for (size_t i = 0; t->again && i < words + o->again_count; i++) {
        t->again[i] = i < words
                          ? strdup(t->command[i])
                          : cli_params_fill_text(o->params, n, o->again[i - words], t->choice);
        if (!t->again[i])
            return false;
    }
    return t->again != NULL;
}

static bool is_same(char *const *a, char *const *b)
{
    for (; *a && *b && strcmp(*a, *b) == 0; a++, b++)
        ;
    return !*a && !*b;
}

static int make_trials(struct race_live *l)
{
    const struct race_options *o = l->o;
    size_t count = combinations(o);
    if (count < 2 || count > 1000)
        return cli_usage("race", "a race of %zu%s: it takes 2 to 1000 trials", count,
                         count > 1000 ? " and more" : "");
    l->trials = calloc(count, sizeof(*l->trials));
    l->raced = calloc(count, sizeof(*l->raced));
    if (!l->trials || !l->raced)
        return CLI_FAILURE;
    for (size_t i = 0; i < count; i++) {
        struct race_trial *t = &l->trials[i];
        *t = (struct race_trial){.log_fd = -1,
                                 .out = {.fd = -1},
                                 .csv = {.fd = -1, .step_column = -1, .loss_column = -1},
                                 .source = &l->source,
                                 .slot = SIZE_MAX,
                                 .loss = NAN};
        size_t rest = i;
        for (size_t p = o->param_count; p-- > 0;) {
            t->choice[p] = o->trials ? i : rest % o->params[p].count;
            rest /= o->params[p].count;
        }
        name_trial(o, t, i);
        if (is_name_taken(l, i, t->name))
            snprintf(t->name, sizeof(t->name), "trial-%zu", i + 1);
        if (strlen(t->name) < sizeof(t->phase))
            memcpy(t->phase, t->name, strlen(t->name) + 1);
        else
            snprintf(t->phase, sizeof(t->phase), "%.24s~%zu", t->name, i + 1);
        l->count++;
        if (!fill_command(o, t))
            return CLI_FAILURE;
        for (size_t k = 0; k < i; k++)
            if (is_same(l->trials[k].command, t->command))
                return cli_usage("race", "%s and %s are the same command", l->trials[k].name,
                                 t->name);
            else if (t->loss_file && strcmp(l->trials[k].loss_file, t->loss_file) == 0)
                return cli_usage("race", "--loss-file %s: each trial needs its own: put {trial} in",
                                 o->loss_file);
    }
    return -1;
}

static char *describe(const struct race_live *l)
{
    char *text = NULL, command[1024];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    const struct wt_race_options *r = &l->o->race;
    const char *outer = getenv("WATTUNE_EMULATION_SPEC");
    fprintf(out,
            "# wattune race: steps %.10g, loss %s, rule %s, first %g, eta %g, epoch %g, %u, %g, "
            "%u, %u\n",
            r->step_max, l->source.loss, wt_race_rule_name(r->rule), r->first_share, r->eta,
            r->epoch_steps, r->epochs, r->decay, r->burn_in, r->epoch_cut);
    fprintf(out, "# devices: %s\n", l->o->bed.emulate ? l->o->bed.emulate : outer ? outer : "real");
    for (size_t i = 0; i < l->count; i++) {
        cli_command_text(command, sizeof(command), l->trials[i].command);
        fprintf(out, "%s\t%s\n", l->trials[i].name, command);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* One that was named, or a new one: of races that begin in the same second each has its own. */
static bool make_folder(struct race_live *l)
{
    size_t length = strlen(l->folder);
    int rc = mkdir(l->folder, 0777);
    for (unsigned n = 2; !l->o->folder && rc < 0 && errno == EEXIST && n < 1000; n++) {
        snprintf(l->folder + length, sizeof(l->folder) - length, "-%u", n);
        rc = mkdir(l->folder, 0777);
    }
    return rc == 0 || (l->o->folder && errno == EEXIST);
}

/* One race at a time is in it. */
static int lock_folder(struct race_live *l)
{
    if (!l->o->is_resume && !make_folder(l)) {
        cli_note("race: %s: %s", l->folder, strerror(errno));
        return CLI_FAILURE;
    }
    l->folder_fd = open(l->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->folder_fd < 0 && l->o->is_resume && errno == ENOENT)
        return cli_usage("race", "--resume: no race is in %s", l->folder);
    if (l->folder_fd < 0) {
        cli_note("race: %s: %s", l->folder, strerror(errno));
        return CLI_FAILURE;
    }
    if (flock(l->folder_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        cli_note("race: a race is running in %s", l->folder);
        return CLI_FAILURE;
    }
    return -1;
}

/* The list of trials: made, or of a race that is resumed the same. */
int race_open_folder(struct race_live *l)
{
    char list[4200], *text = describe(l), *found = NULL;
    struct wt_error err = {0};
    size_t room = 0;
    int code = lock_folder(l);
    snprintf(list, sizeof(list), "%s/trials.tsv", l->folder);
    FILE *in = code < 0 ? fopen(list, "re") : NULL;
    if (in && getdelim(&found, &room, '\0', in) < 0)
        *found = '\0';
    if (in)
        fclose(in);
    if (code >= 0) {
        /* told */
    } else if (!text) {
        code = CLI_FAILURE;
    } else if (found && !l->o->is_resume) {
        code =
            cli_usage("race", "--folder %s: a race is in it; --resume goes on with it", l->folder);
    } else if (!found && l->o->is_resume) {
        code = cli_usage("race", "--resume: no race is in %s", l->folder);
    } else if (found && strcmp(found, text) != 0) {
        code = cli_usage("race", "--resume: the race in %s has other trials, rungs or devices: %s",
                         l->folder, list);
    } else if (!found && wt_file_write(list, text, &err) < 0) {
        code = cli_fail("race", &err);
    }
    for (size_t i = 0; code < 0 && i < l->count; i++) {
        struct race_trial *t = &l->trials[i];
        snprintf(t->log, sizeof(t->log), "%s/%s.log", l->folder, t->name);
        snprintf(t->curve, sizeof(t->curve), "%s/%s.csv", l->folder, t->name);
        if (l->o->is_resume && race_trial_read(t, &err) < 0)
            code = cli_fail("race", &err);
    }
    free(text);
    free(found);
    return code;
}

static int dry_run(const struct race_live *l)
{
    const double *rungs;
    char command[1024];
    size_t count = wt_race_rungs(l->race, &rungs);
    printf("%zu trials, to steps", l->count);
    for (size_t i = 0; i < count; i++)
        printf("%s %.6g", i ? "," : "", rungs[i]);
    printf("\n\n");
    for (size_t i = 0; i < l->count; i++) {
        cli_command_text(command, sizeof(command), l->trials[i].command);
        printf("%s\n    %s\n", l->trials[i].name, command);
        if (l->trials[i].again) {
            cli_command_text(command, sizeof(command), l->trials[i].again);
            printf("    %s\n", command);
        }
    }
    return CLI_OK;
}

static int compile(struct race_live *l)
{
    const struct race_options *o = l->o;
    struct wt_error err = {0};
    int rc = 0;
    l->source.loss = o->loss ? o->loss : "loss";
    if (o->progress)
        rc = cli_pattern_new(&l->source.progress, "--progress", o->progress, &err);
    if (rc == 0 && o->loss_pattern)
        rc = cli_pattern_new(&l->source.wanted, "--loss-pattern", o->loss_pattern, &err);
    return rc < 0 ? cli_fail("race", &err) : -1;
}

static void name_folder(struct race_live *l)
{
    time_t now = time(NULL);
    struct tm tm;
    if (l->o->folder)
        snprintf(l->folder, sizeof(l->folder), "%s", l->o->folder);
    else
        strftime(l->folder, sizeof(l->folder), "wattune-race-%Y%m%d-%H%M%S",
                 localtime_r(&now, &tm));
}

int race_setup(struct race_live *l)
{
    struct wt_error err = {0};
    int code = compile(l);
    if (code < 0)
        code = make_trials(l);
    if (code < 0 && wt_race_new(&l->race, &l->o->race, l->count, &err) < 0)
        code = cli_fail("race", &err);
    if (code < 0 && l->o->is_dry_run)
        return dry_run(l);
    if (code < 0 && l->o->folder && strlen(l->o->folder) >= sizeof(l->folder))
        code = cli_usage("race", "--folder: the path is too long");
    if (code < 0)
        name_folder(l);
    return code;
}

void race_forget_folder(const struct race_live *l)
{
    char list[4200];
    snprintf(list, sizeof(list), "%s/trials.tsv", l->folder);
    if (!l->o->is_resume)
        unlink(list);
}
