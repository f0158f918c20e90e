/* Operators: all kinds against plain loops in long double, in values, changes and gradients. */
#include "plain_operators.h"
#include "runner.h"

#include <float.h>
#include <stdint.h>
#include <stdlib.h>

enum { IN = 3, PADDING_INPUTS = 3 };

struct test_case {
    const char *kind;
    const char *option[LM_MAX_OPTIONS];
    struct lm_shape in[IN]; /* ended by rank 0 */
};

#define IMAGE(channels, rows, columns)                                                         \
    {                                                                                          \
        3, {                                                                                   \
            channels, rows, columns                                                            \
        }                                                                                      \
    }
#define VECTOR(units)                                                                          \
    {                                                                                          \
        1, {                                                                                   \
            units, 1, 1                                                                        \
        }                                                                                      \
    }

static const struct test_case cases[] = {
    {"linear", {"1"}, {VECTOR(1)}},
    {"linear", {"7"}, {VECTOR(13)}},
    {"linear", {"30"}, {VECTOR(50)}},
    {"linear", {"3"}, {VECTOR(1024)}}, /* rows of weights that meet in a cache */
    {"conv2d", {"1", "1"}, {IMAGE(1, 1, 1)}},
    {"conv2d", {"5", "3"}, {IMAGE(10, 7, 6)}},
    {"conv2d", {"7", "2x3"}, {IMAGE(1, 5, 6)}},
    {"conv2d", {"16", "3", "1", "1x2"}, {IMAGE(1, 4, 5)}}, /* in pairs of columns */
    {"conv2d", {"13", "3x1", NULL, "1x0"}, {IMAGE(2, 4, 5)}},
    {"conv2d", {"2", "3", "2", "1"}, {IMAGE(7, 6, 7)}},
    {"conv2d", {"6", "3x2", "3x1", "2x1"}, {IMAGE(3, 5, 4)}},
    {"conv2d", {"8", "2", "3", "0"}, {IMAGE(4, 7, 8)}},
    {"conv2d", {"3", "2", "1", "3"}, {IMAGE(5, 2, 3)}},
    {"conv2d", {"2", "4", "2x3", "3"}, {IMAGE(2, 1, 2)}},
    {"conv2d", {"5", "5", "1", "2"}, {IMAGE(13, 6, 5)}},
    {"conv2d", {"2", "1x3"}, {IMAGE(1, 1, 70)}},
    {"conv2d", {"12", "1"}, {IMAGE(170, 2, 2)}},
    {"conv2d", {"2", "10x10", "1", "1"}, {IMAGE(1, 10, 9)}}, /* taps in several blocks */
    {"conv2d", {"1", "1x99"}, {IMAGE(1, 1, 100)}},
    {"conv2d", {"19", "1", "1", "0"}, {IMAGE(97, 9, 2)}}, /* copied inputs, some rows at once */
    {"conv2d", {"19", "2", "2", "1"}, {IMAGE(2, 3, 4)}},
    {"conv2d", {"19", "1"}, {IMAGE(96, 1, 17)}},         /* at width 32 too many to copy */
    {"conv2d", {"26", "3", "1", "1"}, {IMAGE(4, 3, 7)}}, /* changes four columns at a time */
    {"conv2d", {"4", "3", "1", "2"}, {IMAGE(10, 1, 3)}},
    {"conv2d", {"7", "3", "1", "3x4"}, {IMAGE(5, 2, 6)}},
    {"conv2d", {"5", "3", "1", "5x0"}, {IMAGE(6, 1, 10)}},
    {"conv2d", {"10", "3"}, {IMAGE(4, 13, 13)}},
    {"conv2d", {"32", "3"}, {IMAGE(32, 8, 8)}}, /* in tiles of 4 x 4 outputs; so is the next */
    {"conv2d", {"32", "3", "1", "3"}, {IMAGE(33, 2, 2)}},
    {"conv2d", {"32", "3"}, {IMAGE(33, 7, 8)}}, /* too few outputs for that */
    {"maxpool2d", {"2"}, {IMAGE(5, 6, 6)}},
    {"maxpool2d", {"2x3", "1x2"}, {IMAGE(1, 5, 8)}},
    {"maxpool2d", {"3", "2"}, {IMAGE(2, 7, 8)}},
    {"maxpool2d", {"1", "3"}, {IMAGE(2, 5, 4)}},
    {"avgpool2d", {"2"}, {IMAGE(5, 6, 6)}},
    {"avgpool2d", {"2x3", "1x2"}, {IMAGE(1, 5, 8)}},
    {"avgpool2d", {"3", "4"}, {IMAGE(2, 7, 8)}},
    {"relu", {NULL}, {IMAGE(2, 3, 5)}},
    {"tanh", {NULL}, {IMAGE(2, 3, 5)}},
    {"sigmoid", {NULL}, {VECTOR(31)}},
    {"flatten", {NULL}, {IMAGE(2, 3, 5)}},
    {"flatten", {NULL}, {VECTOR(4)}},
    {"add", {NULL}, {VECTOR(7)}},
    {"add", {NULL}, {IMAGE(2, 3, 5), IMAGE(2, 3, 5), IMAGE(2, 3, 5)}},
    {"concat", {NULL}, {IMAGE(2, 3, 5), IMAGE(1, 3, 5), IMAGE(4, 3, 5)}},
    {"concat", {NULL}, {VECTOR(3), VECTOR(5)}},
};
enum { CASES = sizeof cases / sizeof *cases };

