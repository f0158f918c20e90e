/* Pooling: what maxpool2d and avgpool2d share. Windows of `size`, `stride` apart, lie
 * over every channel, without padding. Outputs are visited by pooled row (channel and
 * row in one number) and column. */
#ifndef LAMINA_POOL_H
#define LAMINA_POOL_H

#include "operators.h"

enum { POOL_SIZE, POOL_STRIDE }; /* options */

/* On the tape of maxpool2d, where others have a winner's place in its window, counted
 * row-major: it is rectified to 0. */
enum { POOL_NOWHERE = -1 };

#define POOL_OPTIONS                                                                           \
    { {"size", NULL, 1, true}, {"stride", "size", 1, true}, }

/* Set op->out and op->flops (one operation per unit of a window). */
static inline bool pool_infer(struct lm_operator *op, struct lm_status *status) {
    static const size_t padding[2] = {0, 0};
    const size_t *size = op->option[POOL_SIZE];
    size_t out[2];
    if (!lm_operator_windows(op, size, op->option[POOL_STRIDE], padding, out, status))
        return false;
    op->out = (struct lm_shape){3, {op->in[0].extent[0], out[0], out[1]}};
    op->rows_per_row = size[0] == op->option[POOL_STRIDE][0] ? size[0] : 0;
    op->flops = (double)lm_shape_units(&op->out) * (double)size[0] * (double)size[1];
    return true;
}

/* Number of pooled rows. */
static inline size_t pool_rows(const struct lm_operator *op) {
    return op->out.extent[0] * op->out.extent[1];
}

/* First unit of the first window of a pooled row. */
static inline size_t pool_corner(const struct lm_operator *op, size_t row) {
    size_t channel = row / op->out.extent[1], y = row % op->out.extent[1];
    return (channel * op->in[0].extent[1] + y * op->option[POOL_STRIDE][0]) *
           op->in[0].extent[2];
}

#endif
