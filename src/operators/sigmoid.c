/* sigmoid: y = 1 / (1 + exp(-x)). Tape: the derivative. */
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
        struct decay once = decay(fabs(in[i]));
        y[i] = (in[i] < 0 ? once.exp : 1) / (1 + once.exp);
        tape[i] = tanh_slope(once) / 4;
    }
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters, (void)y;
    const real *in = x[0], *change = dx[0];
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++) {
        dy[i] = tanh_change(in[i] / 2, change[i] / 2, &tape[i]) / 2;
        tape[i] /= 4;
    }
}

const struct lm_operator_kind lm_sigmoid = {
    .name = "sigmoid",
    .summary = "y = 1 / (1 + exp(-x))",
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pointwise_pull_input,
};
