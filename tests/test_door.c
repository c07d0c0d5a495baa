/* door: marks cross from a program to the keeper; a keeper believes nothing it finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/door.h"

struct heard {
    unsigned count;
    struct wt_mark last;
    uint64_t sum;
    int64_t t_ns;
    bool is_out_of_order;
    unsigned gone_count;
    struct wt_mark gone;
};

static void hear(void *data, const struct wt_mark *mark)
{
    struct heard *heard = data;
    if (mark->kind == WT_MARK_GONE) {
        heard->gone_count++;
        heard->gone = *mark;
        return;
    }
    heard->count++;
    heard->last = *mark;
    heard->sum += mark->count;
    heard->is_out_of_order |= mark->t_ns < heard->t_ns;
    heard->t_ns = mark->t_ns;
}

static int setup(void **state)
{
    struct wt_doorkeeper *keeper;
    if (wt_doorkeeper_new(&keeper, "/tmp", NULL) < 0)
        return -1;
    setenv("WATTUNE_DOOR", wt_doorkeeper_path(keeper), 1);
    *state = keeper;
    return 0;
}

static int teardown(void **state)
{
    unsetenv("WATTUNE_DOOR");
    wt_doorkeeper_free(*state);
    return 0;
}

static struct heard drain(struct wt_doorkeeper *keeper, uint64_t *lost)
{
    struct heard heard = {0};
    int rc = wt_doorkeeper_drain(keeper, hear, &heard, lost, NULL);
    assert_int_equal(rc, heard.count);
    return heard;
}

/* The one ring in the directory. */
static void ring_path(struct wt_doorkeeper *keeper, char *path, size_t size)
{
    wt_text(path, size, "%s", wt_doorkeeper_path(keeper));
    char **names;
    size_t count;
    struct wt_ctx *ctx;
    assert_int_equal(wt_ctx_new(&ctx, NULL, NULL), 0);
    assert_int_equal(wt_fs_list(ctx, path, &names, &count, NULL), 0);
    assert_int_equal(count, 1);
    wt_text(path, size, "%s/%s", wt_doorkeeper_path(keeper), names[0]);
    wt_fs_list_free(names, count);
    wt_ctx_free(ctx);
}

static void marks_arrive_in_order_and_once(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *door;
    uint64_t lost = 0;
    assert_int_equal(wt_door_open(&door, NULL), 0);
    assert_int_equal(drain(keeper, &lost).count, 0);
    for (uint64_t i = 1; i <= 100; i++)
        wt_door_mark(door, WT_MARK_WORK, "tokens", i);
    struct heard heard = drain(keeper, &lost);
    assert_int_equal(heard.count, 100);
    assert_int_equal(heard.sum, 5050);
    assert_false(heard.is_out_of_order);
    assert_string_equal(heard.last.name, "tokens");
    assert_int_equal(heard.last.kind, WT_MARK_WORK);
    assert_int_equal(heard.last.pid, getpid());
    assert_int_equal(drain(keeper, &lost).count, 0);

    wt_door_value(door, "a name that is much too long for a mark", 2.5);
    heard = drain(keeper, &lost);
    double value;
    memcpy(&value, &heard.last.count, sizeof(value));
    assert_true(value > 2.49 && value < 2.51);
    assert_int_equal(strlen(heard.last.name), 31);
    assert_int_equal(lost, 0);
    wt_door_close(door);
}

static void what_is_no_count_is_refused_and_counted(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *door;
    uint64_t lost = 0;
    assert_int_equal(wt_door_open(&door, NULL), 0);
    wt_door_mark(door, WT_MARK_WORK, "tokens", (uint64_t)-100);
    wt_door_mark(door, WT_MARK_STEP, "step", UINT64_MAX);
    wt_door_mark(door, WT_MARK_WORK, "tokens", (uint64_t)WT_MARK_COUNT_MAX + 1);
    wt_door_value(door, "loss", -1); /* its bits are no count */
    wt_door_mark(door, WT_MARK_WORK, "tokens", WT_MARK_COUNT_MAX);
    assert_int_equal(drain(keeper, &lost).count, 2);
    assert_int_equal(wt_doorkeeper_refused(keeper), 3);
    assert_int_equal(lost, 0);
    wt_door_close(door);
}

