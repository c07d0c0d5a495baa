/* ipmi: the node's power as its management controller (BMC) has it.
 *
 * DCMI's Get Power Reading: network function 2Ch, command 02h, group DCh, mode 01h. The answer has
 * whole watts: now, and least, most and mean over a period of the BMC's. Three ways to it:
 * - /dev/ipmi0 and the kernel's driver: nothing else is needed;
 * - FreeIPMI's ipmi-dcmi, where that device is not there and the command is: it speaks to the BMC
 *   by itself, takes a second and more, and wants root;
 * - with --sysroot, DIR/tools/ipmi-dcmi.txt for what it prints. Nothing is opened or started then.
 *
 * A BMC can hang, and answers in tens of milliseconds when it does not: it is asked in the
 * background (slow.h).
 *
 * Some controllers (OpenBMC) say that they do not measure and send a power all the same: a power
 * above 0 counts. Some send 0 or 65535 W for none.
 *
 * Sources: Intel, DCMI Specification 1.5, 6.6.1 Get Power Reading; IPMI Specification 2.0, 5.2
 * Completion Codes; linux/ipmi.h; openbmc/openbmc issue 3257; xapi-project/xen-api pull request
 * 5561. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ipmi.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sensor/gauge.h"
#include "sensor/ipmi.h"
#include "sensor/machine.h"
#include "sensor/program.h"
#include "sensor/slow.h"

#define TOOL          "ipmi-dcmi"
#define TOOL_FILE     "/tools/ipmi-dcmi.txt"
#define ANSWER_NS     (5 * WT_NS_PER_S)
#define TOOL_NS       (10 * WT_NS_PER_S)
#define PERIOD_NS     WT_NS_PER_S
#define TOOL_PERIOD   (2 * WT_NS_PER_S)
#define RETRY_NS      (200 * WT_NS_PER_MS)
#define TRIES         3
#define NETFN_GROUP   0x2c
#define GET_POWER     0x02
#define GROUP_DCMI    0xdc
#define MODE_POWER    0x01
#define STATE_ACTIVE  0x40
#define POWER_MAX_W   20000
#define WINDOW_MAX_MS 10000

/* ---- messages ---- */

void wt_dcmi_power_request(uint8_t request[WT_DCMI_REQUEST_SIZE])
{
    static const uint8_t bytes[WT_DCMI_REQUEST_SIZE] = {NETFN_GROUP, GET_POWER, GROUP_DCMI,
                                                        MODE_POWER};
    memcpy(request, bytes, sizeof(bytes));
}

static int fail_completion(uint8_t code, struct wt_error *err)
{
    static const struct {
        uint8_t code;
        int rc;
        const char *text, *fix;
    } rows[] = {
        {0xc0, WT_E_BUSY, "is busy", NULL},
        {0xc1, WT_E_UNSUPPORTED, "knows no DCMI power reading", NULL},
        {0xc2, WT_E_UNSUPPORTED, "has no DCMI power reading here", NULL},
        {0xc3, WT_E_BUSY, "did not answer its own hardware in time", NULL},
        {0xc6, WT_E_FORMAT, "found the request too short", NULL},
        {0xc7, WT_E_FORMAT, "found the request of a wrong length", NULL},
        {0xc9, WT_E_UNSUPPORTED, "has no power reading of this mode", NULL},
        {0xcb, WT_E_UNSUPPORTED, "has no power sensor", NULL},
        {0xcc, WT_E_UNSUPPORTED, "takes no such request", NULL},
        {0xce, WT_E_BUSY, "has no answer ready", NULL},
        {0xd3, WT_E_BUSY, "cannot reach its power sensor", NULL},
        {0xd4, WT_E_DENIED, "lets no one with these rights read the power",
         "raise the channel's privilege limit in the BMC's settings"},
        {0xd5, WT_E_STATE, "does not measure in its present state",
         "turn power monitoring on in the BMC's settings"},
        {0xd6, WT_E_UNSUPPORTED, "has its power reading turned off",
         "turn power monitoring on in the BMC's settings"},
        {0xff, WT_E_BUSY, "gives no reason", NULL},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].code == code) {
            wt_fail(err, rows[i].rc, "the BMC %s (completion code %02Xh)", rows[i].text, code);
            if (rows[i].fix)
                wt_fix(err, "%s", rows[i].fix);
            return rows[i].rc;
        }
    return wt_fail(err, WT_E_IO, "the BMC refused (completion code %02Xh)", code);
}

