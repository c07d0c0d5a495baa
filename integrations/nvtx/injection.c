/* NVTX injection: every NVTX range of an unmodified program becomes a mark in Wattune's door.
 *
 * A program that uses NVTX looks for $NVTX_INJECTION64_PATH at its first NVTX call, loads that
 * library and calls InitializeInjectionNvtx2, which fills in the functions that the calls then go
 * to. `wattune run --nvtx` sets the variable. The interface is declared here from NVIDIA's public
 * description of it (NVTX 3, tools interface: nvtxTypes.h); only ranges are taken.
 *
 * A range that ends and is named as $WATTUNE_NVTX_STEP says ("step" when unset) counts a step. A
 * number at a name's end is left out ("step 17" is "step"), so that the ranges of a loop are one
 * phase. Must never disturb the program: whatever fails here, ranges go nowhere. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "wattune/door.h"

/* ---- NVTX's tools interface ---- */

enum { EXPORT_TABLE_CALLBACKS = 1, MODULE_CORE = 1, MODULE_CORE2 = 5 };
enum { /* NvtxCallbackIdCore */
       CORE_RANGE_START_EX = 4,
       CORE_RANGE_START_A = 5,
       CORE_RANGE_START_W = 6,
       CORE_RANGE_END = 7,
       CORE_RANGE_PUSH_EX = 8,
       CORE_RANGE_PUSH_A = 9,
       CORE_RANGE_PUSH_W = 10,
       CORE_RANGE_POP = 11,
};
enum { /* NvtxCallbackIdCore2 */
       CORE2_RANGE_START_EX = 2,
       CORE2_RANGE_END = 3,
       CORE2_RANGE_PUSH_EX = 4,
       CORE2_RANGE_POP = 5,
       CORE2_REGISTER_STRING_A = 10,
       CORE2_REGISTER_STRING_W = 11,
};
enum { MESSAGE_ASCII = 1, MESSAGE_UNICODE = 2, MESSAGE_REGISTERED = 3 };

typedef void (*nvtx_function)(void);
struct export_table {
    size_t size;
    int (*get_function_table)(int module, nvtx_function ***ret_table, unsigned *ret_size);
};

struct event_attributes { /* nvtxEventAttributes_t, version 2 */
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    uint64_t payload;
    int32_t message_type;
    union {
        const char *ascii;
        const wchar_t *unicode;
        const struct registered *registered;
    } message;
};
_Static_assert(sizeof(struct event_attributes) == 48, "nvtxEventAttributes_v2 is 48 bytes");

/* ---- names ---- */

#define NAME_BYTES 32

struct registered { /* what a program gets back for nvtxDomainRegisterString */
    char name[NAME_BYTES];
};

static void shorten(char *name)
{
    size_t n = strlen(name), all = n;
    while (n && strchr("0123456789 #_:=-/.", name[n - 1]))
        n--;
    name[n ? n : all] = '\0';
}

static void name_from_ascii(char *name, const char *text)
{
    size_t n = text ? strnlen(text, NAME_BYTES - 1) : 0;
    memcpy(name, text ? text : "", n);
    name[n] = '\0';
    if (!n)
        memcpy(name, "range", 6);
    shorten(name);
}

static void name_from_wide(char *name, const wchar_t *text)
{
    char plain[NAME_BYTES];
    size_t n = 0;
    for (; text && text[n] && n < sizeof(plain) - 1; n++)
        plain[n] = text[n] > 0 && text[n] < 128 ? (char)text[n] : '?';
    plain[n] = '\0';
    name_from_ascii(name, plain);
}

static void name_from_event(char *name, const struct event_attributes *event)
{
    if (event && event->message_type == MESSAGE_UNICODE)
        name_from_wide(name, event->message.unicode);
    else if (event && event->message_type == MESSAGE_REGISTERED && event->message.registered)
        name_from_ascii(name, event->message.registered->name);
    else
        name_from_ascii(name, event && event->message_type == MESSAGE_ASCII ? event->message.ascii
                                                                            : NULL);
}

/* ---- a door and a stack of open ranges for each thread ---- */

#define MAX_DEPTH 64

struct lane {
    struct wt_door *door;
    pid_t pid; /* a forked child needs a door of its own */
    int depth;
    char names[MAX_DEPTH][NAME_BYTES];
};

static pthread_key_t lane_key;
static char step_name[NAME_BYTES] = "step";

static void close_lane(void *data)
{
    struct lane *lane = data;
    if (lane->pid == getpid())
        wt_door_close(lane->door);
    free(lane);
}

static struct lane *my_lane(void)
{
    struct lane *lane = pthread_getspecific(lane_key);
    if (!lane) {
        lane = calloc(1, sizeof(*lane));
        if (!lane)
            return NULL;
        pthread_setspecific(lane_key, lane);
    }
    if (lane->pid != getpid()) {
        lane->pid = getpid();
        lane->depth = 0;
        if (wt_door_open(&lane->door, NULL) < 0)
            lane->door = NULL;
    }
    return lane;
}

static void begin(const char *name)
{
    struct lane *lane = my_lane();
    if (lane && lane->door)
        wt_door_mark(lane->door, WT_MARK_BEGIN, name, 1);
}

static void end(const char *name)
{
    struct lane *lane = my_lane();
    if (!lane || !lane->door)
        return;
    wt_door_mark(lane->door, WT_MARK_END, name, 1);
    if (strcmp(name, step_name) == 0)
        wt_door_mark(lane->door, WT_MARK_STEP, "step", 1);
}

static int push(const char *name)
{
    struct lane *lane = my_lane();
    if (!lane)
        return -1;
    if (lane->depth < MAX_DEPTH) {
        memcpy(lane->names[lane->depth], name, NAME_BYTES);
        begin(name);
    }
    return lane->depth++;
}

