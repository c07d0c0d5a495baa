/* The GPU types the emulator knows, each cell with its source.
 *
 * Marks: [D] NVIDIA DCGM's diag-skus, [Q] a published nvidia-smi -q dump, [S] a public table that
 * cites the datasheet, [Y] Yang, Adamek, Armour, SC'24 (sensor artefacts by generation), [Z] the
 * Zeus traces themselves, [C] calibrated on the Zeus traces without their BERT rows
 * (bench/emulator-calibrate, docs/emulator-model.md), [K] common knowledge that was not checked
 * against a document; "assumed" is a choice of this model. */
#include <string.h>

#include "emulator/model.h"

#define US   1000.0
#define MS   INT64_C(1000000)
#define SEC  INT64_C(1000000000)
#define MIB  (UINT64_C(1) << 20)
#define TERA 1e12
#define GIGA 1e9

/* The tables are laid out by hand: a source beside each cell. */
/* clang-format off */

/* What the energy counter is fed with is not published. It is taken to see all of the time, through
 * the same shunts as the power reading (same gain and offset): published comparisons find counter
 * and integrated power alike over seconds, and a counter that added up readings which miss half of
 * the time would wander on periodic loads, which nobody reports. Its period is the 100 ms that users
 * of later boards see; for Volta and Turing that is assumed. */
#define COUNTER \
        .counter = WT_COUNTER_FULL,                             /* assumed */ \
        .counter_period_ns = 100 * MS,                          /* ML.ENERGY; Volta, Turing assumed */ \
        .counter_quantum_mj = 1                                 /* assumed: NVML's unit */

/* How kernels run, where nothing better is known. */
#define KERNELS \
        .overlap_lost = 0.15, .mem_sm_share = 0,                /* assumed; as the V100's */ \
        .mem_sm_knee = 0.5                                      /* assumed; as the V100's */

/* What the V100 boards share. */
#define VOLTA \
        .arch_name = "Volta", .nvml_arch = 5, .nvml_brand = 2,  /* [K] nvml.h */ \
        .cc_major = 7, .cc_minor = 0,                           /* [K] */ \
        .sm_count = 80, .core_count = 5120,                     /* [K] */ \
        .pcie_gen = 3, .pcie_width = 16, .mem_bus_bits = 4096,  /* [K] */ \
        .has_volatile_ecc = true,                               /* [K] */ \
        .clock_idle_khz = 135000, .clock_min_khz = 135000,      /* [Q] */ \
        .clock_step_khz = 7500,                                 /* [K] */ \
        .memclock_khz = {877000}, .memclock_idle_khz = 877000,  /* [Q] */ \
        .mem_bytes_s = 900 * GIGA,                              /* [S] */ \
        .fp32_share = 0.90, .tensor_share = 0.75, .mem_share = 0.88, /* assumed */ \
        .launch_ns = 3 * US, .overlap_lost = 0.15,              /* assumed */ \
        .mem_sm_share = 0, .mem_sm_knee = 0.55,                 /* [C] */ \
        .leak_per_k = 0.008, .leak_ref_c = 50,                  /* assumed */ \
        .v_min = 0.837, .f_knee = 0.795,                        /* [C] */ \
        .cap_share_low = 0.971, .cap_share = 0.921,             /* [C] */ \
        .cap_tau_ns = 20 * MS,                                  /* assumed */ \
        .duty_min = 0.4, .floor_share = 0.30,                   /* assumed; no trace gets there */ \
        .heat_tau_s = 25,                                       /* assumed */ \
        .slowdown_c = 87, .shutdown_c = 90, .max_op_c = 83,     /* [K] */ \
        .idle_after_ns = 2 * SEC,                               /* assumed */ \
        .power_period_ns = 20 * MS, .power_window_ns = 10 * MS, /* [Y] */ \
        .power_delay_ns = 10 * MS,                              /* assumed */ \
        .plain = WT_PLAIN_INSTANT, .has_instant = true,         /* [Y] */ \
        /* No V100's gain was ever published. The P100 has the same sensor timing and was off by \
         * -0.7 % and +0.9 W [Y]: the spread here is that, two-sided; assumed. */ \
        .gain_low = 0.99, .gain_high = 1.01,                    /* assumed */ \
        .offset_low_w = -1, .offset_high_w = 1,                 /* assumed */ \
        COUNTER

