/* conv2d: every output channel is a bias plus a sum of kernels laid over the input channels,
 * as PyTorch's (a correlation: kernels are not mirrored).
 *
 * Forward, difference and pull_input are one computation, the correlation, with other weights:
 * the pull back of stride s is s x s correlations with every s-th tap of mirrored kernels.
 * Kernels of 3 x 3 between many channels have a quicker way (winograd.h), and so have those
 * between few (winograd1d.h); those of a single channel are made together with the maxima of
 * their outputs (pooled.h). */
#include "../memory.h"
#include "correlate.h"
#include "pool.h"
#include "pooled.h"
#include "vector.h"
#include "winograd.h"
#include "winograd1d.h"

enum { CHANNELS, KERNEL, STRIDE, PADDING };

enum {
    MANY = 32,    /* channels that make transforms worth their while (winograd.h) ... */
    FIELD = 36,   /* ... and outputs of a channel */
    GROUP = 36,   /* taps whose weight gradients are summed in one go */
    PATCH = 1024, /* numbers of one channel that they are summed over in one go */
    MOST_INS = REGISTERS > 16 ? 5 : 3, /* inputs that a tap meets */
    LOW = 4, /* output channels that leave registers for three of a single channel */
};

/* The outputs whose tap t meets an input. */
static struct lm_range places_of(const struct lm_axis *a, ptrdiff_t t) {
    ptrdiff_t start = t - a->padding; /* input of output 0 */
    ptrdiff_t from = (most(0, -start) + a->step - 1) / a->step;
    ptrdiff_t to = (most(0, a->in - start) + a->step - 1) / a->step;
    return (struct lm_range){from, least(to, a->count)};
}

/* Taps on inputs, not on padding, of all places along axis 0 (rows) or 1 (columns). */
static double count_taps(const struct lm_operator *op, int axis) {
    const struct lm_axis a = {.in = (ptrdiff_t)op->in[0].extent[axis + 1],
                              .count = (ptrdiff_t)op->out.extent[axis + 1],
                              .step = (ptrdiff_t)op->option[STRIDE][axis],
                              .padding = (ptrdiff_t)op->option[PADDING][axis],
                              .taps = (ptrdiff_t)op->option[KERNEL][axis]};
    ptrdiff_t sum = 0;
    for (ptrdiff_t t = 0; t < a.taps; t++) {
        struct lm_range places = places_of(&a, t);
        sum += most(0, places.to - places.from);
    }
    return (double)sum;
}

static bool is(const size_t option[2], size_t size) {
    return option[0] == size && option[1] == size;
}

static bool infer(struct lm_operator *op, struct lm_status *status) {
    const size_t *kernel = op->option[KERNEL];
    size_t channels = op->option[CHANNELS][0], out[2];
    if (!lm_operator_windows(op, kernel, op->option[STRIDE], op->option[PADDING], out, status))
        return false;
    op->out = (struct lm_shape){3, {channels, out[0], out[1]}};
    op->fan_in = lm_product(op->in[0].extent[0], kernel[0] * kernel[1]);
    op->n_weights = lm_product(channels, op->fan_in);
    op->n_biases = channels;
    op->whole = is(kernel, 3) && is(op->option[STRIDE], 1) && channels >= MANY &&
                op->in[0].extent[0] >= MANY && lm_product(out[0], out[1]) >= FIELD;
    op->room =
        op->whole ? lm_winograd_room((ptrdiff_t)op->in[0].extent[0], (ptrdiff_t)channels) : 0;
    op->relaxes = !op->whole && channels * kernel[0] * kernel[1] <= LM_TAPS;
    op->flops =
        2.0 * (double)(channels * op->in[0].extent[0]) * count_taps(op, 0) * count_taps(op, 1);
    return true;
}

/* Axis 0 (rows) or 1 (columns) as forward sees it. A band that starts at a later row meets
 * inputs so much farther down: its padding is less, or less than none. */
static struct lm_axis forward_axis(const struct lm_operator *op, int axis) {
    ptrdiff_t skipped = axis ? 0 : (ptrdiff_t)(op->row * op->option[STRIDE][0]);
    return (struct lm_axis){.in = (ptrdiff_t)op->in[0].extent[axis + 1],
                            .out = (ptrdiff_t)op->out.extent[axis + 1],
                            .apart = 1,
                            .count = (ptrdiff_t)op->out.extent[axis + 1],
                            .step = (ptrdiff_t)op->option[STRIDE][axis],
                            .padding = (ptrdiff_t)op->option[PADDING][axis] - skipped,
                            .taps = (ptrdiff_t)op->option[KERNEL][axis],
                            .weight_step = axis ? 1 : (ptrdiff_t)op->option[KERNEL][1],
                            .origin = axis ? 0 : (ptrdiff_t)op->row};
}

