/* conv2d of many shapes against plain sums: kernels that overhang their images on all sides,
 * strides beyond kernels, one channel and many. The shapes are the same in every run. */
#include "memory.h"
#include "operators/operators.h"
#include "plain_chain.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = LM_LANE, SHAPES = 150, OPTIONS = 4 };
static const double tolerance = sizeof(real) == sizeof(float) ? 2e-5 : 1e-12;

/* One convolution and what it works on; arrays are (units, WIDTH) but for parameters. */
struct setup {
    struct lm_operator op;
    char name[LM_OPERATOR_TEXT + LM_SHAPE_TEXT + 8];
    size_t in, out, n; /* reals; parameters */
    real *x, *dx, *e, *parameters;
};

/* What plain sums give, from x, from e, and from both. */
struct plain {
    double *y, *ex, *gradient;
};

/* Draw number k of shape s, from..to. */
static int draw(int s, int k, int from, int to) {
    double u = lm_random_uniform(1, LM_STREAM_MADE_UP, (uint64_t)s, (uint64_t)k);
    return from + (int)(u * (to - from + 1));
}

/* False if no window fits. */
static bool set_up(struct setup *s, int number) {
    struct lm_status status;
    char text[OPTIONS][32], shape[LM_SHAPE_TEXT], op[LM_OPERATOR_TEXT];
    const char *option[LM_MAX_OPTIONS] = {text[0], text[1], text[2], text[3]};
    bool square = draw(number, 0, 0, 2) == 0, steps = draw(number, 1, 0, 2) == 0;
    int rows = square ? 3 : draw(number, 2, 1, 7), columns = square ? 3 : draw(number, 3, 1, 7);
    snprintf(text[0], sizeof text[0], "%d", draw(number, 4, 1, 14));
    snprintf(text[1], sizeof text[1], "%dx%d", rows, columns);
    snprintf(text[2], sizeof text[2], "%dx%d", steps ? draw(number, 5, 1, 5) : 1,
             steps ? draw(number, 6, 1, 5) : 1);
    snprintf(text[3], sizeof text[3], "%dx%d", draw(number, 7, 0, 4), draw(number, 8, 0, 4));
    struct lm_shape in = {3,
                          {(size_t)(draw(number, 9, 0, 2) ? draw(number, 10, 1, 12) : 1),
                           (size_t)draw(number, 11, 1, 9), (size_t)draw(number, 12, 1, 9)}};
    if (!lm_operator_init(&s->op, &lm_conv2d, option, 1, &in, &status))
        return false;
    s->op.plain = draw(number, 13, 0, 1);
    snprintf(s->name, sizeof s->name, "%s of %s", lm_operator_text(&s->op, op),
             lm_shape_text(&in, shape));
    s->in = lm_shape_units(&in) * WIDTH;
    s->out = lm_shape_units(&s->op.out) * WIDTH;
    s->n = lm_operator_parameters(&s->op);
    s->x = made_up(s->in, 1, 4 * (unsigned)number);
    s->dx = made_up(s->in, 1, 4 * (unsigned)number + 1);
    s->e = made_up(s->out, 1, 4 * (unsigned)number + 2);
    s->parameters = made_up(s->n, 1, 4 * (unsigned)number + 3);
    return true;
}

static void tear_down(struct setup *s) {
    lm_free(s->x);
    lm_free(s->dx);
    lm_free(s->e);
    lm_free(s->parameters);
}

/* What one weight adds where it meets an input. */
static void meet(const struct setup *s, const real *x, size_t weight, size_t in, size_t out,
                 const struct plain *plain) {
    for (size_t b = 0; b < WIDTH; b++) {
        double w = s->parameters[weight], value = x[in * WIDTH + b], e = s->e[out * WIDTH + b];
        plain->y[out * WIDTH + b] += w * value;
        plain->ex[in * WIDTH + b] += w * e;
        plain->gradient[weight] += value * e;
    }
}

/* An output of the window at (row, column) meets all channels. */
static void meet_window(const struct setup *s, const real *x, size_t o, size_t row,
                        size_t column, const struct plain *plain) {
    const struct lm_operator *op = &s->op;
    const size_t *size = op->option[1], *stride = op->option[2], *padding = op->option[3];
    const size_t *in = op->in[0].extent;
    size_t out = (o * op->out.extent[1] + row) * op->out.extent[2] + column;
    for (size_t c = 0; c < in[0]; c++)
        for (size_t i = 0; i < size[0]; i++)
            for (size_t j = 0; j < size[1]; j++) {
                size_t y = row * stride[0] + i - padding[0]; /* before the image: huge */
                size_t z = column * stride[1] + j - padding[1];
                if (y < in[1] && z < in[2])
                    meet(s, x, ((o * in[0] + c) * size[0] + i) * size[1] + j,
                         (c * in[1] + y) * in[2] + z, out, plain);
            }
}

