/* planted: a test program that passes, fails, is skipped or dies, as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void this_passes(void **state)
{
    (void)state;
    assert_string_equal(strchr("planted", 'n'), "nted");
}

static void this_fails_by_design(void **state)
{
    (void)state;
    assert_int_equal(1, 2);
}

static void this_is_skipped(void **state)
{
    (void)state;
    skip();
}

static void this_kills_the_program(void **state)
{
    (void)state;
    /* Not by a signal that cmocka catches. */
    _Exit(9);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest pass[] = {cmocka_unit_test(this_passes),
                                             cmocka_unit_test(this_passes)};
    static const struct CMUnitTest fail[] = {cmocka_unit_test(this_passes),
                                             cmocka_unit_test(this_fails_by_design)};
    static const struct CMUnitTest skipped[] = {cmocka_unit_test(this_passes),
                                                cmocka_unit_test(this_is_skipped)};
    static const struct CMUnitTest die[] = {cmocka_unit_test(this_passes),
                                            cmocka_unit_test(this_kills_the_program),
                                            cmocka_unit_test(this_passes)};
    const char *how = argc > 1 ? argv[1] : "";
    if (strcmp(how, "pass") == 0)
        return cmocka_run_group_tests(pass, NULL, NULL);
    if (strcmp(how, "fail") == 0)
        return cmocka_run_group_tests(fail, NULL, NULL);
    if (strcmp(how, "skip") == 0)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    if (strcmp(how, "die") == 0)
        return cmocka_run_group_tests(die, NULL, NULL);
    if (strcmp(how, "leave") == 0) /* all cases pass, and then the exit code is bad */
        return cmocka_run_group_tests(pass, NULL, NULL) + 3;
    if (strcmp(how, "unable") == 0) {
        puts("there is no such device here");
        return 77;
    }
    return 2;
}
