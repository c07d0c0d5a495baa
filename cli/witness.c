/* witness: a process in our group that does nothing but see which signals reach it. Who sends a
 * signal to us alone and who sends it to the whole group looks the same to us; what the witness got
 * as well went to the group, and so to the command in it. */
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define SIGNALS 65
/* The kernel sends to one member after the other, and this machine may have others to run. */
#define PATIENCE_NS 50000000
#define STALE_NS    500000000

struct cli_witness {
    pid_t pid;
    uint32_t heeded[SIGNALS]; /* of those counted */
    struct seen {
        _Atomic uint32_t count[SIGNALS];
        _Atomic int64_t last_ns[SIGNALS];
    } * seen; /* shared with it */
};

/* Nothing but what is safe after a fork of one thread of several. */
static _Noreturn void watch(struct seen *seen, pid_t parent)
{
    sigset_t all;
    sigfillset(&all);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "wattune-witness");
    close_range(0, ~0u, 0); /* a reader of ours sees our end, not the witness's */
    while (getppid() == parent) {
        int number = sigwaitinfo(&all, NULL);
        if (number <= 0 || number >= SIGNALS)
            continue;
        atomic_store(&seen->last_ns[number], cli_now_ns());
        atomic_fetch_add(&seen->count[number], 1);
    }
    _exit(0);
}

struct cli_witness *cli_witness_start(void)
{
    struct cli_witness *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->seen =
        mmap(NULL, sizeof(*w->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigset_t all, before;
    pid_t parent = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    w->pid = w->seen == MAP_FAILED ? -1 : fork();
    if (w->pid == 0)
        watch(w->seen, parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (w->pid > 0)
        return w;
    if (w->seen != MAP_FAILED)
        munmap(w->seen, sizeof(*w->seen));
    free(w);
    return NULL;
}

bool cli_witness_saw(struct cli_witness *w, int number)
{
    if (!w || number <= 0 || number >= SIGNALS)
        return false;
    int64_t now = cli_now_ns(), until = now + PATIENCE_NS;
    for (;; now = cli_now_ns()) {
        uint32_t count = atomic_load(&w->seen->count[number]);
        bool is_new = count != w->heeded[number];
        w->heeded[number] = count;
        /* One that came late after we had given it up is no answer to a later question. */
        if (is_new && now - atomic_load(&w->seen->last_ns[number]) < STALE_NS)
            return true;
        if (now >= until)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

void cli_witness_end(struct cli_witness *w)
{
    if (!w)
        return;
    kill(w->pid, SIGKILL);
    waitpid(w->pid, NULL, 0); /* or reaped with the command's orphans */
    munmap(w->seen, sizeof(*w->seen));
    free(w);
}
