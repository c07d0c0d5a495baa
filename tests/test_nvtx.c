/* The NVTX door, spoken to as NVTX 3's header does: the library is found through
 * $NVTX_INJECTION64_PATH, given a table of tables, and fills in the functions it wants. The client
 * is this program itself, run under `wattune run --nvtx`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include "spawned.h"

/* ---- a client ---- */

typedef void (*function)(void);
enum { CORE = 1, CORE2 = 5, CORE_SIZE = 16, CORE2_SIZE = 16 };
struct event {
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    uint64_t payload;
    int32_t message_type;
    const void *message;
};
struct callbacks {
    size_t size;
    int (*table)(int module, function ***ret_table, unsigned *ret_size);
};

static function core[CORE_SIZE], core2[CORE2_SIZE];
static function *core_places[CORE_SIZE], *core2_places[CORE2_SIZE];
static unsigned core_size = CORE_SIZE;

static int get_table(int module, function ***ret_table, unsigned *ret_size)
{
    if (module != CORE && module != CORE2)
        return 0;
    *ret_table = module == CORE ? core_places : core2_places;
    *ret_size = module == CORE ? core_size : CORE2_SIZE;
    return 1;
}

static const void *get_export_table(uint32_t id)
{
    static const struct callbacks callbacks = {sizeof(callbacks), get_table};
    return id == 1 ? &callbacks : NULL;
}

static const void *get_no_table(uint32_t id)
{
    (void)id;
    return NULL;
}

static void *load(void)
{
    const char *path = getenv("NVTX_INJECTION64_PATH");
    void *library = path ? dlopen(path, RTLD_LAZY) : NULL;
    if (!library)
        fprintf(stderr, "client: %s\n", path ? dlerror() : "NVTX_INJECTION64_PATH is not set");
    return library;
}

static int initialize(void *library, const void *(*tables)(uint32_t))
{
    for (int i = 1; i < CORE_SIZE; i++)
        core_places[i] = &core[i];
    for (int i = 1; i < CORE2_SIZE; i++)
        core2_places[i] = &core2[i];
    int (*init)(const void *(*)(uint32_t)) =
        (int (*)(const void *(*)(uint32_t)))dlsym(library, "InitializeInjectionNvtx2");
    return init ? init(tables) : -1;
}

static uint64_t start_a(const char *text)
{
    return ((uint64_t(*)(const char *))core[5])(text);
}
static void finish(uint64_t id)
{
    ((void (*)(uint64_t))core[7])(id);
}
static int push_a(const char *text)
{
    return ((int (*)(const char *))core[9])(text);
}
static int push_w(const wchar_t *text)
{
    return ((int (*)(const wchar_t *))core[10])(text);
}
static int push_ex(const struct event *event)
{
    return ((int (*)(const struct event *))core[8])(event);
}
static int pop(void)
{
    return ((int (*)(void))core[11])();
}
static int domain_push(void *domain, const char *text)
{
    const struct event event = {.version = 3, .size = 48, .message_type = 1, .message = text};
    return ((int (*)(void *, const struct event *))core2[4])(domain, &event);
}
static int domain_pop(void *domain)
{
    return ((int (*)(void *))core2[5])(domain);
}
static void *create_domain(const char *name)
{
    return ((void *(*)(const char *))core2[12])(name);
}

static void *finish_on_thread(void *data)
{
    finish(*(uint64_t *)data);
    return NULL;
}

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "client: line %d: %s\n", __LINE__, #condition);                        \
            return 9;                                                                              \
        }                                                                                          \
    } while (0)

static int every_kind_of_range(void)
{
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof(name), "step %d", i);
        MUST(push_a(name) == 0);
        MUST(push_w(L"wide \u00e9") == 1);
        MUST(pop() == 1);
        const struct event bare = {.version = 3, .size = 48};
        MUST(push_ex(&bare) == 1);
        MUST(pop() == 1);
        MUST(pop() == 0);
    }
    MUST(pop() < 0);

    for (int i = 0; i < 100; i++)
        MUST(push_a("deep") == i);
    for (int i = 99; i >= 0; i--)
        MUST(pop() == i);

    void *one = create_domain("one"), *two = create_domain("two");
    MUST(one && two && one != two);
    MUST(domain_push(one, "in one") == 0);
    MUST(domain_push(two, "in two") == 0);
    MUST(domain_pop(one) == 0);
    MUST(domain_pop(one) < 0);
    MUST(domain_pop(two) == 0);

    const void *string = ((const void *(*)(void *, const char *))core2[10])(one, "registered");
    const struct event event = {.version = 3, .size = 48, .message_type = 3, .message = string};
    MUST(push_ex(&event) == 0);
    MUST(pop() == 0);
    ((void (*)(void *))core2[14])(one);
    ((void (*)(void *))core2[14])(two);

    uint64_t first = start_a("across"), second = start_a("never ended");
    MUST(first && second && first != second);
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, finish_on_thread, &first) == 0);
    pthread_join(thread, NULL);
    finish(first); /* again: not heard */

    for (int i = 0; i < 5000; i++)
        start_a("many");
    return 0;
}

static void *keep_marking(void *data)
{
    /* Fewer marks in all than a ring holds. */
    for (int i = 0; i < 900 && !__atomic_load_n((int *)data, __ATOMIC_RELAXED); i++) {
        push_a("busy");
        pop();
        if (i % 100 == 0)
            usleep(100);
    }
    return NULL;
}

