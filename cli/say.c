/* say: how the command speaks - errors with what to do, remarks, all on stderr; and words as a
 * shell reads them back. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* What is said may hold words of a service, of a file or of another user: none of them steers the
 * terminal. Lines stay lines, and columns columns. */
static char *clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        bool is_c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        if ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f || is_c1)
            *p = '?';
        if (is_c1)
            p[1] = '?';
    }
    return text;
}

static void say(const char *fmt, ...) WT_PRINTF(1, 2);
static void say(const char *fmt, ...)
{
    va_list args;
    char *text;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    fputs(clean(text), stderr);
    free(text);
}

int cli_fail(const char *command, const struct wt_error *err)
{
    say("wattune %s: %s%s%s\n", command, err->text[0] ? err->text : wt_strerror(err->code),
        err->fix[0] ? "\n  try: " : "", err->fix);
    return wt_exit_code(err->code);
}

int cli_usage(const char *command, const char *fmt, ...)
{
    va_list args;
    char *text;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    say("wattune %s: %s\n  `wattune %s --help` lists the options\n", command,
        n < 0 ? "no memory to say what" : text, command);
    if (n >= 0)
        free(text);
    return CLI_USAGE;
}

int cli_error(struct wt_error *err, int code, const char *fix, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    snprintf(err->fix, sizeof(err->fix), "%s", fix);
    return err->code = code;
}

int cli_print_json(const char *command, char *text)
{
    int code = CLI_FAILURE;
    errno = 0;
    if (!text)
        fprintf(stderr, "wattune %s: no memory for the JSON document\n", command);
    else if (puts(text) == EOF || fflush(stdout) == EOF)
        fprintf(stderr, "wattune %s: the JSON document could not be written: %s\n", command,
                strerror(errno));
    else
        code = CLI_OK;
    free(text);
    return code;
}

int cli_output_name(const char *option, const char *path, struct wt_error *err)
{
    if (!path || strcmp(path, "-") != 0)
        return 0;
    return cli_error(err, WT_E_USAGE, "name a file; ./- is one of that name",
                     "%s -: this goes to a file, and not to standard output", option);
}

int cli_output_check(const char *option, const char *path, struct wt_error *err)
{
    struct wt_error why = {0};
    if (cli_output_name(option, path, err) < 0)
        return err->code;
    int rc = path ? wt_file_check(path, &why) : 0;
    if (rc == 0)
        return 0;
    char fix[100];
    snprintf(fix, sizeof(fix), "name another file with %s", option);
    return cli_error(err, rc == WT_E_NOTFOUND ? WT_E_IO : rc, fix, "%s: %s", option, why.text);
}

void cli_note(const char *fmt, ...)
{
    va_list args;
    char *text;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    say("wattune: %s\n", text);
    free(text);
}

void cli_log(void *data, enum wt_log_level level, const char *area, const char *text)
{
    (void)data;
    if (level != WT_LOG_INFO)
        say("wattune: %s: %s\n", area, text);
}

int cli_bad_option(const char *command)
{
    fprintf(stderr, "  `wattune %s --help` lists the options\n", command);
    return CLI_USAGE;
}

void cli_shell_word(FILE *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
    if (*text && strspn(text, plain) == strlen(text)) {
        fputs(text, out);
        return;
    }
    putc('\'', out);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", out);
        else
            putc(*text, out);
    putc('\'', out);
}
