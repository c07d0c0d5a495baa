/* pool: which CPUs its threads are bound to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base.h"
#include "workload/pool.h"

#define MOST 8

static const struct {
    const char *machine;
    unsigned allowed; /* a bit for each CPU */
    unsigned count, want[MOST];
    const char *why;
} cases[] = {
    {"azure-vm", 0xff, 4, {0, 2, 4, 6}, "of cores 0-1, 2-3 and so on one thread each"},
    {"azure-vm", 0xff, 6, {0, 2, 4, 6, 1, 3}, "then their second threads"},
    {"azure-vm", 0x2e, 3, {1, 2, 5}, "1 and 5 are the first of their cores that may be used"},
    {"azure-vm", 0x2e, 4, {1, 2, 5, 3}, "and 3 is second to 2, which may be"},
    {"ec2-vm", 0x0f, 2, {0, 1}, "cores 0,2 and 1,3"},
    {"ec2-vm", 0x0d, 3, {0, 3, 2}, "2 is second to 0; 3 is not, without 1"},
    {"container-no-sys", 0x18, 2, {3, 4}, "nothing is known of cores"},
};

static void each_core_is_taken_before_a_second_thread_of_any(void **state)
{
    (void)state;
    for (size_t i = 0; i < WT_COUNTOF(cases); i++) {
        char root[4096];
        unsigned got[MOST] = {0};
        cpu_set_t allowed;
        CPU_ZERO(&allowed);
        for (unsigned cpu = 0; cpu < MOST; cpu++)
            if (cases[i].allowed >> cpu & 1)
                CPU_SET(cpu, &allowed);
        wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, cases[i].machine);
        unsigned count = wt_pool_choose(got, cases[i].count, &allowed, root);
        for (unsigned k = 0; k < cases[i].count; k++)
            if (count != cases[i].count || got[k] != cases[i].want[k])
                fail_msg("%s: thread %u of %u: CPU %u, not %u: %s", cases[i].machine, k, count,
                         got[k], cases[i].want[k], cases[i].why);
    }
}

static void no_more_are_chosen_than_are_allowed(void **state)
{
    (void)state;
    unsigned got[MOST];
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    CPU_SET(5, &allowed);
    assert_int_equal(wt_pool_choose(got, MOST, &allowed, WT_MACHINES "/azure-vm"), 1);
    assert_int_equal(got[0], 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_core_is_taken_before_a_second_thread_of_any),
        cmocka_unit_test(no_more_are_chosen_than_are_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
