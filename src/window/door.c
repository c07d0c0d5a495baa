/* door: the rings through which measured programs report, both sides.
 *
 * A program's door is one file in the keeper's directory, mapped by both: a head and RING_MARKS
 * slots. The writer stores a mark and then its sequence number into the slot; it never waits and
 * never asks whether anybody reads. The reader takes a slot whose sequence is the one it expects,
 * copies it, and looks at the sequence again: when the writer has lapped it in between, the copy is
 * thrown away and counted as lost. Every word in the ring is atomic, so that the race is defined.
 *
 * The writer is whatever the user runs, so the reader believes nothing: it checks what kind of file
 * it is and how large before and after mapping, uses no size or index of the writer's without
 * bounds, and a file that does not fit is counted and never looked at again. A file that shrinks
 * under a mapping would kill the reader: the seal of a memfd would prevent that, but does not
 * survive a name in a directory; instead the reader never maps and reads by pread, which can only
 * come up short. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/door.h"

#define MAGIC      UINT64_C(0x31726f6f64747477) /* "wttdoor1" as bytes, little endian */
#define VERSION    1u
#define RING_MARKS 4096u /* a power of two */
#define NAME_WORDS 4
#define KEEPER     "wattune-door-"
#define DOORS_MOST 512 /* programs and threads one keeper listens to: each is a descriptor */

struct ring_slot {
    _Atomic uint64_t sequence; /* number of the mark in it, from 1; 0: none, or being written */
    _Atomic int64_t t_ns;
    _Atomic uint64_t kind, count;
    _Atomic uint64_t name[NAME_WORDS];
};

struct ring_head {
    uint64_t magic;
    uint32_t version, pid;
    uint32_t marks, slot_size;
    _Atomic uint64_t written; /* marks so far */
    uint64_t is_held;         /* the program holds a lock on this file while it lives */
    uint64_t rank;            /* see wt_mark */
    uint64_t reserved[2];
};

struct ring {
    struct ring_head head;
    struct ring_slot slots[RING_MARKS];
};

/* ---- the program's side ---- */

/* torchrun, Open MPI, Intel MPI and MPICH, Slurm. */
static uint32_t local_rank(void)
{
    static const char *const names[] = {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "MPI_LOCALRANKID", "SLURM_LOCALID"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        const char *text = getenv(names[i]);
        char *end;
        unsigned long rank = text && *text ? strtoul(text, &end, 10) : UINT32_MAX;
        if (rank < UINT32_MAX && !*end)
            return (uint32_t)rank + 1;
    }
    return 0;
}

struct wt_door {
    struct ring *ring; /* NULL: nobody listens */
    uint64_t written;
    int fd; /* holds the lock, which the kernel takes back when the program ends, however it ends */
};

int wt_door_open(struct wt_door **ret_door, struct wt_error *err)
{
    static atomic_uint serial; /* names only: nothing depends on what it was before */
    struct wt_door *door = calloc(1, sizeof(*door));
    if (!door)
        return wt_fail(err, WT_E_NOMEM, "no memory for a door");
    int rc = 0, fd = -1;
    char path[600], temporary[600];
    const char *dir = getenv("WATTUNE_DOOR");
    door->fd = -1;
    if (!dir || !*dir)
        goto out;

    /* Another copy of this library in the process, or the program that this process was before an
     * exec, may have taken a number: names are given once, here and below. */
    unsigned number;
    do {
        number = atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed);
        wt_text(temporary, sizeof(temporary), "%s/%d-%u.new", dir, (int)getpid(), number);
        fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0 && errno == ENOENT) /* the keeper is gone: as if there were none */
        goto out;
    if (fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", temporary);
        goto out;
    }
    /* Taken now, so that a full disk is an error here and not a signal in the first mark. */
    int failed = posix_fallocate(fd, 0, sizeof(struct ring));
    if (failed) {
        rc = wt_fail_errno(err, failed, "%s", temporary);
        goto out;
    }
    void *map = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rc = wt_fail_errno(err, errno, "%s: cannot be mapped", temporary);
        goto out;
    }
    door->ring = map;
    door->ring->head.magic = MAGIC;
    door->ring->head.version = VERSION;
    door->ring->head.pid = (uint32_t)getpid();
    door->ring->head.marks = RING_MARKS;
    door->ring->head.slot_size = sizeof(struct ring_slot);
    door->ring->head.rank = local_rank();
    door->ring->head.is_held = flock(fd, LOCK_SH | LOCK_NB) == 0;
    for (;;) {
        wt_text(path, sizeof(path), "%s/%d-%u.door", dir, (int)getpid(), number);
        if (link(temporary, path) == 0)
            break;
        if (errno != EEXIST) {
            rc = wt_fail_errno(err, errno, "%s", path);
            break;
        }
        number = atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed);
    }
