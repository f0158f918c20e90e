#include "winograd.h"

#include "../blas.h"
#include "../memory.h"
#include "multiply.h"
#include "vector.h"

enum {
    SIDE = 4, /* of the inputs that a tile of 2 x 2 outputs meets */
    PLACES = SIDE * SIDE,
    NEAR = 65536,     /* transformed inputs of a block: they stay in the L2 cache */
    GROUP = 4 * TILE, /* output channels that are transformed back in one go */
    LONG = 512,       /* tiles x inputs that a gradient is summed over in one go */
    APART = LM_LANE,  /* keeps places from meeting in the same lines of a cache */
};

/* Neighbouring tiles of a row of them, and some of the inputs. */
struct block {
    ptrdiff_t row, column; /* of the first output of the first tile; may be -1 */
    ptrdiff_t tiles;
    ptrdiff_t input, inputs;
};

/* Where blocks are transformed to: the numbers of a place are (channels, tiles, inputs). */
struct transformed {
    real *number;
    ptrdiff_t place; /* from one place to the next */
};

/* --- transforms --------------------------------------------------------------------------- */

/* The four places of B^T d. */
INLINE void of_inputs(const vec d[SIDE], vec v[SIDE]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
}

/* The two places of A^T m. */
INLINE void of_sums(const vec m[SIDE], vec y[2]) {
    y[0] = (m[0] + m[1]) + m[2];
    y[1] = (m[1] - m[2]) - m[3];
}

/* The four places of A e. */
INLINE void of_errors(const vec e[2], vec v[SIDE]) {
    v[0] = e[0];
    v[1] = e[0] + e[1];
    v[2] = e[0] - e[1];
    v[3] = -e[1];
}

INLINE void store_places(vec v[SIDE][SIDE], const struct transformed *t, real *at) {
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            store(at + (i * SIDE + j) * t->place, v[i][j]);
}

/* The numbers at a place of one channel, which has so many rows and columns; zero outside. */
INLINE vec load_from(bool inside, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width,
                     const real *channel, ptrdiff_t row, ptrdiff_t column) {
    if (!inside && (row < 0 || row >= rows || column < 0 || column >= columns))
        return (vec){0};
    return load(channel + (row * columns + column) * width);
}

