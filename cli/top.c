/* wattune top: what the machine draws, live in the terminal.
 *
 * ncursesw is opened when there is a screen to draw on, so that no other command loads it. Signals
 * that end us are blocked and asked for, so whatever ends it but SIGKILL puts the terminal back. */
#include <getopt.h>
#include <langinfo.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifdef WT_HAS_NCURSES
#define NCURSES_NOMACROS
#include <curses.h>
#include <dlfcn.h>
#endif

#include "top_view.h"

#define LIBRARY "libncursesw.so.6"
#define LOOK_NS INT64_C(50000000) /* how long a signal or a new size of the window waits */

static void print_help(void)
{
    fputs("usage: wattune top [OPTION...]\n\n"
          "Shows, every second, the power, limit, temperature and energy since the start of\n"
          "each device, the settings that wattuned holds, and which processes use the GPUs.\n"
          "h says the keys, q ends it. Where stdout is no terminal it prints one frame and\n"
          "ends.\n\n"
          "  --once              print one frame and end\n"
          "  --interval TIME     how often it is drawn, and how long --once measures\n"
          "                      (default 1s)\n"
          "  --sort WORD         device, power, energy or temperature\n"
          "  --gpu LIST          only these GPUs: indices or UUIDs\n"
          "  --emulate SPEC      emulated GPUs: PROFILE[:N]\n"
          "  --fault SPEC        a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                      [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable)\n"
          "  --sysroot DIR       read /proc and /sys below DIR\n"
          "  --help              this text\n\n"
          "Exit code: 0; 1 failure, 2 usage, 3 not permitted, 4 no such GPU, or no\n"
          "libncursesw; 128+n when signal n ended it.\n",
          stdout);
}

struct top_options {
    struct cli_bed bed;
    int64_t interval_ns;
    bool is_once;
    enum top_sort sort;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct top_options *o)
{
    enum { ONCE = 256, INTERVAL, SORT, HELP };
    static const struct option options[] = {
        BED_OPTIONS,
        {"once", no_argument, NULL, ONCE},
        {"interval", required_argument, NULL, INTERVAL},
        {"sort", required_argument, NULL, SORT},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct wt_error err = {0};
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case ONCE:
            o->is_once = true;
            break;
        case INTERVAL:
            if (cli_duration_parse("--interval", optarg, &o->interval_ns, &err) < 0)
                return cli_fail("top", &err);
            if (o->interval_ns < 100000000 || o->interval_ns > INT64_C(60000000000))
                return cli_usage("top", "--interval %s: between 100ms and 60s", optarg);
            break;
        case SORT:
            if (!top_sort_parse(optarg, &o->sort))
                return cli_usage("top", "--sort %s: device, power, energy or temperature", optarg);
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_bed_option_last("top", c, optarg, &o->bed);
            if (code >= 0)
                return code;
        }
    }
    if (optind < argc)
        return cli_usage("top", "%s: takes no argument", argv[optind]);
    code = cli_bed_check("top", &o->bed);
    if (code >= 0)
        return code;
    return -1;
}

static int look(struct wt_live *live, struct wt_live_state *ret_state, struct wt_error *err)
{
    int rc = wt_live_tick(live, err);
    return rc == 0 ? wt_live_state(live, ret_state, err) : rc;
}

static int no_memory(struct wt_error *err)
{
    snprintf(err->text, sizeof(err->text), "no memory for a view");
    return err->code = WT_E_NOMEM;
}

/* ---- one frame ---- */

static int once(struct wt_live *live, const struct top_options *o, int *ret_signal,
                struct wt_error *err)
{
    struct wt_term term;
    struct wt_live_state state = {0};
    wt_term_init(&term, stdout);
    struct top_view view = {.width = term.width, .is_utf8 = term.is_utf8, .sort = o->sort};
    *ret_signal = cli_signal_wait(cli_now_ns() + o->interval_ns);
    if (*ret_signal)
        return 0;
    int rc = look(live, &state, err);
    while (rc == 0 && state.is_daemon_asked) { /* it answers, or is called silent */
        *ret_signal = cli_signal_wait(cli_now_ns() + LOOK_NS);
        wt_live_state_done(&state);
        if (*ret_signal)
            return 0;
        rc = look(live, &state, err);
    }
    if (rc == 0 && !top_view_draw(&view, &state))
        rc = no_memory(err);
    for (size_t i = 0; rc == 0 && i < view.count; i++) {
        char *text = view.lines[i].text;
        size_t n = strlen(text);
        while (n > 0 && text[n - 1] == ' ')
            text[--n] = '\0';
        puts(text);
    }
    if (rc == 0 && state.is_daemon_silent)
        rc = cli_error(err, WT_E_TIMEOUT, "systemctl status wattuned",
                       "%s: what it holds is not known", state.daemon_why);
    top_view_done(&view);
    wt_live_state_done(&state);
    return rc;
}

/* ---- a screen ---- */

#ifndef WT_HAS_NCURSES

