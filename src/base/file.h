/* Whole files: read within a limit, and replaced at once or not at all.
 *
 * Internal to the library. Threads: any thread. */
#ifndef WT_FILE_H
#define WT_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "wattune/error.h"

/* A regular file of at most max bytes, with a NUL behind it that *ret_size does not count.
 * *ret_text is owned: free(). Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_FORMAT (longer, or no
 * regular file), WT_E_IO, WT_E_NOMEM. */
int wt_file_read(const char *path, size_t max, char **ret_text, size_t *ret_size,
                 struct wt_error *err);

/* A file being written under a temporary name beside its own. A link to a file stays one, and the
 * file keeps its mode; what is no file (a terminal, a pipe, a device) is written to as it is. */
struct wt_file_draft {
    FILE *file;                   /* to write to; has no fileno() */
    int fd, failed;               /* failed: errno of the first write that did */
    char path[4096], fresh[4160]; /* fresh: ""; it is no file */
};
/* *draft stays where it is until commit or drop. Errors: WT_E_RANGE (a path too long), and those of
 * the system. */
int wt_file_begin(struct wt_file_draft *draft, const char *path, struct wt_error *err);
/* Takes the file's name: written to disk, renamed, and the folder written as well. Errors: as the
 * system says, also of earlier writes; the old file is then still there. */
int wt_file_commit(struct wt_file_draft *draft, struct wt_error *err);
/* Forgets it. Nothing after a commit, or where begin failed. */
void wt_file_drop(struct wt_file_draft *draft);
/* The three in one. */
int wt_file_replace(const char *path, const char *text, size_t size, struct wt_error *err);

#endif
