#include "stage.h"

#include "band.h"

#include <string.h>

void lm_stage_init(struct lm_stage *stage, int first, int n,
                   const struct lm_operator *operators) {
    *stage = (struct lm_stage){.first = first, .n = 1};
    const struct lm_operator *op = operators + first;
    while (op->kind->bands && stage->n < n && stage->n < LM_MAX_STAGE &&
           op[stage->n].rows_per_row)
        stage->n++;
    stage->pair = stage->n == 2 && op->kind->pairs && op->kind->pairs(op, op + 1);
    stage->above[stage->n - 1] = 1;
    for (int k = stage->n - 1; k > 0; k--)
        stage->above[k - 1] = stage->above[k] * op[k].rows_per_row;
}

size_t lm_stage_work(const struct lm_stage *stage, const struct lm_operator *op, size_t width) {
    return lm_shape_units(&op->out) * width + lm_band_work(stage, op, width);
}

/* The array of all of the first operator's output that `work` has room for. */
static real *whole_array(const struct lm_stage_run *run) {
    return run->work;
}

/* Whether the first operator works on all of its output at once. */
static bool is_whole(const struct lm_stage_run *run) {
    return run->op->whole && run->stage->n > 1;
}

/* Whether all operators but the first work number by number, and there are such. */
static bool is_pointwise(const struct lm_stage_run *run) {
    for (int k = 1; k < run->stage->n; k++)
        if (!run->op[k].pointwise)
            return false;
    return run->stage->n > 1;
}

/* --- forward and difference -----------------------------------------------------------------
 */

static void forward_part(const struct lm_band *band, size_t part, const real *x) {
    const struct lm_stage_run *run = band->run;
    for (int k = 1; k < run->stage->n; k++) {
        const struct lm_operator *op = &band->op[k];
        real *y = lm_band_part(band, k, part, run->y[k], lm_band_buffer(band, k));
        real *tape = lm_band_part(band, k, part, run->tape[k], band->tape[k]);
        op->kind->forward(op, NULL, &x, run->width, y, tape);
        x = y;
    }
}

static void forward_band(struct lm_band *band, void *context) {
    (void)context;
    const struct lm_stage_run *run = band->run;
    const struct lm_operator *op = band->op;
    real *y = lm_band_first(band, run->y[0]);
    if (!band->all) {
        op->kind->forward(op, run->parameters, run->x, run->width, y,
                          run->tape[0] ? run->tape[0] : band->tape[0]);
        lm_band_keep(band, run->y[0], y);
    }
    for (size_t part = 0; part < band->parts; part++)
        forward_part(band, part, y + part * lm_band_step(band));
}

static void forward_pair(const struct lm_stage_run *run) {
    real *tape = run->tape[1] ? run->tape[1] : whole_array(run);
    run->op->kind->forward_pair(run->op, run->op + 1, run->parameters, run->x[0], run->width,
                                run->y[1], tape);
}

void lm_stage_forward(const struct lm_stage_run *run) {
    real *all = NULL;
    if (run->stage->pair && !run->y[0]) {
        forward_pair(run);
        return;
    }
    if (is_whole(run)) {
        all = run->y[0] ? run->y[0] : whole_array(run);
        run->op->kind->forward(run->op, run->parameters, run->x, run->width, all, NULL);
    }
    lm_band_each(run, all, forward_band, NULL);
}

struct change {
    const real *const *dx; /* NULL: forward */
    real *dy;              /* of the last operator; NULL: not kept */
    real *const *tape;     /* NULL, or entries NULL: not kept, but in the band's tapes */
};

/* What becomes of a part of the first operator's change; returns that of the last. */
static const real *change_part(const struct lm_band *band, const struct change *change,
                               size_t part, const real *dx) {
    const struct lm_stage_run *run = band->run;
    int last = run->stage->n - 1;
    for (int k = 1; k <= last; k++) {
        const struct lm_operator *op = &band->op[k];
        real *dy =
            lm_band_part(band, k, part, k == last ? change->dy : NULL, lm_band_buffer(band, k));
        real *tape =
            lm_band_part(band, k, part, change->tape ? change->tape[k] : NULL, band->tape[k]);
        if (change->dx) {
            const real *x = run->y[k - 1] + lm_band_start(band, k - 1, part);
            const real *y = run->y[k] + lm_band_start(band, k, part);
            op->kind->difference(op, NULL, &x, y, &dx, run->width, dy, tape);
        } else {
            op->kind->forward(op, NULL, &dx, run->width, dy, tape);
        }
        dx = dy;
    }
    return dx;
}

/* The change of the first operator, whole or restricted to a band. */
static void change_operator(const struct lm_stage_run *run, const struct lm_operator *op,
                            const struct change *change, real *dy, real *tape) {
    if (change->dx)
        op->kind->difference(op, run->parameters, run->x, run->y[0], change->dx, run->width, dy,
                             tape);
    else
        op->kind->forward(op, run->parameters, run->x, run->width, dy, tape);
}

