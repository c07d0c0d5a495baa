/* statement: what its documents share. Internal to the library. */
#ifndef WT_REPORT_STATEMENT_H
#define WT_REPORT_STATEMENT_H

#include "record/record.h"
#include "wattune/statement.h"

#define WT_J_PER_KWH 3.6e6

/* "real", "emulated", "replayed". */
const char *wt_statement_kind_name(enum wt_statement_kind kind);
/* Why the energy of a run is not, or not wholly, known. */
void wt_statement_why(const struct wt_run *run, char *buf, size_t size);
/* Whether no earlier run was on the same host, or of the same command. */
bool wt_statement_is_new_host(const struct wt_statement *s, size_t at);
bool wt_statement_is_new_command(const struct wt_statement *s, size_t at);
/* "EMULATED ", "REPLAYED " or "": what goes before anything such a statement is called by. */
const char *wt_statement_mark(const struct wt_statement *s);
/* "3 x Tesla V100-PCIE-32GB, ...": without meters of nodes, unless there is nothing else: "the node
 * as a whole (by read-pdu)". Returns buf. */
const char *wt_statement_hardware(const struct wt_statement *s, char *buf, size_t size);
/* "Germany (DEU)". Returns buf. */
const char *wt_statement_place(const struct wt_statement *s, char *buf, size_t size);

#endif