static int on_screen(struct wt_live *live, const struct top_options *o, int *ret_signal,
                     struct wt_error *err)
{
    (void)live;
    (void)o;
    (void)ret_signal;
    snprintf(err->text, sizeof(err->text), "this wattune was built without ncurses");
    snprintf(err->fix, sizeof(err->fix), "wattune top --once, or watch -n 2 wattune top --once");
    return err->code = WT_E_UNSUPPORTED;
}

#else

struct screen {
    void *library;
    SCREEN *screen;
    WINDOW *window;
    unsigned columns, rows;
    /* Declared in <term.h>, which makes macros of words like lines and columns. */
    int (*setupterm)(const char *term, int fd, int *ret_found);
    struct term *(*set_curterm)(struct term *term);
    int (*del_curterm)(struct term *term);
    typeof(newterm) *newterm;
    typeof(delscreen) *delscreen;
    typeof(endwin) *endwin;
    typeof(cbreak) *cbreak;
    typeof(noecho) *noecho;
    typeof(keypad) *keypad;
    typeof(curs_set) *curs_set;
    typeof(wtimeout) *wtimeout;
    typeof(wgetch) *wgetch;
    typeof(clearok) *clearok;
    typeof(werase) *werase;
    typeof(wmove) *wmove;
    typeof(waddnstr) *waddnstr;
    typeof(wattrset) *wattrset;
    typeof(wrefresh) *wrefresh;
    typeof(resizeterm) *resizeterm;
};

static int load(struct screen *s, struct wt_error *err)
{
    s->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!s->library) {
        snprintf(err->text, sizeof(err->text), "%.200s", dlerror());
        snprintf(err->fix, sizeof(err->fix), "install libncursesw6, or wattune top --once");
        return err->code = WT_E_UNSUPPORTED;
    }
    WINDOW **standard = dlsym(s->library, "stdscr");
    const struct {
        const char *name;
        void **to;
    } symbols[] = {
        {"setupterm", (void **)&s->setupterm},
        {"set_curterm", (void **)&s->set_curterm},
        {"del_curterm", (void **)&s->del_curterm},
        {"newterm", (void **)&s->newterm},
        {"delscreen", (void **)&s->delscreen},
        {"endwin", (void **)&s->endwin},
        {"cbreak", (void **)&s->cbreak},
        {"noecho", (void **)&s->noecho},
        {"keypad", (void **)&s->keypad},
        {"curs_set", (void **)&s->curs_set},
        {"wtimeout", (void **)&s->wtimeout},
        {"wgetch", (void **)&s->wgetch},
        {"clearok", (void **)&s->clearok},
        {"werase", (void **)&s->werase},
        {"wmove", (void **)&s->wmove},
        {"waddnstr", (void **)&s->waddnstr},
        {"wattrset", (void **)&s->wattrset},
        {"wrefresh", (void **)&s->wrefresh},
        {"resizeterm", (void **)&s->resizeterm},
    };
    bool ok = standard;
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++)
        ok = (*symbols[i].to = dlsym(s->library, symbols[i].name)) && ok;
    if (!ok) {
        snprintf(err->text, sizeof(err->text), LIBRARY ": lacks functions");
        return err->code = WT_E_UNSUPPORTED;
    }
    int found = 0;
    if (s->setupterm(NULL, STDOUT_FILENO, &found) == OK) {
        s->del_curterm(s->set_curterm(NULL));
        s->screen = s->newterm(NULL, stdout, stdin);
    }
    if (!s->screen) {
        const char *kind = getenv("TERM");
        snprintf(err->text, sizeof(err->text), "no screen can be drawn on a terminal \"%.40s\"",
                 kind ? kind : "");
        snprintf(err->fix, sizeof(err->fix), "set TERM to what it is, or wattune top --once");
        return err->code = WT_E_UNSUPPORTED;
    }
    s->window = *standard;
    s->cbreak();
    s->noecho();
    s->keypad(s->window, TRUE);
    s->curs_set(0);
    s->wtimeout(s->window, 0);
    return 0;
}

/* The library stays: it keeps what it knows of the terminal for as long as it is loaded, and we are
 * about to end. */
static void leave(struct screen *s)
{
    if (s->screen) {
        s->endwin();
        s->delscreen(s->screen);
    }
}

/* True: the window has another size than before. */
static bool measure(struct screen *s)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    if (size.ws_col == s->columns && size.ws_row == s->rows)
        return false;
    s->columns = size.ws_col;
    s->rows = size.ws_row;
    s->resizeterm(size.ws_row, size.ws_col);
    return true;
}

static void draw(struct screen *s, const struct top_view *v, size_t first)
{
    static const attr_t looks[] = {
        [TOP_PLAIN] = A_NORMAL, [TOP_BOLD] = A_BOLD, [TOP_DIM] = A_DIM, [TOP_REVERSE] = A_REVERSE};
    s->werase(s->window);
    for (size_t i = first; i < v->count && i - first < s->rows; i++) {
        const char *text = v->lines[i].text;
        s->wattrset(s->window, (int)looks[v->lines[i].look]);
        s->wmove(s->window, (int)(i - first), 0);
        s->waddnstr(s->window, text, (int)strlen(text));
    }
    s->wattrset(s->window, (int)A_NORMAL);
    s->wrefresh(s->window);
}

