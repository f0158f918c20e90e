/* Stage: an operator and the local ones behind it (conv2d > relu > maxpool2d, linear > relu),
 * done band by band.
 *
 * A band is some channels and some rows of the output, small enough that what one operator
 * makes is still in the nearest cache when the next one reads it: the large arrays between
 * them need not go through memory, nor be there at all. Bands change no bit of a result but for
 * parameter gradients, which are rounded once per band; the cut depends on sizes only. A first
 * operator that is `whole` (operator.h) is done at once, and the others band by band. Where the
 * others are pointwise, inference goes through a band slice by slice. Where there is one other,
 * and the first has a way to do both together, forward passes that keep nothing in between and
 * gradients take that.
 *
 * All arrays are (units, width) of the whole output of an operator, for one chunk. */
#ifndef LAMINA_STAGE_H
#define LAMINA_STAGE_H

#include "operator.h"

enum { LM_MAX_STAGE = 6 }; /* operators of a stage */

struct lm_stage {
    int first, n;               /* operators of a map: n from `first` on */
    bool pair;                  /* two operators that can be done together (operator.h) */
    size_t above[LM_MAX_STAGE]; /* rows of each operator's output per row of the last one's */
};

/* What a stage works on, and with. */
struct lm_stage_run {
    const struct lm_stage *stage;
    const struct lm_operator *op; /* (stage->n) */
    const real *parameters;       /* of op[0] */
    const real *prepared;         /* NULL, or its prepared weights */
    size_t width;
    const real *const *x;     /* inputs of op[0] */
    real *y[LM_MAX_STAGE];    /* outputs at x; those before the last may be NULL: not kept */
    real *tape[LM_MAX_STAGE]; /* tapes at x; NULL: not kept, or none */
    real *work;               /* lm_stage_work reals */
    const struct lm_relaxation *relaxation; /* NULL; or the pull back to the only input moves
                                               values, and its error `ex` is room to work */
};

/* The longest stage of operators[first] and up to n - 1 behind it. */
void lm_stage_init(struct lm_stage *stage, int first, int n,
                   const struct lm_operator *operators);

/* Reals needed as `work` with chunks of up to `width` inputs. */
size_t lm_stage_work(const struct lm_stage *stage, const struct lm_operator *op, size_t width);

/* y and tapes at x, as far as kept; of y within the stage not the rows that no window covers.
 */
void lm_stage_forward(const struct lm_stage_run *run);

/* The change dy of the last output when x moves to x + dx, and the tapes there (entries of
 * `tape` may be NULL). All of run->y is given. */
void lm_stage_difference(const struct lm_stage_run *run, const real *const dx[], real *dy,
                         real *const tape[]);

/* e (n) = the error of a change, or of an output; or of neither, and that is NULL. */
void lm_stage_make_error(const struct lm_operator_error *error, size_t n, const real *change,
                         real *e);

/* In one go: the change (the output, if dx is NULL) band by band, its `error`, and that error
 * pulled back to the inputs with the tapes at x + dx (at x). Needs run->y as
 * lm_stage_difference; writes none. */
void lm_stage_infer(const struct lm_stage_run *run, const real *const dx[],
                    const struct lm_operator_error *error, real *e, real *const ex[]);

/* In one go: the `error` of no change, and that pulled back to the inputs from run->tape. */
void lm_stage_pull_error(const struct lm_stage_run *run, const struct lm_operator_error *error,
                         real *e, real *const ex[]);

/* ex[k] = J^T e from run->tape; ex[k] NULL: not wanted. */
void lm_stage_pull_input(const struct lm_stage_run *run, const real *e, real *const ex[]);

/* gradient = (d/dtheta)^T e of op[0], which has parameters, from run->x and run->tape. */
void lm_stage_pull_parameters(const struct lm_stage_run *run, const real *e, real *gradient);

#endif
