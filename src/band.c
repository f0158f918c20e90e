#include "band.h"

#include <string.h>

enum {
    BAND = 32768, /* reals of a band of the first operator's output, if one row is not more */
    SLICE = 1024, /* reals of a part that pointwise operators go through one after the other */
    TILE = 6,     /* channels that kernels work on at the same time (operators/vector.h) */
};

/* Channels and rows of the bands of the last operator's output. */
struct cut {
    size_t channels, rows;
};

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

size_t lm_band_work(const struct lm_stage *stage, const struct lm_operator *op, size_t width) {
    size_t buffers = stage->n > 1 ? LM_BAND_BUFFERS + (size_t)stage->n - 1 : 0;
    return op->tape * width + buffers * buffer_size(stage, op, width);
}

void lm_band_init(struct lm_band *band, const struct lm_stage_run *run) {
    size_t size = buffer_size(run->stage, run->op, run->width);
    real *at = run->work + lm_shape_units(&run->op->out) * run->width;
    band->run = run;
    band->all = NULL;
    band->offset = band->slice = 0;
    band->tape[0] = at;
    memset(band->buffer, 0, sizeof band->buffer);
    if (run->stage->n == 1)
        return;
    for (int i = 0; i < LM_BAND_BUFFERS; i++, at += size)
        band->buffer[i] = at;
    for (int k = 1; k < run->stage->n; k++, at += size)
        band->tape[k] = at;
}

/* Restrict the operators: the first to the band, the local ones to a part of it that is
 * without gaps in whole arrays. */
static void set_band(struct lm_band *band, size_t channel, size_t channels, size_t row,
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

void lm_band_each(const struct lm_stage_run *run, real *all,
                  void (*work)(struct lm_band *band, void *context), void *context) {
    const struct lm_shape *out = &run->op[run->stage->n - 1].out;
    struct cut cut = cut_bands(run->stage, run->op, run->width);
    struct lm_band band;
    lm_band_init(&band, run);
    band.all = all;
    for (size_t row = 0; row < out->extent[1]; row += cut.rows)
        for (size_t c = 0; c < out->extent[0]; c += cut.channels) {
            set_band(&band, c, least(cut.channels, out->extent[0] - c), row,
                     least(cut.rows, out->extent[1] - row));
            work(&band, context);
        }
}

size_t lm_band_start(const struct lm_band *band, int k, size_t part) {
    const size_t *all = band->run->op[k].out.extent;
    return ((band->op[k].channel + part) * all[1] + band->op[k].row) * all[2] *
               band->run->width +
           band->offset;
}

size_t lm_band_size(const struct lm_band *band, int k) {
    const size_t *out = band->op[k].out.extent;
    size_t channels = band->parts > 1 ? 1 : out[0];
    if (band->slice)
        return band->slice;
    return channels * out[1] * out[2] * band->run->width;
}

real *lm_band_part(const struct lm_band *band, int k, size_t part, real *array, real *buffer) {
    return array ? array + lm_band_start(band, k, part) : buffer;
}

real *lm_band_first(const struct lm_band *band, real *array) {
    if (band->all)
        return band->all + lm_band_start(band, 0, 0);
    return band->parts == 1 && array ? array + lm_band_start(band, 0, 0) : band->buffer[0];
}

size_t lm_band_step(const struct lm_band *band) {
    const size_t *all = band->run->op->out.extent;
    return band->all ? all[1] * all[2] * band->run->width : lm_band_size(band, 0);
}

void lm_band_keep(const struct lm_band *band, real *array, const real *y) {
    size_t size = lm_band_size(band, 0);
    for (size_t part = 0; array && band->parts > 1 && part < band->parts; part++)
        memcpy(array + lm_band_start(band, 0, part), y + part * size, size * sizeof *y);
}

real *lm_band_buffer(const struct lm_band *band, int k) {
    return band->buffer[1 + k % 2];
}

size_t lm_band_slice(struct lm_band *band, size_t at) {
    size_t width = band->run->width;
    lm_band_unslice(band);
    band->slice = least(most(SLICE / width, 1) * width, lm_band_size(band, 0) - at);
    band->offset = at;
    for (int k = 1; k < band->run->stage->n; k++)
        band->op[k].tape = band->slice / width;
    return band->slice;
}

void lm_band_unslice(struct lm_band *band) {
    band->offset = band->slice = 0;
}
