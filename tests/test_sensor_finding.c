/* sensor: the lines of doctor hold what terminals and JSON can show, whatever a vendor wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "sensor/sensor.h"

static void a_line_is_always_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want, *why;
    } rows[] = {
        {"plain", "plain", "ASCII"},
        {"B\xc3\xbcro", "B\xc3\xbcro", "two bytes"},
        {"\xe2\x82\xac \xf0\x9f\x94\x8b", "\xe2\x82\xac \xf0\x9f\x94\x8b", "three and four"},
        {"a\nb\x1b[1m\x7f", "a?b?[1m?", "control characters"},
        {"cut \xe2\x82", "cut ??", "a character cut in two"},
        {"\xaa\xaa", "??", "no beginning"},
        {"\xc0\xaf", "??", "a longer form of '/'"},
        {"\xed\xa0\x80", "???", "half of a pair"},
        {"\xf5\x80\x80\x80", "????", "beyond the last"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_findings list = {0};
        assert_int_equal(
            wt_findings_add(&list, WT_FINDING_OK, "s", "", "w", NULL, "%s", rows[i].text), 0);
        if (strcmp(list.list[0].value, rows[i].want) != 0)
            fail_msg("%s: \"%s\"", rows[i].why, list.list[0].value);
        wt_findings_done(&list);
    }
}

static void a_failure_is_of_the_kind_that_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        int code;
        enum wt_finding_kind want;
    } rows[] = {
        {WT_OK, WT_FINDING_OK},
        {WT_E_DENIED, WT_FINDING_DENIED},
        {WT_E_NOTFOUND, WT_FINDING_MISSING},
        {WT_E_UNSUPPORTED, WT_FINDING_MISSING},
        {WT_E_GONE, WT_FINDING_BROKEN},
        {WT_E_TIMEOUT, WT_FINDING_BROKEN},
        {WT_E_FORMAT, WT_FINDING_BROKEN},
    };
    struct wt_findings list = {0};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {.code = rows[i].code, .text = "t", .fix = "f"};
        assert_int_equal(wt_findings_add_error(&list, "s", "d", "w", &err), 0);
        assert_int_equal(list.list[i].kind, rows[i].want);
        assert_string_equal(list.list[i].fix, "f");
    }
    assert_int_equal(list.count, WT_COUNTOF(rows));
    wt_findings_done(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_always_utf8),
        cmocka_unit_test(a_failure_is_of_the_kind_that_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
