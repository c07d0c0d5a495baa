/* trace: what the readers of recorded jobs share. Internal to the library. */
#ifndef WT_PLAN_TRACE_H
#define WT_PLAN_TRACE_H

#include "base/base.h"
#include "wattune/fleet.h"

/* A table of names while it grows: names to their index. */
struct wt_trace_index {
    struct wt_trace_names *names;
    uint32_t *slots; /* owned; index + 1, 0: free */
    size_t slot_count;
};

/* A file being read. */
struct wt_trace_reader {
    struct wt_trace *trace;
    size_t room;   /* for jobs */
    size_t number; /* of the line */
    struct wt_trace_index partitions, queues, users;
    void *columns;                 /* of sacct.c, owned */
    int64_t epoch_s;               /* of SWF: UnixStartTime; INT64_MIN: not told */
    struct wt_trace_label *labels; /* of SWF: names of numbers, owned */
    size_t label_count;
};

/* "NAME:LINE: ..." Returns WT_E_FORMAT. */
int wt_trace_bad(const struct wt_trace_reader *r, struct wt_error *err, const char *fmt, ...)
    WT_PRINTF(3, 4);
/* The index of a name, which is new or not. Errors: WT_E_NOMEM, WT_E_FORMAT (too many). */
int wt_trace_name(struct wt_trace_reader *r, struct wt_trace_index *index, const char *name,
                  uint32_t *ret_at, struct wt_error *err);
/* Adds a job; raises asked_s to run_s (0: not told) and counts what is not as it should be. */
int wt_trace_add(struct wt_trace_reader *r, struct wt_trace_job job, struct wt_error *err);
/* wt_trace_read of an open file; name is for messages. */
int wt_trace_parse(struct wt_trace *ret_trace, FILE *in, const char *name, struct wt_error *err);

/* Jobs by a time; of those at one time by their number. */
struct wt_trace_order {
    int64_t at_s;
    uint32_t job;
};
void wt_trace_sort(struct wt_trace_order *order, size_t count);

/* One line without its end, comments too. */
int wt_trace_swf_line(struct wt_trace_reader *r, char *line, struct wt_error *err);
/* After the last line. */
void wt_trace_swf_end(struct wt_trace_reader *r);
int wt_trace_sacct_line(struct wt_trace_reader *r, char *line, struct wt_error *err);

#endif
