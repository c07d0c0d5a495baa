/* series: what a sensor has shown over time, as knots of cumulative energy, and the energy of a
 * window read off it with its bound.
 *
 * A counter's reading becomes a knot each time it moves: the move lies between the last read that
 * saw the old value and the first that saw the new one, and, once the counter's phase has been
 * caught finely, at a known instant. Power samples become knots too: each sample holds from half
 * way to its predecessor to half way to its successor. Between knots energy is interpolated.
 *
 * A counter that is slow to read is read rarely, and then some spans are seconds long: the power
 * readings beside it say how their energy is spread.
 *
 * docs/measurement.md derives the bounds. Nothing here locks or reads a clock. Internal. */
#ifndef WT_WINDOW_SERIES_H
#define WT_WINDOW_SERIES_H

#include "base/base.h"
#include "wattune/device.h"

struct wt_series_traits {
    bool is_counter;
    int64_t period_ns;     /* of the counter, or of the power reading's refresh; 0: unknown */
    uint64_t quantum_uj;   /* of the counter */
    int64_t unit_ns;       /* the sensor looks once in this long (a sample: or once a poll) ... */
    int64_t seen_ns;       /* ... for this long; 0: always */
    int64_t shift_ns;      /* what a reading says belongs this much later (mostly: < 0, earlier) */
    int64_t shift_half_ns; /* and that is known to within this, either side */
    int64_t smear_ns;      /* a running mean over this much longer than a period; 0: none */
    double gain;           /* two-sided, 95 %, as a share */
    double offset_w;       /* two-sided, 95 % */
    /* A model's band, in place of both: what the truth may be lower or higher by, as a share and in
     * W; added as it stands at every z. */
    double band_low, band_low_w, band_high, band_high_w;
    bool is_constant; /* power that never changes: one reading says all */
};

/* The counter of a device, or its power readings. */
void wt_series_traits_counter(const struct wt_sensor_traits *sensor,
                              struct wt_series_traits *ret_traits);
void wt_series_traits_power(const struct wt_sensor_traits *sensor,
                            struct wt_series_traits *ret_traits);

enum wt_knot_kind {
    WT_KNOT_PLAIN,  /* the span before it was measured */
    WT_KNOT_UNREAD, /* measured as a whole, but nothing was read in it */
    WT_KNOT_GAP,    /* not measured: guessed and bounded */
};

struct wt_knot {
    int64_t lo_ns, hi_ns; /* the move lay between these */
    int64_t before_ns;    /* when the read that saw it began */
    int64_t x_ns;         /* energy up to here is cum_j */
    int32_t half_ns;      /* x_ns is good to this, either side */
    enum wt_knot_kind kind;
    double cum_j;
    double slack_low_j, slack_high_j; /* what gaps up to here may have had less, or more */
    unsigned unbounded;               /* gaps up to here of which even the most is not known */
    const char *why;                  /* of a gap; static, or of series.words */
    bool is_contested;                /* power readings contradict the span before it */
    uint32_t max_mw;                  /* highest power read since the knot before */
};

#define WT_SERIES_WORDS 8

struct wt_series {
    struct wt_series_traits traits;
    double power_max_w; /* the most the device draws; 0: unknown */

    struct wt_knot *knots; /* owned */
    size_t count, room, limit;

    /* the last good reading */
    bool has_value;
    uint64_t value_uj;
    double value_w;
    int64_t t_same_ns; /* start of the last read that saw this value */
    int64_t t_read_ns; /* end of the last good read */
    bool is_broken;    /* a read has failed since */
    const char *why;
    char *words[WT_SERIES_WORDS]; /* owned: what sensors said, each once; NULL: not used yet */

    bool has_suspect;
    uint64_t suspect_uj;
    int64_t t_suspect_ns;
    uint64_t garbage_count, reset_count;

    /* the counter's phase */
    bool has_ref;
    int64_t ref_ns, ref_half_ns, first_ref_ns, first_half_ns;
    double tick_ns, tick_ppm; /* and how well that is known */
    uint32_t max_mw;

    /* A counter that is slow to read, and so read rarely: what goes on in its long spans is read
     * off the power readings beside it. Both set by the owner. */
    bool is_slow;
    const struct wt_series *shape; /* borrowed; NULL: none */
};

void wt_series_init(struct wt_series *s, const struct wt_series_traits *traits, size_t limit);
void wt_series_done(struct wt_series *s);

/* One reading, times as the read's start and end. Errors: WT_E_NOMEM. */
int wt_series_add_energy(struct wt_series *s, int64_t before_ns, int64_t after_ns, uint64_t uj);
int wt_series_add_power(struct wt_series *s, int64_t before_ns, int64_t after_ns, double w);
/* A read that failed: a gap begins, joules do not. why: copied; there is room for a few different
 * ones, and later ones are no more than "it could not be read". */
void wt_series_add_failure(struct wt_series *s, const char *why);
/* A power reading beside a counter: for the highest power of a window, and the next guess. */
void wt_series_note_power(struct wt_series *s, double w);
/* The device's limit: bounds what gaps may hide. */
void wt_series_note_limit(struct wt_series *s, double w);

/* Full, so that wt_series_thin is due. */
bool wt_series_is_full(const struct wt_series *s);
/* Drops knots older than keep_ns that are not within margin_ns of one of the sorted edges. What
 * remains gives the same energies at these edges. */
void wt_series_thin(struct wt_series *s, const int64_t *edges_ns, size_t count, int64_t keep_ns,
                    int64_t margin_ns);

struct wt_span {
    bool is_known;
    const char *why;   /* not known, or what widened the bound; NULL: nothing */
    bool has_holes;    /* some of it was not read */
    bool is_contested; /* power readings contradict it: no reason to believe those instead */
    double contested_more_j, contested_less_j; /* the most that these say more of it, or less */
    double energy_j, low_j, high_j;
    double max_w; /* NaN: no power was read */
};
/* Energy from one time to another; z: 1.96 for 95 %. */
void wt_series_span(const struct wt_series *s, int64_t from_ns, int64_t to_ns, double z,
                    struct wt_span *ret_span);
/* Is a window's energy the integrated power, of these two? The counter's it is, unless that is
 * lost, or has holes where the power has not. Then by_power is widened by what it contradicts of
 * the counter besides. */
bool wt_span_is_by_power(const struct wt_span *by_counter, struct wt_span *by_power);
/* A power reading that stood still while its device's counter did is as frozen as that: of what
 * power says of a window, this is a hole. True: there is one, and the span was widened. */
bool wt_series_doubt(const struct wt_series *counter, const struct wt_series *power,
                     int64_t from_ns, int64_t to_ns, struct wt_span *io_by_power);
/* The latest power the series knows, NaN while it knows none. */
double wt_series_power_w(const struct wt_series *s);
/* Up to when energies can be read off without a guess. INT64_MIN: nothing yet. */
int64_t wt_series_covered_ns(const struct wt_series *s);
/* Until when one must have read so that t_ns is covered. */
int64_t wt_series_cover_ns(const struct wt_series *s, int64_t t_ns);

/* Calls fn for every gap that touches the window, clipped to it. bound_j may be INFINITY. */
void wt_series_gaps(const struct wt_series *s, int64_t from_ns, int64_t to_ns,
                    void (*fn)(void *data, int64_t from_ns, int64_t to_ns, double bound_j,
                               const char *why),
                    void *data);

#endif
