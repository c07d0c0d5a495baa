/* fleet: how long a replay of a cluster's jobs takes, and how that grows with their number.
 *
 *     build/bench/fleet [--jobs MAX] [--svg FILE]     the table; and the plot of docs/plan.md
 *     build/bench/fleet --write FILE N [LOAD]         only the trace, to try the command on
 *
 * Traces are synthetic, on 10,000 nodes, of 10,000 to a million jobs, by this recipe (all draws by
 * splitmix64 from seed 8):
 * - width: 2 to the power of a draw from 0 to 10 that leans to the low end (11 u^3); one in four is
 *   moved to any number up to a quarter more or less.
 * - run: log-normal, median 5 min, sigma 1.8, from 10 s to 2 days, 1.1 times as long for each
 *   doubling of the width up to 8 times.
 * - asked: the next of 15 and 30 min, 1, 2, 4, 8, 12, 24, 48, 72 h above run times a factor from 1
 *   to 4 even; one in ten asks for the longest.
 * - arrivals: gaps are exponential; by hour of the day 0.5 to 1.5 times as many (a sine), half as
 *   many at weekends; the mean gap is what gives the load asked for (0.9, and 1.1: then the queue
 *   grows all the time).
 * - users: 400, by Zipf's law; queue 1 of those who ask for up to 4 h, else 2.
 *
 * Each size is a process of its own. Times are CPU seconds of one thread; memory is the highest
 * resident set. "alone" replays the baseline, "policy" the baseline, caps, shifts of half a day by
 * the German carbon intensity, and both: four schedules. The exponent is that of the line through
 * the logarithms of the last two sizes; n log n has 1.08 there. Exit code 1 when a million jobs
 * take over 60 s or 1 GB, or an exponent is over 1.3. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plan/fleet.h"

#define NODES    10000
#define USERS    400
#define BAR_S    60.0
#define BAR_MIB  953.7 /* 1 GB */
#define BAR_RISE 1.3

static uint64_t dice;

