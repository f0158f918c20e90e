/* maxpool2d: the largest unit of every window, the first one (row-major) of equals; a NaN
 * wins. Tape: the place of the winner in its window, counted row-major. */
#include "pool.h"

#include <math.h>
#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    if (!pool_infer(op, status))
        return false;
    op->tape = lm_shape_units(&op->out);
    return true;
}

/* Winners of one window for LM_LANE inputs, and their places. The candidates are x, or the
 * changes (x - old) + dx of the maximum `old` that each unit would bring about if it won:
 * they have the same order as x + dx, and no change is lost against a large x. */
static inline void choose(const struct lm_operator *op, size_t width, const real *x,
                          const real *old, const real *dx, real *best, real *place) {
    const size_t *size = op->option[POOL_SIZE];
    real top[LM_LANE], winner[LM_LANE] = {0}, k = 0;
    for (size_t b = 0; b < LM_LANE; b++)
        top[b] = -INFINITY;
    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++, k++) {
            size_t at = (i * op->in[0].extent[2] + j) * width;
#pragma omp simd
            for (size_t b = 0; b < LM_LANE; b++) {
                real candidate = dx ? (x[at + b] - old[b]) + dx[at + b] : x[at + b];
                bool wins = candidate > top[b] || candidate != candidate;
                top[b] = wins ? candidate : top[b];
                winner[b] = wins ? k : winner[b];
            }
        }
    memcpy(best, top, sizeof top);
    memcpy(place, winner, sizeof winner);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters;
    for (size_t row = 0; row < pool_rows(op); row++) {
        const real *in = x[0] + pool_corner(op, row) * width;
        size_t out = row * op->out.extent[2] * width;
        for (size_t column = 0; column < op->out.extent[2]; column++) {
            for (size_t b = 0; b < width; b += LM_LANE)
                choose(op, width, in + b, NULL, NULL, y + out + b, tape + out + b);
            in += op->option[POOL_STRIDE][1] * width;
            out += width;
        }
    }
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters;
    for (size_t row = 0; row < pool_rows(op); row++) {
        size_t in = pool_corner(op, row) * width;
        size_t out = row * op->out.extent[2] * width;
        for (size_t column = 0; column < op->out.extent[2]; column++) {
            for (size_t b = 0; b < width; b += LM_LANE)
                choose(op, width, x[0] + in + b, y + out + b, dx[0] + in + b, dy + out + b,
                       tape + out + b);
            in += op->option[POOL_STRIDE][1] * width;
            out += width;
        }
    }
}

/* ex (+)= ey at the winners of one window. */
static inline void spread(const struct lm_operator *op, size_t width, const real *place,
                          const real *ey, bool add, real *ex) {
    const size_t *size = op->option[POOL_SIZE];
    real k = 0;
    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++, k++) {
            real *unit = ex + (i * op->in[0].extent[2] + j) * width;
            for (size_t b = 0; b < width; b++)
                unit[b] = (add ? unit[b] : 0) + (place[b] == k ? ey[b] : 0);
        }
}

/* Whether every unit of the input is in one window. */
static bool is_tiling(const struct lm_operator *op) {
    const size_t *size = op->option[POOL_SIZE], *stride = op->option[POOL_STRIDE];
    return size[0] == stride[0] && size[1] == stride[1] &&
           op->out.extent[1] * size[0] == op->in[0].extent[1] &&
           op->out.extent[2] * size[1] == op->in[0].extent[2];
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)parameters;
    if (!ex[0])
        return;
    size_t plane = op->in[0].extent[1] * op->in[0].extent[2] * width;
    bool add = !is_tiling(op);
    for (size_t row = 0; row < pool_rows(op); row++) {
        if (add && row % op->out.extent[1] == 0)
            memset(ex[0] + row / op->out.extent[1] * plane, 0, plane * sizeof(real));
        real *in = ex[0] + pool_corner(op, row) * width;
        size_t out = row * op->out.extent[2] * width;
        for (size_t column = 0; column < op->out.extent[2]; column++) {
            if (add)
                spread(op, width, tape + out, ey + out, true, in);
            else
                spread(op, width, tape + out, ey + out, false, in);
            in += op->option[POOL_STRIDE][1] * width;
            out += width;
        }
    }
}

const struct lm_operator_kind lm_maxpool2d = {
    .name = "maxpool2d",
    .summary = "largest unit of every window of a channel",
    .options = POOL_OPTIONS,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
};
