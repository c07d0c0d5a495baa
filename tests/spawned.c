/* spawn: running the built command and catching all that it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "spawned.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

static void become(const char *home, const char *const *argv)
{
    /* What the tests themselves were started with (nohup, a shell's "&") is not the program's. */
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP, SIGCONT};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    setenv("HOME", home, 1);
    setenv("XDG_CACHE_HOME", home, 1);
    setenv("XDG_CONFIG_HOME", home, 1);
    setenv("XDG_DATA_HOME", home, 1);
    setenv("XDG_STATE_HOME", home, 1);
    setenv("XDG_RUNTIME_DIR", home, 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    const char *program = strcmp(argv[0], "wattune") == 0 ? getenv("WATTUNE_COMMAND") : argv[0];
    if (!program) {
        fputs("WATTUNE_COMMAND is not set: run through `make test`\n", stderr);
        _exit(99);
    }
    execvp(program, (char *const *)argv);
    perror(program);
    _exit(99);
}

void spawn_start(struct spawned *s, const char *home, const char *const *argv)
{
    int in[2], out[2], err[2];
    *s = (struct spawned){0};
    must(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0,
         "pipe");
    s->pid = fork();
    must(s->pid >= 0, "fork");
    if (s->pid == 0) {
        setpgid(0, 0); /* as a shell would: signals of the test stay out */
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        become(home, argv);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    s->in_fd = in[1];
    s->out_fd = out[0];
    s->err_fd = err[0];
}

void spawn_start_tty(struct spawned *s, const char *home, const char *const *argv)
{
    struct winsize size = {.ws_row = 30, .ws_col = 100};
    int master;
    *s = (struct spawned){0};
    s->pid = forkpty(&master, NULL, NULL, &size);
    must(s->pid >= 0, "forkpty");
    if (s->pid == 0)
        become(home, argv);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    s->out_fd = s->in_fd = master;
    s->err_fd = -1;
}

/* Appends what is there to *text; false at the end of file. A terminal whose other side is closed
 * says EIO. */
static bool read_some(int fd, char **text)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n <= 0)
        return false;
    size_t used = *text ? strlen(*text) : 0;
    *text = realloc(*text, used + (size_t)n + 1);
    must(*text != NULL, "realloc");
    memcpy(*text + used, buf, (size_t)n);
    (*text)[used + (size_t)n] = '\0';
    return true;
}

bool spawn_expect(struct spawned *s, const char *text)
{
    while (!s->out || !strstr(s->out, text))
        if (!read_some(s->out_fd, &s->out))
            return false;
    return true;
}

void spawn_wait(struct spawned *s)
{
    if (s->in_fd >= 0 && s->in_fd != s->out_fd)
        close(s->in_fd);
    struct pollfd fds[2] = {{.fd = s->out_fd, .events = POLLIN},
                            {.fd = s->err_fd, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents && !read_some(fds[i].fd, i ? &s->err : &s->out))
                fds[i].fd = -1;
    }
    waitpid(s->pid, &s->status, 0);
    close(s->out_fd);
    if (s->err_fd >= 0)
        close(s->err_fd);
    if (!s->out)
        s->out = strdup("");
    if (!s->err)
        s->err = strdup("");
}

void spawn_done(struct spawned *s)
{
    free(s->out);
    free(s->err);
    *s = (struct spawned){0};
}

int spawn_code(const struct spawned *s)
{
    return WIFSIGNALED(s->status) ? 128 + WTERMSIG(s->status) : WEXITSTATUS(s->status);
}

void spawn_home(char *buf, size_t size)
{
    snprintf(buf, size, "/tmp/wattune-test-XXXXXX");
    must(mkdtemp(buf) != NULL, "mkdtemp");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void spawn_home_done(const char *home)
{
    nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

char spawn_folder[64];

int spawn_setup(void **state)
{
    (void)state;
    spawn_home(spawn_folder, sizeof(spawn_folder));
    return 0;
}

int spawn_teardown(void **state)
{
    (void)state;
    spawn_home_done(spawn_folder);
    return 0;
}

const char *spawn_path(char *buf, size_t size, const char *name)
{
    snprintf(buf, size, "%s/%s", spawn_folder, name);
    return buf;
}

const char *spawn_file(char *path, size_t size, const char *name, const char *text)
{
    FILE *out = fopen(spawn_path(path, size, name), "w");
    assert_non_null(out);
    assert_int_not_equal(fputs(text, out), EOF);
    assert_int_equal(fclose(out), 0);
    return path;
}

char *spawn_read(const char *name)
{
    char path[256], *text = NULL;
    int fd = open(spawn_path(path, sizeof(path), name), O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read_some(fd, &text))
        ;
    if (fd >= 0)
        close(fd);
    return text ? text : strdup("");
}

json_t *spawn_json(const struct spawned *s)
{
    json_error_t why;
    json_t *doc = json_loads(s->out, 0, &why);
    if (!doc)
        fail_msg("%s in: %s\n%s", why.text, s->out, s->err);
    return doc;
}
