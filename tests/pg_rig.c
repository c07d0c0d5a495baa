/* pg_rig: see pg_rig.h. */
#include "pg_rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

/* A child as the rig's user, in its folder, quiet: what it says is in DIR/NAME.log. */
static pid_t spawn(const struct pg_rig *rig, const char *name, const char *const *argv)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char path[600];
    sigset_t none;
    const struct passwd *pw = getpwnam(rig->user);
    if (geteuid() == 0 && (!pw || initgroups(rig->user, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
                           setuid(pw->pw_uid) < 0))
        _exit(126);
    snprintf(path, sizeof(path), "%s/%s.log", rig->dir, name);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644), null = open("/dev/null", O_RDONLY);
    if (chdir(rig->dir) < 0 || log < 0 || null < 0)
        _exit(126);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* It must not outlive a test that is killed. */
    setsid();
    setenv("HOME", rig->dir, 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    unsetenv("PGPASSWORD");
    snprintf(path, sizeof(path), "%s/%s", rig->bin, argv[0]);
    execv(path, (char *const *)argv);
    _exit(127);
}

static bool run(const struct pg_rig *rig, const char *name, const char *const *argv)
{
    int status = -1;
    pid_t pid = spawn(rig, name, argv);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port = 54987;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &len) == 0)
        port = ntohs(at.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
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
            pid_t pid = spawn(rig, "postgres", argv);
            if (pid < 0)
                return false;
            rig->pid = pid;
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

static int remove_tree(const char *path)
{
    const char *const argv[] = {"rm", "-rf", path, NULL};
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        execv("/bin/rm", (char *const *)argv);
        _exit(127);
    }
    return pid > 0 ? waitpid(pid, &status, 0) : -1;
}

void pg_rig_close(struct pg_rig *rig)
{
    pg_rig_kill(rig);
    if (rig->dir[0])
        remove_tree(rig->dir);
}
