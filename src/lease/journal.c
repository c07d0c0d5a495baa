/* journal: see journal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "lease/journal.h"
#include "lease/slot.h"

#define MAGIC            "WTLEASE" /* with its NUL 8 bytes: the header */
#define LOCK_PATIENCE_NS (10 * WT_NS_PER_S)
#define MAX_BYTES        (64 << 20)
/* Below this many slots a journal is not worth making shorter. */
#define COMPACT_SLOTS 256u
/* Nor, where records come by the hundred a second, below this many: four syncs at a time. */
#define COMPACT_SLOTS_FLUSHED 8192u
/* An entry needs no more slots than this until it is closed; kept free on disk in advance, so that
 * a disk that fills up meanwhile does not stand in the way of a restore. */
#define RESERVED_SLOTS 8u
/* A journal that is flushed has as many empty slots written at its end, and is given so many more
 * when only a few are left: a record then changes no size, and its sync is a write to the disk and
 * no more, where it would else wait for whatever others have in the file system's own journal. */
#define SPARE_SLOTS 128u
#define SPARE_LEAST 16u

struct wt_journal {
    const struct wt_ctx *ctx;
    const struct wt_journal_trace *trace;
    char dir[4096];
    int dir_fd, lock_fd;
    int fd;       /* the journal; stays open between locks, so that only what is new is read */
    uint64_t end; /* of the whole slots */
    bool is_tail_torn;
    bool is_name_unsynced; /* a power cut may bring back the journal that this one replaced */
    struct wt_lease_record *entries;
    size_t count, room, open_count;
    uint32_t *index; /* entries by hash: 1 + their place; 0: free */
    size_t index_room;
    uint64_t header_opened, header_closed; /* as of the last compaction */
    struct wt_journal_totals totals;
    size_t slots, complained;
};

/* ---- writing ---- */

static void trace(const struct wt_journal *j, enum wt_journal_op op, uint64_t offset,
                  const void *bytes, size_t size)
{
    if (j->trace)
        j->trace->op(j->trace->data, op, offset, bytes, size);
}