static int fork_while_others_mark(void)
{
    int is_over = 0;
    pthread_t threads[2];
    push_a("parent");
    for (int i = 0; i < 2; i++)
        MUST(pthread_create(&threads[i], NULL, keep_marking, &is_over) == 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            pop(); /* the parent's range: not ended by the child */
            push_a("child");
            pop();
            execlp("true", "true",
                   (char *)NULL); /* not exit: what it inherited is no leak of its */
            _exit(1);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid && status == 0);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pop();
    return 0;
}

static int client(const char *mode)
{
    void *library = load();
    if (!library)
        return 8;
    if (strcmp(mode, "symbols") == 0) {
        MUST(dlsym(library, "InitializeInjectionNvtx2"));
        MUST(!dlsym(library, "wt_door_open"));
        MUST(!dlsym(RTLD_DEFAULT, "InitializeInjectionNvtx2"));
        return 0;
    }
    if (strcmp(mode, "no-table") == 0)
        return initialize(library, get_no_table);
    if (strcmp(mode, "short-table") == 0) {
        core_size = 6;
        MUST(initialize(library, get_export_table) == 1);
        MUST(core[5] && !core[9]);
        return 0;
    }
    if (strcmp(mode, "no-door") == 0) {
        int rc = initialize(library, get_export_table);
        for (int i = 0; i < CORE_SIZE; i++)
            MUST(!core[i]);
        return rc;
    }
    MUST(initialize(library, get_export_table) == 1);
    return strcmp(mode, "fork") == 0 ? fork_while_others_mark() : every_kind_of_range();
}

/* ---- tests ---- */

static const char *const home = spawn_folder;
static char self[512];

static int setup(void **state)
{
    spawn_setup(state);
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    return n > 0 ? 0 : -1;
}

static json_int_t phase_count(json_t *doc, const char *name)
{
    size_t i;
    json_t *phase;
    json_array_foreach(json_object_get(doc, "phases"), i,
                       phase) if (strcmp(json_string_value(json_object_get(phase, "name")), name) ==
                                  0) return json_integer_value(json_object_get(phase, "count"));
    return 0;
}

static json_t *run_client(const char *mode, const char *step)
{
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--quiet", "--json", "--nvtx", "--nvtx-step", step, "--",
              self, "client", mode);
    if (spawn_code(&s))
        print_error("%s", s.err);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    spawn_done(&s);
    return doc;
}

static void every_kind_of_range_becomes_a_phase(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        json_int_t want;
        const char *why;
    } rows[] = {
        {"step", 3, "the number at the end of a name is not part of it"},
        {"wide \u00e9", 3, "wide strings are Unicode"},
        {"range", 3, "an event without a message"},
        {"in one", 1, "a domain's stack is its own"},
        {"in two", 1, "likewise"},
        {"registered", 1, "a registered string"},
        {"across", 1, "begun on one thread, ended on another, and once"},
        {"never ended", 0, "a range that is open is no phase yet"},
        {"deep", 64, "deeper ones go unheard"},
    };
    json_t *doc = run_client("ranges", "step");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (phase_count(doc, rows[i].name) != rows[i].want)
            print_error("%s: %s\n", rows[i].name, rows[i].why);
        assert_int_equal(phase_count(doc, rows[i].name), rows[i].want);
    }
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "work"), "steps")), 3);
    json_decref(doc);
}

static void the_range_that_counts_steps_can_be_named(void **state)
{
    (void)state;
    json_t *doc = run_client("ranges", "registered");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "work"), "steps")), 1);
    json_decref(doc);
}

static void a_fork_while_other_threads_mark_does_not_stop_the_child(void **state)
{
    (void)state;
    json_t *doc = run_client("fork", "parent");
    assert_int_equal(phase_count(doc, "child"), 20);
    assert_int_equal(phase_count(doc, "parent"), 1);
    json_decref(doc);
}

static void tables_that_are_not_as_expected_do_no_harm(void **state)
{
    (void)state;
    json_decref(run_client("no-table", "step"));
    json_decref(run_client("short-table", "step"));
}

static void it_shows_one_symbol(void **state)
{
    (void)state;
    json_decref(run_client("symbols", "step"));
}

static void without_a_door_it_declines(void **state)
{
    (void)state;
    struct spawned s;
    char script[1200];
    snprintf(script, sizeof(script),
             "\"$WATTUNE_COMMAND\" run --quiet --nvtx -- env -u WATTUNE_DOOR %s client no-door",
             self);
    spawn_run(&s, home, "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.err, "");
    spawn_done(&s);
}

static void another_tools_injection_is_replaced_and_named(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "sh", "-c",
              "NVTX_INJECTION64_PATH=/opt/other.so \"$WATTUNE_COMMAND\" run --quiet --nvtx -- sh "
              "-c 'echo $NVTX_INJECTION64_PATH'");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "/libwattune-nvtx.so\n"));
    assert_int_equal(s.out[0], '/');
    assert_non_null(strstr(s.err, "/opt/other.so"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--nvtx-step", "", "--", "true");
    assert_int_equal(spawn_code(&s), 2);
    spawn_done(&s);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return client(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_range_becomes_a_phase),
        cmocka_unit_test(the_range_that_counts_steps_can_be_named),
        cmocka_unit_test(a_fork_while_other_threads_mark_does_not_stop_the_child),
        cmocka_unit_test(tables_that_are_not_as_expected_do_no_harm),
        cmocka_unit_test(it_shows_one_symbol),
        cmocka_unit_test(without_a_door_it_declines),
        cmocka_unit_test(another_tools_injection_is_replaced_and_named),
    };
    return cmocka_run_group_tests(tests, setup, spawn_teardown);
}
