/* protocol: see protocol.h. One table of fields serves both directions. */
#include <string.h>

#include "base/base.h"
#include "lease/protocol.h"

enum kind { END, INT, TEXT };
struct field {
    enum kind kind;
    uint16_t at, size; /* in struct wt_wire_message */
};
#define MEMBER(message, name)                                                                      \
    (uint16_t) offsetof(struct wt_wire_message, u.message.name),                                   \
        (uint16_t)sizeof(((struct wt_wire_message *)NULL)->u.message.name)
#define I(message, name)                                                                           \
    {                                                                                              \
        INT, MEMBER(message, name)                                                                 \
    }
#define T(message, name)                                                                           \
    {                                                                                              \
        TEXT, MEMBER(message, name)                                                                \
    }

static const struct {
    enum wt_wire_type type;
    const char *name;
    struct field fields[12];
} rows[] = {
    {WT_WIRE_HELLO, "hello", {I(hello, version_min), I(hello, version_max), I(hello, token)}},
    {WT_WIRE_DEVICE, "device", {I(device, device)}},
    {WT_WIRE_KNOB, "knob", {I(knob, device), I(knob, knob), I(knob, job)}},
    {WT_WIRE_CLAIM,
     "claim",
     {I(claim, device), I(claim, knob), I(claim, job), I(claim, value), I(claim, hold_ns)}},
    {WT_WIRE_RELEASE, "release", {I(release, device), I(release, knob), I(release, job)}},
    {WT_WIRE_RESTORE, "restore", {I(restore, job)}},
    {WT_WIRE_STATUS, "status", {I(status, index)}},
    {WT_WIRE_PING, "ping", {{END, 0, 0}}},
    {WT_WIRE_JOB_BEGIN, "job-begin", {I(job_begin, job), I(job_begin, uid), I(job_begin, devices)}},
    {WT_WIRE_JOB_END, "job-end", {I(job_end, job)}},
    {WT_WIRE_HELLO_OK,
     "hello-ok",
     {I(hello_ok, version), I(hello_ok, devices), I(hello_ok, pid), I(hello_ok, is_emulated)}},
    {WT_WIRE_DEVICE_OK,
     "device-ok",
     {I(device_ok, device), I(device_ok, kind), I(device_ok, flags), I(device_ok, knobs),
      T(device_ok, id), T(device_ok, name)}},
    {WT_WIRE_KNOB_OK,
     "knob-ok",
     {I(knob_ok, is_allowed), I(knob_ok, is_lockable), I(knob_ok, min), I(knob_ok, max),
      I(knob_ok, floor), I(knob_ok, ceiling), I(knob_ok, hold_max_ns), I(knob_ok, cap),
      T(knob_ok, why_not)}},
    {WT_WIRE_CLAIM_OK,
     "claim-ok",
     {I(claim_ok, found), I(claim_ok, effective), I(claim_ok, enforced), I(claim_ok, hold_ns),
      I(claim_ok, is_covered)}},
    {WT_WIRE_STATUS_OK,
     "status-ok",
     {I(status_ok, count), I(status_ok, device), I(status_ok, knob), I(status_ok, job),
      I(status_ok, pid), I(status_ok, uid), I(status_ok, state), I(status_ok, value),
      I(status_ok, effective), I(status_ok, found), I(status_ok, hold_left_ns),
      T(status_ok, name)}},
    {WT_WIRE_DONE, "done", {I(done, count)}},
    {WT_WIRE_ERROR, "error", {I(error, code), T(error, text), T(error, fix)}},
};
#undef I
#undef T

static const struct field *fields_of(enum wt_wire_type type)
{
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].type == type)
            return rows[i].fields;
    return NULL;
}

const char *wt_wire_name(enum wt_wire_type type)
{
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].type == type)
            return rows[i].name;
    return "unknown";
}

size_t wt_wire_size(enum wt_wire_type type)
{
    const struct field *f = fields_of(type);
    size_t size = WT_WIRE_HEADER;
    for (size_t i = 0; f && i < WT_COUNTOF(rows[0].fields) && f[i].kind != END; i++)
        size += f[i].size;
    return f ? size : 0;
}

static void put(uint8_t *buf, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        buf[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *buf, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)buf[i] << (8 * i);
    return value;
}

size_t wt_wire_encode(const struct wt_wire_message *m, uint8_t *buf)
{
    const struct field *f = fields_of(m->type);
    size_t size = wt_wire_size(m->type), at = WT_WIRE_HEADER;
    put(buf, WT_WIRE_MAGIC, 4);
    put(buf + 4, WT_WIRE_VERSION, 2);
    put(buf + 6, (uint64_t)m->type, 2);
    put(buf + 8, size, 4);
    put(buf + 12, m->tag, 4);
    for (size_t i = 0; at < size; at += f[i++].size) {
        const char *member = (const char *)m + f[i].at;
        if (f[i].kind == TEXT) {
            memcpy(buf + at, member, f[i].size);
            buf[at + f[i].size - 1] = '\0';
            /* What lies behind the end of a text is nobody's business. */
            size_t used = strlen((char *)buf + at);
            memset(buf + at + used, 0, f[i].size - used);
        } else if (f[i].size == 8) {
            uint64_t value;
            memcpy(&value, member, sizeof(value));
            put(buf + at, value, 8);
        } else {
            uint32_t value;
            memcpy(&value, member, sizeof(value));
            put(buf + at, value, 4);
        }
    }
    return size;
}

int wt_wire_decode(const uint8_t *buf, size_t size, struct wt_wire_message *ret_message,
                   struct wt_error *err)
{
    if (size < WT_WIRE_HEADER)
        return wt_fail(err, WT_E_FORMAT, "a message of %zu bytes: a header alone has %u", size,
                       WT_WIRE_HEADER);
    if (get(buf, 4) != WT_WIRE_MAGIC)
        return wt_fail(err, WT_E_FORMAT, "no message of Wattune's");
    if (get(buf + 4, 2) != WT_WIRE_VERSION)
        return wt_fail(err, WT_E_UNSUPPORTED, "protocol version %u: this side speaks %u",
                       (unsigned)get(buf + 4, 2), WT_WIRE_VERSION);
    struct wt_wire_message m = {.type = (enum wt_wire_type)get(buf + 6, 2),
                                .tag = (uint32_t)get(buf + 12, 4)};
    const struct field *f = fields_of(m.type);
    if (!f)
        return wt_fail(err, WT_E_UNSUPPORTED, "there is no message of type %u", (unsigned)m.type);
    size_t want = wt_wire_size(m.type), at = WT_WIRE_HEADER;
    if (size != want || get(buf + 8, 4) != want)
        return wt_fail(err, WT_E_FORMAT, "%s: %zu bytes that call themselves %u, not %zu",
                       wt_wire_name(m.type), size, (unsigned)get(buf + 8, 4), want);
    for (size_t i = 0; at < size; at += f[i++].size) {
        char *member = (char *)&m + f[i].at;
        if (f[i].kind == TEXT) {
            if (!memchr(buf + at, 0, f[i].size))
                return wt_fail(err, WT_E_FORMAT, "%s: a text without an end", wt_wire_name(m.type));
            memcpy(member, buf + at, f[i].size);
        } else if (f[i].size == 8) {
            uint64_t value = get(buf + at, 8);
            memcpy(member, &value, sizeof(value));
        } else {
            uint32_t value = (uint32_t)get(buf + at, 4);
            memcpy(member, &value, sizeof(value));
        }
    }
    *ret_message = m;
    return 0;
}