static int write_all(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const uint8_t *p = bytes;
    while (size) {
        ssize_t n = pwrite(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static int fail_write(const struct wt_journal *j, int errnum, struct wt_error *err)
{
    int rc = wt_fail_errno(err, errnum, "%s/%s", j->dir, WT_JOURNAL_FILE);
    if (rc == WT_E_FULL)
        wt_fix(err, "free some space below %s; nothing was set", j->dir);
    return rc;
}

/* That what is written now is found after a power cut, and not what was there before. */
static int sync_name(struct wt_journal *j, struct wt_error *err)
{
    if (fsync(j->dir_fd) < 0)
        return fail_write(j, errno, err);
    trace(j, WT_JOURNAL_SYNC_DIR, 0, NULL, 0);
    j->is_name_unsynced = false;
    return 0;
}

/* Writes a new journal - the header and these entries - and puts it in the place of the old. Once
 * it has the name it is the journal, whether or not the name is on disk: the next durable record
 * waits for that. */
static int replace(struct wt_journal *j, const struct wt_lease_record *entries, size_t count,
                   struct wt_error *err)
{
    static const char fresh[] = WT_JOURNAL_FILE ".new";
    int rc = 0;
    int fd = openat(j->dir_fd, fresh, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_write(j, errno, err);
    trace(j, WT_JOURNAL_CREATE, 0, NULL, 0);

    size_t size = (1 + count) * WT_JOURNAL_SLOT;
    uint8_t *bytes = calloc(1 + count, WT_JOURNAL_SLOT);
    if (!bytes) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a journal");
        goto out;
    }
    memcpy(bytes, MAGIC, sizeof(MAGIC));
    wt_slot_put(bytes, 8, 1, 4); /* what is newer says so record by record */
    wt_slot_put(bytes, 12, WT_JOURNAL_SLOT, 4);
    wt_slot_put(bytes, 16, j->totals.next_sequence, 8);
    /* The entries that stay are counted when they are read again. */
    wt_slot_put(bytes, 24, j->totals.opened - count, 8);
    wt_slot_put(bytes, 32, j->totals.closed, 8);
    wt_slot_seal(bytes);
    for (size_t i = 0; i < count; i++)
        wt_slot_encode(bytes + (1 + i) * WT_JOURNAL_SLOT, &entries[i]);
    int code = write_all(fd, bytes, size, 0);
    trace(j, WT_JOURNAL_WRITE_NEW, 0, bytes, size);
    if (code < 0 || (code = fsync(fd) < 0 ? -errno : 0) < 0) {
        rc = fail_write(j, -code, err);
        goto out;
    }
    trace(j, WT_JOURNAL_SYNC_NEW, 0, NULL, 0);
    if (renameat(j->dir_fd, fresh, j->dir_fd, WT_JOURNAL_FILE) < 0) {
        rc = fail_write(j, errno, err);
        goto out;
    }
    trace(j, WT_JOURNAL_RENAME, 0, NULL, 0);
    if (j->fd >= 0)
        close(j->fd);
    j->is_name_unsynced = true;
    sync_name(j, NULL);
    j->fd = fd;
    fd = -1;
    j->end = size;
    j->slots = count;
    j->is_tail_torn = false;
    j->header_opened = j->totals.opened - count;
    j->header_closed = j->totals.closed;
out:
    free(bytes);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* A directory just made is there after a power cut only when its parents have been synced too. */
static void sync_parents(const char *dir)
{
    char part[4096];
    wt_text(part, sizeof(part), "%s", dir);
    for (char *slash; (slash = strrchr(part, '/'));) {
        *slash = '\0';
        int fd = open(*part ? part : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return; /* not ours to read, so it was there before */
        fsync(fd);
        close(fd);
    }
}

/* ---- reading ---- */

static uint64_t hash_of(const struct wt_lease_record *r)
{
    uint64_t h = (r->lease ^ (uint64_t)r->knob) * UINT64_C(0x9e3779b97f4a7c15);
    for (const char *p = r->device; *p; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static bool is_same_entry(const struct wt_lease_record *a, const struct wt_lease_record *b)
{
    return a->lease == b->lease && a->knob == b->knob && strcmp(a->device, b->device) == 0;
}

/* The place in the index of an entry, or the free one where it would go. */
static uint32_t *find_place(const struct wt_journal *j, const struct wt_lease_record *r)
{
    size_t at = hash_of(r) & (j->index_room - 1);
    while (j->index[at] && !is_same_entry(&j->entries[j->index[at] - 1], r))
        at = (at + 1) & (j->index_room - 1);
    return &j->index[at];
}

/* Room for one more entry, in the array and, at most half full, in the index. */
static int make_room(struct wt_journal *j, struct wt_error *err)
{
    if (j->count < j->room)
        return 0;
    size_t room = j->room ? j->room * 2 : 64;
    struct wt_lease_record *more = realloc(j->entries, room * sizeof(*more));
    if (more)
        j->entries = more;
    uint32_t *index = more ? calloc(2 * room, sizeof(*index)) : NULL;
    if (!index)
        return wt_fail(err, WT_E_NOMEM, "no memory for the journal's entries");
    free(j->index);
    j->index = index;
    j->index_room = 2 * room;
    j->room = room;
    for (size_t i = 0; i < j->count; i++)
        *find_place(j, &j->entries[i]) = (uint32_t)i + 1;
    return 0;
}

static int take_record(struct wt_journal *j, const struct wt_lease_record *r, struct wt_error *err)
{
    bool is_closing = !wt_lease_is_open(r);
    int rc = make_room(j, err);
    if (rc < 0)
        return rc;
    uint32_t *place = find_place(j, r);
    if (*place) {
        struct wt_lease_record *e = &j->entries[*place - 1];
        if (r->sequence <= e->sequence) {
            j->totals.doubled++;
            return 0;
        }
        if (wt_lease_is_open(e) && is_closing) {
            j->totals.closed++;
            j->open_count--;
        } else if (!wt_lease_is_open(e) && !is_closing) {
            j->totals.opened++; /* the same lease sets it once more after a restore */
            j->open_count++;
        }
        *e = *r;
        return 0;
    }
    j->entries[j->count++] = *r;
    *place = (uint32_t)j->count;
    j->totals.opened++;
    j->totals.closed += is_closing;
    j->open_count += !is_closing;
    return 0;
}

/* Of all entries, those that are kept. */
static void keep_entries(struct wt_journal *j, const struct wt_lease_record *kept, size_t count)
{
    j->count = j->open_count = count;
    if (j->index)
        memset(j->index, 0, j->index_room * sizeof(*j->index));
    for (size_t i = 0; i < count; i++) {
        j->entries[i] = kept[i];
        *find_place(j, &kept[i]) = (uint32_t)i + 1;
    }
}

static int fail_newer(const struct wt_journal *j, uint64_t version, struct wt_error *err)
{
    int rc = wt_fail(err, WT_E_FORMAT,
                     "%s/%s: written by a newer Wattune (format %llu, this one knows %u); left "
                     "untouched, nothing is set",
                     j->dir, WT_JOURNAL_FILE, (unsigned long long)version, WT_JOURNAL_VERSION);
    wt_fix(err, "use the newer Wattune; its `wattune restore` ends what is open");
    return rc;
}

/* Written in advance, and no record yet. */
static bool is_empty(const uint8_t *slot)
{
    static const uint8_t nothing[WT_JOURNAL_SLOT];
    return memcmp(slot, nothing, WT_JOURNAL_SLOT) == 0;
}

/* The slots of a piece of the file that begins at a slot. */
static int parse_slots(struct wt_journal *j, const uint8_t *bytes, size_t size,
                       struct wt_error *err)
{
    for (size_t at = 0; at + WT_JOURNAL_SLOT <= size; at += WT_JOURNAL_SLOT) {
        struct wt_lease_record r;
        switch (wt_slot_decode(bytes + at, &r)) {
        case WT_SLOT_NEWER:
            return fail_newer(j, wt_slot_get(bytes + at, 4, 2), err);
        case WT_SLOT_DAMAGED:
            j->totals.damaged++;
            break;
        case WT_SLOT_RECORD: {
            int rc = take_record(j, &r, err);
            if (rc < 0)
                return rc;
            if (r.sequence >= j->totals.next_sequence)
                j->totals.next_sequence = r.sequence + 1;
            break;
        }
        }
        j->slots++;
    }
    return 0;
}

static int parse(struct wt_journal *j, const uint8_t *bytes, size_t size, struct wt_error *err)
{
    bool has_header = size >= WT_JOURNAL_SLOT && memcmp(bytes, MAGIC, sizeof(MAGIC)) == 0;
    if (has_header && wt_slot_get(bytes, 8, 4) > WT_JOURNAL_VERSION)
        return fail_newer(j, wt_slot_get(bytes, 8, 4), err);
    bool is_header_whole = has_header && wt_slot_is_sealed(bytes);
    if (is_header_whole) {
        j->totals.next_sequence = wt_slot_get(bytes, 16, 8);
        j->header_opened = wt_slot_get(bytes, 24, 8);
        j->header_closed = wt_slot_get(bytes, 32, 8);
        j->totals.opened = j->header_opened;
        j->totals.closed = j->header_closed;
    }
    size_t end = size - size % WT_JOURNAL_SLOT;
    while (end > WT_JOURNAL_SLOT && is_empty(bytes + end - WT_JOURNAL_SLOT))
        end -= WT_JOURNAL_SLOT;
    int rc = end > WT_JOURNAL_SLOT
                 ? parse_slots(j, bytes + WT_JOURNAL_SLOT, end - WT_JOURNAL_SLOT, err)
                 : 0;
    if (rc < 0)
        return rc;
    if (!is_header_whole) {
        /* A journal comes into being whole. This one has been damaged, or is none. */
        if (j->count == 0 && size > 0) {
            rc = wt_fail(err, WT_E_FORMAT, "%s/%s: no journal of Wattune's; left untouched", j->dir,
                         WT_JOURNAL_FILE);
            wt_fix(err, "look at it, then move it away");
            return rc;
        }
        j->totals.damaged += size > 0;
    }
    j->end = end;
    j->is_tail_torn = size % WT_JOURNAL_SLOT != 0;
    return 0;
}

static void forget_all(struct wt_journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    keep_entries(j, NULL, 0);
    j->slots = 0;
    j->end = 0;
    j->is_tail_torn = false;
    j->header_opened = j->header_closed = 0;
    j->totals = (struct wt_journal_totals){.next_sequence = 1};
}

static int read_all(const struct wt_journal *j, uint8_t *bytes, size_t size, uint64_t offset,
                    struct wt_error *err)
{
    for (size_t used = 0; used < size;) {
        ssize_t n = pread(j->fd, bytes + used, size - used, (off_t)(offset + used));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return wt_fail_errno(err, n < 0 ? errno : EIO, "%s/%s", j->dir, WT_JOURNAL_FILE);
        used += (size_t)n;
    }
    return 0;
}

/* Whether what was read last time is still the beginning of the journal: the same file, which is
 * kept open and so cannot have given its number to another, and not shorter. Whole slots are only
 * ever added to; what makes it shorter is a new file. *ret_size is its size now. */
static bool is_as_read(const struct wt_journal *j, uint64_t *ret_size)
{
    struct stat ours, now;
    if (j->fd < 0 || j->end == 0 || fstat(j->fd, &ours) < 0 ||
        fstatat(j->dir_fd, WT_JOURNAL_FILE, &now, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    *ret_size = (uint64_t)now.st_size;
    return ours.st_ino == now.st_ino && ours.st_dev == now.st_dev && now.st_size <= MAX_BYTES &&
           (uint64_t)now.st_size >= j->end;
}

/* Empty slots are only ever behind all others, but for what a power cut left: then the journal is
 * read as a whole. So the first of them is the end. */
static int load_new(struct wt_journal *j, uint64_t size, struct wt_error *err)
{
    uint8_t bytes[16 * WT_JOURNAL_SLOT];
    uint64_t whole_end = size - (size - j->end) % WT_JOURNAL_SLOT;
    j->is_tail_torn = whole_end != size;
    while (j->end < whole_end) {
        uint64_t left = whole_end - j->end;
        size_t part = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
        int rc = read_all(j, bytes, part, j->end, err);
        size_t used = 0;
        while (rc == 0 && used < part && !is_empty(bytes + used))
            used += WT_JOURNAL_SLOT;
        if (rc == 0)
            rc = parse_slots(j, bytes, used, err);
        if (rc < 0)
            return rc;
        j->end += used;
        if (used < part)
            break;
    }
    return 0;
}

static int load_whole(struct wt_journal *j, struct wt_error *err)
{
    j->fd = openat(j->dir_fd, WT_JOURNAL_FILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (j->fd < 0 && errno == ENOENT)
        return 0;
    if (j->fd < 0)
        return wt_fail_errno(err, errno, "%s/%s", j->dir, WT_JOURNAL_FILE);
    struct stat st;
    if (fstat(j->fd, &st) < 0)
        return wt_fail_errno(err, errno, "%s/%s", j->dir, WT_JOURNAL_FILE);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size > MAX_BYTES)
        return wt_fail(err, WT_E_FORMAT,
                       "%s/%s: not a file of ours (another owner, no regular file, or over 64 MB)",
                       j->dir, WT_JOURNAL_FILE);
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return wt_fail(err, WT_E_NOMEM, "no memory to read the journal");
    int rc = read_all(j, bytes, size, 0, err);
    if (rc == 0)
        rc = parse(j, bytes, size, err);
    free(bytes);
    return rc;
}

static int load(struct wt_journal *j, struct wt_error *err)
{
    uint64_t size;
    int rc;
    if (is_as_read(j, &size)) {
        rc = load_new(j, size, err);
    } else {
        forget_all(j);
        rc = load_whole(j, err);
    }
    if (rc < 0) {
        forget_all(j);
        return rc;
    }
    if (j->totals.damaged > j->complained)
        wt_log(j->ctx, WT_LOG_WARN, "lease",
               "%s/%s: %zu damaged record%s passed over; the others are used", j->dir,
               WT_JOURNAL_FILE, j->totals.damaged, j->totals.damaged == 1 ? "" : "s");
    j->complained = j->totals.damaged;
    return 0;
}

/* ---- the interface ---- */

int wt_journal_open(struct wt_journal **ret_journal, const struct wt_ctx *ctx, const char *dir,
                    const struct wt_journal_trace *trace_to, struct wt_error *err)
{
    int rc = wt_fs_mkdirs(dir, 0700, err);
    if (rc < 0)
        return rc;
    struct wt_journal *j = calloc(1, sizeof(*j));
    if (!j)
        return wt_fail(err, WT_E_NOMEM, "no memory for a journal");
    j->ctx = ctx;
    j->trace = trace_to;
    j->dir_fd = j->lock_fd = j->fd = -1;
    if (!realpath(dir, j->dir)) {
        rc = wt_fail_errno(err, errno, "%s", dir);
        goto out;
    }
    j->dir_fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (j->dir_fd < 0) {
        rc = wt_fail_errno(err, errno, "%s", j->dir);
        goto out;
    }
    j->lock_fd =
        openat(j->dir_fd, WT_JOURNAL_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (j->lock_fd < 0) {
        rc = wt_fail_errno(err, errno, "%s/%s", j->dir, WT_JOURNAL_LOCK);
        goto out;
    }
    *ret_journal = j;
    j = NULL;
out:
    wt_journal_close(j);
    return rc;
}

void wt_journal_close(struct wt_journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    if (j->dir_fd >= 0)
        close(j->dir_fd);
    free(j->entries);
    free(j->index);
    free(j);
}

int wt_journal_parse(struct wt_journal **ret_journal, const void *bytes, size_t size,
                     struct wt_error *err)
{
    struct wt_journal *j = calloc(1, sizeof(*j));
    if (!j)
        return wt_fail(err, WT_E_NOMEM, "no memory for a journal");
    j->dir_fd = j->lock_fd = j->fd = -1;
    j->totals.next_sequence = 1;
    int rc = parse(j, bytes, size, err);
    if (rc < 0) {
        wt_journal_close(j);
        return rc;
    }
    *ret_journal = j;
    return 0;
}

bool wt_journal_has_daemon(const struct wt_journal *j)
{
    int fd = openat(j->dir_fd, WT_JOURNAL_DAEMON, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool is_held = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return is_held;
}

const char *wt_journal_dir(const struct wt_journal *j)
{
    return j->dir;
}

int wt_journal_lock(struct wt_journal *j, struct wt_error *err)
{
    /* The lock is held for some milliseconds at most, so trying again beats waiting for ever on a
     * holder that was stopped. */
    int64_t start_ns = wt_clock_now_ns(), pause_ns = WT_NS_PER_MS / 10;
    while (flock(j->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return wt_fail_errno(err, errno, "%s/%s", j->dir, WT_JOURNAL_LOCK);
        int64_t now_ns = wt_clock_now_ns();
        if (now_ns - start_ns > LOCK_PATIENCE_NS) {
            int rc = wt_fail(err, WT_E_TIMEOUT, "%s/%s: held by another Wattune for over 10 s",
                             j->dir, WT_JOURNAL_LOCK);
            wt_fix(err, "is one stopped? `fuser -v %s/%s` names it", j->dir, WT_JOURNAL_LOCK);
            return rc;
        }
        wt_clock_sleep_until_ns(now_ns + pause_ns);
        if (pause_ns < 5 * WT_NS_PER_MS)
            pause_ns *= 2;
    }
    int rc = load(j, err);
    if (rc < 0)
        wt_journal_unlock(j);
    return rc;
}

void wt_journal_unlock(struct wt_journal *j)
{
    flock(j->lock_fd, LOCK_UN);
}

const struct wt_lease_record *wt_journal_entries(const struct wt_journal *j, size_t *ret_count)
{
    *ret_count = j->count;
    return j->entries;
}

struct wt_journal_totals wt_journal_totals(const struct wt_journal *j)
{
    return j->totals;
}

/* Leaves the closed entries behind. What was damaged stays beside the journal for whoever wants to
 * know: evidence is not ours to throw away. */
static int compact(struct wt_journal *j, struct wt_error *err)
{
    if (j->totals.damaged) {
        unlinkat(j->dir_fd, WT_JOURNAL_FILE ".damaged", 0);
        if (linkat(j->dir_fd, WT_JOURNAL_FILE, j->dir_fd, WT_JOURNAL_FILE ".damaged", 0) < 0)
            wt_log(j->ctx, WT_LOG_WARN, "lease", "%s/%s: the damaged journal could not be kept",
                   j->dir, WT_JOURNAL_FILE);
    }
    struct wt_lease_record *kept = calloc(j->count ? j->count : 1, sizeof(*kept));
    if (!kept)
        return wt_fail(err, WT_E_NOMEM, "no memory for a journal");
    size_t count = 0;
    for (size_t i = 0; i < j->count; i++)
        if (wt_lease_is_open(&j->entries[i]))
            kept[count++] = j->entries[i];
    int rc = replace(j, kept, count, err);
    if (rc == 0) {
        keep_entries(j, kept, count);
        j->totals.damaged = j->totals.doubled = 0;
        j->complained = 0;
    }
    free(kept);
    return rc;
}

static bool is_worth_compacting(const struct wt_journal *j, size_t least_slots)
{
    return j->slots >= least_slots && j->open_count * 2 <= j->slots;
}

int wt_journal_append(struct wt_journal *j, struct wt_lease_record *record, bool is_durable,
                      struct wt_error *err)
{
    int rc = 0;
    if (j->fd < 0 || j->end == 0) {
        sync_parents(j->dir);
        rc = replace(j, NULL, 0, err);
    } else if (is_durable && is_worth_compacting(j, COMPACT_SLOTS) && (rc = compact(j, NULL)) < 0) {
        rc = 0; /* the long journal still serves */
    }
    if (rc == 0 && is_durable && j->is_name_unsynced)
        rc = sync_name(j, err);
    if (rc < 0)
        return rc;
    if (j->is_tail_torn) {
        if (ftruncate(j->fd, (off_t)j->end) < 0)
            return fail_write(j, errno, err);
        trace(j, WT_JOURNAL_TRUNCATE, j->end, NULL, 0);
        j->is_tail_torn = false;
    }

    struct wt_lease_record r = *record;
    r.sequence = j->totals.next_sequence;
    r.unix_ns = wt_clock_unix_ns();
    uint8_t slot[WT_JOURNAL_SLOT];
    wt_slot_encode(slot, &r);
    if (r.state == WT_LEASE_INTENDED &&
        fallocate(j->fd, FALLOC_FL_KEEP_SIZE, (off_t)j->end, RESERVED_SLOTS * WT_JOURNAL_SLOT) <
            0 &&
        errno == ENOSPC)
        return fail_write(j, errno, err);
    int code = write_all(j->fd, slot, sizeof(slot), j->end);
    trace(j, WT_JOURNAL_WRITE, j->end, slot, sizeof(slot));
    if (code == 0 && is_durable)
        code = fsync(j->fd) < 0 ? -errno : 0;
    if (code < 0) {
        if (ftruncate(j->fd, (off_t)j->end) < 0)
            j->is_tail_torn = true;
        return fail_write(j, -code, err);
    }
    if (is_durable)
        trace(j, WT_JOURNAL_SYNC, 0, NULL, 0);
    rc = take_record(j, &r, err);
    if (rc < 0)
        return rc;
    j->end += WT_JOURNAL_SLOT;
    j->slots++;
    j->totals.next_sequence = r.sequence + 1;
    *record = r;
    return 0;
}

/* Empty slots at the end, on disk. Without them it only takes longer. */
static void make_spare(struct wt_journal *j)
{
    static const uint8_t nothing[SPARE_SLOTS * WT_JOURNAL_SLOT];
    struct stat st;
    if (j->fd < 0 || j->end == 0 || j->is_tail_torn || fstat(j->fd, &st) < 0 ||
        (uint64_t)st.st_size >= j->end + SPARE_LEAST * WT_JOURNAL_SLOT)
        return;
    /* Only beyond the end of the file: what lies before it is as it should be. */
    uint64_t begin = (uint64_t)st.st_size, end = j->end + sizeof(nothing);
    if (write_all(j->fd, nothing, end - begin, begin) < 0 || fsync(j->fd) < 0)
        return;
    trace(j, WT_JOURNAL_WRITE, begin, nothing, end - begin);
    trace(j, WT_JOURNAL_SYNC, 0, NULL, 0);
}

int wt_journal_flush(struct wt_journal *j, struct wt_error *err)
{
    if (j->fd >= 0 && fdatasync(j->fd) < 0)
        return fail_write(j, errno, err);
    trace(j, WT_JOURNAL_SYNC, 0, NULL, 0);
    int rc = j->is_name_unsynced ? sync_name(j, err) : 0;
    if (rc < 0)
        return rc;
    /* The long journal still serves if this fails. */
    if (j->fd >= 0 && is_worth_compacting(j, COMPACT_SLOTS_FLUSHED))
        compact(j, NULL);
    make_spare(j);
    return 0;
}

int wt_journal_sync(struct wt_journal *j, struct wt_error *err)
{
    int rc = wt_journal_lock(j, err);
    if (rc < 0)
        return rc;
    if (j->fd >= 0 && fsync(j->fd) < 0)
        rc = fail_write(j, errno, err);
    else
        trace(j, WT_JOURNAL_SYNC, 0, NULL, 0);
    if (rc == 0 && j->is_name_unsynced)
        rc = sync_name(j, err);
    wt_journal_unlock(j);
    return rc;
}
