/* conv2d: every output channel is a bias plus a sum of kernels laid over the input channels,
 * as PyTorch's (a correlation: kernels are not mirrored).
 *
 * Forward, difference and pull_input are one computation, `correlate`, with other weights:
 * the pull back of stride s is s x s correlations with every s-th tap of mirrored kernels.
 * Sums are kept in registers: a tile is up to TILE channels x WIDE vectors of inputs. */
#include "../memory.h"
#include "operators.h"

#include <string.h>

enum { CHANNELS, KERNEL, STRIDE, PADDING };

#if defined __AVX512F__
enum { VECTOR = 64, WIDE = 4 };
#elif defined __AVX__
enum { VECTOR = 32, WIDE = 2 };
#else
enum { VECTOR = 16, WIDE = 2 };
#endif
typedef real vec __attribute__((vector_size(VECTOR)));
enum {
    LANES = VECTOR / sizeof(real),
    NARROW = LM_LANE / LANES < WIDE ? LM_LANE / LANES : WIDE,
    TILE = 6,
    BLOCK = 80,  /* taps of one output summed in one go: their inputs stay in the L1 cache */
    GROUP = 16,   /* taps whose weight gradients are summed in one go */
    SEGMENT = 512 /* inputs of one channel that they are summed over in one go */
};

/* Inlined with constant numbers of channels and vectors, so that arrays become registers. */
#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const real *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE void store(real *x, vec v) {
    memcpy(x, &v, sizeof v);
}

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) {
    return a < b ? a : b;
}

static ptrdiff_t most(ptrdiff_t a, ptrdiff_t b) {
    return a > b ? a : b;
}

/* One axis of a correlation: for i < count the output at first + i * apart is the sum over
 * taps t of weight t times the input at i * step + t - padding, if there is one. */
struct axis {
    ptrdiff_t in, out; /* extents */
    ptrdiff_t first, apart, count;
    ptrdiff_t step, padding;
    ptrdiff_t taps, weight_step;
};

struct correlation {
    struct axis rows, columns;
    ptrdiff_t in_channels, out_channels, width;
    const real *weight;              /* of the first tap */
    ptrdiff_t weight_in, weight_out; /* steps from channel to channel */
    const real *bias;                /* NULL: zero */
    const real *in;
    real *out;
};

/* Taps [from, to) meet an input; from >= to if none does. */
struct range {
    ptrdiff_t from, to;
};

static struct range taps_at(const struct axis *axis, ptrdiff_t i) {
    ptrdiff_t start = i * axis->step - axis->padding;
    return (struct range){most(0, -start), least(axis->taps, axis->in - start)};
}

/* A stretch of outputs of some channels, and what it sums up. */
struct strip {
    ptrdiff_t channels, rows, columns; /* taps: input channels, kernel rows and columns */
    const real *x, *weight;            /* of the first tap */
    const real *bias;                  /* NULL: go on from what y holds */
    real *y;
};

INLINE void sum_tile(int channels, int vectors, const struct correlation *k,
                     const struct strip *s) {
    ptrdiff_t x_row = k->columns.in * k->width, x_channel = k->rows.in * x_row;
    ptrdiff_t y_channel = k->rows.out * k->columns.out * k->width;
    vec sum[TILE][WIDE];
    for (int o = 0; o < channels; o++)
        for (int v = 0; v < vectors; v++)
            sum[o][v] =
                s->bias ? s->bias[o] - (vec){0} : load(s->y + o * y_channel + v * LANES);
    for (ptrdiff_t c = 0; c < s->channels; c++)
        for (ptrdiff_t i = 0; i < s->rows; i++) {
            const real *x = s->x + c * x_channel + i * x_row;
            const real *w = s->weight + c * k->weight_in + i * k->rows.weight_step;
            for (ptrdiff_t j = 0; j < s->columns; j++) {
                for (int o = 0; o < channels; o++)
                    for (int v = 0; v < vectors; v++)
                        sum[o][v] += w[o * k->weight_out] * load(x + v * LANES);
                x += k->width;
                w += k->columns.weight_step;
            }
        }
    for (int o = 0; o < channels; o++)
        for (int v = 0; v < vectors; v++)
            store(s->y + o * y_channel + v * LANES, sum[o][v]);
}

