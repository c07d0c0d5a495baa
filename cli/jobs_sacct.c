/* jobs_sacct: the energy of ended jobs goes into Slurm's accounting as their AdminComment, where
 * `sacct -o jobid,admincomment` shows it. Slurm's own programs do it: sacct reads what is there,
 * sacctmgr writes; no shell is between.
 *
 * A comment that is empty or begins with "wattune:" is ours to write. Others' is left alone, unless
 * that is forced. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs.h"
#include "slurm.h"

#define OURS  "wattune:"
#define BATCH 200 /* jobs asked for at once */

/* Runs a program of Slurm's. *ret_text: all that it wrote, owned. False: told why. */
static bool run(char *const *argv, char **ret_text)
{
    struct wt_error err = {0};
    char *text = NULL;
    int code = cli_slurm_run(argv, &text, &err);
    if (code < 0)
        cli_note("%s%s%s", err.text, err.fix[0] ? "; " : "", err.fix);
    else if (code)
        cli_note("%s failed%s%.200s", argv[0], *text ? ": " : "", text);
    if (code == 0 && ret_text)
        *ret_text = text;
    else
        free(text);
    return code == 0;
}

/* What is known of a job in one line, without characters that Slurm's programs take for theirs. */
static void comment_of(char *buf, size_t size, const struct wt_job_sum *sum)
{
    const struct wt_joules *e = &sum->energy;
    char high[48] = "unknown";
    if (isfinite(e->high_j))
        snprintf(high, sizeof(high), "%.1f", e->high_j);
    snprintf(buf, size, OURS " energy_j=%.1f low_j=%.1f high_j=%s provenance=%s%s%s%s", e->energy_j,
             e->low_j, high, wt_provenance_name(e->provenance), sum->gap_s > 0 ? " gap" : "",
             sum->unknown ? " part_unknown" : "", sum->lost ? " lost" : "");
}

/* The comment that sacct printed for this job: "N|TEXT". NULL: it does not know the job. */
static char *comment_in(const char *text, uint32_t job, char *buf, size_t size)
{
    char head[16];
    int len = snprintf(head, sizeof(head), "%u|", job);
    for (const char *line = text; *line;) {
        size_t all = strcspn(line, "\n");
        if (strncmp(line, head, (size_t)len) == 0) {
            snprintf(buf, size, "%.*s", (int)(all - (size_t)len), line + len);
            return buf;
        }
        line += all + (line[all] == '\n');
    }
    return NULL;
}

/* Of a job of this cluster ("": of the one that Slurm's programs take for theirs). */
static bool write_comment(const char *cluster, uint32_t job, const char *comment)
{
    char of[80], where[32], set[320];
    snprintf(of, sizeof(of), "cluster=%s", cluster);
    snprintf(where, sizeof(where), "jobid=%u", job);
    snprintf(set, sizeof(set), "admincomment=%s", comment);
    char *argv[10] = {(char *)"sacctmgr", (char *)"-i", (char *)"modify", (char *)"job",
                      (char *)"where"};
    size_t n = 5;
    if (cluster[0])
        argv[n++] = of;
    argv[n++] = where;
    argv[n++] = (char *)"set";
    argv[n] = set;
    return run(argv, NULL);
}

static bool is_to_write(const struct wt_job_sum *sum)
{
    return !sum->running && sum->energy.provenance != WT_PROV_UNKNOWN;
}

struct tally {
    size_t written, same, foreign, absent, failed;
};

static void take_one(const struct wt_job_sum *sum, const char *listed, bool is_forced, bool is_dry,
                     struct tally *tally)
{
    char comment[256], there[1024];
    uint32_t job = sum->first->job;
    comment_of(comment, sizeof(comment), sum);
    if (!comment_in(listed, job, there, sizeof(there))) {
        tally->absent++;
        return;
    }
    if (strcmp(there, comment) == 0) {
        tally->same++;
        return;
    }
    if (there[0] && strncmp(there, OURS, strlen(OURS)) != 0 && !is_forced) {
        cli_note("job %u: left alone, as others wrote there: %.100s (--force writes over it)", job,
                 there);
        tally->foreign++;
        return;
    }
    if (is_dry)
        printf("%u  %s\n", job, comment);
    if (is_dry || write_comment(sum->first->cluster, job, comment))
        tally->written++;
    else
        tally->failed++;
}

/* A batch of jobs of one cluster. False: sacct did not work. */
static bool take_batch(const struct wt_job_sum *const *sums, size_t count, bool is_forced,
                       bool is_dry, struct tally *tally)
{
    char list[BATCH * 12] = "", *listed = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%u", used ? "," : "", sums[i]->first->job);
    }
    /* Numbers of jobs are of a cluster: without its name it is asked of another, perhaps. */
    char *argv[12] = {(char *)"sacct", (char *)"-n", (char *)"-X", (char *)"-P"};
    size_t n = 4;
    if (sums[0]->first->cluster[0]) {
        argv[n++] = (char *)"-M";
        argv[n++] = (char *)sums[0]->first->cluster;
    }
    argv[n++] = (char *)"-j";
    argv[n++] = list;
    argv[n++] = (char *)"-o";
    argv[n] = (char *)"jobidraw,admincomment";
    if (!run(argv, &listed))
        return false;
    for (size_t i = 0; i < count; i++)
        take_one(sums[i], listed, is_forced, is_dry, tally);
    free(listed);
    return true;
}

static int compare_clusters(const void *one, const void *other)
{
    const struct wt_job_row *x = (*(const struct wt_job_sum *const *)one)->first;
    const struct wt_job_row *y = (*(const struct wt_job_sum *const *)other)->first;
    int order = strcmp(x->cluster, y->cluster);
    return order ? order : (x->job > y->job) - (x->job < y->job);
}

int cli_jobs_sacct(const struct wt_job_sum *sums, size_t count, bool is_forced, bool is_dry)
{
    struct tally tally = {0};
    const struct wt_job_sum **list = calloc(count + 1, sizeof(*list));
    size_t taken = 0;
    bool is_good = list != NULL;
    if (!list)
        cli_note("no memory for the jobs");
    for (size_t i = 0; list && i < count; i++)
        if (is_to_write(&sums[i]))
            list[taken++] = &sums[i];
    if (taken)
        qsort(list, taken, sizeof(*list), compare_clusters);
    for (size_t i = 0, end; is_good && i < taken; i = end) {
        for (end = i + 1; end < taken && end - i < BATCH; end++)
            if (strcmp(list[end]->first->cluster, list[i]->first->cluster) != 0)
                break;
        is_good = take_batch(list + i, end - i, is_forced, is_dry, &tally);
    }
    free(list);
    if (!is_good)
        return CLI_FAILURE;
    cli_note("%zu %s, %zu already there, %zu of others left alone, %zu that Slurm does not know%s",
             tally.written, is_dry ? "would be written" : "written", tally.same, tally.foreign,
             tally.absent, tally.failed ? "; some could not be written" : "");
    return tally.failed ? CLI_FAILURE : CLI_OK;
}
