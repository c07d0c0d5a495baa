/* protocol: what crosses the line between a client and wattuned.
 *
 * One message is one packet of a Unix SOCK_SEQPACKET socket. Every message of a type has the same
 * size; integers are little-endian; the header says magic, version, type, size and a tag that the
 * answer repeats. From a client come ids and bounded integers only - a device by its place in the
 * daemon's own list, a knob by its id - never a path and never a word to interpret; texts cross the
 * other way only. Each request has exactly one answer, and a client waits for it.
 *
 * Pure: no sockets here. docs/daemon.md has the table. */
#ifndef WT_LEASE_PROTOCOL_H
#define WT_LEASE_PROTOCOL_H

#include "wattune/types.h"

struct wt_error;

#define WT_WIRE_MAGIC   0x44545457u /* "WTTD" */
#define WT_WIRE_VERSION 1u
#define WT_WIRE_HEADER  16u
#define WT_WIRE_MAX     1024u /* no message is longer */
#define WT_WIRE_DEVICES 64u   /* no daemon serves more */

enum wt_wire_type {
    WT_WIRE_HELLO = 1, /* first, and only first */
    WT_WIRE_DEVICE,    /* what one device is */
    WT_WIRE_KNOB,      /* what this client may set there, and how far */
    WT_WIRE_CLAIM,     /* hold a value of one knob of one device */
    WT_WIRE_RELEASE,   /* end one claim */
    WT_WIRE_RESTORE,   /* end all of this client's claims (of this job's) */
    WT_WIRE_STATUS,    /* one claim there is */
    WT_WIRE_PING,
    WT_WIRE_JOB_BEGIN, /* root: a Slurm job, its user and its devices */
    WT_WIRE_JOB_END,   /* root: it is over, its claims with it */
    WT_WIRE_REQUESTS,  /* one past the last request */

    WT_WIRE_HELLO_OK = 128,
    WT_WIRE_DEVICE_OK,
    WT_WIRE_KNOB_OK,
    WT_WIRE_CLAIM_OK,
    WT_WIRE_STATUS_OK,
    WT_WIRE_DONE,
    WT_WIRE_ERROR,
    WT_WIRE_END, /* one past the last answer */
};

/* Flags of DEVICE_OK. */
enum { WT_WIRE_IS_EMULATED = 1u << 0, WT_WIRE_IS_HUNG = 1u << 1 };

struct wt_wire_message {
    enum wt_wire_type type;
    uint32_t tag;
    union {
        struct {
            uint32_t version_min, version_max;
            uint64_t token; /* random: this lease's, so that it is known again after a restart */
        } hello;
        struct {
            uint32_t device;
        } device;
        struct {
            uint32_t device, knob, job;
        } knob;
        struct {
            uint32_t device, knob, job; /* job 0: lives as long as the connection */
            int64_t value, hold_ns;     /* hold 0: as long as it may */
        } claim;
        struct {
            uint32_t device, knob, job;
        } release;
        struct {
            uint32_t job;
        } restore;
        struct {
            uint32_t index;
        } status;
        struct {
            uint32_t job, uid;
            uint64_t devices; /* a bit for each of the daemon's list */
        } job_begin;
        struct {
            uint32_t job;
        } job_end;

        struct {
            uint32_t version, devices, pid, is_emulated;
        } hello_ok;
        struct {
            uint32_t device, kind, flags;
            uint64_t knobs; /* a bit for each id */
            char id[96], name[96];
        } device_ok;
        struct {
            uint32_t is_allowed, is_lockable;
            int64_t min, max;         /* what the device takes */
            int64_t floor, ceiling;   /* what this client may ask for, when allowed */
            int64_t hold_max_ns, cap; /* 0: no bound */
            char why_not[240];
        } knob_ok;
        struct {
            int64_t found, effective, enforced, hold_ns; /* hold 0: no end */
            uint32_t is_covered;                         /* a stricter claim holds for now */
        } claim_ok;
        struct {
            uint32_t count, device, knob, job, pid, uid;
            uint32_t state; /* 0: held, 1: still to be put back, 2: not on the device yet */
            int64_t value, effective, found, hold_left_ns;
            char name[16];
        } status_ok;
        struct {
            uint32_t count;
        } done;
        struct {
            int32_t code;
            char text[480], fix[240];
        } error;
    } u;
};

/* The size of a message of this type, header included; 0: there is no such type. */
size_t wt_wire_size(enum wt_wire_type type);
/* Writes wt_wire_size(message->type) bytes and returns how many; buf has room for WT_WIRE_MAX. */
size_t wt_wire_encode(const struct wt_wire_message *message, uint8_t *buf);
/* Errors: WT_E_FORMAT (too short, another magic, a size that is not the type's, a text without an
 * end), WT_E_UNSUPPORTED (another version, or no such type). */
int wt_wire_decode(const uint8_t *buf, size_t size, struct wt_wire_message *ret_message,
                   struct wt_error *err);
/* "claim", ...; never NULL. */
const char *wt_wire_name(enum wt_wire_type type);

#endif
