/* standin: what the stand-in's functions share - entering and leaving a call. */
#ifndef WT_EMULATOR_STANDIN_H
#define WT_EMULATOR_STANDIN_H

#include "emulator/nvml/abi.h"
#include "emulator/shared.h"

#define NVML_MAX_FIELDS 1024

/* Declares and defines one exported function. */
#define NVML_CALL(name, ...)                                                                       \
    WT_API nvmlReturn_t name(__VA_ARGS__);                                                         \
    WT_API nvmlReturn_t name(__VA_ARGS__)

struct call {
    struct wt_shared *s;
    const struct wt_profile *p;
    struct wt_shared_device *d; /* locked; NULL: a call without a device */
    unsigned i;
    uint32_t faults; /* in force for this call, by place */
    struct wt_view view;
};

/* Checks in NVML's order: initialised, arguments, then what the emulation does to the call. Locks
 * the device. */
nvmlReturn_t call_enter(struct call *c, const char *name, nvmlDevice_t device, unsigned kind,
                        bool is_args_ok);
/* The same for a call without a device. */
nvmlReturn_t call_enter_system(struct call *c, const char *name, bool is_args_ok);
void call_leave(struct call *c);

/* Opens a call on `device`; leaves it when the function returns. */
#define ENTER(kind, is_args_ok)                                                                    \
    struct call c __attribute__((cleanup(call_leave))) = {0};                                      \
    nvmlReturn_t entered = call_enter(&c, __func__, device, (kind), (is_args_ok));                 \
    if (entered != NVML_SUCCESS)                                                                   \
    return entered
#define ENTER_SYSTEM(is_args_ok)                                                                   \
    struct call c __attribute__((cleanup(call_leave))) = {0};                                      \
    nvmlReturn_t entered = call_enter_system(&c, __func__, (is_args_ok));                          \
    if (entered != NVML_SUCCESS)                                                                   \
    return entered

/* Makes c->view, with what faults do to it. */
void call_look(struct call *c);
/* value, or nonsense when a fault says so. */
uint64_t call_garble(const struct call *c, uint64_t value, uint64_t max);
static inline unsigned call_garble_u32(const struct call *c, uint64_t value)
{
    return (unsigned)call_garble(c, value, UINT32_MAX);
}
/* Whether the caller may change settings. */
bool call_may_set(const struct call *c);
/* The handle of device i, and back; -1 when it is none. */
nvmlDevice_t handle_of(unsigned i);
int handle_index(const struct wt_shared *s, nvmlDevice_t device);
/* Copies text out as NVML does. */
nvmlReturn_t give_text(char *to, unsigned size, const char *text);
static inline bool is_since(const struct call *c, unsigned arch)
{
    return c->p->nvml_arch >= arch;
}
/* MIG exists on A100, A30 and H100: compute capability 8.0 and 9.0. */
static inline bool is_mig_capable(const struct wt_profile *p)
{
    return p->cc_major >= 8 && p->cc_minor == 0;
}

#endif
