#include "winograd1d.h"

#include "winograd_line.h"

enum {
    OUTS = LINE_OUTS,
    SIDE = LINE_INS,
    ROWS = LINE_TAPS,            /* of the kernel */
    MOST = LM_TAPS / (3 * ROWS), /* input channels */
    FEWEST = 4,                  /* likewise */
    AT_ONCE = 5,                 /* input channels that are added without a loop */
    GROUP = 4,                   /* tiles whose taps are transformed at a time */
    WIDEST = WIDE * LANES,
    PLACE = (ROWS * MOST * HIGH + LANES - 1) / LANES * LANES, /* taps of a place, and room */
};

/* Some output channels, and the columns of their taps as they are and transformed: (rows, input
 * channels, channels of the tile) each. */
struct tile {
    struct lm_range outs;
    _Alignas(LINE) real plain[LINE_TAPS][PLACE], taps[SIDE][PLACE];
};

/* Transformed inputs of the last rows, row r at r % ROWS: (places, channels, some inputs). */
struct ring {
    _Alignas(LINE) real number[ROWS][SIDE * MOST * WIDEST];
};

/* What output channels meet at some inputs, in a row and at four neighbouring columns, or at a
 * single one.
 *
 * Functions read its members one by one: a copy would load in one piece what has just been
 * stored in several, for which processors wait until all that came before is done. */
struct meeting {
    ptrdiff_t ins, width, y_channel;
    struct lm_range rows;    /* of the kernel, that meet inputs */
    struct lm_range columns; /* likewise, where it is a single one */
    const real *x[ROWS];     /* the inputs there, transformed if it is four columns */
    ptrdiff_t x_place;       /* from one place of theirs, or column, to the next */
    ptrdiff_t x_channel;     /* from one channel to the next, where it is a single one */
    const struct lm_relaxation *relaxation;
};

/* --- transforms --------------------------------------------------------------------------- */

/* The taps of a tile in its order; returns how many there are in a column. */
static ptrdiff_t gather_taps(const struct lm_correlation *k, struct tile *tile) {
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < ROWS; i++)
        for (ptrdiff_t c = 0; c < k->in_channels; c++)
            for (ptrdiff_t o = tile->outs.from; o < tile->outs.to; o++, n++) {
                const real *g =
                    k->weight + o * k->weight_out + c * k->weight_in + i * k->rows.weight_step;
                for (int j = 0; j < LINE_TAPS; j++)
                    tile->plain[j][n] = g[j * k->columns.weight_step];
            }
    return n;
}

static void transform_taps(const struct lm_correlation *k, struct tile *tile) {
    ptrdiff_t n = gather_taps(k, tile);
    for (; n % LANES != 0; n++)
        for (int j = 0; j < LINE_TAPS; j++)
            tile->plain[j][n] = 0;
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        vec g[LINE_TAPS], u[SIDE];
        for (int j = 0; j < LINE_TAPS; j++)
            g[j] = load(tile->plain[j] + i);
        line_of_taps(g, u);
        for (int p = 0; p < SIDE; p++)
            store(tile->taps[p] + i, u[p]);
    }
}

/* Inputs that four neighbouring outputs meet in a row of all channels: of six columns those in
 * `there` exist. */
struct inputs {
    ptrdiff_t channels, width, channel, row; /* from one channel, or row, to the next */
    struct lm_range there;
    const real *x; /* of the first of the six */
};

INLINE void transform_columns(int vectors, ptrdiff_t first, ptrdiff_t end,
                              const struct inputs *from, real *to) {
    const ptrdiff_t channels = from->channels, channel = from->channel, width = from->width;
    const ptrdiff_t row = from->row, place = channels * vectors * LANES;
    const real *x = from->x;
    for (ptrdiff_t c = channels; c > 0; c--, x += channel)
        for (int b = 0; b < vectors; b++, to += LANES) {
            vec d[SIDE], v[SIDE];
            /* Most likely the next row is transformed next. */
            for (ptrdiff_t j = FETCHES && b * VECTOR_BYTES % LINE == 0 ? first : end; j < end;
                 j++)
                __builtin_prefetch(x + row + j * width + b * LANES);
            for (int j = 0; j < SIDE; j++)
                d[j] = first <= j && j < end ? load(x + j * width + b * LANES) : (vec){0};
            line_of_inputs(d, v);
            for (int p = 0; p < SIDE; p++)
                store(to + p * place, v[p]);
        }
}

