/* wattune doctor: what can be read and set here, why not, and what would change it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static void print_help(void)
{
    fputs("usage: wattune doctor [OPTION...]\n\n"
          "Looks at every sensor and setting of this machine and changes nothing. Each line is a\n"
          "value that was just read, or the reason why there is none; what would change that\n"
          "stands at the end. Settings count as settable when the driver's rule about rights is\n"
          "met; they are not tried.\n\n"
          "  --gpu LIST      only these GPUs: indices or UUIDs (default: $CUDA_VISIBLE_DEVICES, "
          "else all)\n"
          "  --json          one JSON document on stdout\n"
          "  --emulate SPEC  look at emulated GPUs: PROFILE[:N]\n"
          "  --fault SPEC    a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --help          this text\n\n"
          "Exit code: 0 energy of some device can be measured or at least estimated; 4 of none; 1\n"
          "failure, 2 usage.\n",
          stdout);
}

struct doctor {
    struct cli_bed bed;
    bool is_json;
    struct wt_finding *findings;
    size_t count;
    struct wt_survey_sum sum;
    unsigned width; /* of the terminal */
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct doctor *d)
{
    enum { GPU = 256, JSON, EMULATE, FAULT, SYSROOT, HELP };
    static const struct option options[] = {
        {"gpu", required_argument, NULL, GPU},
        {"json", no_argument, NULL, JSON},
        {"emulate", required_argument, NULL, EMULATE},
        {"fault", required_argument, NULL, FAULT},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1)
        switch (c) {
        case GPU:
            d->bed.gpus = optarg;
            break;
        case JSON:
            d->is_json = true;
            break;
        case EMULATE:
            d->bed.emulate = optarg;
            break;
        case FAULT:
            d->bed.faults = optarg;
            break;
        case SYSROOT:
            d->bed.sysroot = optarg;
            break;
        case HELP:
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("doctor");
        }
    if (optind < argc)
        return cli_usage("doctor", "\"%s\": doctor takes options only", argv[optind]);
    return -1;
}

static int print_json(const struct doctor *d)
{
    char *text = wt_survey_to_json(d->bed.devices, d->findings, d->count);
    int failed = !text || puts(text) == EOF || fflush(stdout) == EOF;
    free(text);
    return failed;
}

/* ---- terminal ---- */

struct look {
    const char *bold, *green, *yellow, *red, *plain;
};

static struct look look_of(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (!isatty(fd) || (no_color && *no_color) || (term && strcmp(term, "dumb") == 0))
        return (struct look){"", "", "", "", ""};
    return (struct look){"\033[1m", "\033[32m", "\033[33m", "\033[31m", "\033[0m"};
}

/* Words after `at` columns, broken at blanks; further lines begin below the first one's start. */
static void print_words(unsigned width, unsigned at, const char *text)
{
    unsigned indent = at;
    bool is_first = true;
    width = width > indent + 20 ? width : indent + 20;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (!is_first && at + 1 + length > width) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        } else if (!is_first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)length, text);
        at += (unsigned)length;
        text += length;
        text += strspn(text, " ");
        is_first = false;
    }
    putchar('\n');
}

static void print_line(const struct doctor *d, const struct look *look, const struct wt_finding *f)
{
    static const char *const words[] = {
        [WT_FINDING_OK] = "ok",
        [WT_FINDING_MISSING] = "none",
        [WT_FINDING_DENIED] = "denied",
        [WT_FINDING_BROKEN] = "broken",
    };
    const char *color = f->kind == WT_FINDING_OK       ? look->green
                        : f->kind == WT_FINDING_BROKEN ? look->red
                                                       : look->yellow;
    printf("  %s%-6s%s  %-14s  ", color, words[f->kind], look->plain, f->what);
    print_words(d->width, 26, f->value);
}

/* The short name a person knows a device by. */
static void short_name(const struct doctor *d, const char *id, char *buf, size_t size)
{
    for (size_t i = 0; i < wt_devices_count(d->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(d->bed.devices, i);
        if (strcmp(info->id, id) == 0 && info->kind == WT_DEVICE_GPU && !info->is_part) {
            snprintf(buf, size, "GPU %u", info->index);
            return;
        }
    }
    snprintf(buf, size, "%s", id);
}

/* Lines of one device below its name; lines of a source below what it is for. */
static void print_findings(const struct doctor *d, const struct look *look)
{
    static const struct {
        const char *source, *title;
    } titles[] = {
        {"machine", "Machine"}, {"nvml", "NVIDIA"},      {"rapl", "CPU and memory"},
        {"store", "Wattune"},   {"emulator", "Wattune"},
    };
    const char *last = NULL;
    for (size_t i = 0; i < d->count; i++) {
        const struct wt_finding *f = &d->findings[i];
        const char *title = f->source;
        for (size_t t = 0; t < sizeof(titles) / sizeof(titles[0]); t++)
            if (!*f->device && strcmp(titles[t].source, f->source) == 0)
                title = titles[t].title;
        if (*f->device)
            title = f->device;
        if (!last || strcmp(last, title) != 0) {
            char name[128];
            short_name(d, title, name, sizeof(name));
            bool is_gpu = strcmp(name, title) != 0;
            printf("%s%s%s%s%s%s\n", i ? "\n" : "", look->bold, name, look->plain,
                   is_gpu ? "  " : "", is_gpu ? title : "");
        }
        last = title;
        print_line(d, look, f);
    }
}

static bool is_first_with_fix(const struct doctor *d, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(d->findings[j].fix, d->findings[i].fix) == 0)
            return false;
    return true;
}

