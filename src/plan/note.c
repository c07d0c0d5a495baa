/* note: what a result rests on, in words for whoever reads it. */
#include <stdlib.h>

#include "plan/signal.h"

int wt_plan_note_add(struct wt_plan_note **io_notes, size_t *io_count, struct wt_error *err,
                     const char *fmt, ...)
{
    struct wt_plan_note *notes = reallocarray(*io_notes, *io_count + 1, sizeof(*notes));
    if (!notes)
        return wt_fail(err, WT_E_NOMEM, "no memory for a note");
    va_list args;
    va_start(args, fmt);
    vsnprintf(notes[*io_count].text, sizeof(notes->text), fmt, args);
    va_end(args);
    *io_notes = notes;
    ++*io_count;
    return 0;
}