static const size_t widths[] = {16, 32, 48};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* Largest error allowed, relative to the largest number of an array. */
static const long double tolerance = sizeof(real) == sizeof(float) ? 1e-5L : 1e-12L;

/* An operator with numbers: f at x, its change when x moves by dx, and an error at f. v is a
 * direction to differentiate along. */
struct setup {
    struct lm_operator op;
    size_t width;
    real *x[IN], *dx[IN], *v[IN], *ex[IN];
    real *y, *dy, *e, *tape, *moved_tape;
    real *parameters, *parameter_v, *gradient;
    char name[LM_OPERATOR_TEXT];
};

static uint64_t random_state;

/* Uniform in [-1, 1]. */
static real draw(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (real)((double)(random_state >> 11) / (double)(UINT64_C(1) << 52) - 1);
}

/* n random numbers, in a block of exactly that size. */
static real *draw_array(size_t n) {
    size_t bytes = (n * sizeof(real) + 63) / 64 * 64;
    real *array = aligned_alloc(64, bytes ? bytes : 64);
    for (size_t i = 0; i < n; i++)
        array[i] = draw();
    return array;
}

static void fill(size_t n, real value, real *array) {
    for (size_t i = 0; i < n; i++)
        array[i] = value;
}

static size_t in_size(const struct setup *s, int k) {
    return lm_shape_units(&s->op.in[k]) * s->width;
}

static size_t out_size(const struct setup *s) {
    return lm_shape_units(&s->op.out) * s->width;
}

static void set_up(struct setup *s, const struct test_case *c, size_t width) {
    struct lm_status status;
    const struct lm_operator_kind *kind = lm_operator_find(c->kind);
    struct lm_shape in[IN];
    int n = 0;
    memcpy(in, c->in, sizeof in);
    while (n < IN && in[n].rank)
        n++;
    random_state = width;
    ck_assert_msg(lm_operator_init(&s->op, kind, c->option, n, in, &status), "%s",
                  status.message);
    s->width = width;
    lm_operator_text(&s->op, s->name);
    for (int k = 0; k < n; k++) {
        s->x[k] = draw_array(in_size(s, k));
        s->dx[k] = draw_array(in_size(s, k));
        s->v[k] = draw_array(in_size(s, k));
        s->ex[k] = draw_array(in_size(s, k));
        fill(in_size(s, k), NAN, s->ex[k]);
    }
    s->y = draw_array(out_size(s));
    s->dy = draw_array(out_size(s));
    fill(out_size(s), NAN, s->y);
    fill(out_size(s), NAN, s->dy);
    s->e = draw_array(out_size(s));
    for (size_t i = 0; i < out_size(s); i++)
        if (i % width >= width - PADDING_INPUTS)
            s->e[i] = 0;
    s->tape = draw_array(s->op.tape * width);
    s->moved_tape = draw_array(s->op.tape * width);
    s->parameters = draw_array(lm_operator_parameters(&s->op));
    s->parameter_v = draw_array(lm_operator_parameters(&s->op));
    s->gradient = draw_array(lm_operator_parameters(&s->op));
}

