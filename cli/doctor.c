/* wattune doctor: what can be read and set here, why not, and what would change it. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static void print_help(void)
{
    fputs("usage: wattune doctor [OPTION...]\n\n"
          "Looks at every sensor and setting of this machine and changes nothing. Each line\n"
          "is a value that was just read, or the reason why there is none; what would\n"
          "change that stands at the end. Settings count as settable when the driver's rule\n"
          "about rights is met; they are not tried.\n\n"
          "  --gpu LIST      only these GPUs: indices or UUIDs (default:\n"
          "                  $CUDA_VISIBLE_DEVICES, else all)\n"
          "  --json          one JSON document on stdout\n"
          "  --emulate SPEC  look at emulated GPUs: PROFILE[:N]\n"
          "  --fault SPEC    a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                  [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --help          this text\n\n"
          "Exit code: 0 energy of some device can be measured or at least estimated; 4 of\n"
          "none; 1 failure, 2 usage.\n",
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
    enum { JSON = 256, HELP };
    static const struct option options[] = {
        BED_OPTIONS,
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1)
        switch (c) {
        case JSON:
            d->is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_bed_option_last("doctor", c, optarg, &d->bed);
            if (code >= 0)
                return code;
        }
    if (optind < argc)
        return cli_usage("doctor", "\"%s\": doctor takes options only", argv[optind]);
    return cli_bed_check("doctor", &d->bed);
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

/* Words from column `at` on, broken at blanks; further lines begin at `indent`, and where it is a
 * command each ends with what joins it to the next. */
static void print_wrapped(unsigned width, unsigned at, unsigned indent, const char *text,
                          bool is_command)
{
    const char *join = is_command ? " \\" : "";
    bool is_first = true;
    width = width > indent + 20 ? width : indent + 20;
    while (*text) {
        size_t length = strcspn(text, " ");
        const char *next = text + length + strspn(text + length, " ");
        if (!is_first && at + 1 + length + (*next ? strlen(join) : 0) > width) {
            printf("%s\n%*s", join, (int)indent, "");
            at = indent;
        } else if (!is_first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)length, text);
        at += (unsigned)length;
        text = next;
        is_first = false;
    }
    putchar('\n');
}

/* Words after `at` columns; further lines begin below the first one's start. */
static void print_words(unsigned width, unsigned at, const char *text)
{
    print_wrapped(width, at, at, text, false);
}

/* A paragraph, two columns in. */
static void print_paragraph(const struct doctor *d, const char *text)
{
    fputs("  ", stdout);
    print_words(d->width, 2, text);
}

/* A command to copy, below what it is for. */
static void print_command(const struct doctor *d, const char *text)
{
    fputs("    ", stdout);
    print_wrapped(d->width, 4, 8, text, true);
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
        {"machine", "Machine"},      {"nvml", "NVIDIA"},         {"amdgpu", "AMD GPUs"},
        {"intel_gpu", "Intel GPUs"}, {"rapl", "CPU and memory"}, {"ipmi", "Node"},
        {"hwmon", "Node"},           {"cray", "Node"},           {"battery", "Node"},
        {"store", "Wattune"},        {"emulator", "Wattune"},
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

/* Text that grows; what does not fit is left out whole, and is told by "...". */
static void add_text(char *buf, size_t size, const char *before, const char *text)
{
    size_t used = strlen(buf), more = strlen(before) + strlen(text);
    if (used + more + sizeof(", ...") <= size)
        snprintf(buf + used, size - used, "%s%s", before, text);
    else if (!strstr(buf, "..."))
        snprintf(buf + used, size - used, ", ...");
}

/* What one cure would change of one device: "power limit, SM clock". */
static void list_whats(const struct doctor *d, const char *fix, const char *device, char *buf,
                       size_t size)
{
    buf[0] = '\0';
    for (size_t i = 0; i < d->count; i++) {
        const struct wt_finding *f = &d->findings[i];
        bool is_said = false;
        if (strcmp(f->fix, fix) != 0 || strcmp(f->device, device) != 0)
            continue;
        for (size_t j = 0; j < i; j++)
            is_said |= strcmp(d->findings[j].fix, fix) == 0 &&
                       strcmp(d->findings[j].device, device) == 0 &&
                       strcmp(d->findings[j].what, f->what) == 0;
        if (!is_said)
            add_text(buf, size, *buf ? ", " : "", f->what);
    }
}

/* Whether an earlier line with this cure is of the same device or, of another device, says of it
 * the same things: then it was said there. */
static bool is_listed(const struct doctor *d, size_t first, size_t i, const char *whats,
                      bool by_device)
{
    char others[256];
    const char *fix = d->findings[first].fix;
    for (size_t j = first; j < i; j++) {
        if (strcmp(d->findings[j].fix, fix) != 0)
            continue;
        if (strcmp(d->findings[j].device, d->findings[i].device) == 0)
            return true;
        list_whats(d, fix, d->findings[j].device, others, sizeof(others));
        if (!by_device && strcmp(others, whats) == 0)
            return true;
    }
    return false;
}

/* A cure that is nothing but a command stays one that can be copied. */
static bool is_command(const char *fix)
{
    return (strncmp(fix, "sudo ", 5) == 0 || strncmp(fix, "echo ", 5) == 0) && !strstr(fix, ", ") &&
           !strstr(fix, ": ") && !strstr(fix, " (");
}

/* One cure, and what it would change: "for power limit, SM clock of GPU 0, GPU 1; governor of
 * cpu-package-0". Devices of which it changes the same things stand together. */
static void print_fix(const struct doctor *d, size_t first)
{
    const char *fix = d->findings[first].fix;
    char text[1024] = "", whats[256], others[256], name[128];
    for (size_t i = first; i < d->count; i++) {
        const struct wt_finding *f = &d->findings[i];
        if (strcmp(f->fix, fix) != 0)
            continue;
        list_whats(d, fix, f->device, whats, sizeof(whats));
        if (is_listed(d, first, i, whats, false))
            continue;
        add_text(text, sizeof(text), *text ? "; " : "for ", whats);
        size_t named = 0;
        for (size_t j = i; j < d->count; j++) {
            const char *device = d->findings[j].device;
            if (strcmp(d->findings[j].fix, fix) != 0 || !*device ||
                is_listed(d, first, j, "", true))
                continue;
            list_whats(d, fix, device, others, sizeof(others));
            if (strcmp(others, whats) != 0)
                continue;
            short_name(d, device, name, sizeof(name));
            if (++named <= 8)
                add_text(text, sizeof(text), named > 1 ? ", " : " of ", name);
        }
        if (named > 8) {
            snprintf(name, sizeof(name), "%zu more", named - 8);
            add_text(text, sizeof(text), " and ", name);
        }
    }
    add_text(text, sizeof(text), ":", "");
    fputs("  ", stdout);
    print_wrapped(d->width, 2, 6, text, false);
    if (is_command(fix)) {
        print_command(d, fix);
    } else {
        fputs("    ", stdout);
        print_words(d->width, 4, fix);
    }
}

/* The value on the knob's grid from its lowest on that is nearest, in whole watts or megahertz
 * where the steps allow it. */
static int64_t on_step(const struct wt_knob_info *k, double wanted)
{
    int64_t step = k->step > 0 ? k->step : 1;
    int64_t origin = k->min;
    if (1000 % step == 0 && (int64_t)ceil((double)k->min / 1000) * 1000 <= k->max) {
        step = 1000;
        origin = (int64_t)ceil((double)k->min / 1000) * 1000;
    }
    int64_t value = origin + llround((wanted - (double)origin) / (double)step) * step;
    while (value > k->max)
        value -= step;
    return value < origin ? origin : value;
}

/* "3050,4067,5084": the highest and two lower values that the knob takes, rising; fewer where there
 * are fewer. False: there is nothing to choose from. */
static bool suggest(const struct wt_knob_info *k, char *buf, size_t size)
{
    double top = (double)k->max, low = (double)k->min;
    double shares[] = {0.6 * top, 0.8 * top};
    if (shares[0] < low) {
        shares[0] = low;
        shares[1] = (low + top) / 2;
    }
    int64_t values[3] = {on_step(k, shares[0]), on_step(k, shares[1]), k->max}, last = -1;
    unsigned count = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        char text[48];
        if (values[i] <= last || !wt_knob_takes(k, values[i]))
            continue;
        wt_knob_value_typed(text, sizeof(text), k->knob, values[i]);
        add_text(buf, size, count++ ? "," : "", text);
        last = values[i];
    }
    return count > 1;
}

