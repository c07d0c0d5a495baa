/* Model folders as Hugging Face has them: config.json and model.safetensors, or its shards with
 * model.safetensors.index.json. Read whatever they are called inside (with or without "bert." and
 * its like before the names, norms' gamma and beta of old), and written.
 *
 * Internal to the workload. Threads: one at a time. */
#ifndef WT_WORKLOAD_HUB_H
#define WT_WORKLOAD_HUB_H

#include "workload/parameters.h"
#include "workload/safetensors.h"

struct wt_hub;

/* Reads the configuration and the headers; nothing of the weights. Errors: WT_E_NOTFOUND (a file
 * that is not there: says which), WT_E_DENIED, WT_E_FORMAT, WT_E_UNSUPPORTED, WT_E_NOMEM. */
int wt_hub_open(struct wt_hub **ret_hub, const char *folder, struct wt_error *err);
void wt_hub_close(struct wt_hub *hub);
/* Borrowed until close. */
const struct wt_config *wt_hub_config(const struct wt_hub *hub);
/* Of the classifier head; 0: there is none. */
unsigned wt_hub_classes(const struct wt_hub *hub);
/* [wt_hub_classes()]: what they are called, by their numbers: config.json's id2label, or LABEL_0
 * and so on where there is none. Borrowed until close. Errors: WT_E_FORMAT (it does not name each
 * class once), WT_E_UNSUPPORTED (a problem_type whose loss is another one); NULL without any: there
 * is no head. */
char *const *wt_hub_labels(const struct wt_hub *hub, struct wt_error *err);
/* From here on the folder counts as one without a classifier head. */
void wt_hub_drop_classifier(struct wt_hub *hub);

/* values [total] of parameters, which are for this configuration; they hold initial values, which
 * stay where the file has none for a head. Errors: WT_E_FORMAT (a tensor that is missing, is of
 * another shape, or that the configuration does not account for), WT_E_UNSUPPORTED (a dtype),
 * WT_E_NOMEM. */
int wt_hub_load(struct wt_hub *hub, const struct wt_parameters *parameters, float *values,
                struct wt_error *err);
/* Of the last load: names of tensors that the folder has not, which kept their initial values;
 * separated by spaces, "" for none. Borrowed until the next load. */
const char *wt_hub_left_out(const struct wt_hub *hub);

/* Writes config.json and model.safetensors into a folder, which is made where it is missing; each
 * file is replaced at once or not at all, the weights first. type: of the weights in the file.
 * classes: what a classifier's are called; NULL: LABEL_0 and so on. Errors: those of the system,
 * WT_E_NOMEM. */
int wt_hub_save(const char *folder, const struct wt_config *config,
                const struct wt_parameters *parameters, const float *values,
                enum wt_tensor_type type, char *const *classes, struct wt_error *err);

#endif