/* The change of the first operator in a band: in `array`, if it has no gaps there. */
static real *change_first(const struct lm_band *band, const struct change *change,
                          real *array) {
    const struct lm_stage_run *run = band->run;
    bool alone = run->stage->n == 1;
    real *dy = lm_band_first(band, alone ? change->dy : array);
    real *tape = change->tape && change->tape[0] ? change->tape[0] : band->tape[0];
    if (alone && !change->dy)
        dy = whole_array(run);
    if (!band->all)
        change_operator(run, band->op, change, dy, tape);
    return dy;
}

/* The whole change of the first operator, where it is not made band by band; else NULL. */
static real *change_all(const struct lm_stage_run *run, const struct change *change) {
    if (!is_whole(run))
        return NULL;
    change_operator(run, run->op, change, whole_array(run), NULL);
    return whole_array(run);
}

static void difference_band(struct lm_band *band, void *context) {
    real *dy = change_first(band, context, NULL);
    for (size_t part = 0; part < band->parts; part++)
        change_part(band, context, part, dy + part * lm_band_step(band));
}

void lm_stage_difference(const struct lm_stage_run *run, const real *const dx[], real *dy,
                         real *const tape[]) {
    struct change change = {dx, dy, tape};
    lm_band_each(run, change_all(run, &change), difference_band, &change);
}

/* --- pulling back ---------------------------------------------------------------------------
 */

/* A part of the error at the last operator's output pulled back to the first one's, `to`. */
static void pull_part(const struct lm_band *band, real *const tape[], const real *e, real *to) {
    for (int k = band->run->stage->n - 1; k > 0; k--) {
        real *ex = k == 1 ? to : lm_band_buffer(band, k);
        band->op[k].kind->pull_input(&band->op[k], NULL, tape[k], e, band->run->width, &ex);
        e = ex;
    }
}

/* The tapes at x of a part. */
static void part_tapes(const struct lm_band *band, size_t part, real *tape[]) {
    const struct lm_stage_run *run = band->run;
    for (int k = 1; k < run->stage->n; k++)
        tape[k] = lm_band_part(band, k, part, run->tape[k], NULL);
}

/* No error has come to the rows of the first operator's output that no window covers. */
static void clear_uncovered(const struct lm_stage_run *run, real *pulled) {
    const struct lm_stage *stage = run->stage;
    const size_t *first = run->op->out.extent, row = first[2] * run->width;
    size_t covered = run->op[stage->n - 1].out.extent[1] * stage->above[0];
    for (size_t c = 0; covered < first[1] && c < first[0]; c++)
        memset(pulled + (c * first[1] + covered) * row, 0,
               (first[1] - covered) * row * sizeof *pulled);
}

struct inference {
    bool still; /* there is no change, and the tapes are those at x */
    struct change change;
    const struct lm_operator_error *error;
    real *e, *pulled;
};

void lm_stage_make_error(const struct lm_operator_error *error, size_t n, const real *change,
                         real *e) {
    const real *from = change ? change : error->from, *value = error->value;
    for (size_t i = 0; i < n; i++) /* 0 without a sign, as that of a change is */
        e[i] = (from ? from[i] : 0) - value[i];
}

static struct lm_operator_error error_at(const struct lm_operator_error *error, size_t at) {
    return (struct lm_operator_error){error->value + at, error->from ? error->from + at : NULL};
}

/* A part of a stage whose only operator behind the first one has pull_error; `first`: the
 * change of the first operator, or its output. */
static void infer_pair(const struct lm_band *band, const struct inference *inference,
                       size_t part, const real *first) {
    const struct lm_stage_run *run = band->run;
    const real *x = first, *dx = NULL;
    real *tape[LM_MAX_STAGE];
    size_t at = lm_band_start(band, 1, part);
    part_tapes(band, part, tape);
    if (inference->change.dx) {
        x = run->y[0] + at;
        dx = first;
    }
    run->op[1].kind->pull_error(
        &(struct lm_operator_pull){.n = lm_band_size(band, 1),
                                   .x = x,
                                   .dx = dx,
                                   .tape = tape[1],
                                   .error = error_at(inference->error, at),
                                   .e = inference->e + at,
                                   .ex = inference->pulled + at});
}

/* `first`: likewise. */
static void infer_part(const struct lm_band *band, const struct inference *inference,
                       size_t part, const real *first) {
    int last = band->run->stage->n - 1;
    size_t at = lm_band_start(band, last, part);
    const struct lm_operator_error error = error_at(inference->error, at);
    const real *change = NULL;
    real *still_tape[LM_MAX_STAGE];
    if (last == 1 && inference->pulled && band->op[1].kind->pull_error) {
        infer_pair(band, inference, part, first);
        return;
    }
    if (inference->still)
        part_tapes(band, part, still_tape);
    else
        change = change_part(band, &inference->change, part, first);
    lm_stage_make_error(&error, lm_band_size(band, last), change, inference->e + at);
    if (inference->pulled)
        pull_part(band, inference->still ? still_tape : band->tape, inference->e + at,
                  inference->pulled + lm_band_start(band, 0, part));
}

