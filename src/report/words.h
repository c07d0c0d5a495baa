/* words: how the terminal and the HTML report call things alike. Internal to the library. */
#ifndef WT_REPORT_WORDS_H
#define WT_REPORT_WORDS_H

#include "wattune/run.h"

/* "GPU", "CPU", "DRAM", "node". */
const char *wt_device_word(enum wt_device_kind kind);
/* "Tesla V100", and where the run has several of that name the number that --gpu and CUDA take:
 * "Tesla V100, GPU 0". A device of which only points are left is "device 0". Returns buf. */
const char *wt_device_title(const struct wt_run *run, size_t at, char *buf, size_t size);

#endif
