/* The table of claims over devices and a journal made of memory, whose jobs are done when the test
 * says so: every order of events can be had. A crash may come at any moment, so after each step the
 * journal is asked whether it could put everything back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "daemon/table.h"
#include "lease/slot.h"

#define DEVICES 2
#define JOBS    16
#define RECORDS 4096

struct world {
    struct wt_table *table;
    int64_t power[DEVICES], found[DEVICES], clock[DEVICES], governor[DEVICES];
    int device_rc; /* the next jobs of devices fail so */
    int journal_rc;
    int64_t cap;
    struct wt_device_job *device_jobs[JOBS];
    struct wt_journal_job *journal_jobs[JOBS];
    size_t device_count, journal_count;
    struct wt_lease_record records[RECORDS]; /* as on disk */
    size_t record_count;
    struct wt_table_answer last[64]; /* by waiter */
    size_t answers[64];
    size_t abandoned, ended, capped, resumed;
    size_t device_writes;
    int64_t now_ns;
};

static void take_device(void *data, struct wt_device_job *job)
{
    struct world *w = data;
    assert_true(w->device_count < JOBS);
    w->device_jobs[w->device_count++] = job;
}

static void take_journal(void *data, struct wt_journal_job *job)
{
    struct world *w = data;
    assert_true(w->journal_count < JOBS);
    w->journal_jobs[w->journal_count++] = job;
}

static void answer(void *data, uint64_t waiter, const struct wt_table_answer *a)
{
    struct world *w = data;
    assert_true(waiter < 64);
    w->last[waiter] = *a;
    w->answers[waiter]++;
    w->abandoned += a->event == WT_TABLE_ABANDONED;
    w->resumed += a->event == WT_TABLE_RESUMED && a->rc == 0;
    w->capped += a->event == WT_TABLE_CAPPED && a->rc == 0;
    w->ended += a->event == WT_TABLE_ENDED && a->rc == 0;
}

static uint64_t generation(void *data)
{
    return ((struct world *)data)->record_count;
}

static int64_t cap(void *data, uint32_t device, enum wt_knob knob)
{
    (void)device;
    return knob == WT_KNOB_POWER ? ((struct world *)data)->cap : INT64_MAX;
}

static int64_t *value_of(struct world *w, uint32_t device, enum wt_knob knob)
{
    return knob == WT_KNOB_CLOCK   ? &w->clock[device]
           : knob == WT_KNOB_POWER ? &w->power[device]
                                   : &w->governor[device];
}

/* What the journal would put back now: the rule of wt_restore_stack, on our own copy. True when the
 * device holds what was found, or something that an open record tells of. */
static bool is_told_of(struct world *w, uint32_t device)
{
    char id[16];
    wt_text(id, sizeof(id), "GPU-%u", device);
    if (w->power[device] == w->found[device])
        return true;
    for (size_t i = 0; i < w->record_count; i++) {
        const struct wt_lease_record *r = &w->records[i];
        if (strcmp(r->device, id) != 0 || r->knob != WT_KNOB_POWER)
            continue;
        bool is_last = true;
        for (size_t k = i + 1; k < w->record_count; k++)
            is_last &= w->records[k].lease != r->lease;
        struct wt_knob_info now = {.knob = WT_KNOB_POWER, .current = w->power[device]};
        if (is_last && wt_lease_is_open(r) && wt_lease_is_ours(r, &now))
            return true;
    }
    return false;
}

static void check_world(struct world *w)
{
    for (uint32_t d = 0; d < DEVICES; d++)
        if (!is_told_of(w, d))
            fail_msg("GPU-%u is at %lld, and no open record says why", d, (long long)w->power[d]);
}

/* Does the oldest job of devices. */
static void do_device(struct world *w)
{
    assert_true(w->device_count > 0);
    struct wt_device_job *job = w->device_jobs[0];
    memmove(w->device_jobs, w->device_jobs + 1, --w->device_count * sizeof(job));
    int64_t *value = value_of(w, job->device, job->knob);
    job->is_blind = job->knob == WT_KNOB_CLOCK;
    job->info = (struct wt_knob_info){.knob = job->knob,
                                      .min = 100000,
                                      .max = 250000,
                                      .step = 1000,
                                      .def = 250000,
                                      .current = job->is_blind ? 0 : *value,
                                      .enforced = *value,
                                      .is_lockable = job->is_blind,
                                      .is_settable = true};
    if (job->is_blind)
        job->info.max = 2000000;
    if (wt_knob_is_named(job->knob))
        job->info.values = 0x3e;
    job->rc = w->device_rc;
    wt_fail(&job->err, job->rc, "the device says no");
    if (job->rc == 0 && job->kind != WT_JOB_READ && job->kind != WT_JOB_RECOVER) {
        bool is_look = job->kind == WT_JOB_LOOK;
        bool is_ours = job->is_blind || (!is_look && *value == job->value);
        for (size_t i = 0; i < job->ours_count && !is_ours; i++)
            is_ours = job->ours[i] == *value;
        if (!is_ours) {
            job->rc = wt_fail(&job->err, WT_E_CHANGED, "changed");
        } else if (!is_look) {
            w->device_writes += *value != job->value;
            *value = job->value;
            job->info.current = job->is_blind ? 0 : *value;
            job->info.enforced = *value;
        }
    }
    check_world(w);
    wt_table_device_done(w->table, job);
    check_world(w);
}

