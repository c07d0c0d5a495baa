/* params: parameters of the command - what --param and --needs say, and CMD with them filled
 * in.
 *
 * {NAME} in any argument of CMD is a place for a parameter. ${NAME} is the shell's, and {{NAME}}
 * stands for {NAME} itself. Without --param nothing of this happens: CMD is run as it was typed. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "params.h"

static bool is_name_char(char c, bool is_first)
{
    return isalpha((unsigned char)c) || c == '_' ||
           (!is_first && (isdigit((unsigned char)c) || c == '-'));
}

static size_t name_length(const char *text)
{
    size_t n = 0;
    while (is_name_char(text[n], n == 0))
        n++;
    return n;
}

bool cli_param_is_name(const char *text)
{
    size_t length = name_length(text);
    return length && !text[length] && length < sizeof(((struct cli_param *)0)->name);
}

static bool read_number(const char *text, size_t length, double *ret)
{
    char word[64], *end;
    if (!length || length >= sizeof(word))
        return false;
    snprintf(word, sizeof(word), "%.*s", (int)length, text);
    *ret = strtod(word, &end);
    return !*end && isfinite(*ret);
}

/* ---- --param ---- */

/* "8:32:8"; false: it is none. */
static bool read_range(const char *text, double *part)
{
    for (size_t n = 0; n < 3; n++) {
        size_t length = strcspn(text, ":");
        if (!read_number(text, length, &part[n]))
            return false;
        text += length;
        if (*text != (n < 2 ? ':' : '\0'))
            return false;
        text += n < 2;
    }
    return true;
}

static int add_value(struct cli_param *param, const char *value, size_t length,
                     struct wt_error *err)
{
    if (!length)
        return cli_error(err, WT_E_USAGE, "", "--param %s: an empty value", param->name);
    if (length >= sizeof(*param->values))
        return cli_error(err, WT_E_USAGE, "",
                         "--param %s: the value \"%.60s...\" is longer than %zu bytes", param->name,
                         value, sizeof(*param->values) - 1);
    if (param->count == CLI_PARAM_VALUES_MAX)
        return cli_error(err, WT_E_USAGE, "", "--param %s: more than %d values", param->name,
                         CLI_PARAM_VALUES_MAX);
    snprintf(param->values[param->count], sizeof(*param->values), "%.*s", (int)length, value);
    for (size_t i = 0; i < param->count; i++)
        if (strcmp(param->values[i], param->values[param->count]) == 0)
            return cli_error(err, WT_E_USAGE, "", "--param %s: %s is given twice", param->name,
                             param->values[i]);
    param->count++;
    return 0;
}

static int read_values(const char *text, struct cli_param *param, struct wt_error *err)
{
    double part[3];
    int rc = 0;
    if (read_range(text, part)) {
        if (!(part[2] > 0) || part[1] < part[0])
            return cli_error(err, WT_E_USAGE, "",
                             "--param %s: LO must not be above HI, and STEP must be above 0",
                             param->name);
        for (size_t i = 0; rc == 0; i++) {
            char number[32];
            double value = part[0] + (double)i * part[2];
            if (value > part[1] + part[2] * 1e-9)
                break;
            snprintf(number, sizeof(number), "%.10g", value);
            rc = add_value(param, number, strlen(number), err);
        }
        return rc;
    }
    for (const char *p = text; rc == 0; p++) {
        size_t length = strcspn(p, ",");
        rc = add_value(param, p, length, err);
        p += length;
        if (!*p)
            break;
    }
    return rc;
}

int cli_param_parse(const char *text, struct cli_param *ret_param, struct wt_error *err)
{
    static const char sample[] = "--param batch=8,16,32, with {batch} in CMD";
    struct cli_param param = {0};
    enum wt_knob knob;
    size_t length = name_length(text);
    if (!length || text[length] != '=' || length >= sizeof(param.name))
        return cli_error(err, WT_E_USAGE, sample, "--param %.60s: is not NAME=VALUE,...", text);
    snprintf(param.name, sizeof(param.name), "%.*s", (int)length, text);
    if (wt_knob_from_name(param.name, &knob) == 0)
        return cli_error(err, WT_E_USAGE, "another name for a parameter of CMD",
                         "--param %s: this is a setting of devices (--set %s=...)", param.name,
                         param.name);
    param.values = calloc(CLI_PARAM_VALUES_MAX + 1, sizeof(*param.values));
    if (!param.values)
        return err->code = WT_E_NOMEM;
    int rc = read_values(text + length + 1, &param, err);
    if (rc == 0)
        *ret_param = param;
    else
        cli_param_done(&param);
    if (rc < 0 && !err->fix[0])
        snprintf(err->fix, sizeof(err->fix), "%s", sample);
    return rc;
}

void cli_param_done(struct cli_param *param)
{
    free(param->values);
    free(param->needs);
    *param = (struct cli_param){0};
}

/* ---- --needs ---- */

/* Its index; count: there is none. */
static size_t find_param(const struct cli_param *params, size_t count, const char *name,
                         size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(params[i].name) == length && strncmp(params[i].name, name, length) == 0)
            return i;
    return count;
}

