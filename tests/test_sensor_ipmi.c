/* sensor over IPMI: what a BMC may answer, that it may answer nothing at all, and the three ways to
 * it. */
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bed.h"
#include "sensor/gauge.h"
#include "sensor/ipmi.h"
#include "sensor/slow.h"

/* Completion code 0, group DCh, then current, least, most, mean (W), time, period (ms), state. */
#define RESPONSE(w_low, w_high, state)                                                             \
    {                                                                                              \
        0x00, 0xdc, w_low, w_high, 0x3f, 0x01, 0x90, 0x01, 0x50, 0x01, 0x81, 0x7e, 0x20, 0x53,     \
            0xe8, 0x03, 0x00, 0x00, state                                                          \
    }

static void the_request_is_dcmis(void **state)
{
    (void)state;
    static const uint8_t want[] = {0x2c, 0x02, 0xdc, 0x01, 0x00, 0x00};
    uint8_t request[WT_DCMI_REQUEST_SIZE];
    wt_dcmi_power_request(request);
    assert_memory_equal(request, want, sizeof(want));
}

static void responses_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[24];
        size_t length;
        int rc;
        const char *says, *why;
    } rows[] = {
        {RESPONSE(0x3f, 0x01, 0x40), 19, 0, "", "319 W, measuring"},
        {RESPONSE(0x8c, 0x18, 0x40), 19, 0, "", "6284 W"},
        {RESPONSE(0x3f, 0x01, 0x00), 19, 0, "", "OpenBMC sends a power and says that it is off"},
        /* As an Intel Node Manager sent it. */
        {{0x00, 0xdc, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x81, 0x7e, 0x20, 0x53, 0xa0,
          0x13, 0x29, 0x00, 0x00},
         19,
         WT_E_STATE,
         "power measurement is off",
         "nothing is measured"},
        {RESPONSE(0x00, 0x00, 0x40), 19, WT_E_FORMAT, "0 W", "no node draws nothing"},
        {RESPONSE(0xff, 0xff, 0x40), 19, WT_E_FORMAT, "65535 W", "a mark for no value"},
        {{0}, 0, WT_E_FORMAT, "empty", "not even a completion code"},
        {{0x00}, 1, WT_E_FORMAT, "group", "a completion code and nothing"},
        {{0x00, 0xdd, 0x01}, 3, WT_E_FORMAT, "DDh", "another group"},
        {RESPONSE(0x3f, 0x01, 0x40), 18, WT_E_FORMAT, "18 bytes", "cut"},
        {RESPONSE(0x3f, 0x01, 0x40), 20, WT_E_FORMAT, "20 bytes", "too long"},
        {{0xc0}, 1, WT_E_BUSY, "C0h", "busy"},
        {{0xc1}, 1, WT_E_UNSUPPORTED, "no DCMI", "no such command"},
        {{0xc3, 0xdc}, 2, WT_E_BUSY, "C3h", "its own timeout"},
        {{0xcb}, 1, WT_E_UNSUPPORTED, "no power sensor", "no sensor"},
        {{0xd4}, 1, WT_E_DENIED, "rights", "privilege"},
        {{0xd5}, 1, WT_E_STATE, "present state", "not now"},
        {{0xff}, 1, WT_E_BUSY, "FFh", "no reason, and often right the next time"},
        {{0x81}, 1, WT_E_IO, "81h", "a code of its own"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_dcmi_power p = {.current_w = 7};
        struct wt_error err = {0};
        int rc = wt_dcmi_power_parse(rows[i].bytes, rows[i].length, &p, &err);
        if (rc != rows[i].rc || !strstr(err.text, rows[i].says))
            fail_msg("%s: %d, \"%s\"", rows[i].why, rc, err.text);
        if (rc < 0)
            assert_int_equal(p.current_w, 7);
        else
            assert_int_equal(p.current_w, rows[i].bytes[2] | rows[i].bytes[3] << 8);
    }
    struct wt_dcmi_power p;
    assert_int_equal(wt_dcmi_power_parse(rows[0].bytes, 19, &p, NULL), 0);
    assert_int_equal(p.min_w, 319);
    assert_int_equal(p.max_w, 400);
    assert_int_equal(p.mean_w, 336);
    assert_int_equal(p.period_ms, 1000);
    assert_true(p.is_active);
}

