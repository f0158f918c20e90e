/* Relaxation: values that move by feedback alone, as they do where the error is minus the
 * deviation: value = keep * value - step * feedback, with keep = 1 - eta and step = eta.
 *
 * Where nobody else reads the feedback, an operator may move the values as it makes it, in
 * place of writing it (operator.h, relax_input): the same bits, and one large array less to go
 * through.
 */
#ifndef LAMINA_RELAXATION_H
#define LAMINA_RELAXATION_H

#include "tensor.h"

struct lm_relaxation {
    real keep, step;
};

/* That of step size eta. */
struct lm_relaxation lm_relaxation_of(real eta);

/* Move n values, a multiple of LM_LANE, by the feedback to each. Thread-safe. */
void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback,
              real *value);

#endif
