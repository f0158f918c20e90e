/* Band: an operator restricted to some channels and some rows gives the bits of that part of
 * the whole, and bands together the whole gradient. */
#include "memory.h"
#include "operators/operators.h"
#include "plain_chain.h"
#include "runner.h"

#include <math.h>
#include <string.h>

static const struct test_case {
    struct lm_operator_spec op;
    struct lm_shape in;
} cases[] = {
    {{&lm_conv2d, {"5", "3"}}, {3, {10, 7, 6}}},
    {{&lm_conv2d, {"13", "5", "1", "2"}}, {3, {7, 8, 9}}},
    {{&lm_conv2d, {"13", "3", "1", "1"}}, {3, {5, 9, 11}}}, /* four columns at a time */
    {{&lm_conv2d, {"6", "3", "1", "2"}}, {3, {8, 4, 5}}},
    {{&lm_conv2d, {"33", "3", "1", "1"}}, {3, {32, 7, 6}}}, /* in tiles of 4 x 4 outputs */
    {{&lm_conv2d, {"7", "5x3", "2x1", "4x1"}}, {3, {3, 9, 7}}},
    {{&lm_conv2d, {"6", "3x2", "3x1", "2x1"}}, {3, {3, 11, 4}}},
    {{&lm_conv2d, {"8", "2", "3", "0"}}, {3, {4, 10, 11}}},
    {{&lm_conv2d, {"2", "4", "2x3", "3"}}, {3, {2, 3, 2}}}, /* first and last rows: padding */
    {{&lm_conv2d, {"9", "1"}}, {3, {170, 4, 3}}},
    {{&lm_conv2d, {"3", "3x1", "1", "1x0"}}, {3, {2, 5, 70}}},
    {{&lm_linear, {"1"}}, {1, {1, 1, 1}}},
    {{&lm_linear, {"31"}}, {1, {50, 1, 1}}},
    {{&lm_linear, {"14"}}, {1, {700, 1, 1}}},
    {{&lm_relu, {0}}, {3, {4, 5, 3}}},
    {{&lm_tanh, {0}}, {3, {4, 5, 3}}},
    {{&lm_sigmoid, {0}}, {1, {11, 1, 1}}},
    {{&lm_maxpool2d, {"2"}}, {3, {5, 9, 7}}},
    {{&lm_maxpool2d, {"3x2", "3x1"}}, {3, {2, 12, 5}}},
    {{&lm_avgpool2d, {"2x3"}}, {3, {5, 8, 7}}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* From one height and width of bands to the next, in halves of them. Sanitizers, which take a
 * long time for each of the thousand rooms of convolutions in tiles, look at fewer. */
#ifdef __SANITIZE_ADDRESS__
enum { TALLER = 1, WIDER = 4 };
static const size_t widths[] = {16, 48};
#else
enum { TALLER = 0, WIDER = 1 };
static const size_t widths[] = {16, 32, 48};
#endif
enum { WIDTHS = sizeof widths / sizeof *widths };

/* The whole operator with numbers, its gradient, and the one that bands make together. */
struct setup {
    struct plain_chain plain; /* of one operator */
    const struct lm_operator *op;
    real *x, *dx, *e, *ex, *parameters, *expected, *gradient;
};

static void set_up(struct setup *s, const struct test_case *c, size_t width) {
    plain_chain_init(&s->plain, 1, &c->op, 1, &c->in, width);
    s->op = &s->plain.op[0];
    size_t in = lm_shape_units(&c->in) * width;
    s->x = made_up(in, 1, 1);
    s->dx = made_up(in, 1, 2);
    s->e = made_up(plain_chain_size(&s->plain, 0), 1, 3);
    s->ex = lm_allocate(in, sizeof *s->ex);
    s->parameters = made_up(lm_operator_parameters(s->op), 1, 4);
    s->expected = lm_allocate(lm_operator_parameters(s->op), sizeof *s->expected);
    s->gradient = lm_allocate(lm_operator_parameters(s->op), sizeof *s->gradient);
    plain_chain_forward(&s->plain, s->parameters, (const real *const *)&s->x);
    plain_chain_difference(&s->plain, (const real *const *)&s->dx);
    plain_chain_pull(&s->plain, s->plain.tape, s->e, s->expected, &s->ex);
}

static void tear_down(struct setup *s) {
    lm_free(s->x);
    lm_free(s->dx);
    lm_free(s->e);
    lm_free(s->ex);
    lm_free(s->parameters);
    lm_free(s->expected);
    lm_free(s->gradient);
    plain_chain_clear(&s->plain);
}

/* Some rows of some channels. */
struct part {
    size_t channel, channels, row, rows;
};

/* A part of an array of shape `whole`, without gaps. */
static real *cut_out(const real *array, const struct lm_shape *whole, struct part part,
                     size_t width) {
    size_t line = whole->extent[2] * width, plane = whole->extent[1] * line;
    real *to = lm_allocate(part.channels * part.rows * line, sizeof *to);
    for (size_t c = 0; c < part.channels; c++)
        memcpy(to + c * part.rows * line, array + (part.channel + c) * plane + part.row * line,
               part.rows * line * sizeof *to);
    return to;
}

/* Whether an array of the band holds the part of the whole one. */
static void expect_part(const struct setup *s, const real *met, const real *array,
                        const struct lm_shape *shape, struct part part, const char *what) {
    real *expected = cut_out(array, shape, part, s->plain.width);
    size_t n = part.channels * part.rows * shape->extent[2] * s->plain.width;
    ck_assert_msg(memcmp(met, expected, n * sizeof *met) == 0,
                  "%s, width %zu: %s of channels %zu + %zu, rows %zu + %zu", s->op->kind->name,
                  s->plain.width, what, part.channel, part.channels, part.row, part.rows);
    lm_free(expected);
}

/* x of a local operator is restricted too, and its pull back. */
static void expect_band(struct setup *s, struct part part) {
    const struct lm_shape *out = &s->op->out, *in = &s->op->in[0];
    const size_t width = s->plain.width, times = s->op->rows_per_row;
    const struct part below = {part.channel, part.channels, part.row * times,
                               part.rows * times};
    struct lm_operator band;
    lm_operator_band(s->op, part.channel, part.channels, part.row, part.rows, &band);
    size_t size = lm_shape_units(&band.out) * width;
    real *x = times ? cut_out(s->x, in, below, width) : NULL;
    real *dx = times ? cut_out(s->dx, in, below, width) : NULL;
    real *ex = lm_allocate(lm_shape_units(&band.in[0]) * width, sizeof *ex);
    real *e = cut_out(s->e, out, part, width), *y = lm_allocate(size, sizeof *y);
    real *dy = lm_allocate(size, sizeof *dy), *tape = lm_allocate(size, sizeof *tape);
    const real *at = times ? x : s->x, *change = times ? dx : s->dx;
    ck_assert(band.out.extent[0] == part.channels && band.out.extent[1] == part.rows);
    band.kind->forward(&band, s->parameters, &at, width, y, tape);
    expect_part(s, y, s->plain.y[0], out, part, "y");
    if (band.tape)
        expect_part(s, tape, s->plain.tape[0], out, part, "tape");
    if (times)
        band.kind->pull_input(&band, NULL, tape, e, width, &ex);
    if (times)
        expect_part(s, ex, s->ex, in, below, "ex");
    band.kind->difference(&band, s->parameters, &at, y, &change, width, dy, tape);
    expect_part(s, dy, s->plain.dy[0], out, part, "dy");
    if (band.tape)
        expect_part(s, tape, s->plain.moved_tape[0], out, part, "tape at x + dx");
    if (lm_operator_parameters(&band))
        band.kind->pull_parameters(&band, s->x, e, width, part.row > 0, s->gradient);
    real *arrays[] = {x, dx, ex, e, y, dy, tape};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        lm_free(arrays[i]);
}

/* All bands of so many channels and rows; the last ones may have fewer. */
static void expect_bands(struct setup *s, size_t channels, size_t rows) {
    const double tolerance = sizeof(real) == 4 ? 1e-5 : 2e-14;
    const size_t *out = s->op->out.extent;
    size_t n = lm_operator_parameters(s->op);
    const real *expected = s->expected;
    spoil(n, s->gradient);
    for (size_t row = 0; row < out[1]; row += rows)
        for (size_t channel = 0; channel < out[0]; channel += channels) {
            struct part part = {channel, channels, row, rows};
            part.channels = channels < out[0] - channel ? channels : out[0] - channel;
            part.rows = rows < out[1] - row ? rows : out[1] - row;
            expect_band(s, part);
        }
    double largest = largest_magnitude(n, expected);
    for (size_t i = 0; i < n; i++)
        CHECK_EACH(fabs((double)(s->gradient[i] - expected[i])) <= tolerance * largest,
                   "%s, width %zu: gradient %zu of bands of %zu, %zu is %g, not %g",
                   s->op->kind->name, s->plain.width, i, channels, rows, (double)s->gradient[i],
                   (double)expected[i]);
}

START_TEST(bands_are_parts_of_the_whole) {
    for (int i = 0; i < CASES * WIDTHS; i++) {
        struct setup s;
        set_up(&s, &cases[i / WIDTHS], widths[i % WIDTHS]);
        const size_t *out = s.op->out.extent;
        ck_assert(s.op->kind->bands || s.op->rows_per_row);
        for (size_t channels = 1; channels <= out[0]; channels += 1 + channels * WIDER / 2)
            for (size_t rows = 1; rows <= out[1]; rows += 1 + rows * TALLER / 2)
                expect_bands(&s, channels, rows);
        expect_bands(&s, out[0], out[1]);
        tear_down(&s);
    }
}
END_TEST

/* What needs other channels or rows as well is neither. */
START_TEST(others_have_no_bands) {
    const struct test_case others[] = {{{&lm_maxpool2d, {"3", "2"}}, {3, {2, 9, 9}}},
                                       {{&lm_avgpool2d, {"2", "3"}}, {3, {2, 9, 9}}},
                                       {{&lm_flatten, {0}}, {3, {2, 9, 9}}},
                                       {{&lm_add_parents, {0}}, {3, {2, 9, 9}}},
                                       {{&lm_concat, {0}}, {3, {2, 9, 9}}}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct lm_operator op;
        struct lm_status status;
        ck_assert(lm_operator_init(&op, others[i].op.kind, others[i].op.option, 1,
                                   &others[i].in, &status));
        ck_assert(!op.kind->bands && op.rows_per_row == 0);
    }
}
END_TEST

int main(void) {
    return RUN_TESTS("band", bands_are_parts_of_the_whole, others_have_no_bands);
}
