/* wattune set: hold settings by hand - while a command runs, for a time, or until Ctrl-C - and put
 * back what was found. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_SETS 8
#define LOOK_NS  INT64_C(1000000000)

static void print_help(void)
{
    fputs("usage: wattune set [OPTION...] KNOB=VALUE... [-- CMD [ARG...]]\n\n"
          "Sets each KNOB of every device that has it and puts back what was found: when\n"
          "CMD ends, after --for, or at Ctrl-C or SIGTERM; after kill -9 too. A value that\n"
          "someone else changes meanwhile is left to them; that, and what wattuned ends, is\n"
          "said.\n\n"
          "KNOBs of GPUs: power (W), clock, memclock (MHz; 0: unlocked). Of processors:\n"
          "cpu-power (W), cpu-freq (MHz, the highest), governor and epp (by name:\n"
          "governor=powersave, epp=balance_power or 0 to 255). Of memory: dram-power (W).\n"
          "`wattune doctor` says which there are here, in which range, and who may set\n"
          "them.\n\n"
          "  --gpu LIST      only these GPUs: indices or UUIDs (default:\n"
          "                  $CUDA_VISIBLE_DEVICES, else all)\n"
          "  --for TIME      put back after TIME (90, 90s, 5m, 1.5h); without CMD only\n"
          "  --emulate SPEC  on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
          "  --fault SPEC    a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --help          this text\n\n"
          "Exit code: CMD's own (128+n when it died by signal n); 127 no such command, 126\n"
          "not executable. Without CMD: 0 all was held and is back, 1 a setting was lost,\n"
          "or another failure, 2 usage, 3 not permitted, 4 no such knob.\n",
          stdout);
}

struct set_options {
    struct cli_bed bed;
    struct cli_setting sets[MAX_SETS];
    size_t set_count;
    int64_t for_ns;
    char **command; /* NULL: none */
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct set_options *o)
{
    enum { GPU = 256, FOR, EMULATE, FAULT, SYSROOT };
    static const struct option options[] = {
        {"gpu", required_argument, NULL, GPU},
        {"for", required_argument, NULL, FOR},
        {"emulate", required_argument, NULL, EMULATE},
        {"fault", required_argument, NULL, FAULT},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct wt_error err = {0};
    /* Settings and options may come in any order up to "--"; CMD keeps its own. */
    int own = argc;
    for (int i = 1; i < argc && own == argc; i++)
        if (strcmp(argv[i], "--") == 0)
            own = i;
    if (own < argc) {
        if (own + 1 == argc)
            return cli_usage("set", "no command after --");
        o->command = argv + own + 1;
    }
    double seconds;
    int c;
    while ((c = getopt_long(own, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case GPU:
            o->bed.gpus = optarg;
            break;
        case FOR:
            if (cli_number_parse(optarg, strlen(optarg), &seconds) && seconds <= 1e9)
                o->for_ns = (int64_t)(seconds * 1e9);
            else if (cli_duration_parse("--for", optarg, &o->for_ns, &err) < 0)
                return cli_fail("set", &err);
            if (o->for_ns <= 0)
                return cli_usage("set", "--for %s: a time above 0", optarg);
            break;
        case EMULATE:
            o->bed.emulate = optarg;
            break;
        case FAULT:
            o->bed.faults = optarg;
            break;
        case SYSROOT:
            o->bed.sysroot = optarg;
            break;
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("set");
        }
    }
    for (; optind < own; optind++) {
        if (o->set_count == MAX_SETS)
            return cli_usage("set", "more than %d settings", MAX_SETS);
        if (!strchr(argv[optind], '='))
            return cli_usage("set", "\"%s\" is not KNOB=VALUE; a command goes after --",
                             argv[optind]);
        if (cli_setting_parse(argv[optind], &o->sets[o->set_count], &err) < 0)
            return cli_fail("set", &err);
        for (size_t i = 0; i < o->set_count; i++)
            if (o->sets[i].knob == o->sets[o->set_count].knob) {
                cli_setting_done(&o->sets[o->set_count]);
                return cli_usage("set", "%s is given twice", wt_knob_name(o->sets[i].knob));
            }
        if (o->sets[o->set_count++].count != 1)
            return cli_usage("set", "%s: one value; `wattune sweep` takes several", argv[optind]);
    }
    if (!o->set_count)
        return cli_usage("set", "nothing to set: wattune set power=150");
    if (o->command && o->for_ns)
        return cli_usage("set", "--for and a command: the setting ends with the command");
    if (o->bed.faults && !o->bed.emulate)
        return cli_usage("set", "--fault needs --emulate: real devices have their own");
    return -1;
}

/* One value of one knob on every device that has it, each said on stderr. */
static int apply(struct set_options *o, struct wt_lease *lease, const struct cli_setting *set,
                 struct wt_error *err)
{
    size_t done = 0;
    struct wt_error why = {0};
    const char *emulated = o->bed.emulation_name[0] ? " (emulated)" : "";
    for (size_t i = 0; i < wt_devices_count(o->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(o->bed.devices, i);
        struct wt_knob_info k;
        int64_t value = set->values[0], enforced;
        char found[48], wanted[48], obeyed[48], name[128];
        int rc = cli_knob(&o->bed, i, set->knob, &k, &why, err);
        if (rc == WT_E_UNSUPPORTED)
            continue;
        if (rc == 0)
            rc = wt_lease_set(lease, i, set->knob, value, &enforced, err);
        if (rc < 0) {
            cli_error_name(err, info);
            return rc;
        }
        done++;
        cli_note("%s%s: %s found %s, requested %s, enforced %s",
                 cli_device_name(info, name, sizeof(name)), emulated, wt_knob_name(set->knob),
                 wt_knob_value_text(found, sizeof(found), set->knob, k.current),
                 wt_knob_value_text(wanted, sizeof(wanted), set->knob, value),
                 wt_knob_value_text(obeyed, sizeof(obeyed), set->knob, enforced));
    }
    return done ? 0 : cli_no_knob(set->knob, &why, err);
}

/* What was set, looked after once a second: each setting that is lost is said once, with what still
 * holds. */
enum state { NOT_SET, HELD, ENDED /* by its own time */, LOST };

struct watch {
    const struct set_options *o;
    struct wt_lease *lease;
    enum state *states; /* [knob][device] */
    size_t held, lost;
    double least_s; /* the soonest that one ends by wattuned's policy; 0: none does */
};

/* "power of GPU 0 (GPU-...), clock of GPU 1 (GPU-...)": those in that state. */
static const char *list(const struct watch *w, enum state state, char *buf, size_t size)
{
    const struct wt_devices *devices = w->o->bed.devices;
    size_t count = wt_devices_count(devices), used = 0;
    char name[128];
    buf[0] = '\0';
    for (size_t s = 0; s < w->o->set_count; s++)
        for (size_t i = 0; i < count && used < size; i++)
            if (w->states[s * count + i] == state)
                used += (size_t)snprintf(
                    buf + used, size - used, "%s%s of %s", used ? ", " : "",
                    wt_knob_name(w->o->sets[s].knob),
                    cli_device_name(wt_devices_info(devices, i), name, sizeof(name)));
    if (used >= size)
        memcpy(buf + size - 4, "...", 4);
    return buf;
}

/* One setting on one device. */
static enum state look(struct watch *w, size_t device, enum wt_knob knob)
{
    struct wt_lease_hold hold;
    char name[128];
    if (wt_lease_look(w->lease, device, knob, &hold, NULL) < 0)
        return NOT_SET;
    double span_s = (double)hold.span_ns * 1e-9;
    if (!w->o->for_ns && span_s > 0 && (w->least_s == 0 || span_s < w->least_s))
        w->least_s = span_s;
    if (!hold.is_lost)
        return HELD;
    if (hold.is_own_end)
        return ENDED;
    cli_note("%s: %s is no longer in force: %s",
             cli_device_name(wt_devices_info(w->o->bed.devices, device), name, sizeof(name)),
             wt_knob_name(knob), hold.why);
    return LOST;
}

static void look_after(struct watch *w)
{
    size_t count = wt_devices_count(w->o->bed.devices), before = w->lost;
    char text[1000];
    w->held = 0;
    for (size_t s = 0; s < w->o->set_count; s++)
        for (size_t i = 0; i < count; i++) {
            enum state *state = &w->states[s * count + i];
            if (*state > HELD)
                continue;
            *state = look(w, i, w->o->sets[s].knob);
            w->held += *state == HELD;
            w->lost += *state == LOST;
        }
    if (w->lost > before && w->held)
        cli_note("still in force: %s", list(w, HELD, text, sizeof(text)));
}

static int run_command(struct watch *w)
{
    struct cli_child child = {.signal_fd = -1, .output_fd = -1, .terminal_fd = -1};
    struct wt_error err = {0};
    int rc = cli_child_start(&child, w->o->command, &err);
    if (rc < 0) {
        cli_fail("set", &err);
        return rc == WT_E_NOTFOUND ? 127 : rc == WT_E_DENIED ? 126 : CLI_FAILURE;
    }
    while (!cli_child_wait(&child, cli_now_ns() + LOOK_NS))
        look_after(w);
    look_after(w);
    char names[512];
    if (cli_child_survivors(&child, names, sizeof(names)))
        cli_note("still running, from now on with what was found: %s", names);
    int code = cli_child_exit_code(&child);
    cli_child_done(&child);
    return code;
}

/* Until it is asked to end, its time is over or nothing is held any more; a failure, when something
 * was lost before. */
static int hold(struct watch *w)
{
    int64_t end_ns = w->o->for_ns ? cli_now_ns() + w->o->for_ns : INT64_MAX;
    if (w->o->for_ns)
        cli_note("held for %g s, or until Ctrl-C", (double)w->o->for_ns * 1e-9);
    else
        cli_note("held until Ctrl-C");
    for (int64_t now; (now = cli_now_ns()) < end_ns;) {
        bool is_asked = cli_signal_wait(end_ns - now < LOOK_NS ? end_ns : now + LOOK_NS) != 0;
        look_after(w);
        if (is_asked || !w->held)
            break;
    }
    return w->lost ? CLI_FAILURE : CLI_OK;
}

static int keep(struct set_options *o, struct wt_lease *lease)
{
    struct watch w = {.o = o, .lease = lease};
    struct wt_error err = {.code = WT_E_NOMEM};
    w.states = calloc(o->set_count * wt_devices_count(o->bed.devices) + 1, sizeof(*w.states));
    if (!w.states)
        return cli_fail("set", &err);
    look_after(&w);
    if (w.least_s > 0)
        cli_note("wattuned's policy lets it be held for %.*f s", w.least_s < 100, w.least_s);
    int code = o->command ? run_command(&w) : hold(&w);
    char text[1000];
    if (w.lost)
        cli_note("not held to the end: %s", list(&w, LOST, text, sizeof(text)));
    free(w.states);
    return code;
}

int cmd_set(int argc, char **argv)
{
    struct set_options o = {0};
    struct wt_lease *lease = NULL;
    struct wt_error err = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        goto out;

    /* Before anything is set: from here on a signal ends the waiting, never the process. */
    int rc = cli_signals_block(&err);
    if (rc == 0)
        rc = cli_bed_open(&o.bed, &err);
    struct wt_lease_options options = {.hold_ns = o.for_ns};
    if (rc == 0)
        rc = wt_lease_open(&lease, o.bed.ctx, o.bed.devices, &options, &err);
    for (size_t i = 0; rc == 0 && i < o.set_count; i++)
        rc = apply(&o, lease, &o.sets[i], &err);
    code = rc < 0 ? cli_fail("set", &err) : keep(&o, lease);
out:
    rc = wt_lease_close(lease, &err);
    if (rc < 0) {
        for (size_t i = 0; i < wt_devices_count(o.bed.devices); i++)
            cli_error_name(&err, wt_devices_info(o.bed.devices, i));
        cli_note("not everything was put back: %s", err.text);
        if (code == CLI_OK && rc != WT_E_CHANGED)
            code = wt_exit_code(rc);
    }
    cli_bed_close(&o.bed);
    for (size_t i = 0; i < o.set_count; i++)
        cli_setting_done(&o.sets[i]);
    return code;
}
