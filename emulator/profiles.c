/* The GPU types the emulator knows, each cell with its source.
 *
 * Marks, as in docs/emulator-model.md: [D] NVIDIA DCGM diag-skus, [Q] a published nvidia-smi -q
 * dump, [S] a public table that cites the datasheet, [N] NVIDIA's mock NVML, [Y] Yang, Adamek,
 * Armour, SC'24 (sensor artefacts), [Z] measured in the Zeus traces, [C] calibrated here on the
 * Zeus traces without their BERT rows, [K] common knowledge that was not checked; "assumed" is a
 * choice. */
#include <string.h>

#include "emulator/model.h"

#define MS 1000000LL
#define US 1000LL
#define S  1000000000LL

/* What the V100 boards share. */
#define VOLTA                                                                                      \
    .arch_name = "Volta", .nvml_arch = 5, .nvml_brand = 2,                /* [K] nvml.h */         \
        .cc_major = 7, .cc_minor = 0, .sm_count = 80, .core_count = 5120, /* [K] */                \
        .pcie_gen = 3, .pcie_width = 16, .mem_bus_bits = 4096,            /* [K] */                \
        .has_volatile_ecc = true,                                         /* [K] */                \
        .clock_idle_khz = 135000, .clock_min_khz = 135000,                /* [Q] */                \
        .clock_step_khz = 7500,                                           /* [K] */                \
        .memclock_khz = {877000}, .memclock_idle_khz = 877000,            /* [Q] */                \
        .mem_bytes_s = 900e9,                                             /* [S] */                \
        .fp32_share = 0.90, .tensor_share = 0.75, .mem_share = 0.88,      /* assumed */            \
        .launch_ns = 3 * US, .overlap_lost = 0.15, .mem_sm_share = 0.15,  /* assumed */            \
        .leak_per_k = 0.008, .leak_ref_c = 50,                            /* assumed */            \
        .v_min = 0.80, .f_knee = 0.66,                                    /* [C] */                \
        .cap_share = 0.98,                                                /* [C] */                \
        .cap_tau_ns = 20 * MS,                                            /* assumed */            \
        .duty_min = 0.4, .clock_floor_khz = 405000,                       /* assumed */            \
        .heat_tau_s = 25, .slowdown_c = 87, .shutdown_c = 90,                                      \
    .max_op_c = 83,                                             /* [K], tau assumed */             \
        .idle_after_ns = 2 * (int64_t)S,                        /* assumed */                      \
        .power_period_ns = 20 * MS, .power_window_ns = 10 * MS, /* [Y] */                          \
        .power_delay_ns = 10 * MS,                              /* assumed */                      \
        .plain = WT_PLAIN_INSTANT,                              /* [Y] */                          \
        .has_instant = true, /* [Y] */ /* No V100 gain was ever published; the P100 has the same   \
                                        * sensor timing, and its error was -0.7 % and +0.9 W [Y]:                                                                        \
                                        * the spread here is that error, two-sided. assumed */     \
        .gain_low = 0.99, .gain_high = 1.01, .offset_low_w = -1, .offset_high_w = 1,               \
    .counter = WT_COUNTER_FULL,        /* assumed: see docs/emulator-model.md */                   \
        .counter_period_ns = 100 * MS, /* assumed: the period reported for later boards */         \
        .counter_quantum_mj = 1        /* assumed: NVML's unit */

/* What the V100 PCIe boards share. */
#define VOLTA_PCIE                                                                                 \
    VOLTA, .clock_base_khz = 1230000, .clock_max_khz = 1380000,                     /* [Q] */      \
        .limit_min_mw = 100000, .limit_max_mw = 250000, .limit_default_mw = 250000, /* [Q] */      \
        .fp32_flops_s = 14.1e12,                                                                   \
           .tensor_flops_s = 112e12, /* [S] */ /* base + leak + tree = 58.8 W and idle 24 W are    \
                                                  [Q]; how they split, and the rest: [C] */        \
        .base_w = 18, .leak_w = 12, .tree_w = 28.8, .idle_w = 24, .busy_w = 40, .fp32_w = 130,     \
           .tensor_w = 150, .memory_w = 60, .ambient_c = 30, .kelvin_per_w = 0.16 /* assumed */