out:
    if (fd >= 0)
        unlink(temporary);
    door->fd = fd;
    if (rc < 0) {
        wt_door_close(door);
        return rc;
    }
    *ret_door = door;
    return 0;
}

void wt_door_close(struct wt_door *door)
{
    if (!door)
        return;
    /* The file stays: the keeper may not have read the last marks. */
    if (door->ring)
        munmap(door->ring, sizeof(*door->ring));
    if (door->fd >= 0)
        close(door->fd);
    free(door);
}

void wt_door_mark(struct wt_door *door, enum wt_mark_kind kind, const char *name, uint64_t count)
{
    if (!door || !door->ring)
        return;
    uint64_t number = ++door->written, words[NAME_WORDS] = {0};
    memcpy(words, name, strnlen(name, sizeof(words) - 1));
    struct ring_slot *slot = &door->ring->slots[(number - 1) % RING_MARKS];

    /* Not valid while it changes. The stores below are releases, so that whoever sees one of them
     * sees this one too. */
    atomic_store_explicit(&slot->sequence, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->t_ns, wt_clock_now_ns(), memory_order_release);
    atomic_store_explicit(&slot->kind, (uint64_t)kind, memory_order_release);
    atomic_store_explicit(&slot->count, count, memory_order_release);
    for (int i = 0; i < NAME_WORDS; i++)
        atomic_store_explicit(&slot->name[i], words[i], memory_order_release);
    atomic_store_explicit(&slot->sequence, number, memory_order_release);
    atomic_store_explicit(&door->ring->head.written, number, memory_order_release);
}

void wt_door_value(struct wt_door *door, const char *name, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    wt_door_mark(door, WT_MARK_VALUE, name, bits);
}

/* ---- the measuring side ---- */

struct listener {
    char name[64];
    int fd;
    uint32_t pid, rank;
    uint64_t next;   /* number of the mark to come */
    int64_t last_ns; /* of its latest mark; 0: none yet */
    bool is_held;    /* its program holds the lock */
    bool is_left;    /* and held it: all it will ever say has been heard */
    bool is_told;    /* ... and so that its program is gone */
    bool is_bad;     /* not a door, or no longer: not looked at again */
    bool is_counted; /* that it is bad, among what was lost */
};

struct wt_doorkeeper {
    char path[512];
    int dir_fd;
    struct listener *listeners; /* owned */
    size_t count;
    uint64_t refused; /* marks whose work or steps were no count */
};

