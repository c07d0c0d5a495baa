/* nvml_api: see nvml_api.h. */
#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "sensor/nvml_api.h"

/* A function pointer out of dlsym, without the cast ISO C has no rule for. */
static void resolve(void *library, const char *symbol, const char *older, void *ret_member,
                    size_t size)
{
    void *found = dlsym(library, symbol);
    if (!found && older)
        found = dlsym(library, older);
    memcpy(ret_member, &found, size);
}

int wt_nvml_api_open(struct wt_nvml_api *ret_api, const char *name, struct wt_error *err)
{
    struct wt_nvml_api api = {.handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)};
    if (!api.handle) {
        const char *why = dlerror();
        return wt_fail(err, WT_E_NOTFOUND, "%s", why ? why : name);
    }
#define WT_NVML_RESOLVE(member, symbol, older, parameters)                                         \
    resolve(api.handle, symbol, older, &api.member, sizeof(api.member));
    WT_NVML_CALLS(WT_NVML_RESOLVE)
#undef WT_NVML_RESOLVE
    api.is_emulated = dlsym(api.handle, "wattune_nvml_is_emulated") != NULL;
    if (api.is_emulated)
        resolve(api.handle, "wattune_nvml_is_privileged", NULL, &api.is_privileged,
                sizeof(api.is_privileged));

    struct link_map *map;
    bool is_named = dlinfo(api.handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name && *map->l_name;
    wt_text(api.path, sizeof(api.path), "%s", is_named ? map->l_name : name);
    *ret_api = api;
    return 0;
}

void wt_nvml_api_close(struct wt_nvml_api *api)
{
    if (api->handle)
        dlclose(api->handle);
    memset(api, 0, sizeof(*api));
}

static const struct answer {
    int nvml;
    int code;
    const char *name;
} answers[] = {
    {WT_NVML_SUCCESS, WT_OK, "success"},
    /* The driver was unloaded under us, or the handle is from before a reset. */
    {WT_NVML_UNINITIALIZED, WT_E_GONE, "not initialised"},
    {WT_NVML_INVALID_ARGUMENT, WT_E_RANGE, "invalid argument"},
    {WT_NVML_NOT_SUPPORTED, WT_E_UNSUPPORTED, "not supported"},
    {WT_NVML_NO_PERMISSION, WT_E_DENIED, "no permission"},
    {WT_NVML_NOT_FOUND, WT_E_NOTFOUND, "not found"},
    {WT_NVML_INSUFFICIENT_SIZE, WT_E_INTERNAL, "insufficient size"},
    {WT_NVML_DRIVER_NOT_LOADED, WT_E_NOTFOUND, "driver not loaded"},
    {WT_NVML_TIMEOUT, WT_E_TIMEOUT, "timeout"},
    {WT_NVML_LIBRARY_NOT_FOUND, WT_E_NOTFOUND, "library not found"},
    {WT_NVML_FUNCTION_NOT_FOUND, WT_E_UNSUPPORTED, "no such function in this driver"},
    {WT_NVML_GPU_IS_LOST, WT_E_GONE, "GPU is lost"},
    {WT_NVML_RESET_REQUIRED, WT_E_GONE, "GPU requires a reset"},
    {WT_NVML_OPERATING_SYSTEM, WT_E_DENIED, "blocked by the operating system"},
    {WT_NVML_VERSION_MISMATCH, WT_E_STATE, "driver and library versions differ"},
    {WT_NVML_IN_USE, WT_E_BUSY, "in use"},
    {WT_NVML_MEMORY, WT_E_NOMEM, "insufficient memory"},
    {WT_NVML_NO_DATA, WT_E_IO, "no data"},
    {WT_NVML_DEPRECATED, WT_E_UNSUPPORTED, "no longer supported"},
    {WT_NVML_GPU_NOT_FOUND, WT_E_NOTFOUND, "no GPU found"},
    {WT_NVML_UNKNOWN, WT_E_IO, "unknown error"},
};

static const struct answer *answer_of(int nvml_rc)
{
    static const struct answer other = {-1, WT_E_IO, "error"};
    for (size_t i = 0; i < WT_COUNTOF(answers); i++)
        if (answers[i].nvml == nvml_rc)
            return &answers[i];
    return &other;
}

int wt_nvml_code(int nvml_rc)
{
    return answer_of(nvml_rc)->code;
}

const char *wt_nvml_name(int nvml_rc)
{
    return answer_of(nvml_rc)->name;
}

int wt_nvml_fail(struct wt_error *err, int nvml_rc, const char *fmt, ...)
{
    char what[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return wt_fail(err, wt_nvml_code(nvml_rc), "%s: NVML says %s (%d)", what, wt_nvml_name(nvml_rc),
                   nvml_rc);
}
