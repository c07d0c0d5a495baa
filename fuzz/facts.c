/* Facts of jobs: any file is read or refused with a word, and what is read is text that a terminal
 * and a database take. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "jobs/jobs.h"

static void check_text(const char *text)
{
    bool is_good;
    if (wt_jobs_text_fits(text, strlen(text), SIZE_MAX, &is_good) != strlen(text) || !is_good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wt_job_facts f;
    struct wt_error err = {0};
    if (wt_job_facts_parse(&f, (const char *)data, size, "facts", &err) < 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    check_text(f.user);
    check_text(f.account);
    check_text(f.partition);
    check_text(f.name);
    check_text(f.cluster);
    check_text(f.node);
    check_text(f.model);
    if (f.job == 0 || f.begin_ns <= 0 || f.end_ns < 0 || f.gpu_count > WT_JOB_FACTS_GPUS ||
        (f.step[0] && !wt_jobs_is_step(f.step)))
        abort();
    return 0;
}
