/* Pooled: conv2d and the rectified maxpool2d behind it in one go are what they are one after
 * the other, whatever the numbers. */
#include "memory.h"
#include "operators/operators.h"
#include "plain_chain.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 48 };

/* The two operators, and what they make one after the other and together. */
struct setup {
    struct lm_operator conv, pool;
    size_t in, inner, out, n; /* reals; parameters */
    real *x, *parameters, *e; /* e: at the output */
    real *inner_y, *inner_e, *y, *tape, *gradient;
    real *both_y, *both_tape, *both_gradient;
};

static void init_pair(struct lm_operator *conv, struct lm_operator *pool,
                      const struct lm_shape *in, const char *const conv_option[],
                      const char *const pool_option[]) {
    struct lm_status status;
    ck_assert(lm_operator_init(conv, &lm_conv2d, conv_option, 1, in, &status));
    ck_assert(lm_operator_init(pool, &lm_maxpool2d, pool_option, 1, &conv->out, &status));
    pool->rectifies = true;
}

static void set_up(struct setup *s, const char *channels, size_t rows, size_t columns) {
    const char *conv[LM_MAX_OPTIONS] = {channels, "3"}, *pool[LM_MAX_OPTIONS] = {"2"};
    const struct lm_shape in = {3, {1, rows, columns}};
    init_pair(&s->conv, &s->pool, &in, conv, pool);
    ck_assert(lm_conv2d.pairs(&s->conv, &s->pool));
    s->in = lm_shape_units(&in) * WIDTH;
    s->inner = lm_shape_units(&s->conv.out) * WIDTH;
    s->out = lm_shape_units(&s->pool.out) * WIDTH;
    s->n = lm_operator_parameters(&s->conv);
    ck_assert_uint_eq(s->pool.tape * WIDTH, s->out);
    s->x = made_up(s->in, 1, 1);
    s->parameters = made_up(s->n, 1, 2);
    s->e = made_up(s->out, 1, 3);
    s->gradient = made_up(s->n, 1, 4);
    s->both_gradient = made_up(s->n, 1, 4);
    s->inner_y = lm_allocate(s->inner, sizeof(real));
    s->inner_e = lm_allocate(s->inner, sizeof(real));
    s->y = lm_allocate(s->out, sizeof(real));
    s->tape = lm_allocate(s->out, sizeof(real));
    s->both_y = lm_allocate(s->out, sizeof(real));
    s->both_tape = lm_allocate(s->out, sizeof(real));
}

static void tear_down(struct setup *s) {
    real *arrays[] = {s->x,       s->parameters, s->e,       s->gradient, s->both_gradient,
                      s->inner_y, s->y,          s->inner_e, s->both_y,   s->both_tape,
                      s->tape};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        lm_free(arrays[i]);
}

static void run_forward(struct setup *s) {
    const real *x = s->x, *inner = s->inner_y;
    spoil(s->out, s->both_y);
    spoil(s->out, s->both_tape);
    lm_conv2d.forward(&s->conv, s->parameters, &x, WIDTH, s->inner_y, NULL);
    lm_maxpool2d.forward(&s->pool, NULL, &inner, WIDTH, s->y, s->tape);
    lm_conv2d.forward_pair(&s->conv, &s->pool, s->parameters, s->x, WIDTH, s->both_y,
                           s->both_tape);
}

static void run_gradient(struct setup *s) {
    lm_maxpool2d.pull_input(&s->pool, NULL, s->tape, s->e, WIDTH, &s->inner_e);
    lm_conv2d.pull_parameters(&s->conv, s->x, s->inner_e, WIDTH, false, s->gradient);
    lm_conv2d.pull_pair(&s->conv, &s->pool, s->x, s->tape, s->e, WIDTH, s->both_gradient);
}

static void expect_bits(size_t n, const real *met, const real *expected, const char *what) {
    ck_assert_msg(memcmp(met, expected, n * sizeof *met) == 0, "%s differs", what);
}

