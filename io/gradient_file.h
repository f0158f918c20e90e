/* Gradient file: how far a rule's parameter updates are from the exact gradient, for
 * several step sizes and after every iteration of inference. A run file (run_file.h)
 * whose numbers are
 *
 *     /gradients/step_size, iteration                  scales; iterations count from 1
 *     /gradients/relative_error, angle, energy         (step_size, layer, iteration)
 *     /updates/exact/NAME, /updates/0/NAME, ...        if wanted: every update itself, at
 *                   the last iteration with each step size, and the parameters they are
 *     /parameters/NAME                                 for; (parameter_NAME) each */
#ifndef LAMINA_GRADIENT_FILE_H
#define LAMINA_GRADIENT_FILE_H

#include "run_file.h"

enum lm_gradient_curve {
    LM_GRADIENT_RELATIVE_ERROR,
    LM_GRADIENT_ANGLE, /* degrees */
    LM_GRADIENT_ENERGY,
    LM_GRADIENT_CURVES
};

/* What is measured; the same on all ranks. Layers are those of the run's meta. */
struct lm_gradient_plan {
    int n_step_sizes;
    const double *step_sizes; /* (n_step_sizes) not owned, not kept */
    int64_t n_iterations;
    bool updates; /* keep updates and parameters */
};

struct lm_gradient_file;

/* Start a gradient file; layer names and sizes are copied from meta. NULL on failure, as
 * of lm_run_file_create. Collective. */
struct lm_gradient_file *lm_gradient_file_create(const char *path, const struct lm_peers *peers,
                                                 const struct lm_run_meta *meta,
                                                 const struct lm_gradient_plan *plan,
                                                 struct lm_status *status);

/* Write values (n_iterations) of one layer of this rank with step size number s.
 * Independent, likewise below. */
bool lm_gradient_file_write(struct lm_gradient_file *file, enum lm_gradient_curve curve, int s,
                            int layer, const double values[], struct lm_status *status);

enum { LM_EXACT_UPDATE = -1 };

/* Write the update of one layer with step size number s, or LM_EXACT_UPDATE; update has
 * as many numbers as the layer has parameters. Only if plan->updates. */
bool lm_gradient_file_write_update(struct lm_gradient_file *file, int s, int layer,
                                   const real update[], struct lm_status *status);
bool lm_gradient_file_write_parameters(struct lm_gradient_file *file, int layer,
                                       const real parameters[], struct lm_status *status);

/* Write /traffic, once (run_file.h). Collective. */
bool lm_gradient_file_write_traffic(struct lm_gradient_file *file,
                                    const struct lm_run_traffic *traffic,
                                    struct lm_status *status);

/* Mark the file complete and put it at its path; the file is gone afterwards, also on
 * failure. Collective. */
bool lm_gradient_file_finish(struct lm_gradient_file *file, struct lm_status *status);

/* Close and leave PATH.partial as it is. NULL is allowed. Collective. */
void lm_gradient_file_abandon(struct lm_gradient_file *file);

#endif
