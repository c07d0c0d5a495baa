/* fake_rocm: see fake_rocm.h. A call that fails writes rubbish to its outputs first, as a vendor's
 * library may. */
#include <string.h>

#include "fake_rocm.h"
#include "wattune/types.h"

static struct fake_rocm fake;

#define EXPORT(type, name, ...)                                                                    \
    WT_API type name(__VA_ARGS__);                                                                 \
    WT_API type name(__VA_ARGS__)

EXPORT(struct fake_rocm *, fake_rocm_reset, void)
{
    fake = (struct fake_rocm){.gpus = 1, .resolution_uj = 15.25f};
    return &fake;
}

EXPORT(int, rsmi_init, uint64_t flags)
{
    (void)flags;
    fake.inits += fake.init_rc == 0;
    return fake.init_rc;
}

EXPORT(int, rsmi_shut_down, void)
{
    fake.shut_downs++;
    return 0;
}

EXPORT(int, rsmi_num_monitor_devices, uint32_t *ret_count)
{
    *ret_count = fake.list_rc ? 0xaaaaaaaa : fake.gpus;
    return fake.list_rc;
}

EXPORT(int, rsmi_dev_pci_id_get, uint32_t index, uint64_t *ret_bdf)
{
    *ret_bdf = fake.bdf[index];
    return 0;
}

EXPORT(int, rsmi_dev_energy_count_get, uint32_t index, uint64_t *ret_count, float *ret_resolution,
       uint64_t *ret_t_ns)
{
    *ret_t_ns = 0;
    if (fake.energy_rc) {
        memset(ret_count, 0xaa, sizeof(*ret_count));
        memset(ret_resolution, 0xaa, sizeof(*ret_resolution));
        return fake.energy_rc;
    }
    *ret_count = fake.count[index];
    *ret_resolution = fake.resolution_uj;
    fake.count[index] += fake.step[index];
    return 0;
}
