#include "stage.h"

#include <string.h>

enum {
    BAND = 32768, /* reals of a band of the first operator's output, if one row is not more */
    SLICE = 1024, /* reals of a part that pointwise operators go through one after the other */
    TILE = 6,     /* channels that kernels work on at the same time (operators/vector.h) */
    BUFFERS = 4,  /* beside one for each tape */
};

/* A band under way: its operators, restricted, and buffers for bands of their outputs. Local
 * operators go through it part by part: all of it, or, where it has gaps, a channel each. */
struct band {
    const struct lm_stage_run *run;
    struct lm_operator op[LM_MAX_STAGE];
    size_t parts;
    real *all; /* the first operator's output, when it is not made band by band; else NULL */
    real *buffer[BUFFERS], *tape[LM_MAX_STAGE];
    size_t offset, slice; /* of a slice of a part: its first number, and how many; 0: all */
};

/* Channels and rows of the bands of the last operator's output. */
struct cut {
    size_t channels, rows;
};

void lm_stage_init(struct lm_stage *stage, int first, int n,
                   const struct lm_operator *operators) {
    *stage = (struct lm_stage){.first = first, .n = 1};
    const struct lm_operator *op = operators + first;
    while (op->kind->bands && stage->n < n && stage->n < LM_MAX_STAGE &&
           op[stage->n].rows_per_row)
        stage->n++;
    stage->above[stage->n - 1] = 1;
    for (int k = stage->n - 1; k > 0; k--)
        stage->above[k - 1] = stage->above[k] * op[k].rows_per_row;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t most(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Units of the first operator's output for one channel and row of the last one's. */
static size_t row_units(const struct lm_stage *stage, const struct lm_operator *op) {
    return stage->above[0] * op->out.extent[2];
}

static struct cut cut_bands(const struct lm_stage *stage, const struct lm_operator *op,
                            size_t width) {
    const struct lm_shape *out = &op[stage->n - 1].out;
    struct cut cut = {out->extent[0], out->extent[1]};
    size_t fit = BAND / (row_units(stage, op) * width); /* rows of single channels */
    if (stage->n == 1 || cut.channels * cut.rows <= fit)
        return cut;
    if (cut.rows == 1) {
        cut.channels = least(cut.channels, most(fit / TILE, 1) * TILE);
        return cut;
    }
    size_t tiles = (cut.channels + TILE - 1) / TILE;
    cut.channels = (cut.channels + tiles - 1) / tiles;
    cut.rows = least(cut.rows, most(fit / cut.channels, 1));
    return cut;
}

/* Reals of one buffer. */
static size_t buffer_size(const struct lm_stage *stage, const struct lm_operator *op,
                          size_t width) {
    return most(BAND, TILE * row_units(stage, op) * width);
}

size_t lm_stage_work(const struct lm_stage *stage, const struct lm_operator *op, size_t width) {
    size_t buffers = stage->n > 1 ? BUFFERS + (size_t)stage->n : 0;
    return lm_shape_units(&op->out) * width + op->tape * width +
           buffers * buffer_size(stage, op, width);
}

/* The array of all of the first operator's output that `work` has room for. */
static real *whole_array(const struct lm_stage_run *run) {
    return run->work;
}

/* Whether the first operator works on all of its output at once. */
static bool is_whole(const struct lm_stage_run *run) {
    return run->op->whole && run->stage->n > 1;
}

static void init_band(struct band *band, const struct lm_stage_run *run) {
    size_t size = buffer_size(run->stage, run->op, run->width);
    real *at = run->work + lm_shape_units(&run->op->out) * run->width;
    band->run = run;
    band->all = NULL;
    band->offset = band->slice = 0;
    band->tape[0] = at;
    memset(band->buffer, 0, sizeof band->buffer);
    if (run->stage->n == 1)
        return;
    for (int i = 0; i < BUFFERS; i++, at += size)
        band->buffer[i] = at;
    for (int k = 1; k < run->stage->n; k++, at += size)
        band->tape[k] = at;
}

/* Restrict the operators: the first to the band, the local ones to a part of it that is
 * without gaps in whole arrays. */
static void set_band(struct band *band, size_t channel, size_t channels, size_t row,
                     size_t rows) {
    const struct lm_stage *stage = band->run->stage;
    const struct lm_operator *whole = band->run->op;
    bool full = true;
    if (stage->n == 1) {
        band->parts = 1;
        band->op[0] = whole[0];
        return;
    }
    for (int k = 0; k < stage->n; k++)
        full = full && rows * stage->above[k] == whole[k].out.extent[1];
    band->parts = full ? 1 : channels;
    for (int k = 0; k < stage->n; k++)
        lm_operator_band(&whole[k], channel, k && !full ? 1 : channels, row * stage->above[k],
                         rows * stage->above[k], &band->op[k]);
}

/* work(band, context) for every band. */
static void for_bands(const struct lm_stage_run *run, real *all,
                      void (*work)(struct band *band, void *context), void *context) {
    const struct lm_shape *out = &run->op[run->stage->n - 1].out;
    struct cut cut = cut_bands(run->stage, run->op, run->width);
    struct band band;
    init_band(&band, run);
    band.all = all;
    for (size_t row = 0; row < out->extent[1]; row += cut.rows)
        for (size_t c = 0; c < out->extent[0]; c += cut.channels) {
            set_band(&band, c, least(cut.channels, out->extent[0] - c), row,
                     least(cut.rows, out->extent[1] - row));
            work(&band, context);
        }
}

/* Whether all operators but the first work number by number, and there are such. */
static bool is_pointwise(const struct lm_stage_run *run) {
    for (int k = 1; k < run->stage->n; k++)
        if (!run->op[k].pointwise)
            return false;
    return run->stage->n > 1;
}

/* Where a part begins in a whole array of operator k's output. */
static size_t start_of(const struct band *band, int k, size_t part) {
    const size_t *all = band->run->op[k].out.extent;
    return ((band->op[k].channel + part) * all[1] + band->op[k].row) * all[2] *
               band->run->width +
           band->offset;
}

/* Reals of a part of operator k's output. */
static size_t part_size(const struct band *band, int k) {
    const size_t *out = band->op[k].out.extent;
    size_t channels = band->parts > 1 ? 1 : out[0];
    if (band->slice)
        return band->slice;
    return channels * out[1] * out[2] * band->run->width;
}

/* A part in a whole array, or in a buffer where there is none. */
static real *part_of(const struct band *band, int k, size_t part, real *array, real *buffer) {
    return array ? array + start_of(band, k, part) : buffer;
}

/* The band of the first operator's output: where all of it is, or without gaps in the whole
 * array if it has none there, or in a buffer. */
static real *first_output(const struct band *band, real *array) {
    if (band->all)
        return band->all + start_of(band, 0, 0);
    return band->parts == 1 && array ? array + start_of(band, 0, 0) : band->buffer[0];
}

/* From a part of that to the next. */
static size_t part_step(const struct band *band) {
    const size_t *all = band->run->op->out.extent;
    return band->all ? all[1] * all[2] * band->run->width : part_size(band, 0);
}

/* Put a band of the first operator's output where it belongs. */
static void keep_first(const struct band *band, real *array, const real *y) {
    size_t size = part_size(band, 0);
    for (size_t part = 0; array && band->parts > 1 && part < band->parts; part++)
        memcpy(array + start_of(band, 0, part), y + part * size, size * sizeof *y);
}

/* Output of operator k in a buffer that its input is not in. */
static real *other_buffer(const struct band *band, int k) {
    return band->buffer[1 + k % 2];
}

/* --- forward and difference -----------------------------------------------------------------
 */

static void forward_part(const struct band *band, size_t part, const real *x) {
    const struct lm_stage_run *run = band->run;
    for (int k = 1; k < run->stage->n; k++) {
        const struct lm_operator *op = &band->op[k];
        real *y = part_of(band, k, part, run->y[k], other_buffer(band, k));
        real *tape = part_of(band, k, part, run->tape[k], band->tape[k]);
        op->kind->forward(op, NULL, &x, run->width, y, tape);
        x = y;
    }
}

static void forward_band(struct band *band, void *context) {
    (void)context;
    const struct lm_stage_run *run = band->run;
    const struct lm_operator *op = band->op;
    real *y = first_output(band, run->y[0]);
    if (!band->all) {
        op->kind->forward(op, run->parameters, run->x, run->width, y,
                          run->tape[0] ? run->tape[0] : band->tape[0]);
        keep_first(band, run->y[0], y);
    }
    for (size_t part = 0; part < band->parts; part++)
        forward_part(band, part, y + part * part_step(band));
}

void lm_stage_forward(const struct lm_stage_run *run) {
    real *all = NULL;
    if (is_whole(run)) {
        all = run->y[0] ? run->y[0] : whole_array(run);
        run->op->kind->forward(run->op, run->parameters, run->x, run->width, all, NULL);
    }
    for_bands(run, all, forward_band, NULL);
}

struct change {
    const real *const *dx; /* NULL: forward */
    real *dy;              /* of the last operator; NULL: not kept */
    real *const *tape;     /* NULL, or entries NULL: not kept, but in the band's tapes */
};

/* What becomes of a part of the first operator's change; returns that of the last. */
static const real *change_part(const struct band *band, const struct change *change,
                               size_t part, const real *dx) {
    const struct lm_stage_run *run = band->run;
    int last = run->stage->n - 1;
    for (int k = 1; k <= last; k++) {
        const struct lm_operator *op = &band->op[k];
        real *dy = part_of(band, k, part, k == last ? change->dy : NULL, other_buffer(band, k));
        real *tape =
            part_of(band, k, part, change->tape ? change->tape[k] : NULL, band->tape[k]);
        if (change->dx) {
            const real *x = run->y[k - 1] + start_of(band, k - 1, part);
            const real *y = run->y[k] + start_of(band, k, part);
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

/* The change of the first operator in a band. */
static real *change_first(const struct band *band, const struct change *change) {
    const struct lm_stage_run *run = band->run;
    bool alone = run->stage->n == 1;
    real *dy = first_output(band, alone ? change->dy : NULL);
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

static void difference_band(struct band *band, void *context) {
    real *dy = change_first(band, context);
    for (size_t part = 0; part < band->parts; part++)
        change_part(band, context, part, dy + part * part_step(band));
}

void lm_stage_difference(const struct lm_stage_run *run, const real *const dx[], real *dy,
                         real *const tape[]) {
    struct change change = {dx, dy, tape};
    for_bands(run, change_all(run, &change), difference_band, &change);
}

/* --- pulling back ---------------------------------------------------------------------------
 */

/* A part of the error at the last operator's output pulled back to the first one's, `to`. */
static void pull_part(const struct band *band, real *const tape[], const real *e, real *to) {
    for (int k = band->run->stage->n - 1; k > 0; k--) {
        real *ex = k == 1 ? to : other_buffer(band, k);
        band->op[k].kind->pull_input(&band->op[k], NULL, tape[k], e, band->run->width, &ex);
        e = ex;
    }
}

/* The tapes at x of a part. */
static void part_tapes(const struct band *band, size_t part, real *tape[]) {
    const struct lm_stage_run *run = band->run;
    for (int k = 1; k < run->stage->n; k++)
        tape[k] = part_of(band, k, part, run->tape[k], NULL);
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
    const struct lm_stage_error *error;
    real *e, *pulled;
};

/* `first`: the change of the first operator. */
static void infer_part(const struct band *band, const struct inference *inference, size_t part,
                       const real *first) {
    const struct lm_stage_error *error = inference->error;
    int last = band->run->stage->n - 1;
    size_t at = start_of(band, last, part);
    const real *change = NULL;
    real *still_tape[LM_MAX_STAGE];
    if (inference->still)
        part_tapes(band, part, still_tape);
    else
        change = change_part(band, &inference->change, part, first);
    error->make(error->context, at, part_size(band, last), change, inference->e + at);
    if (inference->pulled)
        pull_part(band, inference->still ? still_tape : band->tape, inference->e + at,
                  inference->pulled + start_of(band, 0, part));
}

/* Restrict the pointwise operators to n numbers of a part. */
static void set_slice(struct band *band, size_t offset, size_t n) {
    band->offset = offset;
    band->slice = n;
    for (int k = 1; k < band->run->stage->n; k++)
        band->op[k].tape = n / band->run->width;
}

static void infer_band(struct band *band, void *context) {
    const struct inference *inference = context;
    const real *first = inference->still ? NULL : change_first(band, &inference->change);
    size_t width = band->run->width, step = part_step(band), size = part_size(band, 0);
    size_t slice = is_pointwise(band->run) ? most(SLICE / width, 1) * width : 0;
    for (size_t part = 0; part < band->parts; part++) {
        const real *change = first ? first + part * step : NULL;
        if (!slice)
            infer_part(band, inference, part, change);
        for (size_t at = 0; slice && at < size; at += slice) {
            set_slice(band, at, least(slice, size - at));
            infer_part(band, inference, part, change ? change + at : NULL);
        }
        band->offset = band->slice = 0;
    }
}

/* Pull e, at the output of the first operator, back to the inputs. */
static void pull_first(const struct lm_stage_run *run, const real *tape, const real *e,
                       real *const ex[]) {
    const struct lm_operator *op = run->op;
    if (run->relaxation && op->relaxes) {
        op->kind->relax_input(op, run->parameters, tape, e, run->width, run->relaxation);
        return;
    }
    op->kind->pull_input(op, run->parameters, tape, e, run->width, ex);
    if (run->relaxation)
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
    for_bands(run, all, infer_band, inference);
    if (inference->pulled)
        clear_uncovered(run, inference->pulled);
    struct band band;
    init_band(&band, run);
    if (pulls)
        pull_first(run, inference->still ? run->tape[0] : band.tape[0],
                   inference->pulled ? inference->pulled : inference->e, ex);
}

void lm_stage_infer(const struct lm_stage_run *run, const real *const dx[],
                    const struct lm_stage_error *error, real *e, real *const ex[]) {
    struct inference inference = {false, {dx, NULL, NULL}, error, e, NULL};
    infer(run, &inference, change_all(run, &inference.change), ex);
}

void lm_stage_pull_error(const struct lm_stage_run *run, const struct lm_stage_error *error,
                         real *e, real *const ex[]) {
    struct inference inference = {.still = true, .error = error, .e = e};
    infer(run, &inference, NULL, ex);
}

struct pulling {
    const real *e;
    real *to; /* the error at the first operator's output, or the gradient */
};

static void pull_input_band(struct band *band, void *context) {
    const struct pulling *pulling = context;
    real *tape[LM_MAX_STAGE];
    for (size_t part = 0; part < band->parts; part++) {
        part_tapes(band, part, tape);
        pull_part(band, tape, pulling->e + start_of(band, band->run->stage->n - 1, part),
                  pulling->to + start_of(band, 0, part));
    }
}

/* The error e at the last operator's output pulled back to the first one's. */
static const real *pull_to_first(const struct lm_stage_run *run, const real *e) {
    struct pulling pulling = {e, whole_array(run)};
    for_bands(run, NULL, pull_input_band, &pulling);
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

static void pull_parameters_band(struct band *band, void *context) {
    const struct pulling *pulling = context;
    const struct lm_stage_run *run = band->run;
    const struct lm_operator *op = band->op;
    const real *e = pulling->e;
    real *tape[LM_MAX_STAGE];
    for (size_t part = 0; run->stage->n > 1 && part < band->parts; part++) {
        part_tapes(band, part, tape);
        pull_part(band, tape, pulling->e + start_of(band, run->stage->n - 1, part),
                  band->buffer[0] + part * part_size(band, 0));
        e = band->buffer[0];
    }
    op->kind->pull_parameters(op, run->x[0], e, run->width, op->row > 0, pulling->to);
}

void lm_stage_pull_parameters(const struct lm_stage_run *run, const real *e, real *gradient) {
    struct pulling pulling = {e, gradient};
    if (is_whole(run))
        run->op->kind->pull_parameters(run->op, run->x[0], pull_to_first(run, e), run->width,
                                       false, gradient);
    else
        for_bands(run, NULL, pull_parameters_band, &pulling);
}