static void without_a_keeper_marks_go_nowhere(void **state)
{
    (void)state;
    struct wt_door *door;
    char *dir = strdup(getenv("WATTUNE_DOOR"));
    static const char *const nowhere[] = {NULL, "", "/tmp/there/is/no/keeper/here"};
    for (size_t i = 0; i < WT_COUNTOF(nowhere); i++) {
        if (nowhere[i])
            setenv("WATTUNE_DOOR", nowhere[i], 1);
        else
            unsetenv("WATTUNE_DOOR");
        assert_int_equal(wt_door_open(&door, NULL), 0);
        wt_door_mark(door, WT_MARK_STEP, "step", 1);
        wt_door_close(door);
    }
    setenv("WATTUNE_DOOR", dir, 1);
    free(dir);
}

static void a_reader_that_falls_behind_counts_what_it_lost(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *door;
    uint64_t lost = 0;
    assert_int_equal(wt_door_open(&door, NULL), 0);
    for (uint64_t i = 0; i < 10000; i++)
        wt_door_mark(door, WT_MARK_STEP, "step", 1);
    struct heard heard = drain(keeper, &lost);
    assert_int_equal(heard.count, 4096);
    assert_int_equal(lost, 10000 - 4096);
    wt_door_mark(door, WT_MARK_STEP, "step", 1);
    assert_int_equal(drain(keeper, &lost).count, 1);
    assert_int_equal(lost, 10000 - 4096);
    wt_door_close(door);
}

static void marks_outlive_the_program(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    uint64_t lost = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct wt_door *door;
        if (wt_door_open(&door, NULL) == 0)
            wt_door_mark(door, WT_MARK_STEP, "step", 7);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct heard heard = drain(keeper, &lost);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.last.pid, pid);
    assert_int_equal(heard.last.count, 7);
    assert_int_equal(heard.gone_count, 1);
    assert_int_equal(heard.gone.pid, pid);
    assert_true(heard.gone.t_ns > heard.last.t_ns);
    assert_int_equal(drain(keeper, &lost).gone_count, 0);
}

/* Two libraries in one program each open a door. */
static void a_program_is_gone_with_the_last_of_its_doors(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *doors[2], *silent;
    uint64_t lost = 0;
    assert_int_equal(wt_door_open(&doors[0], NULL), 0);
    assert_int_equal(wt_door_open(&doors[1], NULL), 0);
    wt_door_mark(doors[0], WT_MARK_STEP, "step", 1);
    wt_door_mark(doors[1], WT_MARK_STEP, "step", 1);
    wt_door_close(doors[0]);
    assert_int_equal(drain(keeper, &lost).gone_count, 0);
    wt_door_close(doors[1]);
    assert_int_equal(drain(keeper, &lost).gone_count, 1);
    assert_int_equal(wt_door_open(&silent, NULL), 0);
    wt_door_mark(silent, WT_MARK_STEP, "step", 1); /* and it is back */
    assert_int_equal(drain(keeper, &lost).count, 1);
    wt_door_close(silent);
    assert_int_equal(drain(keeper, &lost).gone_count, 1);
}

/* What a script does that ends with `exec python train.py`: the same pid, counting from nought. */
static const char *self; /* this program; /proc/self/exe is another one under valgrind */

static int mark_and_become(const char *next)
{
    struct wt_door *door;
    if (wt_door_open(&door, NULL) < 0)
        return 1;
    wt_door_mark(door, WT_MARK_WORK, "tokens", 1);
    if (next)
        execl(self, self, next, (char *)NULL);
    wt_door_close(door);
    return 0;
}

static void a_program_that_became_another_is_still_heard(void **state)
{
    uint64_t lost = 0;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(mark_and_become("again"));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct heard heard = drain(*state, &lost);
    assert_int_equal(heard.count, 3);
    assert_int_equal(heard.sum, 3);
    assert_int_equal(lost, 0);
}

