/* NVTX injection: every NVTX range of an unmodified program becomes a mark in Wattune's door.
 *
 * A program that uses NVTX looks for $NVTX_INJECTION64_PATH at its first NVTX call, loads that
 * library and calls InitializeInjectionNvtx2, which fills in the functions that the calls then go
 * to. `wattune run --nvtx` sets the variable. The interface is declared here from NVIDIA's public
 * description of it (NVTX 3, tools interface: nvtxTypes.h); only ranges are taken.
 *
 * A range that ends and is named as $WATTUNE_NVTX_STEP says ("step" when unset) counts a step. A
 * number at a name's end is left out ("step 17" is "step"), so that the ranges of a loop are one
 * phase. Domains keep their push and pop apart, as NVTX says; a phase is its range's name alone.
 *
 * All threads share one door, so that what begins on one and ends on another is heard in order.
 * Must never disturb the program: whatever fails here, ranges go nowhere. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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
       CORE2_DOMAIN_CREATE_A = 12,
       CORE2_DOMAIN_CREATE_W = 13,
       CORE2_DOMAIN_DESTROY = 14,
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
    struct registered *next;
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
    if (n == NAME_BYTES - 1) /* not within a character */
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    memcpy(name, text ? text : "", n);
    name[n] = '\0';
    if (!n)
        memcpy(name, "range", 6);
    shorten(name);
}

static size_t to_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(first[more] | c >> 6 * more);
    for (size_t i = 1; i <= more; i++)
        out[i] = (char)(0x80 | (c >> 6 * (more - i) & 0x3f));
    return more + 1;
}

