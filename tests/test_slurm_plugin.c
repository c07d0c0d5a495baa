/* The SPANK plugin's hooks and the prolog's work, without Slurm: what it calls of Slurm's is here,
 * and so is a wattuned that answers as it is told. tests/slurm has the real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <slurm/spank.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "hold.h"
#include "lease/protocol.h"

static char root[64], dir[96];

/* ---- Slurm ---- */

static char said[8192]; /* in its log and to the user */
static struct spank_option *registered[8];
static size_t registered_count;

static void say(const char *fmt, va_list args) WT_PRINTF(1, 0);
static void say(const char *fmt, va_list args)
{
    size_t at = strlen(said);
    vsnprintf(said + at, sizeof(said) - at, fmt, args);
    at = strlen(said);
    snprintf(said + at, sizeof(said) - at, "\n");
}

void slurm_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
}

void slurm_spank_log(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
}

spank_context_t spank_context(void)
{
    return S_CTX_REMOTE;
}

spank_err_t spank_option_register(spank_t sp, struct spank_option *opt)
{
    (void)sp;
    registered[registered_count++ % WT_COUNTOF(registered)] = opt;
    return ESPANK_SUCCESS;
}

/* Step 0 of job 7, user 1000, with one task. */
spank_err_t spank_get_item(spank_t sp, spank_item_t item, ...)
{
    va_list args;
    (void)sp;
    va_start(args, item);
    uint32_t *ret = va_arg(args, uint32_t *);
    *ret = item == S_JOB_ID                 ? 7
           : item == S_JOB_STEPID           ? 0
           : item == S_JOB_UID              ? 1000
           : item == S_JOB_LOCAL_TASK_COUNT ? 1
                                            : 0;
    va_end(args);
    return ESPANK_SUCCESS;
}

spank_err_t spank_getenv(spank_t sp, const char *var, char *buf, int len)
{
    (void)sp;
    (void)var;
    (void)buf;
    (void)len;
    return ESPANK_ENV_NOEXIST;
}

spank_err_t spank_setenv(spank_t sp, const char *var, const char *val, int overwrite)
{
    (void)sp;
    (void)var;
    (void)val;
    (void)overwrite;
    return ESPANK_SUCCESS;
}

spank_err_t spank_job_control_setenv(spank_t sp, const char *name, const char *value, int overwrite)
{
    (void)sp;
    (void)name;
    (void)value;
    (void)overwrite;
    return ESPANK_SUCCESS;
}

/* ---- a wattuned with three GPUs ---- */

static struct fake {
    pthread_t thread;
    int listener;
    int hung, silent;   /* of which device: a claim is an error; gets no answer */
    bool is_mute;       /* says nothing at all */
    bool has_ids;       /* the job's facts had its devices when somebody said hello */
    atomic_uint claims; /* devices whose claims were answered */
    atomic_uint asked;  /* and asked for */
} fake;

static bool fact(const char *name, const char *key, size_t i, char *value, size_t size)
{
    struct wt_slurm_facts f;
    return wt_slurm_facts_read(dir, name, &f, NULL) == 0 &&
           wt_slurm_facts_get(&f, key, i, value, size);
}

