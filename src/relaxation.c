#include "relaxation.h"

#include "operators/vector.h"

struct lm_relaxation lm_relaxation_of(real eta, const real *error, real *value) {
    return (struct lm_relaxation){.keep = 1 - eta, .step = eta, .error = error, .value = value};
}

enum {
    PARTS = 4,  /* that are gone through side by side: a processor fetches ahead of each */
    AHEAD = 64, /* numbers: they may have to come from another processor's cache */
};

INLINE void move(const struct lm_relaxation *by, const real *feedback, size_t i) {
    vec value = relaxed(by, by->error != NULL, by->value + i, load(feedback + i));
    store(by->value + i, value);
    if (by->copy && by->streams)
        stream(by->copy + i, value);
    else if (by->copy)
        store(by->copy + i, value);
}

static void fetch(const struct lm_relaxation *by, const real *feedback, size_t i) {
    __builtin_prefetch(feedback + i);
    if (by->copy && !by->streams)
        __builtin_prefetch(by->copy + i, 1);
}

void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback) {
    const struct lm_relaxation by = *relaxation; /* in registers, whatever is stored */
    /* An odd number of lines, so that parts do not meet in the same lines of a cache. */
    const size_t part = ((n / LM_LANE + PARTS - 1) / PARTS | 1) * LM_LANE;
    for (size_t first = 0; first < part; first += LM_LANE)
        for (size_t i = first; i < n; i += part) {
            fetch(&by, feedback, i + AHEAD);
            for (size_t k = 0; k < LM_LANE; k += LANES)
                move(&by, feedback, i + k);
        }
    if (by.copy && by.streams)
        stream_end();
}
