#include "correlate.h"

#include "neighbours.h"

enum {
    NEAR = 196608 / sizeof(real), /* copied inputs stay in the L2 cache */
    SHARED = 4,                   /* tiles that are worth a copy */
};

/* Taps of some input channels, kernel rows and columns: LM_TAPS or fewer. */
struct block {
    ptrdiff_t channel, channels;
    struct lm_range rows, columns;
    bool first; /* of the blocks that an output sums up */
};

/* The inputs that a block meets: all of them, or copied rows from first_row on. */
struct source {
    const real *x; /* of the block's first channel */
    ptrdiff_t channel, row, first_row;
};

/* A tile's outputs in some neighbouring columns that meet the same taps. */
struct strip {
    ptrdiff_t channels, rows, columns; /* taps */
    ptrdiff_t x_channel, x_row, width; /* inputs from one to the next of them */
    ptrdiff_t weight_channel, weight_row;
    ptrdiff_t outputs, x_output,
        y_output; /* columns; inputs and outputs from one to the next */
    ptrdiff_t y_channel;
    const struct lm_relaxation *relaxation;
    const real *x, *weight; /* of the first tap of the first column */
    const real *bias;       /* NULL: go on from what y holds */
    real *y;
};

struct lm_range lm_taps_at(const struct lm_axis *axis, ptrdiff_t i) {
    ptrdiff_t start = i * axis->step - axis->padding;
    return (struct lm_range){most(0, -start), least(axis->taps, axis->in - start)};
}

struct lm_range lm_overlap(struct lm_range a, struct lm_range b) {
    return (struct lm_range){most(a.from, b.from), least(a.to, b.to)};
}

/* --- summing ------------------------------------------------------------------------------ */

INLINE void store_tile(int channels, int vectors, const struct strip *s, vec sum[TILE][WIDE],
                       real *y) {
    for (int o = 0; o < channels; o++)
        for (int v = 0; v < vectors; v++)
            store(y + o * s->y_channel + v * LANES, sum[o][v]);
}

INLINE void relax_tile(int channels, int vectors, bool by_error, const struct strip *s,
                       vec sum[TILE][WIDE], real *y) {
    for (int o = 0; o < channels; o++)
        for (int v = 0; v < vectors; v++)
            relax(s->relaxation, by_error, y + o * s->y_channel + v * LANES, sum[o][v]);
}

/* The sums of one column; `taps` is the number of taps in a row, or 0 when it is not known. */
INLINE void sum_tile(int channels, int vectors, int taps, const struct strip *s,
                     const real *first, real *y) {
    vec sum[TILE][WIDE];
    for (int o = 0; o < channels; o++)
        for (int v = 0; v < vectors; v++) {
            real *at = y + o * s->y_channel + v * LANES;
            sum[o][v] = s->bias ? s->bias[o] - (vec){0} : load(at);
            if (v * VECTOR_BYTES % LINE == 0) /* most likely the next tile's */
                __builtin_prefetch(at + vectors * LANES, 1);
        }
    const ptrdiff_t rows = s->rows, x_row = s->x_row, weight_row = s->weight_row;
    const ptrdiff_t x_gap = s->x_channel - rows * x_row;
    const ptrdiff_t weight_gap = s->weight_channel - rows * weight_row;
    const real *x = first, *w = s->weight;
    for (ptrdiff_t c = s->channels; c > 0; c--, x += x_gap, w += weight_gap)
        for (ptrdiff_t i = rows; i > 0; i--, x += x_row, w += weight_row)
            for (ptrdiff_t j = 0; j < (taps ? taps : s->columns); j++) {
                vec input[WIDE];
                for (int v = 0; v < vectors; v++)
                    input[v] = keep(load(x + j * s->width + v * LANES));
                for (int o = 0; o < channels; o++)
                    for (int v = 0; v < vectors; v++)
                        sum[o][v] =
                            add_product(sum[o][v], w[j * channels + o] - (vec){0}, input[v]);
            }
    if (!s->relaxation)
        store_tile(channels, vectors, s, sum, y);
    else if (s->relaxation->error)
        relax_tile(channels, vectors, true, s, sum, y);
    else
        relax_tile(channels, vectors, false, s, sum, y);
}

INLINE void sum_columns(int channels, int taps, const struct strip *s) {
    for (ptrdiff_t j = 0; j < s->outputs; j++) {
        const real *x = s->x + j * s->x_output;
        real *y = s->y + j * s->y_output;
        ptrdiff_t b = 0;
        for (; b + WIDE * LANES <= s->width; b += WIDE * LANES)
            sum_tile(channels, WIDE, taps, s, x + b, y + b);
        for (; NARROW < WIDE && b < s->width; b += NARROW * LANES)
            sum_tile(channels, NARROW, taps, s, x + b, y + b);
    }
}