/* With constants for the most common ends, so that the compiler leaves out what is zero. */
INLINE void transform_inputs(int vectors, const struct inputs *from, real *to) {
    const ptrdiff_t first = from->there.from, end = from->there.to;
    if (first == 0 && end == SIDE)
        transform_columns(vectors, 0, SIDE, from, to);
    else if (first == 0 && end == SIDE - 1)
        transform_columns(vectors, 0, SIDE - 1, from, to);
    else if (first == 2 && end == SIDE)
        transform_columns(vectors, 2, SIDE, from, to);
    else
        transform_columns(vectors, first, end, from, to);
}

/* On their own GCC has registers enough for them. */
static __attribute__((noinline)) void transform_wide(const struct inputs *from, real *to) {
    transform_inputs(WIDE, from, to);
}

static __attribute__((noinline)) void transform_narrow(const struct inputs *from, real *to) {
    transform_inputs(NARROW, from, to);
}

/* Row i of the inputs from b on that the outputs from column j on meet. */
static void transform_row(int vectors, const struct lm_correlation *k, ptrdiff_t i, ptrdiff_t j,
                          ptrdiff_t b, real *to) {
    ptrdiff_t at = j - k->columns.padding;
    struct inputs from = {.channels = k->in_channels,
                          .width = k->width,
                          .row = k->columns.in * k->width,
                          .channel = k->rows.in * k->columns.in * k->width,
                          .there = {most(0, -at), least(SIDE, k->columns.in - at)},
                          .x = k->in + (i * k->columns.in + at) * k->width + b};
    if (vectors == WIDE)
        transform_wide(&from, to);
    else
        transform_narrow(&from, to);
}

/* --- sums --------------------------------------------------------------------------------- */

/* What `ins` input channels, x_channel numbers apart, add to sums. */
INLINE void add_inputs(int outs, int vectors, int ins, const real *u, const real *x,
                       ptrdiff_t x_channel, vec sum[HIGH][WIDE]) {
#pragma GCC unroll 8
    for (int c = 0; c < ins; c++, u += outs, x += x_channel) {
        vec input[WIDE];
        for (int b = 0; b < vectors; b++)
            input[b] = keep(load(x + b * LANES));
        for (int o = 0; o < outs; o++)
            for (int b = 0; b < vectors; b++)
                sum[o][b] = add_product(sum[o][b], u[o] - (vec){0}, input[b]);
    }
}

/* What the inputs at a place, or in a column, add by its taps. */
INLINE void add_place(int outs, int vectors, const struct meeting *m, const real *taps,
                      ptrdiff_t place, ptrdiff_t x_channel, vec sum[HIGH][WIDE]) {
    const ptrdiff_t ins = m->ins, from = m->rows.from, to = m->rows.to;
    const ptrdiff_t at = place * m->x_place;
    const real *u = taps + from * ins * outs;
    for (ptrdiff_t i = from; i < to; i++) {
        const real *x = m->x[i] + at;
        ptrdiff_t left = ins;
        for (; left >= AT_ONCE; left -= AT_ONCE, u += AT_ONCE * outs, x += AT_ONCE * x_channel)
            add_inputs(outs, vectors, AT_ONCE, u, x, x_channel, sum);
        for (; left > 0; left--, u += outs, x += x_channel)
            add_inputs(outs, vectors, 1, u, x, x_channel, sum);
    }
}

INLINE void put(const struct lm_relaxation *relaxation, bool by_error, vec y, vec bias,
                real *to) {
    if (relaxation)
        relax(relaxation, by_error, to, y + bias); /* zeros have the signs that store gives */
    else
        store(to, y + bias);
}

/* The outputs of a tile to where they belong, or by `relaxation` into the values there. */
INLINE void put_tile(int outs, int vectors, int columns, const struct lm_relaxation *relaxation,
                     bool by_error, const struct meeting *m, const real *biases, real *y_first,
                     real sums[SIDE][HIGH][WIDEST]) {
    const ptrdiff_t width = m->width, y_channel = m->y_channel;
    for (int o = 0; o < outs; o++, y_first += y_channel) {
        const vec bias = (biases ? biases[o] : 0) - (vec){0};
        for (int b = 0; b < vectors; b++) {
            vec at[SIDE], y[OUTS];
            for (int p = 0; p < SIDE; p++)
                at[p] = load(sums[p][o] + b * LANES);
            line_of_sums(at, y);
            for (int j = 0; j < columns; j++)
                put(relaxation, by_error, y[j], bias, y_first + j * width + b * LANES);
        }
    }
}

