#include "relaxation.h"

#include "operators/vector.h"

void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback,
              real *value) {
    for (size_t i = 0; i < n; i += LANES)
        store(value + i, relaxed(relaxation, load(value + i), load(feedback + i)));
}
