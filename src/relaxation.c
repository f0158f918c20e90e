#include "relaxation.h"

#include "operators/vector.h"

struct lm_relaxation lm_relaxation_of(real eta) {
    return (struct lm_relaxation){.keep = 1 - eta, .step = eta};
}

void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback,
              real *value) {
    for (size_t i = 0; i < n; i += LANES)
        store(value + i, relaxed(relaxation, load(value + i), load(feedback + i)));
}
