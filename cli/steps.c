/* steps: see steps.h. */
#include <string.h>

#include "steps.h"

static void follow(struct cli_steps *s, const struct wt_mark *mark)
{
    size_t i = 0, k = 0;
    while (i < s->alive_count && s->alive[i] != mark->pid)
        i++;
    if (mark->kind == WT_MARK_GONE) {
        if (i < s->alive_count)
            s->alive[i] = s->alive[--s->alive_count];
        return;
    }
    if (i < s->alive_count || i == CLI_RANKS_MOST)
        return;
    while (k < s->seen_count && s->seen[k] != mark->rank)
        k++;
    if (!s->alive_count && (!mark->rank || k < s->seen_count)) {
        s->before = s->count;
        s->rank_count = s->seen_count = k = 0;
    }
    s->alive[s->alive_count++] = mark->pid;
    if (k == s->seen_count && k < CLI_RANKS_MOST)
        s->seen[s->seen_count++] = mark->rank;
}

static void add(struct cli_steps *s, const struct wt_mark *mark)
{
    size_t i = 0;
    while (i < s->rank_count &&
           (s->ranks[i].pid != mark->pid || strcmp(s->ranks[i].name, mark->name) != 0))
        i++;
    if (i == CLI_RANKS_MOST)
        return;
    if (i == s->rank_count) {
        s->ranks[i].pid = mark->pid;
        memcpy(s->ranks[i].name, mark->name, sizeof(mark->name));
        s->ranks[i].count = 0;
        s->rank_count++;
    }
    s->ranks[i].count = wt_mark_sum(s->ranks[i].count, mark->count);
    uint64_t count = wt_mark_sum(s->before, s->ranks[i].count);
    if (count > s->count)
        s->count = count;
}

uint64_t cli_steps_take(struct cli_steps *steps, const struct wt_mark *mark)
{
    follow(steps, mark);
    if (mark->kind == WT_MARK_STEP)
        add(steps, mark);
    return steps->count;
}
