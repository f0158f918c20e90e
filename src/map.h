/* Map: the chain of operators that a layer applies to its parents' values,
 * mu = f(v; theta), and its pull back J^T e.
 *
 * The chain is done in stages (stage.h). The output of every operator is kept for one chunk in
 * a block `activations`, the tapes in a block `tape`; both are cut up by offsets per input, so
 * a block is offset * width reals into the array. What stands between the operators of a stage,
 * needed by differences only, lies behind the rest and may be left out. Operators that only
 * reshape are left out: their output is their input.
 *
 * relu before maxpool2d is done behind it, and relu behind maxpool2d together with it: the
 * largest of the rectified units is the largest unit, rectified, with the same derivative, and
 * there are fewer of them. */
#ifndef LAMINA_MAP_H
#define LAMINA_MAP_H

#include "stage.h"

enum { LM_MAX_OPERATORS = 16 };

/* One operator as settings name it; option texts stand in the order of kind->options. */
struct lm_operator_spec {
    const struct lm_operator_kind *kind;
    const char *option[LM_MAX_OPTIONS]; /* NULL: absent. Not owned */
};

struct lm_map {
    int n; /* operators that are done */
    struct lm_operator operators[LM_MAX_OPERATORS];
    size_t parameter_offset[LM_MAX_OPERATORS];  /* into the layer's parameters */
    size_t activation_offset[LM_MAX_OPERATORS]; /* per input */
    size_t tape_offset[LM_MAX_OPERATORS];       /* per input */
    size_t prepared_offset[LM_MAX_OPERATORS];   /* into the prepared weights */
    size_t parameters;                          /* length of the packed parameters */
    size_t prepared;    /* length of the prepared weights (operator.h) of all operators */
    size_t outputs;     /* reals per input of the stages' outputs in an activations block */
    size_t activations; /* the same of all operators' outputs */
    size_t own_tape;    /* reals per input of a tape block at x, where tapes that are a stage's
                           output are found in the activations */
    size_t tape;        /* the same of a block of all tapes */
    size_t widest;      /* units of the widest operator output */
    struct lm_shape out;
    int n_stages;
    struct lm_stage stage[LM_MAX_OPERATORS];
};

/* What a map works on for one chunk. */
struct lm_map_run {
    const struct lm_map *map;
    const real *parameters;
    const real *prepared; /* NULL: weights are not prepared */
    const real *const *x; /* (parents) each (units of the parent, width) */
    size_t width;
    real *activations; /* block */
    bool inner;        /* `activations` has room for all operators' outputs, not only the
                          stages'; needed by differences */
    real *tape;        /* block of own_tape, or of all tapes if `moved` */
    bool moved;        /* the tapes are not those of `activations`, but at x + dx */
    real *work;        /* lm_map_work reals */
    const struct lm_relaxation *relaxation; /* NULL; or a pull back to the only parent moves its
                                               values, and `ex` is only room to work */
};

/* Chain operators over parents of the shapes in[n_inputs]; LM_CONFIG names the
 * operator (by position and kind) and the shapes that do not fit. */
bool lm_map_init(struct lm_map *map, int n, const struct lm_operator_spec spec[], int n_inputs,
                 const struct lm_shape in[], struct lm_status *status);

/* Part `part` of `parts` of the prepared weights. All parts may be made at the same time. */
void lm_map_prepare(const struct lm_map *map, const real *parameters, size_t part, size_t parts,
                    real *prepared);

/* Reals needed as `work` with chunks of up to `width` inputs. */
size_t lm_map_work(const struct lm_map *map, size_t width);

/* Activations and tape at x. */
void lm_map_forward(const struct lm_map_run *run);

/* f(x) within an activations block. */
real *lm_map_output(const struct lm_map *map, real *activations, size_t width);

/* The changes of the stages' outputs when x moves to x + dx, into `changes` (a block like
 * activations; its lm_map_output is f(x + dx) - f(x)), and all tapes at x + dx into `tape`.
 * run->activations are those at x; run->tape is not used. */
void lm_map_difference(const struct lm_map_run *run, const real *const dx[], real *changes,
                       real *tape);

/* As lm_map_difference (with dx NULL: as lm_map_forward, into `changes`), and then e, the
 * `error` of the change of f (of f(x)), and ex as lm_map_pull_input gives it, all in one
 * go: neither the last stage's changes nor its tape are kept. */
void lm_map_infer(const struct lm_map_run *run, const real *const dx[],
                  const struct lm_operator_error *error, real *changes, real *tape, real *e,
                  real *const ex[]);

/* e, the `error` of no change, and ex as lm_map_pull_input gives it, in one go. */
void lm_map_pull_error(const struct lm_map_run *run, const struct lm_operator_error *error,
                       real *e, real *const ex[]);

/* ex[k] = (df/dx_k)^T e from run->tape; ex[k] NULL: not wanted. */
void lm_map_pull_input(const struct lm_map_run *run, const real *e, real *const ex[]);

/* gradient = (df/dtheta)^T e at x, from activations and tape at x. */
void lm_map_pull_parameters(const struct lm_map_run *run, const real *e, real *gradient);

/* Floating-point operations of one forward pass, per input. A pull back to the
 * input or to the parameters costs as much again. */
double lm_map_flops(const struct lm_map *map);

#endif