/* What the V100 PCIe boards share. The traces' board draws about 38 W with light work at full clock,
 * so about 31 W without; another board's dump says 58.8 W without work at 1380 MHz [Q]. They cannot both
 * be met; the traces are what the rest is calibrated on. */
#define VOLTA_PCIE \
        VOLTA, \
        .clock_base_khz = 1230000, .clock_max_khz = 1380000,    /* [Q] */ \
        .limit_min_mw = 100000, .limit_max_mw = 250000,         /* [Q] */ \
        .limit_default_mw = 250000,                             /* [Q] */ \
        .fp32_flops_s = 14.1 * TERA, .tensor_flops_s = 112 * TERA, /* [S] */ \
        .base_w = 6.8, .leak_w = 4, .tree_w = 19.8,             /* [C] */ \
        .busy_w = 80.6, .fp32_w = 135, .memory_w = 52,          /* [C] */ \
        .tensor_w = 150,                                        /* assumed */ \
        .idle_w = 24,                                           /* [Q] */ \
        .ambient_c = 30, .kelvin_per_w = 0.16                   /* assumed */

static const struct wt_profile profiles[] = {
    {
        .name = "v100-pcie-16gb",
        .title = "Tesla V100-PCIE-16GB, 250 W",
        .board = "Tesla V100-PCIE-16GB",
        .pci_device_id = 0x1DB410DE, .pci_subsystem_id = 0x121410DE,/* [K] */
        .mem_bytes = 16160 * MIB,                               /* [K] */
        VOLTA_PCIE,
    },
    {
        .name = "v100-pcie-32gb",
        .title = "Tesla V100-PCIE-32GB, 250 W",
        .board = "Tesla V100-PCIE-32GB",
        .pci_device_id = 0x1DB610DE, .pci_subsystem_id = 0x124A10DE,/* [K] */
        .mem_bytes = 32510 * MIB,                               /* [K] */
        VOLTA_PCIE,
    },
    {
        .name = "v100-sxm2-32gb",
        .title = "Tesla V100-SXM2-32GB, 300 W",
        .board = "Tesla V100-SXM2-32GB",
        .pci_device_id = 0x1DB510DE, .pci_subsystem_id = 0x124910DE,/* [K] */
        .mem_bytes = 32510 * MIB,                               /* [K] */
        VOLTA,
        .clock_base_khz = 1290000, .clock_max_khz = 1530000,    /* [Q], [S] */
        .limit_min_mw = 150000, .limit_max_mw = 300000,         /* [Q]; 100 W on some boards */
        .limit_default_mw = 300000,                             /* [Q] */
        .fp32_flops_s = 15.7 * TERA, .tensor_flops_s = 125 * TERA,/* [S] */
        .base_w = 22, .leak_w = 8, .tree_w = 26,                /* assumed, for the idle power */
        .busy_w = 98, .fp32_w = 160, .memory_w = 62,            /* the PCIe board's, scaled by clock and voltage: assumed */
        .tensor_w = 182,                                        /* assumed */
        .idle_w = 42,                                           /* [Q] 41-44 */
        .ambient_c = 30, .kelvin_per_w = 0.13,                  /* assumed */
    },
    {
        .name = "a40",
        .title = "NVIDIA A40, 300 W",
        .board = "NVIDIA A40",
        .arch_name = "Ampere", .nvml_arch = 7, .nvml_brand = 14,/* [K] nvml.h */
        .cc_major = 8, .cc_minor = 6,                           /* [K] */
        .sm_count = 84, .core_count = 10752,                    /* [K] */
        .pci_device_id = 0x223510DE, .pci_subsystem_id = 0x145A10DE,/* [K] */
        .pcie_gen = 4, .pcie_width = 16, .mem_bus_bits = 384,   /* [K] */
        .mem_bytes = 46068 * MIB, .has_volatile_ecc = true,     /* [K] */
        .clock_idle_khz = 210000, .clock_min_khz = 210000,      /* [K] */
        .clock_step_khz = 15000,                                /* [Z] */
        .clock_base_khz = 1305000, .clock_max_khz = 1740000,    /* [S] */
        .memclock_khz = {7251000, 6501000, 5001000, 810000, 405000},/* [K] */
        .memclock_idle_khz = 405000,                            /* [K] */
        .limit_min_mw = 100000, .limit_max_mw = 300000,         /* [Z] */
        .limit_default_mw = 300000,                             /* [Z] */
        .fp32_flops_s = 37.4 * TERA, .tensor_flops_s = 149.7 * TERA,/* [S] */
        .tf32_flops_s = 74.8 * TERA,                            /* [S] */
        .mem_bytes_s = 696 * GIGA,                              /* [S] */
        .fp32_share = 0.70, .tensor_share = 0.65, .mem_share = 0.88,/* assumed */
        .launch_ns = 3 * US, .overlap_lost = 0.15,              /* assumed */
        .mem_sm_share = 0, .mem_sm_knee = 0.35,                 /* [C] */
        .base_w = 48.2, .leak_w = 18.6, .tree_w = 11.7,         /* [C] */
        .leak_per_k = 0.008, .leak_ref_c = 55,                  /* assumed */
        .busy_w = 30.4, .fp32_w = 122, .memory_w = 90.1,        /* [C] */
        .tensor_w = 190,                                        /* assumed */
        .idle_w = 22,                                           /* [Q] 15-24 */
        .v_min = 0.74, .f_knee = 0.62,                          /* [Z] locked-clock curve, clock_gpt3-175b_a40 */
        .cap_share_low = 0.994, .cap_share = 0.912,             /* [C] */
        .cap_tau_ns = 20 * MS,                                  /* assumed */
        .floor_share = 0.755, .duty_min = 0.356,                /* [C] */
        .ambient_c = 30, .kelvin_per_w = 0.15, .heat_tau_s = 30,/* assumed */
        .slowdown_c = 95, .shutdown_c = 98, .max_op_c = 88,     /* [K] */
        .idle_after_ns = 2 * SEC,                               /* assumed */
        .power_period_ns = 100 * MS, .power_window_ns = 100 * MS,/* [Y] */
        .power_delay_ns = 30 * MS,                              /* assumed */
        .average_ns = SEC, .average_delay_ns = 90 * MS,         /* [Y]: 580-600 ms to half of a step */
        .plain = WT_PLAIN_AVERAGE, .has_instant = true,         /* [Y] */
        .gain_low = 0.95, .gain_high = 1.05,                    /* [Y] the field's +-5 % */
        .offset_low_w = -2, .offset_high_w = 2,                 /* assumed */
        COUNTER,
    },
    {
        .name = "a100-pcie-80gb",
        .title = "NVIDIA A100 80GB PCIe, 300 W",
        .board = "NVIDIA A100 80GB PCIe",
        .arch_name = "Ampere", .nvml_arch = 7, .nvml_brand = 14,/* [K] nvml.h */
        .cc_major = 8, .cc_minor = 0,                           /* [K] */
        .sm_count = 108, .core_count = 6912,                    /* [K] */
        .pci_device_id = 0x20B510DE, .pci_subsystem_id = 0x153310DE,/* [K] */
        .pcie_gen = 4, .pcie_width = 16, .mem_bus_bits = 5120,  /* [K] */
        .mem_bytes = 81920 * MIB, .has_volatile_ecc = true,     /* [K] */
        .clock_idle_khz = 210000, .clock_min_khz = 210000,      /* [K] */
        .clock_step_khz = 15000,                                /* [Z], on the SXM board */
        .clock_base_khz = 1065000, .clock_max_khz = 1410000,    /* [K], [Q] */
        .memclock_khz = {1512000}, .memclock_idle_khz = 1512000,/* [Q] */
        .limit_min_mw = 150000, .limit_max_mw = 300000,         /* [Q] */
        .limit_default_mw = 300000,                             /* [Q] */
        .fp32_flops_s = 19.5 * TERA, .tensor_flops_s = 312 * TERA,/* [S] */
        .tf32_flops_s = 156 * TERA,                             /* [S] */
        .mem_bytes_s = 1935 * GIGA,                             /* [S] */
        .fp32_share = 0.90, .tensor_share = 0.70, .mem_share = 0.88,/* assumed */
        .launch_ns = 3 * US,                                    /* assumed */
        KERNELS,
        .base_w = 32, .leak_w = 18, .tree_w = 15,               /* their sum [Q] 65 W in P0; the split assumed */
        .leak_per_k = 0.008, .leak_ref_c = 50,                  /* assumed */
        .busy_w = 60, .fp32_w = 110, .memory_w = 75,            /* assumed */
        .tensor_w = 230,                                        /* assumed */
        .idle_w = 42,                                           /* [K] 35-40 at 40 GB */
        .v_min = 0.83, .f_knee = 0.755,                         /* [Z] locked-clock curve, clock_gpt3-175b_a100sxm */
        .cap_share_low = 0.98, .cap_share = 0.92,               /* assumed, as the V100 and A40 */
        .cap_tau_ns = 20 * MS,                                  /* assumed */
        .floor_share = 0.32, .duty_min = 0.4,                   /* assumed */
        .ambient_c = 30, .kelvin_per_w = 0.13, .heat_tau_s = 30,/* assumed */
        .slowdown_c = 90, .shutdown_c = 93, .max_op_c = 85,     /* [K] */
        .idle_after_ns = 2 * SEC,                               /* assumed */
        .power_period_ns = 100 * MS, .power_window_ns = 25 * MS,/* [Y] */
        .power_delay_ns = 25 * MS,                              /* [Y] 15-33 ms */
        .plain = WT_PLAIN_INSTANT, .has_instant = true,         /* [Y] */
        .gain_low = 0.95, .gain_high = 1.05,                    /* [Y] the field's +-5 % */
        .offset_low_w = -2, .offset_high_w = 2,                 /* [Y] -1.2 W on one board */
        COUNTER,
    },
    {
        .name = "h100-sxm-80gb",
        .title = "NVIDIA H100 80GB HBM3, 700 W",
        .board = "NVIDIA H100 80GB HBM3",
        .arch_name = "Hopper", .nvml_arch = 9, .nvml_brand = 14,/* [K] nvml.h */
        .cc_major = 9, .cc_minor = 0,                           /* [K] */
        .sm_count = 132, .core_count = 16896,                   /* [K] */
        .pci_device_id = 0x233010DE, .pci_subsystem_id = 0x16C110DE,/* [D], [K] */
        .pcie_gen = 5, .pcie_width = 16, .mem_bus_bits = 5120,  /* [K] */
        .mem_bytes = 81559 * MIB, .has_volatile_ecc = true,     /* [K] */
        .clock_idle_khz = 345000, .clock_min_khz = 210000,      /* [Q], [K] */
        .clock_step_khz = 15000,                                /* [K] */
        .clock_base_khz = 1590000, .clock_max_khz = 1980000,    /* [K], [Q] */
        .memclock_khz = {2619000, 1593000},                     /* [Q], [K] */
        .memclock_idle_khz = 2619000,                           /* [Q] */
        .limit_min_mw = 200000, .limit_max_mw = 700000,         /* [Q] */
        .limit_default_mw = 700000,                             /* [Q] */
        .fp32_flops_s = 67 * TERA, .tensor_flops_s = 989 * TERA,/* [S] */
        .tf32_flops_s = 495 * TERA,                             /* [S] */
        .mem_bytes_s = 3350 * GIGA,                             /* [S] */
        .fp32_share = 0.80, .tensor_share = 0.65, .mem_share = 0.80,/* assumed */
        .launch_ns = 2.5 * US,                                  /* assumed */
        KERNELS,
        .base_w = 55, .leak_w = 30, .tree_w = 30,               /* assumed; idle boards draw 71-111 W [Q] */
        .leak_per_k = 0.008, .leak_ref_c = 50,                  /* assumed */
        .busy_w = 130, .fp32_w = 260, .memory_w = 230,          /* assumed */
        .tensor_w = 480,                                        /* assumed */
        .idle_w = 75,                                           /* [Q] 71-111 */
        .v_min = 0.72, .f_knee = 0.62,                          /* assumed */
        .cap_share_low = 0.98, .cap_share = 0.95,               /* assumed */
        .cap_tau_ns = 20 * MS,                                  /* assumed */
        .floor_share = 0.30, .duty_min = 0.4,                   /* assumed */
        .ambient_c = 28, .kelvin_per_w = 0.058, .heat_tau_s = 30,/* assumed */
        .slowdown_c = 87, .shutdown_c = 92, .max_op_c = 85,     /* [K] */
        .idle_after_ns = 2 * SEC,                               /* assumed */
        .power_period_ns = 100 * MS, .power_window_ns = 25 * MS,/* [Y] */
        .power_delay_ns = 20 * MS,                              /* assumed */
        .average_ns = SEC, .average_delay_ns = 10 * MS,         /* [Y]: about 500 ms to half of a step */
        .plain = WT_PLAIN_AVERAGE, .has_instant = true,         /* [Y] */
        .gain_low = 0.95, .gain_high = 1.05,                    /* assumed: the field's +-5 %; none known for SXM */
        .offset_low_w = -4, .offset_high_w = 4,                 /* assumed */
        COUNTER,
    },
    {
        .name = "t4",
        .title = "Tesla T4, 70 W",
        .board = "Tesla T4",
        .arch_name = "Turing", .nvml_arch = 6, .nvml_brand = 2, /* [K] nvml.h */
        .cc_major = 7, .cc_minor = 5,                           /* [K] */
        .sm_count = 40, .core_count = 2560,                     /* [K] */
        .pci_device_id = 0x1EB810DE, .pci_subsystem_id = 0x12A210DE,/* [K] */
        .pcie_gen = 3, .pcie_width = 16, .mem_bus_bits = 256,   /* [K] */
        .mem_bytes = 15360 * MIB, .has_volatile_ecc = true,     /* [K] */
        .clock_idle_khz = 300000, .clock_min_khz = 300000,      /* [K] */
        .clock_step_khz = 15000,                                /* [K] */
        .clock_base_khz = 585000, .clock_max_khz = 1590000,     /* [Q] */
        .memclock_khz = {5001000, 405000}, .memclock_idle_khz = 405000,/* [Q], [K] */
        .limit_min_mw = 60000, .limit_max_mw = 70000,           /* [Q] */
        .limit_default_mw = 70000,                              /* [Q] */
        .fp32_flops_s = 8.1 * TERA, .tensor_flops_s = 65 * TERA,/* [S] */
        .mem_bytes_s = 320 * GIGA,                              /* [S] */
        .fp32_share = 0.90, .tensor_share = 0.60, .mem_share = 0.82,/* assumed */
        .launch_ns = 4 * US,                                    /* assumed */
        KERNELS,
        .base_w = 17, .leak_w = 7, .tree_w = 14,                /* assumed: 26.8 W at 585 MHz without work [Q] */
        .leak_per_k = 0.008, .leak_ref_c = 50,                  /* assumed */
        .busy_w = 22, .fp32_w = 60, .memory_w = 18,             /* assumed */
        .tensor_w = 72,                                         /* assumed */
        .idle_w = 12,                                           /* [Q] */
        .v_min = 0.62, .f_knee = 0.45,                          /* assumed */
        .cap_share_low = 0.985, .cap_share = 0.96,              /* assumed */
        .cap_tau_ns = 20 * MS,                                  /* assumed */
        .floor_share = 0.19, .duty_min = 0.4,                   /* assumed */
        .ambient_c = 32, .kelvin_per_w = 0.6, .heat_tau_s = 40, /* assumed */
        .slowdown_c = 93, .shutdown_c = 96, .max_op_c = 85,     /* [K] */
        .idle_after_ns = 2 * SEC,                               /* assumed */
        .power_period_ns = 100 * MS, .power_window_ns = 100 * MS,/* [Y] */
        .power_delay_ns = 25 * MS,                              /* assumed */
        .plain = WT_PLAIN_INSTANT, .has_instant = true,         /* [Y] */
        .gain_low = 0.95, .gain_high = 1.05,                    /* [Y] the field's +-5 % */
        .offset_low_w = -0.5, .offset_high_w = 0.5,             /* assumed */
        COUNTER,
    },
    {
        .name = "k80",
        .title = "Tesla K80 (one GPU of the board), 149 W",
        .board = "Tesla K80",
        .arch_name = "Kepler", .nvml_arch = 2, .nvml_brand = 2, /* [K] nvml.h */
        .cc_major = 3, .cc_minor = 7,                           /* [K] */
        .sm_count = 13, .core_count = 2496,                     /* [K] */
        .pci_device_id = 0x102D10DE, .pci_subsystem_id = 0x106C10DE,/* [K] */
        .pcie_gen = 3, .pcie_width = 16, .mem_bus_bits = 384,   /* [K] */
        .mem_bytes = 11441 * MIB, .has_volatile_ecc = true,     /* [K] */
        .clock_idle_khz = 324000, .clock_min_khz = 562500,      /* [K] */
        .clock_step_khz = 12500,                                /* [K] */
        .clock_base_khz = 562500, .clock_max_khz = 875000,      /* [S] */
        .memclock_khz = {2505000, 324000}, .memclock_idle_khz = 324000,/* [K] */
        .limit_min_mw = 100000, .limit_max_mw = 175000,         /* [K] */
        .limit_default_mw = 149000,                             /* [D] 148-149 */
        .fp32_flops_s = 4.1 * TERA,                             /* [S] */
        .mem_bytes_s = 240 * GIGA,                              /* [K] */
        .fp32_share = 0.75, .mem_share = 0.75,                  /* assumed */
        .launch_ns = 6 * US,                                    /* assumed */
        KERNELS,
        .base_w = 38, .leak_w = 14, .tree_w = 12,               /* assumed */
        .leak_per_k = 0.008, .leak_ref_c = 50,                  /* assumed */
        .busy_w = 20, .fp32_w = 62, .memory_w = 26,             /* assumed */
        .idle_w = 27,                                           /* [K] 25-30 */
        .v_min = 0.88, .f_knee = 0.70,                          /* assumed */
        .cap_share_low = 0.985, .cap_share = 0.96,              /* assumed */
        .cap_tau_ns = 50 * MS,                                  /* assumed */
        .floor_share = 0.643, .duty_min = 0.4,                  /* assumed: the lowest supported clock */
        .ambient_c = 30, .kelvin_per_w = 0.28, .heat_tau_s = 40,/* assumed */
        .slowdown_c = 88, .shutdown_c = 93, .max_op_c = 85,     /* [K] */
        .idle_after_ns = 2 * SEC,                               /* assumed */
        .power_period_ns = 15 * MS, .power_window_ns = 100 * MS,/* [Y] */
        .power_delay_ns = 15 * MS,                              /* assumed */
        .power_rise_ns = 209 * MS,                              /* [Y]: a rise of 480 ms, taken as 90 % of a step */
        .plain = WT_PLAIN_INSTANT,                              /* [Y] */
        .gain_low = 0.93, .gain_high = 1.03,                    /* [Y] .964 on one board; the spread assumed */
        .offset_low_w = -6.3, .offset_high_w = 0,               /* [Y] -6.3 W on one board */
        .counter = WT_COUNTER_NONE,                             /* NVML: Volta or newer */
    },
};
/* clang-format on */

