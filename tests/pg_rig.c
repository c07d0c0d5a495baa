/* pg_rig: see pg_rig.h. */
#include "pg_rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define WAIT_MS 20000

static void doze_ms(long ms)
{
    const struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

/* The newest below /usr/lib/postgresql, where Debian has them. */
static bool find_bin(struct pg_rig *rig)
{
    char path[600];
    int best = 0;
    DIR *dir = opendir("/usr/lib/postgresql");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        int version = atoi(e->d_name);
        snprintf(path, sizeof(path), "/usr/lib/postgresql/%s/bin/initdb", e->d_name);
        if (version > best && access(path, X_OK) == 0) {
            best = version;
            snprintf(rig->bin, sizeof(rig->bin), "/usr/lib/postgresql/%d/bin", version);
        }
    }
    if (dir)
        closedir(dir);
    if (!best)
        snprintf(rig->why, sizeof(rig->why), "no PostgreSQL server: apt-get install postgresql");
    return best > 0;
}

/* A child as the rig's user, in its folder, quiet: what it says is in DIR/NAME.log. Not by fork: a
 * test has threads, and what one of them holds at that moment (an allocator's lock under
 * AddressSanitizer) the child would wait for in vain. 0: not started. */
static pid_t spawn(const struct pg_rig *rig, const char *name, const char *const *argv)
{
    char program[600], log[600], home[96], user[48], group[48];
    const char *words[24] = {"setpriv",
                             "--pdeathsig=KILL"}; /* it is not to outlive a killed test */
    char *const env[] = {home, "LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin", NULL};
    const struct passwd *pw = getpwnam(rig->user);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid = 0;
    if (!pw)
        return 0;
    snprintf(program, sizeof(program), "%s/%s", rig->bin, argv[0]);
    snprintf(log, sizeof(log), "%s/%s.log", rig->dir, name);
    snprintf(home, sizeof(home), "HOME=%s", rig->dir);
    snprintf(user, sizeof(user), "--reuid=%u", (unsigned)pw->pw_uid);
    snprintf(group, sizeof(group), "--regid=%u", (unsigned)pw->pw_gid);
    size_t used = 2;
    if (geteuid() == 0) {
        words[used++] = user;
        words[used++] = group;
        words[used++] = "--init-groups";
    }
    words[used++] = program;
    for (size_t i = 1; argv[i] && used < sizeof(words) / sizeof(*words) - 1; i++)
        words[used++] = argv[i];
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    /* Of its own session: what is sent to the test's group is not for it. */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addchdir_np(&files, rig->dir);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    if (posix_spawn(&pid, "/usr/bin/setpriv", &files, &attr, (char *const *)words, env) != 0)
        pid = 0;
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return pid;
}

