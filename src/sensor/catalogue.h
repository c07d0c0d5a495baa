/* catalogue: the tables of data/, compiled into the library by embed.c. Each ends with NUL. */
#ifndef WT_SENSOR_CATALOGUE_H
#define WT_SENSOR_CATALOGUE_H

extern const char wt_asset_cpus[];          /* data/cpus.csv, MIT licence (CodeCarbon) */
extern const char wt_asset_cpu_families[];  /* data/cpu-families.csv */
extern const char wt_asset_cpu_platforms[]; /* data/cpu-platforms.csv */
extern const char wt_asset_gpus[];          /* data/gpus.csv */

#endif
