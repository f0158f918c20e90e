/* Pooled: a conv2d of a single channel's 3 x 3 taps and the rectified maxpool2d of 2 x 2
 * windows behind it, in one go. The four sums of a window never leave the registers; and
 * of their errors only the winner's is not zero, so that the windows alone say what the
 * gradient is. The first layer of a network of grey images is like that. Internal to the
 * operators. */
#ifndef LAMINA_POOLED_H
#define LAMINA_POOLED_H

#include "../operator.h"

/* Windows of (channels, rows, columns), and the inputs of the sums in them: their rows are
 * x_row numbers apart. Arrays of windows are (channels, rows, columns, width). */
struct lm_pooled {
    ptrdiff_t channels, rows, columns, width, x_row;
    const real *x; /* of the first window */
};

/* y = the largest of a window's sums, rectified, and its place as maxpool2d has it (pool.h),
 * both with the bits of the two operators one after the other. weight: (channels, 9), bias:
 * (channels). */
void lm_pooled_forward(const struct lm_pooled *pooled, const real *weight, const real *bias,
                       real *y, real *place);

/* weights (channels, 9) and biases (channels) = the gradient of the error at y. */
void lm_pooled_gradient(const struct lm_pooled *pooled, const real *place, const real *error,
                        real *weights, real *biases);

#endif