/* False: no answer. */
static bool answer(struct wt_wire_message *m)
{
    char ids[300];
    struct wt_wire_message a = {.tag = m->tag, .type = WT_WIRE_DONE};
    uint32_t device = m->u.claim.device;
    switch (m->type) {
    case WT_WIRE_HELLO:
        fake.has_ids = fact("7", "devices", 0, ids, sizeof(ids));
        a.type = WT_WIRE_HELLO_OK;
        a.u.hello_ok.version = WT_WIRE_VERSION;
        a.u.hello_ok.devices = 3;
        a.u.hello_ok.is_emulated = 1;
        break;
    case WT_WIRE_DEVICE:
        device = m->u.device.device;
        a.type = WT_WIRE_DEVICE_OK;
        a.u.device_ok.device = device;
        a.u.device_ok.kind = WT_DEVICE_GPU;
        wt_text(a.u.device_ok.id, sizeof(a.u.device_ok.id), "GPU-%u", device);
        wt_text(a.u.device_ok.name, sizeof(a.u.device_ok.name), "Card");
        break;
    case WT_WIRE_KNOB:
        a.type = WT_WIRE_KNOB_OK;
        a.u.knob_ok.is_allowed = 1;
        a.u.knob_ok.min = a.u.knob_ok.floor = 100000;
        a.u.knob_ok.max = a.u.knob_ok.ceiling = 250000;
        break;
    case WT_WIRE_CLAIM:
        fake.asked |= 1u << device;
        if ((int)device == fake.silent)
            return false;
        if ((int)device == fake.hung) {
            a.type = WT_WIRE_ERROR;
            a.u.error.code = WT_E_TIMEOUT;
            wt_text(a.u.error.text, sizeof(a.u.error.text), "its driver hangs");
            break;
        }
        fake.claims |= 1u << device;
        a.type = WT_WIRE_CLAIM_OK;
        a.u.claim_ok.effective = m->u.claim.value;
        break;
    default:
        break;
    }
    *m = a;
    return true;
}

static void *serve(void *data)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message m;
    int fd;
    (void)data;
    while ((fd = accept4(fake.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        ssize_t n;
        while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
            if (!fake.is_mute && wt_wire_decode(buf, (size_t)n, &m, NULL) == 0 && answer(&m))
                send(fd, buf, wt_wire_encode(&m, buf), MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static const char *socket_path(void)
{
    static char path[96];
    return wt_text(path, sizeof(path), "%s/wattuned.sock", root);
}

static void start_fake(int hung, int silent, bool is_mute)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    wt_text(at.sun_path, sizeof(at.sun_path), "%s", socket_path());
    fake = (struct fake){.hung = hung, .silent = silent, .is_mute = is_mute};
    fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake.listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fake.listener, 8), 0);
    assert_int_equal(pthread_create(&fake.thread, NULL, serve, NULL), 0);
}

static void stop_fake(void)
{
    shutdown(fake.listener, SHUT_RDWR);
    pthread_join(fake.thread, NULL);
    close(fake.listener);
}

/* ---- the bed ---- */

static const char *put(const char *name, const char *text)
{
    static char path[160];
    wt_text(path, sizeof(path), "%s/%s", root, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0644), 0);
    return path;
}

static int setup(void **state)
{
    (void)state;
    wt_text(root, sizeof(root), "/tmp/wattune-test-plugin-XXXXXX");
    said[0] = '\0';
    if (!mkdtemp(root))
        return -1;
    wt_text(dir, sizeof(dir), "%s/slurm", root);
    return mkdir(dir, 0755);
}

static int teardown(void **state)
{
    (void)state;
    wt_fs_remove_tree(root, NULL);
    return 0;
}

static void take_log(const char *text)
{
    slurm_error("%s", text);
}

static struct wt_slurm_hold hold_of(const char *gpus, int64_t cap_mw)
{
    struct wt_slurm_hold h = {
        .log = take_log,
        .now_ns = 5,
        .job = {.job = 7, .uid = 1000, .nodes = 1, .node = "n1", .gpus = gpus},
        .wish = {.power = cap_mw ? WT_SLURM_WATTS : WT_SLURM_UNSAID, .cap_mw = cap_mw}};
    wt_text(h.config.socket, sizeof(h.config.socket), "%s", socket_path());
    wt_text(h.config.map, sizeof(h.config.map), "%s", put("map", "0 GPU-0\n1 GPU-1\n2 GPU-2\n"));
    h.config.timeout_ns = 2 * WT_NS_PER_S;
    wt_text(h.dir, sizeof(h.dir), "%s", dir);
    return h;
}

