/* library: libraries that are opened when something asks for them, so that nothing else loads them.
 */
#include <dlfcn.h>
#include <string.h>

#include "base/base.h"

int wt_library_open(const struct wt_library *library, void *ret_functions, struct wt_error *err)
{
    void *handle = NULL;
    for (const char *const *name = library->names; *name && !handle; name++)
        handle = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        wt_fail(err, WT_E_UNSUPPORTED, "%s takes %s: %.160s", library->what, library->names[0],
                why ? why : "it cannot be opened");
        wt_fix(err, "%s", library->fix);
        return WT_E_UNSUPPORTED;
    }
    for (size_t i = 0; i < library->count; i++) {
        void *symbol = dlsym(handle, library->symbols[i].name);
        if (!symbol) {
            dlclose(handle);
            return wt_fail(err, WT_E_UNSUPPORTED, "%s has no %s", library->names[0],
                           library->symbols[i].name);
        }
        memcpy((char *)ret_functions + library->symbols[i].at, &symbol, sizeof(symbol));
    }
    return 0;
}