static void do_journal(struct world *w)
{
    assert_true(w->journal_count > 0);
    struct wt_journal_job *job = w->journal_jobs[0];
    memmove(w->journal_jobs, w->journal_jobs + 1, --w->journal_count * sizeof(job));
    job->rc = w->journal_rc;
    wt_fail(&job->err, job->rc, "the journal says no");
    for (size_t i = 0; i < job->count && job->rc == 0; i++) {
        assert_true(w->record_count < RECORDS);
        assert_true(job->records[i].is_claim && job->records[i].lease);
        job->records[i].sequence = w->record_count + 1;
        w->records[w->record_count++] = job->records[i];
    }
    check_world(w);
    wt_table_journal_done(w->table, job);
    check_world(w);
}

static void settle(struct world *w)
{
    for (int n = 0; w->device_count || w->journal_count; n++) {
        assert_true(n < 1000);
        if (w->journal_count)
            do_journal(w);
        else
            do_device(w);
    }
}

static size_t open_records(const struct world *w)
{
    size_t open = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        bool is_last = true;
        for (size_t k = i + 1; k < w->record_count; k++)
            is_last &= w->records[k].lease != w->records[i].lease;
        open += is_last && wt_lease_is_open(&w->records[i]);
    }
    return open;
}

static void make_table(struct world *w)
{
    struct wt_table_ops ops = {take_device, take_journal, answer, generation, cap, w};
    struct wt_table_device devices[DEVICES] = {{"GPU-0", false}, {"GPU-1", false}};
    wt_table_free(w->table);
    w->device_count = w->journal_count = 0;
    assert_int_equal(wt_table_new(&w->table, &ops, devices, DEVICES, NULL), 0);
    wt_table_tick(w->table, w->now_ns, w->now_ns);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    if (!w)
        return -1;
    w->cap = INT64_MAX;
    w->now_ns = 1000 * WT_NS_PER_S;
    for (size_t d = 0; d < DEVICES; d++)
        w->power[d] = w->found[d] = d ? 250000 : 200000;
    make_table(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    wt_table_free(w->table);
    free(w);
    return 0;
}

static int claim_knob(struct world *w, uint64_t holder, uint32_t device, enum wt_knob knob,
                      int64_t value, struct wt_error *err)
{
    struct wt_table_request r = {.key = {.holder = holder},
                                 .owner = {.pid = (uint32_t)holder, .uid = 1000},
                                 .token = holder,
                                 .device = device,
                                 .knob = knob,
                                 .value = value,
                                 .waiter = holder};
    return wt_table_claim(w->table, &r, err);
}

static int claim(struct world *w, uint64_t holder, uint32_t device, int64_t mw)
{
    return claim_knob(w, holder, device, WT_KNOB_POWER, mw, NULL);
}

static size_t release_all(struct world *w, uint64_t holder)
{
    struct wt_table_key key = {.holder = holder};
    size_t count = wt_table_release_all(w->table, &key, holder);
    wt_table_step_due(w->table);
    return count;
}

/* ---- the tests ---- */

static void nothing_is_set_before_the_intention_is_on_disk(void **state)
{
    struct world *w = *state;
    struct wt_table_answer held;
    bool is_ending;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    do_device(w); /* read */
    assert_true(wt_table_at(w->table, 0, &held, &is_ending));
    assert_false(held.is_set);
    assert_int_equal(w->device_count, 0);
    assert_int_equal(w->journal_count, 1);
    assert_true(w->journal_jobs[0]->is_durable);
    assert_true(w->journal_jobs[0]->is_first);
    assert_int_equal(w->journal_jobs[0]->records[0].found, 200000);
    assert_int_equal(w->journal_jobs[0]->records[0].requested, 150000);
    assert_int_equal(w->device_writes, 0);
    do_journal(w);
    assert_int_equal(w->device_writes, 0);
    assert_int_equal(w->answers[1], 0);
    assert_true(wt_table_at(w->table, 0, &held, &is_ending));
    assert_false(held.is_set);
    do_device(w);
    assert_true(wt_table_at(w->table, 0, &held, &is_ending));
    assert_true(held.is_set);
    assert_int_equal(w->power[0], 150000);
    assert_int_equal(w->answers[1], 1);
    assert_int_equal(w->last[1].rc, 0);
    assert_int_equal(w->last[1].found, 200000);
    settle(w);
    assert_int_equal(w->records[w->record_count - 1].state, WT_LEASE_SET);
}

static void the_strictest_holds_and_each_end_uncovers_the_next(void **state)
{
    struct world *w = *state;
    static const int64_t values[] = {180000, 120000, 150000};
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(claim(w, i + 1, 0, values[i]), 0);
        settle(w);
        assert_int_equal(w->last[i + 1].rc, 0);
        assert_int_equal(w->last[i + 1].found, 200000);
    }
    assert_int_equal(w->power[0], 120000);
    assert_true(w->last[3].is_covered);
    assert_int_equal(w->last[3].effective, 120000);
    assert_int_equal(release_all(w, 2), 1);
    settle(w);
    assert_int_equal(w->power[0], 150000);
    assert_int_equal(release_all(w, 1), 1); /* covered: the device is not touched */
    size_t writes = w->device_writes;
    settle(w);
    assert_int_equal(w->device_writes, writes);
    assert_int_equal(w->power[0], 150000);
    assert_int_equal(release_all(w, 3), 1);
    settle(w);
    assert_int_equal(w->power[0], 200000);
    assert_int_equal(open_records(w), 0);
    assert_true(wt_table_is_empty(w->table));
    assert_int_equal(w->power[1], 250000);
}