/* `columns` outputs of a tile, from y on. biases NULL: zero, as where values relax. */
INLINE void sum_tile(int outs, int vectors, int columns, const struct meeting *m,
                     const struct tile *tile, const real *biases, real *y) {
    _Alignas(LINE) real sums[SIDE][HIGH][WIDEST];
    for (int o = 0; FETCHES && o < outs; o++)
        for (int j = 0; j < columns; j++)
            __builtin_prefetch(y + o * m->y_channel + j * m->width, 1);
    for (int p = 0; p < SIDE; p++) {
        vec sum[HIGH][WIDE] = {{{0}}};
        add_place(outs, vectors, m, tile->taps[p], p, vectors * LANES, sum);
        for (int o = 0; o < outs; o++)
            for (int b = 0; b < vectors; b++)
                store(sums[p][o] + b * LANES, sum[o][b]);
    }
    if (!m->relaxation) {
        put_tile(outs, vectors, columns, NULL, false, m, biases, y, sums);
        return;
    }
    const struct lm_relaxation by = *m->relaxation; /* in registers, whatever is stored */
    if (by.error)
        put_tile(outs, vectors, columns, &by, true, m, biases, y, sums);
    else
        put_tile(outs, vectors, columns, &by, false, m, biases, y, sums);
}

/* A single output of a tile, by plain sums over the taps. */
INLINE void sum_plainly(int outs, int vectors, const struct meeting *m, const struct tile *tile,
                        const real *biases, real *y) {
    vec sum[HIGH][WIDE] = {{{0}}};
    for (ptrdiff_t t = m->columns.from; t < m->columns.to; t++)
        add_place(outs, vectors, m, tile->plain[t], t, m->x_channel, sum);
    const struct lm_relaxation *by = m->relaxation;
    for (int o = 0; o < outs; o++, y += m->y_channel) {
        const vec bias = (biases ? biases[o] : 0) - (vec){0};
        for (int b = 0; b < vectors; b++)
            if (by && by->error)
                put(by, true, sum[o][b], bias, y + b * LANES);
            else
                put(by, false, sum[o][b], bias, y + b * LANES);
    }
}

INLINE void sum_columns(int outs, int vectors, ptrdiff_t columns, const struct meeting *m,
                        const struct tile *tile, const real *biases, real *y) {
    if (columns == OUTS)
        sum_tile(outs, vectors, OUTS, m, tile, biases, y);
    else if (columns == OUTS - 1)
        sum_tile(outs, vectors, OUTS - 1, m, tile, biases, y);
    else
        sum_plainly(outs, vectors, m, tile, biases, y);
}

static __attribute__((noinline)) void sum_wide(ptrdiff_t outs, ptrdiff_t columns,
                                               const struct meeting *m, const struct tile *tile,
                                               const real *biases, real *y) {
    WITH_HIGH(outs, sum_columns, WIDE, columns, m, tile, biases, y)
}

static __attribute__((noinline)) void sum_narrow(ptrdiff_t outs, ptrdiff_t columns,
                                                 const struct meeting *m,
                                                 const struct tile *tile, const real *biases,
                                                 real *y) {
    WITH_HIGH(outs, sum_columns, NARROW, columns, m, tile, biases, y)
}

/* --- going through the outputs ------------------------------------------------------------ */

/* Some output channels at column j and some inputs from b on. */
struct region {
    const struct lm_correlation *k;
    ptrdiff_t n; /* tiles */
    const struct tile *tiles;
    ptrdiff_t j, b;
};

static real *output_at(const struct region *at, const struct tile *tile, ptrdiff_t i) {
    const struct lm_correlation *k = at->k;
    ptrdiff_t row = (tile->outs.from * k->rows.out + k->rows.first + i) * k->columns.out;
    return k->out + (row + k->columns.first + at->j) * k->width + at->b;
}

static struct meeting meeting_of(const struct lm_correlation *k) {
    return (struct meeting){.ins = k->in_channels,
                            .width = k->width,
                            .y_channel = k->rows.out * k->columns.out * k->width,
                            .relaxation = k->relaxation};
}