/* Small whole numbers: sums are exact in any order, and many are equal or 0. */
static void make_whole(size_t n, real *array, real most) {
    for (size_t i = 0; i < n; i++)
        array[i] = (real)(int)(array[i] * (most + 1));
}

static void for_sizes(void (*check)(struct setup *s)) {
    static const struct {
        const char *channels;
        size_t rows, columns;
    } sizes[] = {{"1", 4, 4}, {"2", 5, 9}, {"3", 28, 28}, {"4", 6, 5},
                 {"5", 9, 4}, {"6", 7, 7}, {"7", 4, 30},  {"13", 12, 11}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct setup s;
        set_up(&s, sizes[i].channels, sizes[i].rows, sizes[i].columns);
        check(&s);
        tear_down(&s);
    }
}

static void check_bits(struct setup *s) {
    run_forward(s);
    expect_bits(s->out, s->both_y, s->y, "y");
    expect_bits(s->out, s->both_tape, s->tape, "tape");
}

START_TEST(forward_has_the_bits_of_both) {
    for_sizes(check_bits);
}
END_TEST

static void check_whole(struct setup *s) {
    make_whole(s->in, s->x, 1);
    make_whole(s->n, s->parameters, 1);
    make_whole(s->out, s->e, 3);
    check_bits(s);
    run_gradient(s);
    for (size_t i = 0; i < s->n; i++)
        ck_assert_msg(s->both_gradient[i] == s->gradient[i], "gradient %zu: %g, not %g", i,
                      (double)s->both_gradient[i], (double)s->gradient[i]);
}

START_TEST(ties_and_gradients_are_those_of_both) {
    for_sizes(check_whole);
}
END_TEST

/* All that is not finite, at every place of a window. */
static void check_infinite(struct setup *s) {
    const real odd[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < s->in; i += 7)
        s->x[i] = odd[i % 3];
    run_forward(s);
    size_t lost = 0;
    for (size_t i = 0; i < s->out; i++) {
        lost += isnan(s->y[i]) != 0;
        ck_assert_msg(isnan(s->both_y[i]) ? isnan(s->y[i]) : s->both_y[i] == s->y[i],
                      "y %zu: %g, not %g", i, (double)s->both_y[i], (double)s->y[i]);
    }
    ck_assert(lost > 0 && lost < s->out);
    expect_bits(s->out, s->both_tape, s->tape, "tape");
}

START_TEST(what_is_not_finite_stays_so) {
    struct setup s;
    set_up(&s, "5", 28, 28);
    check_infinite(&s);
    tear_down(&s);
}
END_TEST

START_TEST(only_what_it_is_made_for_goes_together) {
    static const struct {
        const char *conv[LM_MAX_OPTIONS], *pool[LM_MAX_OPTIONS];
        size_t channels;
        bool fits;
    } cases[] = {
        {{"4", "3"}, {"2"}, 1, true},       {{"4", "3"}, {"2"}, 2, false},
        {{"4", "5"}, {"2"}, 1, false},      {{"4", "3x2"}, {"2"}, 1, false},
        {{"4", "3", "2"}, {"2"}, 1, false}, {{"4", "3", "1", "1"}, {"2"}, 1, false},
        {{"4", "3"}, {"3"}, 1, false},      {{"4", "3"}, {"2", "1"}, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lm_shape in = {3, {cases[i].channels, 12, 12}};
        struct lm_operator conv, pool;
        init_pair(&conv, &pool, &in, cases[i].conv, cases[i].pool);
        ck_assert_msg(lm_conv2d.pairs(&conv, &pool) == cases[i].fits, "case %zu", i);
        pool.rectifies = false;
        ck_assert(!lm_conv2d.pairs(&conv, &pool));
    }
}
END_TEST

int main(void) {
    return RUN_TESTS("pooled", forward_has_the_bits_of_both,
                     ties_and_gradients_are_those_of_both, what_is_not_finite_stays_so,
                     only_what_it_is_made_for_goes_together);
}