static void what_ends_while_it_is_written_is_undone(void **state)
{
    struct world *w = *state;
    struct wt_table_key key = {.holder = 1};
    /* At each moment of a claim its connection may end. */
    for (int moment = 0; moment < 5; moment++) {
        assert_int_equal(claim(w, 1, 0, 150000), 0);
        for (int n = 0; n < moment && (w->device_count || w->journal_count); n++) {
            if (w->journal_count)
                do_journal(w);
            else
                do_device(w);
        }
        wt_table_release_all(w->table, &key, 0);
        wt_table_step_due(w->table);
        settle(w);
        assert_int_equal(w->power[0], 200000);
        assert_int_equal(open_records(w), 0);
        assert_true(wt_table_is_empty(w->table));
    }
}

static void claims_that_come_together_share_one_write_and_one_move(void **state)
{
    struct world *w = *state;
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(claim(w, i, 0, 100000 + (int64_t)i * 1000), 0);
    do_device(w);
    assert_int_equal(w->journal_jobs[0]->count, 20);
    do_journal(w);
    do_device(w);
    assert_int_equal(w->device_writes, 1);
    assert_int_equal(w->power[0], 101000);
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(w->answers[i], 1);
}

static void new_claims_without_end_do_not_starve_a_move(void **state)
{
    struct world *w = *state;
    uint64_t holder = 1;
    assert_int_equal(claim(w, holder++, 0, 150000), 0);
    for (int n = 0; n < 20; n++) {
        assert_int_equal(claim(w, holder++, 0, 140000 - n * 1000), 0);
        if (w->journal_count)
            do_journal(w);
        else
            do_device(w);
    }
    assert_int_equal(w->answers[1], 1);
    assert_true(w->device_writes > 3);
    settle(w);
}

static void a_request_out_of_range_is_refused_alone(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 0, 99000), 0);
    assert_int_equal(claim(w, 2, 0, 120000), 0);
    settle(w);
    assert_int_equal(w->last[1].rc, WT_E_RANGE);
    assert_non_null(strstr(w->last[1].err.text, "100 to 250 W"));
    assert_int_equal(w->last[2].rc, 0);
    assert_int_equal(claim(w, 2, 0, 300000), 0); /* and leaves what it held */
    settle(w);
    assert_int_equal(w->last[2].rc, WT_E_RANGE);
    assert_int_equal(w->power[0], 120000);
}

static void a_full_disk_refuses_and_touches_nothing(void **state)
{
    struct world *w = *state;
    w->journal_rc = WT_E_FULL;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    assert_int_equal(w->last[1].rc, WT_E_FULL);
    assert_int_equal(w->device_writes, 0);
    assert_true(wt_table_is_empty(w->table));
    /* What is held comes back all the same; the note waits for room. */
    w->journal_rc = 0;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    w->journal_rc = WT_E_FULL;
    assert_int_equal(release_all(w, 1), 1);
    settle(w);
    assert_int_equal(w->power[0], 200000);
    assert_int_equal(w->last[1].rc, 0);
    assert_int_equal(open_records(w), 1);
    w->journal_rc = 0;
    w->now_ns += 2 * WT_NS_PER_S;
    wt_table_tick(w->table, w->now_ns, w->now_ns);
    settle(w);
    assert_int_equal(open_records(w), 0);
    assert_true(wt_table_is_empty(w->table));
}

static void a_device_that_refuses_a_set_leaves_the_others_value(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    assert_int_equal(claim(w, 2, 0, 120000), 0);
    do_journal(w);
    w->device_rc = WT_E_DENIED;
    do_device(w);
    w->device_rc = 0;
    assert_int_equal(w->last[2].rc, WT_E_DENIED);
    settle(w);
    assert_int_equal(w->power[0], 150000);
    assert_int_equal(open_records(w), 1);
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->power[0], 200000);
}

