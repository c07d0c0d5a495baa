/* schema: the columns of each table of the catalogue, and the words that their sources are. */
#include <string.h>

#include "catalogue/sheet.h"

#define LENGTH(type, member) (sizeof(((struct type *)0)->member) - 1)
#define NONE                 (-1)

static const struct wt_field gpu_fields[] = {
    {"name", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_gpu, name)},
    {"tdp_w", WT_FIELD_NUMBER, WT_GPU_TDP_SOURCE, 1, 5000, 0},
    {"tdp_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"idle_w", WT_FIELD_NUMBER, WT_GPU_IDLE_SOURCE, 0.1, 2000, 0},
    {"idle_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"id", WT_FIELD_ID, NONE, 0, 0, LENGTH(wt_gpu, id)},
    {"memory", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_gpu, memory)},
    {"arch", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_gpu, arch)},
    {"mem_gb", WT_FIELD_NUMBER, WT_GPU_MEM_GB_SOURCE, 0.1, 1e5, 0},
    {"mem_gb_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"mem_gb_s", WT_FIELD_NUMBER, WT_GPU_MEM_GB_S_SOURCE, 1, 1e6, 0},
    {"mem_gb_s_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"limit_min_w", WT_FIELD_NUMBER, WT_GPU_LIMIT_SOURCE, 1, 5000, 0},
    {"limit_max_w", WT_FIELD_NUMBER, WT_GPU_LIMIT_SOURCE, 1, 5000, 0},
    {"limit_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"clock_base_mhz", WT_FIELD_NUMBER, WT_GPU_CLOCK_SOURCE, 50, 10000, 0},
    {"clock_max_mhz", WT_FIELD_NUMBER, WT_GPU_CLOCK_SOURCE, 50, 10000, 0},
    {"clock_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"fp32_tflop_s", WT_FIELD_NUMBER, WT_GPU_TFLOP_SOURCE, 0.01, 1e6, 0},
    {"tf32_tflop_s", WT_FIELD_NUMBER, WT_GPU_TFLOP_SOURCE, 0.01, 1e6, 0},
    {"bf16_tflop_s", WT_FIELD_NUMBER, WT_GPU_TFLOP_SOURCE, 0.01, 1e6, 0},
    {"tflop_s_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"profile", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_gpu, profile)},
    {"mem_target_gb_s", WT_FIELD_NUMBER, WT_GPU_MEM_TARGET_SOURCE, 1, 1e6, 0},
    {"mem_target_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
};

static const struct wt_field region_fields[] = {
    {"id", WT_FIELD_ID, NONE, 0, 0, LENGTH(wt_region, id)},
    {"name", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_region, name)},
    {"country", WT_FIELD_COUNTRY, NONE, 0, 0, LENGTH(wt_region, country)},
    {"gco2_per_kwh", WT_FIELD_NUMBER, WT_REGION_SOURCE, 0, 3000, 0},
    {"year", WT_FIELD_DATE, NONE, 0, 0, LENGTH(wt_region, date)},
    {"source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
};

static const struct wt_field instance_fields[] = {
    {"id", WT_FIELD_ID, NONE, 0, 0, LENGTH(wt_instance, id)},
    {"gpu", WT_FIELD_GPU, WT_INSTANCE_GPU_SOURCE, 0, 0, LENGTH(wt_instance, gpu)},
    {"gpu_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"gpus", WT_FIELD_COUNT, WT_INSTANCE_GPUS_SOURCE, 1, 1024, 0},
    {"gpus_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"vcpus", WT_FIELD_COUNT, WT_INSTANCE_VCPUS_SOURCE, 1, 8192, 0},
    {"vcpus_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"memory_gib", WT_FIELD_NUMBER, WT_INSTANCE_MEMORY_SOURCE, 0.5, 1e5, 0},
    {"memory_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
};

static const struct wt_field pue_fields[] = {
    {"id", WT_FIELD_ID, NONE, 0, 0, LENGTH(wt_pue, id)},
    {"name", WT_FIELD_TEXT, NONE, 0, 0, LENGTH(wt_pue, name)},
    {"pue", WT_FIELD_NUMBER, WT_PUE_SOURCE, 1, 5, 0},
    {"year", WT_FIELD_DATE, NONE, 0, 0, LENGTH(wt_pue, date)},
    {"source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
};

static const struct wt_field cpu_fields[] = {
    {"name", WT_FIELD_TEXT, NONE, 0, 0, 95},
    {"tdp_w", WT_FIELD_NUMBER, WT_CPU_TDP_SOURCE, 0.1, 2000, 0},
    {"tdp_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"threads", WT_FIELD_COUNT, WT_CPU_THREADS_SOURCE, 1, 4096, 0},
    {"threads_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
    {"family", WT_FIELD_TEXT, WT_CPU_FAMILY_SOURCE, 0, 0, 31},
    {"family_source", WT_FIELD_SOURCE, NONE, 0, 0, 0},
};

#define FIELDS(fields) fields, WT_COUNTOF(fields)
const struct wt_schema wt_schemas[WT_DATA_KINDS] = {
    [WT_DATA_GPUS] = {"gpus", wt_asset_gpus, FIELDS(gpu_fields), WT_GPU_ID, WT_GPU_NAME, false},
    [WT_DATA_REGIONS] = {"regions", wt_asset_regions, FIELDS(region_fields), WT_REGION_ID,
                         WT_REGION_NAME, false},
    [WT_DATA_INSTANCES] = {"instances", wt_asset_instances, FIELDS(instance_fields), WT_INSTANCE_ID,
                           WT_INSTANCE_GPU, false},
    [WT_DATA_PUE] = {"pue", wt_asset_pue, FIELDS(pue_fields), WT_PUE_ID, WT_PUE_NAME, false},
    [WT_DATA_CPUS] = {"cpus", wt_asset_cpus, FIELDS(cpu_fields), WT_CPU_NAME, WT_CPU_FAMILY, true},
};
_Static_assert(WT_COUNTOF(gpu_fields) == WT_GPU_MEM_TARGET_SOURCE + 1 &&
                   WT_COUNTOF(gpu_fields) <= WT_FIELDS_MAX,
               "a column of gpus.csv has no place");

const char *wt_data_name(enum wt_data kind)
{
    return wt_schemas[kind].name;
}

bool wt_data_named(const char *name, enum wt_data *ret_kind)
{
    for (int i = 0; i < WT_DATA_KINDS; i++)
        if (strcmp(name, wt_schemas[i].name) == 0) {
            *ret_kind = (enum wt_data)i;
            return true;
        }
    return false;
}

/* data/README.md explains each at length. */
const char *wt_source_words(const char *word)
{
    static const struct {
        const char *word, *words;
    } rows[] = {
        {"cc", "CodeCarbon's table of processors, which names no source of its own"},
        {"cc-gcp",
         "Google's carbon data by region (cloud.google.com/sustainability/region-carbon), as in "
         "CodeCarbon's table of cloud regions"},
        {"cc-owid", "CodeCarbon's table of countries (global_energy_mix.json), made from Our World "
                    "in Data"},
        {"ccf", "Cloud Carbon Footprint's table of instances (2026)"},
        {"ka", "Kubernetes' autoscaler, its tables of instance types (2026)"},
        {"sky", "SkyPilot's catalogue (v8)"},
        {"k", "general knowledge of the vendor's published specification, not looked up here"},
        {"e", "an estimate"},
        {"assumed", "assumed"},
        {"rule", "by the name"},
        {"aws", "Cloud Carbon Footprint's table of AWS instances (2026), over its packages"},
        {"gcp", "Cloud Carbon Footprint's table of Google's instances (2026), over its packages"},
        {"D", "NVIDIA's DCGM, diag-skus.yaml.in"},
        {"Q", "a dump of nvidia-smi -q in a public repository"},
        {"N", "NVIDIA's mock NVML profiles"},
        {"S", "a public table that cites the data sheet"},
        {"Z", "the limits of the Zeus traces"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (strcmp(word, rows[i].word) == 0)
            return rows[i].words;
    return word;
}