static void the_tools_words_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        unsigned w, ms;
        const char *why;
    } rows[] = {
        {"Current Power                        : 164 Watts\n"
         "Minimum Power over sampling duration : 12 watts\n"
         "Statistics reporting time period     : 1000 milliseconds\n"
         "Power Measurement                    : Active\n",
         0, 164, 1000, "as FreeIPMI prints it"},
        {"Current Power : 164 Watts", 0, 164, 0, "nothing else"},
        {"Current Power : 0 Watts\nPower Measurement : Not Available\n", WT_E_STATE, 0, 0, "off"},
        {"Current Power : 0 Watts\nPower Measurement : Active\n", WT_E_FORMAT, 0, 0, "0 W"},
        {"Current Power : 70000 Watts\n", WT_E_FORMAT, 0, 0, "more than the message holds"},
        {"Current Power : many Watts\n", WT_E_FORMAT, 0, 0, "no number"},
        {"Current Power : 164 mW\n", WT_E_FORMAT, 0, 0, "no watts"},
        {"", WT_E_FORMAT, 0, 0, "nothing"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_dcmi_power p = {0};
        int rc = wt_dcmi_text_parse(rows[i].text, &p, NULL);
        if (rc != rows[i].rc || p.current_w != rows[i].w || p.period_ms != rows[i].ms)
            fail_msg("%s: %d, %u W, %u ms", rows[i].why, rc, p.current_w, p.period_ms);
    }
}

/* ---- a BMC that is played ---- */

struct player {
    uint8_t response[24];
    size_t length;
    unsigned busy;  /* how often it says so before it answers */
    bool is_hung;   /* until it is told to stop */
    unsigned calls; /* only looked at while it is not asked */
};

static int play(void *data, const uint8_t *request, size_t length, int stop_fd, uint8_t *response,
                size_t size, size_t *ret_length, struct wt_error *err)
{
    struct player *p = data;
    p->calls++;
    assert_int_equal(length, WT_DCMI_REQUEST_SIZE);
    assert_int_equal(request[0], 0x2c);
    if (p->is_hung) {
        struct pollfd fd = {stop_fd, POLLIN, 0};
        poll(&fd, 1, -1);
        return wt_fail(err, WT_E_STATE, "stopped");
    }
    assert_true(size >= p->length);
    if (p->busy) {
        p->busy--;
        response[0] = 0xc0;
        *ret_length = 1;
        return 0;
    }
    memcpy(response, p->response, p->length);
    *ret_length = p->length;
    return 0;
}

static void say(struct player *p, unsigned watts)
{
    const uint8_t bytes[] =
        RESPONSE((uint8_t)(watts & 0xff), (uint8_t)(watts >> 8), (uint8_t)(watts ? 0x40 : 0));
    memcpy(p->response, bytes, sizeof(bytes));
    p->length = sizeof(bytes);
}

static struct wt_slow *slow_of(const struct bed *bed, const char *id)
{
    struct wt_source *source;
    size_t k;
    assert_true(wt_devices_locate(bed->devices, bed_find(bed, id), &source, &k));
    return ((struct wt_gauges *)source)->list[k]->counter_data;
}

static void a_bmc_is_the_node_and_asked_once_a_second(void **state)
{
    (void)state;
    struct bed bed;
    struct player p = {0};
    const struct wt_ipmi_ops ops = {.transact = play, .data = &p};
    bed_init(&bed);
    say(&p, 319);
    bed.ctx->ipmi = &ops;
    bed_open(&bed);
    const struct wt_device_info *node = bed_device(&bed, "node-ipmi");
    assert_int_equal(node->kind, WT_DEVICE_NODE);
    assert_true(node->is_counted);
    assert_int_equal(node->traits.power_period_ns, WT_NS_PER_S);
    assert_int_equal(node->traits.power_window_ns, WT_NS_PER_S); /* the BMC's own period */
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 319000);
    assert_int_equal(p.calls, 1);

    say(&p, 400);
    bed.now_ns += WT_NS_PER_S / 2;
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 319000);
    wt_slow_settle(slow_of(&bed, "node-ipmi"));
    assert_int_equal(p.calls, 1);
    bed.now_ns += WT_NS_PER_S / 2;
    (void)bed_mw(&bed, "node-ipmi");
    wt_slow_settle(slow_of(&bed, "node-ipmi"));
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 400000);
    assert_int_equal(p.calls, 2);
    bed_done(&bed);
}

static void a_failed_answer_is_no_reading_until_the_next(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    struct player p = {0};
    const struct wt_ipmi_ops ops = {.transact = play, .data = &p};
    bed_init(&bed);
    say(&p, 319);
    bed.ctx->ipmi = &ops;
    bed_open(&bed);
    say(&p, 0);
    for (int i = 0; i < 2; i++) {
        bed.now_ns += WT_NS_PER_S;
        (void)bed_read(&bed, "node-ipmi", WT_READ_POWER, &r);
        wt_slow_settle(slow_of(&bed, "node-ipmi"));
        int rc = bed_read(&bed, "node-ipmi", WT_READ_POWER, &r);
        assert_int_equal(rc, i ? 0 : WT_E_STATE);
        assert_int_equal(r.power.state, i ? WT_LIVE : WT_ABSENT);
        say(&p, 320);
    }
    bed_done(&bed);
}

