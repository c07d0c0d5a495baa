/* assets: the page's style and scripts, put into the library by embed.c. Each ends with NUL. */
#ifndef WT_REPORT_ASSETS_H
#define WT_REPORT_ASSETS_H

extern const char wt_asset_chart[]; /* Chart.js as the distribution ships it, MIT licence */
extern const char wt_asset_style[]; /* page.css */
extern const char wt_asset_page[];  /* page.js */

#endif
