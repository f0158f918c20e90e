#include "relaxation.h"

#include "operators/vector.h"

struct lm_relaxation lm_relaxation_of(real eta, const real *error, real *value) {
    return (struct lm_relaxation){.keep = 1 - eta, .step = eta, .error = error, .value = value};
}

INLINE void relax_all(bool by_error, bool streams, const struct lm_relaxation *relaxation,
                      size_t n, const real *feedback) {
    const struct lm_relaxation by = *relaxation; /* in registers, whatever is stored */
    for (size_t i = 0; i < n; i += LANES) {
        vec value = relaxed(&by, by_error, by.value + i, load(feedback + i));
        if (streams)
            stream(by.value + i, value);
        else
            store(by.value + i, value);
    }
    if (streams)
        stream_end();
}

void lm_relax(const struct lm_relaxation *by, size_t n, const real *feedback) {
    if (by->error && by->streams)
        relax_all(true, true, by, n, feedback);
    else if (by->error)
        relax_all(true, false, by, n, feedback);
    else if (by->streams)
        relax_all(false, true, by, n, feedback);
    else
        relax_all(false, false, by, n, feedback);
}
