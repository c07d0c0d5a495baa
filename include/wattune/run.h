/* One run's record: what was run, on what, at which settings, and what it took.
 * The JSON form is stable: docs/json.md. */
#ifndef WATTUNE_RUN_H
#define WATTUNE_RUN_H

#include "wattune/meter.h"
#include "wattune/phases.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who used a device's energy: whole microjoules, and idle + residual + the rows are the device's
 * energy exactly. */
struct wt_run_share {
    uint32_t pid; /* 0: a job, or a slice of the device */
    char name[64];
    bool is_ours; /* of the run that was measured */
    uint64_t energy_uj;
};

struct wt_run_device {
    char id[96], name[96], source[16], driver[80];
    enum wt_device_kind kind;
    int index; /* within its kind, as the vendor's tools number it; -1: not known */
    bool is_part;
    char part_of[96]; /* that device's id, which need not be in the run; "" */
    bool is_modeled;  /* no sensor: its energy is estimated */
    bool has_sensor;  /* false of a part that no sensor sees by itself (a MIG instance, the second
                         die of a card): its energy is not known by design */
    bool is_counted;  /* in the total: wt_device_info.is_counted */
    struct wt_joules energy, check;
    enum wt_provenance method;
    bool is_check_off;
    double mean_w, max_w;
    uint32_t gain_ppm, offset_mw; /* of its sensor: what of the bound two runs on it share */
    char note[160];
    struct {
        bool is_known;
        char rule[16]; /* "exclusive", "by share", "part" */
        uint64_t idle_uj, residual_uj;
        struct wt_run_share *shares; /* owned */
        size_t share_count;
        char note[160]; /* why it is not known, or what is left out; "" */
    } attribution;
};

struct wt_run_setting {
    enum wt_knob knob;
    char device_id[96];
    int64_t found, requested, enforced;
    /* It was not in force to the run's end: why not ("": it was, as far as was seen), and how long
     * from the run's start it is known to have been. */
    char lost[160];
    double held_s;
};

struct wt_run_param { /* of the command: what stood for {NAME} in it */
    char name[32];
    char value[64]; /* as typed */
};

struct wt_run_gap {
    char device_id[96];
    double from_s, to_s; /* since the run's start */
    double bound_j;
    char why[120];
};

struct wt_run_point {                           /* of the power trace */
    double t_s;                                 /* since the run's start */
    uint32_t device;                            /* index in devices */
    double power_w, temp_c, clock_mhz, limit_w; /* NaN: unknown */
    uint64_t throttle;                          /* WT_THROTTLE_* */
};

struct wt_run_value { /* a named number reported by the program, such as the loss */
    double t_s;
    char name[32];
    double value;
};

struct wt_run_phase {
    char name[32];
    uint64_t count; /* how often */
    double wall_s;
    double own_s;  /* without the phases nested in it: what the energy is of; 0: not known */
    uint64_t work; /* units of the run's work that were told of while no phase within it was open */
    struct wt_joules energy; /* WT_PROV_UNKNOWN: see joint, or it was not measured */
    double mean_w;           /* NaN: unknown */
    bool is_separable;
    struct wt_joules joint; /* when it is not: together with those in `with` */
    char with[160];
};

/* wt_store_end() makes a run WT_RUN_DONE; without a store the caller does. */
enum wt_run_state { WT_RUN_RUNNING, WT_RUN_DONE, WT_RUN_INCOMPLETE };

struct wt_run {
    char id[40];       /* time-sortable, unique */
    char group[40];    /* the sweep it belongs to, or "" */
    char label[64];    /* its setting in words, "power=150 W"; "" */
    unsigned repeat;   /* within label, from 0 */
    bool is_reference; /* its label is what the sweep compares with */
    double host_w;     /* rest of the node as the user gave it, W; 0: not given */
    struct {           /* of trainings raced against each other; trials 0: it is no race */
        unsigned trials, finished, stopped, failed; /* stopped: by the race, so none before it is
                                                       decided; the others were cut off */
        char winner[64];                            /* ""; none, or not decided */
        double loss;                                /* the winner's; NaN */
        double saved_j, saving;                     /* saved_j over it and what was spent; NaN */
        enum wt_provenance provenance;              /* of saved_j, as of what it is told by */
        bool is_verified; /* the stopped ones were run to their ends afterwards; else estimated */
        char folder[256]; /* of a race that is resumed the same */
    } race;
    char tag[64];
    char host[64];
    struct { /* of a job of many ranks, of which one on each node measures; count 0: none */
        unsigned index; /* of this node among the job's */
        unsigned count; /* how many ranks of this node the energy surely covers */
        unsigned ranks; /* and the job */
        unsigned nodes; /* how many nodes it has; 0: not known */
    } node;
    char system[160];   /* processor, memory, kernel */
    char command[1024]; /* as a shell would need it */
    char version[16];
    int64_t start_unix_ns; /* wall clock, once */
    double wall_s;
    int exit_code; /* the child's; 128+n for signal n */
    enum wt_run_state state;
    bool is_emulated;
    char emulation[64]; /* profile, "" when real */
    bool is_replayed;   /* on a recorded machine: nothing was measured here */
    char recording[160], recording_title[160]; /* its folder, what it says it is; "" */
    bool is_unstored;                          /* its id leads nowhere; not in the JSON */

