/* wattuned: the one privileged process. Options, sockets and devices; then the server. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/systemd.h"
#include "daemon/server.h"
#include "lease/client.h"
#include "wattune/emulate.h"

#define POLICY  "/etc/wattune/policy.conf"
#define RUN_DIR "/run/wattune"
#define BACKLOG 1024

static void print_help(void)
{
    fputs("usage: wattuned [OPTION...]\n\n"
          "Holds settings of devices for users who may not set them, as far as the policy\n"
          "lets them, and puts back what was found. See wattuned(8) and wattune-policy(5).\n\n"
          "  --policy FILE          who may set what (default: " POLICY ")\n"
          "  --socket PATH          where to listen (default: " RUN_DIR "/wattuned.sock; a\n"
          "                         socket passed by systemd goes first)\n"
          "  --state-dir DIR        the journal's directory (default: /var/lib/wattune)\n"
          "  --audit FILE           one JSON line a decision (default: standard error)\n"
          "  --device-timeout TIME  seconds after which a driver's call hangs (default: 5)\n"
          "  --emulate SPEC         serve emulated GPUs, PROFILE[:N]; prints what clients\n"
          "                         need\n"
          "  --jobs DIR             where Slurm's plugin writes facts on jobs\n"
          "                         (default: " RUN_DIR "/slurm)\n"
          "  --sysroot DIR          read /proc, /sys and /dev below DIR\n"
          "  --check-policy FILE    read FILE, say what is wrong with it, end\n"
          "  --status               say what is held, end\n"
          "  --version              the version\n"
          "  --help                 this text\n\n"
          "SIGHUP reads the policy anew. SIGTERM puts everything back and ends; SIGUSR2\n"
          "ends and leaves what is held to the wattuned that is started next. Exit code: 0,\n"
          "1 failure, 2 usage, 3 not permitted, 4 nobody listens.\n",
          stdout);
}

struct options {
    const char *policy, *socket, *state_dir, *audit, *emulate, *sysroot, *check, *jobs;
    double timeout_s;
    bool is_status;
};

static int fail(const struct wt_error *err)
{
    fprintf(stderr, "wattuned: %s\n", err->text[0] ? err->text : wt_strerror(err->code));
    if (err->fix[0])
        fprintf(stderr, "  try: %s\n", err->fix);
    return wt_exit_code(err->code);
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    enum {
        POL = 256,
        SOCKET,
        STATE,
        AUDIT,
        TIMEOUT,
        EMULATE,
        JOBS,
        SYSROOT,
        CHECK,
        STATUS,
        VERSION
    };
    static const struct option options[] = {
        {"policy", required_argument, NULL, POL},
        {"socket", required_argument, NULL, SOCKET},
        {"state-dir", required_argument, NULL, STATE},
        {"audit", required_argument, NULL, AUDIT},
        {"device-timeout", required_argument, NULL, TIMEOUT},
        {"emulate", required_argument, NULL, EMULATE},
        {"jobs", required_argument, NULL, JOBS},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"check-policy", required_argument, NULL, CHECK},
        {"status", no_argument, NULL, STATUS},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case POL:
            o->policy = optarg;
            break;
        case SOCKET:
            o->socket = optarg;
            break;
        case STATE:
            o->state_dir = optarg;
            break;
        case AUDIT:
            o->audit = optarg;
            break;
        case TIMEOUT:
            if (wt_text_to_double(optarg, &o->timeout_s) < 0 || o->timeout_s < 0.05 ||
                o->timeout_s > 3600) {
                fprintf(stderr, "wattuned: --device-timeout %s: seconds from 0.05 to 3600\n",
                        optarg);
                return 2;
            }
            break;
        case EMULATE:
            o->emulate = optarg;
            break;
        case JOBS:
            o->jobs = optarg;
            break;
        case SYSROOT:
            o->sysroot = optarg;
            break;
        case CHECK:
            o->check = optarg;
            break;
        case STATUS:
            o->is_status = true;
            break;
        case VERSION:
            printf("wattuned %s\n", wt_version());
            return 0;
        case 'h':
            print_help();
            return 0;
        default:
            fputs("  `wattuned --help` lists the options\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "wattuned: \"%s\": takes no arguments\n", argv[optind]);
        return 2;
    }
    return -1;
}

/* The journal of systemd reads a level from the beginning of a line. */
static void log_line(void *data, enum wt_log_level level, const char *area, const char *text)
{
    static const char *const levels[] = {[WT_LOG_ERROR] = "<3>",
                                         [WT_LOG_WARN] = "<4>",
                                         [WT_LOG_INFO] = "<6>",
                                         [WT_LOG_DEBUG] = "<7>"};
    (void)data;
    fprintf(stderr, "%swattuned: %s: %s\n", getenv("JOURNAL_STREAM") ? levels[level] : "", area,
            text);
}

