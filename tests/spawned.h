/* Spawning the built command in tests: what it wrote, how it ended, on a pipe or a terminal. */
#ifndef WT_TESTS_SPAWNED_H
#define WT_TESTS_SPAWNED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawned {
    pid_t pid;
    int out_fd, err_fd, in_fd;
    char *out, *err; /* all of stdout and stderr, after spawn_wait */
    int status;      /* of waitpid */
};

/* Starts argv (argv[0] "wattune" is the built one) with HOME and XDG_* in the folder `home`. */
void spawn_start(struct spawned *s, const char *home, const char *const *argv);
/* The same on a terminal of its own: out is everything the terminal showed. */
void spawn_start_tty(struct spawned *s, const char *home, const char *const *argv);
/* Closes stdin, reads to the end, waits. */
void spawn_wait(struct spawned *s);
/* Reads from stdout until text has appeared there (or the end of file: false). */
bool spawn_expect(struct spawned *s, const char *text);
void spawn_done(struct spawned *s);
/* The exit code as a shell gives it. */
int spawn_code(const struct spawned *s);
/* A fresh folder, and its removal. */
void spawn_home(char *buf, size_t size);
void spawn_home_done(const char *home);

/* One for the tests of a file: cmocka's setup and teardown, of a group or of each test. */
extern char spawn_folder[64];
int spawn_setup(void **state);
int spawn_teardown(void **state);
#define SPAWN_TEST(name) cmocka_unit_test_setup_teardown(name, spawn_setup, spawn_teardown)
/* The path of name in it, and a file there with its path. */
const char *spawn_path(char *buf, size_t size, const char *name);
const char *spawn_file(char *path, size_t size, const char *name, const char *text);
/* All of a file there, owned; "" when it is not there. */
char *spawn_read(const char *name);

/* All of stdout as one JSON document, owned; anything else fails the test. */
json_t *spawn_json(const struct spawned *s);

/* start + wait; the arguments end with NULL. */
#define spawn_run(s, home, ...)                                                                    \
    do {                                                                                           \
        const char *const spawn_argv[] = {__VA_ARGS__, NULL};                                      \
        spawn_start((s), (home), spawn_argv);                                                      \
        spawn_wait(s);                                                                             \
    } while (0)

#endif
