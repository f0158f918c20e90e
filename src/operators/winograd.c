#include "winograd.h"

#include "../memory.h"
#include "multiply.h"
#include "winograd_line.h"

enum {
    OUTS = LINE_OUTS, /* rows, and columns, of a tile's outputs */
    INS = LINE_INS,   /* likewise of the inputs that they meet */
    TAPS = LINE_TAPS,
    SIDE = LINE_PLACES,
    PLACES = SIDE * SIDE,
    AT_LEAST = WIDE * LANES > LM_LANE ? WIDE *LANES : LM_LANE, /* tiles x inputs */
    LONG = 64,       /* of them that a gradient is summed over in one go */
    APART = LM_LANE, /* keeps places from meeting in the same lines of a cache */
};

/* Neighbouring tiles of a row of them, and some of the inputs. */
struct block {
    ptrdiff_t row, column; /* of the first output of the first tile; may be below 0 */
    ptrdiff_t tiles;
    ptrdiff_t input, inputs;
};

/* Where blocks are transformed to: the numbers of a place are (channels, tiles, inputs). */
struct transformed {
    real *number;
    ptrdiff_t place; /* from one place to the next */
};

/* Some rows and columns of an image, of which those in `rows` and `columns` are there. */
struct patch {
    struct lm_range rows, columns;
    ptrdiff_t row, column; /* in memory, from one to the next */
    const real *first;     /* of the patch, in the first channel, if it is there */
};

/* --- transforms --------------------------------------------------------------------------- */

/* Those of `size` numbers from `from` on that lie in [0, end), counted from `from`. */
static struct lm_range there(ptrdiff_t from, ptrdiff_t size, ptrdiff_t end) {
    return (struct lm_range){most(0, -from), least(size, end - from)};
}

/* Of images of so many rows and columns; `size` rows and columns from (row, column) on. */
static struct patch patch_at(const real *images, ptrdiff_t rows, ptrdiff_t columns,
                             ptrdiff_t width, ptrdiff_t row, ptrdiff_t column, ptrdiff_t size) {
    return (struct patch){there(row, size, rows), there(column, size, columns), columns * width,
                          width, images + (row * columns + column) * width};
}

/* The numbers `ahead` of those of a patch, which most likely are read next, or written. */
INLINE void fetch(const struct patch *patch, ptrdiff_t ahead, ptrdiff_t inputs, bool write) {
    const ptrdiff_t line = LINE / (ptrdiff_t)sizeof(real);
    for (ptrdiff_t i = patch->rows.from; i < patch->rows.to; i++)
        for (ptrdiff_t j = patch->columns.from; j < patch->columns.to; j++)
            for (ptrdiff_t b = 0; b < inputs; b += line) {
                const real *at = patch->first + ahead + i * patch->row + j * patch->column + b;
                if (write)
                    __builtin_prefetch(at, 1);
                else
                    __builtin_prefetch(at);
            }
}