/* What holds of a power whichever way it came. */
static int check_power(const struct wt_dcmi_power *p, struct wt_error *err)
{
    if (!p->current_w && !p->is_active) {
        wt_fail(err, WT_E_STATE, "the BMC says that its power measurement is off");
        wt_fix(err, "turn power monitoring on in the BMC's settings, or update its firmware");
        return WT_E_STATE;
    }
    if (!p->current_w || p->current_w > POWER_MAX_W)
        return wt_fail(err, WT_E_FORMAT, "the BMC says %u W, which is no reading of a node",
                       p->current_w);
    return 0;
}

static uint16_t word(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

int wt_dcmi_power_parse(const uint8_t *r, size_t length, struct wt_dcmi_power *ret_power,
                        struct wt_error *err)
{
    if (!length)
        return wt_fail(err, WT_E_FORMAT, "the BMC sent an empty response");
    if (r[0])
        return fail_completion(r[0], err);
    if (length < 2 || r[1] != GROUP_DCMI)
        return wt_fail(err, WT_E_FORMAT, "the BMC's response is of group %02Xh, not DCMI's DCh",
                       length < 2 ? 0 : r[1]);
    if (length != WT_DCMI_RESPONSE_SIZE)
        return wt_fail(err, WT_E_FORMAT, "the BMC's power reading has %zu bytes instead of %d",
                       length, WT_DCMI_RESPONSE_SIZE);
    struct wt_dcmi_power p = {
        .current_w = word(r + 2),
        .min_w = word(r + 4),
        .max_w = word(r + 6),
        .mean_w = word(r + 8),
        .period_ms = (uint32_t)word(r + 14) | (uint32_t)word(r + 16) << 16,
        .is_active = r[18] & STATE_ACTIVE,
    };
    int rc = check_power(&p, err);
    if (rc == 0)
        *ret_power = p;
    return rc;
}

/* The text behind "KEY : ". */
static const char *value_of(const char *text, const char *key, char *buf, size_t size)
{
    size_t n = strlen(key);
    while (text && *text) {
        size_t line = strcspn(text, "\n");
        if (strncasecmp(text, key, n) == 0) {
            const char *colon = text + n + strspn(text + n, " \t");
            if (*colon == ':') {
                colon += 1 + strspn(colon + 1, " \t");
                return wt_text(buf, size, "%.*s", (int)(text + line - colon), colon);
            }
        }
        text += line + (text[line] == '\n');
    }
    return NULL;
}

/* "6284 Watts", "1000 milliseconds". */
static bool is_number(const char *text, const char *unit, uint64_t *ret_value)
{
    char number[24];
    size_t n = text ? strspn(text, "0123456789") : 0;
    if (!n || n >= sizeof(number))
        return false;
    wt_text(number, sizeof(number), "%.*s", (int)n, text);
    text += n + strspn(text + n, " \t");
    return strncasecmp(text, unit, strlen(unit)) == 0 && wt_text_to_u64(number, ret_value) == 0;
}

int wt_dcmi_text_parse(const char *text, struct wt_dcmi_power *ret_power, struct wt_error *err)
{
    char value[64];
    uint64_t watts, ms;
    if (!is_number(value_of(text, "Current Power", value, sizeof(value)), "watt", &watts) ||
        watts > UINT16_MAX)
        return wt_fail(err, WT_E_FORMAT,
                       TOOL " printed \"%.60s\" and no \"Current Power : N Watts\"", text);
    struct wt_dcmi_power p = {.current_w = (uint16_t)watts};
    const char *state = value_of(text, "Power Measurement", value, sizeof(value));
    p.is_active = !state || strcasecmp(state, "Active") == 0;
    if (is_number(value_of(text, "Statistics reporting time period", value, sizeof(value)),
                  "millisecond", &ms) &&
        ms <= UINT32_MAX)
        p.period_ms = (uint32_t)ms;
    int rc = check_power(&p, err);
    if (rc == 0)
        *ret_power = p;
    return rc;
}

/* ---- the kernel's driver ---- */

static int64_t remaining_ms(int64_t end_ns)
{
    int64_t left_ns = end_ns - wt_clock_now_ns();
    return left_ns > 0 ? left_ns / WT_NS_PER_MS + 1 : 0;
}

static int send(int fd, const char *path, const uint8_t *request, size_t length,
                struct wt_error *err)
{
    struct ipmi_system_interface_addr addr = {.addr_type = IPMI_SYSTEM_INTERFACE_ADDR_TYPE,
                                              .channel = IPMI_BMC_CHANNEL};
    struct ipmi_req req = {
        .addr = (unsigned char *)&addr,
        .addr_len = sizeof(addr),
        .msgid = 1,
        .msg = {.netfn = request[0],
                .cmd = request[1],
                .data_len = (unsigned short)(length - 2),
                .data = (unsigned char *)request + 2},
    };
    return ioctl(fd, IPMICTL_SEND_COMMAND, &req) < 0 ? wt_fail_errno(err, errno, "%s", path) : 0;
}

static int receive(int fd, const char *path, int stop_fd, uint8_t *response, size_t size,
                   size_t *ret_length, struct wt_error *err)
{
    int64_t end_ns = wt_clock_now_ns() + ANSWER_NS, left_ms;
    while ((left_ms = remaining_ms(end_ns)) > 0) {
        struct pollfd fds[] = {{fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
        poll(fds, WT_COUNTOF(fds), (int)left_ms);
        if (stop_fd >= 0 && fds[1].revents)
            return wt_fail(err, WT_E_STATE, "stopped");
        if (fds[0].revents & (POLLERR | POLLHUP | POLLNVAL))
            return wt_fail(err, WT_E_GONE, "%s: the BMC's driver is gone", path);
        if (!(fds[0].revents & POLLIN))
            continue;
        struct ipmi_addr addr;
        struct ipmi_recv got = {
            .addr = (unsigned char *)&addr,
            .addr_len = sizeof(addr),
            .msg = {.data = response, .data_len = (unsigned short)size},
        };
        if (ioctl(fd, IPMICTL_RECEIVE_MSG_TRUNC, &got) < 0 && errno != EMSGSIZE) {
            if (errno == EAGAIN || errno == EINTR)
                continue;
            return wt_fail_errno(err, errno, "%s", path);
        }
        if (got.recv_type != IPMI_RESPONSE_RECV_TYPE || got.msgid != 1)
            continue; /* an event, or somebody else's */
        *ret_length = got.msg.data_len;
        return 0;
    }
    wt_fail(err, WT_E_TIMEOUT, "%s: the BMC did not answer in %.0f s", path,
            wt_s_from_ns(ANSWER_NS));
    wt_fix(err, "if it stays so, restart the BMC: ipmitool mc reset cold");
    return WT_E_TIMEOUT;
}

/* Opened anew each time: what a hung request leaves behind goes with it. */
static int kernel_transact(void *data, const uint8_t *request, size_t length, int stop_fd,
                           uint8_t *response, size_t size, size_t *ret_length, struct wt_error *err)
{
    const char *path = data;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = send(fd, path, request, length, err);
    if (rc == 0)
        rc = receive(fd, path, stop_fd, response, size, ret_length, err);
    close(fd);
    return rc;
}

/* ---- asking ---- */

/* What the thread that asks needs. */
struct bmc {
    struct wt_ipmi_ops ops; /* transact NULL: by the tool */
    struct wt_dcmi_power last;
};

static void drop(void *data)
{
    free(data);
}

static bool is_stopped(int stop_fd, int64_t span_ns)
{
    struct pollfd fd = {stop_fd, POLLIN, 0};
    return poll(&fd, 1, (int)(span_ns / WT_NS_PER_MS)) > 0;
}

static int ask_bmc(void *data, int stop_fd, uint64_t *ret_mw, struct wt_error *err)
{
    struct bmc *b = data;
    uint8_t request[WT_DCMI_REQUEST_SIZE], response[64];
    int rc = WT_E_BUSY;
    wt_dcmi_power_request(request);
    for (int i = 0; i < TRIES && rc == WT_E_BUSY; i++) {
        size_t length = 0;
        if (i && is_stopped(stop_fd, b->ops.retry_ns ? b->ops.retry_ns : RETRY_NS))
            return wt_fail(err, WT_E_STATE, "stopped");
        rc = b->ops.transact(b->ops.data, request, sizeof(request), stop_fd, response,
                             sizeof(response), &length, err);
        if (rc == 0)
            rc = wt_dcmi_power_parse(response, length, &b->last, err);
    }
    if (rc == 0)
        *ret_mw = (uint64_t)b->last.current_w * 1000;
    return rc;
}

static int ask_tool(void *data, int stop_fd, uint64_t *ret_mw, struct wt_error *err)
{
    static const char *const args[] = {TOOL, "--get-system-power-statistics", NULL};
    struct bmc *b = data;
    struct wt_program_result *result = malloc(sizeof(*result));
    struct wt_error why = {0};
    if (!result)
        return wt_fail(err, WT_E_NOMEM, "no memory for what " TOOL " prints");
    int rc = wt_program_run(args, stop_fd, TOOL_NS, result, &why);
    if (rc < 0)
        wt_fail(err, rc, TOOL ": %s", why.text);
    else if (result->code)
        rc = wt_fail(err, strcasestr(result->error, "permission") ? WT_E_DENIED : WT_E_UNSUPPORTED,
                     TOOL ": exit code %d%s%.120s", result->code, *result->error ? ": " : "",
                     result->error);
    else
        rc = wt_dcmi_text_parse(result->out, &b->last, err);
    free(result);
    if (rc == 0)
        *ret_mw = (uint64_t)b->last.current_w * 1000;
    return rc;
}

static int read_slow(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_mw,
                     struct wt_error *err)
{
    return wt_slow_read(gauge->counter_data, ctx, ret_mw, err);
}

static int read_tool_file(const struct wt_ctx *ctx, struct wt_dcmi_power *ret_power,
                          struct wt_error *err)
{
    char text[2048];
    int rc = wt_fs_read(ctx, TOOL_FILE, text, sizeof(text), err);
    return rc < 0 ? rc : wt_dcmi_text_parse(text, ret_power, err);
}

static int read_file(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_mw,
                     struct wt_error *err)
{
    (void)gauge;
    struct wt_dcmi_power p;
    int rc = read_tool_file(ctx, &p, err);
    if (rc == 0)
        *ret_mw = (uint64_t)p.current_w * 1000;
    return rc;
}

/* ---- the source ---- */

static const char *find_device(void)
{
    static const char *const paths[] = {"/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"};
    for (size_t i = 0; i < WT_COUNTOF(paths); i++)
        if (access(paths[i], F_OK) == 0)
            return paths[i];
    return NULL;
}

/* Is there a BMC, as far as files tell: the firmware's own word, a loaded driver, or a chassis of
 * those that have one. */
static bool has_bmc(const struct wt_ctx *ctx)
{
    char **names = NULL;
    size_t count = 0;
    uint64_t chassis = 0;
    static const char *const dirs[] = {"/sys/firmware/dmi/entries/38-0", "/sys/module/ipmi_si"};
    for (size_t i = 0; i < WT_COUNTOF(dirs); i++) {
        int rc = wt_fs_list(ctx, dirs[i], &names, &count, NULL);
        wt_fs_list_free(names, count);
        names = NULL;
        count = 0;
        if (rc == 0 || rc == WT_E_DENIED)
            return true;
    }
    if (wt_fs_read_u64(ctx, "/sys/class/dmi/id/chassis_type", &chassis, NULL) < 0)
        return false;
    /* SMBIOS: main server chassis, rack mount, multi-system, blade. */
    return chassis == 17 || chassis == 23 || chassis == 25 || chassis == 28;
}

static int note_absent(const struct wt_ctx *ctx, struct wt_findings *notes)
{
    struct wt_machine machine;
    if (!has_bmc(ctx))
        return 0;
    wt_machine_look(ctx, &machine);
    if (machine.is_virtual)
        return 0;
    if (*machine.container)
        return wt_findings_add(notes, WT_FINDING_MISSING, "ipmi", "", "node power",
                               "start the container with --device /dev/ipmi0",
                               "the host's BMC is not passed on: no /dev/ipmi0");
    return wt_findings_add(notes, WT_FINDING_MISSING, "ipmi", "", "node power",
                           "sudo modprobe -a ipmi_si ipmi_devintf (at each start: put both into "
                           "/etc/modules-load.d/ipmi.conf)",
                           "there is a BMC, and no /dev/ipmi0 to ask it by");
}

static int add_node(struct wt_gauges *g, const char *name, const struct wt_gauge *gauge,
                    const struct wt_dcmi_power *first, int64_t period_ns, int64_t took_ns,
                    struct wt_findings *notes)
{
    struct wt_device_info info = {
        .kind = WT_DEVICE_NODE,
        .id = "node-ipmi",
        /* Whole watts of supplies that are good to some percent: gain and offset are assumed. */
        .traits = {.power_period_ns = period_ns,
                   .power_delay_ns = took_ns / 2,
                   .gain_ppm = 50000,
                   .offset_mw = 1000},
    };
    bool is_added;
    wt_text(info.name, sizeof(info.name), "%s", name);
    if (first->period_ms && first->period_ms <= WINDOW_MAX_MS)
        info.traits.power_window_ns = first->period_ms * WT_NS_PER_MS;
    int rc = wt_gauges_add(g, &info, gauge, NULL, &is_added, notes);
    if (rc == 0 && is_added && !first->is_active)
        rc = wt_findings_add(notes, WT_FINDING_OK, "ipmi", info.id, "power measurement", "",
                             "the BMC says that it is off and sends %u W all the same: taken",
                             first->current_w);
    if (!is_added && gauge->counter_data)
        wt_slow_close(gauge->counter_data);
    return rc;
}

static int note_failure(struct wt_findings *notes, int rc, struct wt_error *why)
{
    if (rc == WT_E_NOMEM)
        return rc;
    if (rc == WT_E_DENIED && !*why->fix)
        wt_fix(why, "run as root, or until the next boot sudo chmod a+rw /dev/ipmi0; for good, in "
                    "/etc/udev/rules.d/70-ipmi.rules: KERNEL==\"ipmi*\", GROUP=\"users\", "
                    "MODE=\"0660\"");
    return wt_findings_add_error(notes, "ipmi", "", "node power", why);
}

/* Asks a BMC in the background, by these or, transact NULL, by the tool. */
static int add_slow(struct wt_gauges *g, const struct wt_ipmi_ops *ops, struct wt_findings *notes)
{
    struct wt_error why = {0};
    struct wt_slow *slow = NULL;
    struct bmc *b = calloc(1, sizeof(*b));
    if (!b)
        return WT_E_NOMEM;
    b->ops = *ops;
    bool is_tool = !ops->transact;
    int64_t period_ns = is_tool ? TOOL_PERIOD : PERIOD_NS;
    int64_t deadline_ns = is_tool ? TOOL_NS + WT_NS_PER_S : ANSWER_NS + WT_NS_PER_S;
    int rc = wt_slow_open(&slow, g->ctx, is_tool ? ask_tool : ask_bmc, drop, b, period_ns,
                          ops->deadline_ns ? ops->deadline_ns : deadline_ns, &why);
    if (rc < 0)
        return note_failure(notes, rc, &why);
    /* Nobody asks before the next read. */
    struct wt_dcmi_power first = b->last;
    struct wt_gauge gauge = {.wattage = read_slow, .counter_data = slow};
    return add_node(g, is_tool ? "node (BMC, by " TOOL ")" : "node (BMC)", &gauge, &first,
                    period_ns, wt_slow_took_ns(slow), notes);
}

static int add_file(struct wt_gauges *g, struct wt_findings *notes)
{
    struct wt_error why = {0};
    struct wt_dcmi_power first;
    struct wt_gauge gauge = {.wattage = read_file};
    int rc = read_tool_file(g->ctx, &first, &why);
    if (rc == WT_E_NOTFOUND)
        return note_absent(g->ctx, notes);
    if (rc < 0)
        return note_failure(notes, rc, &why);
    return add_node(g, "node (BMC, by " TOOL ")", &gauge, &first, TOOL_PERIOD, 0, notes);
}

static int look(struct wt_gauges *g, struct wt_findings *notes)
{
    if (g->ctx->ipmi)
        return add_slow(g, g->ctx->ipmi, notes);
    if (*g->ctx->sysroot)
        return add_file(g, notes);
    const char *device = find_device();
    struct wt_ipmi_ops ops = {.transact = device ? kernel_transact : NULL, .data = (void *)device};
    if (device || wt_program_is_there(TOOL))
        return add_slow(g, &ops, notes);
    return note_absent(g->ctx, notes);
}

static void free_data(struct wt_gauges *g)
{
    for (size_t k = 0; k < g->source.count; k++)
        wt_slow_close(g->list[k]->counter_data);
}

static int ipmi_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                     const struct wt_devices_options *options, struct wt_findings *notes,
                     struct wt_error *err)
{
    (void)options;
    struct wt_gauges *g;
    int rc = wt_gauges_new(&g, ctx, &wt_ipmi_source, err);
    if (rc < 0)
        return rc;
    g->free_data = free_data;
    rc = look(g, notes);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for IPMI");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_ipmi_source = {
    .name = "ipmi",
    .open = ipmi_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