static void a_busy_bmc_is_asked_again(void **state)
{
    (void)state;
    struct bed bed;
    struct player p = {.busy = 2};
    const struct wt_ipmi_ops ops = {.transact = play, .data = &p, .retry_ns = WT_NS_PER_MS};
    bed_init(&bed);
    say(&p, 319);
    bed.ctx->ipmi = &ops;
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 319000);
    assert_int_equal(p.calls, 3);
    bed_done(&bed);

    bed_init(&bed);
    p.busy = 100;
    bed.ctx->ipmi = &ops;
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_says(bed_note(&bed, "ipmi", NULL)->value, "busy");
    bed_done(&bed);
}

static void a_bmc_that_cannot_says_why(void **state)
{
    (void)state;
    static const struct {
        uint8_t code;
        enum wt_finding_kind kind;
        const char *fix;
    } rows[] = {
        {0xc1, WT_FINDING_MISSING, ""},
        {0xd4, WT_FINDING_DENIED, "privilege"},
        {0xd5, WT_FINDING_BROKEN, "power monitoring"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct player p = {.response = {rows[i].code}, .length = 1};
        const struct wt_ipmi_ops ops = {.transact = play, .data = &p};
        bed_init(&bed);
        bed.ctx->ipmi = &ops;
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        assert_int_equal(bed_note(&bed, "ipmi", NULL)->kind, rows[i].kind);
        assert_says(bed_note(&bed, "ipmi", NULL)->fix, rows[i].fix);
        bed_done(&bed);
    }
}

static void a_power_of_a_bmc_that_says_it_is_off_is_taken_and_said(void **state)
{
    (void)state;
    struct bed bed;
    struct player p = {0};
    const struct wt_ipmi_ops ops = {.transact = play, .data = &p};
    bed_init(&bed);
    say(&p, 319);
    p.response[18] = 0;
    bed.ctx->ipmi = &ops;
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 319000);
    assert_int_equal(bed_note(&bed, "ipmi", NULL)->kind, WT_FINDING_OK);
    assert_says(bed_note(&bed, "ipmi", NULL)->value, "off");
    bed_done(&bed);
}

static void a_bmc_that_hangs_costs_its_reading_and_no_time(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    struct player p = {.is_hung = true};
    const struct wt_ipmi_ops ops = {.transact = play, .data = &p, .deadline_ns = 20 * WT_NS_PER_MS};
    bed_init(&bed);
    bed.ctx->ipmi = &ops;
    bed_open(&bed); /* comes back */
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_int_equal(bed_note(&bed, "ipmi", NULL)->kind, WT_FINDING_BROKEN);
    assert_says(bed_note(&bed, "ipmi", NULL)->value, "no answer");
    bed_done(&bed);

    bed_init(&bed);
    p.is_hung = false;
    say(&p, 319);
    const struct wt_ipmi_ops later = {.transact = play, .data = &p};
    bed.ctx->ipmi = &later;
    bed_open(&bed);
    p.is_hung = true;
    bed.now_ns += WT_NS_PER_S;
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 319000); /* the last one still holds */
    bed.now_ns += 60 * WT_NS_PER_S;
    assert_int_equal(bed_read(&bed, "node-ipmi", WT_READ_POWER, &r), WT_E_TIMEOUT);
    assert_int_equal(r.power.state, WT_ABSENT);
    bed_done(&bed); /* and this comes back too */
}

/* ---- without a device ---- */

static void put_tool(const struct bed *bed, const char *script)
{
    char path[128], full[256];
    bed_put(bed, "/bin/ipmi-dcmi", script);
    wt_text(full, sizeof(full), "%s/bin/ipmi-dcmi", bed->root);
    assert_int_equal(chmod(full, 0755), 0);
    wt_text(path, sizeof(path), "%s/bin:/usr/bin:/bin", bed->root);
    setenv("PATH", path, 1);
}

/* This machine itself, with a tool of ours on its PATH. */
static void open_here(struct bed *bed)
{
    wt_ctx_free(bed->ctx);
    struct wt_ctx_options options = {.clock = &bed->clock};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, &bed->err), 0);
    bed_open(bed);
}

static void freeipmis_tool_does_where_there_is_no_device(void **state)
{
    (void)state;
    struct bed bed;
    if (access("/dev/ipmi0", F_OK) == 0)
        skip();
    bed_init(&bed);
    put_tool(&bed, "#!/bin/sh\n"
                   "test \"$*\" = --get-system-power-statistics || exit 9\n"
                   "echo 'Current Power : 164 Watts'\n"
                   "echo 'Power Measurement : Active'\n");
    open_here(&bed);
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 164000);
    assert_int_equal(bed_device(&bed, "node-ipmi")->traits.power_period_ns, 2 * WT_NS_PER_S);
    bed_done(&bed);
}

