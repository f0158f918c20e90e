#include "pooled.h"

#include "flags.h"
#include "neighbours.h"
#include "pool.h"

enum {
    WINDOW = PAIR,             /* rows, and columns, of sums */
    PATCH = WINDOW + SIDE - 1, /* of inputs that they meet */
    TAPS = SIDE * SIDE,
    /* channels whose sums are in registers, beside a row of inputs, a tap and what GCC needs */
    CHANNELS = (REGISTERS - 8) / (WINDOW * WINDOW),
    /* channels whose taps are: they share inputs */
    TOGETHER = REGISTERS / 16,
};

/* A tile of output channels. */
struct tile {
    const struct lm_pooled *pooled;
    ptrdiff_t y_channel; /* from one channel of windows to the next */
    const real *weight, *bias;
};

/* --- forward ------------------------------------------------------------------------------ */

/* What a window's sums, (row, column) of them, come to: with NaNs among them that. Numbers
 * above zero have the order of their bits, which more of a processor's units compare; what
 * order the others have does not matter. */
INLINE void pool_window(vec sum[WINDOW][WINDOW], real *y, real *place) {
    const vec nan = (vec)(~(wholes){0}), none = POOL_NOWHERE - (vec){0};
    wholes best[WINDOW];
    vec at[WINDOW];
    for (int i = 0; i < WINDOW; i++) {
        wholes left = (wholes)sum[i][0], right = (wholes)sum[i][1];
        best[i] = larger(left, right);
        at[i] = choose(above_whole(right, left), (real)(WINDOW * i + 1) - (vec){0},
                       (real)(WINDOW * i) - (vec){0});
    }
    flags lost = either(unordered(sum[0][0], sum[0][1]), unordered(sum[1][0], sum[1][1]));
    wholes top = larger(best[0], best[1]), zero = {0};
    vec winner = choose(above_whole(best[1], best[0]), at[1], at[0]);
    store(y, choose(lost, nan, (vec)larger(top, zero)));
    store(place, choose(either(lost, above_whole(zero + 1, top)), none, winner));
}

/* A row of windows. */
INLINE void pool_row(int channels, const struct tile *from, const real *x, real *y,
                     real *place) {
    const struct lm_pooled pooled = *from->pooled, *p = &pooled;
    const struct tile tile = *from; /* in registers, whatever is stored */
    for (ptrdiff_t c = p->columns; c > 0; c--, x += WINDOW * p->width)
        for (ptrdiff_t b = 0; b < p->width; b += LANES, y += LANES, place += LANES) {
            vec sum[TILE][PAIR][PAIR];
            sum_neighbours(channels, WINDOW, WINDOW, tile.weight, tile.bias, x + b, p->x_row,
                           p->width, sum);
            for (int o = 0; o < channels; o++)
                pool_window(sum[o], y + o * tile.y_channel, place + o * tile.y_channel);
        }
}

static __attribute__((noinline)) void pool_channels(ptrdiff_t channels, const struct tile *tile,
                                                    const real *x, real *y, real *place) {
    LM_ASSERT(channels <= CHANNELS); /* and GCC leaves out the code for more */
    WITH_CHANNELS(channels, pool_row, tile, x, y, place)
}

void lm_pooled_forward(const struct lm_pooled *p, const real *weight, const real *bias, real *y,
                       real *place) {
    ptrdiff_t tiles = (p->channels + CHANNELS - 1) / CHANNELS, row = p->columns * p->width;
    for (ptrdiff_t t = 0; t < tiles; t++) {
        ptrdiff_t o = t * p->channels / tiles, channels = (t + 1) * p->channels / tiles - o;
        real packed[TAPS * CHANNELS];
        struct tile tile = {p, p->rows * row, packed, bias + o};
        for (ptrdiff_t k = 0; k < channels; k++)
            for (int i = 0; i < TAPS; i++)
                packed[i * channels + k] = weight[(o + k) * TAPS + i];
        for (ptrdiff_t r = 0; r < p->rows; r++) {
            ptrdiff_t at = o * tile.y_channel + r * row;
            pool_channels(channels, &tile, p->x + r * WINDOW * p->x_row, y + at, place + at);
        }
    }
}

