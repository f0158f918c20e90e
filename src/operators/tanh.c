/* tanh: y = tanh(x). Tape: the derivative. */
#include "tanh.h"

static bool infer(struct lm_operator *op, struct lm_status *status) {
    (void)status;
    return pointwise_infer(op, TANH_FLOPS);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters;
    const real *in = x[0];
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++) {
        struct decay twice = decay(2 * fabs(in[i]));
        y[i] = tanh_value(twice, in[i]);
        tape[i] = tanh_slope(twice);
    }
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters, (void)y;
    const real *in = x[0], *change = dx[0];
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++)
        dy[i] = tanh_change(in[i], change[i], &tape[i]);
}

const struct lm_operator_kind lm_tanh = {
    .name = "tanh",
    .summary = "y = tanh(x)",
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pointwise_pull_input,
};
