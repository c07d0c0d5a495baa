/* region: the catalogue of regions, data/regions.csv, which is compiled into the library.
 *
 * Its factors are means of a year. When electricity is clean within a day is a signal's business
 * (signal.c). */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "plan/region.h"

enum { COLUMNS = 6 }; /* id, name, country, gco2_per_kwh, year, source */

/* The words of the column `source` at length. */
static const char *source_words(const char *word)
{
    if (strcmp(word, "cc-gcp") == 0)
        return "Google's carbon data by region (cloud.google.com/sustainability/region-carbon), as "
               "in "
               "CodeCarbon's table of cloud regions";
    if (strcmp(word, "cc-owid") == 0)
        return "CodeCarbon's table of countries (global_energy_mix.json), made from Our World in "
               "Data";
    return word;
}

/* One line, without its end. False: it is no row. */
static bool read_row(const char *line, size_t length, struct wt_region *ret_region)
{
    char cells[COLUMNS][80] = {{0}};
    size_t column = 0;
    for (size_t from = 0; column < COLUMNS && from <= length; column++) {
        size_t n = 0;
        while (from + n < length && line[from + n] != ',')
            n++;
        wt_text(cells[column], sizeof(cells[column]), "%.*s", (int)n, line + from);
        from += n + 1;
    }
    if (column < COLUMNS)
        return false;
    *ret_region = (struct wt_region){.carbon_g = NAN, .is_catalogue = true};
    wt_text(ret_region->id, sizeof(ret_region->id), "%.47s", cells[0]);
    wt_text(ret_region->name, sizeof(ret_region->name), "%s", cells[1]);
    wt_text(ret_region->country, sizeof(ret_region->country), "%.7s", cells[2]);
    if (cells[3][0] && wt_text_to_double(cells[3], &ret_region->carbon_g) < 0)
        return false;
    wt_text(ret_region->date, sizeof(ret_region->date), "%.15s", cells[4]);
    wt_text(ret_region->source, sizeof(ret_region->source), "%s", source_words(cells[5]));
    return true;
}

/* What somebody who typed this id may have meant: the part behind the provider is in it, or it is
 * in that. */
static bool is_close(const char *id, const char *typed)
{
    const char *colon = strchr(id, ':'), *name = colon ? colon + 1 : id;
    return strcasestr(typed, name) || (strlen(typed) > 1 && strcasestr(id, typed));
}

int wt_region_find(struct wt_region *ret_region, const char *id, struct wt_error *err)
{
    char close[200] = "";
    size_t count = 0;
    const char *line = strchr(wt_asset_regions, '\n');
    while (line && *++line) {
        struct wt_region region;
        size_t length = strcspn(line, "\r\n");
        if (read_row(line, length, &region)) {
            if (strcasecmp(region.id, id) == 0) {
                *ret_region = region;
                return 0;
            }
            size_t used = strlen(close);
            if (is_close(region.id, id) && count++ < 4)
                wt_text(close + used, sizeof(close) - used, "%s%s", used ? ", " : "", region.id);
        }
        line = strchr(line, '\n');
    }
    wt_fail(err, WT_E_NOTFOUND, "\"%.60s\" is no region of the catalogue (data/regions.csv)%s%s",
            id, *close ? "; close to it: " : "", close);
    wt_fix(err, "regions are named as gcp:europe-west4, countries by three letters as DEU");
    return WT_E_NOTFOUND;
}