    struct wt_run_device *devices;
    size_t device_count;
    struct wt_joules total; /* of the devices that are counted */
    char weakest[96];
    bool has_estimate;         /* some of the node is not measured, and a model stands in for it: */
    struct wt_joules estimate; /* the total and what is modeled beside it */
    struct {
        char unit[32];
        uint64_t count;
        uint64_t steps;
        bool is_known;
    } work;
    struct wt_run_setting *settings;
    size_t setting_count;
    struct wt_run_param *params;
    size_t param_count;
    char *plan; /* owned; of the sweep it belongs to, as JSON (sweep.h); NULL: none */
    struct wt_run_gap *gaps;
    size_t gap_count;
    struct wt_run_phase *phases;
    size_t phase_count;
    char phases_note[240]; /* what their energy leaves out; "" */
    struct wt_run_point *points;
    size_t point_count;
    struct wt_run_value *values;
    size_t value_count;
    struct wt_meter_cost cost;

    struct { /* the store's own: how far this run is written; what changes is to be written again */
        int64_t row;
        size_t points, values;
    } stored;
};

/* Fills what is still empty of id, start_unix_ns, host, system and version.
 * wt_store_begin() does it too; a run that goes on without a store needs it as well. */
WT_API void wt_run_stamp(struct wt_run *run);
/* Empties a run and frees what it owns; run may be zeroed memory. */
WT_API void wt_run_done(struct wt_run *run);
/* Owned copies go in; all return 0 or WT_E_NOMEM. A trace and a series keep a resolution of 1/4000
 * of the run so far: closer points of a long run are left out, so that a week takes 30 000 points
 * a device and not 6 million. */
WT_API int wt_run_set_window(struct wt_run *run, const struct wt_devices *devices,
                             const struct wt_window_result *result);
WT_API int wt_run_add_setting(struct wt_run *run, const struct wt_run_setting *setting);
/* The first setting that was not in force throughout: the energy is not that of it. NULL: none. */
WT_API const struct wt_run_setting *wt_run_lost(const struct wt_run *run);
WT_API int wt_run_add_param(struct wt_run *run, const struct wt_run_param *param);
/* Takes the place of the plan there is. WT_E_FORMAT: it is no JSON. */
WT_API int wt_run_set_plan(struct wt_run *run, const char *plan);
WT_API int wt_run_add_point(struct wt_run *run, const struct wt_run_point *point);
/* Values of one name, in order of time. Of those that come so soon after one another that a plot
 * shows no difference some are left out, but the first and the last of a name are always there: the
 * last loss of a run is what people ask for. */
WT_API int wt_run_add_value(struct wt_run *run, const struct wt_run_value *value);
/* Takes the place of the phases there are. */
WT_API int wt_run_set_phases(struct wt_run *run, const struct wt_phases_result *result);
/* A node's own meter against what its parts were measured to draw. The parts cannot draw more than
 * the node: when they do beyond both bounds, is_off. */
struct wt_node_check {
    size_t node; /* index in devices; SIZE_MAX: there is no meter of the whole node */
    struct wt_joules parts, rest; /* rest: what no part's sensor sees */
    bool is_off;
};
WT_API struct wt_node_check wt_run_node_check(const struct wt_run *run);
WT_API int wt_run_add_phase(struct wt_run *run, const struct wt_run_phase *phase);

/* wt_meter_result as JSON - {"name":..,"wall_s":..,"devices":[..],"total":{..},"gaps":[..]}, each
 * as in the run JSON - for bindings. Owned by the caller: free(). Errors: as wt_meter_result. */
WT_API int wt_meter_result_json(struct wt_meter *meter, const struct wt_devices *devices,
                                uint64_t window, int64_t wait_ns, char **ret_json,
                                struct wt_error *err);

/* J per unit of work with bounds; unknown when there is no work or no energy. */
WT_API struct wt_joules wt_run_j_per_work(const struct wt_run *run);
/* Whether other phases took a share of its time: its energy is that of the rest of it. */
WT_API bool wt_run_phase_has_inner(const struct wt_run_phase *phase);
/* J per unit of a phase's work; unknown also where other phases are in it. */
WT_API struct wt_joules wt_run_phase_j_per_work(const struct wt_run_phase *phase);

/* What a job of many ranks took on all its nodes: the runs of one group, of each node the newest.
 */