/* V of one tile and a vector of inputs. */
INLINE void transform_patch(bool inside, const struct lm_correlation *k, const real *channel,
                            ptrdiff_t row, ptrdiff_t column, const struct transformed *t,
                            real *at) {
    vec half[SIDE][SIDE], v[SIDE][SIDE];
    for (int j = 0; j < SIDE; j++) {
        vec d[SIDE], to[SIDE];
        for (int i = 0; i < SIDE; i++)
            d[i] = load_from(inside, k->rows.in, k->columns.in, k->width, channel, row + i,
                             column + j);
        of_inputs(d, to);
        for (int i = 0; i < SIDE; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < SIDE; i++)
        of_inputs(half[i], v[i]);
    store_places(v, t, at);
}

static void transform_inputs(const struct lm_correlation *k, const struct block *block,
                             const struct transformed *t) {
    ptrdiff_t size = k->rows.in * k->columns.in * k->width;
    ptrdiff_t row = block->row - k->rows.padding;
    real *at = t->number;
    for (ptrdiff_t c = 0; c < k->in_channels; c++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++) {
            ptrdiff_t column = block->column + 2 * tile - k->columns.padding;
            bool inside = row >= 0 && row + SIDE <= k->rows.in && column >= 0 &&
                          column + SIDE <= k->columns.in;
            const real *channel = k->in + c * size + block->input;
            for (ptrdiff_t b = 0; b < block->inputs; b += LANES, at += LANES)
                if (inside)
                    transform_patch(true, k, channel + b, row, column, t, at);
                else
                    transform_patch(false, k, channel + b, row, column, t, at);
        }
}

/* U of one output and input channel. */
static void transform_taps(const struct lm_correlation *k, const real *weight, real *u,
                           ptrdiff_t place) {
    real half[SIDE][3];
    for (int j = 0; j < 3; j++) {
        const real *g = weight + j * k->columns.weight_step;
        real first = g[0], middle = g[k->rows.weight_step], last = g[2 * k->rows.weight_step];
        half[0][j] = first;
        half[1][j] = ((first + last) + middle) / 2;
        half[2][j] = ((first + last) - middle) / 2;
        half[3][j] = last;
    }
    for (int i = 0; i < SIDE; i++) {
        const real *h = half[i];
        u[(i * SIDE + 0) * place] = h[0];
        u[(i * SIDE + 1) * place] = ((h[0] + h[2]) + h[1]) / 2;
        u[(i * SIDE + 2) * place] = ((h[0] + h[2]) - h[1]) / 2;
        u[(i * SIDE + 3) * place] = h[2];
    }
}

static void transform_weights(const struct lm_correlation *k, real *u) {
    ptrdiff_t place = k->out_channels * k->in_channels;
    for (ptrdiff_t o = 0; o < k->out_channels; o++)
        for (ptrdiff_t c = 0; c < k->in_channels; c++)
            transform_taps(k, k->weight + o * k->weight_out + c * k->weight_in,
                           u + o * k->in_channels + c, place);
}

/* The outputs of a tile, as far as there are such, for a vector of inputs. */
INLINE void transform_back(const struct lm_correlation *k, const struct transformed *t,
                           const real *from, real bias, ptrdiff_t row, ptrdiff_t column,
                           real *channel) {
    vec half[2][SIDE];
    for (int j = 0; j < SIDE; j++) {
        vec m[SIDE], to[2];
        for (int i = 0; i < SIDE; i++)
            m[i] = load(from + (i * SIDE + j) * t->place);
        of_sums(m, to);
        half[0][j] = to[0];
        half[1][j] = to[1];
    }
    for (ptrdiff_t i = 0; i < 2; i++) {
        vec y[2];
        of_sums(half[i], y);
        for (ptrdiff_t j = 0; j < 2; j++)
            if (row + i >= 0 && row + i < k->rows.count && column + j >= 0 &&
                column + j < k->columns.count)
                store(channel + ((k->rows.first + row + i) * k->columns.out + k->columns.first +
                                 column + j) *
                                    k->width,
                      y[j] + bias);
    }
}

/* The outputs of a block in the channels [o, end). */
static void transform_sums(const struct lm_correlation *k, const struct block *block,
                           const struct transformed *t, ptrdiff_t o, ptrdiff_t end) {
    ptrdiff_t size = k->rows.out * k->columns.out * k->width;
    const real *from = t->number;
    for (; o < end; o++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++)
            for (ptrdiff_t b = 0; b < block->inputs; b += LANES, from += LANES)
                transform_back(k, t, from, k->bias ? k->bias[o] : 0, block->row,
                               block->column + 2 * tile, k->out + o * size + block->input + b);
}

/* --- going through the tiles ---------------------------------------------------------------
 */

/* The first output of the first tile: 0, or -1 in a band that begins at an odd one. */
static ptrdiff_t first_output(const struct lm_axis *axis) {
    return -(axis->origin % 2);
}

/* `size` tiles x inputs, or those of a row if they are fewer. */
static ptrdiff_t block_size(const struct lm_correlation *k, ptrdiff_t size) {
    ptrdiff_t tiles = (k->columns.count - first_output(&k->columns) + 1) / 2;
    return least(size, tiles * k->width);
}

/* work(k, block, context) for all tiles and inputs, at most `size` tiles x inputs at a time,
 * but LM_LANE inputs. */
static void for_blocks(const struct lm_correlation *k, ptrdiff_t size,
                       void (*work)(const struct lm_correlation *k, const struct block *block,
                                    void *context),
                       void *context) {
    ptrdiff_t inputs = least(k->width, most(size / LM_LANE, 1) * LM_LANE);
    ptrdiff_t wide = 2 * most(size / inputs, 1);
    for (ptrdiff_t i = first_output(&k->rows); i < k->rows.count; i += 2)
        for (ptrdiff_t j = first_output(&k->columns); j < k->columns.count; j += wide)
            for (ptrdiff_t b = 0; b < k->width; b += inputs) {
                ptrdiff_t left = k->columns.count - j;
                struct block block = {.row = i,
                                      .column = j,
                                      .tiles = (least(wide, left) + 1) / 2,
                                      .input = b,
                                      .inputs = least(inputs, k->width - b)};
                work(k, &block, context);
            }
}

/* --- outputs ------------------------------------------------------------------------------ */

struct correlating {
    const real *u; /* (places, output channels, input channels) */
    struct transformed inputs, sums;
};

static void correlate_block(const struct lm_correlation *k, const struct block *block,
                            void *context) {
    const struct correlating *with = context;
    ptrdiff_t in = k->in_channels, out = k->out_channels;
    transform_inputs(k, block, &with->inputs);
    for (ptrdiff_t o = 0; o < out; o += GROUP) {
        ptrdiff_t end = least(o + GROUP, out);
        for (int place = 0; place < PLACES; place++)
            lm_multiply(&(struct lm_multiplication){
                .outs = end - o,
                .ins = in,
                .width = block->tiles * block->inputs,
                .weight = with->u + (place * out + o) * in,
                .out_step = in,
                .in_step = 1,
                .x = with->inputs.number + place * with->inputs.place,
                .y = with->sums.number + place * with->sums.place,
                .y_step = block->tiles * block->inputs});
        transform_sums(k, block, &with->sums, o, end);
    }
}

static size_t reals(ptrdiff_t a, ptrdiff_t b) {
    return lm_product((size_t)a, (size_t)b);
}

void lm_winograd_correlate(const struct lm_correlation *k) {
    ptrdiff_t in = k->in_channels, out = k->out_channels;
    ptrdiff_t numbers = block_size(k, most(NEAR / (PLACES * in) / LM_LANE, 1) * LM_LANE);
    ptrdiff_t near = in * numbers + APART, sums = GROUP * numbers + APART;
    real *u = lm_allocate(reals(PLACES, out * in + near + sums), sizeof *u);
    real *v = u + PLACES * out * in;
    struct correlating with = {u, {v, near}, {v + PLACES * near, sums}};
    transform_weights(k, u);
    for_blocks(k, numbers, correlate_block, &with);
    lm_free(u);
}

/* --- gradients -----------------------------------------------------------------------------
 */

struct learning {
    const real *error;
    struct transformed inputs, errors;
    real *sums; /* (places, output channels, input channels) */
};

/* A e A^T of one tile and a vector of inputs. */
INLINE void transform_error(const struct lm_correlation *k, const real *channel, ptrdiff_t row,
                            ptrdiff_t column, const struct transformed *t, real *at) {
    vec half[SIDE][2], v[SIDE][SIDE];
    for (ptrdiff_t j = 0; j < 2; j++) {
        vec e[2], to[SIDE];
        for (ptrdiff_t i = 0; i < 2; i++)
            e[i] = load_from(false, k->rows.out, k->columns.out, k->width, channel, row + i,
                             column + j);
        of_errors(e, to);
        for (int i = 0; i < SIDE; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < SIDE; i++)
        of_errors(half[i], v[i]);
    store_places(v, t, at);
}

static void transform_errors(const struct lm_correlation *k, const struct block *block,
                             const real *error, const struct transformed *t) {
    ptrdiff_t size = k->rows.out * k->columns.out * k->width;
    real *at = t->number;
    for (ptrdiff_t o = 0; o < k->out_channels; o++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++)
            for (ptrdiff_t b = 0; b < block->inputs; b += LANES, at += LANES)
                transform_error(k, error + o * size + block->input + b, block->row,
                                block->column + 2 * tile, t, at);
}

static void learn_block(const struct lm_correlation *k, const struct block *block,
                        void *context) {
    const struct learning *with = context;
    ptrdiff_t pairs = k->out_channels * k->in_channels;
    transform_inputs(k, block, &with->inputs);
    transform_errors(k, block, with->error, &with->errors);
    for (int place = 0; place < PLACES; place++)
        lm_gemm(false, true, (size_t)k->out_channels, (size_t)k->in_channels,
                (size_t)(block->tiles * block->inputs),
                with->errors.number + place * with->errors.place,
                with->inputs.number + place * with->inputs.place, 1,
                with->sums + place * pairs);
}

/* gradient += G^T u G of one output and input channel. */
static void add_taps(const struct lm_correlation *k, const real *u, ptrdiff_t place,
                     real *gradient) {
    real half[3][SIDE];
    for (int j = 0; j < SIDE; j++) {
        real middle[2] = {u[(SIDE + j) * place] / 2, u[(2 * SIDE + j) * place] / 2};
        half[0][j] = u[j * place] + (middle[0] + middle[1]);
        half[1][j] = middle[0] - middle[1];
        half[2][j] = (middle[0] + middle[1]) + u[(3 * SIDE + j) * place];
    }
    for (int i = 0; i < 3; i++) {
        const real *h = half[i];
        real *to = gradient + i * k->rows.weight_step;
        to[0] += h[0] + (h[1] + h[2]) / 2;
        to[k->columns.weight_step] += (h[1] - h[2]) / 2;
        to[2 * k->columns.weight_step] += (h[1] + h[2]) / 2 + h[3];
    }
}

void lm_winograd_gradient(const struct lm_correlation *k, const real *error, real *gradient) {
    ptrdiff_t in = k->in_channels, out = k->out_channels;
    ptrdiff_t numbers = block_size(k, LONG);
    ptrdiff_t inputs = in * numbers + APART, errors = out * numbers + APART;
    real *sums = lm_allocate(reals(PLACES, out * in + inputs + errors), sizeof *sums);
    real *v = sums + PLACES * out * in;
    struct learning with = {error, {v, inputs}, {v + PLACES * inputs, errors}, sums};
    for_blocks(k, numbers, learn_block, &with);
    for (ptrdiff_t o = 0; o < out; o++)
        for (ptrdiff_t c = 0; c < in; c++)
            add_taps(k, sums + o * in + c, out * in,
                     gradient + o * k->weight_out + c * k->weight_in);
    lm_free(sums);
}
