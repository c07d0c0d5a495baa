/* wish: what a user typed and an operator wrote, as numbers - options, arguments of plugstack.conf,
 * lists of GPUs, the two small tables. Pure but for the reading of the tables. */
#ifndef WT_SLURM_WISH_H
#define WT_SLURM_WISH_H

#include "base/base.h"

#define WT_SLURM_GPUS 64 /* of one node */

enum wt_slurm_power {
    WT_SLURM_UNSAID = 0,
    WT_SLURM_WATTS,
    WT_SLURM_AUTO,
    WT_SLURM_OFF,
    WT_SLURM_YES, /* --gpupower=yes: the site's default, or auto where there is none */
};

struct wt_slurm_wish {
    enum wt_slurm_power power;
    int64_t cap_mw;    /* of WT_SLURM_WATTS */
    int64_t clock_khz; /* 0: not asked for */
    bool is_required, has_report;
    char autos[1024]; /* the user's own "WATTS MODEL;...", for WT_SLURM_AUTO; "": none */
};

/* What follows the plugin's name in plugstack.conf. "%n" in a path is the node's name. */
struct wt_slurm_config {
    char run[256], socket[256], map[256], autos[256];
    int64_t default_mw; /* 0: none */
    int64_t timeout_ns;
};

/* 0, or WT_E_USAGE with a sentence for the user. */
int wt_slurm_parse_cap(const char *text, struct wt_slurm_wish *io_wish, struct wt_error *err);
int wt_slurm_parse_gpupower(const char *text, struct wt_slurm_wish *io_wish, struct wt_error *err);
int wt_slurm_parse_clock(const char *text, struct wt_slurm_wish *io_wish, struct wt_error *err);
/* Arguments that are none are passed over and the first of them is told in err (WT_E_USAGE): a
 * mistake there must not stop jobs. */
int wt_slurm_parse_config(int count, char **args, const char *node,
                          struct wt_slurm_config *ret_config, struct wt_error *err);
/* "0,3" or "0-2". Errors: WT_E_FORMAT. NULL, "" and Slurm's "NoDevFiles" are no GPUs. */
int wt_slurm_parse_gpus(const char *text, uint32_t ret_gpus[WT_SLURM_GPUS], size_t *ret_count,
                        struct wt_error *err);
/* How many hosts "n[1-3,7],m2" names; 0: cannot be read. */
uint32_t wt_slurm_count_hosts(const char *list);
/* A copy in which what is no printable UTF-8 is '?'; cut at a whole character. */
char *wt_slurm_clean(char *buf, size_t size, const char *text);

/* A line "NUMBER ID" of a file: the device that Slurm's GPU of this number is. Errors:
 * WT_E_NOTFOUND (no such file or line), WT_E_DENIED (a file that others may write), WT_E_IO. */
int wt_slurm_map_find(const char *path, uint32_t gpu, char *ret_id, size_t size,
                      struct wt_error *err);
/* The watts of the first line "WATTS MODEL" whose MODEL (* and ? as in file names) fits. Errors:
 * as above, and WT_E_FORMAT (names the line). */
int wt_slurm_auto_find(const char *path, const char *model, int64_t *ret_cap_mw,
                       struct wt_error *err);
/* What `wattune tune` noted for this user, who is at the terminal, as "WATTS MODEL;WATTS MODEL".
 * Lines that do not fit are left out. Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_FORMAT, WT_E_IO. */
int wt_slurm_auto_own(char *buf, size_t size, struct wt_error *err);
/* The watts of a model in that. Errors: WT_E_NOTFOUND. */
int wt_slurm_auto_pick(const char *list, const char *model, int64_t *ret_cap_mw);

#endif