static void name_from_wide(char *name, const wchar_t *text)
{
    char plain[NAME_BYTES];
    size_t n = 0;
    for (; text && *text && n + 4 < sizeof(plain); text++) {
        uint32_t c = (uint32_t)*text;
        n += to_utf8(plain + n, c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? '?' : c);
    }
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

/* ---- the door ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wt_door *door; /* under lock, as all below */
static bool is_door_tried;
static unsigned generation; /* of processes: one more after each fork */
static char step_name[NAME_BYTES] = "step";

/* Call with the lock held. */
static void mark(enum wt_mark_kind kind, const char *name)
{
    if (!is_door_tried) {
        is_door_tried = true;
        if (wt_door_open(&door, NULL) < 0)
            door = NULL;
    }
    wt_door_mark(door, kind, name, 1);
    if (kind == WT_MARK_END && strcmp(name, step_name) == 0)
        wt_door_mark(door, WT_MARK_STEP, "nvtx", 1);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- ranges that may end on another thread ---- */

#define MAX_RANGES 1024 /* a power of two */

static struct {
    uint64_t id; /* 0: free */
    char name[NAME_BYTES];
} ranges[MAX_RANGES];
static uint64_t last_id;

static uint64_t start(const char *name)
{
    pthread_mutex_lock(&lock);
    uint64_t id = ++last_id;
    if (!ranges[id % MAX_RANGES].id) { /* taken: too many are open, this one is not heard */
        ranges[id % MAX_RANGES].id = id;
        memcpy(ranges[id % MAX_RANGES].name, name, NAME_BYTES);
        mark(WT_MARK_BEGIN, name);
    }
    pthread_mutex_unlock(&lock);
    return id;
}

static void finish(uint64_t id)
{
    pthread_mutex_lock(&lock);
    if (id && ranges[id % MAX_RANGES].id == id) {
        ranges[id % MAX_RANGES].id = 0;
        mark(WT_MARK_END, ranges[id % MAX_RANGES].name);
    }
    pthread_mutex_unlock(&lock);
}

/* The child has a door of its own, and the ranges that the parent has open are the parent's. */
static void after_fork_in_child(void)
{
    wt_door_close(door);
    door = NULL;
    is_door_tried = false;
    generation++;
    memset(ranges, 0, sizeof(ranges));
    pthread_mutex_unlock(&lock);
}

/* ---- ranges of one thread, a stack for each domain ---- */

#define MAX_DEPTH 64

struct open_range {
    const void *domain;
    unsigned generation;
    char name[NAME_BYTES];
};
struct lane {
    struct open_range stack[MAX_DEPTH]; /* of all domains, in order of pushing */
    int depth;
    int unheard; /* pushed when the stack was full; gone before the others */
};
static pthread_key_t lane_key;

/* The calling thread's own; NULL only without memory. */
static struct lane *my_lane(void)
{
    struct lane *lane = pthread_getspecific(lane_key);
    if (!lane && (lane = calloc(1, sizeof(*lane))) && pthread_setspecific(lane_key, lane) != 0) {
        free(lane);
        lane = NULL;
    }
    return lane;
}

static int level_of(const struct lane *lane, const void *domain)
{
    int level = 0;
    for (int i = 0; i < lane->depth; i++)
        level += lane->stack[i].domain == domain;
    return level;
}

static int push(const void *domain, const char *name)
{
    struct lane *lane = my_lane();
    if (!lane)
        return -1;
    int level = level_of(lane, domain) + lane->unheard;
    if (lane->depth == MAX_DEPTH) {
        lane->unheard++;
        return level;
    }
    struct open_range *range = &lane->stack[lane->depth++];
    pthread_mutex_lock(&lock);
    *range = (struct open_range){.domain = domain, .generation = generation};
    memcpy(range->name, name, NAME_BYTES);
    mark(WT_MARK_BEGIN, name);
    pthread_mutex_unlock(&lock);
    return level;
}

static int pop(const void *domain)
{
    struct lane *lane = my_lane();
    if (!lane)
        return -1;
    if (lane->unheard) {
        lane->unheard--;
        return level_of(lane, domain) + lane->unheard;
    }
    int i = lane->depth - 1;
    while (i >= 0 && lane->stack[i].domain != domain)
        i--;
    if (i < 0)
        return -1;
    struct open_range range = lane->stack[i];
    memmove(&lane->stack[i], &lane->stack[i + 1],
            (size_t)(--lane->depth - i) * sizeof(lane->stack[0]));
    pthread_mutex_lock(&lock);
    if (range.generation == generation)
        mark(WT_MARK_END, range.name);
    pthread_mutex_unlock(&lock);
    return level_of(lane, domain);
}

/* ---- what NVTX calls ---- */

static int domain_push_ex(const void *domain, const struct event_attributes *event)
{
    char name[NAME_BYTES];
    name_from_event(name, event);
    return push(domain, name);
}

static int domain_pop(const void *domain)
{
    return pop(domain);
}

static int push_ex(const struct event_attributes *event)
{
    return domain_push_ex(NULL, event);
}

static int pop_default(void)
{
    return pop(NULL);
}

static int push_a(const char *text)
{
    char name[NAME_BYTES];
    name_from_ascii(name, text);
    return push(NULL, name);
}

static int push_w(const wchar_t *text)
{
    char name[NAME_BYTES];
    name_from_wide(name, text);
    return push(NULL, name);
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
static struct registered *register_name(const char *name)
{
    static struct registered *all; /* under lock */
    struct registered *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    memcpy(r->name, name, NAME_BYTES);
    pthread_mutex_lock(&lock);
    r->next = all;
    all = r;
    pthread_mutex_unlock(&lock);
    return r;
}

static struct registered *register_a(void *domain, const char *text)
{
    (void)domain;
    char name[NAME_BYTES];
    name_from_ascii(name, text);
    return register_name(name);
}

static struct registered *register_w(void *domain, const wchar_t *text)
{
    (void)domain;
    char name[NAME_BYTES];
    name_from_wide(name, text);
    return register_name(name);
}

/* A domain's handle is only an address of its own. */
static void *create_domain(const void *name)
{
    (void)name;
    return malloc(1);
}

static void destroy_domain(void *domain)
{
    free(domain);
}

static void prepare(void)
{
    pthread_key_create(&lane_key, free);
    const char *step = getenv("WATTUNE_NVTX_STEP");
    if (step && *step)
        name_from_ascii(step_name, step);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
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
        {CORE_RANGE_POP, (nvtx_function)pop_default},
    };
    static const struct hook core2[] = {
        {CORE2_RANGE_START_EX, (nvtx_function)domain_start_ex},
        {CORE2_RANGE_END, (nvtx_function)domain_finish},
        {CORE2_RANGE_PUSH_EX, (nvtx_function)domain_push_ex},
        {CORE2_RANGE_POP, (nvtx_function)domain_pop},
        {CORE2_REGISTER_STRING_A, (nvtx_function)register_a},
        {CORE2_REGISTER_STRING_W, (nvtx_function)register_w},
        {CORE2_DOMAIN_CREATE_A, (nvtx_function)create_domain},
        {CORE2_DOMAIN_CREATE_W, (nvtx_function)create_domain},
        {CORE2_DOMAIN_DESTROY, (nvtx_function)destroy_domain},
    };
    const struct export_table *table =
        get_export_table ? get_export_table(EXPORT_TABLE_CALLBACKS) : NULL;
    const char *listens = getenv("WATTUNE_DOOR");
    if (!listens || !*listens || !table || table->size < sizeof(*table))
        return 0;
    pthread_once(&once, prepare);
    install(table, MODULE_CORE, core, sizeof(core) / sizeof(*core));
    install(table, MODULE_CORE2, core2, sizeof(core2) / sizeof(*core2));
    return 1;
}