INLINE void sum_strip(int channels, const struct correlation *k, struct strip s,
                      ptrdiff_t length) {
    for (int vectors = WIDE; vectors >= NARROW; vectors /= 2)
        for (; length >= vectors * LANES; length -= vectors * LANES) {
            if (vectors == WIDE)
                sum_tile(channels, WIDE, k, &s);
            else if (vectors == 2)
                sum_tile(channels, 2, k, &s);
            else
                sum_tile(channels, 1, k, &s);
            s.x += vectors * LANES;
            s.y += vectors * LANES;
        }
}

/* sum_strip of a number of channels that is known only now. */
static void sum_channels(int channels, const struct correlation *k, const struct strip *s,
                         ptrdiff_t length) {
    switch (channels) {
    case 1:
        sum_strip(1, k, *s, length);
        break;
    case 2:
        sum_strip(2, k, *s, length);
        break;
    case 3:
        sum_strip(3, k, *s, length);
        break;
    case 4:
        sum_strip(4, k, *s, length);
        break;
    case 5:
        sum_strip(5, k, *s, length);
        break;
    default:
        sum_strip(TILE, k, *s, length);
    }
}

/* Row i of the outputs of a tile. Neighbouring columns that meet the same taps are one strip
 * where inputs and outputs are contiguous. */
static void correlate_row(int channels, const struct correlation *k, struct strip s,
                          ptrdiff_t i) {
    const struct axis *rows = &k->rows, *columns = &k->columns;
    struct range tall = taps_at(rows, i);
    const real *x = s.x + (i * rows->step - rows->padding + tall.from) * columns->in * k->width;
    const real *weight = s.weight + tall.from * rows->weight_step;
    real *y = s.y + (rows->first + i * rows->apart) * columns->out * k->width;
    s.rows = tall.to - tall.from;
    for (ptrdiff_t j = 0, end; j < columns->count; j = end) {
        struct range wide = taps_at(columns, j), next = wide;
        for (end = j + 1; columns->step == 1 && columns->apart == 1 && end < columns->count;
             end++) {
            next = taps_at(columns, end);
            if (next.from != wide.from || next.to != wide.to)
                break;
        }
        s.columns = wide.to - wide.from;
        s.x = x + (j * columns->step - columns->padding + wide.from) * k->width;
        s.weight = weight + wide.from * columns->weight_step;
        s.y = y + (columns->first + j * columns->apart) * k->width;
        sum_channels(channels, k, &s, (end - j) * k->width);
    }
}

static void correlate(const struct correlation *k) {
    static const real zero[TILE];
    ptrdiff_t x_channel = k->rows.in * k->columns.in * k->width;
    ptrdiff_t y_channel = k->rows.out * k->columns.out * k->width;
    ptrdiff_t tiles = (k->out_channels + TILE - 1) / TILE;
    ptrdiff_t block = most(1, BLOCK / (k->rows.taps * k->columns.taps + 1));
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * k->out_channels / tiles,
                  end = (tile + 1) * k->out_channels / tiles;
        for (ptrdiff_t c = 0; c < k->in_channels; c += block) {
            struct strip s = {.channels = least(block, k->in_channels - c),
                              .x = k->in + c * x_channel,
                              .weight = k->weight + c * k->weight_in + o * k->weight_out,
                              .bias = c > 0     ? NULL
                                      : k->bias ? k->bias + o
                                                : zero,
                              .y = k->out + o * y_channel};
            for (ptrdiff_t i = 0; i < k->rows.count; i++)
                correlate_row((int)(end - o), k, s, i);
        }
    }
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
    op->flops = 2.0 * (double)lm_shape_units(&op->out) * (double)op->fan_in;
    return true;
}

/* Axis 0 (rows) or 1 (columns) as forward sees it. */
static struct axis forward_axis(const struct lm_operator *op, int axis) {
    return (struct axis){.in = (ptrdiff_t)op->in[0].extent[axis + 1],
                         .out = (ptrdiff_t)op->out.extent[axis + 1],
                         .apart = 1,
                         .count = (ptrdiff_t)op->out.extent[axis + 1],
                         .step = (ptrdiff_t)op->option[STRIDE][axis],
                         .padding = (ptrdiff_t)op->option[PADDING][axis],
                         .taps = (ptrdiff_t)op->option[KERNEL][axis],
                         .weight_step = axis ? 1 : (ptrdiff_t)op->option[KERNEL][1]};
}

