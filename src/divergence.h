/* Divergence: how far a layer's weight update is from the exact gradient, as Rosenbaum
 * (2022) measures it: over the weights, biases left out. Sums are in double. */
#ifndef LAMINA_DIVERGENCE_H
#define LAMINA_DIVERGENCE_H

#include "map.h"

struct lm_divergence {
    double relative_error; /* |update - exact| / |exact|, dimensionless; 0 if both are 0,
                              infinite if only exact is */
    double angle;          /* between update and exact, degrees, accurate also near 0; 90 if
                              one of them is 0 and the other is not, 0 if both are */
};

/* Compare two packed parameter gradients of a map; equal ones give exactly 0. Non-finite
 * numbers give NaN. */
struct lm_divergence lm_divergence_measure(const struct lm_map *map, const real *update,
                                           const real *exact);

#endif
