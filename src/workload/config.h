/* config.json as Hugging Face writes it for BERT, DistilBERT and GPT-2: read into one form,
 * whatever each of them calls its sizes, and written again.
 *
 * Internal to the workload. Threads: any thread. */
#ifndef WT_WORKLOAD_CONFIG_H
#define WT_WORKLOAD_CONFIG_H

#include <stddef.h>

#include "wattune/workload.h"

#define WT_CONFIG_MAX_BYTES (1u << 20)

enum wt_activation {
    WT_GELU,     /* by erf */
    WT_GELU_NEW, /* by tanh */
};

struct wt_config {
    enum wt_family family;
    unsigned layers, hidden, heads, ffn, vocab, positions;
    unsigned types; /* rows of the token type embedding; 0: the family has none */
    enum wt_activation activation;
    double norm_epsilon;
    double dropout_hidden;     /* of each sublayer's output; GPT-2's resid_pdrop */
    double dropout_attention;  /* of the attention's weights */
    double dropout_embedding;  /* BERT and DistilBERT: that of hidden */
    double dropout_classifier; /* before the classifier; GPT-2: none */
    double initializer_range;  /* deviation of new weights */
};

/* What the file leaves out is as the family's own configuration has it. name is for messages, which
 * name the field, too. Errors: WT_E_FORMAT (no JSON, a field of a wrong type), WT_E_RANGE (0, over
 * a limit, values that do not fit each other), WT_E_UNSUPPORTED (a model, an activation or a
 * variant that is not computed here). */
int wt_config_parse(struct wt_config *ret_config, const char *name, const char *text, size_t size,
                    struct wt_error *err);
/* Whether sizes and shares are within their limits and fit each other. Errors: WT_E_RANGE, naming
 * the field. */
int wt_config_check(const struct wt_config *config, const char *name, struct wt_error *err);
/* Of a file. Errors: besides, WT_E_NOTFOUND, WT_E_DENIED, WT_E_IO. */
int wt_config_read(struct wt_config *ret_config, const char *path, struct wt_error *err);
/* Writes it in the family's own words; the file is replaced at once or not at all. Errors:
 * WT_E_RANGE (as above), and those of the system. */
int wt_config_write(const struct wt_config *config, const char *path, struct wt_error *err);
/* The text that is written. *ret_text is owned: free(). */
int wt_config_text(const struct wt_config *config, char **ret_text, struct wt_error *err);

/* ---- named.c ---- */

/* The configuration that a published model of this shape has in all that the shape leaves open. */
void wt_config_of_shape(struct wt_config *ret_config, const struct wt_model_shape *shape);
/* Of a name of wt_model_shape_named. Errors: WT_E_NOTFOUND. */
int wt_config_named(struct wt_config *ret_config, const char *name, struct wt_error *err);

/* "bert" */
const char *wt_family_name(enum wt_family family);

#endif
