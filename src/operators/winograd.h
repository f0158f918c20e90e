/* Correlation of 3 x 3 taps in fewer multiplications: the algorithm F(4 x 4, 3 x 3) of
 * Winograd, as in A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks",
 * CVPR 2016; winograd_line.h has its lines. Internal to the operators.
 *
 * Outputs go in tiles of 4 x 4. The 6 x 6 inputs that a tile meets are transformed, V = B^T d
 * B, and so are the taps, U = G g G^T; at each of the 36 places the products of U and V are
 * summed over the input channels, which is one multiplication of matrices for some tiles and
 * inputs; Y = A^T M A of these sums are the outputs: 36 products where 144 were needed. The
 * gradient of the taps is G^T (sum of (A e A^T) V) G, e being the errors of a tile's outputs.
 *
 * The sums that the transforms add cost a part of that, the less the more channels there are;
 * and the taps are transformed at each call, which needs some tiles to be worth its while.
 * Rounding is about twice that of plain sums, and some units of 2^-24 where those are short. */
#ifndef LAMINA_WINOGRAD_H
#define LAMINA_WINOGRAD_H

#include "correlate.h"

/* Reals that each of the functions below allocates at most between so many channels, one way or
 * the other: four times the weights, and some 36 * 64 for each channel. */
size_t lm_winograd_room(ptrdiff_t in_channels, ptrdiff_t out_channels);

/* lm_correlate for axes of step 1 with 3 taps and outputs that are 1 apart. Tiles begin at
 * every fourth row and column of the whole output, so that a band of it has the same bits. */
void lm_winograd_correlate(const struct lm_correlation *correlation);

/* gradient += that of the weights, which are laid out as `correlation` says, from the errors of
 * the outputs (out_channels, rows.out, columns.out, width). Its weight, bias and out are not
 * read. */
void lm_winograd_gradient(const struct lm_correlation *correlation, const real *error,
                          real *gradient);

#endif
