/* params: parameters of a command, for `wattune sweep` and `wattune race`. {NAME} in any argument
 * of CMD is a place for one. */
#ifndef WT_CLI_PARAMS_H
#define WT_CLI_PARAMS_H

#include "cli.h"

#define CLI_PARAMS_MAX       16
#define CLI_PARAM_VALUES_MAX 256

/* NAME=V,... of --param, and the N of --needs for each value. */
struct cli_param {
    char name[32];
    char (*values)[64]; /* owned; as typed */
    size_t count;
    double *needs;   /* owned; NULL: none were given */
    bool is_offered; /* Wattune's own: CMD need not have a place for it */
};

/* NAME=V,... or NAME=LO:HI:STEP of --param. Errors: WT_E_USAGE, WT_E_NOMEM. */
int cli_param_parse(const char *text, struct cli_param *ret_param, struct wt_error *err);
/* Is it fit for a parameter's name? */
bool cli_param_is_name(const char *text);
/* NAME=V:N,... of --needs, into the parameter of that name. Errors: WT_E_USAGE, WT_E_NOMEM. */
int cli_needs_parse(const char *text, struct cli_param *params, size_t count, struct wt_error *err);
/* Every parameter must have its place in CMD, and every place its parameter. Errors: WT_E_USAGE. */
int cli_params_check(const struct cli_param *params, size_t count, char **command,
                     struct wt_error *err);
/* CMD with each {NAME} filled by the value that choice[] says; without parameters as it is. Owned:
 * cli_params_free(). NULL: no memory. */
char **cli_params_fill(const struct cli_param *params, size_t count, char **command,
                       const size_t *choice);
/* The same of one text; owned: free(). */
char *cli_params_fill_text(const struct cli_param *params, size_t count, const char *text,
                           const size_t *choice);
void cli_params_free(char **command);
void cli_param_done(struct cli_param *param);

#endif
