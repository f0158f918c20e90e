/* Winograd: correlations and gradients of 3 x 3 taps in tiles, and correlations along rows, are
 * what plain sums come to, and round little more; a band of the outputs has the bits of all of
 * them. */
#include "operators/winograd.h"

#include "memory.h"
#include "operators/operators.h"
#include "operators/winograd1d.h"
#include "plain_chain.h"
#include "runner.h"

#include <math.h>
#include <string.h>

static const struct test_case {
    ptrdiff_t in_channels, out_channels, rows, columns, row_padding, column_padding, width;
} cases[] = {
    {1, 1, 3, 3, 0, 0, 16},     /* one output */
    {3, 5, 6, 6, 0, 0, 32},     /* one tile */
    {3, 5, 4, 4, 1, 1, 16},     /* ... on padding all around */
    {2, 3, 9, 7, 1, 1, 48},     /* tiles that are partly outside */
    {4, 2, 8, 11, 0, 2, 16},    /* columns of padding */
    {2, 2, 1, 2, 3, 4, 32},     /* tiles of padding alone */
    {2, 60, 5, 6, 1, 1, 32},    /* more output channels than go in one go */
    {70, 17, 6, 5, 1, 1, 16},   /* more inputs than a gradient transposes together */
    {200, 3, 4, 5, 1, 1, 48},   /* more than are summed up in one go */
    {150, 130, 1, 5, 1, 1, 32}, /* inputs that do not stay near, and outputs in one go */
    {5, 4, 6, 30, 1, 1, 64},    /* a row of tiles in several blocks */
    {10, 13, 4, 6, 1, 2, 16},   /* along rows: the most channels; outputs in several goes */
    {10, 5, 13, 13, 0, 0, 48},  /* ... and three columns behind the others */
};
enum { CASES = sizeof cases / sizeof *cases, TAPS = 9 };

/* Numbers, and what plain sums make of them. */
struct setup {
    struct lm_correlation k;
    ptrdiff_t x_size, y_size, n;
    real *x, *y, *e, *weight, *bias, *gradient, *before;
    long double *expected_y, *expected_gradient;
};

/* Weight (o, c, tap), of which with `mirrored` channels and taps lie the other way round, as
 * for a pull back. */
static real weight_at(const struct lm_correlation *k, ptrdiff_t o, ptrdiff_t c, ptrdiff_t i,
                      ptrdiff_t j) {
    return k->weight[o * k->weight_out + c * k->weight_in + i * k->rows.weight_step +
                     j * k->columns.weight_step];
}

static void add_tap(struct setup *s, ptrdiff_t o, ptrdiff_t c, ptrdiff_t tap) {
    const struct lm_correlation *k = &s->k;
    ptrdiff_t i = tap / 3, j = tap % 3;
    for (ptrdiff_t row = 0; row < k->rows.out; row++)
        for (ptrdiff_t column = 0; column < k->columns.out; column++) {
            ptrdiff_t r = row + i - k->rows.padding, q = column + j - k->columns.padding;
            if (r < 0 || r >= k->rows.in || q < 0 || q >= k->columns.in)
                continue;
            const real *x = s->x + ((c * k->rows.in + r) * k->columns.in + q) * k->width;
            ptrdiff_t at = ((o * k->rows.out + row) * k->columns.out + column) * k->width;
            for (ptrdiff_t b = 0; b < k->width; b++) {
                s->expected_y[at + b] += (long double)weight_at(k, o, c, i, j) * x[b];
                s->expected_gradient[(o * k->in_channels + c) * TAPS + tap] +=
                    (long double)s->e[at + b] * x[b];
            }
        }
}

static struct lm_axis axis_of(ptrdiff_t in, ptrdiff_t padding, ptrdiff_t step) {
    ptrdiff_t out = in + 2 * padding - 2;
    return (struct lm_axis){.in = in,
                            .out = out,
                            .apart = 1,
                            .count = out,
                            .step = 1,
                            .padding = padding,
                            .taps = 3,
                            .weight_step = step};
}