static bool run(const struct pg_rig *rig, const char *name, const char *const *argv)
{
    int status = -1;
    pid_t pid = spawn(rig, name, argv);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Below those that the kernel gives to whoever asks: while the server is down nobody takes it. */
static unsigned free_port(void)
{
    for (unsigned i = 0; i < 100; i++) {
        unsigned port = 20000 + ((unsigned)getpid() * 7 + i * 101) % 12000;
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
        if (fd >= 0)
            close(fd);
        if (is_free)
            return port;
    }
    return 0;
}

bool pg_rig_sql(struct pg_rig *rig, const char *database, const char *sql)
{
    char port[16];
    snprintf(port, sizeof(port), "%u", rig->port);
    const char *const argv[] = {"psql",   "-X",     "-q", "-v", "ON_ERROR_STOP=1",
                                "-h",     rig->dir, "-p", port, "-d",
                                database, "-c",     sql,  NULL};
    return run(rig, "psql", argv);
}

const char *pg_rig_uri(const struct pg_rig *rig, const char *database, char *buf, size_t size)
{
    snprintf(buf, size, "postgresql://%s@/%s?host=%s&port=%u", rig->user, database, rig->dir,
             rig->port);
    return buf;
}

bool pg_rig_start(struct pg_rig *rig)
{
    char port[32], sockets[96], data[96];
    snprintf(data, sizeof(data), "%s/data", rig->dir);
    snprintf(port, sizeof(port), "port=%u", rig->port);
    snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", rig->dir);
    const char *const fsync = rig->is_safe ? "fsync=on" : "fsync=off";
    const char *const argv[] = {
        "postgres", "-D",  data, "-c", port, "-c", sockets, "-c", "listen_addresses=127.0.0.1",
        "-c",       fsync, NULL};
    for (int ms = 0; ms < WAIT_MS; ms += 50) {
        int status;
        if (rig->pid && waitpid(rig->pid, &status, WNOHANG) == rig->pid)
            rig->pid = 0; /* what was killed still held its memory: once more */
        if (!rig->pid) {
            rig->pid = spawn(rig, "postgres", argv);
        }
        if (pg_rig_sql(rig, "postgres", "SELECT 1"))
            return true;
        doze_ms(50);
    }
    snprintf(rig->why, sizeof(rig->why), "PostgreSQL does not start: see %s/postgres.log",
             rig->dir);
    return false;
}

void pg_rig_kill(struct pg_rig *rig)
{
    char path[96], text[4096] = "";
    if (!rig->pid)
        return;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)rig->pid, (int)rig->pid);
    kill(rig->pid, SIGSTOP); /* that it starts no more of them */
    FILE *f = fopen(path, "re");
    if (f) {
        size_t n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    kill(rig->pid, SIGKILL);
    for (char *save, *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (atoi(word) > 1)
            kill(atoi(word), SIGKILL);
    while (waitpid(rig->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    rig->pid = 0;
}

bool pg_rig_open(struct pg_rig *rig, bool is_safe)
{
    char data[96], words[96], host[128];
    memset(rig, 0, sizeof(*rig));
    rig->is_safe = is_safe;
    if (!find_bin(rig))
        return false;
    const struct passwd *pw = geteuid() == 0 ? getpwnam("postgres") : getpwuid(geteuid());
    if (!pw) {
        snprintf(rig->why, sizeof(rig->why), "no user \"postgres\" to run a PostgreSQL as");
        return false;
    }
    snprintf(rig->user, sizeof(rig->user), "%s", pw->pw_name);
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/wattune-pg-XXXXXX");
    if (!mkdtemp(rig->dir)) {
        rig->dir[0] = '\0';
        snprintf(rig->why, sizeof(rig->why), "no folder below /tmp: %s", strerror(errno));
        return false;
    }
    snprintf(words, sizeof(words), "%s/words", rig->dir);
    FILE *f = fopen(words, "we");
    if (f) {
        fputs("host all ada 127.0.0.1/32 scram-sha-256\nlocal all all trust\n", f);
        fclose(f);
    }
    if (geteuid() == 0 &&
        (chown(rig->dir, pw->pw_uid, pw->pw_gid) < 0 || chown(words, pw->pw_uid, pw->pw_gid) < 0))
        return false;
    rig->port = free_port();
    snprintf(data, sizeof(data), "%s/data", rig->dir);
    const char *const argv[] = {"initdb",           "-N", "-A", "trust", "-E", "UTF8",
                                "--locale=C.UTF-8", "-D", data, NULL};
    if (!run(rig, "initdb", argv)) {
        snprintf(rig->why, sizeof(rig->why), "initdb failed: see %s/initdb.log", rig->dir);
        return false;
    }
    snprintf(host, sizeof(host), "%s/pg_hba.conf", data);
    return rename(words, host) == 0 && pg_rig_start(rig) &&
           pg_rig_sql(rig, "postgres", "CREATE USER ada PASSWORD 's3cr:t/word'") &&
           pg_rig_sql(rig, "postgres", "CREATE DATABASE jobs OWNER ada");
}

void pg_rig_close(struct pg_rig *rig)
{
    pg_rig_kill(rig);
    if (rig->dir[0])
        wt_fs_remove_tree(rig->dir, NULL);
}