static const struct wt_profile profiles[] = {
    {
        .name = "v100-pcie-16gb",
        .title = "Tesla V100-PCIE-16GB, 250 W",
        .board = "Tesla V100-PCIE-16GB",
        .pci_device_id = 0x1DB410DE,
        .pci_subsystem_id = 0x121410DE,     /* [K] */
        .mem_bytes = UINT64_C(16160) << 20, /* [K] */
        VOLTA_PCIE,
    },
    {
        .name = "v100-pcie-32gb",
        .title = "Tesla V100-PCIE-32GB, 250 W",
        .board = "Tesla V100-PCIE-32GB",
        .pci_device_id = 0x1DB610DE,
        .pci_subsystem_id = 0x124A10DE,     /* [K] */
        .mem_bytes = UINT64_C(32510) << 20, /* [K] */
        VOLTA_PCIE,
    },
    {
        .name = "v100-sxm2-32gb",
        .title = "Tesla V100-SXM2-32GB, 300 W",
        .board = "Tesla V100-SXM2-32GB",
        .pci_device_id = 0x1DB510DE,
        .pci_subsystem_id = 0x124910DE,     /* [K] */
        .mem_bytes = UINT64_C(32510) << 20, /* [K] */
        VOLTA,
        .clock_base_khz = 1290000,
        .clock_max_khz = 1530000, /* [Q], [S] */
        .limit_min_mw = 150000,
        .limit_max_mw = 300000,
        .limit_default_mw = 300000, /* [Q] */
        .fp32_flops_s = 15.7e12,
        .tensor_flops_s = 125e12, /* [S] */
        /* The PCIe board's, with the dynamic part scaled to the higher clock and voltage; idle [Q]
         * 41-44 W; the rest assumed */
        .base_w = 28,
        .leak_w = 16,
        .tree_w = 36,
        .idle_w = 42,
        .busy_w = 50,
        .fp32_w = 165,
        .tensor_w = 190,
        .memory_w = 60,
        .ambient_c = 30,
        .kelvin_per_w = 0.13,
    },
    {
        .name = "a40",
        .title = "NVIDIA A40, 300 W",
        .board = "NVIDIA A40",
        .arch_name = "Ampere",
        .nvml_arch = 7,
        .nvml_brand = 14,
        .cc_major = 8,
        .cc_minor = 6,
        .sm_count = 84,
        .core_count = 10752,
        .pci_device_id = 0x223510DE,
        .pci_subsystem_id = 0x145A10DE,
        .pcie_gen = 4,
        .pcie_width = 16,
        .mem_bus_bits = 384,
        .mem_bytes = UINT64_C(46068) << 20,
        .has_volatile_ecc = true, /* [K] */
        .clock_idle_khz = 210000,
        .clock_min_khz = 210000,
        .clock_step_khz = 15000, /* [K] */
        .clock_base_khz = 1305000,
        .clock_max_khz = 1740000,                                    /* [S] */
        .clock_floor_khz = 600000,                                   /* [C] */
        .memclock_khz = {7251000, 6501000, 5001000, 810000, 405000}, /* [K] */
        .memclock_idle_khz = 405000,                                 /* [K] */
        .limit_min_mw = 100000,
        .limit_max_mw = 300000,
        .limit_default_mw = 300000, /* [Z] */
        .fp32_flops_s = 37.4e12,
        .tensor_flops_s = 149.7e12,
        .mem_bytes_s = 696e9, /* [S] */
        .fp32_share = 0.70,
        .tensor_share = 0.65,
        .mem_share = 0.88, /* assumed */
        .launch_ns = 3 * US,
        .overlap_lost = 0.15,
        .mem_sm_share = 0.15, /* assumed */
        .base_w = 46,
        .leak_w = 24,
        .leak_per_k = 0.008,
        .leak_ref_c = 55,
        .tree_w = 20, /* [C] */
        .busy_w = 40,
        .fp32_w = 150,
        .tensor_w = 190,
        .memory_w = 55, /* [C] */
        .idle_w = 22,   /* [Q] 15-24 */
        .v_min = 0.75,
        .f_knee = 0.66,
        .cap_share = 0.985,
        .cap_tau_ns = 20 * MS, /* [C], tau
                                  assumed */
        .duty_min = 0.55,      /* [C] */
        .ambient_c = 30,
        .kelvin_per_w = 0.15,
        .heat_tau_s = 30, /* assumed */
        .slowdown_c = 95,
        .shutdown_c = 98,
        .max_op_c = 88,                  /* [K] */
        .idle_after_ns = 2 * (int64_t)S, /* assumed */
        .power_period_ns = 100 * MS,
        .power_window_ns = 100 * MS, /* [Y] */
        .power_delay_ns = 30 * MS,   /* assumed */
        .average_ns = S,
        .average_delay_ns = 90 * MS, /* [Y]: 580-600 ms to half of a step */
        .plain = WT_PLAIN_AVERAGE,
        .has_instant = true, /* [Y] */
        .gain_low = 0.95,
        .gain_high = 1.05,
        .offset_low_w = -2,
        .offset_high_w = 2, /* [Y] +-5 % */
        .counter = WT_COUNTER_FULL,
        .counter_period_ns = 100 * MS,
        .counter_quantum_mj = 1,
    },
    {
        .name = "a100-pcie-80gb",
        .title = "NVIDIA A100 80GB PCIe, 300 W",
        .board = "NVIDIA A100 80GB PCIe",
        .arch_name = "Ampere",
        .nvml_arch = 7,
        .nvml_brand = 14,
        .cc_major = 8,
        .cc_minor = 0,
        .sm_count = 108,
        .core_count = 6912,
        .pci_device_id = 0x20B510DE,
        .pci_subsystem_id = 0x153310DE,
        .pcie_gen = 4,
        .pcie_width = 16,
        .mem_bus_bits = 5120,
        .mem_bytes = UINT64_C(81920) << 20,
        .has_volatile_ecc = true, /* [K] */
        .clock_idle_khz = 210000,
        .clock_min_khz = 210000,
        .clock_step_khz = 15000, /* [K] */
        .clock_base_khz = 1065000,
        .clock_max_khz = 1410000,  /* [K], [Q] */
        .clock_floor_khz = 450000, /* assumed */
        .memclock_khz = {1512000},
        .memclock_idle_khz = 1512000, /* [Q] */
        .limit_min_mw = 150000,
        .limit_max_mw = 300000,
        .limit_default_mw = 300000, /* [Q] */
        .fp32_flops_s = 19.5e12,
        .tensor_flops_s = 312e12,
        .mem_bytes_s = 1935e9, /* [S] */
        .fp32_share = 0.90,
        .tensor_share = 0.70,
        .mem_share = 0.88, /* assumed */
        .launch_ns = 3 * US,
        .overlap_lost = 0.15,
        .mem_sm_share = 0.15, /* assumed */
        .base_w = 40,
        .leak_w = 20,
        .leak_per_k = 0.008,
        .leak_ref_c = 50,
        .tree_w = 20,
        .busy_w = 50,
        .fp32_w = 110,
        .tensor_w = 230,
        .memory_w = 75, /* sum at rest [Q] 65 W in P0
                           with idle SMs; assumed */
        .idle_w = 42,   /* [K] */
        .v_min = 0.76,
        .f_knee = 0.77,
        .cap_share = 0.985,
        .cap_tau_ns = 20 * MS, /* [C] knee 1080 */
        .duty_min = 0.4,       /* assumed */
        .ambient_c = 30,
        .kelvin_per_w = 0.13,
        .heat_tau_s = 30, /* assumed */
        .slowdown_c = 90,
        .shutdown_c = 93,
        .max_op_c = 85,                  /* [K] */
        .idle_after_ns = 2 * (int64_t)S, /* assumed */
        .power_period_ns = 100 * MS,
        .power_window_ns = 25 * MS, /* [Y] */
        .power_delay_ns = 25 * MS,  /* [Y] 15-33 */
        .plain = WT_PLAIN_INSTANT,
        .has_instant = true, /* [Y] */
        .gain_low = 0.95,
        .gain_high = 1.05,
        .offset_low_w = -2,
        .offset_high_w = 2, /* [Y] +-5 % */
        .counter = WT_COUNTER_FULL,
        .counter_period_ns = 100 * MS,
        .counter_quantum_mj = 1,
    },
    {
        .name = "h100-sxm-80gb",
        .title = "NVIDIA H100 80GB HBM3, 700 W",
        .board = "NVIDIA H100 80GB HBM3",
        .arch_name = "Hopper",
        .nvml_arch = 9,
        .nvml_brand = 14,
        .cc_major = 9,
        .cc_minor = 0,
        .sm_count = 132,
        .core_count = 16896,
        .pci_device_id = 0x233010DE,
        .pci_subsystem_id = 0x16C110DE,
        .pcie_gen = 5,
        .pcie_width = 16,
        .mem_bus_bits = 5120,
        .mem_bytes = UINT64_C(81559) << 20,
        .has_volatile_ecc = true, /* [K] */
        .clock_idle_khz = 345000,
        .clock_min_khz = 210000,
        .clock_step_khz = 15000, /* [Q], [K] */
        .clock_base_khz = 1590000,
        .clock_max_khz = 1980000,  /* [K], [Q] */
        .clock_floor_khz = 600000, /* assumed */
        .memclock_khz = {2619000, 1593000},
        .memclock_idle_khz = 2619000, /* [Q], [K] */
        .limit_min_mw = 200000,
        .limit_max_mw = 700000,
        .limit_default_mw = 700000, /* [Q] */
        .fp32_flops_s = 67e12,
        .tensor_flops_s = 989e12,
        .mem_bytes_s = 3350e9, /* [S] */
        .fp32_share = 0.80,
        .tensor_share = 0.65,
        .mem_share = 0.88, /* assumed */
        .launch_ns = 2.5 * US,
        .overlap_lost = 0.15,
        .mem_sm_share = 0.15, /* assumed */
        .base_w = 65,
        .leak_w = 35,
        .leak_per_k = 0.008,
        .leak_ref_c = 50,
        .tree_w = 40,
        .busy_w = 120,
        .fp32_w = 260,
        .tensor_w = 520,
        .memory_w = 230, /* assumed */
        .idle_w = 75,    /* [Q] 71-111 */
        .v_min = 0.70,
        .f_knee = 0.60,
        .cap_share = 0.985,
        .cap_tau_ns = 20 * MS, /* assumed */
        .duty_min = 0.4,       /* assumed */
        .ambient_c = 28,
        .kelvin_per_w = 0.058,
        .heat_tau_s = 30, /* assumed */
        .slowdown_c = 87,
        .shutdown_c = 92,
        .max_op_c = 85,                  /* [K] */
        .idle_after_ns = 2 * (int64_t)S, /* assumed */
        .power_period_ns = 100 * MS,
        .power_window_ns = 25 * MS, /* [Y], on the PCIe board */
        .power_delay_ns = 20 * MS,  /* assumed */
        .average_ns = S,
        .average_delay_ns = 10 * MS, /* [Y]: about 500 ms to half of a step */
        .plain = WT_PLAIN_AVERAGE,
        .has_instant = true, /* [Y] */
        .gain_low = 0.95,
        .gain_high = 1.05,
        .offset_low_w = -4,
        .offset_high_w = 4, /* assumed:
        the field's +-5 %; none for SXM */
        .counter = WT_COUNTER_FULL,
        .counter_period_ns = 100 * MS,
        .counter_quantum_mj = 1,
    },
    {
        .name = "t4",
        .title = "Tesla T4, 70 W",
        .board = "Tesla T4",
        .arch_name = "Turing",
        .nvml_arch = 6,
        .nvml_brand = 2,
        .cc_major = 7,
        .cc_minor = 5,
        .sm_count = 40,
        .core_count = 2560,
        .pci_device_id = 0x1EB810DE,
        .pci_subsystem_id = 0x12A210DE,
        .pcie_gen = 3,
        .pcie_width = 16,
        .mem_bus_bits = 256,
        .mem_bytes = UINT64_C(15360) << 20,
        .has_volatile_ecc = true, /* [K] */
        .clock_idle_khz = 300000,
        .clock_min_khz = 300000,
        .clock_step_khz = 15000, /* [K] */
        .clock_base_khz = 585000,
        .clock_max_khz = 1590000,  /* [Q] */
        .clock_floor_khz = 300000, /* assumed */
        .memclock_khz = {5001000, 405000},
        .memclock_idle_khz = 405000, /* [Q], [K] */
        .limit_min_mw = 60000,
        .limit_max_mw = 70000,
        .limit_default_mw = 70000, /* [Q] */
        .fp32_flops_s = 8.1e12,
        .tensor_flops_s = 65e12,
        .mem_bytes_s = 320e9, /* [S] */
        .fp32_share = 0.90,
        .tensor_share = 0.60,
        .mem_share = 0.82, /* assumed */
        .launch_ns = 4 * US,
        .overlap_lost = 0.15,
        .mem_sm_share = 0.15, /* assumed */
        /* [Q] 26.8 W without work at 585 MHz; the boost clock is far above what 70 W holds */
        .base_w = 17,
        .leak_w = 8,
        .leak_per_k = 0.008,
        .leak_ref_c = 50,
        .tree_w = 14,
        .busy_w = 18,
        .fp32_w = 62,
        .tensor_w = 75,
        .memory_w = 18, /* assumed */
        .idle_w = 12,   /* [Q] */
        .v_min = 0.62,
        .f_knee = 0.45,
        .cap_share = 0.985,
        .cap_tau_ns = 20 * MS, /* assumed */
        .duty_min = 0.4,       /* assumed */
        .ambient_c = 32,
        .kelvin_per_w = 0.6,
        .heat_tau_s = 40, /* assumed */
        .slowdown_c = 93,
        .shutdown_c = 96,
        .max_op_c = 85,                  /* [K] */
        .idle_after_ns = 2 * (int64_t)S, /* assumed */
        .power_period_ns = 100 * MS,
        .power_window_ns = 100 * MS, /* [Y] */
        .power_delay_ns = 25 * MS,   /* assumed */
        .plain = WT_PLAIN_INSTANT,
        .has_instant = true, /* [Y] */
        .gain_low = 0.95,
        .gain_high = 1.05,
        .offset_low_w = -0.5,
        .offset_high_w = 0.5, /* [Y] */
        .counter = WT_COUNTER_FULL,
        .counter_period_ns = 100 * MS,
        .counter_quantum_mj = 1,
    },
    {
        .name = "k80",
        .title = "Tesla K80 (one GPU of the board), 149 W",
        .board = "Tesla K80",
        .arch_name = "Kepler",
        .nvml_arch = 2,
        .nvml_brand = 2,
        .cc_major = 3,
        .cc_minor = 7,
        .sm_count = 13,
        .core_count = 2496,
        .pci_device_id = 0x102D10DE,
        .pci_subsystem_id = 0x106C10DE,
        .pcie_gen = 3,
        .pcie_width = 16,
        .mem_bus_bits = 384,
        .mem_bytes = UINT64_C(11441) << 20,
        .has_volatile_ecc = true, /* [K] */
        .clock_idle_khz = 324000,
        .clock_min_khz = 562500,
        .clock_step_khz = 12500, /* [K] */
        .clock_base_khz = 562500,
        .clock_max_khz = 875000,   /* [S] */
        .clock_floor_khz = 562500, /* assumed */
        .memclock_khz = {2505000, 324000},
        .memclock_idle_khz = 324000, /* [K] */
        .limit_min_mw = 100000,
        .limit_max_mw = 175000,
        .limit_default_mw = 149000, /* [K], [D] */
        .fp32_flops_s = 4.1e12,
        .mem_bytes_s = 240e9, /* [S], [K] */
        .fp32_share = 0.75,
        .mem_share = 0.75, /* assumed */
        .launch_ns = 6 * US,
        .overlap_lost = 0.2,
        .mem_sm_share = 0.2, /* assumed */
        .base_w = 38,
        .leak_w = 14,
        .leak_per_k = 0.008,
        .leak_ref_c = 50,
        .tree_w = 12,
        .busy_w = 20,
        .fp32_w = 62,
        .memory_w = 26, /* assumed */
        .idle_w = 27,   /* [K] */
        .v_min = 0.88,
        .f_knee = 0.70,
        .cap_share = 0.985,
        .cap_tau_ns = 50 * MS, /* assumed */
        .duty_min = 0.4,       /* assumed */
        .ambient_c = 30,
        .kelvin_per_w = 0.28,
        .heat_tau_s = 40, /* assumed */
        .slowdown_c = 88,
        .shutdown_c = 93,
        .max_op_c = 85,                  /* [K] */
        .idle_after_ns = 2 * (int64_t)S, /* assumed */
        .power_period_ns = 15 * MS,
        .power_window_ns = 100 * MS, /* [Y] */
        .power_rise_ns = 209 * MS,   /* [Y]: the rise of about 480 ms is taken as 90 % of a step */
        .power_delay_ns = 15 * MS,   /* assumed */
        .plain = WT_PLAIN_INSTANT,
        .gain_low = 0.95,
        .gain_high = 1.05,
        .offset_low_w = -6.3,
        .offset_high_w = 0, /* [Y] */
        .counter = WT_COUNTER_NONE,
        .counter_period_ns = 0, /* NVML docs */
    },
};

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
