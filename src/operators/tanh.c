/* tanh: y = tanh(x). Tape: the derivative. */
#include "tanh.h"

static bool infer(struct lm_operator *op, struct lm_status *status) {
    (void)status;
    return pointwise_infer(op, TANH_FLOPS);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters;
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++) {
        y[i] = tanh(x[0][i]);
        tape[i] = tanh_slope(x[0][i]);
    }
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters, (void)y;
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++)
        dy[i] = tanh_change(x[0][i], dx[0][i], &tape[i]);
}

const struct lm_operator_kind lm_tanh = {
    .name = "tanh",
    .summary = "y = tanh(x)",
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pointwise_pull_input,
};