/* ---- the two that only look ---- */

static int check_policy(const char *path)
{
    struct wt_policy *policy;
    struct wt_error err = {0};
    unsigned line;
    const char *name;
    if (access(path, R_OK) < 0) {
        wt_fail_errno(&err, errno, "%s", path);
        return fail(&err);
    }
    if (wt_policy_load(&policy, path, &err) < 0)
        return fail(&err);
    for (size_t i = 0; (name = wt_policy_unknown(policy, i, &line)); i++)
        printf("%s:%u: there is no \"%s\" here; the rule is for nobody\n", path, line, name);
    size_t rules = wt_policy_rules(policy), caps = wt_policy_caps(policy);
    printf("%s: good, %zu rule%s, %zu site-cap%s\n", path, rules, rules == 1 ? "" : "s", caps,
           caps == 1 ? "" : "s");
    wt_policy_free(policy);
    return 0;
}

static int print_devices(struct wt_client *client, struct wt_error *err)
{
    for (uint32_t i = 0; i < wt_client_devices(client); i++) {
        struct wt_wire_message m = {.type = WT_WIRE_DEVICE, .u.device = {i}};
        int rc = wt_client_ask(client, &m, &m, err);
        if (rc < 0)
            return rc;
        if (m.type == WT_WIRE_DEVICE_OK)
            printf("device %u: %s %s%s%s\n", i, m.u.device_ok.id, m.u.device_ok.name,
                   m.u.device_ok.flags & WT_WIRE_IS_EMULATED ? ", EMULATED" : "",
                   m.u.device_ok.flags & WT_WIRE_IS_HUNG ? ", its driver HANGS" : "");
    }
    return 0;
}

static int print_claims(struct wt_client *client, struct wt_error *err)
{
    for (uint32_t i = 0, count = 1; i < count; i++) {
        struct wt_wire_message m = {.type = WT_WIRE_STATUS, .u.status = {i}};
        int rc = wt_client_ask(client, &m, &m, err);
        if (rc == WT_E_NOTFOUND && i == 0) {
            puts("nothing is held");
            return 0;
        }
        if (rc == WT_E_NOTFOUND)
            return 0; /* ended meanwhile */
        if (rc < 0 || m.type != WT_WIRE_STATUS_OK)
            return rc;
        enum wt_knob knob = (enum wt_knob)m.u.status_ok.knob;
        char value[48], found[48], now[48];
        count = m.u.status_ok.count;
        printf("device %u: %s %s (found %s, last seen there %s) for process %u (%s) of user %u",
               m.u.status_ok.device, wt_knob_name(knob) ? wt_knob_name(knob) : "?",
               wt_knob_value_text(value, sizeof(value), knob, m.u.status_ok.value),
               wt_knob_value_text(found, sizeof(found), knob, m.u.status_ok.found),
               wt_knob_value_text(now, sizeof(now), knob, m.u.status_ok.effective),
               m.u.status_ok.pid, m.u.status_ok.name, m.u.status_ok.uid);
        if (m.u.status_ok.job)
            printf(", Slurm job %u", m.u.status_ok.job);
        if (m.u.status_ok.hold_left_ns)
            printf(", for another %.0f s", wt_s_from_ns(m.u.status_ok.hold_left_ns));
        static const char *const states[] = {"", ", STILL TO BE PUT BACK", ", not set yet"};
        puts(m.u.status_ok.state < WT_COUNTOF(states) ? states[m.u.status_ok.state] : "");
    }
    return 0;
}

