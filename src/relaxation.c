#include "relaxation.h"

#include "operators/vector.h"

struct lm_relaxation lm_relaxation_of(real eta, const real *error, real *value) {
    return (struct lm_relaxation){.keep = 1 - eta, .step = eta, .error = error, .value = value};
}

enum { AHEAD = 1024 }; /* numbers: feedback may have to come from another processor's cache */

void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback) {
    const struct lm_relaxation by = *relaxation; /* in registers, whatever is stored */
    for (size_t i = 0; i < n; i += LANES) {
        real *at = by.value + i;
        __builtin_prefetch(feedback + i + AHEAD);
        vec value = relaxed(&by, by.error != NULL, at, load(feedback + i));
        if (by.streams)
            stream(at, value);
        else
            store(at, value);
    }
    if (by.streams)
        stream_end();
}
