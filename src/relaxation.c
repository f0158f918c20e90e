#include "relaxation.h"

#include "operators/vector.h"

struct lm_relaxation lm_relaxation_of(real eta, const real *error, real *value) {
    return (struct lm_relaxation){1 - eta, eta, error, value, false};
}

void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback) {
    const struct lm_relaxation by = *relaxation; /* in registers, whatever is stored */
    for (size_t i = 0; by.error && i < n; i += LANES)
        relax(&by, true, by.value + i, load(feedback + i));
    for (size_t i = 0; !by.error && i < n; i += LANES)
        relax(&by, false, by.value + i, load(feedback + i));
}