static bool is_repeated(const struct doctor *d, size_t first, size_t i, bool by_device)
{
    for (size_t j = first; j < i; j++)
        if (strcmp(d->findings[j].fix, d->findings[i].fix) == 0 &&
            (by_device ? strcmp(d->findings[j].device, d->findings[i].device) == 0
                       : strcmp(d->findings[j].what, d->findings[i].what) == 0))
            return true;
    return false;
}

/* One cure, and everything it would cure: "power limit, SM clock of GPU 0, GPU 1". */
static void print_fix(const struct doctor *d, size_t first)
{
    const char *fix = d->findings[first].fix;
    fputs("  for ", stdout);
    for (size_t i = first; i < d->count; i++)
        if (strcmp(d->findings[i].fix, fix) == 0 && !is_repeated(d, first, i, false))
            printf("%s%s", i > first ? ", " : "", d->findings[i].what);
    size_t named = 0;
    for (size_t i = first; i < d->count; i++) {
        const struct wt_finding *f = &d->findings[i];
        if (strcmp(f->fix, fix) != 0 || !*f->device || is_repeated(d, first, i, true))
            continue;
        char name[128];
        short_name(d, f->device, name, sizeof(name));
        if (++named <= 8)
            printf("%s%s", named > 1 ? ", " : " of ", name);
    }
    if (named > 8)
        printf(" and %zu more", named - 8);
    fputs(":\n    ", stdout);
    print_words(d->width, 4, fix);
}

static void print_end(const struct doctor *d, const struct look *look)
{
    bool has_fix = false;
    for (size_t i = 0; i < d->count; i++) {
        if (!*d->findings[i].fix || !is_first_with_fix(d, i))
            continue;
        if (!has_fix)
            printf("\n%sWhat would change this%s\n", look->bold, look->plain);
        has_fix = true;
        print_fix(d, i);
    }
    printf("\n%sWhat next%s\n  ", look->bold, look->plain);
    if (!d->sum.measurable && d->sum.modeled)
        puts("Nothing measures energy here; it can be estimated, with a band:\n"
             "    wattune run -- YOUR COMMAND\n  To try Wattune on an emulated GPU:\n"
             "    wattune run --emulate v100-pcie-32gb -- YOUR COMMAND");
    else if (!d->sum.measurable)
        puts("No energy can be measured here as it is. To try Wattune on an\n  emulated GPU:\n"
             "    wattune run --emulate v100-pcie-32gb -- YOUR COMMAND");
    else
        printf("Energy of %zu device%s can be measured:\n    wattune run -- YOUR COMMAND\n",
               d->sum.measurable, d->sum.measurable == 1 ? "" : "s");
    if (d->sum.measurable && d->sum.knobs && !d->sum.settable)
        puts("  No setting may be changed, so `wattune sweep` can measure but not\n"
             "  compare settings.");
    else if (d->sum.settable)
        puts("  To find the best power limit:\n    wattune sweep --set power=auto -- YOUR COMMAND");
}

static void print_text(const struct doctor *d)
{
    struct look look = look_of(STDOUT_FILENO);
    if (*d->bed.emulation_name)
        printf("%sEMULATED%s: %s;\n  the GPUs below are a model, not this machine's\n\n",
               look.yellow, look.plain, d->bed.emulation_name);
    print_findings(d, &look);
    print_end(d, &look);
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor d = {0};
    struct wt_error err = {0};
    int code = parse(argc, argv, &d);
    if (code >= 0)
        return code;
    if (cli_bed_open(&d.bed, &err) < 0 ||
        wt_survey(d.bed.ctx, d.bed.devices, &d.findings, &d.count, &err) < 0) {
        code = cli_fail("doctor", &err);
    } else {
        wt_lease_survey(d.bed.ctx, d.bed.devices, d.findings, d.count);
        d.sum = wt_survey_sum(d.findings, d.count);
        code = d.sum.measurable || d.sum.modeled ? CLI_OK : CLI_NO_SENSOR;
        struct wt_term term;
        wt_term_init(&term, stdout);
        d.width = term.width;
        if (!d.is_json)
            print_text(&d);
        else if (print_json(&d))
            code = CLI_FAILURE;
    }
    free(d.findings);
    cli_bed_close(&d.bed);
    return code;
}