/* The first setting to try of those that may be set here. */
static void print_sweep(const struct doctor *d)
{
    static const struct {
        enum wt_knob knob;
        const char *what;
    } rows[] = {
        {WT_KNOB_POWER, "power limit"},
        {WT_KNOB_CPU_POWER, "power limit of the processor"},
        {WT_KNOB_CPU_FREQ, "top frequency of the processor"},
    };
    for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
        for (size_t i = 0; i < wt_devices_count(d->bed.devices); i++) {
            struct wt_knob_info k;
            char values[128] = "auto", text[256];
            if (wt_devices_info(d->bed.devices, i)->is_part ||
                wt_devices_knob(d->bed.devices, i, rows[r].knob, &k, NULL) < 0 || !k.is_settable)
                continue;
            if (k.knob != WT_KNOB_POWER && !suggest(&k, values, sizeof(values)))
                continue;
            snprintf(text, sizeof(text), "To find the best %s:", rows[r].what);
            print_paragraph(d, text);
            snprintf(text, sizeof(text), "wattune sweep --set %s=%s -- YOUR COMMAND",
                     wt_knob_name(k.knob), values);
            print_command(d, text);
            return;
        }
}

static void print_next(const struct doctor *d)
{
    char text[128];
    if (d->sum.measurable)
        snprintf(text, sizeof(text), "Energy of %zu device%s can be measured:", d->sum.measurable,
                 d->sum.measurable == 1 ? "" : "s");
    else
        snprintf(text, sizeof(text), "%s",
                 d->sum.modeled ? "Nothing measures energy here; it can be estimated, with a band:"
                                : "No energy can be measured here as it is.");
    print_paragraph(d, text);
    if (d->sum.measurable || d->sum.modeled)
        print_command(d, "wattune run -- YOUR COMMAND");
    if (!d->sum.measurable) {
        print_paragraph(d, "To try Wattune on an emulated GPU:");
        print_command(d, "wattune run --emulate v100-pcie-32gb -- YOUR COMMAND");
    }
    if (d->sum.measurable && d->sum.knobs && !d->sum.settable)
        print_paragraph(d, "No setting may be changed, so `wattune sweep` can measure but not "
                           "compare settings.");
    else if (d->sum.settable)
        print_sweep(d);
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
    printf("\n%sWhat next%s\n", look->bold, look->plain);
    print_next(d);
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
    d.bed.is_sensor_optional = true;
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
        else if (cli_print_json("doctor", wt_survey_to_json(d.bed.devices, d.findings, d.count)) !=
                 CLI_OK)
            code = CLI_FAILURE;
    }
    free(d.findings);
    cli_bed_close(&d.bed);
    return code;
}
