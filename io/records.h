/* Records: what a training run measures, held in memory by the rank that measures it, so
 * that run files show it and checkpoints carry it.
 *
 * One table in records.c drives making, writing and reading of all records: a new one is
 * a row there and a name here. Floating-point records that were not made are NaN, whole
 * numbers -1. The rank of the output layer owns what belongs to the whole network, the
 * rank of a layer what belongs to that layer. */
#ifndef LAMINA_RECORDS_H
#define LAMINA_RECORDS_H

#include "store.h"

/* In the file: /training/NAME (step) or (layer, step), and /errors/STEP/NAME (input) or
 * (layer, input). */
enum lm_record {
    LM_RECORD_LOSS,           /* (step) */
    LM_RECORD_ACCURACY,       /* (step) fraction of the batch */
    LM_RECORD_TEST_LOSS,      /* (step) */
    LM_RECORD_TEST_ACCURACY,  /* (step) */
    LM_RECORD_RELATIVE_ERROR, /* (layer, step) |update - exact| / |exact| */
    LM_RECORD_ANGLE,          /* (layer, step) between update and exact, degrees */
    LM_RECORD_ENERGY,         /* (layer, step) half the sum of squared errors over the batch; of
                                 the output layer the mean loss at its last prediction */
    LM_RECORD_INDEX,          /* (input) position in the data set, whole */
    LM_RECORD_LABEL,          /* (input) whole */
    LM_RECORD_PREDICTION,     /* (input) whole: the class chosen (loss.h) */
    LM_RECORD_INPUT_LOSS,     /* (input) loss of the input alone */
    LM_RECORD_MAGNITUDE,      /* (layer, input) norm of the error for the input alone */
    LM_RECORDS
};

/* Which records there are and who owns them. All but `owned` and `owns_output` is the
 * same on all ranks. The arrays are not copied and must outlive the records. */
struct lm_records_plan {
    int n_layers;
    const char *const *layers;  /* names */
    const bool *owned;          /* (layer) whether this rank measures the layer */
    bool owns_output;           /* whether it measures the output of the network */
    int64_t n_steps;            /* training steps 0 .. n_steps - 1 */
    int n_error_steps;          /* error records */
    const int64_t *error_steps; /* training steps done before each, ascending; 0: before
                                   training */
    int64_t n_inputs;           /* inputs of each error record */
};

struct lm_records;

struct lm_records *lm_records_create(const struct lm_records_plan *plan);
void lm_records_destroy(struct lm_records *records);
const struct lm_records_plan *lm_records_get_plan(const struct lm_records *records);

/* A record over steps, double (n_steps); `layer` is not used by records without layers.
 * NULL on ranks that do not own it. */
double *lm_records_curve(struct lm_records *records, enum lm_record record, int layer);

/* A record over inputs of error record k, double (n_inputs), or whole numbers. NULL on
 * ranks that do not own it. */
double *lm_records_errors(struct lm_records *records, enum lm_record record, int k, int layer);
int64_t *lm_records_integers(struct lm_records *records, enum lm_record record, int k);

/* Make the scales and datasets for the first `steps` training steps and the error records
 * up to there. Collective, errors as of lm_store_make. */
bool lm_records_make(const struct lm_records *records, struct lm_store *store, int64_t steps,
                     struct lm_status *status);

/* Write this rank's records of the steps from .. to - 1, or of error record k. Independent. */
bool lm_records_write_steps(const struct lm_records *records, struct lm_store *store,
                            int64_t from, int64_t to, struct lm_status *status);
bool lm_records_write_errors(const struct lm_records *records, struct lm_store *store, int k,
                             struct lm_status *status);

/* Read this rank's records of the first `steps` steps and the error records up to there,
 * whatever ranks wrote them. LM_DATA names file and dataset: one is missing or has other
 * layers, fewer steps or another number of inputs. Local. */
bool lm_records_read(struct lm_records *records, struct lm_store *store, int64_t steps,
                     struct lm_status *status);

#endif