static void a_device_that_refuses_a_restore_is_tried_until_it_does(void **state)
{
    struct world *w = *state;
    struct wt_error err;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    w->device_rc = WT_E_IO;
    assert_int_equal(release_all(w, 1), 1);
    settle(w);
    assert_int_equal(w->last[1].rc, WT_E_IO);
    assert_int_equal(w->power[0], 150000);
    /* Should the daemon die now, anyone may put it back, whether its client lives or not. */
    assert_int_equal(w->records[w->record_count - 1].owner.pid, 0);
    assert_true(wt_lease_is_open(&w->records[w->record_count - 1]));
    assert_int_equal(claim_knob(w, 2, 0, WT_KNOB_POWER, 120000, &err), WT_E_IO);
    assert_non_null(strstr(err.text, "the device says no"));
    assert_int_equal(claim(w, 2, 1, 120000), 0); /* others go on */
    for (int n = 0; n < 5; n++) {
        w->now_ns += 20 * WT_NS_PER_S;
        wt_table_tick(w->table, w->now_ns, w->now_ns);
        if (n == 3)
            w->device_rc = 0;
        settle(w);
    }
    assert_int_equal(w->power[0], 200000);
    assert_int_equal(claim(w, 2, 0, 120000), 0);
    settle(w);
    assert_int_equal(w->last[2].rc, 0);
}

static void what_someone_else_set_is_left_to_them(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    assert_int_equal(claim(w, 2, 0, 120000), 0);
    settle(w);
    w->found[0] = w->power[0] = 175000;
    assert_int_equal(claim(w, 3, 0, 110000), 0);
    settle(w);
    assert_int_equal(w->last[3].rc, WT_E_CHANGED);
    assert_int_equal(w->abandoned, 2);
    assert_int_equal(w->power[0], 175000);
    assert_int_equal(open_records(w), 0);
    assert_true(wt_table_is_empty(w->table));
}

static void the_cap_bounds_what_is_put_back(void **state)
{
    struct world *w = *state;
    w->cap = 220000;
    assert_int_equal(claim(w, 1, 1, 150000), 0);
    settle(w);
    assert_int_equal(w->records[0].found, 220000); /* for whoever reads the journal alone */
    w->found[1] = 220000;
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->power[1], 220000);
}

static void a_lower_cap_is_journalled_and_then_set(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    settle(w);
    w->cap = 180000;
    wt_table_recap(w->table);
    assert_int_equal(w->power[1], 240000);
    do_journal(w);
    assert_int_equal(w->records[w->record_count - 1].requested, 180000);
    assert_int_equal(w->records[w->record_count - 1].found, 180000);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    assert_int_equal(w->capped, 1);
    assert_int_equal(w->last[0].value, 240000); /* what was asked stays */
    assert_int_equal(w->last[0].enforced, 180000);
    w->found[1] = 180000;
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    /* And while something is being written. */
    w->cap = INT64_MAX;
    assert_int_equal(claim(w, 1, 1, 170000), 0);
    do_device(w);
    w->cap = 160000;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 160000);
}

/* What its holder asked is not forgotten: raised again, the cap gives it back. */
static void a_cap_that_is_raised_again_gives_back_what_was_asked(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    assert_int_equal(claim(w, 2, 1, 170000), 0);
    settle(w);
    w->cap = 180000;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 170000);
    release_all(w, 2);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    w->cap = 210000;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 210000);
    w->cap = INT64_MAX;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 240000);
    assert_int_equal(w->capped, 3);
    wt_table_recap(w->table); /* and the same cap moves nothing */
    settle(w);
    assert_int_equal(w->capped, 3);
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->power[1], 250000);
    assert_int_equal(open_records(w), 0);
}

static void a_cap_that_cannot_be_written_is_tried_again_and_said_once(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    settle(w);
    w->cap = 180000;
    w->journal_rc = WT_E_FULL;
    wt_table_recap(w->table);
    for (int n = 0; n < 4; n++) {
        settle(w);
        assert_int_equal(w->power[1], 240000);
        assert_int_equal(w->answers[0], 1);
        assert_int_equal(w->last[0].rc, WT_E_FULL);
        w->now_ns += 2 * WT_NS_PER_S;
        wt_table_tick(w->table, w->now_ns, w->now_ns);
    }
    w->journal_rc = 0;
    settle(w);
    assert_int_equal(w->power[1], 180000);
    assert_int_equal(w->answers[0], 2);
    assert_int_equal(w->capped, 1);
}

/* Until nothing is under way, and what was refused has been tried again. */
static void settle_for_long(struct world *w)
{
    for (int n = 0; n < 8; n++) {
        settle(w);
        w->now_ns += 40 * WT_NS_PER_S;
        wt_table_tick(w->table, w->now_ns, w->now_ns);
    }
    settle(w);
}

