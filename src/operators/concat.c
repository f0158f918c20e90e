/* concat: the channels (or the units of vectors) of all inputs one after another. Linear, so
 * that there is no tape. */
#include "operators.h"

#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    char first[LM_SHAPE_TEXT], other[LM_SHAPE_TEXT];
    op->out = op->in[0];
    for (int k = 1; k < op->n_inputs; k++) {
        struct lm_shape like_first = op->in[k];
        like_first.extent[0] = op->in[0].extent[0];
        if (!lm_shape_equal(&like_first, &op->in[0]))
            return lm_fail(status, LM_CONFIG,
                           "input %d has shape %s, but the first has shape %s: only the number "
                           "of channels, or of units of a vector, may differ",
                           k + 1, lm_shape_text(&op->in[k], other),
                           lm_shape_text(&op->in[0], first));
        op->out.extent[0] += op->in[k].extent[0];
    }
    return true;
}

/* Inputs that are NULL count as zero. */
static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters, (void)tape;
    for (int k = 0; k < op->n_inputs; k++) {
        size_t n = lm_shape_units(&op->in[k]) * width;
        if (x[k])
            memcpy(y, x[k], n * sizeof *y);
        else
            memset(y, 0, n * sizeof *y);
        y += n;
    }
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
    for (int k = 0; k < op->n_inputs; k++) {
        size_t n = lm_shape_units(&op->in[k]) * width;
        if (ex[k])
            memcpy(ex[k], ey, n * sizeof *ey);
        ey += n;
    }
}

const struct lm_operator_kind lm_concat = {
    .name = "concat",
    .summary = "channels of all inputs one after another",
    .joins = true,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
};