static double draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (dice ^ (dice >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "fleet: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- the recipe ---- */

struct recipe {
    double users[USERS]; /* shares, added up */
};

static void make_recipe(struct recipe *r)
{
    double sum = 0;
    for (int i = 0; i < USERS; i++)
        r->users[i] = sum += 1.0 / (i + 1);
    for (int i = 0; i < USERS; i++)
        r->users[i] /= sum;
}

static int draw_width(void)
{
    double u = draw();
    int width = 1 << (int)(11 * u * u * u);
    if (draw() < 0.25)
        width = (int)round(width * (0.75 + 0.5 * draw()));
    return width < 1 ? 1 : width;
}

static int draw_run(int width)
{
    double doublings = fmin(log2(width), 8);
    double normal = sqrt(-2 * log(draw())) * cos(2 * M_PI * draw());
    return (int)fmin(fmax(300 * exp(1.8 * normal) * pow(1.1, doublings), 10), 172800);
}

static int draw_asked(int run_s)
{
    static const int steps[] = {900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800};
    double wish = run_s * (1 + 3 * draw());
    size_t i = draw() < 0.1 ? WT_COUNTOF(steps) : 0;
    while (i < WT_COUNTOF(steps) && steps[i] < wish)
        i++;
    return i < WT_COUNTOF(steps) ? steps[i] : 259200;
}

static int draw_user(const struct recipe *r)
{
    double u = draw();
    int low = 0, high = USERS - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (r->users[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Node-seconds of a job on average, by the same draws. */
static double mean_work(void)
{
    double sum = 0;
    dice = 8;
    for (int i = 0; i < 200000; i++) {
        int width = draw_width();
        sum += (double)width * draw_run(width);
    }
    return sum / 200000;
}

static void write_trace(const char *path, size_t count, double load)
{
    FILE *out = fopen(path, "w");
    struct recipe recipe;
    if (!out)
        die(path);
    make_recipe(&recipe);
    /* 6/7 is what is left of the mean rate by quieter weekends. */
    double gap = mean_work() / (load * NODES) * 6 / 7, t = 0;
    dice = 8;
    fprintf(out,
            "; Version: 2.2\n; Note: synthetic, by bench/fleet.c\n; MaxNodes: %d\n"
            "; MaxProcs: %d\n; UnixStartTime: 1577836800\n; Queue: 1 short\n; Queue: 2 long\n",
            NODES, NODES);
    for (size_t i = 1; i <= count; i++) {
        double day = t / 86400;
        double rate = 1 + 0.5 * sin(2 * M_PI * (day - 0.375));
        if ((int)(day + 2) % 7 >= 5) /* 2020-01-01 is a Wednesday */
            rate /= 2;
        t += -log(draw()) * gap / rate;
        int width = draw_width(), run_s = draw_run(width), asked_s = draw_asked(run_s);
        fprintf(out, "%zu %.0f -1 %d %d -1 -1 %d %d -1 1 %d 1 -1 %d 1 -1 -1\n", i, t, run_s, width,
                width, asked_s, draw_user(&recipe) + 1, asked_s > 14400 ? 2 : 1);
    }
    if (fclose(out) != 0)
        die(path);
}

/* ---- one size ---- */

struct figures {
    size_t jobs, queue_max;
    double read_s, alone_s, policy_s, memory_mib, days, utilisation, wait_h;
    bool is_done;
};

static double now_s(void)
{
    return (double)wt_clock_thread_cpu_ns() * 1e-9;
}

static struct wt_fleet_curve *read_curve(struct wt_error *err)
{
    struct wt_fleet_curve *curve;
    char path[] = "/tmp/wt-curve-XXXXXX";
    FILE *out = fdopen(mkstemp(path), "w");
    /* As round as a curve can be: the figures here are times. */
    fputs("power_w,time_s,energy_j\n150,110,15400\n200,103,18500\n250,100,21000\n", out);
    fclose(out);
    int rc = wt_fleet_curve_read(&curve, path, err);
    unlink(path);
    return rc < 0 ? NULL : curve;
}

static void measure(const char *path, struct figures *f)
{
    struct wt_trace trace;
    struct wt_fleet_result r;
    struct wt_error err = {0};
    struct wt_signal *carbon;
    struct wt_fleet_cluster cluster = {
        .node_gpus = 4, .idle_w = 400, .busy_w = NAN, .host_w = 300, .curve = read_curve(&err)};
    struct wt_fleet_policy none = {.objective = WT_OBJECTIVE_CARBON};
    struct wt_fleet_policy both = {.objective = WT_OBJECTIVE_CARBON,
                                   .caps = {{.of = WT_FLEET_ALL, .cap_w = 150}},
                                   .cap_count = 1,
                                   .shifts = {{WT_FLEET_QUEUE, "short", NAN, 43200}},
                                   .shift_count = 1};
    if (!cluster.curve ||
        wt_signal_read(&carbon, WT_SIGNAL_CARBON, WT_BENCH_CARBON "/de-2020-hourly.csv", &err) < 0)
        die(err.text);
    struct wt_place place = {.signals = {[WT_SIGNAL_CARBON] = carbon}};
    double from_s = now_s();
    if (wt_trace_read(&trace, path, &err) < 0)
        die(err.text);
    f->read_s = now_s() - from_s;
    f->jobs = trace.count;
    for (int k = 0; k < 2; k++) {
        from_s = now_s();
        if (wt_fleet_replay(&r, &trace, &cluster, k ? &both : &none, &place, &err) < 0)
            die(err.text);
        *(k ? &f->policy_s : &f->alone_s) = now_s() - from_s;
        f->queue_max = r.cases[0].queue_max;
        f->days = (double)(r.cases[0].end_s - r.cases[0].start_s) / 86400;
        f->utilisation = r.cases[0].utilisation;
        f->wait_h = r.cases[0].wait_s.mean / 3600;
        wt_fleet_result_done(&r);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    f->memory_mib = (double)usage.ru_maxrss / 1024;
    f->is_done = true;
}

/* In a process of its own, so that the memory is its own. */
static struct figures measure_apart(size_t count, double load)
{
    char path[] = "/tmp/wt-fleet-XXXXXX";
    struct figures f = {0};
    int ends[2];
    close(mkstemp(path));
    write_trace(path, count, load);
    if (pipe(ends) < 0)
        die("no pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        measure(path, &f);
        _exit(write(ends[1], &f, sizeof(f)) == sizeof(f) ? 0 : 1);
    }
    close(ends[1]);
    if (pid < 0 || read(ends[0], &f, sizeof(f)) != sizeof(f) || !f.is_done)
        die("a measurement failed");
    close(ends[0]);
    waitpid(pid, NULL, 0);
    unlink(path);
    return f;
}

/* ---- the plot ---- */

enum { SIZES = 5, LOADS = 2 };
static const double loads[LOADS] = {0.9, 1.1};

static double x_of(double jobs)
{
    return 70 + 500 * (log10(jobs) - 4) / 2;
}

static double y_of(double s)
{
    return 330 - 300 * (log10(s) + 3) / 5; /* 1 ms to 100 s */
}

static void draw_axes(FILE *out)
{
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"620\" height=\"400\" "
                 "font-family=\"sans-serif\" font-size=\"12\">\n"
                 "<rect width=\"620\" height=\"400\" fill=\"#fff\"/>\n");
    for (int k = -3; k <= 2; k++)
        fprintf(out,
                "<path d=\"M70 %.1fH570\" stroke=\"#ddd\"/><text x=\"62\" y=\"%.1f\" "
                "text-anchor=\"end\">%g s</text>\n",
                y_of(pow(10, k)), y_of(pow(10, k)) + 4, pow(10, k));
    for (int k = 4; k <= 6; k++)
        fprintf(out,
                "<path d=\"M%.1f 30V330\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"348\" "
                "text-anchor=\"middle\">%s</text>\n",
                x_of(pow(10, k)), x_of(pow(10, k)),
                k == 4   ? "10,000 jobs"
                : k == 5 ? "100,000"
                         : "1,000,000");
    fprintf(out,
            "<path d=\"M70 %.1fH570\" stroke=\"#c22\" stroke-dasharray=\"6 4\"/>"
            "<text x=\"74\" y=\"%.1f\" fill=\"#c22\">bar: 60 s for a million jobs</text>\n",
            y_of(BAR_S), y_of(BAR_S) - 5);
}

static void draw_plot(const char *path, struct figures f[LOADS][SIZES])
{
    static const char *const colours[LOADS] = {"#0a6", "#06c"};
    FILE *out = fopen(path, "w");
    if (!out)
        die(path);
    draw_axes(out);
    double first = f[0][0].read_s + f[0][0].policy_s, n0 = (double)f[0][0].jobs;
    fprintf(out, "<path d=\"M");
    for (int i = 0; i <= 20; i++) {
        double n = pow(10, 4 + 0.1 * i);
        fprintf(out, "%s%.1f %.1f", i ? "L" : "", x_of(n),
                y_of(first * n * log(n) / (n0 * log(n0))));
    }
    fprintf(
        out,
        "\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"2 3\"/>\n"
        "<text x=\"300\" y=\"322\" fill=\"#888\">dotted: n log n through the first point</text>\n");
    for (int k = 0; k < LOADS; k++) {
        fprintf(out,
                "<text x=\"%d\" y=\"378\" fill=\"%s\">&#9679; load %.1f: read, and replayed four "
                "times</text>\n",
                70 + 260 * k, colours[k], loads[k]);
        for (int i = 0; i < SIZES; i++)
            if (f[k][i].is_done)
                fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
                        x_of((double)f[k][i].jobs), y_of(f[k][i].read_s + f[k][i].policy_s),
                        colours[k]);
    }
    fprintf(out, "</svg>\n");
    if (fclose(out) != 0)
        die(path);
}

int main(int argc, char **argv)
{
    static const size_t sizes[SIZES] = {10000, 31623, 100000, 316228, 1000000};
    struct figures all[LOADS][SIZES] = {0};
    const char *svg = NULL;
    size_t most = 1000000;
    bool is_kept = true;
    if (argc >= 4 && strcmp(argv[1], "--write") == 0) {
        write_trace(argv[2], (size_t)atol(argv[3]), argc > 4 ? atof(argv[4]) : 0.9);
        return EXIT_SUCCESS;
    }
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--svg") == 0)
            svg = argv[i + 1];
        else if (strcmp(argv[i], "--jobs") == 0)
            most = (size_t)atol(argv[i + 1]);
    for (int k = 0; k < LOADS; k++) {
        printf("\nload %.1f on %d nodes\n%9s %8s %8s %8s %9s %6s %8s %9s %9s %8s\n", loads[k],
               NODES, "jobs", "read", "alone", "policy", "memory", "days", "in use", "queue",
               "wait", "exponent");
        for (int i = 0; i < SIZES && sizes[i] <= most; i++) {
            struct figures *f = &all[k][i];
            *f = measure_apart(sizes[i], loads[k]);
            printf("%9zu %6.2f s %6.2f s %6.2f s %5.0f MiB %6.0f %6.1f %% %9zu %7.1f h", f->jobs,
                   f->read_s, f->alone_s, f->policy_s, f->memory_mib, f->days, 100 * f->utilisation,
                   f->queue_max, f->wait_h);
            if (i) {
                double rise = log((f->read_s + f->policy_s) / (f[-1].read_s + f[-1].policy_s)) /
                              log((double)f->jobs / (double)f[-1].jobs);
                printf(" %8.2f", rise);
                is_kept &= i < 3 || rise <= BAR_RISE;
            }
            printf("\n");
            fflush(stdout);
            is_kept &= f->read_s + f->policy_s < BAR_S && f->memory_mib < BAR_MIB;
        }
    }
    if (svg)
        draw_plot(svg, all);
    if (most < sizes[SIZES - 1])
        printf("\nbar: a million jobs, baseline and policy, in %.0f s and 1 GB: not measured%s\n",
               BAR_S, is_kept ? "" : ", and missed already");
    else
        printf("\nbar: a million jobs, baseline and policy, in %.0f s and 1 GB: %s\n", BAR_S,
               is_kept ? "kept" : "missed");
    return is_kept ? EXIT_SUCCESS : EXIT_FAILURE;
}