static void a_cap_that_comes_while_a_device_refuses_holds_after_it(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    assert_int_equal(claim(w, 2, 1, 150000), 0);
    settle(w);
    release_all(w, 2); /* uncovers 240 W */
    w->cap = 180000;
    wt_table_recap(w->table);
    w->device_rc = WT_E_IO;
    do_device(w);
    w->device_rc = 0;
    settle_for_long(w);
    assert_int_equal(w->power[1], 180000);
}

static void a_cap_holds_where_a_further_request_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    settle(w);
    assert_int_equal(claim(w, 2, 1, 230000), 0);
    do_journal(w); /* what came of the first */
    while (w->journal_count)
        do_journal(w);
    assert_int_equal(claim(w, 1, 1, 10), 0); /* no device takes that */
    w->cap = 180000;
    wt_table_recap(w->table);
    release_all(w, 2);
    settle_for_long(w);
    assert_int_equal(w->last[1].rc, WT_E_RANGE);
    assert_int_equal(w->power[1], 180000);
}

static void a_cap_that_comes_while_another_knob_hangs_holds_after_it(void **state)
{
    struct world *w = *state;
    struct wt_error why;
    wt_fail(&why, WT_E_TIMEOUT, "it hangs");
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    settle(w);
    assert_int_equal(claim_knob(w, 3, 1, WT_KNOB_CLOCK, 1200000, NULL), 0);
    assert_int_equal(claim(w, 2, 1, 230000), 0);
    while (w->journal_count)
        do_journal(w);
    assert_int_equal(w->device_count, 2); /* one behind the other */
    w->cap = 180000;
    wt_table_recap(w->table);
    wt_table_hung(w->table, 1, &why);
    settle_for_long(w);
    assert_int_equal(w->power[1], 180000);
}

static void whoever_holds_is_told_so_whatever_comes_of_a_cap(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    do_device(w);
    do_journal(w);
    w->cap = 180000;
    wt_table_recap(w->table);
    w->journal_rc = WT_E_FULL;
    do_device(w);
    while (w->journal_count)
        do_journal(w);
    w->journal_rc = 0;
    assert_int_equal(w->last[1].rc, 0);
    assert_int_equal(wt_table_count(w->table), 1);
    settle_for_long(w);
    assert_int_equal(w->power[1], 180000);
}

static void a_deadline_that_is_renewed_meanwhile_is_on_disk(void **state)
{
    struct world *w = *state;
    struct wt_table_request r = {.key = {.holder = 1},
                                 .owner = {.pid = 1, .uid = 1000},
                                 .token = 1,
                                 .device = 1,
                                 .knob = WT_KNOB_POWER,
                                 .value = 240000,
                                 .deadline_ns = w->now_ns + 5 * WT_NS_PER_S,
                                 .waiter = 1};
    assert_int_equal(wt_table_claim(w->table, &r, NULL), 0);
    settle(w);
    w->cap = 180000;
    wt_table_recap(w->table); /* is being written */
    r.deadline_ns = w->now_ns + 50 * WT_NS_PER_S;
    assert_int_equal(wt_table_claim(w->table, &r, NULL), 0);
    settle(w);
    assert_int_equal(w->last[1].deadline_ns, r.deadline_ns);
    assert_int_equal(w->records[w->record_count - 1].deadline_ns, r.deadline_ns);
}

/* Asked before the cap was lowered, and not yet at the device. */
static void a_cap_holds_for_what_is_under_way(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    w->cap = 180000;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    assert_int_equal(w->last[1].rc, 0);
    assert_int_equal(w->last[1].enforced, 180000);
    assert_int_equal(claim(w, 1, 1, 150000), 0);
    do_journal(w); /* what came of the first */
    w->cap = 140000;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 140000);
    assert_int_equal(w->last[1].value, 150000);
    w->cap = INT64_MAX;
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 150000);
}

static void a_knob_without_an_order_has_one_claim(void **state)
{
    struct world *w = *state;
    struct wt_error err;
    enum wt_knob knob = (enum wt_knob)(WT_KNOB_COUNT - 1);
    if (wt_lease_is_stackable(knob))
        skip(); /* there is none yet */
    assert_int_equal(claim_knob(w, 1, 0, knob, 1, &err), 0);
    settle(w);
    assert_int_equal(claim_knob(w, 2, 0, knob, 2, &err), WT_E_BUSY);
    release_all(w, 1);
    settle(w);
    assert_int_equal(claim_knob(w, 2, 0, knob, 2, &err), 0);
}

static void an_unlocked_clock_is_the_least_strict(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim_knob(w, 1, 0, WT_KNOB_CLOCK, 1200000, NULL), 0);
    assert_int_equal(claim_knob(w, 2, 0, WT_KNOB_CLOCK, 0, NULL), 0);
    settle(w);
    assert_int_equal(w->clock[0], 1200000);
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->clock[0], 0);
    release_all(w, 2);
    settle(w);
    assert_int_equal(open_records(w), 0);
}

