/* The wire between client and daemon: every message there and back, and what is no message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "lease/protocol.h"

static const enum wt_wire_type types[] = {
    WT_WIRE_HELLO,    WT_WIRE_DEVICE,    WT_WIRE_KNOB,    WT_WIRE_CLAIM,     WT_WIRE_RELEASE,
    WT_WIRE_RESTORE,  WT_WIRE_STATUS,    WT_WIRE_PING,    WT_WIRE_JOB_BEGIN, WT_WIRE_JOB_END,
    WT_WIRE_HELLO_OK, WT_WIRE_DEVICE_OK, WT_WIRE_KNOB_OK, WT_WIRE_CLAIM_OK,  WT_WIRE_STATUS_OK,
    WT_WIRE_DONE,     WT_WIRE_ERROR,
};

/* Bytes that are no text may stand where texts are: those are cut at their end. */
static void fill(struct wt_wire_message *m, enum wt_wire_type type, unsigned seed)
{
    unsigned char *bytes = (unsigned char *)&m->u;
    for (size_t i = 0; i < sizeof(m->u); i++)
        bytes[i] = (unsigned char)('a' + (seed = seed * 1103515245u + 12345u) % 26);
    m->type = type;
    m->tag = seed;
}

static void every_message_comes_out_as_it_went_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < WT_COUNTOF(types); i++) {
        struct wt_wire_message m = {0}, back = {0};
        uint8_t buf[WT_WIRE_MAX], again[WT_WIRE_MAX];
        struct wt_error err = {0};
        fill(&m, types[i], (unsigned)i);
        size_t size = wt_wire_encode(&m, buf);
        assert_int_equal(size, wt_wire_size(types[i]));
        assert_true(size >= WT_WIRE_HEADER && size <= WT_WIRE_MAX);
        if (wt_wire_decode(buf, size, &back, &err) < 0)
            fail_msg("%s: %s", wt_wire_name(types[i]), err.text);
        assert_int_equal(back.type, types[i]);
        assert_int_equal(back.tag, m.tag);
        assert_int_equal(wt_wire_encode(&back, again), size);
        assert_memory_equal(again, buf, size);
    }
}

static void the_bytes_are_those_of_the_document(void **state)
{
    (void)state;
    static const uint8_t want[] = {
        0x57, 0x54, 0x54, 0x44,                         /* "WTTD" */
        1,    0,                                        /* version */
        4,    0,                                        /* claim */
        44,   0,    0,    0,                            /* size */
        7,    0,    0,    0,                            /* tag */
        3,    0,    0,    0,                            /* device */
        1,    0,    0,    0,                            /* power */
        42,   0,    0,    0,                            /* job */
        0xf0, 0x49, 0x02, 0,    0,    0,    0,    0,    /* 150000 mW */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* -1 ns: for the daemon to refuse */
    };
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM, .tag = 7};
    m.u.claim.device = 3;
    m.u.claim.knob = WT_KNOB_POWER;
    m.u.claim.job = 42;
    m.u.claim.value = 150000;
    m.u.claim.hold_ns = -1;
    uint8_t buf[WT_WIRE_MAX];
    assert_int_equal(wt_wire_encode(&m, buf), sizeof(want));
    assert_memory_equal(buf, want, sizeof(want));
    struct wt_wire_message back;
    assert_int_equal(wt_wire_decode(want, sizeof(want), &back, NULL), 0);
    assert_int_equal(back.u.claim.value, 150000);
    assert_int_equal(back.u.claim.hold_ns, -1);
}

static void what_is_no_message_is_refused(void **state)
{
    (void)state;
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM}, back;
    uint8_t good[WT_WIRE_MAX], bad[WT_WIRE_MAX];
    size_t size = wt_wire_encode(&m, good);
    static const struct {
        int at, byte;
        int more; /* bytes more or less */
        int want;
        const char *why;
    } rows[] = {
        {-1, 0, 0, 0, "as it was"},
        {0, 'w', 0, WT_E_FORMAT, "another magic"},
        {4, 2, 0, WT_E_UNSUPPORTED, "a version to come"},
        {4, 0, 0, WT_E_UNSUPPORTED, "version 0"},
        {6, 0, 0, WT_E_UNSUPPORTED, "type 0"},
        {6, 77, 0, WT_E_UNSUPPORTED, "no such type"},
        {7, 255, 0, WT_E_UNSUPPORTED, "a type beyond all"},
        {6, WT_WIRE_HELLO, 0, WT_E_FORMAT, "another type's size"},
        {8, 43, 0, WT_E_FORMAT, "a forged length, one less"},
        {8, 255, 0, WT_E_FORMAT, "a forged length"},
        {11, 255, 0, WT_E_FORMAT, "a forged length of 4 GB"},
        {-1, 0, -1, WT_E_FORMAT, "a byte short"},
        {-1, 0, 1, WT_E_FORMAT, "a byte too many"},
        {-1, 0, -29, WT_E_FORMAT, "no whole header"},
        {-1, 0, -44, WT_E_FORMAT, "nothing"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        memcpy(bad, good, sizeof(bad));
        if (rows[i].at >= 0)
            bad[rows[i].at] = (uint8_t)rows[i].byte;
        int rc = wt_wire_decode(bad, (size_t)((int)size + rows[i].more), &back, NULL);
        if (rc != rows[i].want)
            fail_msg("%s: %s", rows[i].why, wt_error_name(rc));
    }
}

static void a_text_ends_within_its_field(void **state)
{
    (void)state;
    struct wt_wire_message m = {.type = WT_WIRE_ERROR}, back;
    uint8_t buf[WT_WIRE_MAX];
    memset(&m.u, 'x', sizeof(m.u));
    size_t size = wt_wire_encode(&m, buf);
    assert_int_equal(wt_wire_decode(buf, size, &back, NULL), 0);
    assert_int_equal(strlen(back.u.error.text), sizeof(back.u.error.text) - 1);
    memset(buf + WT_WIRE_HEADER + 4, 'x', sizeof(back.u.error.text)); /* no end */
    assert_int_equal(wt_wire_decode(buf, size, &back, NULL), WT_E_FORMAT);
    /* What lies behind an end does not leave the process. */
    memset(&m.u, 's', sizeof(m.u));
    wt_text(m.u.error.text, sizeof(m.u.error.text), "short");
    size = wt_wire_encode(&m, buf);
    for (size_t i = WT_WIRE_HEADER + 4 + 5; i < WT_WIRE_HEADER + 4 + sizeof(back.u.error.text); i++)
        assert_int_equal(buf[i], 0);
}

static void no_bytes_at_all_bring_it_down(void **state)
{
    (void)state;
    uint8_t buf[WT_WIRE_MAX + 64];
    struct wt_wire_message m;
    unsigned seed = 1;
    for (int n = 0; n < 200000; n++) {
        size_t size = (seed = seed * 1103515245u + 12345u) >> 8;
        size %= sizeof(buf) + 1;
        for (size_t i = 0; i < size; i++)
            buf[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
        if (n % 2 && size >= WT_WIRE_HEADER) { /* most of a header */
            struct wt_wire_message some = {.type = types[(size_t)n % WT_COUNTOF(types)]};
            uint8_t head[WT_WIRE_MAX];
            wt_wire_encode(&some, head);
            memcpy(buf, head, WT_WIRE_HEADER);
        }
        wt_wire_decode(buf, size, &m, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_out_as_it_went_in),
        cmocka_unit_test(the_bytes_are_those_of_the_document),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(a_text_ends_within_its_field),
        cmocka_unit_test(no_bytes_at_all_bring_it_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