static const char *note(size_t i)
{
    static char text[400];
    return fact("7", "note", i, text, sizeof(text)) ? text : "";
}

static void a_hung_card_is_that_card_alone(void **state)
{
    (void)state;
    start_fake(0, -1, false);
    struct wt_slurm_hold h = hold_of("0,1,2", 150000);
    wt_slurm_hold_begin(&h);
    stop_fake();
    assert_int_equal(fake.claims, 6);
    assert_string_equal(note(0), "GPU 0: 150 W is not set: its driver hangs");
    assert_string_equal(note(1), "");
}

static void a_claim_without_an_answer_may_hold_later(void **state)
{
    (void)state;
    char text[16];
    start_fake(-1, 1, false);
    struct wt_slurm_hold h = hold_of("0,1,2", 150000);
    wt_slurm_hold_begin(&h);
    stop_fake();
    assert_int_equal(fake.claims, 1);
    assert_int_equal(fake.asked, 3);
    assert_non_null(strstr(note(0), "GPU 1: 150 W is not set yet, and may be set later: wattuned"));
    assert_non_null(strstr(note(1), "GPU 2: 150 W is not set: wattuned")); /* not reached, told */
    assert_true(fact("7", "late", 0, text, sizeof(text)));
}

static void who_asked_for_nothing_is_told_nothing(void **state)
{
    (void)state;
    char text[300];
    start_fake(-1, -1, false);
    struct wt_slurm_hold h = hold_of("0,5", 0); /* the map has no 5 */
    wt_slurm_hold_begin(&h);
    assert_string_equal(note(0), "");
    assert_non_null(strstr(said, "GPU 5: "));
    h.config.default_mw = 200000; /* of the site's default he is told */
    wt_slurm_hold_begin(&h);
    assert_non_null(strstr(note(0), "GPU 5: "));
    assert_false(fact("7", "devices", 0, text, sizeof(text))); /* not of a part of them */
    stop_fake();
}

static void whose_gpus_they_are_is_there_from_the_first_moment(void **state)
{
    (void)state;
    char text[300];
    start_fake(-1, -1, false);
    struct wt_slurm_hold h = hold_of("0,2", 150000);
    wt_slurm_hold_begin(&h);
    stop_fake();
    assert_true(fake.has_ids);
    assert_true(fact("7", "devices", 0, text, sizeof(text)));
    assert_string_equal(text, "GPU-0,GPU-2");
}

/* Each job with what squeue says of it on this node. */
static void the_controllers_word_is_of_this_job_on_this_node(void **state)
{
    (void)state;
    char text[512], end[32];
    const char *path = getenv("PATH");
    put("slurm/50", "job=50\nnode=n1\nbegin_ns=1\n"); /* the last task of an array that goes on */
    put("slurm/60", "job=60\nnode=n1\nbegin_ns=1\n"); /* requeued, runs on n2 */
    put("slurm/70", "job=70\nnode=n1\nbegin_ns=1\n"); /* runs */
    put("slurm/80", "job=80\nnode=n1\nbegin_ns=1\n"); /* begins anew while squeue is asked */
    put("slurm/90", "job=90\nnode=n1\nbegin_ns=1\n"); /* forgotten */
    put("squeue", "");
    wt_text(text, sizeof(text),
            "#!/bin/sh\n"
            "case \"$*\" in\n"
            "*--jobs\\ 50*) echo 51 RUNNING; echo 50 COMPLETED ;;\n"
            "*--jobs\\ 60*n1) ;;\n"
            "*--jobs\\ 60*) echo 60 RUNNING ;;\n"
            "*--jobs\\ 70*) echo 71 COMPLETED; echo 70 RUNNING ;;\n"
            "*--jobs\\ 80*) printf 'job=80\\nnode=n1\\nbegin_ns=2\\n' >%s/80 ;;\n"
            "*) echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1 ;;\n"
            "esac\n",
            dir);
    assert_int_equal(chmod(put("squeue", text), 0755), 0);
    char before[4096];
    wt_text(before, sizeof(before), "%s", path ? path : "");
    wt_text(text, sizeof(text), "%s:/usr/bin:/bin", root);
    setenv("PATH", text, 1);
    struct wt_slurm_hold h = hold_of("", 0);
    wt_slurm_hold_reconcile(&h);
    setenv("PATH", before, 1);
    assert_true(fact("50", "end_ns", 0, end, sizeof(end)));
    assert_true(fact("60", "end_ns", 0, end, sizeof(end)));
    assert_false(fact("70", "end_ns", 0, end, sizeof(end)));
    assert_false(fact("80", "end_ns", 0, end, sizeof(end)));
    assert_true(fact("90", "end_ns", 0, end, sizeof(end)));
}

