#include "tensor.h"

#include "memory.h"

#include <stdio.h>

bool lm_shape_init(struct lm_shape *shape, int rank, const long extent[],
                   struct lm_status *status) {
    if (rank != 1 && rank != 3)
        return lm_fail(status, LM_CONFIG, "a shape has 1 or 3 extents, not %d", rank);
    *shape = (struct lm_shape){rank, {1, 1, 1}};
    for (int i = 0; i < rank; i++) {
        if (extent[i] < 1)
            return lm_fail(status, LM_CONFIG, "extent %d is %ld: at least 1 is expected", i + 1,
                           extent[i]);
        shape->extent[i] = (size_t)extent[i];
    }
    return true;
}

size_t lm_shape_units(const struct lm_shape *shape) {
    return lm_product(lm_product(shape->extent[0], shape->extent[1]), shape->extent[2]);
}

bool lm_shape_equal(const struct lm_shape *a, const struct lm_shape *b) {
    return a->rank == b->rank && a->extent[0] == b->extent[0] && a->extent[1] == b->extent[1] &&
           a->extent[2] == b->extent[2];
}

const char *lm_shape_text(const struct lm_shape *shape, char *text) {
    if (shape->rank == 1)
        snprintf(text, LM_SHAPE_TEXT, "%zu", shape->extent[0]);
    else
        snprintf(text, LM_SHAPE_TEXT, "%zu x %zu x %zu", shape->extent[0], shape->extent[1],
                 shape->extent[2]);
    return text;
}

size_t lm_width(size_t inputs) {
    return (inputs + LM_LANE - 1) / LM_LANE * LM_LANE;
}

void lm_add(size_t n, const real *restrict x, real *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void lm_sum(size_t n, const real *a, const real *b, real *sum) {
    for (size_t i = 0; i < n; i++)
        sum[i] = a[i] + b[i];
}