/* Takes over the directory at k->path. A shared one may have been made by anybody. */
static int adopt(struct wt_doorkeeper *k, bool is_shared, struct wt_error *err)
{
    struct stat st;
    k->dir_fd = open(k->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (k->dir_fd < 0 || fstat(k->dir_fd, &st) < 0)
        return wt_fail_errno(err, errno, "%s", k->path);
    if (is_shared && (st.st_uid != geteuid() || (st.st_mode & 077)))
        return wt_fail(err, WT_E_DENIED, "%s: is not this user's alone", k->path);
    return 0;
}

/* Of the directory at dir, or one to be made below it. */
static int keeper_new(struct wt_doorkeeper **ret_keeper, const char *dir, const char *below,
                      struct wt_error *err)
{
    struct wt_doorkeeper *k = calloc(1, sizeof(*k));
    if (!k)
        return wt_fail(err, WT_E_NOMEM, "no memory for a doorkeeper");
    k->dir_fd = -1;
    if (snprintf(k->path, sizeof(k->path), "%s%s", dir, below) >= (int)sizeof(k->path)) {
        free(k);
        return wt_fail(err, WT_E_USAGE, "%.100s...: the path is too long", dir);
    }
    *ret_keeper = k;
    return 0;
}

/* Directories of keepers that were killed: one that lives holds its lock. Those of the last minute
 * are left, as it may not have it yet. */
static void remove_dead(const char *dir)
{
    DIR *all = opendir(dir);
    struct dirent *entry;
    int64_t young_s = wt_clock_unix_ns() / WT_NS_PER_S - 60;
    while (all && (entry = readdir(all))) {
        struct stat st;
        char path[1024];
        if (strncmp(entry->d_name, KEEPER, strlen(KEEPER)) != 0)
            continue;
        int fd = openat(dirfd(all), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && st.st_mtime < young_s &&
            flock(fd, LOCK_EX | LOCK_NB) == 0)
            wt_fs_remove_tree(wt_text(path, sizeof(path), "%s/%s", dir, entry->d_name), NULL);
        if (fd >= 0)
            close(fd);
    }
    if (all)
        closedir(all);
}

int wt_doorkeeper_new(struct wt_doorkeeper **ret_keeper, const char *dir, struct wt_error *err)
{
    struct wt_doorkeeper *k;
    if (!dir)
        dir = getenv("XDG_RUNTIME_DIR");
    if (!dir || access(dir, W_OK) < 0)
        dir = "/tmp";
    int rc = keeper_new(&k, dir, "/" KEEPER "XXXXXX", err);
    if (rc < 0)
        return rc;
    remove_dead(dir);
    if (!mkdtemp(k->path)) { /* 0700 */
        rc = wt_fail_errno(err, errno, "%s", k->path);
        k->path[0] = '\0';
        goto out;
    }
    rc = adopt(k, false, err);
    if (rc < 0)
        goto out;
    flock(k->dir_fd, LOCK_EX | LOCK_NB); /* where there are no locks, nobody removes it */
    *ret_keeper = k;
    k = NULL;
out:
    wt_doorkeeper_free(k);
    return rc;
}

int wt_doorkeeper_share(struct wt_doorkeeper **ret_keeper, const char *path, struct wt_error *err)
{
    struct wt_doorkeeper *k;
    int rc = keeper_new(&k, path, "", err);
    if (rc < 0)
        return rc;
    bool is_made = mkdir(path, 0700) == 0;
    if (!is_made && errno != EEXIST)
        rc = wt_fail_errno(err, errno, "%s", path);
    else
        rc = adopt(k, true, err);
    if (rc < 0) {
        if (!is_made)
            k->path[0] = '\0'; /* is not removed */
        goto out;
    }
    *ret_keeper = k;
    k = NULL;
out:
    wt_doorkeeper_free(k);
    return rc;
}

void wt_doorkeeper_free(struct wt_doorkeeper *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->count; i++)
        if (k->listeners[i].fd >= 0)
            close(k->listeners[i].fd);
    free(k->listeners);
    if (k->dir_fd >= 0)
        close(k->dir_fd);
    if (k->path[0])
        wt_fs_remove_tree(k->path, NULL);
    free(k);
}

const char *wt_doorkeeper_path(const struct wt_doorkeeper *keeper)
{
    return keeper->path;
}

static void give_up(struct listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    l->is_bad = true;
}

/* The head of a ring that has nothing wrong with it. */
static bool read_head(int fd, struct ring_head *ret_head)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)sizeof(struct ring) &&
           pread(fd, ret_head, sizeof(*ret_head), 0) == (ssize_t)sizeof(*ret_head) &&
           ret_head->magic == MAGIC && ret_head->version == VERSION &&
           ret_head->marks == RING_MARKS && ret_head->slot_size == sizeof(struct ring_slot);
}

