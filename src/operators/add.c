/* add: the sum of all inputs, which have one shape. Linear, so that there is no tape. */
#include "operators.h"

#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    char first[LM_SHAPE_TEXT], other[LM_SHAPE_TEXT];
    for (int k = 1; k < op->n_inputs; k++)
        if (!lm_shape_equal(&op->in[k], &op->in[0]))
            return lm_fail(
                status, LM_CONFIG,
                "input %d has shape %s, but the first has shape %s: equal shapes are "
                "expected",
                k + 1, lm_shape_text(&op->in[k], other), lm_shape_text(&op->in[0], first));
    op->out = op->in[0];
    op->flops = (op->n_inputs - 1) * (double)lm_shape_units(&op->out);
    return true;
}

/* Inputs that are NULL count as zero. */
static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters, (void)tape;
    size_t n = lm_shape_units(&op->out) * width;
    bool started = false;
    for (int k = 0; k < op->n_inputs; k++)
        if (x[k] && started) {
            lm_add(n, x[k], y);
        } else if (x[k]) {
            memcpy(y, x[k], n * sizeof *y);
            started = true;
        }
    if (!started)
        memset(y, 0, n * sizeof *y);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y;
    forward(op, parameters, dx, width, dy, tape);
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)parameters, (void)tape;
    size_t n = lm_shape_units(&op->out) * width;
    for (int k = 0; k < op->n_inputs; k++)
        if (ex[k])
            memcpy(ex[k], ey, n * sizeof *ey);
}

const struct lm_operator_kind lm_add_parents = {
    .name = "add",
    .summary = "sum of all inputs",
    .joins = true,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
};