INLINE void store_neighbours(int channels, int columns, const struct strip *s, const real *x,
                             real *y) {
    vec sum[TILE][PAIR][PAIR];
    sum_neighbours(channels, 1, columns, s->weight, s->bias, x, s->x_row, s->width, sum);
    for (int o = 0; o < channels; o++)
        for (int j = 0; j < columns; j++)
            store(y + o * s->y_channel + j * s->width, sum[o][0][j]);
}

INLINE void sum_single(int channels, const struct strip *from) {
    const struct strip copy = *from, *s = &copy; /* in registers, whatever is stored */
    ptrdiff_t j = 0;
    for (; j + PAIR <= s->outputs; j += PAIR)
        for (ptrdiff_t b = 0; b < s->width; b += LANES)
            store_neighbours(channels, PAIR, s, s->x + j * s->width + b,
                             s->y + j * s->width + b);
    for (ptrdiff_t b = 0; j < s->outputs && b < s->width; b += LANES)
        store_neighbours(channels, 1, s, s->x + j * s->width + b, s->y + j * s->width + b);
}

INLINE void sum_strip(int channels, const struct strip *s) {
    if (s->columns == 3)
        sum_columns(channels, 3, s);
    else if (s->columns == 2)
        sum_columns(channels, 2, s);
    else
        sum_columns(channels, 0, s);
}

/* Whether 3 x 3 taps of one channel, at neighbouring inputs, are all that the outputs sum, and
 * all that there are: of a larger kernel that overhangs the inputs the others lie between. */
static bool is_single(int channels, const struct strip *s) {
    return s->bias && s->channels == 1 && s->rows == SIDE && s->columns == SIDE &&
           s->weight_row == SIDE * channels && s->x_output == s->width &&
           s->y_output == s->width && !s->relaxation;
}

/* On their own GCC has registers enough for them. */
static __attribute__((noinline)) void sum_single_channel(int channels, const struct strip *s) {
    WITH_CHANNELS(channels, sum_single, s)
}

static __attribute__((noinline)) void sum_channels(int channels, const struct strip *s) {
    WITH_CHANNELS(channels, sum_strip, s)
}

/* --- laying out --------------------------------------------------------------------------- */

/* Columns from j on that meet the same taps. */
static ptrdiff_t alike(const struct lm_axis *columns, ptrdiff_t j) {
    struct lm_range taps = lm_taps_at(columns, j), next = taps;
    ptrdiff_t end = j;
    while (end < columns->count && next.from == taps.from && next.to == taps.to)
        next = lm_taps_at(columns, ++end);
    return end - j;
}

/* Row i of the outputs of a tile, which `s` describes but for the taps that are met. */
static void correlate_row(int channels, const struct lm_correlation *k,
                          const struct block *block, const struct source *source,
                          struct strip s, ptrdiff_t i) {
    const struct lm_axis *rows = &k->rows, *columns = &k->columns;
    struct lm_range tall = lm_overlap(lm_taps_at(rows, i), block->rows);
    ptrdiff_t row = i * rows->step - rows->padding + tall.from - source->first_row;
    const real *x = source->x + row * source->row;
    const real *weight = s.weight + (tall.from - block->rows.from) * s.weight_row;
    real *y = s.y + (rows->first + i * rows->apart) * columns->out * k->width;
    s.rows = tall.to - tall.from;
    for (ptrdiff_t j = 0; j < columns->count; j += s.outputs) {
        struct lm_range wide = lm_overlap(lm_taps_at(columns, j), block->columns);
        s.columns = wide.to - wide.from;
        s.outputs = alike(columns, j);
        s.x = x + (j * columns->step - columns->padding + wide.from) * k->width;
        s.weight = weight + (wide.from - block->columns.from) * channels;
        s.y = y + (columns->first + j * columns->apart) * k->width;
        if (is_single(channels, &s))
            sum_single_channel(channels, &s);
        else
            sum_channels(channels, &s);
    }
}

/* The block's weights of a tile's channels side by side, tap after tap. */
static void pack(int channels, const struct lm_correlation *k, const struct block *block,
                 const real *weight, real *packed) {
    for (ptrdiff_t c = 0; c < block->channels; c++)
        for (ptrdiff_t i = block->rows.from; i < block->rows.to; i++)
            for (ptrdiff_t j = block->columns.from; j < block->columns.to; j++)
                for (int o = 0; o < channels; o++)
                    *packed++ = weight[c * k->weight_in + i * k->rows.weight_step +
                                       j * k->columns.weight_step + o * k->weight_out];
}

/* Copy the inputs that the outputs in `rows` meet, if they fit. An odd number of columns keeps
 * channels and rows from meeting in the same places of a cache. */