static void what_freeipmis_tool_complains_of_is_passed_on(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        enum wt_finding_kind kind;
        const char *says;
    } rows[] = {
        {"#!/bin/sh\necho 'ipmi-dcmi: permission denied' >&2; exit 1\n", WT_FINDING_DENIED,
         "permission denied"},
        {"#!/bin/sh\necho 'ipmi-dcmi: driver device not found' >&2; exit 1\n", WT_FINDING_MISSING,
         "driver device not found"},
        {"#!/bin/sh\necho nothing\n", WT_FINDING_BROKEN, "nothing"},
    };
    if (access("/dev/ipmi0", F_OK) == 0)
        skip();
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        put_tool(&bed, rows[i].script);
        open_here(&bed);
        assert_int_equal(bed_find(&bed, "node-ipmi"), SIZE_MAX);
        assert_int_equal(bed_note(&bed, "ipmi", NULL)->kind, rows[i].kind);
        assert_says(bed_note(&bed, "ipmi", NULL)->value, rows[i].says);
        bed_done(&bed);
    }
}

static void with_another_root_nothing_is_started_and_the_tools_words_are_a_file(void **state)
{
    (void)state;
    struct bed bed;
    char mark[128];
    bed_init(&bed);
    put_tool(&bed, "#!/bin/sh\n: > \"$(dirname \"$0\")/started\"\n");
    bed_open(&bed);
    assert_null(bed_note(&bed, "ipmi", NULL));
    wt_text(mark, sizeof(mark), "%s/bin/started", bed.root);
    assert_int_not_equal(access(mark, F_OK), 0);
    wt_devices_free(bed.devices);

    bed_put(&bed, "/tools/ipmi-dcmi.txt",
            "Current Power : 6284 Watts\nPower Measurement : Active\n");
    bed_open(&bed);
    assert_int_not_equal(access(mark, F_OK), 0);
    assert_int_equal(bed_mw(&bed, "node-ipmi"), 6284000);
    bed_put(&bed, "/tools/ipmi-dcmi.txt", "ipmi-dcmi: BMC busy\n");
    struct wt_reading r;
    assert_int_equal(bed_read(&bed, "node-ipmi", WT_READ_POWER, &r), WT_E_FORMAT);
    assert_int_equal(r.power.state, WT_ABSENT);
    bed_done(&bed);
}

static void a_bmc_without_its_device_is_said_with_the_modules(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text;
        bool is_said;
        const char *why;
    } rows[] = {
        {"/sys/module/ipmi_si/refcnt", "1\n", true, "the driver is loaded"},
        {"/sys/firmware/dmi/entries/38-0/type", "38\n", true, "the firmware has an entry for it"},
        {"/sys/class/dmi/id/chassis_type", "23\n", true, "a rack mount chassis"},
        {"/sys/class/dmi/id/chassis_type", "10\n", false, "a notebook"},
        {"/sys/class/dmi/id/chassis_type", "\n", false, "nothing"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        bed_put(&bed, rows[i].path, rows[i].text);
        bed_open(&bed);
        const struct wt_finding *note = bed_note(&bed, "ipmi", NULL);
        if (!note != !rows[i].is_said)
            fail_msg("%s", rows[i].why);
        if (note) {
            assert_int_equal(note->kind, WT_FINDING_MISSING);
            assert_says(note->fix, "modprobe -a ipmi_si ipmi_devintf");
        }
        bed_done(&bed);
    }
}

static void a_virtual_machine_is_not_told_of_a_bmc(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_put(&bed, "/sys/class/dmi/id/chassis_type", "23\n");
    bed_put(&bed, "/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    bed_put(&bed, "/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme hypervisor\n");
    bed_open(&bed);
    assert_null(bed_note(&bed, "ipmi", NULL));
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_dcmis),
        cmocka_unit_test(responses_are_told_apart),
        cmocka_unit_test(the_tools_words_are_read),
        cmocka_unit_test(a_bmc_is_the_node_and_asked_once_a_second),
        cmocka_unit_test(a_failed_answer_is_no_reading_until_the_next),
        cmocka_unit_test(a_busy_bmc_is_asked_again),
        cmocka_unit_test(a_bmc_that_cannot_says_why),
        cmocka_unit_test(a_power_of_a_bmc_that_says_it_is_off_is_taken_and_said),
        cmocka_unit_test(a_bmc_that_hangs_costs_its_reading_and_no_time),
        cmocka_unit_test(freeipmis_tool_does_where_there_is_no_device),
        cmocka_unit_test(what_freeipmis_tool_complains_of_is_passed_on),
        cmocka_unit_test(with_another_root_nothing_is_started_and_the_tools_words_are_a_file),
        cmocka_unit_test(a_bmc_without_its_device_is_said_with_the_modules),
        cmocka_unit_test(a_virtual_machine_is_not_told_of_a_bmc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