static void apply(const struct lm_operator *op, const real *weight, const real *bias,
                  const real *x, size_t width, real *y) {
    struct correlation k = {.rows = forward_axis(op, 0),
                            .columns = forward_axis(op, 1),
                            .in_channels = (ptrdiff_t)op->in[0].extent[0],
                            .out_channels = (ptrdiff_t)op->out.extent[0],
                            .width = (ptrdiff_t)width,
                            .weight = weight,
                            .weight_in =
                                (ptrdiff_t)(op->option[KERNEL][0] * op->option[KERNEL][1]),
                            .weight_out = (ptrdiff_t)op->fan_in,
                            .bias = bias,
                            .in = x,
                            .out = y};
    correlate(&k);
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)tape;
    apply(op, parameters, parameters + op->n_weights, x[0], width, y);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y, (void)tape;
    apply(op, parameters, NULL, dx[0], width, dy);
}

/* An axis as the pull back to the inputs first, first + stride, ... sees it. They meet the taps
 * `last`, last - stride, ... of the kernel; `last` is set. */
static struct axis backward_axis(const struct axis *a, ptrdiff_t first, ptrdiff_t *last) {
    ptrdiff_t phase = (first + a->padding) % a->step;
    ptrdiff_t taps = (most(0, a->taps - phase) + a->step - 1) / a->step;
    *last = phase + (taps - 1) * a->step;
    return (struct axis){.in = a->out,
                         .out = a->in,
                         .first = first,
                         .apart = a->step,
                         .count = (a->in - first + a->step - 1) / a->step,
                         .step = 1,
                         .padding = taps - 1 - (first + a->padding) / a->step,
                         .taps = taps,
                         .weight_step = -a->step * a->weight_step};
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)tape;
    if (!ex[0])
        return;
    struct axis rows = forward_axis(op, 0), columns = forward_axis(op, 1);
    struct correlation k = {.in_channels = (ptrdiff_t)op->out.extent[0],
                            .out_channels = (ptrdiff_t)op->in[0].extent[0],
                            .width = (ptrdiff_t)width,
                            .weight_in = (ptrdiff_t)op->fan_in,
                            .weight_out = rows.taps * columns.taps,
                            .in = ey,
                            .out = ex[0]};
    for (ptrdiff_t i = 0; i < least(rows.step, rows.in); i++)
        for (ptrdiff_t j = 0; j < least(columns.step, columns.in); j++) {
            ptrdiff_t last_row, last_column;
            k.rows = backward_axis(&rows, i, &last_row);
            k.columns = backward_axis(&columns, j, &last_column);
            k.weight = parameters + last_row * rows.weight_step + last_column;
            correlate(&k);
        }
}

/* The sums of ey * x over a stretch of outputs for channels o and c and one tap. */
typedef vec sums[TILE][WIDE];

/* Stretch of outputs of some channels, ... */
struct patch {
    ptrdiff_t columns, width; /* stretches of x and ey, x_column apart in x */
    ptrdiff_t x_column, x_channel, e_channel;
};

INLINE void product_tile(int outs, int ins, const struct patch *p, const real *e, const real *x,
                         sums total) {
    vec sum[TILE][WIDE];
    for (int o = 0; o < outs; o++)
        for (int c = 0; c < ins; c++)
            sum[o][c] = total[o][c];
    for (ptrdiff_t j = 0; j < p->columns; j++, x += p->x_column)
        for (ptrdiff_t b = 0; b < p->width; b += LANES, e += LANES)
            for (int o = 0; o < outs; o++)
                for (int c = 0; c < ins; c++)
                    sum[o][c] += load(e + o * p->e_channel) * load(x + b + c * p->x_channel);
    for (int o = 0; o < outs; o++)
        for (int c = 0; c < ins; c++)
            total[o][c] = sum[o][c];
}

INLINE void product_ins(int outs, int ins, const struct patch *p, const real *e, const real *x,
                        sums total) {
    if (ins == WIDE)
        product_tile(outs, WIDE, p, e, x, total);
    else if (ins == 2)
        product_tile(outs, 2, p, e, x, total);
    else
        product_tile(outs, 1, p, e, x, total);
}

static void product_outs(int outs, int ins, const struct patch *p, const real *e, const real *x,
                         sums total) {
    switch (outs) {
    case 1:
        product_ins(1, ins, p, e, x, total);
        break;
    case 2:
        product_ins(2, ins, p, e, x, total);
        break;
    case 3:
        product_ins(3, ins, p, e, x, total);
        break;
    case 4:
        product_ins(4, ins, p, e, x, total);
        break;
    case 5:
        product_ins(5, ins, p, e, x, total);
        break;
    default:
        product_ins(TILE, ins, p, e, x, total);
    }
}

