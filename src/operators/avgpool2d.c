/* avgpool2d: the mean of every window. Linear, so that there is no tape. */
#include "pool.h"

#include <string.h>

static real scale(const struct lm_operator *op) {
    const size_t *size = op->option[POOL_SIZE];
    return 1 / (real)(size[0] * size[1]);
}

/* Means of one window for LM_LANE inputs. */
static inline void mean(const struct lm_operator *op, size_t width, const real *x, real *y) {
    const size_t *size = op->option[POOL_SIZE];
    real sum[LM_LANE] = {0}, factor = scale(op);
    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++) {
            const real *unit = x + (i * op->in[0].extent[2] + j) * width;
            for (size_t b = 0; b < LM_LANE; b++)
                sum[b] += unit[b];
        }
    for (size_t b = 0; b < LM_LANE; b++)
        y[b] = factor * sum[b];
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters, (void)tape;
    for (size_t row = 0; row < pool_rows(op); row++) {
        const real *in = x[0] + pool_corner(op, row) * width;
        for (size_t column = 0; column < op->out.extent[2]; column++) {
            for (size_t b = 0; b < width; b += LM_LANE)
                mean(op, width, in + b, y + b);
            in += op->option[POOL_STRIDE][1] * width;
            y += width;
        }
    }
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y;
    forward(op, parameters, dx, width, dy, tape);
}

/* ex += ey / units of a window, over one window. */
static void spread(const struct lm_operator *op, size_t width, const real *ey, real *ex) {
    const size_t *size = op->option[POOL_SIZE];
    real factor = scale(op);
    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++) {
            real *unit = ex + (i * op->in[0].extent[2] + j) * width;
            for (size_t b = 0; b < width; b++)
                unit[b] += factor * ey[b];
        }
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)parameters, (void)tape;
    if (!ex[0])
        return;
    memset(ex[0], 0, lm_shape_units(&op->in[0]) * width * sizeof(real));
    for (size_t row = 0; row < pool_rows(op); row++) {
        real *in = ex[0] + pool_corner(op, row) * width;
        for (size_t column = 0; column < op->out.extent[2]; column++) {
            spread(op, width, ey, in);
            in += op->option[POOL_STRIDE][1] * width;
            ey += width;
        }
    }
}

const struct lm_operator_kind lm_avgpool2d = {
    .name = "avgpool2d",
    .summary = "mean of every window of a channel",
    .options = POOL_OPTIONS,
    .infer = pool_infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
};
