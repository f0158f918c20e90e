#include "pooled.h"

#include "neighbours.h"
#include "pool.h"

enum {
    WINDOW = PAIR,             /* rows, and columns, of sums */
    PATCH = WINDOW + SIDE - 1, /* of inputs that they meet */
    TAPS = SIDE * SIDE,
    /* channels whose sums are in registers, beside a row of inputs, a tap and what GCC needs */
    CHANNELS = (REGISTERS - 8) / (WINDOW * WINDOW),
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

INLINE void pull_window(const struct lm_pooled *p, const real *x, vec winner, vec error,
                        struct sums *sums) {
    const vec zero = {0};
    flags below = above(winner, zero + 1);
    flags right = either(equal(winner, zero + 1), equal(winner, zero + 3));
    error = only(above(winner, zero - 1), error);
    sums->error += error;
    for (int i = 0; i < SIDE; i++) {
        vec row[PATCH]; /* of the winner's inputs, if it is on the left or on the right */
        for (int j = 0; j < PATCH; j++)
            row[j] = choose(below, load(x + (i + 1) * p->x_row + j * p->width),
                            load(x + i * p->x_row + j * p->width));
        for (int j = 0; j < SIDE; j++)
            sums->tap[i][j] =
                add_product(sums->tap[i][j], error, choose(right, row[j + 1], row[j]));
    }
}

/* A row of windows of one channel. */
static __attribute__((noinline)) void pull_row(const struct lm_pooled *from, const real *x,
                                               const real *place, const real *error,
                                               struct sums *sums) {
    const struct lm_pooled copy = *from, *p = &copy; /* in registers, whatever is stored */
    struct sums sum = *sums;
    for (ptrdiff_t c = p->columns; c > 0; c--, x += WINDOW * p->width)
        for (ptrdiff_t b = 0; b < p->width; b += LANES, place += LANES, error += LANES)
            pull_window(p, x + b, load(place), load(error), &sum);
    *sums = sum;
}

void lm_pooled_gradient(const struct lm_pooled *p, const real *place, const real *error,
                        real *weights, real *biases) {
    ptrdiff_t row = p->columns * p->width;
    for (ptrdiff_t o = 0; o < p->channels; o++, weights += TAPS, biases++) {
        struct sums sums = {0};
        for (ptrdiff_t r = 0; r < p->rows; r++, place += row, error += row)
            pull_row(p, p->x + r * WINDOW * p->x_row, place, error, &sums);
        for (int i = 0; i < TAPS; i++)
            weights[i] = add_up(sums.tap[i / SIDE][i % SIDE]);
        *biases = add_up(sums.error);
    }
}