static void a_claim_ends_at_its_deadline(void **state)
{
    struct world *w = *state;
    struct wt_table_request r = {.key = {.holder = 1},
                                 .knob = WT_KNOB_POWER,
                                 .value = 150000,
                                 .deadline_ns = w->now_ns + 5 * WT_NS_PER_S,
                                 .waiter = 1};
    assert_int_equal(wt_table_claim(w->table, &r, NULL), 0);
    settle(w);
    assert_int_equal(wt_table_tick(w->table, w->now_ns, w->now_ns), r.deadline_ns);
    assert_int_equal(w->power[0], 150000);
    w->now_ns += 5 * WT_NS_PER_S;
    wt_table_tick(w->table, w->now_ns, w->now_ns);
    settle(w);
    assert_int_equal(w->power[0], 200000);
}

static void a_hung_device_answers_those_who_wait(void **state)
{
    struct world *w = *state;
    struct wt_error why;
    wt_fail(&why, WT_E_TIMEOUT, "it hangs");
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    assert_int_equal(claim(w, 2, 0, 120000), 0);
    do_journal(w); /* and the move hangs */
    wt_table_hung(w->table, 0, &why);
    assert_int_equal(w->last[2].rc, WT_E_TIMEOUT);
    assert_int_equal(claim(w, 3, 0, 120000), WT_E_TIMEOUT);
    assert_int_equal(release_all(w, 1), 1);
    assert_int_equal(w->last[1].rc, WT_E_TIMEOUT);
    assert_int_equal(claim(w, 3, 1, 120000), 0);
    struct wt_device_job *hanging = w->device_jobs[0];
    w->device_jobs[0] = w->device_jobs[1];
    w->device_count = 1;
    settle(w);
    assert_int_equal(w->power[1], 120000);
    w->device_jobs[w->device_count++] = hanging; /* it returns, done */
    settle(w);
    assert_int_equal(w->power[0], 200000);
    assert_false(wt_table_is_hung(w->table, 0));
    assert_int_equal(open_records(w), 1);
}

/* ---- restarts ---- */

static bool is_odd_alive(void *data, const struct wt_lease_record *record)
{
    (void)data;
    return record->owner.pid % 2;
}

static void reload(struct world *w)
{
    struct wt_lease_record open[64];
    size_t count = 0, parked;
    for (size_t i = 0; i < w->record_count; i++) {
        bool is_last = true;
        for (size_t k = i + 1; k < w->record_count; k++)
            is_last &= w->records[k].lease != w->records[i].lease;
        if (!is_last || !wt_lease_is_open(&w->records[i]))
            continue;
        uint8_t slot[WT_JOURNAL_SLOT]; /* as it is on disk */
        wt_slot_encode(slot, &w->records[i]);
        assert_int_equal(wt_slot_decode(slot, &open[count++]), WT_SLOT_RECORD);
    }
    make_table(w);
    assert_int_equal(wt_table_load(w->table, open, count, is_odd_alive, NULL, &parked, NULL), 0);
    assert_int_equal(parked, 0);
}

/* A site cap that was too low for a minute, and a daemon that ended in that minute. */
static void a_cap_that_a_restart_finds_raised_hides_nothing_that_was_found(void **state)
{
    struct world *w = *state;
    int64_t found = w->power[1];
    assert_int_equal(claim(w, 1, 1, 190000), 0);
    settle(w);
    w->cap = 150000;
    w->found[1] = 150000; /* the least that may be put back meanwhile */
    wt_table_recap(w->table);
    settle(w);
    assert_int_equal(w->power[1], 150000);
    reload(w);
    settle(w);
    w->cap = INT64_MAX;
    w->found[1] = found;
    reload(w);
    settle(w);
    for (size_t i = w->record_count; i-- > 0;)
        if (w->records[i].is_claim) { /* for whoever reads the journal alone */
            assert_int_equal(w->records[i].found, found);
            break;
        }
    assert_int_equal(wt_table_adopt(w->table, &w->records[0].owner, w->records[0].token, 1), 1);
    release_all(w, 1);
    settle(w);
    assert_int_equal(w->power[1], found);
}

/* The daemon that began it never said so. */
static void what_a_daemon_before_had_begun_is_done_and_said(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    do_device(w);
    do_journal(w); /* the intention, and no more */
    reload(w);
    settle(w);
    assert_int_equal(w->power[1], 240000);
    assert_int_equal(w->resumed, 1);
    w->cap = 180000;
    wt_table_recap(w->table);
    do_journal(w);
    reload(w);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    assert_int_equal(w->resumed, 2);
    assert_int_equal(w->last[0].value, 240000);
    reload(w);
    settle(w);
    assert_int_equal(w->resumed, 2); /* it was set and noted */
}