/* Outputs whose tap t meets an input. */
static struct range places_of(const struct axis *a, ptrdiff_t t) {
    ptrdiff_t start = t - a->padding; /* input of output 0 */
    ptrdiff_t from = start < 0 ? (-start + a->step - 1) / a->step : 0;
    ptrdiff_t to = a->in > start ? (a->in - start + a->step - 1) / a->step : 0;
    return (struct range){from, least(to, a->count)};
}

struct gradient {
    struct axis rows, columns;
    ptrdiff_t width;
    const real *x, *e; /* of the first channel of the tile */
    int outs, ins;
};

static void product_row(const struct gradient *g, ptrdiff_t i, ptrdiff_t j0, ptrdiff_t j1,
                        ptrdiff_t tap, ptrdiff_t end, sums total[GROUP]) {
    const struct axis *rows = &g->rows, *columns = &g->columns;
    struct patch p = {.x_column = columns->step * g->width,
                      .x_channel = rows->in * columns->in * g->width,
                      .e_channel = rows->out * columns->out * g->width};
    for (; tap < end; tap++, total++) {
        ptrdiff_t row = i * rows->step + tap / columns->taps - rows->padding;
        struct range at = places_of(columns, tap % columns->taps);
        at.from = most(at.from, j0);
        at.to = least(at.to, j1);
        if (row < 0 || row >= rows->in || at.from >= at.to)
            continue;
        p.columns = columns->step == 1 ? 1 : at.to - at.from;
        p.width = columns->step == 1 ? (at.to - at.from) * g->width : g->width;
        ptrdiff_t column = at.from * columns->step + tap % columns->taps - columns->padding;
        product_outs(g->outs, g->ins, &p, g->e + (i * columns->out + at.from) * g->width,
                     g->x + (row * columns->in + column) * g->width, *total);
    }
}

static void product_channels(const struct gradient *g, ptrdiff_t gradient_out,
                             ptrdiff_t gradient_in, real *gradient) {
    ptrdiff_t taps = g->rows.taps * g->columns.taps;
    ptrdiff_t segment = most(1, SEGMENT / g->width);
    for (ptrdiff_t tap = 0; tap < taps; tap += GROUP) {
        sums total[GROUP] = {0};
        ptrdiff_t end = least(taps, tap + GROUP);
        for (ptrdiff_t i = 0; i < g->rows.out; i++)
            for (ptrdiff_t j = 0; j < g->columns.out; j += segment)
                product_row(g, i, j, j + segment, tap, end, total);
        for (ptrdiff_t t = tap; t < end; t++)
            for (int o = 0; o < g->outs; o++)
                for (int c = 0; c < g->ins; c++) {
                    real sum = 0;
                    for (int lane = 0; lane < LANES; lane++)
                        sum += total[t - tap][o][c][lane];
                    gradient[o * gradient_out + c * gradient_in + t] += sum;
                }
    }
}

static void pull_parameters(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, real *gradient) {
    struct gradient g = {
        .rows = forward_axis(op, 0), .columns = forward_axis(op, 1), .width = (ptrdiff_t)width};
    ptrdiff_t outs = (ptrdiff_t)op->out.extent[0], ins = (ptrdiff_t)op->in[0].extent[0];
    ptrdiff_t tiles = (outs + TILE - 1) / TILE;
    ptrdiff_t plane = g.rows.in * g.columns.in * g.width,
              e_plane = g.rows.out * g.columns.out * g.width;
    ptrdiff_t fan_in = (ptrdiff_t)op->fan_in, taps = g.rows.taps * g.columns.taps;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * outs / tiles, end = (tile + 1) * outs / tiles;
        g.outs = (int)(end - o);
        g.e = ey + o * e_plane;
        for (ptrdiff_t c = 0; c < ins; c += g.ins) {
            g.ins = WIDE;
            while (g.ins > ins - c)
                g.ins /= 2;
            g.x = x + c * plane;
            product_channels(&g, fan_in, taps, gradient + o * fan_in + c * taps);
        }
    }
    for (ptrdiff_t o = 0; o < outs; o++) {
        real sum = 0;
        for (ptrdiff_t i = 0; i < e_plane; i++)
            sum += ey[o * e_plane + i];
        gradient[(ptrdiff_t)op->n_weights + o] += sum;
    }
}

const struct lm_operator_kind lm_conv2d = {
    .name = "conv2d",
    .summary = "convolution of channels with kernels, plus a bias per channel",
    .options = {{"channels", NULL, 1, false},
                {"kernel", NULL, 1, true},
                {"stride", "1", 1, true},
                {"padding", "0", 0, true}},
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
    .pull_parameters = pull_parameters,
};