static int pop(void)
{
    struct lane *lane = my_lane();
    if (!lane || !lane->depth)
        return -1;
    if (--lane->depth < MAX_DEPTH)
        end(lane->names[lane->depth]);
    return lane->depth;
}

/* ---- ranges that may end on another thread ---- */

#define MAX_RANGES 1024

static struct {
    uint64_t id;
    char name[NAME_BYTES];
} ranges[MAX_RANGES];
static uint64_t last_id;
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t start(const char *name)
{
    pthread_mutex_lock(&ranges_lock);
    uint64_t id = ++last_id;
    ranges[id % MAX_RANGES].id = id;
    memcpy(ranges[id % MAX_RANGES].name, name, NAME_BYTES);
    pthread_mutex_unlock(&ranges_lock);
    begin(name);
    return id;
}

static void finish(uint64_t id)
{
    char name[NAME_BYTES];
    pthread_mutex_lock(&ranges_lock);
    int is_known = id && ranges[id % MAX_RANGES].id == id;
    memcpy(name, ranges[id % MAX_RANGES].name, NAME_BYTES);
    ranges[id % MAX_RANGES].id = 0;
    pthread_mutex_unlock(&ranges_lock);
    if (is_known)
        end(name);
}

/* ---- what NVTX calls ---- */

static int push_ex(const struct event_attributes *event)
{
    char name[NAME_BYTES];
    name_from_event(name, event);
    return push(name);
}

static int push_a(const char *text)
{
    char name[NAME_BYTES];
    name_from_ascii(name, text);
    return push(name);
}

static int push_w(const wchar_t *text)
{
    char name[NAME_BYTES];
    name_from_wide(name, text);
    return push(name);
}

static uint64_t start_ex(const struct event_attributes *event)
{
    char name[NAME_BYTES];
    name_from_event(name, event);
    return start(name);
}

static uint64_t start_a(const char *text)
{
    char name[NAME_BYTES];
    name_from_ascii(name, text);
    return start(name);
}

static uint64_t start_w(const wchar_t *text)
{
    char name[NAME_BYTES];
    name_from_wide(name, text);
    return start(name);
}

static int domain_push_ex(void *domain, const struct event_attributes *event)
{
    (void)domain;
    return push_ex(event);
}

static int domain_pop(void *domain)
{
    (void)domain;
    return pop();
}

static uint64_t domain_start_ex(void *domain, const struct event_attributes *event)
{
    (void)domain;
    return start_ex(event);
}

static void domain_finish(void *domain, uint64_t id)
{
    (void)domain;
    finish(id);
}

/* Registered strings live as long as the program may use them: until it ends. */
static struct registered *register_a(void *domain, const char *text)
{
    (void)domain;
    struct registered *r = calloc(1, sizeof(*r));
    if (r)
        name_from_ascii(r->name, text);
    return r;
}

static struct registered *register_w(void *domain, const wchar_t *text)
{
    (void)domain;
    struct registered *r = calloc(1, sizeof(*r));
    if (r)
        name_from_wide(r->name, text);
    return r;
}

static void prepare(void)
{
    const char *step = getenv("WATTUNE_NVTX_STEP");
    pthread_key_create(&lane_key, close_lane);
    if (step && *step)
        name_from_ascii(step_name, step);
}

struct hook {
    unsigned index;
    nvtx_function function;
};

static void install(const struct export_table *table, int module, const struct hook *hooks,
                    size_t count)
{
    nvtx_function **functions = NULL;
    unsigned size = 0;
    if (!table->get_function_table(module, &functions, &size))
        return;
    for (size_t i = 0; i < count; i++)
        if (hooks[i].index < size && functions[hooks[i].index])
            *functions[hooks[i].index] = hooks[i].function;
}

int InitializeInjectionNvtx2(const void *(*get_export_table)(uint32_t id));

/* Called once by each NVTX client library in the program; 0 tells it to go on without us. */
WT_API int InitializeInjectionNvtx2(const void *(*get_export_table)(uint32_t id))
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const struct hook core[] = {
        {CORE_RANGE_START_EX, (nvtx_function)start_ex},
        {CORE_RANGE_START_A, (nvtx_function)start_a},
        {CORE_RANGE_START_W, (nvtx_function)start_w},
        {CORE_RANGE_END, (nvtx_function)finish},
        {CORE_RANGE_PUSH_EX, (nvtx_function)push_ex},
        {CORE_RANGE_PUSH_A, (nvtx_function)push_a},
        {CORE_RANGE_PUSH_W, (nvtx_function)push_w},
        {CORE_RANGE_POP, (nvtx_function)pop},
    };
    static const struct hook core2[] = {
        {CORE2_RANGE_START_EX, (nvtx_function)domain_start_ex},
        {CORE2_RANGE_END, (nvtx_function)domain_finish},
        {CORE2_RANGE_PUSH_EX, (nvtx_function)domain_push_ex},
        {CORE2_RANGE_POP, (nvtx_function)domain_pop},
        {CORE2_REGISTER_STRING_A, (nvtx_function)register_a},
        {CORE2_REGISTER_STRING_W, (nvtx_function)register_w},
    };
    const struct export_table *table =
        get_export_table ? get_export_table(EXPORT_TABLE_CALLBACKS) : NULL;
    if (!getenv("WATTUNE_DOOR") || !table || table->size < sizeof(*table))
        return 0;
    pthread_once(&once, prepare);
    install(table, MODULE_CORE, core, sizeof(core) / sizeof(*core));
    install(table, MODULE_CORE2, core2, sizeof(core2) / sizeof(*core2));
    return 1;
}