static int print_status(const struct options *o)
{
    struct wt_client *client = NULL;
    struct wt_error err = {0};
    char path[4096];
    const char *emulation = getenv("WATTUNE_EMULATION");
    int rc = 0;
    if (o->socket)
        wt_text(path, sizeof(path), "%s", o->socket);
    else if (!wt_client_path(NULL, emulation && *emulation, path, sizeof(path)))
        rc = wt_fail(&err, WT_E_NOTFOUND, "no socket: WATTUNE_SOCKET=none");
    if (rc == 0)
        rc = wt_client_open(&client, path, &err);
    if (rc == 0)
        rc = print_devices(client, &err);
    if (rc == 0)
        rc = print_claims(client, &err);
    wt_client_close(client);
    return rc < 0 ? fail(&err) : 0;
}

/* ---- serving ---- */

static int open_socket(const char *path, int *ret_fd, struct wt_error *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    char dir[sizeof(at.sun_path)];
    if (strlen(path) >= sizeof(at.sun_path))
        return wt_fail(err, WT_E_RANGE, "%s: too long for a socket", path);
    wt_text(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash && slash > dir) {
        *slash = '\0';
        int rc = wt_fs_mkdirs(dir, 0755, err);
        if (rc < 0)
            return rc;
    }
    /* Nobody else serves these devices: the journal's lock is ours. */
    bool is_there = lstat(path, &st) == 0;
    if (is_there && !S_ISSOCK(st.st_mode))
        return wt_fail(err, WT_E_USAGE, "--socket %s: something else than a socket is there", path);
    if (is_there)
        unlink(path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return wt_fail_errno(err, errno, "socket");
    memcpy(at.sun_path, path, strlen(path) + 1);
    mode_t mask = umask(0111); /* everybody may ask */
    int bound = bind(fd, (struct sockaddr *)&at, sizeof(at));
    umask(mask);
    if (bound < 0 || listen(fd, BACKLOG) < 0) {
        int rc = wt_fail_errno(err, errno, "%s", path);
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

static int take_socket(const struct options *o, int *ret_fd, struct wt_error *err)
{
    int fd = wt_systemd_socket(), type = 0;
    socklen_t size = sizeof(type);
    const char *emulation = getenv("WATTUNE_EMULATION");
    char path[4096];
    if (fd >= 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
            return wt_fail(err, WT_E_USAGE,
                           "the socket that systemd passes is not one of "
                           "ListenSequentialPacket=");
        *ret_fd = fd;
        return 0;
    }
    if (o->socket)
        wt_text(path, sizeof(path), "%s", o->socket);
    else if (!wt_client_path(NULL, emulation && *emulation, path, sizeof(path)))
        return wt_fail(err, WT_E_USAGE, "WATTUNE_SOCKET=none, so there is nowhere to listen");
    return open_socket(path, ret_fd, err);
}

static void add_device(struct wt_devices *devices, size_t i, struct wt_server_device *list,
                       size_t *count)
{
    const struct wt_device_info *info = wt_devices_info(devices, i);
    struct wt_server_device d = {.kind = info->kind, .is_emulated = info->is_emulated};
    if (info->is_part || *count == WT_WIRE_DEVICES)
        return;
    wt_text(d.id, sizeof(d.id), "%s", info->id);
    wt_text(d.name, sizeof(d.name), "%s", info->name);
    for (int k = 1; k < WT_KNOB_COUNT; k++)
        if (wt_devices_knob(devices, i, (enum wt_knob)k, &d.infos[k], NULL) == 0)
            d.knobs |= UINT64_C(1) << k;
    if (d.knobs)
        list[(*count)++] = d;
}

static void say_recovered(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                          int64_t written, int rc, const char *text)
{
    char back[48], from[48];
    if (rc == 0)
        wt_log(data, WT_LOG_WARN, "daemon", "%s of %s: put back to %s from %s", wt_knob_name(knob),
               device_id, wt_knob_value_text(back, sizeof(back), knob, found),
               wt_knob_value_text(from, sizeof(from), knob, written));
    else if (rc != WT_E_BUSY)
        wt_log(data, WT_LOG_WARN, "daemon", "%s", text);
}

/* What died without a daemon, before anything is served. */
static int recover_others(struct wt_ctx *ctx, struct wt_devices *devices, const char *dir,
                          struct wt_error *err)
{
    struct wt_restorer who = {.ctx = ctx, .ops = wt_lease_ops_devices(devices), .is_daemon = true};
    size_t restored, left;
    int rc = wt_owner_self(&who.self, err);
    if (rc == 0)
        rc = wt_journal_open(&who.journal, ctx, dir, NULL, err);
    if (rc < 0)
        return rc;
    wt_restore_all(&who, 0, true, say_recovered, ctx, &restored, &left, NULL);
    /* Its own errors are the journal's; those of devices have been said. */
    rc = wt_journal_lock(who.journal, err);
    if (rc == 0)
        wt_journal_unlock(who.journal);
    wt_journal_close(who.journal);
    return rc;
}

static int serve(const struct options *o, struct wt_ctx *ctx, struct wt_error *err)
{
    struct wt_devices *devices = NULL;
    struct wt_server *server = NULL;
    struct wt_server_device *list = calloc(WT_WIRE_DEVICES, sizeof(*list));
    const char *emulation = getenv("WATTUNE_EMULATION");
    char dir[4096];
    size_t count = 0;
    int fd = -1;
    int rc = list ? wt_devices_open(&devices, ctx, NULL, err)
                  : wt_fail(err, WT_E_NOMEM, "no memory for devices");
    if (rc == 0)
        rc = wt_lease_state_dir(ctx, devices, o->state_dir, dir, sizeof(dir), err);
    if (rc == 0)
        rc = recover_others(ctx, devices, dir, err);
    for (size_t i = 0; rc == 0 && i < wt_devices_count(devices); i++)
        add_device(devices, i, list, &count);
    /* This set stays open and is not used: the driver's library stays loaded and initialised, and a
     * thread that looks for its device anew is soon done. From here on each device has a thread,
     * which waits for its driver as long as it takes. */
    setenv("WATTUNE_NVML_TIMEOUT", "none", 1);
    struct wt_server_options options = {.ctx = ctx,
                                        .devices = list,
                                        .device_count = count,
                                        .source = wt_worker_source_devices(ctx),
                                        .state_dir = dir,
                                        .run_dir = emulation && *emulation ? emulation : RUN_DIR,
                                        .policy = o->policy ? o->policy : POLICY,
                                        .audit = o->audit,
                                        .device_patience_ns =
                                            (int64_t)(o->timeout_s * (double)WT_NS_PER_S)};
    if (rc == 0)
        rc = wt_server_new(&server, &options, err);
    if (rc == 0)
        rc = take_socket(o, &fd, err);
    if (rc == 0)
        rc = wt_server_listen(server, fd, err);
    if (rc == 0) {
        wt_log(ctx, WT_LOG_INFO, "daemon", "serving %zu device%s", count, count == 1 ? "" : "s");
        rc = wt_server_run(server, err);
    }
    wt_server_free(server);
    wt_devices_free(devices);
    if (fd >= 0)
        close(fd);
    free(list);
    return rc;
}

static int start_emulation(const char *spec, struct wt_emulation **ret_emulation,
                           struct wt_error *err)
{
    static const char *const names[] = {"WATTUNE_EMULATION", "WATTUNE_EMULATION_SPEC",
                                        "WATTUNE_NVML", "LD_LIBRARY_PATH"};
    int rc = wt_emulation_start(ret_emulation, spec, NULL, err);
    if (rc == 0)
        rc = wt_emulation_setenv(*ret_emulation, err);
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(names); i++)
        printf("export %s='%s'\n", names[i], getenv(names[i]) ? getenv(names[i]) : "");
    fflush(stdout);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.timeout_s = 5};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    if (o.check)
        return check_policy(o.check);
    if (o.is_status)
        return print_status(&o);

    /* Before any thread: they come to the loop only. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    unsetenv("CUDA_VISIBLE_DEVICES"); /* whatever this shell may see, all are served */
    unsetenv("ROCR_VISIBLE_DEVICES");
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }

    struct wt_error err = {0};
    struct wt_emulation *emulation = NULL;
    struct wt_ctx *ctx = NULL;
    struct wt_ctx_options options = {.log = log_line, .sysroot = o.sysroot};
    int rc = o.emulate ? start_emulation(o.emulate, &emulation, &err) : 0;
    if (rc == 0 && emulation)
        options.nvml_library = wt_emulation_library(emulation);
    if (rc == 0)
        rc = wt_ctx_new(&ctx, &options, &err);
    if (rc == 0)
        ctx->jobs_dir = o.jobs;
    if (rc == 0)
        rc = serve(&o, ctx, &err);
    wt_ctx_free(ctx);
    wt_emulation_free(emulation);
    return rc < 0 ? fail(&err) : 0;
}
