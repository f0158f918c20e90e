/* flatten: the same units as a vector (rank 1). */
#include "operators.h"

#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    (void)status;
    op->out = (struct lm_shape){1, {lm_shape_units(&op->in[0]), 1, 1}};
    return true;
}

static void copy(const struct lm_operator *op, size_t width, const real *from, real *to) {
    memcpy(to, from, op->out.extent[0] * width * sizeof *to);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters, (void)tape;
    copy(op, width, x[0], y);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters, (void)x, (void)y, (void)tape;
    copy(op, width, dx[0], dy);
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)parameters, (void)tape;
    if (ex[0])
        copy(op, width, ey, ex[0]);
}

const struct lm_operator_kind lm_flatten = {
    .name = "flatten",
    .summary = "channels x rows x columns as one vector",
    .view = true,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
};