struct top {
    struct screen screen;
    struct top_view view;
    struct wt_live_state state;
    size_t first; /* line at the top */
    bool is_help, is_over;
    bool is_deaf; /* stdin has ended, and it goes on without keys */
};

static void press(struct top *t, int key)
{
    size_t page = t->screen.rows > 2 ? t->screen.rows - 2 : 1;
    switch (key) {
    case 'q':
    case 'Q':
        t->is_over = true;
        break;
    case 'h':
    case '?':
        t->is_help = !t->is_help;
        t->first = 0;
        break;
    case 'L' - '@': /* Ctrl-L: something else wrote there */
        t->screen.clearok(t->screen.window, TRUE);
        break;
    case 's':
        t->view.sort = (enum top_sort)((t->view.sort + 1) % TOP_SORTS);
        break;
    case 'd':
        t->view.sort = TOP_BY_INDEX;
        break;
    case 'p':
        t->view.sort = TOP_BY_POWER;
        break;
    case 'e':
        t->view.sort = TOP_BY_ENERGY;
        break;
    case 't':
        t->view.sort = TOP_BY_TEMPERATURE;
        break;
    case 'j':
    case KEY_DOWN:
        t->first++;
        break;
    case 'k':
    case KEY_UP:
        t->first -= t->first > 0;
        break;
    case KEY_NPAGE:
        t->first += page;
        break;
    case KEY_PPAGE:
        t->first -= t->first < page ? t->first : page;
        break;
    default:
        break;
    }
}

static int show(struct top *t, struct wt_error *err)
{
    t->view.width = t->screen.columns;
    if (!(t->is_help ? top_view_help(&t->view) : top_view_draw(&t->view, &t->state)))
        return no_memory(err);
    size_t most = t->view.count > t->screen.rows ? t->view.count - t->screen.rows : 0;
    t->first = t->first < most ? t->first : most;
    draw(&t->screen, &t->view, t->first);
    return 0;
}

/* Keys, sizes and signals until the next frame is due. Returns a signal, or 0. */
static int attend(struct top *t, int64_t until_ns, struct wt_error *err, int *ret_rc)
{
    while (!t->is_over && cli_now_ns() < until_ns) {
        struct pollfd in = {.fd = t->is_deaf ? -1 : STDIN_FILENO, .events = POLLIN};
        int64_t left_ms = (until_ns - cli_now_ns()) / 1000000;
        int64_t wait_ms = left_ms < LOOK_NS / 1000000 ? left_ms : LOOK_NS / 1000000;
        bool is_changed = false;
        int n = poll(&in, 1, (int)wait_ms);
        int asked = cli_signal_wait(cli_now_ns() + 1000);
        if (asked)
            return asked;
        if (n > 0 && (in.revents & (POLLHUP | POLLERR | POLLNVAL)))
            t->is_over = true; /* the terminal is gone */
        for (int key; n > 0 && !t->is_over && (key = t->screen.wgetch(t->screen.window)) != ERR;) {
            press(t, key);
            is_changed = true;
        }
        t->is_deaf |= n > 0 && !is_changed;
        if (measure(&t->screen) || is_changed)
            *ret_rc = show(t, err);
        if (*ret_rc < 0)
            return 0;
    }
    return 0;
}

static int on_screen(struct wt_live *live, const struct top_options *o, int *ret_signal,
                     struct wt_error *err)
{
    struct top t = {.view = {.sort = o->sort}};
    t.view.is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    int rc = load(&t.screen, err);
    if (rc == 0)
        measure(&t.screen);
    while (rc == 0 && !t.is_over && !*ret_signal) {
        wt_live_state_done(&t.state);
        rc = look(live, &t.state, err);
        if (rc == 0)
            rc = show(&t, err);
        if (rc == 0)
            *ret_signal = attend(&t, cli_now_ns() + o->interval_ns, err, &rc);
    }
    leave(&t.screen);
    top_view_done(&t.view);
    wt_live_state_done(&t.state);
    return rc;
}

#endif

int cmd_top(int argc, char **argv)
{
    struct top_options o = {.interval_ns = 1000000000};
    struct wt_live *live = NULL;
    struct wt_error err = {0};
    int asked = 0;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    const struct wt_live_options options = {.has_processes = true};
    int rc = cli_signals_block(&err);
    if (rc == 0)
        rc = cli_bed_open(&o.bed, &err);
    if (rc == 0)
        rc = wt_live_new(&live, o.bed.ctx, o.bed.devices, o.bed.emulation_name, &options, &err);
    if (rc == 0)
        rc = o.is_once || !isatty(STDOUT_FILENO) ? once(live, &o, &asked, &err)
                                                 : on_screen(live, &o, &asked, &err);
    wt_live_free(live);
    cli_bed_close(&o.bed);
    if (rc < 0)
        return cli_fail("top", &err);
    return asked ? 128 + asked : CLI_OK;
}