/* Plain sums at x, with biases if so. Free with drop. */
static struct plain sum(const struct setup *s, const real *x, bool biases) {
    struct plain plain = {.y = lm_allocate(s->out, sizeof(double)),
                          .ex = lm_allocate(s->in, sizeof(double)),
                          .gradient = lm_allocate(s->n, sizeof(double))};
    const size_t *out = s->op.out.extent;
    for (size_t o = 0; o < out[0]; o++)
        for (size_t row = 0; row < out[1]; row++)
            for (size_t column = 0; column < out[2]; column++)
                meet_window(s, x, o, row, column, &plain);
    for (size_t i = 0; i < s->out; i++) {
        size_t bias = s->op.n_weights + i / (out[1] * out[2] * WIDTH);
        plain.y[i] += biases ? s->parameters[bias] : 0;
        plain.gradient[bias] += s->e[i];
    }
    return plain;
}

static void drop(struct plain *plain) {
    lm_free(plain->y);
    lm_free(plain->ex);
    lm_free(plain->gradient);
}

static void expect(const struct setup *s, const char *what, size_t n, const double *plain,
                   const real *found) {
    double scale = 1;
    for (size_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(plain[i]));
    for (size_t i = 0; i < n; i++)
        CHECK_EACH(fabs(plain[i] - found[i]) <= tolerance * scale, "%s: %s %zu is %g, not %g",
                   s->name, what, i, (double)found[i], plain[i]);
}

/* Check all shapes that fit; how many checks were made, by the sum of what `check` returns. */
static int check_shapes(int (*check)(const struct setup *s)) {
    int checks = 0;
    for (int number = 0; number < SHAPES; number++) {
        struct setup s;
        if (set_up(&s, number)) {
            checks += check(&s);
            tear_down(&s);
        }
    }
    return checks;
}

static int check_sums(const struct setup *s) {
    real *y = lm_allocate(s->out, sizeof *y), *dy = lm_allocate(s->out, sizeof *dy);
    real *ex = lm_allocate(s->in, sizeof *ex), *gradient = lm_allocate(s->n, sizeof *gradient);
    const real *const x[] = {s->x}, *const dx[] = {s->dx};
    struct plain plain = sum(s, s->x, true), change = sum(s, s->dx, false);
    lm_conv2d.forward(&s->op, s->parameters, x, WIDTH, y, NULL);
    lm_conv2d.difference(&s->op, s->parameters, x, y, dx, WIDTH, dy, NULL);
    lm_conv2d.pull_input(&s->op, s->parameters, NULL, s->e, WIDTH, (real *const[]){ex});
    lm_conv2d.pull_parameters(&s->op, s->x, s->e, WIDTH, false, gradient);
    expect(s, "output", s->out, plain.y, y);
    expect(s, "change of output", s->out, change.y, dy);
    expect(s, "error of input", s->in, plain.ex, ex);
    expect(s, "gradient", s->n, plain.gradient, gradient);
    lm_free(y);
    lm_free(dy);
    lm_free(ex);
    lm_free(gradient);
    drop(&plain);
    drop(&change);
    return 1;
}

START_TEST(convolutions_are_plain_sums) {
    ck_assert_int_ge(check_shapes(check_sums), SHAPES / 2);
}
END_TEST

static int check_relaxing(const struct setup *s) {
    if (!s->op.relaxes)
        return 0;
    real *ex = lm_allocate(s->in, sizeof *ex);
    lm_conv2d.pull_input(&s->op, s->parameters, NULL, s->e, WIDTH, (real *const[]){ex});
    for (int by_error = 0; by_error < 2; by_error++) {
        real *at_once = made_up(s->in, 2, 1), *after = made_up(s->in, 2, 1);
        const real *error = by_error ? s->dx : NULL;
        const struct lm_relaxation one = lm_relaxation_of((real)0.1, error, at_once);
        const struct lm_relaxation other = lm_relaxation_of((real)0.1, error, after);
        lm_conv2d.relax_input(&s->op, s->parameters, NULL, s->e, WIDTH, &one);
        lm_relax(&other, s->in, ex);
        ck_assert_msg(memcmp(at_once, after, s->in * sizeof(real)) == 0, "%s", s->name);
        lm_free(at_once);
        lm_free(after);
    }
    lm_free(ex);
    return 1;
}

/* Whether values relax as the errors are pulled back or afterwards is the same to the bit. */
START_TEST(relaxing_is_pulling_back_and_moving) {
    ck_assert_int_ge(check_shapes(check_relaxing), SHAPES / 4);
}
END_TEST

int main(void) {
    return RUN_TESTS("conv2d", convolutions_are_plain_sums,
                     relaxing_is_pulling_back_and_moving);
}
