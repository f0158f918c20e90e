/* Pointwise: what the kinds share that apply one function to every unit; their tape is the
 * derivative. */
#ifndef LAMINA_POINTWISE_H
#define LAMINA_POINTWISE_H

#include "operators.h"

/* Set op->out, op->tape and op->flops (`flops` operations per unit). */
static inline bool pointwise_infer(struct lm_operator *op, int flops) {
    op->out = op->in[0];
    op->tape = lm_shape_units(&op->out);
    op->rows_per_row = 1;
    op->pointwise = true;
    op->flops = flops * (double)op->tape;
    return true;
}

static inline void pointwise_pull_input(const struct lm_operator *op, const real *parameters,
                                        const real *tape, const real *ey, size_t width,
                                        real *const ex[]) {
    (void)parameters;
    if (!ex[0])
        return;
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++)
        ex[0][i] = tape[i] * ey[i];
}

#endif
