/* feed_cache: the last good series of each feed, as a CSV that wt_signal_read reads too.
 *
 * A file a source in $XDG_CACHE_HOME/wattune/feeds (or ~/.cache, or /var/cache of a service that
 * has no home), of its owner alone. Lines of # say when it was read, from which URL, from when on
 * its values are the service's forecast, and how many rows there are. A file that is not as it was
 * written is not there. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "plan/feed.h"

bool wt_feed_cache_folder(char *buf, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        wt_text(buf, size, "%s/wattune/feeds", cache);
    else if (home && *home == '/')
        wt_text(buf, size, "%s/.cache/wattune/feeds", home);
    else if (geteuid() == 0)
        wt_text(buf, size, "/var/cache/wattune/feeds");
    else
        return false;
    return strlen(buf) + 1 < size;
}

int wt_signal_print(const struct wt_signal *s, FILE *out, const char *url)
{
    char text[32];
    int64_t end_s = wt_signal_info(s).end_s; /* Wattune's own forecast is no part of it */
    size_t count = s->count;
    while (count && s->at_s[count - 1] >= end_s)
        count--;
    /* The last row is held as long as the one before it: two halves say any length. */
    bool is_halved = count == 1 || (count && end_s - s->at_s[count - 1] !=
                                                 s->at_s[count - 1] - s->at_s[count - 2]);
    if (s->fetched_s) {
        fprintf(out, "# source: %s\n", *s->source ? s->source : s->name);
        fprintf(out, "# fetched: %s\n", wt_moment_text(text, sizeof(text), s->fetched_s));
        if (url) /* a file that is kept: no one else adds rows */
            fprintf(out, "# url: %s\n# rows: %zu\n", url, count + is_halved);
        if (*s->feed_word)
            fprintf(out, "# word: %s\n", s->feed_word);
    }
    if (s->service_s != INT64_MAX)
        fprintf(out, "# forecast: %s\n", wt_moment_text(text, sizeof(text), s->service_s));
    fprintf(out, "time,%s\n", wt_signal_kind_column(s->kind));
    for (size_t i = 0; i < count; i++) {
        int64_t at_s[2] = {s->at_s[i], 0};
        size_t rows = 1;
        if (i + 1 == count && is_halved)
            at_s[rows++] = s->at_s[i] + (end_s - s->at_s[i]) / 2;
        for (size_t k = 0; k < rows; k++) {
            fprintf(out, "%s,", wt_moment_text(text, sizeof(text), at_s[k]));
            if (isnan(s->values[i]))
                fputc('\n', out);
            else
                fprintf(out, "%.10g\n", s->values[i]);
        }
    }
    return ferror(out) ? WT_E_IO : 0;
}

/* entsoe:10Y1001A1001A82H in FOLDER/entsoe-10Y1001A1001A82H.csv; sources have no other letters. */
static void path_of(char *buf, size_t size, const char *folder, const char *source)
{
    wt_text(buf, size, "%s/%s.csv", folder, source);
    char *colon = strchr(buf + strlen(folder), ':');
    if (colon)
        *colon = '-';
}

int wt_feed_cache_read(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *folder,
                       const char *source, const char *url, struct wt_error *err)
{
    char path[4096];
    struct wt_signal *s = NULL;
    path_of(path, sizeof(path), folder, source);
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail(err, WT_E_NOTFOUND, "nothing is kept of %s", source);
    int rc = wt_signal_parse(&s, kind, in, source, err);
    if (rc == 0 && (s->form != WT_SIGNAL_SERIES || !s->fetched_s ||
                    strcmp(s->source, source) != 0 || strcmp(s->url, url) != 0))
        rc = WT_E_NOTFOUND;
    fclose(in);
    if (rc < 0) {
        wt_signal_free(s);
        return rc == WT_E_NOMEM
                   ? rc
                   : wt_fail(err, WT_E_NOTFOUND, "%s: is no series of %s", path, source);
    }
    *ret_signal = s;
    return 0;
}

int wt_feed_cache_write(const struct wt_signal *signal, const char *folder, const char *source,
                        const char *url, struct wt_error *err)
{
    char path[4096];
    struct wt_file_draft draft;
    int rc = wt_fs_mkdirs(folder, 0700, err);
    if (rc < 0)
        return rc;
    path_of(path, sizeof(path), folder, source);
    rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        return rc;
    if (fchmod(draft.fd, 0600) < 0)
        rc = wt_fail_errno(err, errno, "%s", draft.fresh);
    if (rc == 0) {
        wt_signal_print(signal, draft.file, url); /* ferror() keeps a failure for the commit */
        rc = wt_file_commit(&draft, err);
    }
    wt_file_drop(&draft);
    return rc;
}

int wt_signal_save(const struct wt_signal *signal, const char *path, struct wt_error *err)
{
    if (signal->form != WT_SIGNAL_SERIES) {
        wt_fail(err, WT_E_UNSUPPORTED, "%s is no series, and is not kept", signal->name);
        return WT_E_UNSUPPORTED;
    }
    struct wt_file_draft draft;
    int rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        return rc;
    wt_signal_print(signal, draft.file, NULL); /* ferror() keeps a failure for the commit */
    return wt_file_commit(&draft, err);
}
