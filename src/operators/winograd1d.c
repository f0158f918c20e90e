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
    PLACE = (ROWS * MOST * TILE + LANES - 1) / LANES * LANES, /* taps of a place, and room */
};

/* Some output channels, and their taps, transformed: (places, rows, input channels, channels of
 * the tile). */
struct tile {
    struct lm_range outs;
    _Alignas(LINE) real taps[SIDE][PLACE];
};

/* Transformed inputs of the last rows, row r at r % ROWS: (places, channels, some inputs). */
struct ring {
    _Alignas(LINE) real number[ROWS][SIDE * MOST * WIDEST];
};

/* What a tile of output channels meets at four neighbouring outputs and some inputs. */
struct meeting {
    ptrdiff_t ins, width, y_channel;
    ptrdiff_t rows;      /* of the kernel, that meet inputs */
    const real *x[ROWS]; /* transformed inputs there */
    const real *u;       /* taps of the first of these rows */
    ptrdiff_t x_place;   /* from one place to the next; of u PLACE */
    const struct lm_relaxation *relaxation;
    const real *bias; /* NULL: zero, as where values relax */
    real *y;
};

/* --- transforms --------------------------------------------------------------------------- */

/* The taps of a tile in its order, each column of them on its own; returns how many. */
static ptrdiff_t gather_taps(const struct lm_correlation *k, struct lm_range outs,
                             real to[3][PLACE]) {
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < ROWS; i++)
        for (ptrdiff_t c = 0; c < k->in_channels; c++)
            for (ptrdiff_t o = outs.from; o < outs.to; o++, n++) {
                const real *g =
                    k->weight + o * k->weight_out + c * k->weight_in + i * k->rows.weight_step;
                for (int j = 0; j < 3; j++)
                    to[j][n] = g[j * k->columns.weight_step];
            }
    return n;
}

