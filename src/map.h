/* Map: the chain of operators that a layer applies to its parents' values,
 * mu = f(v; theta), and its pull back J^T e.
 *
 * The output of every operator is kept for one chunk in a block `activations`, the
 * tapes in a block `tape`; both are cut up by offsets per input, so a block is
 * offset * width reals into the array. Operators that only reshape are left out:
 * their output is their input. */
#ifndef LAMINA_MAP_H
#define LAMINA_MAP_H

#include "operator.h"

enum { LM_MAX_OPERATORS = 16 };

/* One operator as settings name it; option texts stand in the order of kind->options. */
struct lm_operator_spec {
    const struct lm_operator_kind *kind;
    const char *option[LM_MAX_OPTIONS]; /* NULL: absent. Not owned */
};

struct lm_map {
    int n; /* operators */
    struct lm_operator operators[LM_MAX_OPERATORS];
    size_t parameter_offset[LM_MAX_OPERATORS];  /* into the layer's parameters */
    size_t activation_offset[LM_MAX_OPERATORS]; /* per input */
    size_t tape_offset[LM_MAX_OPERATORS];       /* per input */
    size_t parameters;                          /* length of the packed parameters */
    size_t activations;                         /* reals per input of an activations block */
    size_t tape;                                /* reals per input of a tape block */
    size_t widest;                              /* units of the widest operator output */
    struct lm_shape out;
};

/* Chain operators over parents of the shapes in[n_inputs]; LM_CONFIG names the
 * operator (by position and kind) and the shapes that do not fit. */
bool lm_map_init(struct lm_map *map, int n, const struct lm_operator_spec spec[], int n_inputs,
                 const struct lm_shape in[], struct lm_status *status);

/* Activations and tape at x. x[k] (units of parent k, width). */
void lm_map_forward(const struct lm_map *map, const real *parameters, const real *const x[],
                    size_t width, real *activations, real *tape);

/* f(x) within an activations block. */
real *lm_map_output(const struct lm_map *map, real *activations, size_t width);

/* The change of every activation when x moves to x + dx, into `changes` (a block
 * like activations; its lm_map_output is f(x + dx) - f(x)), and the tape at x + dx. */
void lm_map_difference(const struct lm_map *map, const real *parameters, const real *const x[],
                       real *activations, const real *const dx[], size_t width, real *changes,
                       real *tape);

/* ex[k] = (df/dx_k)^T e from a tape; ex[k] NULL: not wanted. `scratch` has room for
 * 2 * map->widest * width reals. */
void lm_map_pull_input(const struct lm_map *map, const real *parameters, const real *tape,
                       const real *e, size_t width, real *const ex[], real *scratch);

/* gradient += (df/dtheta)^T e at x, from activations and tape at x. */
void lm_map_pull_parameters(const struct lm_map *map, const real *parameters,
                            const real *const x[], real *activations, const real *tape,
                            const real *e, size_t width, real *gradient, real *scratch);

/* Floating-point operations of one forward pass, per input. A pull back to the
 * input or to the parameters costs as much again. */
double lm_map_flops(const struct lm_map *map);

#endif