/* V = B^T d B, or A e A^T, of one tile and a vector of inputs. */
INLINE void transform_patch(int size, struct lm_range rows, struct lm_range columns,
                            const struct patch *patch, const real *first,
                            const struct transformed *t, real *at) {
    vec half[SIDE][INS];
    for (int j = 0; j < size; j++) {
        vec d[INS] = {{0}}, to[SIDE];
        if (columns.from <= j && j < columns.to)
            for (int i = 0; i < size; i++)
                if (rows.from <= i && i < rows.to)
                    d[i] = load(first + i * patch->row + j * patch->column);
        if (size == INS)
            line_of_inputs(d, to);
        else
            line_of_errors(d, to);
        for (int i = 0; i < SIDE; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < SIDE; i++) {
        vec v[SIDE];
        if (size == INS)
            line_of_inputs(half[i], v);
        else
            line_of_errors(half[i], v);
        for (int j = 0; j < SIDE; j++)
            store(at + (i * SIDE + j) * t->place, v[j]);
    }
}

/* Of some inputs. Code of its own for a patch that is all there: no number is asked for. */
INLINE void transform_vectors(int size, const struct patch *patch, ptrdiff_t inputs,
                              const struct transformed *t, real *at) {
    const struct lm_range all = {0, size}, rows = patch->rows, columns = patch->columns;
    bool whole = rows.to - rows.from == size && columns.to - columns.from == size;
    for (ptrdiff_t b = 0; b < inputs; b += LANES)
        if (whole)
            transform_patch(size, all, all, patch, patch->first + b, t, at + b);
        else
            transform_patch(size, rows, columns, patch, patch->first + b, t, at + b);
}

static void transform_inputs(const struct lm_correlation *k, const struct block *block,
                             const struct transformed *t) {
    ptrdiff_t size = k->rows.in * k->columns.in * k->width;
    real *at = t->number;
    for (ptrdiff_t c = 0; c < k->in_channels; c++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++, at += block->inputs) {
            struct patch patch =
                patch_at(k->in + c * size + block->input, k->rows.in, k->columns.in, k->width,
                         block->row - k->rows.padding,
                         block->column + tile * OUTS - k->columns.padding, INS);
            fetch(&patch, size, block->inputs, false);
            transform_vectors(INS, &patch, block->inputs, t, at);
        }
}

/* The outputs of a tile, as far as there are such, for a vector of inputs. */
INLINE void transform_back(struct lm_range rows, struct lm_range columns, const real *from,
                           ptrdiff_t place, real bias, const struct lm_correlation *k,
                           real *to) {
    vec half[OUTS][SIDE];
    for (int j = 0; j < SIDE; j++) {
        vec m[SIDE], y[OUTS];
        for (int i = 0; i < SIDE; i++)
            m[i] = load(from + (i * SIDE + j) * place);
        line_of_sums(m, y);
        for (int i = 0; i < OUTS; i++)
            half[i][j] = y[i];
    }
    for (int i = 0; i < OUTS; i++)
        if (rows.from <= i && i < rows.to) {
            vec y[OUTS];
            line_of_sums(half[i], y);
            for (int j = 0; j < OUTS; j++)
                if (columns.from <= j && j < columns.to)
                    store(to + (i * k->columns.out + j) * k->width, y[j] + bias);
        }
}

/* The outputs of a block in the channels [o, end). */
static void transform_sums(const struct lm_correlation *k, const struct block *block,
                           const struct transformed *t, ptrdiff_t o, ptrdiff_t end) {
    const struct lm_range all = {0, OUTS}, rows = there(block->row, OUTS, k->rows.count);
    const ptrdiff_t channel = k->rows.out * k->columns.out * k->width;
    const real *from = t->number;
    for (; o < end; o++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++) {
            ptrdiff_t column = block->column + tile * OUTS;
            struct lm_range columns = there(column, OUTS, k->columns.count);
            bool whole = rows.to - rows.from == OUTS && columns.to - columns.from == OUTS;
            ptrdiff_t row = o * k->rows.out + k->rows.first + block->row;
            real bias = k->bias ? k->bias[o] : 0;
            real *to = k->out + block->input +
                       (row * k->columns.out + k->columns.first + column) * k->width;
            const struct patch patch = {rows, columns, k->columns.out * k->width, k->width, to};
            fetch(&patch, channel, block->inputs, true);
            for (ptrdiff_t b = 0; b < block->inputs; b += LANES, from += LANES)
                if (whole)
                    transform_back(all, all, from, t->place, bias, k, to + b);
                else
                    transform_back(rows, columns, from, t->place, bias, k, to + b);
        }
}

/* --- weights ------------------------------------------------------------------------------ */

/* Transformed weights: those of each place in packed order (multiply.h), with room for a vector
 * behind them. */
struct weights {
    ptrdiff_t place; /* from one place to the next */
    real *number;
};

/* U of a vector of taps. */
static void transform_taps(real g[TAPS][TAPS][LANES], const struct weights *w, real *u) {
    vec half[SIDE][TAPS];
    for (int j = 0; j < TAPS; j++) {
        vec taps[TAPS], to[SIDE];
        for (int i = 0; i < TAPS; i++)
            taps[i] = load(g[i][j]);
        line_of_taps(taps, to);
        for (int i = 0; i < SIDE; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < SIDE; i++) {
        vec to[SIDE];
        line_of_taps(half[i], to);
        for (int j = 0; j < SIDE; j++)
            store(u + (i * SIDE + j) * w->place, to[j]);
    }
}

/* Those of some output channels, vector after vector in packed order, to u. What the last one
 * has too many is written behind them, where the next channels are written after it. */
static void transform_pack(const struct lm_correlation *k, const struct weights *w, ptrdiff_t o,
                           ptrdiff_t outs, real *u) {
    const ptrdiff_t row = k->rows.weight_step, column = k->columns.weight_step;
    real taps[TAPS][TAPS][LANES] = {{{0}}};
    ptrdiff_t n = 0, all = outs * k->in_channels;
    for (ptrdiff_t c = 0; c < k->in_channels; c++)
        for (ptrdiff_t p = 0; p < outs; p++) {
            const real *g = k->weight + (o + p) * k->weight_out + c * k->weight_in;
            for (ptrdiff_t i = 0; i < TAPS; i++)
                for (ptrdiff_t j = 0; j < TAPS; j++)
                    taps[i][j][n % LANES] = g[i * row + j * column];
            n++;
            if (n % LANES == 0 || n == all)
                transform_taps(taps, w, u + (n - 1) / LANES * LANES);
        }
}

static void transform_weights(const struct lm_correlation *k, const struct weights *w) {
    for (ptrdiff_t o = 0; o < k->out_channels; o += LM_PACK)
        transform_pack(k, w, o, least(LM_PACK, k->out_channels - o),
                       w->number + o * k->in_channels);
}

/* --- going through the tiles ---------------------------------------------------------------
 */

/* The first output of the first tile: 0, or below in a band that begins within a tile. */
static ptrdiff_t first_output(const struct lm_axis *axis) {
    return -(axis->origin % OUTS);
}

static ptrdiff_t tiles_from(const struct lm_axis *axis, ptrdiff_t first) {
    return (axis->count - first + OUTS - 1) / OUTS;
}

/* Numbers in so many eighths of the L2 cache. */
static ptrdiff_t near_numbers(ptrdiff_t eighths) {
    return (ptrdiff_t)lm_near_bytes() / 8 * eighths / (ptrdiff_t)sizeof(real);
}

/* Whether the transformed inputs of a block stay in the L2 cache while all weights go by. */
static bool stays_near(ptrdiff_t in_channels, ptrdiff_t size) {
    return PLACES * in_channels * size <= near_numbers(5);
}

/* Tiles x inputs of a block. The more they are, the less often all weights are read; but where
 * inputs do not stay near, they are written and read as well. */
static ptrdiff_t widest(ptrdiff_t in_channels, ptrdiff_t out_channels) {
    const ptrdiff_t size = 2 * AT_LEAST;
    return stays_near(in_channels, size) || out_channels >= 2 * size ? size : AT_LEAST;
}

/* Output channels whose sums are there at a time: a few that stay near too, or, where inputs
 * come from afar for each of such groups, all. */
static ptrdiff_t group_size(ptrdiff_t in_channels, ptrdiff_t out_channels, ptrdiff_t size) {
    ptrdiff_t groups = most(near_numbers(1) / (PLACES * size) / HIGH, 1);
    return stays_near(in_channels, size) ? least(groups * HIGH, out_channels) : out_channels;
}

/* `size` tiles x inputs, or those of a row if they are fewer. */
static ptrdiff_t block_size(const struct lm_correlation *k, ptrdiff_t size) {
    ptrdiff_t tiles = tiles_from(&k->columns, first_output(&k->columns));
    return least(size, tiles * k->width);
}

/* work(k, block, context) for all tiles and inputs, at most `size` tiles x inputs at a time. */
static void for_blocks(const struct lm_correlation *k, ptrdiff_t size,
                       void (*work)(const struct lm_correlation *k, const struct block *block,
                                    void *context),
                       void *context) {
    ptrdiff_t inputs = least(k->width, size), wide = most(size / inputs, 1);
    for (ptrdiff_t i = first_output(&k->rows); i < k->rows.count; i += OUTS)
        for (ptrdiff_t j = first_output(&k->columns); j < k->columns.count; j += wide * OUTS)
            for (ptrdiff_t b = 0; b < k->width; b += inputs) {
                struct block block = {.row = i,
                                      .column = j,
                                      .tiles = least(wide, tiles_from(&k->columns, j)),
                                      .input = b,
                                      .inputs = least(inputs, k->width - b)};
                work(k, &block, context);
            }
}

/* --- outputs ------------------------------------------------------------------------------ */

struct correlating {
    struct weights weights;
    struct transformed inputs, sums;
    ptrdiff_t group; /* output channels whose sums are there at a time */
};

static void correlate_block(const struct lm_correlation *k, const struct block *block,
                            void *context) {
    const struct correlating *with = context;
    const struct weights *w = &with->weights;
    ptrdiff_t width = block->tiles * block->inputs;
    transform_inputs(k, block, &with->inputs);
    for (ptrdiff_t o = 0; o < k->out_channels; o += with->group) {
        ptrdiff_t end = least(o + with->group, k->out_channels);
        for (int place = 0; place < PLACES; place++)
            lm_multiply(&(struct lm_multiplication){
                .outs = end - o,
                .ins = k->in_channels,
                .width = width,
                .weight = w->number + place * w->place + o * k->in_channels,
                .packed = true,
                .x = with->inputs.number + place * with->inputs.place,
                .x_step = width,
                .y = with->sums.number + place * with->sums.place,
                .y_step = width});
        transform_sums(k, block, &with->sums, o, end);
    }
}

/* For the weights, and a block of what both sides' channels are transformed to. */
size_t lm_winograd_room(ptrdiff_t in, ptrdiff_t out) {
    ptrdiff_t numbers = most(LONG, 2 * AT_LEAST);
    return lm_product(PLACES, (size_t)(in * out + (in + out) * numbers + 3 * APART));
}

void lm_winograd_correlate(const struct lm_correlation *k) {
    ptrdiff_t in = k->in_channels, out = k->out_channels;
    ptrdiff_t numbers = block_size(k, widest(in, out)), group = group_size(in, out, numbers);
    ptrdiff_t inputs = in * numbers + APART, sums = group * numbers + APART;
    struct weights w = {.place = in * out + APART};
    w.number = lm_allocate_room(lm_winograd_room(in, out), sizeof(real));
    real *v = w.number + PLACES * w.place;
    struct correlating with = {w, {v, inputs}, {v + PLACES * inputs, sums}, group};
    transform_weights(k, &w);
    for_blocks(k, numbers, correlate_block, &with);
    lm_free(w.number);
}

/* --- gradients -----------------------------------------------------------------------------
 */

struct learning {
    const real *error;
    struct transformed inputs, errors;
    real *sums; /* (places, output channels, input channels) */
    bool adds;  /* to the sums, but of the first block */
};

static void transform_errors(const struct lm_correlation *k, const struct block *block,
                             const real *error, const struct transformed *t) {
    ptrdiff_t size = k->rows.out * k->columns.out * k->width;
    real *at = t->number;
    for (ptrdiff_t o = 0; o < k->out_channels; o++)
        for (ptrdiff_t tile = 0; tile < block->tiles; tile++, at += block->inputs) {
            struct patch patch =
                patch_at(error + o * size + block->input, k->rows.out, k->columns.out, k->width,
                         block->row, block->column + tile * OUTS, OUTS);
            fetch(&patch, size, block->inputs, false);
            transform_vectors(OUTS, &patch, block->inputs, t, at);
        }
}

static void learn_block(const struct lm_correlation *k, const struct block *block,
                        void *context) {
    struct learning *with = context;
    ptrdiff_t pairs = k->out_channels * k->in_channels;
    transform_inputs(k, block, &with->inputs);
    transform_errors(k, block, with->error, &with->errors);
    for (int place = 0; place < PLACES; place++)
        lm_multiply_gradient(
            &(struct lm_multiplied){.outs = k->out_channels,
                                    .ins = k->in_channels,
                                    .width = block->tiles * block->inputs,
                                    .x = with->inputs.number + place * with->inputs.place,
                                    .error = with->errors.number + place * with->errors.place},
            with->adds, with->sums + place * pairs);
    with->adds = true;
}

/* gradient += G^T u G of up to LANES input channels. */
static void add_taps(const struct lm_correlation *k, const real *u, ptrdiff_t place,
                     ptrdiff_t channels, real *gradient) {
    vec half[TAPS][SIDE];
    for (int j = 0; j < SIDE; j++) {
        vec at[SIDE], to[TAPS];
        for (int i = 0; i < SIDE; i++)
            at[i] = load(u + (i * SIDE + j) * place);
        line_of_products(at, to);
        for (int i = 0; i < TAPS; i++)
            half[i][j] = to[i];
    }
    for (int i = 0; i < TAPS; i++) {
        vec g[TAPS];
        line_of_products(half[i], g);
        for (int j = 0; j < TAPS; j++)
            for (ptrdiff_t c = 0; c < channels; c++)
                gradient[c * k->weight_in + i * k->rows.weight_step +
                         j * k->columns.weight_step] += g[j][c];
    }
}

void lm_winograd_gradient(const struct lm_correlation *k, const real *error, real *gradient) {
    ptrdiff_t in = k->in_channels, out = k->out_channels;
    ptrdiff_t numbers = block_size(k, LONG);
    ptrdiff_t inputs = in * numbers + APART, errors = out * numbers + APART;
    real *sums = lm_allocate_room(lm_winograd_room(in, out), sizeof *sums);
    real *v = sums + PLACES * out * in; /* behind the sums, of which whole vectors are read */
    struct learning with = {error, {v, inputs}, {v + PLACES * inputs, errors}, sums, false};
    for_blocks(k, numbers, learn_block, &with);
    for (ptrdiff_t o = 0; o < out; o++)
        for (ptrdiff_t c = 0; c < in; c += LANES)
            add_taps(k, sums + o * in + c, out * in, least(LANES, in - c),
                     gradient + o * k->weight_out + c * k->weight_in);
    lm_free(sums);
}
