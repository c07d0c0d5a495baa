/* nvml_traits: what NVIDIA's power sensors are like, by generation.
 *
 * That Hopper's counter sees all of the time was measured here on an H100 and an H200, driver 580
 * (docs/measured.md, "A real card"). Periods and windows: Yang, Adamek, Armour, "Part-time power
 * measurements", arXiv 2312.02741. Which reading is a 1 s mean: the reference of
 * nvmlDeviceGetPowerUsage, and the same paper by driver. The counter's period: ML.ENERGY's
 * measurements (about 100 ms); nobody has published it by generation, so it is the same in every
 * row. Gain: +-5 % is what the paper finds typical and what NVIDIA states for old boards; Kepler's
 * is from the paper's K80. docs/sensors.md has the table with its sources; `wattune probe` measures
 * the board at hand. */
#include <stdlib.h>

#include "sensor/nvml.h"

#define MS         WT_NS_PER_MS
#define ANY        (-1)
#define ONE_SECOND 1000

static const struct row {
    unsigned arch;
    int minor; /* of the compute capability, or ANY; the first row that fits holds */
    /* The instant reading, in ms; 0: not known. */
    int period, window, delay;
    bool is_plain_averaged; /* nvmlDeviceGetPowerUsage is a running mean of 1 s */
    uint32_t gain_ppm, offset_mw;
    bool is_counter_whole; /* the counter is known to see all of the time */
} rows[] = {
    /* The K80 follows its load as an RC element would, in about 480 ms: as a delay it is wrong, as
     * a bound it holds. */
    {WT_NVML_ARCH_KEPLER, ANY, 15, 100, 240, false, 90000, 6000, false},
    {WT_NVML_ARCH_MAXWELL, ANY, 100, 0, 0, false, 50000, 5000, false},
    {WT_NVML_ARCH_PASCAL, ANY, 20, 10, 0, false, 50000, 2000, false},
    {WT_NVML_ARCH_VOLTA, ANY, 20, 10, 0, false, 50000, 2000, false},
    {WT_NVML_ARCH_TURING, ANY, 100, 100, 0, false, 50000, 5000, false},
    {WT_NVML_ARCH_AMPERE, 0, 100, 25, 20, false, 50000, 2000, false}, /* GA100 */
    {WT_NVML_ARCH_AMPERE, ANY, 100, 100, 0, true, 50000, 5000, false},
    {WT_NVML_ARCH_ADA, ANY, 100, 100, 0, true, 50000, 5000, false},
    {WT_NVML_ARCH_HOPPER, ANY, 100, 25, 0, true, 50000, 2000, true},
    /* Newer than the paper: nothing published, so the window assumes the worst. */
    {WT_NVML_ARCH_UNKNOWN, ANY, 0, 0, 0, true, 50000, 5000, false},
};

unsigned wt_nvml_arch_from(int major, int minor)
{
    switch (major) {
    case 3:
        return WT_NVML_ARCH_KEPLER;
    case 5:
        return WT_NVML_ARCH_MAXWELL;
    case 6:
        return WT_NVML_ARCH_PASCAL;
    case 7:
        return minor >= 5 ? WT_NVML_ARCH_TURING : WT_NVML_ARCH_VOLTA;
    case 8:
        return minor == 9 ? WT_NVML_ARCH_ADA : WT_NVML_ARCH_AMPERE;
    case 9:
        return WT_NVML_ARCH_HOPPER;
    case 10:
    case 12:
        return WT_NVML_ARCH_BLACKWELL;
    default:
        return WT_NVML_ARCH_UNKNOWN;
    }
}

const char *wt_nvml_arch_name(unsigned arch)
{
    static const char *const names[] = {
        [WT_NVML_ARCH_KEPLER] = "Kepler",
        [WT_NVML_ARCH_MAXWELL] = "Maxwell",
        [WT_NVML_ARCH_PASCAL] = "Pascal",
        [WT_NVML_ARCH_VOLTA] = "Volta",
        [WT_NVML_ARCH_TURING] = "Turing",
        [WT_NVML_ARCH_AMPERE] = "Ampere",
        [WT_NVML_ARCH_ADA] = "Ada",
        [WT_NVML_ARCH_HOPPER] = "Hopper",
        [WT_NVML_ARCH_BLACKWELL] = "Blackwell",
    };
    return arch < WT_COUNTOF(names) && names[arch] ? names[arch] : "unknown generation";
}

void wt_nvml_traits(unsigned arch, int major, int minor, const char *driver,
                    enum wt_nvml_power power, struct wt_sensor_traits *ret_traits)
{
    const struct row *row = rows;
    while (row->arch != WT_NVML_ARCH_UNKNOWN &&
           (row->arch != arch || (row->minor != ANY && (row->minor != minor || !major))))
        row++;

    /* Driver 530 alone answered the instant value where others answer the mean. */
    bool is_averaged = power == WT_NVML_POWER_PLAIN && row->is_plain_averaged &&
                       !(arch == WT_NVML_ARCH_AMPERE && atoi(driver) == 530);
    *ret_traits = (struct wt_sensor_traits){
        .energy_period_ns = 100 * MS,
        .energy_quantum_uj = 1000,
        .energy_window_ns = row->is_counter_whole ? 100 * MS : 0,
        .power_period_ns = row->period * MS,
        .power_window_ns = (is_averaged ? ONE_SECOND : row->window) * MS,
        /* The paper's 580 to 600 ms of delay are half the window and what is left. */
        .power_delay_ns = (is_averaged ? 100 : row->delay) * MS,
        .gain_ppm = row->gain_ppm,
        .offset_mw = row->offset_mw,
        .is_power_averaged = is_averaged,
    };
}
