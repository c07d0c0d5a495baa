/* slot: see slot.h. */
#include <string.h>

#include "base/base.h"
#include "lease/slot.h"

#define RECORD_MAGIC 0x524c5457 /* "WTLR" */
#define SUM_AT       (WT_JOURNAL_SLOT - 4)
#define JOB_AT       280
#define TOKEN_AT     288
#define UNCAPPED_AT  296
#define ASKED_AT     304

void wt_slot_put(uint8_t *slot, size_t at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        slot[at + i] = (uint8_t)(value >> (8 * i));
}

uint64_t wt_slot_get(const uint8_t *slot, size_t at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)slot[at + i] << (8 * i);
    return value;
}

/* CRC-32C, four bits a step. */
static uint32_t checksum(const uint8_t *bytes, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum ^= bytes[i];
        sum = (sum >> 4) ^ table[sum & 15];
        sum = (sum >> 4) ^ table[sum & 15];
    }
    return ~sum;
}

void wt_slot_seal(uint8_t *slot)
{
    wt_slot_put(slot, SUM_AT, checksum(slot, SUM_AT), 4);
}

bool wt_slot_is_sealed(const uint8_t *slot)
{
    return wt_slot_get(slot, SUM_AT, 4) == checksum(slot, SUM_AT);
}

/* Claims came with version 2. A Wattune that does not know them would end one of several and put
 * back what was found under the others, so it must not read on; everything else stays readable to
 * it. */
void wt_slot_encode(uint8_t *slot, const struct wt_lease_record *r)
{
    memset(slot, 0, WT_JOURNAL_SLOT);
    wt_slot_put(slot, 0, RECORD_MAGIC, 4);
    wt_slot_put(slot, 4, r->is_claim ? 2 : 1, 2);
    wt_slot_put(slot, 6, (uint64_t)r->state, 2);
    wt_slot_put(slot, 8, r->sequence, 8);
    wt_slot_put(slot, 16, r->lease, 8);
    memcpy(slot + 24, r->owner.boot, 16);
    wt_slot_put(slot, 40, r->owner.machine, 8);
    wt_slot_put(slot, 48, r->owner.start_ticks, 8);
    wt_slot_put(slot, 56, r->owner.pid_space, 8);
    wt_slot_put(slot, 64, r->owner.pid, 4);
    wt_slot_put(slot, 68, r->owner.uid, 4);
    memcpy(slot + 72, r->owner.name, 16);
    memcpy(slot + 88, r->device, 96);
    wt_slot_put(slot, 184, (uint64_t)r->knob, 4);
    wt_slot_put(slot, 188,
                (uint64_t)r->is_emulated | (uint64_t)r->is_blind << 1 | (uint64_t)r->is_claim << 2 |
                    (uint64_t)(r->is_claim && r->is_restoring) << 3 |
                    (uint64_t)(r->is_claim && r->is_capped) << 4 |
                    (uint64_t)(r->is_claim && r->is_limited) << 5,
                4);
    wt_slot_put(slot, JOB_AT, r->is_claim ? r->job : 0, 4);
    wt_slot_put(slot, TOKEN_AT, r->is_claim ? r->token : 0, 8);
    wt_slot_put(slot, UNCAPPED_AT, r->is_claim && r->is_capped ? (uint64_t)r->uncapped : 0, 8);
    wt_slot_put(slot, ASKED_AT, r->is_claim && r->is_limited ? (uint64_t)r->asked : 0, 8);
    const int64_t values[] = {r->found,    r->previous,    r->requested, r->current,
                              r->enforced, r->min,         r->max,       r->step,
                              r->def,      r->deadline_ns, r->unix_ns};
    for (size_t i = 0; i < WT_COUNTOF(values); i++)
        wt_slot_put(slot, 192 + 8 * i, (uint64_t)values[i], 8);
    wt_slot_seal(slot);
}

enum wt_slot_kind wt_slot_decode(const uint8_t *slot, struct wt_lease_record *ret)
{
    if (!wt_slot_is_sealed(slot) || wt_slot_get(slot, 0, 4) != RECORD_MAGIC)
        return WT_SLOT_DAMAGED;
    if (wt_slot_get(slot, 4, 2) > WT_JOURNAL_VERSION)
        return WT_SLOT_NEWER;
    struct wt_lease_record r = {.sequence = wt_slot_get(slot, 8, 8),
                                .lease = wt_slot_get(slot, 16, 8)};
    uint64_t state = wt_slot_get(slot, 6, 2), knob = wt_slot_get(slot, 184, 4);
    memcpy(r.owner.boot, slot + 24, 16);
    r.owner.machine = wt_slot_get(slot, 40, 8);
    r.owner.start_ticks = wt_slot_get(slot, 48, 8);
    r.owner.pid_space = wt_slot_get(slot, 56, 8);
    r.owner.pid = (uint32_t)wt_slot_get(slot, 64, 4);
    r.owner.uid = (uint32_t)wt_slot_get(slot, 68, 4);
    memcpy(r.owner.name, slot + 72, 16);
    memcpy(r.device, slot + 88, 96);
    r.is_emulated = wt_slot_get(slot, 188, 4) & 1u;
    r.is_blind = wt_slot_get(slot, 188, 4) & 2u;
    r.is_claim = wt_slot_get(slot, 4, 2) >= 2 && (wt_slot_get(slot, 188, 4) & 4u);
    if (r.is_claim) {
        r.is_restoring = wt_slot_get(slot, 188, 4) & 8u;
        r.job = (uint32_t)wt_slot_get(slot, JOB_AT, 4);
        r.token = wt_slot_get(slot, TOKEN_AT, 8);
        r.is_capped = wt_slot_get(slot, 188, 4) & 16u;
        r.uncapped = (int64_t)wt_slot_get(slot, UNCAPPED_AT, 8);
        r.is_limited = wt_slot_get(slot, 188, 4) & 32u;
        r.asked = (int64_t)wt_slot_get(slot, ASKED_AT, 8);
    }
    int64_t *const values[] = {&r.found,    &r.previous,    &r.requested, &r.current,
                               &r.enforced, &r.min,         &r.max,       &r.step,
                               &r.def,      &r.deadline_ns, &r.unix_ns};
    for (size_t i = 0; i < WT_COUNTOF(values); i++)
        *values[i] = (int64_t)wt_slot_get(slot, 192 + 8 * i, 8);
    /* The sum holds, so this was written by a Wattune; a bound on everything used as an index or a
     * text is cheap all the same. */
    if (state < WT_LEASE_INTENDED || state > WT_LEASE_ABANDONED || knob == 0 ||
        knob >= WT_KNOB_COUNT || r.lease == 0 || !memchr(r.device, 0, sizeof(r.device)) ||
        !memchr(r.owner.name, 0, sizeof(r.owner.name)))
        return WT_SLOT_DAMAGED;
    r.state = (enum wt_lease_state)state;
    r.knob = (enum wt_knob)knob;
    *ret = r;
    return WT_SLOT_RECORD;
}
