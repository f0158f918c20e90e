/* Sums of a single channel's 3 x 3 taps at one or two neighbouring rows and columns, which
 * share inputs as well as weights; so few taps go without a loop. */
#ifndef LAMINA_NEIGHBOURS_H
#define LAMINA_NEIGHBOURS_H

#include "vector.h"

enum {
    SIDE = 3, /* taps in a row */
    PAIR = 2, /* rows, and columns */
};

/* sum[o][i][j] = bias[o] + that of output channel o at row i and column j: one vector of inputs
 * from x on, whose rows are x_row numbers apart and columns `width`. weight: (taps, channels).
 */
INLINE void sum_neighbours(int channels, int rows, int columns, const real *weight,
                           const real *bias, const real *x, ptrdiff_t x_row, ptrdiff_t width,
                           vec sum[TILE][PAIR][PAIR]) {
    vec input[PAIR][PAIR + SIDE - 1];
    for (int o = 0; o < channels; o++)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                sum[o][i][j] = bias[o] - (vec){0};
    for (int r = 0; r < SIDE; r++, x += x_row, weight += SIDE * channels)
#pragma GCC unroll 3 /* so that inputs stay in registers */
        for (int t = 0; t < SIDE; t++) {
            for (int i = 0; i < rows; i++)
                for (int j = t ? t + columns - 1 : 0; j < t + columns; j++)
                    input[i][j] = keep(load(x + i * x_row + j * width));
            for (int o = 0; o < channels; o++) {
                vec tap = keep(weight[t * channels + o] - (vec){0});
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < columns; j++)
                        sum[o][i][j] = add_product(sum[o][i][j], tap, input[i][t + j]);
            }
        }
}

#endif
