/* Plain chain: operators one after another, each on whole arrays, in the order written: what
 * stages and maps must come to. */
#ifndef LAMINA_PLAIN_CHAIN_H
#define LAMINA_PLAIN_CHAIN_H

#include "map.h"

struct plain_chain {
    int n;
    struct lm_operator op[LM_MAX_OPERATORS];
    size_t width;
    const real *parameters; /* of all operators in turn; not owned */
    const real *const *x;   /* not owned */
    real *y[LM_MAX_OPERATORS], *tape[LM_MAX_OPERATORS];        /* at x */
    real *dy[LM_MAX_OPERATORS], *moved_tape[LM_MAX_OPERATORS]; /* when x moves */
    real *e[LM_MAX_OPERATORS]; /* errors at the outputs of all but the last operator */
};

/* A chain over inputs of one shape each; free with plain_chain_clear. */
void plain_chain_init(struct plain_chain *chain, int n, const struct lm_operator_spec spec[],
                      int n_inputs, const struct lm_shape in[], size_t width);
void plain_chain_clear(struct plain_chain *chain);

/* Reals of operator k's output. */
size_t plain_chain_size(const struct plain_chain *chain, int k);

/* y and tape at x; both arguments are kept for the functions below. */
void plain_chain_forward(struct plain_chain *chain, const real *parameters,
                         const real *const x[]);

/* dy and moved_tape. */
void plain_chain_difference(struct plain_chain *chain, const real *const dx[]);

/* The error e at the last output pulled back with the tapes `tape`: added to `gradient`, into
 * ex; either may be NULL. */
void plain_chain_pull(struct plain_chain *chain, real *const tape[], const real *e,
                      real *gradient, real *const ex[]);

/* n numbers in [-size, size), other ones for every index; free with lm_free. */
real *made_up(size_t n, double size, unsigned index);

/* The largest magnitude of n numbers. */
double largest_magnitude(size_t n, const real *array);

/* Every number becomes NaN, so that what is read before it is written shows. */
void spoil(size_t n, real *array);

/* e = change - value; change NULL: 0. */
void make_error(size_t n, const real *change, const real *value, real *e);

#endif
