/* Band: some channels and some rows of a stage's output, and the buffers that its operators
 * hand them on in. Internal to stages (stage.h).
 *
 * Local operators go through a band part by part: all of it at once, or, where it has gaps in
 * whole arrays, a channel each. Pointwise ones may go through a part slice by slice. */
#ifndef LAMINA_BAND_H
#define LAMINA_BAND_H

#include "stage.h"

enum { LM_BAND_BUFFERS = 3 }; /* beside one for each tape */

/* A band under way. */
struct lm_band {
    const struct lm_stage_run *run;
    struct lm_operator
        op[LM_MAX_STAGE]; /* restricted: the first to the band, others to a part */
    size_t parts;
    real *all; /* the first operator's output, when it is not made band by band; else NULL */
    real *buffer[LM_BAND_BUFFERS], *tape[LM_MAX_STAGE];
    size_t offset, slice; /* of a slice of a part: its first number, and how many; 0: all */
};

/* Reals that a run's `work` needs for buffers, behind its first operator's whole output. */
size_t lm_band_work(const struct lm_stage *stage, const struct lm_operator *op, size_t width);

/* The buffers of a run, no band as yet. */
void lm_band_init(struct lm_band *band, const struct lm_stage_run *run);

/* work(band, context) for every band of a run; `all` as in struct lm_band. */
void lm_band_each(const struct lm_stage_run *run, real *all,
                  void (*work)(struct lm_band *band, void *context), void *context);

/* Where a part begins in a whole array of operator k's output, and the reals of it. */
size_t lm_band_start(const struct lm_band *band, int k, size_t part);
size_t lm_band_size(const struct lm_band *band, int k);

/* A part in a whole array, or in a buffer where there is none. */
real *lm_band_part(const struct lm_band *band, int k, size_t part, real *array, real *buffer);

/* Output of operator k in a buffer that its input is not in. */
real *lm_band_buffer(const struct lm_band *band, int k);

/* The band of the first operator's output: where all of it is, or without gaps in the whole
 * `array` if it has none there, or in a buffer. And from a part of that to the next. */
real *lm_band_first(const struct lm_band *band, real *array);
size_t lm_band_step(const struct lm_band *band);

/* Put it into the whole array (NULL: there is none), where it is in a buffer. */
void lm_band_keep(const struct lm_band *band, real *array, const real *y);

/* Restrict the pointwise operators to a slice of a part from its number `at` on; the reals of
 * that. And to whole parts again. */
size_t lm_band_slice(struct lm_band *band, size_t at);
void lm_band_unslice(struct lm_band *band);

#endif
