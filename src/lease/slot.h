/* slot: one record of the journal as bytes - little-endian, fixed places, sealed with a checksum.
 * docs/leases.md has the table. Pure. */
#ifndef WT_LEASE_SLOT_H
#define WT_LEASE_SLOT_H

#include "lease/journal.h"

/* What a whole slot is. */
enum wt_slot_kind { WT_SLOT_RECORD, WT_SLOT_DAMAGED, WT_SLOT_NEWER };

void wt_slot_encode(uint8_t *slot, const struct wt_lease_record *record);
/* Writes *ret_record of a WT_SLOT_RECORD only. */
enum wt_slot_kind wt_slot_decode(const uint8_t *slot, struct wt_lease_record *ret_record);

/* For the header, which is a slot too. */
void wt_slot_put(uint8_t *slot, size_t at, uint64_t value, size_t size);
uint64_t wt_slot_get(const uint8_t *slot, size_t at, size_t size);
void wt_slot_seal(uint8_t *slot);
bool wt_slot_is_sealed(const uint8_t *slot);

#endif
