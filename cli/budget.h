/* budget: what the files of `wattune budget` share: Slurm's licences and reservations. */
#ifndef WT_CLI_BUDGET_H
#define WT_CLI_BUDGET_H

#include "cli.h"

/* Of a licence, as slurmctld counts it. */
struct budget_licence {
    bool is_known;
    uint64_t total_w, used_w;
};

struct budget_reservation {
    char name[96];
    int64_t start_s, end_s;
    uint64_t watts;
    bool is_kept; /* wanted as it is, or changed to what is wanted */
};

/* One command for Slurm. */
enum budget_verb { BUDGET_CREATE, BUDGET_UPDATE, BUDGET_DELETE };
struct budget_action {
    enum budget_verb verb;
    char words[8][160]; /* after "scontrol" */
    size_t count;
    char name[96], what[160];
    int rc; /* once done: 0, or an error */
};

/* Reservations named wattune-LICENCE-WATTS are ours, and no others are touched. */
struct budget_slurm {
    const char *licence, *user;
    struct budget_licence count;
    struct budget_reservation *there; /* owned */
    size_t there_count;
    struct budget_action *actions; /* owned; creations and changes, then deletions */
    size_t action_count;
};

/* Asks for the licence and our reservations. Errors: WT_E_NOTFOUND (no scontrol, no such licence),
 * WT_E_IO (no controller), WT_E_FORMAT, WT_E_NOMEM. */
int cli_budget_ask(struct budget_slurm *s, struct wt_error *err);
/* What makes the reservations those of the layers. Errors: WT_E_NOMEM. */
int cli_budget_compare(struct budget_slurm *s, const struct wt_budget_layer *layers, size_t count,
                       int64_t now_s, struct wt_error *err);
/* Does it. What frees watts comes last, so that no moment has more than the lower of the two
 * budgets; only what Slurm refuses before is tried again after it. Errors: the first one. */
int cli_budget_act(struct budget_slurm *s, struct wt_error *err);
/* As a shell would need it. */
void cli_budget_line(char *buf, size_t size, const struct budget_action *action);
void cli_budget_done(struct budget_slurm *s);

#endif