/* A daemon that starts under a lower cap, and one under a higher one. */
static void a_restart_goes_by_the_cap_of_that_day(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 1, 240000), 0);
    assert_int_equal(claim(w, 2, 1, 150000), 0); /* dies with the daemon, and uncovers the first */
    settle(w);
    w->cap = 180000;
    reload(w);
    while (w->device_count || w->journal_count) {
        if (w->journal_count)
            do_journal(w);
        else
            do_device(w);
        assert_in_range(w->power[1], 150000, 180000);
    }
    assert_int_equal(w->power[1], 180000);
    reload(w);
    settle(w);
    assert_int_equal(w->power[1], 180000);
    w->cap = INT64_MAX;
    reload(w);
    settle(w);
    assert_int_equal(w->power[1], 240000);
}

static void a_crash_at_any_moment_comes_out_right(void **state)
{
    struct world *w = *state;
    /* Clients 1 and 3 live on, 2 and 4 die with the daemon, which does so after each step. */
    for (int moment = 0; moment < 60; moment++) {
        w->power[0] = w->found[0] = 200000;
        w->record_count = 0;
        make_table(w);
        int step = 0;
        for (uint64_t round = 0; step < moment && round < 12; round++) {
            uint64_t holder = round % 4 + 1;
            if (round < 8)
                claim(w, holder, 0, 180000 - (int64_t)(round * 7919 % 8) * 10000);
            else
                release_all(w, holder);
            while (step < moment && (w->device_count || w->journal_count)) {
                if (w->journal_count)
                    do_journal(w);
                else
                    do_device(w);
                step++;
            }
        }
        reload(w);
        settle(w);
        int64_t want = 200000;
        for (size_t i = 0; i < 64; i++) {
            struct wt_table_answer held;
            bool is_ending;
            if (wt_table_at(w->table, i, &held, &is_ending)) {
                assert_true(held.owner.pid % 2);
                assert_false(is_ending);
                want = held.value < want ? held.value : want;
            }
        }
        if (w->power[0] != want)
            fail_msg("after %d steps: %lld, not %lld", moment, (long long)w->power[0],
                     (long long)want);
        /* The living come back, and end what they hold. */
        for (uint64_t holder = 1; holder <= 3; holder += 2) {
            struct wt_owner owner = {.pid = (uint32_t)holder, .uid = 1000};
            wt_table_adopt(w->table, &owner, holder, holder);
            release_all(w, holder);
            settle(w);
        }
        assert_int_equal(w->power[0], 200000);
        assert_int_equal(open_records(w), 0);
        assert_true(wt_table_is_empty(w->table));
    }
}

static void another_process_or_lease_adopts_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(claim(w, 1, 0, 150000), 0);
    settle(w);
    reload(w);
    settle(w);
    struct wt_owner owner = {.pid = 1, .uid = 1000}, other = {.pid = 1, .start_ticks = 9};
    assert_int_equal(wt_table_adopt(w->table, &other, 1, 5), 0);
    assert_int_equal(wt_table_adopt(w->table, &owner, 2, 5), 0);
    assert_int_equal(wt_table_adopt(w->table, &owner, 1, 5), 1);
    assert_int_equal(wt_table_adopt(w->table, &owner, 1, 6), 0);
}

static unsigned chance_state;

static unsigned chance(unsigned n)
{
    chance_state = chance_state * 1103515245u + 12345u;
    return chance_state / 65536u % n;
}

static void chance_in_every_order_ends_with_what_was_found(void **state)
{
    struct world *w = *state;
    chance_state = 5;
    for (int round = 0; round < 300; round++) {
        w->record_count = 0;
        for (int n = 0; n < 60; n++) {
            uint64_t holder = 1 + chance(6);
            unsigned what = chance(10);
            if (what < 3)
                claim(w, holder, chance(DEVICES), 100000 + (int64_t)chance(150) * 1000);
            else if (what == 3)
                release_all(w, holder);
            else if (what < 7 && w->journal_count) {
                w->journal_rc = chance(12) ? 0 : WT_E_FULL;
                do_journal(w);
            } else if (w->device_count) {
                w->device_rc = chance(12) ? 0 : WT_E_IO;
                do_device(w);
            }
            w->now_ns += (int64_t)chance(50) * WT_NS_PER_MS;
            wt_table_tick(w->table, w->now_ns, w->now_ns);
        }
        w->device_rc = w->journal_rc = 0;
        for (uint64_t holder = 1; holder <= 6; holder++)
            release_all(w, holder);
        for (int n = 0; n < 50 && !wt_table_is_empty(w->table); n++) {
            settle(w);
            w->now_ns += 40 * WT_NS_PER_S;
            wt_table_tick(w->table, w->now_ns, w->now_ns);
        }
        assert_true(wt_table_is_empty(w->table));
        assert_int_equal(w->power[0], 200000);
        assert_int_equal(w->power[1], 250000);
        assert_int_equal(open_records(w), 0);
    }
}

