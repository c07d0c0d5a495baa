/* hold: the prolog's and epilog's work - the job's facts written, wattuned told of the job, its
 * caps held, what came of it noted for the user. */
#ifndef WT_SLURM_HOLD_H
#define WT_SLURM_HOLD_H

#include "facts.h"
#include "wish.h"

#define WT_SLURM_NOTES 16

/* What Slurm says of a job here. Texts are borrowed; NULL: not said. */
struct wt_slurm_job {
    uint32_t job, uid, nodes;
    const char *user, *account, *partition, *name, *cluster, *node, *gpus;
};

struct wt_slurm_hold {
    struct wt_slurm_config config;
    struct wt_slurm_wish wish;
    struct wt_slurm_job job;
    char dir[300];  /* of the facts */
    int64_t now_ns; /* CLOCK_REALTIME */
    /* Told besides, in slurmd's log. */
    void (*log)(const char *text);
};

/* What it has come to is in the facts: cap_set_mw, or refused= with a reason; and note= lines for
 * the user. */
void wt_slurm_hold_begin(struct wt_slurm_hold *h);
void wt_slurm_hold_end(struct wt_slurm_hold *h);
/* After a start of slurmd: ends the jobs of which the controller says that they are over. One that
 * was being ended just as slurmd was killed has no epilog, ever (docs/slurm.md). Returns at once
 * where there is none; else takes a minute and more, and asks squeue a few times. */
void wt_slurm_hold_reconcile(struct wt_slurm_hold *h);
/* The lines that all facts of a job begin with. */
void wt_slurm_hold_head(struct wt_slurm_facts *facts, const struct wt_slurm_job *job);
/* "150" or "auto"; "": nothing was said. */
char *wt_slurm_power_text(char *buf, size_t size, const struct wt_slurm_wish *wish);

#endif