#define PROFILE_COUNT (sizeof(profiles) / sizeof(profiles[0]))

static const char *const names[] = {
    "v100-pcie-16gb",
    "v100-pcie-32gb",
    "v100-sxm2-32gb",
    "a40",
    "a100-pcie-80gb",
    "h100-sxm-80gb",
    "t4",
    "k80",
    NULL,
};

const struct wt_profile *wt_profile_at(size_t i)
{
    return i < PROFILE_COUNT ? &profiles[i] : NULL;
}

const struct wt_profile *wt_profile_find(const char *name)
{
    for (size_t i = 0; i < PROFILE_COUNT; i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

const char *const *wt_profile_names(void)
{
    _Static_assert(sizeof(names) / sizeof(names[0]) == PROFILE_COUNT + 1, "a name each, and NULL");
    return names;
}

uint32_t wt_profile_clock_khz(const struct wt_profile *p, size_t i)
{
    uint64_t down = (uint64_t)i * p->clock_step_khz;
    if (down + p->clock_min_khz > p->clock_max_khz)
        return 0;
    return (uint32_t)((p->clock_max_khz - down) / 1000 * 1000);
}

uint32_t wt_profile_clock_round_khz(const struct wt_profile *p, uint32_t khz)
{
    uint32_t clock = 0;
    for (size_t i = 0; wt_profile_clock_khz(p, i); i++) {
        clock = wt_profile_clock_khz(p, i);
        if (clock <= khz)
            break;
    }
    return clock;
}
