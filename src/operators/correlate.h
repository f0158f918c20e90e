/* Correlation: kernels laid over images, by which conv2d makes its outputs, their changes and
 * its pull back. Internal to the operators.
 *
 * Sums are kept in registers, a tile of up to TILE channels x WIDE vectors of inputs
 * (vector.h), or two columns of one vector where 3 x 3 taps of one channel are all. Taps are
 * summed up block by block: the weights of a block are put side by side for each tile, and
 * where several tiles read the same inputs these are copied once to where the L2 cache keeps
 * them. An output is the same sum in the same order whatever rows and channels it is made with.
 */
#ifndef LAMINA_CORRELATE_H
#define LAMINA_CORRELATE_H

#include "../operator.h"

/* One axis: for i < count the output at first + i * apart is the sum over taps t of weight t
 * times the input at i * step + t - padding, if there is one. */
struct lm_axis {
    ptrdiff_t in, out; /* extents */
    ptrdiff_t first, apart, count;
    ptrdiff_t step, padding;
    ptrdiff_t taps, weight_step;
    ptrdiff_t origin; /* of a band: what its first output is in the whole axis; else 0 */
};

/* Taps of one output that are summed in one go: what they come to need not be kept meanwhile.
 */
enum { LM_TAPS = 96 };

/* Weights, inputs (in_channels, rows.in, columns.in, width) and outputs (out_channels,
 * rows.out, columns.out, width) of all channels, and how they are laid over each other. */
struct lm_correlation {
    struct lm_axis rows, columns;
    ptrdiff_t in_channels, out_channels, width;
    const real *weight;              /* of the first tap */
    ptrdiff_t weight_in, weight_out; /* steps from channel to channel */
    const real *bias;                /* (out_channels); NULL: zero */
    const real *in;
    real *out;
    const struct lm_relaxation
        *relaxation; /* NULL; or `out` is its values, which relax, and the
                        taps of all input channels are LM_TAPS at most */
};

/* [from, to); empty if from >= to. */
struct lm_range {
    ptrdiff_t from, to;
};

/* The taps that meet an input at output i. */
struct lm_range lm_taps_at(const struct lm_axis *axis, ptrdiff_t i);

/* What both ranges hold. */
struct lm_range lm_overlap(struct lm_range a, struct lm_range b);

/* Write the outputs that the axes name. */
void lm_correlate(const struct lm_correlation *correlation);

#endif