/* `plainly`: by plain sums, unless the operator is `whole`. */
static void correlate(const struct lm_operator *op, const struct lm_correlation *k,
                      bool plainly) {
    if (op->whole)
        lm_winograd_correlate(k);
    else if (!plainly && lm_winograd1d_fits(k))
        lm_winograd1d_correlate(k);
    else
        lm_correlate(k);
}

/* Of all but weights, bias, inputs and outputs. */
static struct lm_correlation forward_correlation(const struct lm_operator *op, size_t width) {
    return (struct lm_correlation){
        .rows = forward_axis(op, 0),
        .columns = forward_axis(op, 1),
        .in_channels = (ptrdiff_t)op->in[0].extent[0],
        .out_channels = (ptrdiff_t)op->out.extent[0],
        .width = (ptrdiff_t)width,
        .weight_in = (ptrdiff_t)(op->option[KERNEL][0] * op->option[KERNEL][1]),
        .weight_out = (ptrdiff_t)op->fan_in};
}

static struct lm_correlation correlation_of(const struct lm_operator *op,
                                            const real *parameters, const real *x, size_t width,
                                            real *y) {
    struct lm_correlation k = forward_correlation(op, width);
    k.weight = parameters + op->channel * op->fan_in;
    k.in = x;
    k.out = y;
    return k;
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)tape;
    struct lm_correlation k = correlation_of(op, parameters, x[0], width, y);
    k.bias = parameters + op->n_weights + op->channel;
    correlate(op, &k, op->plain);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y, (void)tape;
    struct lm_correlation k = correlation_of(op, parameters, dx[0], width, dy);
    correlate(op, &k, false);
}

/* An axis as the pull back to the inputs first, first + stride, ... sees it. They meet the taps
 * `last`, last - stride, ... of the kernel; `last` is set. */
static struct lm_axis backward_axis(const struct lm_axis *a, ptrdiff_t first, ptrdiff_t *last) {
    ptrdiff_t phase = (first + a->padding) % a->step;
    ptrdiff_t taps = (most(0, a->taps - phase) + a->step - 1) / a->step;
    *last = phase + (taps - 1) * a->step;
    return (struct lm_axis){.in = a->out,
                            .out = a->in,
                            .first = first,
                            .apart = a->step,
                            .count = (a->in - first + a->step - 1) / a->step,
                            .step = 1,
                            .padding = taps - 1 - (first + a->padding) / a->step,
                            .taps = taps,
                            .weight_step = -a->step * a->weight_step};
}

/* The error pulled back to `to`, or values there relaxed by it. */
static void pull_back(const struct lm_operator *op, const real *parameters, const real *ey,
                      size_t width, const struct lm_relaxation *relaxation, real *to) {
    struct lm_axis rows = forward_axis(op, 0), columns = forward_axis(op, 1);
    struct lm_correlation k = {.in_channels = (ptrdiff_t)op->out.extent[0],
                               .out_channels = (ptrdiff_t)op->in[0].extent[0],
                               .width = (ptrdiff_t)width,
                               .weight_in = (ptrdiff_t)op->fan_in,
                               .weight_out = rows.taps * columns.taps,
                               .in = ey,
                               .out = to,
                               .relaxation = relaxation};
    for (ptrdiff_t i = 0; i < least(rows.step, rows.in); i++)
        for (ptrdiff_t j = 0; j < least(columns.step, columns.in); j++) {
            ptrdiff_t last_row, last_column;
            k.rows = backward_axis(&rows, i, &last_row);
            k.columns = backward_axis(&columns, j, &last_column);
            k.weight = parameters + last_row * rows.weight_step + last_column;
            correlate(op, &k, false);
        }
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)tape;
    if (ex[0])
        pull_back(op, parameters, ey, width, NULL, ex[0]);
}

static void relax_input(const struct lm_operator *op, const real *parameters, const real *tape,
                        const real *ey, size_t width, const struct lm_relaxation *relaxation) {
    (void)tape;
    pull_back(op, parameters, ey, width, relaxation, relaxation->value);
}

/* The weights of up to TILE output channels, whose errors start at e. */
struct tile {
    struct lm_axis rows, columns;
    ptrdiff_t width, x_channel, e_channel;
    ptrdiff_t x_next, weight_next; /* from one of a tap's `ins` to the next */
    int outs;
    bool alone; /* the only input channel's neighbouring places share a tap */
    const real *x, *e;
};

/* One place in the kernel and some input channels, or some neighbouring places of a single one:
 * the outputs where they meet an input, that input's place in x for output (0, 0), and the
 * first weight's in the kernels of one output channel. */
struct tap {
    struct lm_range rows, columns;
    ptrdiff_t x, weight;
    int ins;
};

typedef vec sums[TILE][MOST_INS]; /* of one tap: output channel x input channel */