static void infer_band(struct lm_band *band, void *context) {
    const struct inference *inference = context;
    bool slices = is_pointwise(band->run);
    real *place = slices ? inference->pulled : NULL; /* of an error, and before of its change */
    const real *first = inference->still ? NULL : change_first(band, &inference->change, place);
    size_t step = lm_band_step(band), size = lm_band_size(band, 0);
    for (size_t part = 0; part < band->parts; part++) {
        const real *change = first ? first + part * step : NULL;
        for (size_t at = 0, n = size; at < size; at += n) {
            if (slices)
                n = lm_band_slice(band, at);
            infer_part(band, inference, part, change ? change + at : NULL);
        }
        lm_band_unslice(band);
    }
}

/* Pull e, at the output of the first operator, back to the inputs. */
static void pull_first(const struct lm_stage_run *run, const real *tape, const real *e,
                       real *const ex[]) {
    const struct lm_operator *op = run->op;
    const struct lm_relaxation *at_once = op->relaxes ? run->relaxation : NULL;
    if (run->prepared)
        op->kind->pull_prepared(op, run->prepared, e, run->width, at_once, ex[0]);
    else if (at_once)
        op->kind->relax_input(op, run->parameters, tape, e, run->width, at_once);
    else
        op->kind->pull_input(op, run->parameters, tape, e, run->width, ex);
    if (run->relaxation && !at_once)
        lm_relax(run->relaxation, lm_shape_units(&op->in[0]) * run->width, ex[0]);
}

static bool wants(const struct lm_stage_run *run, real *const ex[]) {
    for (int k = 0; k < run->op->n_inputs; k++)
        if (ex[k])
            return true;
    return false;
}

static void infer(const struct lm_stage_run *run, struct inference *inference, real *all,
                  real *const ex[]) {
    bool pulls = wants(run, ex);
    if (run->stage->n > 1 && pulls)
        inference->pulled = whole_array(run); /* each part in place of its change */
    lm_band_each(run, all, infer_band, inference);
    if (inference->pulled)
        clear_uncovered(run, inference->pulled);
    struct lm_band band;
    lm_band_init(&band, run);
    if (pulls)
        pull_first(run, inference->still ? run->tape[0] : band.tape[0],
                   inference->pulled ? inference->pulled : inference->e, ex);
}

void lm_stage_infer(const struct lm_stage_run *run, const real *const dx[],
                    const struct lm_operator_error *error, real *e, real *const ex[]) {
    struct inference inference = {false, {dx, NULL, NULL}, error, e, NULL};
    infer(run, &inference, change_all(run, &inference.change), ex);
}

void lm_stage_pull_error(const struct lm_stage_run *run, const struct lm_operator_error *error,
                         real *e, real *const ex[]) {
    struct inference inference = {.still = true, .error = error, .e = e};
    infer(run, &inference, NULL, ex);
}

struct pulling {
    const real *e;
    real *to; /* the error at the first operator's output, or the gradient */
};

static void pull_input_band(struct lm_band *band, void *context) {
    const struct pulling *pulling = context;
    real *tape[LM_MAX_STAGE];
    for (size_t part = 0; part < band->parts; part++) {
        part_tapes(band, part, tape);
        pull_part(band, tape, pulling->e + lm_band_start(band, band->run->stage->n - 1, part),
                  pulling->to + lm_band_start(band, 0, part));
    }
}

/* The error e at the last operator's output pulled back to the first one's. */
static const real *pull_to_first(const struct lm_stage_run *run, const real *e) {
    struct pulling pulling = {e, whole_array(run)};
    lm_band_each(run, NULL, pull_input_band, &pulling);
    clear_uncovered(run, pulling.to);
    return pulling.to;
}

void lm_stage_pull_input(const struct lm_stage_run *run, const real *e, real *const ex[]) {
    if (!wants(run, ex))
        return;
    if (run->stage->n > 1)
        e = pull_to_first(run, e);
    pull_first(run, run->tape[0], e, ex);
}

static void pull_parameters_band(struct lm_band *band, void *context) {
    const struct pulling *pulling = context;
    const struct lm_stage_run *run = band->run;
    const struct lm_operator *op = band->op;
    const real *e = pulling->e;
    real *tape[LM_MAX_STAGE];
    for (size_t part = 0; run->stage->n > 1 && part < band->parts; part++) {
        part_tapes(band, part, tape);
        pull_part(band, tape, pulling->e + lm_band_start(band, run->stage->n - 1, part),
                  band->buffer[0] + part * lm_band_size(band, 0));
        e = band->buffer[0];
    }
    op->kind->pull_parameters(op, run->x[0], e, run->width, op->row > 0, pulling->to);
}

void lm_stage_pull_parameters(const struct lm_stage_run *run, const real *e, real *gradient) {
    struct pulling pulling = {e, gradient};
    if (run->stage->pair)
        run->op->kind->pull_pair(run->op, run->op + 1, run->x[0], run->tape[1], e, run->width,
                                 gradient);
    else if (is_whole(run))
        run->op->kind->pull_parameters(run->op, run->x[0], pull_to_first(run, e), run->width,
                                       false, gradient);
    else
        lm_band_each(run, NULL, pull_parameters_band, &pulling);
}
