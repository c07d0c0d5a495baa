/* say: how the command speaks - errors with what to do, remarks, all on stderr. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

int cli_fail(const char *command, const struct wt_error *err)
{
    fprintf(stderr, "wattune %s: %s\n", command, err->text[0] ? err->text : wt_strerror(err->code));
    if (err->fix[0])
        fprintf(stderr, "  try: %s\n", err->fix);
    return wt_exit_code(err->code);
}

int cli_usage(const char *command, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "wattune %s: ", command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n  `wattune %s --help` lists the options\n", command);
    return CLI_USAGE;
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

void cli_note(const char *fmt, ...)
{
    va_list args;
    fputs("wattune: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_log(void *data, enum wt_log_level level, const char *area, const char *text)
{
    (void)data;
    if (level == WT_LOG_INFO)
        return;
    fprintf(stderr, "wattune: %s: %s\n", area, text);
}

int cli_bad_option(const char *command)
{
    fprintf(stderr, "  `wattune %s --help` lists the options\n", command);
    return CLI_USAGE;
}
