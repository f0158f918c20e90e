/* relu: y = max(x, 0), with derivative 0 at 0 as in PyTorch. Tape: y, so that it may be y
 * itself. */
#include "pointwise.h"

#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    (void)status;
    return pointwise_infer(op, 1);
}

/* NaN stays NaN. */
static inline real rectify(real x) {
    return x > 0 || x != x ? x : 0;
}

/* The change when x moves by dx to `moved`: four cases by the signs of both; no case subtracts
 * close numbers. */
static inline real change(real x, real dx, real moved) {
    real when_off = x > 0 ? -x : 0;
    real when_on = x > 0 ? dx : moved;
    return moved > 0 || moved != moved ? when_on : when_off;
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters;
    const real *in = x[0];
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++)
        y[i] = rectify(in[i]);
    if (tape != y)
        memcpy(tape, y, n * sizeof *y);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters, (void)y;
    const real *in = x[0], *by = dx[0];
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++) {
        real moved = in[i] + by[i];
        tape[i] = moved > 0 ? moved : 0;
        dy[i] = change(in[i], by[i], moved);
    }
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)parameters;
    if (!ex[0])
        return;
    size_t n = op->tape * width;
    for (size_t i = 0; i < n; i++) {
        real error = ey[i]; /* read in any case, so that no load needs a mask */
        ex[0][i] = tape[i] > 0 ? error : 0;
    }
}

static void pull_change(const struct lm_operator_pull *pull) {
    const real *in = pull->x, *by = pull->dx, *value = pull->error.value;
    real *e = pull->e, *ex = pull->ex;
#pragma GCC ivdep
    for (size_t i = 0; i < pull->n; i++) {
        real moved = in[i] + by[i], error = change(in[i], by[i], moved) - value[i];
        e[i] = error;
        ex[i] = moved > 0 ? error : 0;
    }
}

static void pull_output(const struct lm_operator_pull *pull) {
    const real *in = pull->x, *value = pull->error.value;
    real *e = pull->e, *ex = pull->ex;
#pragma GCC ivdep
    for (size_t i = 0; i < pull->n; i++) {
        real x = in[i], error = rectify(x) - value[i];
        e[i] = error;
        ex[i] = x > 0 ? error : 0;
    }
}

/* With a constant, so that no load needs a mask. */
static inline __attribute__((always_inline)) void pull_kind(const struct lm_operator_pull *pull,
                                                            bool starts) {
    const real *tape = pull->tape, *from = pull->error.from, *value = pull->error.value;
    real *e = pull->e, *ex = pull->ex;
#pragma GCC ivdep
    for (size_t i = 0; i < pull->n; i++) {
        real error = (starts ? from[i] : 0) - value[i];
        e[i] = error;
        ex[i] = tape[i] > 0 ? error : 0;
    }
}

static void pull_still(const struct lm_operator_pull *pull) {
    if (pull->error.from)
        pull_kind(pull, true);
    else
        pull_kind(pull, false);
}

static void pull_error(const struct lm_operator_pull *pull) {
    if (!pull->x)
        pull_still(pull);
    else if (pull->dx)
        pull_change(pull);
    else
        pull_output(pull);
}

const struct lm_operator_kind lm_relu = {
    .name = "relu",
    .summary = "y = max(x, 0)",
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
    .pull_error = pull_error,
    .tape_is_output = true,
};
