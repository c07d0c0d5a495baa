/* Each backend of this machine against the reference, operation by operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend_contract.h"
#include "reference_backend.h"

/* Mostly for the contract itself: that its cases can be passed. */
static void the_reference_keeps_its_own_contract(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    assert_int_equal(wt_reference_new(&b, NULL), 0);
    assert_int_equal(wt_backend_contract(&b, 0, NULL), 0);
    wt_backend_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_keeps_its_own_contract),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
