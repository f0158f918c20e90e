/* Relaxation: the step of a layer's values by its error and the feedback to it (Rosenbaum
 * 2022, Algorithms 2 and 3), with step size eta,
 *
 *   value + step * (error - feedback)   step = eta; keep is not used
 *   keep * value - step * feedback      keep = 1 - eta, where the error follows from the value:
 *                                       step = eta if it is minus the value, a deviation,
 *                                       step = -eta if it is the value itself
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
    const real *error; /* of each value; NULL: by feedback alone */
    real *value;       /* what moves */
    bool fresh;        /* it is 0 as yet, and so is the error, wherever these have not been
                          written: they are not read */
    real *copy;        /* NULL, or where lm_relax writes it too, for another rank to read */
    bool streams;      /* past the caches, for that one is far away: the same bits. The copy
                          begins at a multiple of LM_LANE reals in memory */
};

/* That of step size eta. */
struct lm_relaxation lm_relaxation_of(real eta, const real *error, real *value);

/* Move the first n values, a multiple of LM_LANE, by the feedback to each. Thread-safe. */
void lm_relax(const struct lm_relaxation *relaxation, size_t n, const real *feedback);

#endif
