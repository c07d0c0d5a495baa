/* What every backend must do, operation by operation: each on seeded random inputs, compared with
 * the reference backend. Uses alloc, upload and download only, so that the memory may be a
 * device's, and no test library, so that a plain program can call it where there is a GPU. */
#ifndef WT_TEST_BACKEND_CONTRACT_H
#define WT_TEST_BACKEND_CONTRACT_H

#include "workload/backend.h"

/* Prints a line for each case and output: the relative error norm(out - want) / norm(want), and the
 * value that is furthest off. An
 * output fails over tolerance, where a value was not written or is not finite, or where something
 * was written behind its end. Returns the number of failures. Of WT_INT8 only the operations of
 * inference are run, with prepared weights. only: NULL, or what a case's name must contain: none
 * that does is a failure. */
unsigned wt_backend_contract(struct wt_backend *tested, double tolerance, const char *only);

#endif
