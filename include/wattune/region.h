/* Regions: how much CO2e a kWh of electricity is, by cloud region and by country. */
#ifndef WATTUNE_REGION_H
#define WATTUNE_REGION_H

#include "wattune/types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_region {
    char id[48];       /* "gcp:europe-west4", "DEU" */
    char name[80];     /* "Eemshaven Netherlands" */
    char country[8];   /* ISO 3166-1 alpha-3; "": not known */
    double carbon_g;   /* g CO2e per kWh; NaN: not known */
    char date[16];     /* of the figure: "2023", "2024-05-01"; "": its source names none */
    char source[200];  /* who says so, as a statement prints it */
    bool is_catalogue; /* of data/regions.csv; else the user's own */
};

/* A row of data/regions.csv by its id, case aside. Copied. Errors: WT_E_NOTFOUND (names ids that
 * are close). Threads: any thread. */
WT_API int wt_region_find(struct wt_region *ret_region, const char *id, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
