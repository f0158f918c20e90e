#include "divergence.h"

#include <math.h>

/* Sum over the weights of (a_scale a - b_scale b)^2. */
static double distance_squared(const struct lm_map *map, const real *a, double a_scale,
                               const real *b, double b_scale) {
    double sum = 0;
    for (int j = 0; j < map->n; j++) {
        size_t first = map->parameter_offset[j], n = map->operators[j].n_weights;
        for (size_t i = first; i < first + n; i++) {
            double difference = a_scale * (double)a[i] - b_scale * (double)b[i];
            sum += difference * difference;
        }
    }
    return sum;
}

/* Kahan's formula: between unit vectors the angle is 2 atan(|a - b| / |a + b|), which keeps
 * small angles that the arc cosine rounds away. */
static double angle_degrees(const struct lm_map *map, const real *a, double a_norm,
                            const real *b, double b_norm) {
    double apart = sqrt(distance_squared(map, a, 1 / a_norm, b, 1 / b_norm));
    double along = sqrt(distance_squared(map, a, 1 / a_norm, b, -1 / b_norm));
    return 2 * atan2(apart, along) * 180 / acos(-1);
}

struct lm_divergence lm_divergence_measure(const struct lm_map *map, const real *update,
                                           const real *exact) {
    double update_norm = sqrt(distance_squared(map, update, 1, update, 0));
    double exact_norm = sqrt(distance_squared(map, exact, 1, exact, 0));
    if (!isfinite(update_norm) || !isfinite(exact_norm))
        return (struct lm_divergence){NAN, NAN};
    double apart = sqrt(distance_squared(map, update, 1, exact, 1));
    if (apart == 0)
        return (struct lm_divergence){0, 0};
    if (update_norm == 0 || exact_norm == 0)
        return (struct lm_divergence){exact_norm > 0 ? 1 : INFINITY, 90};
    return (struct lm_divergence){apart / exact_norm,
                                  angle_degrees(map, update, update_norm, exact, exact_norm)};
}