static void init_correlation(struct setup *s, const struct test_case *c, bool mirrored) {
    s->k = (struct lm_correlation){.rows = axis_of(c->rows, c->row_padding, 3),
                                   .columns = axis_of(c->columns, c->column_padding, 1),
                                   .in_channels = c->in_channels,
                                   .out_channels = c->out_channels,
                                   .width = c->width,
                                   .weight_in = TAPS,
                                   .weight_out = c->in_channels * TAPS};
    if (mirrored) {
        s->k.rows.weight_step = -3;
        s->k.columns.weight_step = -1;
        s->k.weight_in = c->out_channels * TAPS;
        s->k.weight_out = TAPS;
    }
}

static void set_up(struct setup *s, const struct test_case *c, bool mirrored) {
    memset(s, 0, sizeof *s);
    init_correlation(s, c, mirrored);
    s->x_size = c->in_channels * c->rows * c->columns * c->width;
    s->y_size = c->out_channels * s->k.rows.out * s->k.columns.out * c->width;
    s->n = c->out_channels * c->in_channels * TAPS;
    s->x = made_up((size_t)s->x_size, 1, 1);
    s->y = made_up((size_t)s->y_size, 1, 2);
    s->e = made_up((size_t)s->y_size, 1, 3);
    s->weight = made_up((size_t)s->n, 1, 4);
    s->bias = made_up((size_t)c->out_channels, 1, 5);
    s->gradient = made_up((size_t)s->n, 1, 6);
    s->before = made_up((size_t)s->n, 1, 6);
    s->expected_y = lm_allocate((size_t)s->y_size, sizeof *s->expected_y);
    s->expected_gradient = lm_allocate((size_t)s->n, sizeof *s->expected_gradient);
    s->k.weight = s->weight + (mirrored ? TAPS - 1 : 0);
    s->k.in = s->x;
    s->k.out = s->y;
    for (ptrdiff_t o = 0; o < c->out_channels; o++)
        for (ptrdiff_t i = 0; i < c->in_channels; i++)
            for (ptrdiff_t tap = 0; tap < TAPS; tap++)
                add_tap(s, o, i, tap);
}

static void tear_down(struct setup *s) {
    void *arrays[] = {s->x,        s->y,      s->e,          s->weight,           s->bias,
                      s->gradient, s->before, s->expected_y, s->expected_gradient};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        lm_free(arrays[i]);
}

/* The root of the mean square. */
static double size_of(ptrdiff_t n, const long double *numbers) {
    long double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        sum += numbers[i] * numbers[i];
    return (double)sqrtl(sum / n);
}

/* How far s->y is from what it should be, relative to that. */
static double distance(const struct setup *s, bool biased) {
    long double *off = lm_allocate((size_t)s->y_size, sizeof *off);
    for (ptrdiff_t i = 0; i < s->y_size; i++)
        off[i] = s->y[i] - s->expected_y[i] -
                 (biased ? s->bias[i / (s->y_size / s->k.out_channels)] : 0);
    double far = size_of(s->y_size, off) / size_of(s->y_size, s->expected_y);
    lm_free(off);
    return far;
}

static const double unit = sizeof(real) == sizeof(float) ? 0x1p-24 : 0x1p-53;

static void check_outputs(struct setup *s, bool biased,
                          void (*correlate)(const struct lm_correlation *)) {
    spoil((size_t)s->y_size, s->y);
    lm_correlate(&s->k);
    double plain = distance(s, biased);
    spoil((size_t)s->y_size, s->y);
    correlate(&s->k);
    double met = distance(s, biased);
    ck_assert_msg(met <= 2 * plain + 16 * unit, "%.3g off, plain sums %.3g", met, plain);
}

