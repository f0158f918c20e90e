/* Hyperbolic tangent: the slope and the change that tanh and sigmoid are made of, since
 * sigmoid(z) = (1 + tanh(z / 2)) / 2. Accurate to a few units in the last place for all
 * finite z and d, so long as the result is a normal number. */
#ifndef LAMINA_TANH_H
#define LAMINA_TANH_H

#include "pointwise.h"

#include <tgmath.h>

enum { TANH_FLOPS = 20 }; /* what the calls of the C library count for */

/* d tanh(z)/dz = 1 / cosh(z)^2. */
static inline real tanh_slope(real z) {
    real secant = 1 / cosh(z);
    return secant * secant;
}

/* tanh(z + d) - tanh(z), and the slope at z + d. With p = exp(-2 |z|), q = exp(-2 |z + d|)
 * and equal signs of z and z + d the change is, but for its sign,
 * 2 (p - q) / ((1 + p) (1 + q)), where |p - q| = max(p, q) (1 - exp(-2 |d|)). */
static inline real tanh_change(real z, real d, real *slope) {
    real moved = z + d;
    real p = exp(-2 * fabs(z)), q = exp(-2 * fabs(moved));
    *slope = 4 * q / ((1 + q) * (1 + q));
    if ((z < 0) != (moved < 0)) /* nothing cancels */
        return tanh(moved) - tanh(z);
    real largest = p;
    if (q > p) { /* then |d| <= |z|, so that what z + d rounds away is known exactly */
        real lost = d - (moved - z);
        largest = q * (1 - 2 * (moved < 0 ? -lost : lost));
    }
    return copysign(2 * largest * -expm1(-2 * fabs(d)) / ((1 + p) * (1 + q)), d);
}

#endif
