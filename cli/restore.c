/* wattune restore: put back what processes that died had set and their guardians could not put
 * back; at boot, or by hand. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void print_help(void)
{
    fputs("usage: wattune restore [OPTION...]\n\n"
          "Puts back every setting that a Wattune made and that neither it nor its guardian\n"
          "lived to put back, from the journal on disk. Settings of living processes, and\n"
          "values that someone else changed since, are left alone and named.\n\n"
          "  --dry-run       say what would be done, change nothing\n"
          "  --json          one JSON document on stdout\n"
          "  --state-dir DIR the journal's directory (default: /var/lib/wattune for root,\n"
          "                  else $XDG_STATE_HOME/wattune)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --help          this text\n\n"
          "Exit code: 0 nothing is left to put back (what a living process holds is not\n"
          "left), 1 failure, or --dry-run found something to put back, 2 usage, 3 not\n"
          "permitted.\n",
          stdout);
}

struct restore_options {
    struct cli_bed bed;
    const char *state_dir;
    bool is_json, is_dry_run;
    size_t count, to_restore;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct restore_options *o)
{
    enum { DRY_RUN = 256, JSON, STATE_DIR, SYSROOT };
    static const struct option options[] = {
        {"dry-run", no_argument, NULL, DRY_RUN},
        {"json", no_argument, NULL, JSON},
        {"state-dir", required_argument, NULL, STATE_DIR},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case DRY_RUN:
            o->is_dry_run = true;
            break;
        case JSON:
            o->is_json = true;
            break;
        case STATE_DIR:
            o->state_dir = optarg;
            break;
        case SYSROOT:
            o->bed.sysroot = optarg;
            break;
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("restore");
        }
    }
    if (optind < argc)
        return cli_usage("restore", "\"%s\": takes no arguments", argv[optind]);
    return -1;
}

static const char *outcome(const struct restore_options *o, int rc)
{
    switch (rc) {
    case 0:
        return o->is_dry_run ? "to_restore" : "restored";
    case WT_E_BUSY:
        return "held";
    case WT_E_CHANGED:
        return "changed";
    default:
        return "failed";
    }
}

/* A JSON string. Device ids and reasons are ours or the driver's, and may hold anything. */
static void print_string(const char *text)
{
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == '"' || *p == '\\' || *p >= 0x7f)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    putchar('"');
}

/* A number in the knob's unit, or a name, as in the JSON of a run. */
static void print_value(enum wt_knob knob, int64_t value)
{
    char text[48];
    if (wt_knob_is_named(knob) || value < 0)
        print_string(wt_knob_value_text(text, sizeof(text), knob, value));
    else
        printf("%.10g", wt_knob_to_user(value));
}

static void on_record(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                      int64_t written, int rc, const char *text)
{
    struct restore_options *o = data;
    char back[48], set[48], name[128];
    o->count++;
    o->to_restore += o->is_dry_run && rc == 0;
    if (o->is_json) {
        printf("%s{\"device\":", o->count > 1 ? "," : "");
        print_string(device_id);
        printf(",\"knob\":\"%s\",\"unit\":\"%s\",\"found\":", wt_knob_name(knob),
               wt_knob_unit(knob));
        print_value(knob, found);
        printf(",\"written\":");
        print_value(knob, written);
        printf(",\"outcome\":\"%s\",\"why\":", outcome(o, rc));
        print_string(text);
        putchar('}');
        return;
    }
    struct wt_error said = {0};
    snprintf(name, sizeof(name), "%s", device_id);
    snprintf(said.text, sizeof(said.text), "%s", text);
    for (size_t i = 0; i < wt_devices_count(o->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(o->bed.devices, i);
        if (strcmp(info->id, device_id) != 0)
            continue;
        cli_device_name(info, name, sizeof(name));
        cli_error_name(&said, info);
        break;
    }
    if (rc == 0)
        printf("%s: %s %s %s (was set to %s)\n", name, wt_knob_name(knob),
               o->is_dry_run ? "would go back to" : "back to",
               wt_knob_value_text(back, sizeof(back), knob, found),
               wt_knob_value_text(set, sizeof(set), knob, written));
    else
        printf("%s\n", said.text);
}

int cmd_restore(int argc, char **argv)
{
    struct restore_options o = {0};
    struct wt_error err = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    /* Whatever this shell may see of the devices, the journal may name any. */
    unsetenv("CUDA_VISIBLE_DEVICES");
    if (o.is_json)
        fputs("{\"records\":[", stdout);

    size_t restored = 0;
    struct wt_lease_options options = {.state_dir = o.state_dir, .is_dry_run = o.is_dry_run};
    int rc = cli_bed_open(&o.bed, &err);
    if (rc == 0)
        rc = wt_lease_recover(o.bed.ctx, o.bed.devices, &options, on_record, &o, &restored, &err);
    /* What someone else has taken over is not ours to put back: nothing is left to do. */
    code = rc < 0 && rc != WT_E_CHANGED ? cli_fail("restore", &err)
           : o.to_restore               ? CLI_FAILURE
                                        : CLI_OK;
    if (o.is_json) {
        printf("],\"restored\":%zu,\"dry_run\":%s}\n", restored, o.is_dry_run ? "true" : "false");
    } else if (o.count == 0 && code == CLI_OK) {
        puts("nothing to put back");
    }
    cli_bed_close(&o.bed);
    return code;
}