static void copy(const struct lm_correlation *k, const struct block *block,
                 struct lm_range rows, real *copied, struct source *source) {
    ptrdiff_t start = k->rows.step * rows.from - k->rows.padding + block->rows.from;
    ptrdiff_t end = k->rows.step * (rows.to - 1) - k->rows.padding + block->rows.to;
    struct lm_range met =
        lm_overlap((struct lm_range){start, end}, (struct lm_range){0, k->rows.in});
    ptrdiff_t row = (k->columns.in | 1) * k->width, channel = row * (met.to - met.from);
    if (met.from >= met.to || block->channels * channel > NEAR)
        return;
    for (ptrdiff_t c = 0; c < block->channels; c++)
        for (ptrdiff_t i = met.from; i < met.to; i++)
            memcpy(copied + c * channel + (i - met.from) * row,
                   source->x + c * source->channel + i * source->row,
                   (size_t)source->row * sizeof *copied);
    *source = (struct source){copied, channel, row, met.from};
}

/* What a block adds to some rows of all outputs. */
static void correlate_block(const struct lm_correlation *k, const struct block *block,
                            struct lm_range rows) {
    static const real zero[TILE];
    real packed[TILE * LM_TAPS], copied[NEAR];
    ptrdiff_t tiles = (k->out_channels + TILE - 1) / TILE;
    ptrdiff_t y_channel = k->rows.out * k->columns.out * k->width;
    struct source source = {.row = k->columns.in * k->width};
    source.channel = k->rows.in * source.row;
    source.x = k->in + block->channel * source.channel;
    if (tiles >= SHARED)
        copy(k, block, rows, copied, &source);
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * k->out_channels / tiles;
        int channels = (int)((tile + 1) * k->out_channels / tiles - o);
        ptrdiff_t weight_row = (block->columns.to - block->columns.from) * channels;
        struct strip s = {.channels = block->channels,
                          .x_channel = source.channel,
                          .x_row = source.row,
                          .width = k->width,
                          .weight_channel = (block->rows.to - block->rows.from) * weight_row,
                          .weight_row = weight_row,
                          .x_output = k->columns.step * k->width,
                          .y_output = k->columns.apart * k->width,
                          .y_channel = y_channel,
                          .relaxation = k->relaxation,
                          .weight = packed,
                          .bias = !block->first ? NULL
                                  : k->bias     ? k->bias + o
                                                : zero,
                          .y = k->out + o * y_channel};
        pack(channels, k, block, k->weight + block->channel * k->weight_in + o * k->weight_out,
             packed);
        for (ptrdiff_t i = rows.from; i < rows.to; i++)
            correlate_row(channels, k, block, &source, s, i);
    }
}

/* At most so many taps go into a block, and outputs into a group of rows. */
struct sizes {
    ptrdiff_t channels, rows, columns, group;
};

/* 1 or more each, even where no tap meets an input, as behind a stride beyond the kernel. */
static struct sizes choose_sizes(const struct lm_correlation *k) {
    struct sizes sizes;
    sizes.columns = least(LM_TAPS, most(1, k->columns.taps));
    sizes.rows = least(LM_TAPS / sizes.columns, most(1, k->rows.taps));
    sizes.channels = least(LM_TAPS / (sizes.columns * sizes.rows), k->in_channels);
    ptrdiff_t fit = NEAR / (sizes.channels * (k->columns.in | 1) * k->width);
    sizes.group = most(1, (fit - sizes.rows) / k->rows.step + 1);
    return sizes;
}

/* Rows of all outputs. */
static void correlate_rows(const struct lm_correlation *k, const struct sizes *sizes,
                           struct lm_range rows) {
    ptrdiff_t tall = k->rows.taps, wide = k->columns.taps;
    for (ptrdiff_t c = 0; c < k->in_channels; c += sizes->channels)
        for (ptrdiff_t i = 0; i < most(1, tall); i += sizes->rows)
            for (ptrdiff_t j = 0; j < most(1, wide); j += sizes->columns) {
                struct block block = {.channel = c,
                                      .channels = least(sizes->channels, k->in_channels - c),
                                      .rows = {i, least(i + sizes->rows, tall)},
                                      .columns = {j, least(j + sizes->columns, wide)},
                                      .first = c == 0 && i == 0 && j == 0};
                correlate_block(k, &block, rows);
            }
}

void lm_correlate(const struct lm_correlation *k) {
    struct sizes sizes = choose_sizes(k);
    for (ptrdiff_t i = 0; i < k->rows.count; i += sizes.group)
        correlate_rows(k, &sizes, (struct lm_range){i, least(i + sizes.group, k->rows.count)});
}
