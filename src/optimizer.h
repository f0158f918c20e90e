/* Optimizer: how a layer's parameters follow their gradient, as PyTorch does it. */
#ifndef LAMINA_OPTIMIZER_H
#define LAMINA_OPTIMIZER_H

#include "tensor.h"

enum { LM_MAX_MOMENTS = 2 };

struct lm_optimizer {
    const char *name;                    /* as in settings: training.optimizer */
    int n_moments;                       /* arrays like the parameters that it keeps */
    const char *moments[LM_MAX_MOMENTS]; /* their names in checkpoints */
    /* One step number t = 1, 2, ... over parameters[n]. Elementwise: a slice may be
     * updated alone. rate, momentum: training.rate, training.momentum. */
    void (*step)(size_t n, long t, double rate, double momentum, const real *gradient,
                 real *const moment[], real *parameters);
};

/* "sgd": m = momentum m + g, theta -= rate m (Sutskever et al. 2013, as in PyTorch).
 * "adam": beta 0.9, 0.999, epsilon 1e-8 (Kingma and Ba 2015). */
const struct lm_optimizer *const *lm_optimizers(void); /* ended by NULL */
const struct lm_optimizer *lm_optimizer_find(const char *name);

#endif
