/* pacer: when one device is to be polled besides the regular grid.
 *
 * A counter moves once in its period, and a window's edge can be placed no better than the moves
 * around it are known. Polling finely all the time would find every move and cost too much; the
 * moves are periodic, so it is enough to catch one of them finely now and then (a burst) and to
 * poll once just after the move that a window's end is waiting for.
 *
 * Where a read is slow (3 ms and 4 ms of a processor on an H100) even the grid is too much. Such a
 * counter is left alone between edges: an edge has it read at once and after its next move, and a
 * burst every few seconds keeps the phase known, so that each read can be told from its place.
 *
 * Pure: told the time and what was read, it says when to read next. Internal to the library. */
#ifndef WT_SAMPLER_PACER_H
#define WT_SAMPLER_PACER_H

#include "base/base.h"

struct wt_pacer {
    int64_t tick_ns;                /* the counter's period; never 0 */
    int64_t step_ns, least_step_ns; /* between the polls of a burst */
    int64_t cost_ns;                /* of a read, smoothed; 0: none yet */
    bool is_counter;

    bool has_value;
    uint64_t value;
    int64_t t_same_ns; /* start of the last read that saw this value */

    int64_t ref_ns;    /* a move caught finely lay just before this; INT64_MIN: none yet */
    int64_t ref_lo_ns; /* and after this */

    bool is_following; /* catch every move finely, not one now and then */
    unsigned bursts;   /* so far, while following */
    bool is_seeking;
    int64_t sought_ns;         /* when an edge last began a search */
    int64_t from_ns, until_ns; /* poll between these, or until done */
    int64_t after_ns;          /* a move at or after this ends the search */
    int64_t cover_ns;          /* the latest time anyone waits for */
    unsigned seen;             /* polls at or after from_ns, where there is no counter */

    /* A counter whose reads take long, read rarely. */
    bool may_be_rare;
    unsigned slow_score;    /* up with every slow read, down with every quick one */
    int64_t point_ns;       /* the next single read that an edge wants; INT64_MAX: none */
    int64_t point_done_ns;  /* a read from then on has seen the move after the edge */
    int64_t retry_ns;       /* one that failed is not tried again before this */
    unsigned apart_count;   /* so often it has been put off */
    int64_t edges_ns[4];    /* the latest, in a ring */
    unsigned edge_count;    /* so far */
    unsigned vain_count;    /* searches that found nothing, since one did */
    int64_t dense_until_ns; /* edges came so fast that every move is wanted */
};

/* tick_ns 0 is unknown: 100 ms is assumed, the slowest in use. */
void wt_pacer_init(struct wt_pacer *p, int64_t tick_ns, bool is_counter);
/* A window's edge lay at about now: find the counter's phase unless it is known freshly. */
void wt_pacer_edge(struct wt_pacer *p, int64_t now_ns);
/* Somebody waits for readings that cover t_ns. */
void wt_pacer_cover(struct wt_pacer *p, int64_t now_ns, int64_t t_ns);
/* From now on every move is caught finely: for whoever needs to know when each was. */
void wt_pacer_follow(struct wt_pacer *p, int64_t now_ns);
/* The counter may be read rarely, should its reads turn out to be slow: it sees all of the time,
 * does not wrap, and there are power readings for what happens in between. */
void wt_pacer_allow_rare(struct wt_pacer *p);
/* Is it slow to read? A millisecond a read, by most of the reads so far. */
bool wt_pacer_is_slow(const struct wt_pacer *p);
/* Is it read rarely at present? */
bool wt_pacer_is_rare(const struct wt_pacer *p, int64_t now_ns);
/* Is the counter to be read with this poll of the grid? Of a slow one, where its phase is to be
 * found (again), this begins the search, if it may: two at a time would delay each other's reads.
 */
bool wt_pacer_grid(struct wt_pacer *p, int64_t now_ns, bool may_seek);
/* Slow reads before it may have delayed a single read: it is put off while it would meet a move,
 * but not more than twice. */
void wt_pacer_keep_apart(struct wt_pacer *p, int64_t now_ns);
/* Is a read beyond the grid due? */
bool wt_pacer_is_due(const struct wt_pacer *p, int64_t now_ns);
/* What a read returned; is_read: a counter's value. */
void wt_pacer_saw(struct wt_pacer *p, int64_t t_before_ns, int64_t t_after_ns, bool is_read,
                  uint64_t energy_uj);
/* The next read beyond the grid; INT64_MAX: none. */
int64_t wt_pacer_next_ns(const struct wt_pacer *p, int64_t now_ns);

#endif
