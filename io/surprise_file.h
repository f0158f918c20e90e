/* Surprise file: the error magnitudes of a trained network for every input of a data set,
 * under labels imposed on the output. A run file (run_file.h) whose numbers are
 *
 *     /surprise/imposed, input                  scales: kinds of labels, inputs from 0
 *     /surprise/index, label, prediction, correct, confidence      (input)
 *     /surprise/imposed_label, loss                                (imposed, input)
 *     /surprise/magnitude                                          (imposed, layer, input) */
#ifndef LAMINA_SURPRISE_FILE_H
#define LAMINA_SURPRISE_FILE_H

#include "run_file.h"

enum lm_surprise_field {
    LM_SURPRISE_INDEX,         /* whole: position in the data set */
    LM_SURPRISE_LABEL,         /* whole: of the data set */
    LM_SURPRISE_PREDICTION,    /* whole: unit of the largest feedforward output */
    LM_SURPRISE_CORRECT,       /* whole: 1 where the prediction is the label, else 0 */
    LM_SURPRISE_CONFIDENCE,    /* largest softmax probability of the feedforward output */
    LM_SURPRISE_IMPOSED_LABEL, /* whole */
    LM_SURPRISE_LOSS,          /* of the input alone at the feedforward output */
    LM_SURPRISE_MAGNITUDE,     /* norm of the layer's error for the input alone */
    LM_SURPRISE_FIELDS
};

/* What is measured; the same on all ranks. Layers are those of the run's meta. */
struct lm_surprise_plan {
    int n_imposed;
    const char *const *imposed; /* (n_imposed) not kept */
    int64_t n_inputs;
    int64_t steps_done; /* training steps behind the network */
};

/* Inputs first ... first + n - 1 of one field; `imposed` and `layer` are 0 where the field
 * has no such dimension. */
struct lm_surprise_part {
    enum lm_surprise_field field;
    int imposed, layer;
    size_t first, n;
};

struct lm_surprise_file;

/* Start a surprise file. NULL on failure, as of lm_run_file_create. Collective. */
struct lm_surprise_file *lm_surprise_file_create(const char *path, const struct lm_peers *peers,
                                                 const struct lm_run_meta *meta,
                                                 const struct lm_surprise_plan *plan,
                                                 struct lm_status *status);

/* Write a part: values (n), int64_t where the field is whole, else double. Independent. */
bool lm_surprise_file_write(struct lm_surprise_file *file, const struct lm_surprise_part *part,
                            const void *values, struct lm_status *status);

/* Write /traffic, once (run_file.h). Collective. */
bool lm_surprise_file_write_traffic(struct lm_surprise_file *file,
                                    const struct lm_run_traffic *traffic,
                                    struct lm_status *status);

/* Mark the file complete and put it at its path; the file is gone afterwards, also on
 * failure. Collective. */
bool lm_surprise_file_finish(struct lm_surprise_file *file, struct lm_status *status);

/* Close and leave PATH.partial as it is. NULL is allowed. Collective. */
void lm_surprise_file_abandon(struct lm_surprise_file *file);

#endif