/* Inputs that a tap of so many output channels meets at most: their sums are in registers. */
INLINE int most_ins(int outs) {
    int fit = (REGISTERS - 1) / (outs + 1); /* with one for an input each, and for an error */
    return fit < MOST_INS ? fit : MOST_INS;
}

/* total += e * x over the outputs of `at`. */
INLINE void product_tile(int outs, int ins, const struct tile *t, const struct tap *at,
                         sums total) {
    ptrdiff_t x_column = t->columns.step * t->width;
    ptrdiff_t x_row = t->rows.step * t->columns.in * t->width;
    /* Columns that follow each other in x as well are one long one. */
    ptrdiff_t columns = at->columns.to - at->columns.from, length = t->width;
    if (t->columns.step == 1) {
        length *= columns;
        columns = 1;
    }
    vec sum[TILE][MOST_INS];
#pragma GCC unroll TILE
    for (int o = 0; o < outs; o++)
#pragma GCC unroll MOST_INS
        for (int c = 0; c < ins; c++)
            sum[o][c] = total[o][c];
    for (ptrdiff_t i = at->rows.from; i < at->rows.to; i++) {
        const real *e = t->e + (i * t->columns.out + at->columns.from) * t->width;
        const real *x = t->x + at->x + i * x_row + at->columns.from * x_column;
        for (ptrdiff_t j = 0; j < columns; j++, e += length, x += x_column)
            for (ptrdiff_t b = 0; b < length; b += LANES) {
                vec input[MOST_INS];
                for (int c = 0; c < ins; c++)
                    input[c] = keep(load(x + b + c * t->x_next));
                for (int o = 0; o < outs; o++) {
                    vec error = keep(load(e + b + o * t->e_channel));
                    for (int c = 0; c < ins; c++)
                        sum[o][c] += error * input[c];
                }
            }
    }
#pragma GCC unroll TILE
    for (int o = 0; o < outs; o++)
#pragma GCC unroll MOST_INS
        for (int c = 0; c < ins; c++)
            total[o][c] = sum[o][c];
}

INLINE void product_some(int ins, int outs, const struct tile *t, const struct tap *at,
                         sums total) {
    product_tile(outs, ins < most_ins(outs) ? ins : most_ins(outs), t, at, total);
}

INLINE void product_ins(int outs, const struct tile *t, const struct tap *at, sums total) {
    WITH_CHANNELS(at->ins, product_some, outs, t, at, total)
}

static void product(const struct tile *t, const struct tap *at, sums total) {
    WITH_CHANNELS(t->outs, product_ins, t, at, total)
}

/* total of every tap. Taps take turns within a patch of outputs that stays in the L1 cache. */
static void product_taps(const struct tile *t, int n, const struct tap taps[], sums total[]) {
    ptrdiff_t wide = most(1, PATCH / t->width);
    ptrdiff_t tall = most(1, wide / t->columns.out);
    for (ptrdiff_t i = 0; i < t->rows.out; i += tall)
        for (ptrdiff_t j = 0; j < t->columns.out; j += wide)
            for (int k = 0; k < n; k++) {
                struct tap at = taps[k];
                at.rows = lm_overlap(at.rows, (struct lm_range){i, i + tall});
                at.columns = lm_overlap(at.columns, (struct lm_range){j, j + wide});
                if (at.rows.from < at.rows.to && at.columns.from < at.columns.to)
                    product(t, &at, total[k]);
            }
}

static struct tap tap_of(const struct tile *t, ptrdiff_t i, ptrdiff_t j, ptrdiff_t c,
                         ptrdiff_t ins) {
    ptrdiff_t row = i - t->rows.padding, column = j - t->columns.padding;
    return (struct tap){.rows = places_of(&t->rows, i),
                        .columns = places_of(&t->columns, j),
                        .x = c * t->x_channel + (row * t->columns.in + column) * t->width,
                        .weight = (c * t->rows.taps + i) * t->columns.taps + j,
                        .ins = (int)ins};
}

/* gradient += that of the taps; `fan_in` weights an output channel. */
static void pull_taps(const struct tile *t, int n, const struct tap taps[], ptrdiff_t fan_in,
                      real *gradient) {
    sums total[GROUP];
    memset(total, 0, (size_t)n * sizeof *total);
    product_taps(t, n, taps, total);
    for (int k = 0; k < n; k++)
        for (int o = 0; o < t->outs; o++)
            for (int c = 0; c < taps[k].ins; c++)
                gradient[o * fan_in + taps[k].weight + c * t->weight_next] +=
                    add_up(total[k][o][c]);
}

/* gradient += that of a tile, whose input channels and places in the kernel are gone through in
 * groups. A single channel has no others to go with: there neighbouring places share a tap, if
 * they meet inputs at the same outputs. */
