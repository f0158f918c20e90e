/* Correlation of 3 x 3 taps in fewer multiplications: the algorithm F(2 x 2, 3 x 3) of
 * Winograd, as in A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks",
 * CVPR 2016. Internal to the operators.
 *
 * Outputs go in tiles of 2 x 2. The 4 x 4 inputs that a tile meets are transformed, V = B^T d
 * B, and so are the taps, U = G g G^T; at each of the 16 places the products of U and V are
 * summed over the input channels, which is one multiplication of matrices for all tiles and
 * inputs; Y = A^T M A of these sums are the outputs: 16 products where 36 were needed. The sums
 * that the transforms add cost a part of that, which is the less the more channels there are.
 * Rounding stays within a few times that of plain sums. */
#ifndef LAMINA_WINOGRAD_H
#define LAMINA_WINOGRAD_H

#include "correlate.h"

/* lm_correlate for axes of step 1 with 3 taps and outputs that are 1 apart; allocates room for
 * U and for blocks of V and M. Tiles begin at even rows and columns of
 * the whole output, so that a band of it has the same bits. */
void lm_winograd_correlate(const struct lm_correlation *correlation);

/* gradient += that of the weights, which are laid out as `correlation` says, from the errors of
 * the outputs (out_channels, rows.out, columns.out, width). Its weight, bias and out are not
 * read. Allocates likewise. */
void lm_winograd_gradient(const struct lm_correlation *correlation, const real *error,
                          real *gradient);

#endif