static void facts_of_steps_go_by_their_own_age(void **state)
{
    (void)state;
    static const char *const names[] = {"7", "7.0", "7.1", "7.2", "7.0.energy", "7.1.energy"};
    const struct timespec old[2] = {{1, 0}, {1, 0}};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        char name[64];
        wt_text(name, sizeof(name), "slurm/%s", names[i]);
        const char *path = put(name, i == 1 || i == 3 ? "job=7\nend_ns=1\n" : "job=7\n");
        if (i != 3) /* ended just now */
            assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    }
    wt_slurm_facts_prune(dir, 8);
    wt_slurm_facts_prune(dir, 8); /* an energy's once its step's have gone */
    static const bool is_left[] = {true, false, true, true, false, true};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        char path[160];
        wt_text(path, sizeof(path), "%s/%s", dir, names[i]);
        if ((access(path, F_OK) == 0) != is_left[i])
            fail_msg("%s", names[i]);
    }
}

/* ---- hooks ---- */

static void be_prolog(char *av[2], const char *timeout)
{
    static char run[96], wait[32];
    wt_text(run, sizeof(run), "run=%s", root);
    wt_text(wait, sizeof(wait), "timeout=%s", timeout);
    av[0] = run;
    av[1] = wait;
    setenv("SLURM_JOB_ID", "7", 1);
    setenv("SLURM_JOB_UID", "1000", 1);
    setenv("SLURM_JOB_GPUS", "0", 1);
    setenv("SLURMD_NODENAME", "n1", 1);
}