static void tear_down(struct setup *s) {
    for (int k = 0; k < s->op.n_inputs; k++) {
        real *arrays[] = {s->x[k], s->dx[k], s->v[k], s->ex[k]};
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
            free(arrays[i]);
    }
    real *arrays[] = {s->y,          s->dy,         s->e,           s->tape,
                      s->moved_tape, s->parameters, s->parameter_v, s->gradient};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static void forward(struct setup *s) {
    s->op.kind->forward(&s->op, s->parameters, (const real *const *)s->x, s->width, s->y,
                        s->tape);
}

static void difference(struct setup *s) {
    s->op.kind->difference(&s->op, s->parameters, (const real *const *)s->x, s->y,
                           (const real *const *)s->dx, s->width, s->dy, s->moved_tape);
}

/* y = f(x + a dx + h v) with parameters + h_p v_p. */
static void evaluate(const struct setup *s, long double a, long double h, long double h_p,
                     long double *y) {
    long double *x[IN];
    for (int k = 0; k < s->op.n_inputs; k++) {
        x[k] = malloc(in_size(s, k) * sizeof **x);
        for (size_t i = 0; i < in_size(s, k); i++)
            x[k][i] = s->x[k][i] + a * s->dx[k][i] + h * s->v[k][i];
    }
    size_t n = lm_operator_parameters(&s->op);
    long double *parameters = malloc((n + 1) * sizeof *parameters);
    for (size_t i = 0; i < n; i++)
        parameters[i] = s->parameters[i] + h_p * s->parameter_v[i];
    for (size_t i = 0; i < out_size(s); i++)
        y[i] = reference_unit(&s->op, parameters, x, s->width, i / s->width, i % s->width);
    for (int k = 0; k < s->op.n_inputs; k++)
        free(x[k]);
    free(parameters);
}

/* y(x + a dx + h v, p + h_p v_p) - y(x + b dx - h v, p - h_p v_p), a new array. */
static long double *evaluate_change(const struct setup *s, long double a, long double b,
                                    long double h, long double h_p) {
    size_t n = out_size(s);
    long double *upper = malloc(n * sizeof *upper), *lower = malloc(n * sizeof *lower);
    evaluate(s, a, h, h_p, upper);
    evaluate(s, b, -h, -h_p, lower);
    for (size_t i = 0; i < n; i++)
        upper[i] -= lower[i];
    free(lower);
    return upper;
}

static void check_near(const struct setup *s, const char *what, const real *met,
                       const long double *expected) {
    long double largest = 0;
    for (size_t i = 0; i < out_size(s); i++)
        largest = fmaxl(largest, fabsl(expected[i]));
    for (size_t i = 0; i < out_size(s); i++)
        CHECK_EACH(fabsl(met[i] - expected[i]) <= tolerance * largest,
                   "%s, width %zu, %s[%zu]: %.9Lg, expected %.9Lg", s->name, s->width, what, i,
                   (long double)met[i], expected[i]);
}

START_TEST(test_forward) {
    struct setup s;
    set_up(&s, &cases[_i / WIDTHS], widths[_i % WIDTHS]);
    long double *y = malloc(out_size(&s) * sizeof *y);
    forward(&s);
    evaluate(&s, 0, 0, 0, y);
    check_near(&s, "y", s.y, y);
    free(y);
    tear_down(&s);
}
END_TEST

/* dx as large as x, and 1e-5 times as large: errors are relative to the change itself. */
START_TEST(test_difference) {
    struct setup s;
    set_up(&s, &cases[_i / WIDTHS], widths[_i % WIDTHS]);
    forward(&s);
    for (int tiny = 0; tiny < 2; tiny++) {
        for (int k = 0; tiny && k < s.op.n_inputs; k++)
            for (size_t i = 0; i < in_size(&s, k); i++)
                s.dx[k][i] *= (real)1e-5 * s.x[k][i];
        difference(&s);
        long double *change = evaluate_change(&s, 1, 0, 0, 0);
        check_near(&s, tiny ? "tiny dy" : "dy", s.dy, change);
        free(change);
    }
    tear_down(&s);
}
END_TEST

/* <J^T e, v> against <e, J v> of every input, J v by central differences at x + a dx. */
static void check_pull_input(struct setup *s, const real *tape, long double a) {
    const long double h = 1e-6L;
    s->op.kind->pull_input(&s->op, s->parameters, tape, s->e, s->width, s->ex);
    long double *change = evaluate_change(s, a, a, h, 0);
    for (size_t b = 0; b < s->width; b++) {
        long double met = 0, expected = 0, scale = 0;
        for (size_t i = b; i < out_size(s); i += s->width) {
            expected += s->e[i] * change[i] / (2 * h);
            scale += fabsl(s->e[i] * change[i] / (2 * h));
        }
        for (int k = 0; k < s->op.n_inputs; k++)
            for (size_t i = b; i < in_size(s, k); i += s->width)
                met += (long double)s->ex[k][i] * s->v[k][i];
        CHECK_EACH(fabsl(met - expected) <= fmaxl(tolerance, 1e-9L) * scale,
                   "%s, width %zu, input %zu: pull_input gives %.12Lg, expected %.12Lg",
                   s->name, s->width, b, met, expected);
    }
    free(change);
}

START_TEST(test_pull_input) {
    struct setup s;
    set_up(&s, &cases[_i / WIDTHS], widths[_i % WIDTHS]);
    forward(&s);
    check_pull_input(&s, s.tape, 0);
    difference(&s);
    check_pull_input(&s, s.moved_tape, 1);
    tear_down(&s);
}
END_TEST

/* Values relaxed at once are, to the bit, those that the error pulled back relaxes. */
START_TEST(test_relax_input) {
    struct setup s;
    set_up(&s, &cases[_i / WIDTHS], widths[_i % WIDTHS]);
    forward(&s);
    for (int by_error = 0; s.op.relaxes && by_error < 2; by_error++) {
        const real *error = by_error ? s.x[0] : NULL;
        struct lm_relaxation at_once = lm_relaxation_of((real)0.1, error, s.v[0]);
        struct lm_relaxation behind = lm_relaxation_of((real)0.1, error, s.dx[0]);
        memcpy(s.v[0], s.dx[0], in_size(&s, 0) * sizeof(real));
        s.op.kind->pull_input(&s.op, s.parameters, s.tape, s.e, s.width, s.ex);
        s.op.kind->relax_input(&s.op, s.parameters, s.tape, s.e, s.width, &at_once);
        lm_relax(&behind, in_size(&s, 0), s.ex[0]);
        ck_assert_mem_eq(s.v[0], s.dx[0], in_size(&s, 0) * sizeof(real));
    }
    tear_down(&s);
}
END_TEST

/* Linear layers and convolutions of few taps relax values at once, those in tiles and
 * other kinds do not. */
START_TEST(test_what_relaxes) {
    int relax = 0, wholes = 0;
    for (int i = 0; i < CASES; i++) {
        struct setup s;
        set_up(&s, &cases[i], LM_LANE);
        bool linear = s.op.kind == lm_operator_find("linear");
        bool conv = s.op.kind == lm_operator_find("conv2d");
        ck_assert(linear ? s.op.relaxes : conv || !s.op.relaxes);
        ck_assert(!s.op.whole || !s.op.relaxes);
        relax += conv && s.op.relaxes;
        wholes += s.op.whole;
        tear_down(&s);
    }
    ck_assert(relax > 0 && wholes > 0);
}
END_TEST

/* pull_parameters adds to what gradient holds, and what stands in the padding inputs of x does
 * not matter. */
START_TEST(test_pull_parameters) {
    const long double h = 1e-6L;
    struct setup s;
    set_up(&s, &cases[_i / WIDTHS], widths[_i % WIDTHS]);
    size_t n = lm_operator_parameters(&s.op);
    if (n > 0) {
        real *start = draw_array(n), *again = draw_array(n);
        memcpy(s.gradient, start, n * sizeof *start);
        s.op.kind->pull_parameters(&s.op, s.x[0], s.e, s.width, true, s.gradient);
        long double *change = evaluate_change(&s, 0, 0, 0, h);
        long double met = 0, expected = 0, scale = 0;
        for (size_t i = 0; i < out_size(&s); i++) {
            expected += s.e[i] * change[i] / (2 * h);
            scale += fabsl(s.e[i] * change[i] / (2 * h));
        }
        for (size_t i = 0; i < n; i++)
            met += ((long double)s.gradient[i] - start[i]) * s.parameter_v[i];
        CHECK_EACH(fabsl(met - expected) <= fmaxl(tolerance, 1e-9L) * scale,
                   "%s, width %zu: pull_parameters gives %.12Lg, expected %.12Lg", s.name,
                   s.width, met, expected);
        for (size_t i = 0; i < in_size(&s, 0); i++)
            if (i % s.width >= s.width - PADDING_INPUTS)
                s.x[0][i] = 1000 * draw();
        memcpy(again, start, n * sizeof *start);
        s.op.kind->pull_parameters(&s.op, s.x[0], s.e, s.width, true, again);
        ck_assert_msg(memcmp(again, s.gradient, n * sizeof *again) == 0,
                      "%s: padding inputs change the gradient", s.name);
        free(start);
        free(again);
        free(change);
    }
    tear_down(&s);
}
END_TEST

/* Errors that nobody wants, and parents that do not move. */
START_TEST(test_absent_inputs) {
    struct setup s;
    set_up(&s, &cases[_i], 16);
    forward(&s);
    real *wanted[IN];
    for (int k = 0; k < s.op.n_inputs; k++) {
        wanted[k] = s.ex[k];
        s.ex[k] = k == 1 ? wanted[k] : NULL;
    }
    s.op.kind->pull_input(&s.op, s.parameters, s.tape, s.e, s.width, s.ex);
    for (int k = 0; k < s.op.n_inputs; k++) {
        for (size_t i = 0; k != 1 && i < in_size(&s, k); i++)
            ck_assert(isnan(wanted[k][i]));
        for (size_t i = 0; k == 1 && i < in_size(&s, k); i++)
            ck_assert(isfinite(wanted[k][i]));
        s.ex[k] = wanted[k];
    }
    for (int still = 0; s.op.kind->joins && still < s.op.n_inputs; still++) {
        fill(in_size(&s, still), 0, s.dx[still]);
        real *zero = s.dx[still];
        long double *change = evaluate_change(&s, 1, 0, 0, 0);
        s.dx[still] = NULL;
        difference(&s);
        s.dx[still] = zero;
        check_near(&s, "dy", s.dy, change);
        free(change);
    }
    tear_down(&s);
}
END_TEST

struct mistake {
    struct test_case c;
    const char *words[4]; /* of the message */
};

static const struct mistake mistakes[] = {
    {{"linear", {NULL}, {VECTOR(3)}}, {"linear", "units is missing"}},
    {{"linear", {"0"}, {VECTOR(3)}}, {"linear", "units", "'0'", "from 1 to"}},
    {{"linear", {"3x3"}, {VECTOR(3)}}, {"units", "'3x3'"}},
    {{"linear", {"-1"}, {VECTOR(3)}}, {"units", "'-1'"}},
    {{"linear", {"99999999999999999999"}, {VECTOR(3)}}, {"units", "'99999999999999999999'"}},
    {{"linear", {"3"}, {IMAGE(2, 3, 4)}}, {"linear", "2 x 3 x 4", "flatten"}},
    {{"linear", {"3"}, {VECTOR(3), VECTOR(3)}}, {"linear", "at most 1 input, not 2", "concat"}},
    {{"conv2d", {"3"}, {IMAGE(2, 3, 4)}}, {"conv2d", "kernel is missing"}},
    {{"conv2d", {"3", "3x"}, {IMAGE(2, 3, 4)}}, {"kernel", "'3x'", "rows x columns"}},
    {{"conv2d", {"3", "3", "0"}, {IMAGE(2, 3, 4)}}, {"stride", "'0'", "from 1 to"}},
    {{"conv2d", {"3", "3", "1", "x"}, {IMAGE(2, 3, 4)}}, {"padding", "'x'", "from 0 to"}},
    {{"conv2d", {"3", "3"}, {VECTOR(24)}}, {"conv2d", "24", "channels x rows x columns"}},
    {{"conv2d", {"3", "4x5", "1", "0x1"}, {IMAGE(2, 3, 4)}}, {"4x5", "2 x 3 x 4", "0x1"}},
    {{"conv2d", {"9", "1", "1", "1000000000"}, {IMAGE(2, 3, 4)}}, {"conv2d", "at most 2147"}},
    {{"maxpool2d", {NULL}, {IMAGE(2, 3, 4)}}, {"maxpool2d", "size is missing"}},
    {{"maxpool2d", {"4"}, {IMAGE(2, 3, 4)}}, {"maxpool2d", "4x4", "2 x 3 x 4"}},
    {{"avgpool2d", {"1x5"}, {IMAGE(2, 3, 4)}}, {"avgpool2d", "1x5", "2 x 3 x 4"}},
    {{"avgpool2d", {"2"}, {VECTOR(4)}}, {"avgpool2d", "4", "channels x rows x columns"}},
    {{"relu", {NULL}, {VECTOR(3), VECTOR(3)}}, {"relu", "at most 1 input"}},
    {{"add", {NULL}, {VECTOR(3), VECTOR(4)}}, {"add", "input 2", "shape 4", "shape 3"}},
    {{"add", {NULL}, {IMAGE(2, 3, 4), IMAGE(2, 4, 3)}}, {"2 x 3 x 4", "2 x 4 x 3"}},
    {{"concat", {NULL}, {IMAGE(2, 3, 4), IMAGE(1, 3, 4), IMAGE(2, 3, 5)}},
     {"concat", "input 3", "2 x 3 x 5", "2 x 3 x 4"}},
    {{"concat", {NULL}, {VECTOR(3), IMAGE(3, 1, 1)}}, {"concat", "3 x 1 x 1", "shape 3"}},
};
enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(test_mistakes) {
    const struct mistake *m = &mistakes[_i];
    struct lm_operator op;
    struct lm_status status = {.code = LM_OK};
    int n = 0;
    while (n < IN && m->c.in[n].rank)
        n++;
    ck_assert(
        !lm_operator_init(&op, lm_operator_find(m->c.kind), m->c.option, n, m->c.in, &status));
    ck_assert_int_eq(status.code, LM_CONFIG);
    for (int i = 0; i < 4 && m->words[i]; i++)
        ck_assert_msg(strstr(status.message, m->words[i]), "'%s' is not in '%s'", m->words[i],
                      status.message);
}
END_TEST

START_TEST(test_table) {
    struct lm_operator op;
    struct lm_status status;
    struct lm_shape in = IMAGE(2, 9, 9);
    char text[LM_OPERATOR_TEXT];
    for (int i = 0; lm_operator_kinds()[i]; i++) {
        const struct lm_operator_kind *kind = lm_operator_kinds()[i];
        ck_assert_ptr_eq(lm_operator_find(kind->name), kind);
        ck_assert(kind->summary && kind->infer && kind->forward && kind->difference &&
                  kind->pull_input);
    }
    ck_assert_ptr_null(lm_operator_find("conv3d"));
    const char *conv[LM_MAX_OPTIONS] = {"4", "3x5", NULL, "1"};
    ck_assert(lm_operator_init(&op, lm_operator_find("conv2d"), conv, 1, &in, &status));
    ck_assert_str_eq(lm_operator_text(&op, text),
                     "conv2d channels=4 kernel=3x5 stride=1x1 padding=1x1");
    ck_assert_uint_eq(op.n_weights, 4 * 2 * 3 * 5);
    ck_assert_uint_eq(op.n_biases, 4);
    ck_assert_uint_eq(op.fan_in, 2 * 3 * 5);
    /* 9 rows of 3 taps and 7 columns of 5, but for those on the padding at both ends. */
    ck_assert_double_eq(op.flops, 2. * 4 * 2 * (9 * 3 - 2) * (7 * 5 - 2));
    const char *pool[LM_MAX_OPTIONS] = {"3x2"};
    ck_assert(lm_operator_init(&op, lm_operator_find("maxpool2d"), pool, 1, &in, &status));
    ck_assert_str_eq(lm_operator_text(&op, text), "maxpool2d size=3x2 stride=3x2");
    ck_assert_uint_eq(op.out.extent[1], 3);
    ck_assert_uint_eq(op.out.extent[2], 4);
}
END_TEST

/* Derivative 0 at 0, of -0 as well, and after a move to 0; NaN stays NaN. */
START_TEST(test_relu_at_zero) {
    struct setup s;
    const struct test_case c = {"relu", {NULL}, {VECTOR(4)}};
    set_up(&s, &c, 16);
    const real x[] = {0, (real)-0.0, 2, (real)NAN}, dx[] = {3, 0, -2, 0};
    const real ex[] = {0, 0, 1}, moved_ex[] = {1, 0, 0}, dy[] = {3, 0, -2};
    for (size_t u = 0; u < 4; u++) {
        fill(16, x[u], s.x[0] + 16 * u);
        fill(16, dx[u], s.dx[0] + 16 * u);
    }
    forward(&s);
    difference(&s);
    for (size_t i = 0; i < 48; i++)
        ck_assert(s.dy[i] == dy[i / 16]);
    ck_assert(isnan(s.y[48]) && isnan(s.dy[48]));
    s.op.kind->pull_input(&s.op, NULL, s.tape, s.e, 16, s.ex);
    for (size_t i = 0; i < 48; i++)
        ck_assert(s.ex[0][i] == ex[i / 16] * s.e[i]);
    s.op.kind->pull_input(&s.op, NULL, s.moved_tape, s.e, 16, s.ex);
    for (size_t i = 0; i < 48; i++)
        ck_assert(s.ex[0][i] == moved_ex[i / 16] * s.e[i]);
    tear_down(&s);
}
END_TEST

/* Of kinds that say so the tape is the output, at x and at x + dx, and may be the same array.
 */
START_TEST(test_tape_is_output) {
    struct setup s;
    set_up(&s, &cases[_i], 32);
    if (s.op.kind->tape_is_output) {
        size_t bytes = out_size(&s) * sizeof(real);
        ck_assert(s.op.tape * s.width == out_size(&s));
        forward(&s);
        difference(&s);
        ck_assert(memcmp(s.tape, s.y, bytes) == 0);
        for (size_t i = 0; i < in_size(&s, 0); i++)
            s.x[0][i] += s.dx[0][i];
        fill(out_size(&s), NAN, s.y);
        s.op.kind->forward(&s.op, s.parameters, (const real *const *)s.x, s.width, s.y, s.y);
        ck_assert(memcmp(s.moved_tape, s.y, bytes) == 0);
        forward(&s);
        ck_assert(memcmp(s.moved_tape, s.tape, bytes) == 0);
    }
    tear_down(&s);
}
END_TEST

/* Each row: four units of a 2 x 2 window, how they move, who wins before and after. */
static const struct {
    real x[4], dx[4], winner, moved_winner, dy;
} ties[] = {
    {{1, 1, 1, 1}, {0, 0, 0, 0}, 0, 0, 0},
    {{0, 1, 1, 0}, {0, 0, 1, 0}, 1, 2, 1},
    {{0, 0, 2, 2}, {2, 0, 0, 0}, 2, 0, 0},
    {{1, 0, 0, 1}, {0, 0, 0, (real)1e-30}, 0, 3, (real)1e-30},
    {{-3, -2, -3, -2}, {0, -1, 0, -1}, 1, 0, -1},
    {{1, (real)NAN, 2, 0}, {0, 0, 0, 0}, 1, -1, (real)NAN},
    {{(real)NAN, 5, 2, 0}, {0, 0, 0, 0}, 0, -1, (real)NAN},
    {{-INFINITY, -INFINITY, -INFINITY, -INFINITY}, {0, 0, 0, 0}, 0, -1, (real)NAN},
};
enum { TIES = sizeof ties / sizeof *ties };

START_TEST(test_maxpool_ties) {
    struct setup s;
    const struct test_case c = {"maxpool2d", {"2"}, {IMAGE(1, 2, 2)}};
    set_up(&s, &c, 16);
    for (size_t u = 0; u < 4; u++) {
        fill(16, ties[_i].x[u], s.x[0] + 16 * u);
        fill(16, ties[_i].dx[u], s.dx[0] + 16 * u);
    }
    forward(&s);
    difference(&s);
    for (size_t b = 0; b < 16; b++) {
        real y = ties[_i].x[(size_t)ties[_i].winner];
        ck_assert(s.tape[b] == ties[_i].winner);
        ck_assert(s.y[b] == y || (isnan(s.y[b]) && isnan(y)));
        if (ties[_i].moved_winner >= 0) {
            ck_assert(s.moved_tape[b] == ties[_i].moved_winner);
            ck_assert(s.dy[b] == ties[_i].dy);
        } else {
            ck_assert(isnan(s.dy[b]));
        }
    }
    tear_down(&s);
}
END_TEST

/* Values at which tanh and sigmoid are tried; moves are these and those to the others. */
static const double grid[] = {0,    1e-20, 1e-6, 1e-3, 0.1, 0.3, 0.5, 0.7, 1,    1.3,
                              1.75, 2.5,   3.1,  4.4,  6,   8,   10,  13,  17.5, 20};
enum { GRID = sizeof grid / sizeof *grid, SIGNED = 2 * GRID };

static double grid_value(int i) {
    return i < GRID ? grid[i] : -grid[i - GRID];
}

static void check_ulps(const char *what, double z, double d, real met, long double expected) {
    bool single = sizeof(real) == sizeof(float);
    long double ulp = single ? FLT_EPSILON : DBL_EPSILON, least = single ? FLT_MIN : DBL_MIN;
    ck_assert_msg(fabsl(met - expected) <= fmaxl(8 * ulp * fabsl(expected), least),
                  "%s at %g + %g: %.17Lg, expected %.17Lg", what, z, d, (long double)met,
                  expected);
}

/* One unit, the 16 inputs at z moved by d; `half` 0.5 for sigmoid, which is
 * (1 + tanh(z / 2)) / 2, and 1 for tanh. */
static void check_tanh(struct setup *s, double z, double d, long double half) {
    fill(16, (real)z, s->x[0]);
    fill(16, (real)d, s->dx[0]);
    forward(s);
    difference(s);
    long double x = half * s->x[0][0], dx = half * s->dx[0][0];
    long double moved = half * (real)(s->x[0][0] + s->dx[0][0]);
    long double y = half < 1 ? 1 / (1 + expl(-2 * x)) : tanhl(x);
    check_ulps("value", z, d, s->y[0], y);
    check_ulps("derivative", z, d, s->tape[0], half * half / coshl(x) / coshl(x));
    check_ulps("moved derivative", z, d, s->moved_tape[0],
               half * half / coshl(moved) / coshl(moved));
    check_ulps("change", z, d, s->dy[0], half * sinhl(dx) / coshl(x) / coshl(x + dx));
}

START_TEST(test_tanh_grid) {
    const struct test_case c[] = {{"tanh", {NULL}, {VECTOR(1)}},
                                  {"sigmoid", {NULL}, {VECTOR(1)}}};
    struct setup s;
    set_up(&s, &c[_i], 16);
    for (int i = 0; i < SIGNED; i++)
        for (int j = 0; j < SIGNED; j++) {
            long double half = _i ? 0.5L : 1;
            check_tanh(&s, grid_value(i), grid_value(j), half);
            check_tanh(&s, grid_value(i), grid_value(j) - grid_value(i), half);
            check_tanh(&s, grid_value(i), 1e-5 * grid_value(j), half);
        }
    const double far[][2] = {{500, 1}, {-500, 1}, {500, -1000}, {-500, 1000}, {0, 2000}};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        fill(16, (real)far[i][0], s.x[0]);
        fill(16, (real)far[i][1], s.dx[0]);
        forward(&s);
        difference(&s);
        double change = tanh(far[i][0] + far[i][1]) - tanh(far[i][0]);
        ck_assert(fabs((double)s.dy[0] - (_i ? change / 2 : change)) <= 1e-30);
    }
    fill(16, NAN, s.x[0]);
    forward(&s);
    difference(&s);
    ck_assert(isnan(s.y[0]) && isnan(s.tape[0]) && isnan(s.dy[0]));
    tear_down(&s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("operator");
    TCase *tests = tcase_create("operator");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, test_table);
    tcase_add_loop_test(tests, test_mistakes, 0, MISTAKES);
    tcase_add_loop_test(tests, test_forward, 0, CASES * WIDTHS);
    tcase_add_loop_test(tests, test_difference, 0, CASES * WIDTHS);
    tcase_add_loop_test(tests, test_pull_input, 0, CASES * WIDTHS);
    tcase_add_test(tests, test_what_relaxes);
    tcase_add_loop_test(tests, test_relax_input, 0, CASES * WIDTHS);
    tcase_add_loop_test(tests, test_pull_parameters, 0, CASES * WIDTHS);
    tcase_add_loop_test(tests, test_absent_inputs, 0, CASES);
    tcase_add_test(tests, test_relu_at_zero);
    tcase_add_loop_test(tests, test_tape_is_output, 0, CASES);
    tcase_add_loop_test(tests, test_maxpool_ties, 0, TIES);
    tcase_add_loop_test(tests, test_tanh_grid, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}