/* `columns` neighbouring outputs of row i, or a single one. */
static void sum_row(int vectors, ptrdiff_t columns, const struct region *at,
                    const struct meeting *m, ptrdiff_t i) {
    for (const struct tile *tile = at->tiles; tile < at->tiles + at->n; tile++) {
        ptrdiff_t outs = tile->outs.to - tile->outs.from;
        const real *biases = at->k->bias ? at->k->bias + tile->outs.from : NULL;
        real *y = output_at(at, tile, i);
        if (vectors == WIDE)
            sum_wide(outs, columns, m, tile, biases, y);
        else
            sum_narrow(outs, columns, m, tile, biases, y);
    }
}

/* `columns` neighbouring outputs of every row. */
static void correlate_columns(int vectors, ptrdiff_t columns, const struct region *at) {
    const struct lm_correlation *k = at->k;
    struct ring ring;
    struct meeting m = meeting_of(k);
    ptrdiff_t done = most(0, -k->rows.padding);
    m.x_place = k->in_channels * vectors * LANES;
    for (ptrdiff_t i = 0; i < k->rows.count; i++) {
        ptrdiff_t start = i - k->rows.padding;
        m.rows = lm_taps_at(&k->rows, i);
        for (; done < start + m.rows.to; done++)
            transform_row(vectors, k, done, at->j, at->b, ring.number[done % ROWS]);
        for (ptrdiff_t r = m.rows.from; r < m.rows.to; r++)
            m.x[r] = ring.number[(start + r) % ROWS];
        sum_row(vectors, columns, at, &m, i);
    }
}

/* A single output of every row. */
static void correlate_plainly(int vectors, const struct region *at) {
    const struct lm_correlation *k = at->k;
    struct meeting m = meeting_of(k);
    m.columns = lm_taps_at(&k->columns, at->j);
    m.x_place = k->width;
    m.x_channel = k->rows.in * k->columns.in * k->width;
    for (ptrdiff_t i = 0; i < k->rows.count; i++) {
        ptrdiff_t start = i - k->rows.padding, column = at->j - k->columns.padding;
        m.rows = lm_taps_at(&k->rows, i);
        for (ptrdiff_t r = m.rows.from; r < m.rows.to; r++)
            m.x[r] = k->in + ((start + r) * k->columns.in + column) * k->width + at->b;
        sum_row(vectors, 1, at, &m, i);
    }
}

/* Columns four by four, and three as four; what is left over then one by one. */
static void correlate_inputs(int vectors, struct region at) {
    const ptrdiff_t end = at.k->columns.count;
    for (at.j = 0; end - at.j >= OUTS - 1; at.j += least(OUTS, end - at.j))
        correlate_columns(vectors, least(OUTS, end - at.j), &at);
    for (; at.j < end; at.j++)
        correlate_plainly(vectors, &at);
}

/* The output channels of tiles [from, from + n) of `of`. */
static void correlate_tiles(const struct lm_correlation *k, ptrdiff_t from, ptrdiff_t n,
                            ptrdiff_t of) {
    struct tile tiles[GROUP];
    for (ptrdiff_t t = 0; t < n; t++) {
        tiles[t].outs = (struct lm_range){(from + t) * k->out_channels / of,
                                          (from + t + 1) * k->out_channels / of};
        transform_taps(k, &tiles[t]);
    }
    struct region at = {.k = k, .n = n, .tiles = tiles};
    for (; at.b + WIDE * LANES <= k->width; at.b += WIDE * LANES)
        correlate_inputs(WIDE, at);
    for (; NARROW < WIDE && at.b < k->width; at.b += NARROW * LANES)
        correlate_inputs(NARROW, at);
}

bool lm_winograd1d_fits(const struct lm_correlation *k) {
    const struct lm_axis *rows = &k->rows, *columns = &k->columns;
    return rows->taps == ROWS && columns->taps == 3 && rows->step == 1 && columns->step == 1 &&
           rows->apart == 1 && columns->apart == 1 && k->in_channels >= FEWEST &&
           k->in_channels <= MOST && columns->count >= OUTS - 1;
}

void lm_winograd1d_correlate(const struct lm_correlation *k) {
    ptrdiff_t tiles = (k->out_channels + HIGH - 1) / HIGH;
    for (ptrdiff_t t = 0; t < tiles; t += GROUP)
        correlate_tiles(k, t, least(GROUP, tiles - t), tiles);
}
