/* auto: the power limit that a user found best on each model of card, as lines "WATTS MODEL" in a
 * file of his. Slurm's plugin reads it where he types --power-cap=auto (integrations/slurm/wish.c).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "record/record.h"

#define NAME      "slurm-auto"
#define BYTES_MAX 65536
#define LINE_MAX_ 300

/* Where the model of a line begins; NULL: it is no such line. */
static const char *model_of(const char *line)
{
    const char *at = line + strspn(line, " \t");
    if (*at == '#')
        return NULL;
    at += strcspn(at, " \t\n");
    at += strspn(at, " \t");
    return *at && *at != '\n' ? at : NULL;
}

int wt_auto_remember(const char *model, bool is_emulated, double limit_w, struct wt_error *err)
{
    struct wt_file_draft draft;
    char dir[4000], path[4096], label[256], *old = NULL, *text = NULL;
    size_t size = 0, length = 0;
    int rc = wt_store_default_dir(dir, sizeof(dir), err);
    if (rc < 0)
        return rc;
    wt_text(path, sizeof(path), "%s/" NAME, dir);
    wt_text(label, sizeof(label), "%s%.200s", is_emulated ? "EMULATED " : "", model);
    label[strcspn(label, "\n;")] = '\0';
    rc = wt_file_read(path, BYTES_MAX, &old, &size, err);
    if (rc == WT_E_NOTFOUND)
        rc = 0;
    if (rc == 0 && !(text = malloc(size + 1 + LINE_MAX_)))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %s", path);
    for (const char *at = old; rc == 0 && at && *at;) {
        size_t n = strcspn(at, "\n"), m = strlen(label);
        const char *found = model_of(at);
        bool is_same = found && found < at + n && strncmp(found, label, m) == 0 &&
                       found + m + strspn(found + m, " \t\r") == at + n;
        if (!is_same) {
            memcpy(text + length, at, n);
            length += n;
            text[length++] = '\n';
        }
        at += n + (at[n] == '\n');
    }
    if (rc == 0) {
        wt_text(text + length, LINE_MAX_, "%.0f %s\n", limit_w, label);
        length += strlen(text + length);
        rc = wt_file_begin(&draft, path, err);
    }
    if (rc == 0) {
        /* Whatever umask there is: what a group may write the plugin does not believe. */
        fchmod(draft.fd, 0644);
        fwrite(text, 1, length, draft.file);
        rc = wt_file_commit(&draft, err);
    }
    free(old);
    free(text);
    return rc;
}
