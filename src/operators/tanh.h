/* Hyperbolic tangent: what tanh and sigmoid are made of, since sigmoid(z) = (1 + tanh(z/2))/2.
 *
 * All is branch-free, so that loops over inputs vectorise, and accurate to a few units in
 * the last place for all z and d, so long as the result is a normal number; exp(-t) stays at
 * the smallest normal number for larger t. NaN stays NaN. */
#ifndef LAMINA_TANH_H
#define LAMINA_TANH_H

#include "pointwise.h"

#include <stdint.h>
#include <string.h>
#include <tgmath.h>

enum { TANH_FLOPS = 40 };

#ifdef LAMINA_DOUBLE
typedef uint64_t real_bits;
enum { MANTISSA = 52, EXPONENT_BIAS = 1023, TAYLOR = 13 };
#define LARGEST_DECAY 708.0
#define LN2_HIGH 0x1.62e42ffp-1 /* few enough bits for exact products with small integers */
#define LN2_LOW -0x1.718432a1b0e26p-35
#else
typedef uint32_t real_bits;
enum { MANTISSA = 23, EXPONENT_BIAS = 127, TAYLOR = 7 };
#define LARGEST_DECAY 87.0f
#define LN2_HIGH 0x1.63p-1f
#define LN2_LOW -0x1.bd0106p-13f
#endif

/* exp(-t) and exp(-t) - 1 of a t >= 0, both without cancellation. */
struct decay {
    real exp, expm1;
};

/* -t = n ln 2 + r with |r| <= ln(2)/2; exp(-t) = 2^n exp(r), exp(r) - 1 by its Taylor series.
 */
static inline struct decay decay(real t) {
    const real rounder = (real)(3LL << (MANTISSA - 1)); /* adding it rounds to an integer */
    t = t > LARGEST_DECAY ? LARGEST_DECAY : t;
    real shifted = rounder - t * (real)1.44269504088896340736;
    real n = shifted - rounder;
    real r = -t - n * LN2_HIGH - n * LN2_LOW;
    real_bits bits, zero;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero, &rounder, sizeof zero);
    bits = (bits - zero + EXPONENT_BIAS) << MANTISSA;
    real power;
    memcpy(&power, &bits, sizeof power);
    real series = r / TAYLOR;
#pragma GCC unroll 16
    for (int k = TAYLOR - 1; k > 0; k--)
        series = (1 + series) * (r * (1 / (real)k));
    return (struct decay){power + power * series, power * series + (power - 1)};
}

static inline real tanh_value(struct decay twice, real z) {
    return copysign(twice.expm1 / (2 + twice.expm1), z);
}

/* d tanh(z)/dz = 4 exp(-2|z|) / (1 + exp(-2|z|))^2. */
static inline real tanh_slope(struct decay twice) {
    return 4 * twice.exp / ((1 + twice.exp) * (1 + twice.exp));
}

/* tanh(z + d) - tanh(z), and the slope at z + d. With p = exp(-2|z|), q = exp(-2|z + d|) and
 * equal signs of z and z + d the change is, but for its sign, 2 (p - q) / ((1 + p) (1 + q)),
 * where |p - q| = max(p, q) (1 - exp(-2|d|)). With other signs nothing cancels. */
static inline real tanh_change(real z, real d, real *slope) {
    real moved = z + d;
    struct decay p = decay(2 * fabs(z)), q = decay(2 * fabs(moved));
    *slope = tanh_slope(q);
    /* When q > p, |d| <= |z|: then what z + d rounds away is known exactly. */
    real lost = d - (moved - z);
    real largest = q.exp > p.exp ? q.exp * (1 - 2 * (moved < 0 ? -lost : lost)) : p.exp;
    real near = 2 * largest * -decay(2 * fabs(d)).expm1 / ((1 + p.exp) * (1 + q.exp));
    real far = tanh_value(q, moved) - tanh_value(p, z);
    return (z < 0) == (moved < 0) ? copysign(near, d) : far;
}

#endif
