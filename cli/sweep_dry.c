/* sweep_dry: what a sweep would do, and for how long. Nothing is run, changed or written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sweep.h"

/* Words after a head, wrapped to the terminal. */
struct lines {
    size_t width, at;
};

static void begin(struct lines *l, const char *head)
{
    struct winsize window = {0};
    bool is_tty = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col;
    l->width = is_tty ? window.ws_col : 100;
    printf("  %-10s", head);
    l->at = 12;
}

static void word(struct lines *l, const char *text)
{
    if (l->at > 12 && l->at + 1 + strlen(text) > l->width) {
        printf("\n%12s", "");
        l->at = 12;
    }
    l->at += (size_t)printf("%s%s", l->at > 12 ? " " : "", text);
}

static void end(void)
{
    putchar('\n');
}

/* What the store knows of the same commands; a store that is not there or cannot be read knows
 * nothing. */
static struct wt_sweep_forecast ask_store(const struct sweep_options *o,
                                          struct wt_sweep_point *points, size_t count)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    struct wt_run *runs = NULL;
    size_t run_count = 0;
    if (wt_store_exists(NULL) && (wt_store_open(&store, NULL, &err) < 0 ||
                                  wt_store_list(store, NULL, NULL, 0, &runs, &run_count, &err) < 0))
        cli_note("the stored runs cannot be read: %s", err.text);
    struct wt_sweep_forecast f =
        wt_sweep_forecast(points, count, runs, run_count, o->bed.emulation_name);
    wt_runs_free(runs, run_count);
    wt_store_close(store);
    return f;
}

struct sum {
    size_t runs;
    double seconds;
};

/* Of the runs that are to be made in this many rounds. */
static struct sum sum_of(const struct wt_sweep_point *points, const struct wt_sweep_step *steps,
                         size_t count, unsigned repeats)
{
    struct sum sum = {0};
    for (size_t i = 0; i < count; i++)
        if (!steps[i].is_stored && steps[i].repeat < repeats) {
            sum.runs++;
            sum.seconds += points[steps[i].point].expected_s;
        }
    return sum;
}

static void print_settings(const struct wt_sweep_point *points, size_t count)
{
    struct lines l;
    char text[96];
    begin(&l, "settings");
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "%s%s%s", points[i].label,
                 points[i].is_reference ? " (reference)" : "", i + 1 < count ? ";" : "");
        word(&l, text);
    }
    end();
}

/* A line for each round. What is stored stands in brackets. */
static void print_order(const struct wt_sweep_point *points, size_t point_count,
                        const struct wt_sweep_step *steps, size_t step_count, unsigned repeats)
{
    for (size_t i = 0; i < step_count; i += point_count) {
        struct lines l;
        char text[96];
        snprintf(text, sizeof(text), "round %u%s", steps[i].repeat + 1,
                 steps[i].repeat < repeats ? "" : "?");
        begin(&l, text);
        for (size_t k = i; k < i + point_count; k++) {
            bool is_stored = steps[k].is_stored;
            snprintf(text, sizeof(text), "%s%s%s%s", is_stored ? "[" : "",
                     points[steps[k].point].label, is_stored ? "]" : "",
                     k + 1 < i + point_count ? ";" : "");
            word(&l, text);
        }
        end();
    }
}

static void print_expected(const struct sweep_options *o, const struct wt_sweep_forecast *f,
                           const struct sum *least, const struct sum *most)
{
    struct lines l;
    char low[48], high[48], text[240];
    bool is_range = most->runs > least->runs;
    begin(&l, "expected");
    if (!least->runs && !is_range) {
        snprintf(text, sizeof(text), "nothing: all runs are stored");
    } else if (isnan(f->run_s)) {
        snprintf(text, sizeof(text), "not known, as no run of this command is stored: %zu%s",
                 least->runs, is_range ? "" : " times");
        if (is_range)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), " to %zu times", most->runs);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " as long as CMD takes%s",
                 o->set_count ? " at the default, and more where a "
                                "setting slows it down"
                              : "");
    } else {
        wt_format_seconds(low, sizeof(low), least->seconds);
        wt_format_seconds(high, sizeof(high), most->seconds);
        snprintf(text, sizeof(text), "about %s%s%s, by %zu stored run%s of this command%s%s%s", low,
                 is_range ? " to " : "", is_range ? high : "", f->run_count,
                 f->run_count > 1 ? "s" : "", f->group[0] ? " (" : "", f->group,
                 f->group[0] ? ")" : "");
    }
    for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
        word(&l, w);
    if (o->settle_ns) {
        wt_format_seconds(high, sizeof(high), (double)o->settle_ns * 1e-9);
        snprintf(text, sizeof(text), "and up to %s to settle", high);
        for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
            word(&l, w);
    }
    end();
}

int cli_sweep_dry(const struct sweep_options *o, const struct wt_sweep_plan *plan,
                  const struct point *points, size_t point_count, size_t reference,
                  const struct wt_sweep_step *steps, size_t step_count,
                  const struct sweep_stored *stored)
{
    struct wt_sweep_point *planned = calloc(point_count, sizeof(*planned));
    int code = CLI_OK;
    if (!planned) {
        cli_note("no memory for a plan of %zu settings", point_count);
        return CLI_FAILURE;
    }
    for (size_t i = 0; i < point_count; i++) {
        snprintf(planned[i].label, sizeof(planned[i].label), "%s", points[i].label);
        cli_command_text(planned[i].command, sizeof(planned[i].command), points[i].command);
        planned[i].is_reference = i == reference;
    }
    struct wt_sweep_forecast f = ask_store(o, planned, point_count);
    if (o->is_json) {
        char *text = wt_sweep_dry_to_json(plan, planned, point_count, steps, step_count, &f,
                                          o->bed.emulation_name);
        code = cli_print_json("sweep", text);
    } else {
        struct sum least = sum_of(planned, steps, step_count, o->repeats);
        struct sum most = sum_of(planned, steps, step_count, o->repeats_max);
        struct lines l;
        if (o->bed.emulation_name[0])
            printf("  EMULATED %s: no real device would be measured or changed\n",
                   o->bed.emulation_name);
        begin(&l, "command");
        word(&l, plan->command);
        end();
        print_settings(planned, point_count);
        char more[64] = "";
        if (o->repeats_max > o->repeats)
            snprintf(more, sizeof(more), ", and up to %u as the precision asks (rounds with ?)",
                     o->repeats_max);
        printf("  %-10s%u at each setting%s, in random order (--seed %llu)\n", "runs", o->repeats,
               more, (unsigned long long)plan->seed);
        print_order(planned, point_count, steps, step_count, o->repeats);
        if (stored->run_count)
            printf("  %-10s%s: what stands in brackets is stored and not run again\n", "goes on",
                   stored->group);
        print_expected(o, &f, &least, &most);
        puts("  nothing was run or changed");
    }
    free(planned);
    return code;
}