static void pull_tile(struct tile *t, ptrdiff_t channels, real *gradient) {
    const ptrdiff_t together = most_ins(t->outs), step = t->alone ? 1 : together;
    const ptrdiff_t next = t->alone ? together : 1;
    t->x_next = t->alone ? t->width : t->x_channel;
    t->weight_next = t->alone ? 1 : t->rows.taps * t->columns.taps;
    struct tap taps[GROUP];
    int n = 0;
    for (ptrdiff_t c = 0; c < channels; c += step)
        for (ptrdiff_t i = 0; i < t->rows.taps; i++)
            for (ptrdiff_t j = 0; j < t->columns.taps; j += next) {
                ptrdiff_t left = t->alone ? t->columns.taps - j : channels - c;
                taps[n++] = tap_of(t, i, j, c, least(together, left));
                if (n == GROUP) {
                    pull_taps(t, n, taps, channels * t->rows.taps * t->columns.taps, gradient);
                    n = 0;
                }
            }
    pull_taps(t, n, taps, channels * t->rows.taps * t->columns.taps, gradient);
}

static void pull_weights(const struct lm_operator *op, const real *x, const real *ey,
                         size_t width, real *gradient) {
    struct tile t = {.rows = forward_axis(op, 0), .columns = forward_axis(op, 1), .x = x};
    ptrdiff_t outs = (ptrdiff_t)op->out.extent[0], ins = (ptrdiff_t)op->in[0].extent[0];
    t.alone = ins == 1 && t.columns.padding == 0;
    ptrdiff_t high = t.alone ? LOW : TILE, tiles = (outs + high - 1) / high;
    t.width = (ptrdiff_t)width;
    t.x_channel = t.rows.in * t.columns.in * t.width;
    t.e_channel = t.rows.out * t.columns.out * t.width;
    for (ptrdiff_t k = 0; k < tiles; k++) {
        ptrdiff_t o = k * outs / tiles;
        t.outs = (int)((k + 1) * outs / tiles - o);
        t.e = ey + o * t.e_channel;
        pull_tile(&t, ins, gradient + o * (ptrdiff_t)op->fan_in);
    }
}

static void pull_parameters(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, bool adds, real *gradient) {
    size_t channels = op->out.extent[0], plane = op->out.extent[1] * op->out.extent[2];
    real *weights = gradient + op->channel * op->fan_in;
    if (!adds)
        memset(weights, 0, channels * op->fan_in * sizeof *weights);
    if (op->whole) {
        struct lm_correlation k = forward_correlation(op, width);
        k.in = x;
        lm_winograd_gradient(&k, ey, weights);
    } else {
        pull_weights(op, x, ey, width, weights);
    }
    sum_errors((ptrdiff_t)channels, (ptrdiff_t)(plane * width), ey, adds,
               gradient + op->n_weights + op->channel);
}

static bool pairs(const struct lm_operator *op, const struct lm_operator *next) {
    return op->in[0].extent[0] == 1 && is(op->option[KERNEL], 3) && is(op->option[STRIDE], 1) &&
           is(op->option[PADDING], 0) && next->kind == &lm_maxpool2d && next->rectifies &&
           is(next->option[POOL_SIZE], 2) && is(next->option[POOL_STRIDE], 2);
}

static struct lm_pooled pooled(const struct lm_operator *op, const struct lm_operator *next,
                               const real *x, size_t width) {
    const size_t *out = next->out.extent;
    return (struct lm_pooled){(ptrdiff_t)out[0],
                              (ptrdiff_t)out[1],
                              (ptrdiff_t)out[2],
                              (ptrdiff_t)width,
                              (ptrdiff_t)(op->in[0].extent[2] * width),
                              x};
}

static void forward_pair(const struct lm_operator *op, const struct lm_operator *next,
                         const real *parameters, const real *x, size_t width, real *y,
                         real *tape) {
    struct lm_pooled p = pooled(op, next, x, width);
    lm_pooled_forward(&p, parameters, parameters + op->n_weights, y, tape);
}

static void pull_pair(const struct lm_operator *op, const struct lm_operator *next,
                      const real *x, const real *tape, const real *ey, size_t width,
                      real *gradient) {
    struct lm_pooled p = pooled(op, next, x, width);
    lm_pooled_gradient(&p, tape, ey, gradient, gradient + op->n_weights);
}

const struct lm_operator_kind lm_conv2d = {
    .name = "conv2d",
    .summary = "convolution of channels with kernels, plus a bias per channel",
    .options = {{"channels", NULL, 1, false},
                {"kernel", NULL, 1, true},
                {"stride", "1", 1, true},
                {"padding", "0", 0, true}},
    .bands = true,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
    .relax_input = relax_input,
    .pull_parameters = pull_parameters,
    .pairs = pairs,
    .forward_pair = forward_pair,
    .pull_pair = pull_pair,
};