struct wt_run_sum {
    size_t *parts; /* owned: indices in runs, by node */
    size_t count;
    unsigned nodes;         /* the job has; 0: not known */
    unsigned ranks, missed; /* ranks on nodes that are missing or have not ended, or not covered */
    bool is_whole;
    struct wt_joules total; /* WT_PROV_UNKNOWN where it is not whole */
    double wall_s;          /* from the first start to the last end, by the nodes' clocks */
    uint64_t work;          /* of all nodes together */
    char unit[32]; /* ""; no work, or not on all nodes, or steps, which all take together */
    char why[200]; /* it is not whole; "" */
};
/* command may be NULL: only runs of it. Errors: WT_E_NOTFOUND (no run of many ranks is among them),
 * WT_E_MIXED (emulated and real nodes), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_run_sum_make(struct wt_run_sum *ret_sum, const struct wt_run *runs, size_t count,
                           const char *command, struct wt_error *err);
WT_API void wt_run_sum_done(struct wt_run_sum *sum);
/* {"group":..,"nodes":..,"whole":..,"total":..,"work":..,"runs":[...]}; owned: free(). */
WT_API char *wt_run_sum_to_json(const struct wt_run_sum *sum, const struct wt_run *runs);

/* The stable JSON document, owned by the caller: free(). NULL only when out of memory.
 * Threads: any thread. */
WT_API char *wt_run_to_json(const struct wt_run *run);
/* The same with "trace" (power over time) and "series" (every value). */
WT_API char *wt_run_to_json_full(const struct wt_run *run);

/* "12.3 kJ": a number with its unit at three significant digits, "unknown" for NaN. Returns buf. */
WT_API const char *wt_format_joules(char *buf, size_t size, double joules);
/* "1.234 kJ [1.201, 1.267]": as many digits as the interval's width is worth. */
WT_API const char *wt_format_interval(char *buf, size_t size, const struct wt_joules *joules);
/* "0.52 s", "4 min 05 s", "2 h 03 min". */
WT_API const char *wt_format_seconds(char *buf, size_t size, double seconds);

/* The store: SQLite in $XDG_DATA_HOME/wattune (or dir). Written as the run goes, so that a killed
 * Wattune leaves a record marked incomplete. Threads: owner thread. */
struct wt_store;
/* Errors: WT_E_DENIED, WT_E_FULL, WT_E_IO, WT_E_BUSY, WT_E_FORMAT (damaged, or from a newer
 * version; left untouched). */
WT_API int wt_store_open(struct wt_store **ret_store, const char *dir, struct wt_error *err);
/* Whether there is one already: opening makes one. */
WT_API bool wt_store_exists(const char *dir);
WT_API void wt_store_close(struct wt_store *store);
WT_API const char *wt_store_path(const struct wt_store *store);
/* Fills run->id (when empty) and start, writes the row as running, owned by this process. */
WT_API int wt_store_begin(struct wt_store *store, struct wt_run *run, struct wt_error *err);
/* Appends what was added to run since the last call (points, values) and the energies so far. */
WT_API int wt_store_update(struct wt_store *store, struct wt_run *run, struct wt_error *err);
WT_API int wt_store_end(struct wt_store *store, struct wt_run *run, struct wt_error *err);
/* Rows whose writer is dead come back as WT_RUN_INCOMPLETE. Heads only (no points), newest first;
 * max 0: all. tag or group may be NULL. *ret_runs owned: wt_runs_free(). */
WT_API int wt_store_list(struct wt_store *store, const char *tag, const char *group, size_t max,
                         struct wt_run **ret_runs, size_t *ret_count, struct wt_error *err);
WT_API void wt_runs_free(struct wt_run *runs, size_t count);
/* A whole run by id, a unique beginning of one, or "last". Errors: WT_E_NOTFOUND, WT_E_USAGE
 * (several begin so; lists them). */
WT_API int wt_store_load(struct wt_store *store, const char *id, struct wt_run *ret_run,
                         struct wt_error *err);
/* Removes these runs (by their ids) with their traces: all of them, or with an error none. What was
 * remembered as best, and the folders of sweeps, stay. Errors: WT_E_BUSY (one is running, or the
 * file is held), WT_E_NOTFOUND, WT_E_DENIED, WT_E_FULL, WT_E_IO. */
WT_API int wt_store_forget(struct wt_store *store, const struct wt_run *runs, size_t count,
                           struct wt_error *err);

/* What was found best for some work on some machine, as a start for the next time and no more. */
struct wt_best {
    char machine[256]; /* device names and how many */
    char work[1024];   /* the command */
    char goal[256];    /* knobs, objective, limits */
    char setting[160]; /* "power=150" as --set takes it */
    char run_id[40];
    int64_t unix_ns; /* when */
};
/* Takes the place of what was remembered for the same machine, work and goal. Errors: as
 * wt_store_begin. */
WT_API int wt_store_remember(struct wt_store *store, const struct wt_best *best,
                             struct wt_error *err);
/* Fills setting, run_id and unix_ns by machine, work and goal. Errors: WT_E_NOTFOUND, WT_E_IO. */
WT_API int wt_store_recall(struct wt_store *store, struct wt_best *io_best, struct wt_error *err);
/* Notes a power limit, W, as the user's own for a model of card, in place of an earlier one: what
 * `--power-cap=auto` takes in Slurm. Not for several threads or programs at once: the last one
 * stays. Errors: WT_E_NOTFOUND (no home), WT_E_FORMAT (that file is no such list), WT_E_DENIED,
 * WT_E_IO. */
WT_API int wt_auto_remember(const char *model, bool is_emulated, double limit_w,
                            struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