/* With and without biases, weights either way round. */
START_TEST(outputs_are_plain_sums) {
    struct setup s;
    for (int mirrored = 0; mirrored < 2; mirrored++) {
        set_up(&s, &cases[_i], mirrored);
        for (int biased = 0; biased < 2; biased++) {
            s.k.bias = biased ? s.bias : NULL;
            check_outputs(&s, biased, lm_winograd_correlate);
            if (lm_winograd1d_fits(&s.k))
                check_outputs(&s, biased, lm_winograd1d_correlate);
        }
        tear_down(&s);
    }
}
END_TEST

/* What goes along rows, unless sums are to be plain. */
START_TEST(operators_are_plain_where_asked) {
    const char *option[LM_MAX_OPTIONS] = {"5", "3"};
    const struct lm_shape in = {3, {10, 13, 13}};
    struct lm_operator op;
    struct lm_status status;
    const struct test_case c = {10, 5, 13, 13, 0, 0, 48};
    struct setup s;
    set_up(&s, &c, false);
    ck_assert(lm_operator_init(&op, &lm_conv2d, option, 1, &in, &status));
    real *parameters = made_up((size_t)s.n + 5, 1, 4);
    real *y = lm_allocate((size_t)s.y_size, sizeof *y);
    s.k.weight = parameters;
    s.k.bias = parameters + s.n;
    for (int plain = 0; plain < 2; plain++) {
        op.plain = plain;
        lm_conv2d.forward(&op, parameters, (const real *const[]){s.x}, (size_t)s.k.width, y,
                          NULL);
        for (int along = 0; along < 2; along++) {
            (along ? lm_winograd1d_correlate : lm_correlate)(&s.k);
            bool same = memcmp(y, s.y, (size_t)s.y_size * sizeof *y) == 0;
            ck_assert_int_eq(same, plain != along);
        }
    }
    lm_free(parameters);
    lm_free(y);
    tear_down(&s);
}
END_TEST

/* Added to what the gradient holds. */
START_TEST(gradients_are_plain_sums) {
    struct setup s;
    set_up(&s, &cases[_i], false);
    lm_winograd_gradient(&s.k, s.e, s.gradient);
    double size = size_of(s.n, s.expected_gradient), terms = (double)(s.y_size * 9) / 16;
    for (ptrdiff_t i = 0; i < s.n; i++)
        CHECK_EACH(fabsl(s.gradient[i] - s.before[i] - s.expected_gradient[i]) <=
                       8 * unit * sqrt(terms) * (size + 1),
                   "case %d, weight %td: %.9g, expected %.9Lg", _i, i,
                   (double)(s.gradient[i] - s.before[i]), s.expected_gradient[i]);
    tear_down(&s);
}
END_TEST

/* Rows of the outputs by themselves, wherever they begin. */
START_TEST(bands_have_the_bits_of_all) {
    struct setup s;
    set_up(&s, &cases[_i], false);
    lm_winograd_correlate(&s.k);
    ptrdiff_t rows = s.k.rows.out, line = s.k.columns.out * s.k.width;
    real *all = s.y, *part = lm_allocate((size_t)s.y_size, sizeof *part);
    for (ptrdiff_t first = 0; first < rows; first++)
        for (ptrdiff_t count = 1; count <= rows - first; count++) {
            struct lm_correlation band = s.k;
            band.rows.origin = first;
            band.rows.out = band.rows.count = count;
            band.rows.padding -= first;
            band.out = part;
            lm_winograd_correlate(&band);
            for (ptrdiff_t o = 0; o < s.k.out_channels; o++)
                ck_assert_msg(memcmp(part + o * count * line, all + (o * rows + first) * line,
                                     (size_t)(count * line) * sizeof *part) == 0,
                              "case %d: rows %td + %td differ", _i, first, count);
        }
    lm_free(part);
    tear_down(&s);
}
END_TEST

int main(void) {
    const struct repeated_test tests[] = {{outputs_are_plain_sums, CASES},
                                          {operators_are_plain_where_asked, 1},
                                          {gradients_are_plain_sums, CASES},
                                          {bands_have_the_bits_of_all, CASES},
                                          {NULL, 0}};
    return run_repeated_tests("winograd", false, tests);
}
