/* Chaos: owners of leases and their guardians are killed at random moments, over and over, and
 * every emulated GPU has to be back at what it was.
 *
 *     build/bench/lease-chaos [CYCLES [SEED]]        (default: 200 1; the bar: 10000)
 *
 * A cycle: one to four clients take leases on some of eight GPUs (half of them with a site's cap of
 * 200 W under a default of 250 W) and set power limits and clock locks without pause; after up to
 * 15 ms some of the clients and guardians, or all, get SIGKILL, in random order; the other clients
 * are told to end. Then the restart: wt_lease_recover until nothing is left to put back. Printed at
 * the end, and the exit code 1 when any is not as it should be: devices off their value, journal
 * entries lost, doubled or left open, restores later than 1 s after the restart. */
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos.h"

#define CLIENTS_MAX 4

/* ---- the client: lease-chaos client SEED MASK ---- */

static int client(const char *seed, const char *mask_text)
{
    struct wt_error err = {0};
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_lease *lease;
    uint64_t mask;
    if (wt_text_to_u64(seed, &chaos_rng_state) < 0 || wt_text_to_u64(mask_text, &mask) < 0)
        return 2;
    if (wt_ctx_new(&ctx, NULL, &err) < 0 || wt_devices_open(&devices, ctx, NULL, &err) < 0 ||
        wt_lease_open(&lease, ctx, devices, NULL, &err) < 0)
        return chaos_die(&err);
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    while (!chaos_is_told_to_end()) {
        size_t gpu = chaos_rng() % CHAOS_GPUS;
        if ((mask >> gpu & 1) && chaos_set_something(lease, gpu, 900000, &err) < 0)
            return chaos_die(&err);
    }
    int rc = wt_lease_close(lease, &err);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    return rc < 0 ? chaos_die(&err) : 0;
}

/* ---- the tormentor ---- */

static void torment(struct chaos_victim *victims, size_t count)
{
    poll(NULL, 0, (int)(chaos_rng() % 16));
    chaos_find_guardians(victims, count);
    uint64_t fate = chaos_rng() % 4; /* some clients; some guardians; some of both; everybody */
    for (size_t k = 0; k < 2 * count; k++) {
        size_t i = (k + fate) % (2 * count);
        bool is_guardian = i % 2;
        if (fate == 3 || (chaos_rng() % 2 && (fate == 2 || (fate == 1) == is_guardian)))
            chaos_kill(&victims[i / 2], is_guardian);
    }
}

static void cycle(struct chaos_machine *machine, struct chaos_outcome *o)
{
    struct chaos_victim victims[CLIENTS_MAX];
    size_t count = 1 + chaos_rng() % CLIENTS_MAX, started = 0;
    for (size_t i = 0; i < count; i++)
        started += chaos_start(&victims[started], UINT64_C(0x11) << i); /* two GPUs each */
    o->failed += chaos_await(victims, started);
    torment(victims, started);
    for (size_t i = 0; i < started; i++) {
        close(victims[i].in); /* those that live are told to end */
        chaos_collect(&victims[i], o);
    }
    /* Guardians that live are at work as well; together they have a second. */
    chaos_restart(machine, wt_clock_now_ns(), o);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "client") == 0)
        return client(argv[2], argv[3]);
    uint64_t cycles = 200, seed = 1;
    if (!chaos_read_args(argc, argv, &cycles, &seed))
        return 2;
    struct wt_error err = {0};
    struct chaos_machine machine;
    int rc = chaos_machine_start(&machine, &err);

    struct chaos_outcome o = {0};
    int64_t start_ns = wt_clock_now_ns();
    for (uint64_t i = 0; i < cycles && rc == 0; i++) {
        cycle(&machine, &o);
        if (o.off || o.open_entries || o.failed) {
            fprintf(stderr, "lease-chaos: cycle %llu of seed %llu went wrong\n",
                    (unsigned long long)i, (unsigned long long)seed);
            cycles = i + 1;
        }
    }
    double span_s = wt_s_from_ns(wt_clock_now_ns() - start_ns);
    if (rc < 0)
        chaos_die(&err);
    else
        printf("emulated: 8 x v100-pcie-32gb, seed %llu, %llu cycles in %.0f s\n"
               "clients %llu, killed %llu; guardians killed %llu, both of a lease %llu\n"
               "entries put back by the restart %llu, slowest restart %.1f ms\n"
               "devices off their value %llu, restores over 1 s %llu, clients that failed %llu\n"
               "journal: entries left open %llu, lost or doubled %llu\n",
               (unsigned long long)seed, (unsigned long long)cycles, span_s,
               (unsigned long long)o.clients, (unsigned long long)o.clients_killed,
               (unsigned long long)o.guardians_killed, (unsigned long long)o.both_killed,
               (unsigned long long)o.recovered, (double)o.worst_ns * 1e-6,
               (unsigned long long)o.off, (unsigned long long)o.late, (unsigned long long)o.failed,
               (unsigned long long)o.open_entries, (unsigned long long)o.broken_journal);
    chaos_machine_done(&machine);
    return rc < 0 || chaos_is_bad(&o);
}
