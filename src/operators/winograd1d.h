/* Correlation of 3 x 3 taps between few channels in fewer multiplications: the algorithm
 * F(4, 3) of Winograd along rows, as in A. Lavin and S. Gray, "Fast algorithms for
 * convolutional neural networks", CVPR 2016. Internal to the operators.
 *
 * Four neighbouring outputs of a row meet six inputs of each row of the kernel. These are
 * transformed, v = B^T d, and so are the three taps, u = G g; at each of the six places the
 * products of u and v are summed over the rows of the kernel and the input channels, in
 * registers, and y = A^T m of these sums are the outputs: 6 products where 12 were needed.
 * Transformed inputs are made once for all output channels and for the three rows of outputs
 * that meet them, and stay in the nearest cache. Columns that are left over when they go four
 * by four are summed plainly, but for three, which are done as four.
 *
 * Rounding is about twice that of plain sums, relative to what is made: too much for values
 * that others like them are subtracted from (lm_operator.plain). */
#ifndef LAMINA_WINOGRAD1D_H
#define LAMINA_WINOGRAD1D_H

#include "correlate.h"

/* Whether it can be done, and is worth while: axes of step 1 with 3 taps and outputs that are 1
 * apart, LM_TAPS taps or fewer, and channels and columns enough to pay for the transforms. */
bool lm_winograd1d_fits(const struct lm_correlation *correlation);

/* lm_correlate where it fits. An output is the same sum in the same order whatever rows and
 * channels it is made with. */
void lm_winograd1d_correlate(const struct lm_correlation *correlation);

#endif