/* One "16:3.4". */
static int read_need(const char *text, size_t length, struct cli_param *param, struct wt_error *err)
{
    size_t colon = length;
    while (colon > 0 && text[colon - 1] != ':')
        colon--;
    double need;
    if (colon < 2 || !read_number(text + colon, length - colon, &need) || !(need > 0))
        return cli_error(err, WT_E_USAGE, "",
                         "--needs %s: \"%.*s\" is not V:N with a number N above 0", param->name,
                         (int)length, text);
    for (size_t i = 0; i < param->count; i++)
        if (strlen(param->values[i]) == colon - 1 &&
            strncmp(param->values[i], text, colon - 1) == 0) {
            if (param->needs[i] > 0)
                return cli_error(err, WT_E_USAGE, "", "--needs %s: %s is given twice", param->name,
                                 param->values[i]);
            param->needs[i] = need;
            return 0;
        }
    return cli_error(err, WT_E_USAGE, "", "--needs %s: %.*s is no value of --param %s", param->name,
                     (int)(colon - 1), text, param->name);
}

int cli_needs_parse(const char *text, struct cli_param *params, size_t count, struct wt_error *err)
{
    static const char sample[] = "--param batch=8,16 --needs batch=8:3,16:3.4";
    size_t length = strcspn(text, "=");
    if (!length || text[length] != '=')
        return cli_error(err, WT_E_USAGE, sample, "--needs %.60s: is not NAME=V:N,...", text);
    size_t at = find_param(params, count, text, length);
    if (at == count)
        return cli_error(err, WT_E_USAGE, sample, "--needs %.60s: there is no --param %.*s", text,
                         (int)length, text);
    struct cli_param *param = &params[at];
    if (param->needs)
        return cli_error(err, WT_E_USAGE, "one --needs with all values", "--needs %s: given twice",
                         param->name);
    param->needs = calloc(param->count, sizeof(*param->needs));
    if (!param->needs)
        return err->code = WT_E_NOMEM;
    int rc = 0;
    for (const char *p = text + length + 1; rc == 0; p++) {
        size_t n = strcspn(p, ",");
        rc = read_need(p, n, param, err);
        p += n;
        if (!*p)
            break;
    }
    for (size_t i = 0; rc == 0 && i < param->count; i++)
        if (!(param->needs[i] > 0))
            rc = cli_error(err, WT_E_USAGE, "", "--needs %s: how much %s=%s needs is missing",
                           param->name, param->name, param->values[i]);
    if (rc < 0 && !err->fix[0])
        snprintf(err->fix, sizeof(err->fix), "%s", sample);
    return rc;
}

/* ---- CMD ---- */

/* What stands at a place of an argument. */
struct piece {
    size_t length; /* bytes of the argument */
    const char *name;
    size_t name_length; /* 0: plain text */
    bool is_braced;     /* {{NAME}}, which is {NAME} itself */
};

static struct piece next_piece(const char *arg, const char *at)
{
    struct piece plain = {.length = 1};
    if (*at != '{')
        return plain;
    bool is_braced = at[1] == '{';
    const char *name = at + 1 + is_braced;
    size_t n = name_length(name);
    if (!n || name[n] != '}' || (is_braced && name[n + 1] != '}') ||
        (!is_braced && at > arg && at[-1] == '$'))
        return plain;
    return (struct piece){.length = n + 2 + 2 * (size_t)is_braced,
                          .name = name,
                          .name_length = n,
                          .is_braced = is_braced};
}

int cli_params_check(const struct cli_param *params, size_t count, char **command,
                     struct wt_error *err)
{
    bool is_found[CLI_PARAMS_MAX] = {false};
    char fix[120];
    for (char **arg = command; count && *arg; arg++)
        for (const char *p = *arg; *p;) {
            struct piece piece = next_piece(*arg, p);
            p += piece.length;
            if (!piece.name_length || piece.is_braced)
                continue;
            size_t at = find_param(params, count, piece.name, piece.name_length);
            if (at == count) {
                snprintf(fix, sizeof(fix),
                         "--param %.*s=V,..., or {{%.*s}} for the braces themselves",
                         (int)piece.name_length, piece.name, (int)piece.name_length, piece.name);
                return cli_error(err, WT_E_USAGE, fix,
                                 "CMD has {%.*s}, and no --param says what it is",
                                 (int)piece.name_length, piece.name);
            }
            is_found[at] = true;
        }
    for (size_t i = 0; i < count; i++)
        if (!is_found[i] && !params[i].is_offered) {
            snprintf(fix, sizeof(fix), "write {%s} in CMD where its value goes", params[i].name);
            return cli_error(err, WT_E_USAGE, fix, "--param %s: there is no {%s} in CMD",
                             params[i].name, params[i].name);
        }
    return 0;
}

char *cli_params_fill_text(const struct cli_param *params, size_t count, const char *arg,
                           const size_t *choice)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (const char *p = arg; *p;) {
        struct piece piece = count ? next_piece(arg, p) : (struct piece){.length = 1};
        size_t at = find_param(params, count, piece.name, piece.name_length);
        if (piece.is_braced)
            fprintf(out, "{%.*s}", (int)piece.name_length, piece.name);
        else if (at < count)
            fputs(params[at].values[choice[at]], out);
        else
            fwrite(p, 1, piece.length, out);
        p += piece.length;
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

char **cli_params_fill(const struct cli_param *params, size_t param_count, char **command,
                       const size_t *choice)
{
    size_t count = 0;
    while (command[count])
        count++;
    char **filled = calloc(count + 1, sizeof(*filled));
    for (size_t i = 0; filled && i < count; i++)
        if (!(filled[i] = cli_params_fill_text(params, param_count, command[i], choice))) {
            cli_params_free(filled);
            return NULL;
        }
    return filled;
}

void cli_params_free(char **command)
{
    for (char **arg = command; arg && *arg; arg++)
        free(*arg);
    free(command);
}