static void greet(struct wt_doorkeeper *k, const char *name)
{
    struct listener *more = realloc(k->listeners, (k->count + 1) * sizeof(*more));
    if (!more)
        return; /* it is met again at the next drain */
    k->listeners = more;
    struct listener *l = &more[k->count++];
    struct ring_head head;
    *l = (struct listener){.next = 1};
    wt_text(l->name, sizeof(l->name), "%s", name);
    l->fd = openat(k->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (l->fd >= 0 && read_head(l->fd, &head)) {
        l->pid = head.pid;
        l->is_held = head.is_held == 1;
        l->rank = head.rank < UINT32_MAX ? (uint32_t)head.rank : 0;
    } else
        give_up(l);
}

/* Files that have come since the last time. Rings appear under their name when they are whole. */
static int meet(struct wt_doorkeeper *k, struct wt_error *err)
{
    DIR *dir = opendir(k->path);
    if (!dir)
        return wt_fail_errno(err, errno, "%s", k->path);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t n = strlen(e->d_name), i = 0;
        if (n < 6 || n >= sizeof(k->listeners->name) || strcmp(e->d_name + n - 5, ".door") != 0)
            continue;
        while (i < k->count && strcmp(k->listeners[i].name, e->d_name) != 0)
            i++;
        if (i == k->count && k->count < DOORS_MOST)
            greet(k, e->d_name);
    }
    closedir(dir);
    return 0;
}

#define BATCH 64

/* Copies marks from, from+1, ... as far as they are whole, at most BATCH. The second read of the
 * slots says which of the first were overwritten meanwhile: a writer clears a slot's number before
 * it touches the rest. Returns how many lie in out[], each with its number or 0 when it is lost;
 * or -1 when the file has become too short. */
static int copy_marks(const struct listener *l, uint64_t from, uint64_t to, struct ring_slot *out)
{
    struct ring_slot again[BATCH];
    uint64_t first = (from - 1) % RING_MARKS;
    size_t count = BATCH;
    if (count > to - from + 1)
        count = (size_t)(to - from + 1);
    if (count > RING_MARKS - first)
        count = (size_t)(RING_MARKS - first);
    off_t at = (off_t)(offsetof(struct ring, slots) + first * sizeof(struct ring_slot));
    ssize_t size = (ssize_t)(count * sizeof(struct ring_slot));
    if (pread(l->fd, out, (size_t)size, at) != size ||
        pread(l->fd, again, (size_t)size, at) != size)
        return -1;
    for (size_t i = 0; i < count; i++) {
        uint64_t number = atomic_load_explicit(&out[i].sequence, memory_order_relaxed);
        if (number != from + i ||
            atomic_load_explicit(&again[i].sequence, memory_order_relaxed) != number)
            atomic_store_explicit(&out[i].sequence, 0, memory_order_relaxed);
    }
    return (int)count;
}

/* False: it says what no door says. */
static bool mark_from(const struct listener *l, const struct ring_slot *slot, struct wt_mark *mark)
{
    uint64_t words[NAME_WORDS];
    uint64_t kind = atomic_load_explicit(&slot->kind, memory_order_relaxed);
    if (kind < WT_MARK_WORK || kind > WT_MARK_VALUE)
        return false;
    for (int i = 0; i < NAME_WORDS; i++)
        words[i] = atomic_load_explicit(&slot->name[i], memory_order_relaxed);
    *mark = (struct wt_mark){
        .t_ns = atomic_load_explicit(&slot->t_ns, memory_order_relaxed),
        .pid = l->pid,
        .rank = l->rank,
        .kind = (enum wt_mark_kind)kind,
        .count = atomic_load_explicit(&slot->count, memory_order_relaxed),
    };
    memcpy(mark->name, words, sizeof(mark->name));
    mark->name[sizeof(mark->name) - 1] = '\0';
    return true;
}

