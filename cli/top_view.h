/* top_view: a live state as lines of text of a given width, for the screen of `wattune top` and for
 * its --once. Knows no terminal. */
#ifndef WT_CLI_TOP_VIEW_H
#define WT_CLI_TOP_VIEW_H

#include "cli.h"

enum top_sort { TOP_BY_INDEX, TOP_BY_POWER, TOP_BY_ENERGY, TOP_BY_TEMPERATURE, TOP_SORTS };
/* "device", "power", ... */
const char *top_sort_name(enum top_sort sort);
/* The inverse. False: it is none. */
bool top_sort_parse(const char *name, enum top_sort *ret_sort);

enum top_look { TOP_PLAIN, TOP_BOLD, TOP_DIM, TOP_REVERSE };

struct top_line {
    char text[1024]; /* at most as many columns as the view is wide */
    enum top_look look;
};

struct top_view {
    unsigned width;
    bool is_utf8;
    enum top_sort sort;
    struct top_line *lines; /* owned */
    size_t count, room;
    bool is_out_of_memory;
};

/* Draws a state anew into the view. False: no memory. */
bool top_view_draw(struct top_view *view, const struct wt_live_state *state);
/* The keys and what is shown, instead. */
bool top_view_help(struct top_view *view);
void top_view_done(struct top_view *view);

#endif