static void forget(void)
{
    static const char *const names[] = {"SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_GPUS",
                                        "SLURMD_NODENAME", "SPANK_WATTUNE_POWER"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        unsetenv(names[i]);
}

static void a_users_bytes_are_one_line_of_the_log(void **state)
{
    (void)state;
    char *av[2];
    be_prolog(av, "20000");
    setenv("SPANK_WATTUNE_POWER", "1\nslurmd: error: \x1b[2J\xff", 1);
    assert_int_equal(slurm_spank_job_prolog(NULL, 2, av), 0);
    forget();
    char *end = strchr(said, '\n');
    assert_non_null(strstr(said, "--power-cap=1?slurmd: error: ?[2J?"));
    assert_true(end && end[1] == '\0');
}

/* Gone, or killed and not waited for yet. */
static bool is_gone(pid_t pid)
{
    char path[64], text[512];
    wt_text(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    const char *at = strrchr(text, ')');
    return !at || at[2] == 'Z' || at[2] == 'X';
}

static bool await_(bool (*is)(pid_t pid), pid_t pid)
{
    const struct timespec nap = {.tv_nsec = 10 * WT_NS_PER_MS};
    for (int i = 0; i < 6000 && !is(pid); i++)
        nanosleep(&nap, NULL);
    return is(pid);
}

static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    wt_text(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%d", &child) != 1)
            child = 0;
        fclose(f);
    }
    return child;
}

static bool has_child(pid_t pid)
{
    return child_of(pid) > 0;
}

static void the_prologs_work_ends_with_it(void **state)
{
    (void)state;
    char *av[2];
    int status;
    start_fake(-1, -1, true);
    be_prolog(av, "20000");
    pid_t prolog = fork();
    if (prolog == 0) {
        slurm_spank_job_prolog(NULL, 2, av);
        _exit(0);
    }
    forget();
    assert_true(await_(has_child, prolog));
    pid_t work = child_of(prolog);
    assert_false(is_gone(work));
    assert_int_equal(kill(prolog, SIGKILL), 0);
    assert_int_equal(waitpid(prolog, &status, 0), prolog);
    assert_true(await_(is_gone, work));
    stop_fake();
}

static void *write_energy(void *data)
{
    const struct timespec nap = {.tv_sec = 1, .tv_nsec = 100 * WT_NS_PER_MS};
    nanosleep(&nap, NULL);
    struct wt_slurm_facts f = {.len = 0};
    wt_text(f.text, sizeof(f.text), "7.0: 5 J\n");
    f.len = strlen(f.text);
    wt_slurm_facts_write(dir, "7.0.energy", &f, NULL);
    return data;
}

static void energy_is_this_steps_and_waited_for_where_somebody_measures(void **state)
{
    (void)state;
    char *av[2];
    char path[160];
    be_prolog(av, "20000");
    forget();
    put("slurm/7", "job=7\nuid=1000\nnode=n1\nbegin_ns=1\n");
    /* It was requeued: what its step of that number took before. */
    put("slurm/7.0.energy", "7.0: 999 J\n");
    assert_int_equal(slurm_spank_init(NULL, 2, av), 0);
    for (size_t i = 0; i < registered_count; i++)
        if (strcmp(registered[i]->name, "energy-report") == 0)
            assert_int_equal(registered[i]->cb(registered[i]->val, NULL, 1), 0);
    assert_int_equal(slurm_spank_init_post_opt(NULL, 2, av), 0);
    int64_t began_ns = wt_clock_now_ns();
    assert_int_equal(slurm_spank_task_exit(NULL, 2, av), 0);
    assert_non_null(strstr(said, "no energy to report: nothing measures jobs on this node"));
    assert_true(wt_clock_now_ns() - began_ns < 3 * WT_NS_PER_S); /* it did not wait */

    said[0] = '\0';
    pthread_t writer;
    put("slurm/.serve", "");
    assert_int_equal(pthread_create(&writer, NULL, write_energy, NULL), 0);
    assert_int_equal(slurm_spank_task_exit(NULL, 2, av), 0);
    pthread_join(writer, NULL);
    assert_string_equal(said, "7.0: 5 J\n");

    /* One that stopped looking. */
    const struct timespec old[2] = {{1, 0}, {1, 0}};
    wt_text(path, sizeof(path), "%s/.serve", dir);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    wt_slurm_facts_remove(dir, "7.0.energy");
    said[0] = '\0';
    assert_int_equal(slurm_spank_task_exit(NULL, 2, av), 0);
    assert_non_null(strstr(said, "nothing measures jobs on this node"));
}

int main(void)
{
#define PLUGIN_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        PLUGIN_TEST(a_hung_card_is_that_card_alone),
        PLUGIN_TEST(a_claim_without_an_answer_may_hold_later),
        PLUGIN_TEST(who_asked_for_nothing_is_told_nothing),
        PLUGIN_TEST(whose_gpus_they_are_is_there_from_the_first_moment),
        PLUGIN_TEST(the_controllers_word_is_of_this_job_on_this_node),
        PLUGIN_TEST(facts_of_steps_go_by_their_own_age),
        PLUGIN_TEST(a_users_bytes_are_one_line_of_the_log),
        PLUGIN_TEST(the_prologs_work_ends_with_it),
        PLUGIN_TEST(energy_is_this_steps_and_waited_for_where_somebody_measures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