#define WRITES 200000

static void *write_marks(void *data)
{
    for (uint64_t i = 0; i < WRITES; i++)
        wt_door_mark(data, WT_MARK_STEP, "0123456789012345678901234567890", i);
    return NULL;
}

static void hear_whole(void *data, const struct wt_mark *mark)
{
    struct heard *heard = data;
    /* A torn mark would mix two counts, or a name. */
    assert_string_equal(mark->name, "0123456789012345678901234567890");
    assert_true(heard->count == 0 || mark->count > heard->last.count);
    heard->count++;
    heard->last = *mark;
}

static void a_mark_is_heard_whole_or_counted_as_lost(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *door;
    struct heard heard = {0};
    uint64_t lost = 0;
    pthread_t writer;
    assert_int_equal(wt_door_open(&door, NULL), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_marks, door), 0);
    while (heard.count + lost < WRITES / 2)
        assert_true(wt_doorkeeper_drain(keeper, hear_whole, &heard, &lost, NULL) >= 0);
    pthread_join(writer, NULL);
    assert_true(wt_doorkeeper_drain(keeper, hear_whole, &heard, &lost, NULL) >= 0);
    assert_int_equal(heard.count + lost, WRITES);
    wt_door_close(door);
}

static void a_file_that_is_no_door_is_counted_and_left_alone(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    static const struct {
        off_t offset, size;
        uint64_t value;
        const char *why;
    } rows[] = {
        {0, -1, 0x1234, "another magic"},
        {8, -1, 99, "another version"},
        {16, -1, UINT64_C(0x1000000000), "no marks in the ring"},
        {24, -1, UINT64_MAX, "an absurd number of marks written"},
        {24, -1, UINT64_MAX / 2, "marks written that were not"},
        {0, 0, 0, "an empty file"},
        {0, 100, 0, "a truncated file"},
        {0, 1 << 24, 0, "a file that is too large"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_door *door;
        char path[512];
        assert_int_equal(wt_door_open(&door, NULL), 0);
        wt_door_mark(door, WT_MARK_STEP, "step", 1);
        ring_path(keeper, path, sizeof(path));
        int fd = open(path, O_RDWR);
        if (rows[i].size >= 0)
            assert_int_equal(ftruncate(fd, rows[i].size), 0);
        else
            assert_int_equal(pwrite(fd, &rows[i].value, 8, rows[i].offset), 8);
        close(fd);
        uint64_t lost = 0;
        struct heard heard = drain(keeper, &lost);
        if (heard.count > 0 || lost == 0)
            fail_msg("%s: %u heard, %llu lost", rows[i].why, heard.count, (unsigned long long)lost);
        if (rows[i].value != UINT64_MAX / 2) {
            uint64_t again = 0;
            drain(keeper, &again);
            assert_int_equal(again, 0);
        }
        unlink(path);
        wt_door_close(door);
    }
}

static void a_ring_that_is_cut_while_it_is_read_is_given_up(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    struct wt_door *door;
    char path[512];
    uint64_t lost = 0;
    assert_int_equal(wt_door_open(&door, NULL), 0);
    wt_door_mark(door, WT_MARK_STEP, "step", 1);
    assert_int_equal(drain(keeper, &lost).count, 1);
    ring_path(keeper, path, sizeof(path));
    wt_door_close(door); /* or the writer would die of it */
    assert_int_equal(truncate(path, 64), 0);
    assert_int_equal(drain(keeper, &lost).count, 0);
    assert_int_equal(lost, 1);
}

static void strange_entries_are_no_doors(void **state)
{
    struct wt_doorkeeper *keeper = *state;
    char path[600];
    uint64_t lost = 0;
    wt_text(path, sizeof(path), "%s/1-0.door", wt_doorkeeper_path(keeper));
    assert_int_equal(symlink("/dev/zero", path), 0);
    wt_text(path, sizeof(path), "%s/2-0.door", wt_doorkeeper_path(keeper));
    assert_int_equal(mkfifo(path, 0600), 0);
    wt_text(path, sizeof(path), "%s/3-0.door", wt_doorkeeper_path(keeper));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(drain(keeper, &lost).count, 0);
    assert_int_equal(lost, 3);
}

static void the_keeper_s_directory_is_private_and_goes_with_it(void **state)
{
    (void)state;
    struct wt_doorkeeper *keeper;
    struct stat st;
    char path[512];
    assert_int_equal(wt_doorkeeper_new(&keeper, "/tmp", NULL), 0);
    wt_text(path, sizeof(path), "%s", wt_doorkeeper_path(keeper));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    wt_doorkeeper_free(keeper);
    assert_int_equal(stat(path, &st), -1);
}

static void directories_of_the_killed_go_with_the_next_keeper(void **state)
{
    struct wt_doorkeeper *keeper = *state, *living, *next;
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char dead[600], young[600], other[600];
    const char *dir = wt_doorkeeper_path(keeper);
    wt_text(dead, sizeof(dead), "%s/wattune-door-killed/sub", dir);
    wt_text(young, sizeof(young), "%s/wattune-door-young0", dir);
    wt_text(other, sizeof(other), "%s/another", dir);
    assert_int_equal(wt_fs_mkdirs(dead, 0700, NULL), 0);
    assert_int_equal(mkdir(young, 0700), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(wt_doorkeeper_new(&living, dir, NULL), 0);
    *strrchr(dead, '/') = '\0';
    assert_int_equal(utimensat(AT_FDCWD, dead, old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, other, old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, wt_doorkeeper_path(living), old, 0), 0);
    assert_int_equal(wt_doorkeeper_new(&next, dir, NULL), 0);
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(access(wt_doorkeeper_path(living), F_OK), 0);
    wt_doorkeeper_free(living);
    wt_doorkeeper_free(next);
}

/* A path that does not fit leaves nothing behind, and what was found is not taken away. */
static void a_shared_directory_is_refused_before_it_is_made(void **state)
{
    struct wt_doorkeeper *keeper = *state, *shared = NULL;
    struct wt_error err = {0};
    char path[1024], name[251];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    wt_text(path, sizeof(path), "%s/%s/%s", wt_doorkeeper_path(keeper), name, name);
    assert_int_equal(wt_fs_mkdirs(path, 0700, NULL), 0);
    strcat(path, "/door");
    assert_int_equal(wt_doorkeeper_share(&shared, path, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "too long"));
    assert_int_equal(access(path, F_OK), -1);

    wt_text(path, sizeof(path), "%s/no/such", wt_doorkeeper_path(keeper));
    assert_int_equal(wt_doorkeeper_share(&shared, path, &err), WT_E_NOTFOUND);
    wt_text(path, sizeof(path), "%s/open", wt_doorkeeper_path(keeper));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(wt_doorkeeper_share(&shared, path, &err), WT_E_DENIED);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(wt_doorkeeper_share(&shared, path, &err), 0);
    assert_string_equal(wt_doorkeeper_path(shared), path);
    wt_doorkeeper_free(shared);
    assert_int_equal(access(path, F_OK), -1);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 2 && strcmp(argv[1], "again") == 0)
        return mark_and_become("last");
    if (argc == 2 && strcmp(argv[1], "last") == 0)
        return mark_and_become(NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(marks_arrive_in_order_and_once),
        TEST(what_is_no_count_is_refused_and_counted),
        TEST(without_a_keeper_marks_go_nowhere),
        TEST(a_reader_that_falls_behind_counts_what_it_lost),
        TEST(marks_outlive_the_program),
        TEST(a_program_is_gone_with_the_last_of_its_doors),
        TEST(a_program_that_became_another_is_still_heard),
        TEST(a_mark_is_heard_whole_or_counted_as_lost),
        TEST(a_file_that_is_no_door_is_counted_and_left_alone),
        TEST(a_ring_that_is_cut_while_it_is_read_is_given_up),
        TEST(strange_entries_are_no_doors),
        TEST(a_shared_directory_is_refused_before_it_is_made),
        TEST(the_keeper_s_directory_is_private_and_goes_with_it),
        TEST(directories_of_the_killed_go_with_the_next_keeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
