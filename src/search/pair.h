/* pair: its document. Internal to the library. */
#ifndef WT_SEARCH_PAIR_H
#define WT_SEARCH_PAIR_H

#include "search/sweep.h"
#include "wattune/pair.h"

#endif