/* --- gradient ----------------------------------------------------------------------------- */

/* Sums over windows of the error times what each tap met, and of the error. */
struct sums {
    vec tap[SIDE][SIDE], error;
};

/* A vector of windows' errors, and where in them the winners are. */
struct winners {
    flags below, right;
    vec error;
};

INLINE struct winners winners_at(const real *place, const real *error) {
    const vec zero = {0}, winner = load(place);
    return (struct winners){above(winner, zero + 1),
                            either(equal(winner, zero + 1), equal(winner, zero + 3)),
                            only(above(winner, zero - 1), load(error))};
}

INLINE void load_row(const struct lm_pooled *p, const real *x, vec row[PATCH]) {
    for (int j = 0; j < PATCH; j++)
        row[j] = TOGETHER > 1 ? keep(load(x + j * p->width)) : load(x + j * p->width);
}

/* Windows of some channels, whose places and errors are `next` numbers apart. */
INLINE void pull_window(int channels, const struct lm_pooled *p, const real *x,
                        const real *place, const real *error, ptrdiff_t next,
                        struct sums sums[TOGETHER]) {
    struct winners at[TOGETHER];
    vec row[PATCH], below[PATCH];
    load_row(p, x, row);
    for (int o = 0; o < channels; o++) {
        at[o] = winners_at(place + o * next, error + o * next);
        sums[o].error += at[o].error;
    }
#pragma GCC unroll 3
    for (int i = 0; i < SIDE; i++, memcpy(row, below, sizeof row)) {
        load_row(p, x + (i + 1) * p->x_row, below);
        for (int o = 0; o < channels; o++) {
            vec input[PATCH]; /* that the winner meets, if it is on the left or on the right */
            for (int j = 0; j < PATCH; j++)
                input[j] = choose(at[o].below, below[j], row[j]);
            for (int j = 0; j < SIDE; j++)
                sums[o].tap[i][j] = add_product(sums[o].tap[i][j], at[o].error,
                                                choose(at[o].right, input[j + 1], input[j]));
        }
    }
}

/* A row of windows of some channels. */
INLINE void pull_row(int channels, const struct lm_pooled *from, const real *x,
                     const real *place, const real *error, struct sums sums[TOGETHER]) {
    const struct lm_pooled copy = *from, *p = &copy; /* in registers, whatever is stored */
    const ptrdiff_t next = p->rows * p->columns * p->width;
    struct sums sum[TOGETHER];
    memcpy(sum, sums, (size_t)channels * sizeof *sums);
    for (ptrdiff_t c = p->columns; c > 0; c--, x += WINDOW * p->width)
        for (ptrdiff_t b = 0; b < p->width; b += LANES, place += LANES, error += LANES)
            pull_window(channels, p, x + b, place, error, next, sum);
    memcpy(sums, sum, (size_t)channels * sizeof *sums);
}

static __attribute__((noinline)) void pull_rows(int channels, const struct lm_pooled *p,
                                                const real *place, const real *error,
                                                struct sums sums[TOGETHER]) {
    ptrdiff_t row = p->columns * p->width;
    for (ptrdiff_t r = 0; r < p->rows; r++, place += row, error += row)
        if (channels == TOGETHER)
            pull_row(TOGETHER, p, p->x + r * WINDOW * p->x_row, place, error, sums);
        else
            pull_row(1, p, p->x + r * WINDOW * p->x_row, place, error, sums);
}

void lm_pooled_gradient(const struct lm_pooled *p, const real *place, const real *error,
                        real *weights, real *biases) {
    const ptrdiff_t size = p->rows * p->columns * p->width;
    for (ptrdiff_t o = 0, n; o < p->channels; o += n) {
        struct sums sums[TOGETHER] = {0};
        n = o + TOGETHER <= p->channels ? TOGETHER : 1;
        pull_rows((int)n, p, place + o * size, error + o * size, sums);
        for (ptrdiff_t k = 0; k < n; k++) {
            for (int i = 0; i < TAPS; i++)
                weights[(o + k) * TAPS + i] = add_up(sums[k].tap[i / SIDE][i % SIDE]);
            biases[o + k] = add_up(sums[k].error);
        }
    }
}
