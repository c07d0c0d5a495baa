/* table: what the reports on a terminal are set in. Internal to the library. */
#ifndef WT_REPORT_TABLE_H
#define WT_REPORT_TABLE_H

#include "base/base.h"
#include "wattune/report.h"

enum { WT_COLUMNS_MAX = 12 };

enum wt_paint { WT_PLAIN, WT_DIM, WT_BOLD, WT_GREEN, WT_YELLOW, WT_RED };

/* Columns a text takes: characters, as names here are in scripts of single width. */
size_t wt_term_columns(const char *text);
/* What a terminal may be sent is left of a text. */
void wt_term_clean(const struct wt_term *term, char *text);
/* Words broken into lines of the window's width, the first after `lead`, the others as far in. */
void wt_term_wrap(const struct wt_term *term, enum wt_paint colour, const char *lead,
                  const char *text);
/* Above all figures: that they are not of this machine. */
void wt_term_banner(const struct wt_term *term, const char *word, const char *what,
                    const char *words);

struct wt_column {
    const char *head;
    bool is_right;
    const char *brief; /* head of its brief form; NULL: the same */
};

enum wt_form { WT_FULL, WT_BRIEF, WT_HIDDEN };

/* What gives way when the window is narrow, in this order. */
struct wt_table_step {
    size_t column;
    enum wt_form form;
};

struct wt_cell {
    char full[200], brief[48]; /* brief "": the same */
};

struct wt_table {
    const struct wt_term *term;
    const struct wt_column *columns;
    size_t column_count, row_count;
    const struct wt_table_step *steps;
    size_t step_count;
    size_t last_min; /* columns that the last one can be cut down to */
    bool is_whole;   /* nothing is cut: what does not fit the first column has a line of its own */
    struct wt_cell *cells;
    enum wt_paint *colours; /* of rows */
};

/* False: no memory. Either way wt_table_done. */
bool wt_table_init(struct wt_table *table, const struct wt_term *term,
                   const struct wt_column *columns, size_t column_count, size_t row_count);
void wt_table_done(struct wt_table *table);
struct wt_cell *wt_table_cell(const struct wt_table *table, size_t row, size_t column);
void wt_table_set(struct wt_table *table, size_t row, size_t column, const char *fmt, ...)
    WT_PRINTF(4, 5);
/* An energy, or a power, with its interval. The brief form, for a narrow window, is the value; of
 * what is modeled, whose value alone says too much, from where to where. */
void wt_table_joules(struct wt_table *table, size_t row, size_t column,
                     const struct wt_joules *joules);
void wt_table_power(struct wt_table *table, size_t row, size_t column, const struct wt_estimate *w,
                    enum wt_provenance provenance);
/* Three digits, nothing of a number that is not known. */
void wt_table_watts(struct wt_table *table, size_t row, size_t column, double watts);
/* The brief form of a cell that holds a setting: "power=150 W, clock=900 MHz" as "150 W, 900 MHz".
 */
void wt_table_brief_label(struct wt_cell *cell);
/* Whether it does, with all that can give way given. */
bool wt_table_fits(const struct wt_table *table);
void wt_table_print(const struct wt_table *table);

/* ---- terminal.c ---- */

/* The banners a run has. */
void wt_term_banners(const struct wt_term *term, const struct wt_run *run);

#endif
