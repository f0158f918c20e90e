/* Sums of a single channel's 3 x 3 taps at one or two neighbouring columns, which share inputs
 * as well as weights; so few taps go without a loop. */
#ifndef LAMINA_NEIGHBOURS_H
#define LAMINA_NEIGHBOURS_H

#include "vector.h"

enum {
    SIDE = 3, /* taps in a row */
    PAIR = 2, /* columns */
};

/* sum[o][j] = bias[o] + that of output channel o at column j: one vector of inputs from x on,
 * whose rows are x_row numbers apart and columns `width`. weight: (taps, channels). */
INLINE void sum_neighbours(int channels, int columns, const real *weight, const real *bias,
                           const real *x, ptrdiff_t x_row, ptrdiff_t width,
                           vec sum[TILE][PAIR]) {
    vec input[PAIR + SIDE - 1];
    for (int o = 0; o < channels; o++)
        for (int j = 0; j < columns; j++)
            sum[o][j] = bias[o] - (vec){0};
    for (int i = 0; i < SIDE; i++, x += x_row, weight += SIDE * channels) {
        for (int j = 0; j < columns; j++)
            input[j] = keep(load(x + j * width));
        for (int t = 0; t < SIDE; t++) {
            if (t > 0)
                input[t + columns - 1] = keep(load(x + (t + columns - 1) * width));
            for (int o = 0; o < channels; o++) {
                vec tap = keep(weight[t * channels + o] - (vec){0});
                for (int j = 0; j < columns; j++)
                    sum[o][j] = add_product(sum[o][j], tap, input[t + j]);
            }
        }
    }
}

#endif