/* One that lives through it all is on the device, so that what was found is never to be put back
 * under a cap that is gone by then. */
static void chance_with_caps_and_crashes_ends_with_what_was_found(void **state)
{
    struct world *w = *state;
    static const int64_t caps[] = {INT64_MAX, 220000, 180000, 140000};
    const uint64_t anchor = 7;
    chance_state = 9;
    for (int round = 0; round < 200; round++) {
        w->record_count = 0;
        w->cap = INT64_MAX;
        make_table(w);
        assert_int_equal(claim(w, anchor, 1, 245000), 0);
        settle(w);
        for (int n = 0; n < 80; n++) {
            uint64_t holder = 1 + chance(6);
            unsigned what = chance(24);
            if (what < 6) {
                claim(w, holder, 1, 100000 + (int64_t)chance(150) * 1000);
            } else if (what < 9) {
                release_all(w, holder);
            } else if (what < 12) {
                w->cap = caps[chance(WT_COUNTOF(caps))];
                wt_table_recap(w->table);
            } else if (what == 12) {
                reload(w);
                for (uint64_t odd = 1; odd <= anchor; odd += 2) {
                    struct wt_owner owner = {.pid = (uint32_t)odd, .uid = 1000};
                    wt_table_adopt(w->table, &owner, odd, odd);
                }
            } else if (what < 18 && w->journal_count) {
                w->journal_rc = chance(12) ? 0 : WT_E_FULL;
                do_journal(w);
            } else if (w->device_count) {
                do_device(w);
            }
            w->journal_rc = 0;
            w->now_ns += (int64_t)chance(50) * WT_NS_PER_MS;
            wt_table_tick(w->table, w->now_ns, w->now_ns);
        }
        for (int n = 0; n < 5; n++) {
            settle(w);
            w->now_ns += 40 * WT_NS_PER_S;
            wt_table_tick(w->table, w->now_ns, w->now_ns);
        }
        assert_true(w->power[1] <= w->cap);
        w->cap = INT64_MAX;
        wt_table_recap(w->table);
        settle(w);
        assert_true(w->power[1] <= 245000);
        for (uint64_t holder = 1; holder <= anchor; holder++)
            release_all(w, holder);
        settle(w);
        assert_true(wt_table_is_empty(w->table));
        assert_int_equal(w->power[1], 250000);
        assert_int_equal(open_records(w), 0);
    }
}

int main(void)
{
#define TABLE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TABLE_TEST(nothing_is_set_before_the_intention_is_on_disk),
        TABLE_TEST(the_strictest_holds_and_each_end_uncovers_the_next),
        TABLE_TEST(what_ends_while_it_is_written_is_undone),
        TABLE_TEST(claims_that_come_together_share_one_write_and_one_move),
        TABLE_TEST(new_claims_without_end_do_not_starve_a_move),
        TABLE_TEST(a_request_out_of_range_is_refused_alone),
        TABLE_TEST(a_full_disk_refuses_and_touches_nothing),
        TABLE_TEST(a_device_that_refuses_a_set_leaves_the_others_value),
        TABLE_TEST(a_device_that_refuses_a_restore_is_tried_until_it_does),
        TABLE_TEST(what_someone_else_set_is_left_to_them),
        TABLE_TEST(the_cap_bounds_what_is_put_back),
        TABLE_TEST(a_lower_cap_is_journalled_and_then_set),
        TABLE_TEST(a_cap_that_is_raised_again_gives_back_what_was_asked),
        TABLE_TEST(a_cap_that_cannot_be_written_is_tried_again_and_said_once),
        TABLE_TEST(a_cap_that_comes_while_a_device_refuses_holds_after_it),
        TABLE_TEST(a_cap_holds_where_a_further_request_is_refused),
        TABLE_TEST(a_cap_that_comes_while_another_knob_hangs_holds_after_it),
        TABLE_TEST(whoever_holds_is_told_so_whatever_comes_of_a_cap),
        TABLE_TEST(a_deadline_that_is_renewed_meanwhile_is_on_disk),
        TABLE_TEST(a_cap_holds_for_what_is_under_way),
        TABLE_TEST(a_knob_without_an_order_has_one_claim),
        TABLE_TEST(an_unlocked_clock_is_the_least_strict),
        TABLE_TEST(a_claim_ends_at_its_deadline),
        TABLE_TEST(a_hung_device_answers_those_who_wait),
        TABLE_TEST(a_cap_that_a_restart_finds_raised_hides_nothing_that_was_found),
        TABLE_TEST(what_a_daemon_before_had_begun_is_done_and_said),
        TABLE_TEST(a_restart_goes_by_the_cap_of_that_day),
        TABLE_TEST(a_crash_at_any_moment_comes_out_right),
        TABLE_TEST(another_process_or_lease_adopts_nothing),
        TABLE_TEST(chance_in_every_order_ends_with_what_was_found),
        TABLE_TEST(chance_with_caps_and_crashes_ends_with_what_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
