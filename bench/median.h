/* The median of what a benchmark measured. */
#ifndef WT_BENCH_MEDIAN_H
#define WT_BENCH_MEDIAN_H

#include <stdlib.h>

static inline int wt_compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* count >= 1. Sorts the values. */
static inline double wt_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), wt_compare_doubles);
    double middle = values[count / 2];
    return count % 2 ? middle : (values[count / 2 - 1] + middle) / 2;
}

#endif