static void transform_taps(const struct lm_correlation *k, struct tile *tile) {
    real gathered[3][PLACE] = {{0}};
    ptrdiff_t end = gather_taps(k, tile->outs, gathered);
    for (ptrdiff_t n = 0; n < end; n += LANES) {
        vec g[3], u[SIDE];
        for (int j = 0; j < 3; j++)
            g[j] = load(gathered[j] + n);
        line_of_taps(g, u);
        for (int p = 0; p < SIDE; p++)
            store(tile->taps[p] + n, u[p]);
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
    const struct inputs inputs = *from; /* in registers, whatever is stored */
    ptrdiff_t place = inputs.channels * vectors * LANES;
    const real *x = inputs.x;
    for (ptrdiff_t c = inputs.channels; c > 0; c--, x += inputs.channel)
        for (int b = 0; b < vectors; b++, to += LANES) {
            vec d[SIDE], v[SIDE];
            /* Most likely the next row is transformed next. */
            for (ptrdiff_t j = b * VECTOR_BYTES % LINE == 0 ? first : end; j < end; j++)
                __builtin_prefetch(x + inputs.row + j * inputs.width + b * LANES);
            for (int j = 0; j < SIDE; j++)
                d[j] =
                    first <= j && j < end ? load(x + j * inputs.width + b * LANES) : (vec){0};
            line_of_inputs(d, v);
            for (int p = 0; p < SIDE; p++)
                store(to + p * place, v[p]);
        }
}

/* With constants for the most common ends, so that the compiler leaves out what is zero. */
INLINE void transform_inputs(int vectors, const struct inputs *from, real *to) {
    struct lm_range there = from->there;
    if (there.from == 0 && there.to == SIDE)
        transform_columns(vectors, 0, SIDE, from, to);
    else if (there.from == 0 && there.to == SIDE - 1)
        transform_columns(vectors, 0, SIDE - 1, from, to);
    else if (there.from == 2 && there.to == SIDE)
        transform_columns(vectors, 2, SIDE, from, to);
    else
        transform_columns(vectors, there.from, there.to, from, to);
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

/* What `ins` input channels add to the sums at a place. */
INLINE void add_inputs(int outs, int vectors, int ins, const real *u, const real *x,
                       vec sum[TILE][WIDE]) {
#pragma GCC unroll 8
    for (int c = 0; c < ins; c++, u += outs, x += vectors * LANES) {
        vec input[WIDE];
        for (int b = 0; b < vectors; b++)
            input[b] = keep(load(x + b * LANES));
        for (int o = 0; o < outs; o++)
            for (int b = 0; b < vectors; b++)
                sum[o][b] = add_product(sum[o][b], u[o] - (vec){0}, input[b]);
    }
}

/* The sums at a place. */
INLINE void sum_place(int outs, int vectors, const struct meeting *m, int place,
                      real sums[TILE][WIDEST]) {
    vec sum[TILE][WIDE] = {{{0}}};
    const real *u = m->u + place * PLACE;
    for (ptrdiff_t i = 0; i < m->rows; i++) {
        const real *x = m->x[i] + place * m->x_place;
        ptrdiff_t left = m->ins;
        for (; left >= AT_ONCE;
             left -= AT_ONCE, u += AT_ONCE * outs, x += AT_ONCE * vectors * LANES)
            add_inputs(outs, vectors, AT_ONCE, u, x, sum);
        for (; left > 0; left--, u += outs, x += vectors * LANES)
            add_inputs(outs, vectors, 1, u, x, sum);
    }
    for (int o = 0; o < outs; o++)
        for (int b = 0; b < vectors; b++)
            store(sums[o] + b * LANES, sum[o][b]);
}

/* The outputs of a tile to where they belong, or by `relaxation` into the values there. */
INLINE void put_tile(int outs, int vectors, int columns, const struct lm_relaxation *relaxation,
                     bool by_error, const struct meeting *m, real sums[SIDE][TILE][WIDEST]) {
    for (int o = 0; o < outs; o++) {
        const vec bias = (m->bias ? m->bias[o] : 0) - (vec){0};
        for (int b = 0; b < vectors; b++) {
            vec at[SIDE], y[OUTS];
            for (int p = 0; p < SIDE; p++)
                at[p] = load(sums[p][o] + b * LANES);
            line_of_sums(at, y);
            real *to = m->y + o * m->y_channel + b * LANES;
            for (int j = 0; j < columns; j++)
                if (relaxation)
                    relax(relaxation, by_error, to + j * m->width, y[j]);
                else
                    store(to + j * m->width, y[j] + bias);
        }
    }
}

/* `columns` outputs of a tile. */
INLINE void sum_tile(int outs, int vectors, int columns, const struct meeting *from) {
    const struct meeting copy = *from, *m = &copy; /* in registers, whatever is stored */
    _Alignas(LINE) real sums[SIDE][TILE][WIDEST];
    for (int o = 0; o < outs; o++)
        for (int j = 0; j < columns; j++)
            __builtin_prefetch(m->y + o * m->y_channel + j * m->width, 1);
    for (int p = 0; p < SIDE; p++)
        sum_place(outs, vectors, m, p, sums[p]);
    if (!m->relaxation) {
        put_tile(outs, vectors, columns, NULL, false, m, sums);
        return;
    }
    const struct lm_relaxation by = *m->relaxation; /* likewise in registers */
    if (by.error)
        put_tile(outs, vectors, columns, &by, true, m, sums);
    else
        put_tile(outs, vectors, columns, &by, false, m, sums);
}

INLINE void sum_columns(int outs, int vectors, ptrdiff_t columns, const struct meeting *m) {
    if (columns == OUTS)
        sum_tile(outs, vectors, OUTS, m);
    else
        sum_tile(outs, vectors, OUTS - 1, m);
}

static __attribute__((noinline)) void sum_wide(ptrdiff_t outs, ptrdiff_t columns,
                                               const struct meeting *m) {
    WITH_CHANNELS(outs, sum_columns, WIDE, columns, m)
}

static __attribute__((noinline)) void sum_narrow(ptrdiff_t outs, ptrdiff_t columns,
                                                 const struct meeting *m) {
    WITH_CHANNELS(outs, sum_columns, NARROW, columns, m)
}

/* --- going through the outputs ------------------------------------------------------------ */

/* The output channels of n tiles, columns [j, j + columns), some inputs from b on. */
static void correlate_columns(int vectors, const struct lm_correlation *k, ptrdiff_t n,
                              const struct tile tiles[], ptrdiff_t j, ptrdiff_t columns,
                              ptrdiff_t b) {
    struct ring ring;
    ptrdiff_t size = k->columns.out * k->width, done = most(0, -k->rows.padding);
    for (ptrdiff_t i = 0; i < k->rows.count; i++) {
        struct lm_range met = lm_taps_at(&k->rows, i);
        ptrdiff_t start = i - k->rows.padding;
        for (; done < start + met.to; done++)
            transform_row(vectors, k, done, j, b, ring.number[done % ROWS]);
        struct meeting m = {.ins = k->in_channels,
                            .width = k->width,
                            .y_channel = k->rows.out * size,
                            .rows = met.to - met.from,
                            .x_place = k->in_channels * vectors * LANES,
                            .relaxation = k->relaxation};
        for (ptrdiff_t r = met.from; r < met.to; r++)
            m.x[r - met.from] = ring.number[(start + r) % ROWS];
        real *y = k->out + (k->rows.first + i) * size + (k->columns.first + j) * k->width + b;
        for (const struct tile *tile = tiles; tile < tiles + n; tile++) {
            ptrdiff_t outs = tile->outs.to - tile->outs.from;
            m.u = tile->taps[0] + met.from * k->in_channels * outs;
            m.bias = k->bias ? k->bias + tile->outs.from : NULL;
            m.y = y + tile->outs.from * m.y_channel;
            if (vectors == WIDE)
                sum_wide(outs, columns, &m);
            else
                sum_narrow(outs, columns, &m);
        }
    }
}

/* Columns that are left over when they go four by four: three are done as four. */
static ptrdiff_t left_over(ptrdiff_t columns) {
    return columns % OUTS == OUTS - 1 ? 0 : columns % OUTS;
}

/* The output channels of tiles [from, from + n) of `of`. */
static void correlate_tiles(const struct lm_correlation *k, ptrdiff_t from, ptrdiff_t n,
                            ptrdiff_t of, ptrdiff_t columns) {
    struct tile tiles[GROUP];
    for (ptrdiff_t t = 0; t < n; t++) {
        tiles[t].outs = (struct lm_range){(from + t) * k->out_channels / of,
                                          (from + t + 1) * k->out_channels / of};
        transform_taps(k, &tiles[t]);
    }
    for (ptrdiff_t j = 0; j < columns; j += OUTS) {
        ptrdiff_t wide = least(OUTS, columns - j), b = 0;
        for (; b + WIDE * LANES <= k->width; b += WIDE * LANES)
            correlate_columns(WIDE, k, n, tiles, j, wide, b);
        for (; NARROW < WIDE && b < k->width; b += NARROW * LANES)
            correlate_columns(NARROW, k, n, tiles, j, wide, b);
    }
}

bool lm_winograd1d_fits(const struct lm_correlation *k) {
    const struct lm_axis *rows = &k->rows, *columns = &k->columns;
    return rows->taps == ROWS && columns->taps == 3 && rows->step == 1 && columns->step == 1 &&
           rows->apart == 1 && columns->apart == 1 && k->in_channels >= FEWEST &&
           k->in_channels <= MOST && columns->count >= OUTS - 1;
}

void lm_winograd1d_correlate(const struct lm_correlation *k) {
    ptrdiff_t left = left_over(k->columns.count), columns = k->columns.count - left;
    ptrdiff_t tiles = (k->out_channels + TILE - 1) / TILE;
    for (ptrdiff_t t = 0; t < tiles; t += GROUP)
        correlate_tiles(k, t, least(GROUP, tiles - t), tiles, columns);
    if (left > 0) {
        struct lm_correlation rest = *k;
        rest.columns.first += columns;
        rest.columns.count = left;
        rest.columns.padding -= columns;
        lm_correlate(&rest);
    }
}
