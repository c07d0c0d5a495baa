/* words: how the terminal and the HTML report call things alike. Internal to the library. */
#ifndef WT_REPORT_WORDS_H
#define WT_REPORT_WORDS_H

#include "wattune/run.h"

/* The one name a device has in all of an output, of no two devices the same: "GPU 0" as --gpu and
 * CUDA number it, "CPU 1", "memory", "node", "core of CPU 0", and what the user called a sensor. A
 * device of which only points are left is "device 0". Returns buf. */
const char *wt_device_title(const struct wt_run *run, size_t at, char *buf, size_t size);
/* The same by id; the id where there is no such device. Returns buf. */
const char *wt_device_title_of(const struct wt_run *run, const char *id, char *buf, size_t size);
/* How long a setting was in force that was not to the end, and why not. Returns buf. */
const char *wt_lost_words(const struct wt_run *run, const struct wt_run_setting *setting, char *buf,
                          size_t size);
/* What the name leaves out, "Tesla V100-PCIE-32GB"; "" when nothing. Returns buf. */
const char *wt_device_detail(const struct wt_run *run, size_t at, char *buf, size_t size);

/* The lines of a table of energies, in order: what counts, the total, what is beside it, what is
 * modeled beside it, and the sum with that. Parts stand below their whole. */
enum wt_line { WT_LINE_DEVICE, WT_LINE_TOTAL, WT_LINE_BESIDE, WT_LINE_ESTIMATE };
struct wt_report_line {
    enum wt_line kind;
    size_t device;   /* index, of WT_LINE_DEVICE */
    unsigned depth;  /* how many wholes it lies in that are listed */
    bool is_orphan;  /* a part whose whole is not listed */
    bool is_counted; /* stands with what is in the total */
};
/* Room for device_count + 3; returns how many. */
size_t wt_report_lines(const struct wt_run *run, struct wt_report_line *lines);

/* "counter", "sampled, replayed", "modeled", "no sensor of its own"; brief as short as it goes:
 * what is emulated is said above the table. Returns buf. */
const char *wt_measured_by(const struct wt_run_device *d, bool is_brief, char *buf, size_t size);

/* Is it news? A thing is said once: a device's gap or its note, and of a recording, in which no
 * counter moves, one line says it for all (wt_is_standing). */
bool wt_gap_is_said(const struct wt_run *run, size_t gap);
bool wt_note_is_said(const struct wt_run *run, size_t device);
bool wt_is_standing(const struct wt_run *run);
extern const char wt_standing_words[];

/* "7.6 W [1.3, 18.6]". Returns buf. */
const char *wt_watts_interval(char *buf, size_t size, const struct wt_estimate *w);
/* A device's share in words: of a modeled one with the model's interval. Returns buf. */
const char *wt_share_text(const struct wt_run_device *d, uint64_t uj, char *buf, size_t size);
/* What a share that is nobody's is called. */
const char *wt_residual_words(const struct wt_run_device *d);
/* Who a share is of: a slice by its name in this output. Returns buf. */
const char *wt_share_name(const struct wt_run *run, const struct wt_run_share *share, char *buf,
                          size_t size);

/* "modeled", "replayed", "replayed, modeled", "emulated": what a run's total is, when it was not
 * measured here; "". */
const char *wt_run_unreal(const struct wt_run *run);
/* The unit of the run's work, "token" of one. Returns buf. */
const char *wt_work_unit(const struct wt_run *run, char *buf, size_t size);
/* Whether the steps say more than the work does, which may be counted in steps itself. */
bool wt_work_has_steps(const struct wt_run *run);
/* Whether its command never started, being not there or no program: it took nothing. */
bool wt_run_is_unstarted(const struct wt_run *run);
/* Below the banner of a recording: what of it was measured here after all. */
const char *wt_replayed_words(const struct wt_run *run);

/* What a race of trainings came to, in one line. Returns buf. */
const char *wt_race_words(const struct wt_run *run, char *buf, size_t size);

/* "0.123 kg", "1234 kg": three digits, and none less before the point. Returns buf. */
const char *wt_three_digits(char *buf, size_t size, double value, const char *unit);

/* "18.0 ms": three digits in s, ms or us below a minute, days and hours from two days on, else as
 * wt_format_seconds. Returns buf. */
const char *wt_short_seconds(char *buf, size_t size, double s);

#endif
