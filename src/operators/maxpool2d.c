/* maxpool2d: the largest unit of every window, the first one (row-major) of equals; a NaN
 * wins. Tape: the place of the winner in its window, counted row-major; POOL_NOWHERE, if it has
 * been rectified to 0. */
#include "flags.h"
#include "pool.h"

#include <string.h>

static bool infer(struct lm_operator *op, struct lm_status *status) {
    if (!pool_infer(op, status))
        return false;
    op->tape = lm_shape_units(&op->out);
    return true;
}

/* By far the most common windows, with code of their own. */
static bool is_two_by_two(const struct lm_operator *op) {
    return op->option[POOL_SIZE][0] == 2 && op->option[POOL_SIZE][1] == 2;
}

/* Windows of so many rows and columns, in x `row` numbers apart. */
struct windows {
    size_t rows, columns, row, width;
};

/* The winner of a window, and its place. The candidates are x, or the changes (x - old) + dx of
 * the maximum `old` that each unit would bring about if it won: they have the same order as
 * x + dx, and no change is lost against a large x. */
INLINE void choose_winner(const struct windows *w, const real *x, const real *dx, vec old,
                          vec *top, vec *winner) {
    *top = *winner = (vec){0};
    for (size_t i = 0; i < w->rows; i++)
        for (size_t j = 0; j < w->columns; j++) {
            size_t at = i * w->row + j * w->width;
            vec candidate = load(x + at);
            if (dx)
                candidate = (candidate - old) + load(dx + at);
            flags wins = either(above(candidate, *top), unordered(candidate, candidate));
            *top = i + j == 0 ? candidate : choose(wins, candidate, *top);
            if (i + j > 0)
                *winner = choose(wins, (vec){0} + (real)(i * w->columns + j), *winner);
        }
}

/* As relu's: a NaN stays one. */
INLINE void rectify(vec *top, vec *winner) {
    flags on = above(*top, (vec){0});
    *winner = choose(on, *winner, (vec){0} + POOL_NOWHERE);
    *top = only(either(on, unordered(*top, *top)), *top);
}

/* The change of the rectified maximum when that moves from `old` by `top`: see relu.c. */
INLINE void rectify_change(vec old, vec *top, vec *winner) {
    vec moved = old + *top;
    flags was_on = above(old, (vec){0}), on = above(moved, (vec){0});
    vec when_on = choose(was_on, *top, moved), when_off = only(was_on, -old);
    *winner = choose(on, *winner, (vec){0} + POOL_NOWHERE);
    *top = choose(either(on, unordered(moved, moved)), when_on, when_off);
}

/* One window; y, the output at x, only with dx. */
INLINE void pool(const struct windows *w, bool rectifies, const real *x, const real *y,
                 const real *dx, real *best, real *place) {
    vec old = dx ? load(y) : (vec){0}, top, winner;
    if (dx && rectifies)
        choose_winner(w, x, NULL, old, &old, &winner);
    choose_winner(w, x, dx, old, &top, &winner);
    if (dx && rectifies)
        rectify_change(old, &top, &winner);
    else if (rectifies)
        rectify(&top, &winner);
    store(best, top);
    store(place, winner);
}

/* All windows, with constant sizes. */
INLINE void pool_all(const struct lm_operator *op, size_t rows, size_t columns, bool rectifies,
                     size_t width, const real *x, const real *y, const real *dx, real *best,
                     real *place) {
    const struct windows w = {rows, columns, op->in[0].extent[2] * width, width};
    size_t next = op->option[POOL_STRIDE][1] * width;
    for (size_t r = 0, out = 0; r < pool_rows(op); r++) {
        size_t in = pool_corner(op, r) * width;
        for (size_t c = 0; c < op->out.extent[2]; c++, in += next)
            for (size_t b = 0; b < width; b += LANES, out += LANES)
                pool(&w, rectifies, x + in + b, y ? y + out : NULL, dx ? dx + in + b : NULL,
                     best + out, place + out);
    }
}

/* The winners of all windows of x, or with dx their changes. */
INLINE void pool_kind(const struct lm_operator *op, size_t width, const real *x, const real *y,
                      const real *dx, real *best, real *place) {
    const size_t *size = op->option[POOL_SIZE];
    if (is_two_by_two(op) && op->rectifies)
        pool_all(op, 2, 2, true, width, x, y, dx, best, place);
    else if (is_two_by_two(op))
        pool_all(op, 2, 2, false, width, x, y, dx, best, place);
    else if (op->rectifies)
        pool_all(op, size[0], size[1], true, width, x, y, dx, best, place);
    else
        pool_all(op, size[0], size[1], false, width, x, y, dx, best, place);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)parameters;
    pool_kind(op, width, x[0], NULL, NULL, y, tape);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)parameters;
    pool_kind(op, width, x[0], y, dx[0], dy, tape);
}

/* ex (+)= ey at the winner of a window. */
INLINE void spread(size_t rows, size_t columns, bool add, size_t row, size_t width,
                   const real *place, const real *ey, real *ex) {
    vec winner = load(place), error = load(ey);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            real *at = ex + i * row + j * width;
            vec there = only(equal(winner, (vec){0} + (real)(i * columns + j)), error);
            store(at, add ? load(at) + there : there);
        }
}

INLINE void spread_all(const struct lm_operator *op, size_t rows, size_t columns, bool add,
                       size_t width, const real *place, const real *ey, real *ex) {
    size_t row = op->in[0].extent[2] * width, next = op->option[POOL_STRIDE][1] * width;
    for (size_t r = 0, out = 0; r < pool_rows(op); r++) {
        real *to = ex + pool_corner(op, r) * width;
        for (size_t c = 0; c < op->out.extent[2]; c++, to += next)
            for (size_t b = 0; b < width; b += LANES, out += LANES)
                spread(rows, columns, add, row, width, place + out, ey + out, to + b);
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
    const size_t *size = op->option[POOL_SIZE];
    if (!ex[0])
        return;
    if (!is_tiling(op)) {
        memset(ex[0], 0, lm_shape_units(&op->in[0]) * width * sizeof *ex[0]);
        spread_all(op, size[0], size[1], true, width, tape, ey, ex[0]);
    } else if (is_two_by_two(op)) {
        spread_all(op, 2, 2, false, width, tape, ey, ex[0]);
    } else {
        spread_all(op, size[0], size[1], false, width, tape, ey, ex[0]);
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
