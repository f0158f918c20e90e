#include "plain_chain.h"

#include "memory.h"
#include "random.h"

#include <math.h>

size_t plain_chain_size(const struct plain_chain *chain, int k) {
    return lm_shape_units(&chain->op[k].out) * chain->width;
}

void plain_chain_init(struct plain_chain *chain, int n, const struct lm_operator_spec spec[],
                      int n_inputs, const struct lm_shape in[], size_t width) {
    struct lm_status status = {0};
    *chain = (struct plain_chain){.n = n, .width = width};
    for (int k = 0; k < n; k++) {
        if (!lm_operator_init(&chain->op[k], spec[k].kind, spec[k].option, k ? 1 : n_inputs,
                              k ? &chain->op[k - 1].out : in, &status))
            lm_abort(status.code, "%s", status.message);
        chain->y[k] = lm_allocate(plain_chain_size(chain, k), sizeof(real));
        chain->dy[k] = lm_allocate(plain_chain_size(chain, k), sizeof(real));
        chain->e[k] = lm_allocate(plain_chain_size(chain, k), sizeof(real));
        chain->tape[k] = lm_allocate(chain->op[k].tape * width, sizeof(real));
        chain->moved_tape[k] = lm_allocate(chain->op[k].tape * width, sizeof(real));
    }
}

void plain_chain_clear(struct plain_chain *chain) {
    for (int k = 0; k < chain->n; k++) {
        lm_free(chain->y[k]);
        lm_free(chain->dy[k]);
        lm_free(chain->e[k]);
        lm_free(chain->tape[k]);
        lm_free(chain->moved_tape[k]);
    }
}

void plain_chain_forward(struct plain_chain *chain, const real *parameters,
                         const real *const x[]) {
    chain->parameters = parameters;
    chain->x = x;
    for (int k = 0; k < chain->n; k++) {
        const struct lm_operator *op = &chain->op[k];
        const real *below = k ? chain->y[k - 1] : NULL;
        op->kind->forward(op, parameters, k ? &below : x, chain->width, chain->y[k],
                          chain->tape[k]);
        parameters += lm_operator_parameters(op);
    }
}

void plain_chain_difference(struct plain_chain *chain, const real *const dx[]) {
    const real *parameters = chain->parameters;
    for (int k = 0; k < chain->n; k++) {
        const struct lm_operator *op = &chain->op[k];
        const real *below = k ? chain->y[k - 1] : NULL, *change = k ? chain->dy[k - 1] : NULL;
        op->kind->difference(op, parameters, k ? &below : chain->x, chain->y[k],
                             k ? &change : dx, chain->width, chain->dy[k],
                             chain->moved_tape[k]);
        parameters += lm_operator_parameters(op);
    }
}

void plain_chain_pull(struct plain_chain *chain, real *const tape[], const real *e,
                      real *gradient, real *const ex[]) {
    size_t at = 0;
    for (int k = 0; k < chain->n; k++)
        at += lm_operator_parameters(&chain->op[k]);
    for (int k = chain->n - 1; k >= 0; k--) {
        const struct lm_operator *op = &chain->op[k];
        at -= lm_operator_parameters(op);
        if (gradient && lm_operator_parameters(op))
            op->kind->pull_parameters(op, k ? chain->y[k - 1] : chain->x[0], e, chain->width,
                                      false, gradient + at);
        if (k || ex)
            op->kind->pull_input(op, chain->parameters + at, tape[k], e, chain->width,
                                 k ? &chain->e[k - 1] : ex);
        e = k ? chain->e[k - 1] : NULL;
    }
}

real *made_up(size_t n, double size, unsigned index) {
    real *array = lm_allocate(n, sizeof *array);
    for (size_t i = 0; i < n; i++)
        array[i] = (real)(size * (2 * lm_random_uniform(2, LM_STREAM_TEST, index, i) - 1));
    return array;
}

double largest_magnitude(size_t n, const real *array) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double magnitude = fabs((double)array[i]);
        if (magnitude > largest) /* at fmax, here, GCC 12 for aarch64 gives up */
            largest = magnitude;
    }
    return largest;
}

void spoil(size_t n, real *array) {
    for (size_t i = 0; i < n; i++)
        array[i] = (real)NAN;
}

void make_error(size_t n, const real *change, const real *value, real *e) {
    for (size_t i = 0; i < n; i++)
        e[i] = (change ? change[i] : 0) - value[i];
}
