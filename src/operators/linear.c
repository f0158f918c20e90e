/* linear: y = W x + b, every unit of x connected to every unit of y. */
#include "../blas.h"
#include "operators.h"

enum { UNITS };

static bool infer(struct lm_operator *op, struct lm_status *status) {
    char text[LM_SHAPE_TEXT];
    if (op->in[0].rank != 1)
        return lm_fail(
            status, LM_CONFIG,
            "the input has shape %s: one extent is expected, so put flatten before it",
            lm_shape_text(&op->in[0], text));
    size_t in = op->in[0].extent[0], out = op->option[UNITS][0];
    op->out = (struct lm_shape){1, {out, 1, 1}};
    op->n_weights = in * out;
    op->n_biases = out;
    op->fan_in = in;
    op->flops = 2.0 * (double)in * (double)out;
    return true;
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)tape;
    const real *bias = parameters + op->n_weights;
    for (size_t o = 0; o < op->n_biases; o++)
        for (size_t b = 0; b < width; b++)
            y[o * width + b] = bias[o];
    lm_gemm(false, false, op->n_biases, width, op->fan_in, parameters, x[0], 1, y);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y, (void)tape;
    lm_gemm(false, false, op->n_biases, width, op->fan_in, parameters, dx[0], 0, dy);
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)tape;
    if (ex[0])
        lm_gemm(true, false, op->fan_in, width, op->n_biases, parameters, ey, 0, ex[0]);
}

static void pull_parameters(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, real *gradient) {
    lm_gemm(false, true, op->n_biases, op->fan_in, width, ey, x, 1, gradient);
    for (size_t o = 0; o < op->n_biases; o++) {
        real sum = 0;
        for (size_t b = 0; b < width; b++)
            sum += ey[o * width + b];
        gradient[op->n_weights + o] += sum;
    }
}

const struct lm_operator_kind lm_linear = {
    .name = "linear",
    .summary = "y = W x + b",
    .options = {{"units", NULL, 1, false}},
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
    .pull_parameters = pull_parameters,
};