/* One ring. Adds to *lost; returns how many marks were handed over. */
static int listen_to(struct listener *l, void (*fn)(void *data, const struct wt_mark *mark),
                     void *data, uint64_t *lost, uint64_t *refused)
{
    struct ring_head head;
    struct ring_slot slots[BATCH];
    int heard = 0;
    if (!read_head(l->fd, &head)) {
        give_up(l);
        return 0;
    }
    uint64_t written = atomic_load_explicit(&head.written, memory_order_relaxed);
    /* No program marks once a nanosecond for years, and none takes marks back. */
    if (written > UINT64_MAX / 2 || written + 1 < l->next) {
        give_up(l);
        return 0;
    }
    if (written - (l->next - 1) > RING_MARKS) {
        uint64_t oldest = written - RING_MARKS + 1;
        *lost += oldest - l->next;
        l->next = oldest;
    }
    while (l->next <= written) {
        int count = copy_marks(l, l->next, written, slots);
        if (count <= 0) {
            give_up(l);
            return heard;
        }
        for (int i = 0; i < count; i++) {
            struct wt_mark mark;
            if (atomic_load_explicit(&slots[i].sequence, memory_order_relaxed) == 0 ||
                !mark_from(l, &slots[i], &mark)) {
                (*lost)++;
                continue;
            }
            /* A number below 0, as the C door sees it: adding it would take away. */
            if ((mark.kind == WT_MARK_WORK || mark.kind == WT_MARK_STEP) &&
                mark.count > WT_MARK_COUNT_MAX) {
                (*refused)++;
                continue;
            }
            if (mark.t_ns > l->last_ns)
                l->last_ns = mark.t_ns;
            fn(data, &mark);
            heard++;
        }
        l->next += (uint64_t)count;
    }
    return heard;
}

/* Programs all of whose doors were left since the last time. Their time is that of their last mark:
 * whoever begins after it comes after them. */
static void tell_gone(struct wt_doorkeeper *k, void (*fn)(void *data, const struct wt_mark *mark),
                      void *data)
{
    for (size_t i = 0; i < k->count; i++) {
        struct wt_mark gone = {.pid = k->listeners[i].pid, .kind = WT_MARK_GONE};
        bool is_gone = k->listeners[i].is_left && !k->listeners[i].is_told;
        for (size_t j = 0; is_gone && j < k->count; j++) {
            const struct listener *l = &k->listeners[j];
            if (l->pid != gone.pid || l->is_bad)
                continue;
            is_gone = l->is_left;
            gone.t_ns = l->last_ns > gone.t_ns ? l->last_ns : gone.t_ns;
        }
        if (!is_gone)
            continue;
        for (size_t j = 0; j < k->count; j++)
            k->listeners[j].is_told |= k->listeners[j].pid == gone.pid;
        if (gone.t_ns++) /* it marked something */
            fn(data, &gone);
    }
}

int wt_doorkeeper_drain(struct wt_doorkeeper *k, void (*fn)(void *data, const struct wt_mark *mark),
                        void *data, uint64_t *ret_lost, struct wt_error *err)
{
    int rc = meet(k, err);
    if (rc < 0)
        return rc;
    uint64_t lost = 0;
    int heard = 0;
    for (size_t i = 0; i < k->count; i++) {
        struct listener *l = &k->listeners[i];
        if (!l->is_bad) {
            /* Looked at before the marks: then none comes after them. */
            bool is_left = l->is_held && flock(l->fd, LOCK_EX | LOCK_NB) == 0;
            heard += listen_to(l, fn, data, &lost, &k->refused);
            l->is_left |= is_left;
        }
        if (l->is_bad && !l->is_counted) {
            l->is_counted = true;
            lost++;
        }
    }
    tell_gone(k, fn, data);
    if (ret_lost)
        *ret_lost += lost;
    return heard;
}

uint64_t wt_mark_sum(uint64_t a, uint64_t b)
{
    const uint64_t most = WT_MARK_COUNT_MAX;
    return a < most && b < most - a ? a + b : most;
}

uint64_t wt_doorkeeper_refused(const struct wt_doorkeeper *keeper)
{
    return keeper->refused;
}
