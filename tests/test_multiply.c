/* Multiplication: products and gradients are what plain sums come to, and an input has the same
 * bits whatever stands beside it and in whatever order the weights lie. */
#include "operators/multiply.h"

#include "memory.h"
#include "plain_chain.h"
#include "runner.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const struct test_case {
    ptrdiff_t outs, ins, width;
} cases[] = {
    {1, 1, 16},      /* one tile */
    {7, 13, 48},     /* tiles of every height */
    {50, 30, 32},    /* one panel */
    {100, 70, 16},   /* several, of few inputs */
    {60, 200, 96},   /* several blocks, whose x is cut into strips */
    {1024, 9, 48},   /* rows of weights that meet in the same lines of a cache, and strips */
    {48, 386, 144},  /* more inputs than are cut at a time */
    {150, 5, 272},   /* ... twice, and some that are no strip */
    {10, 260, 1040}, /* units too few to cut for */
    {0, 195, 144},   /* so many units that y does not stay near */
};
enum { CASES = sizeof cases / sizeof *cases };

static const long double epsilon = sizeof(real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON;

enum order { ROWS, COLUMNS, PACKED, ORDERS };

struct setup {
    struct lm_multiplication p;
    real *weight, *other, *bias, *x, *y, *before;
};

static size_t y_size(const struct setup *s) {
    return (size_t)(s->p.outs * s->p.width);
}

static void set_up(struct setup *s, int number) {
    struct test_case all = cases[number], *c = &all;
    if (!c->outs)
        c->outs = (ptrdiff_t)(lm_near_bytes() / 4 / sizeof(real)) / c->width + 100;
    size_t weights = (size_t)(c->outs * c->ins);
    s->weight = made_up(weights, 1, 0);
    s->other = lm_allocate(weights, sizeof(real));
    s->bias = made_up((size_t)c->outs, 1, 1);
    s->x = made_up((size_t)(c->ins * c->width), 1, 2);
    s->before = made_up((size_t)(c->outs * c->width), 1, 3);
    s->y = lm_allocate((size_t)(c->outs * c->width), sizeof(real));
    s->p = (struct lm_multiplication){.outs = c->outs,
                                      .ins = c->ins,
                                      .width = c->width,
                                      .weight = s->weight,
                                      .bias = s->bias,
                                      .out_step = c->ins,
                                      .in_step = 1,
                                      .x = s->x,
                                      .y = s->y,
                                      .x_step = c->width,
                                      .y_step = c->width};
    spoil(y_size(s), s->y);
}

static void tear_down(struct setup *s) {
    lm_free(s->weight);
    lm_free(s->other);
    lm_free(s->bias);
    lm_free(s->x);
    lm_free(s->before);
    lm_free(s->y);
}

/* The same weights in another order. */
static void put_in_order(struct setup *s, enum order order) {
    struct lm_multiplication *p = &s->p;
    real *to = s->other;
    p->weight = order == ROWS ? s->weight : s->other;
    p->out_step = order == ROWS ? p->ins : order == COLUMNS ? 1 : 0;
    p->in_step = order == ROWS ? 1 : order == COLUMNS ? p->outs : 0;
    p->packed = order == PACKED;
    ptrdiff_t together = order == PACKED ? LM_PACK : p->outs;
    for (ptrdiff_t o = 0; o < p->outs; o += together)
        for (ptrdiff_t i = 0; i < p->ins; i++)
            for (ptrdiff_t k = o; k < p->outs && k < o + together; k++)
                *to++ = s->weight[k * p->ins + i];
}

/* Every y is within the rounding of so many sums of begin (outs, width; NULL: the bias) and
 * the products. */
static void check_products(const struct setup *s, const real *begin) {
    const struct lm_multiplication *p = &s->p;
    for (ptrdiff_t o = 0; o < p->outs; o++)
        for (ptrdiff_t b = 0; b < p->width; b++) {
            long double sum = begin ? begin[o * p->width + b] : s->bias[o], scale = fabsl(sum);
            for (ptrdiff_t i = 0; i < p->ins; i++) {
                long double product =
                    (long double)s->weight[o * p->ins + i] * s->x[i * p->width + b];
                sum += product;
                scale += fabsl(product);
            }
            long double met = s->y[o * p->width + b];
            CHECK_EACH(fabsl(met - sum) <= epsilon * (long double)(p->ins + 1) * scale,
                       "y (%td, %td): %.9Lg, expected %.9Lg", o, b, met, sum);
        }
}

START_TEST(products_are_plain_sums) {
    struct setup s;
    set_up(&s, _i);
    lm_multiply(&s.p);
    check_products(&s, NULL);
    s.p.bias = NULL;
    s.p.adds = true;
    memcpy(s.y, s.before, y_size(&s) * sizeof(real));
    lm_multiply(&s.p);
    check_products(&s, s.before);
    tear_down(&s);
}
END_TEST

START_TEST(orders_of_weights_have_the_same_bits) {
    struct setup s;
    set_up(&s, _i);
    lm_multiply(&s.p);
    memcpy(s.before, s.y, y_size(&s) * sizeof(real));
    for (enum order order = COLUMNS; order < ORDERS; order++) {
        put_in_order(&s, order);
        spoil(y_size(&s), s.y);
        lm_multiply(&s.p);
        ck_assert_mem_eq(s.y, s.before, y_size(&s) * sizeof(real));
    }
    tear_down(&s);
}
END_TEST

/* The inputs from b on, LM_LANE of them, on their own. */
static void check_alone(const struct setup *s, ptrdiff_t b) {
    struct lm_multiplication alone = s->p;
    real *y = lm_allocate((size_t)(s->p.outs * LM_LANE), sizeof *y);
    alone.width = LM_LANE;
    alone.x += b;
    alone.y = y;
    alone.y_step = LM_LANE;
    lm_multiply(&alone);
    for (ptrdiff_t o = 0; o < s->p.outs; o++)
        ck_assert_mem_eq(y + o * LM_LANE, s->y + o * s->p.y_step + b, LM_LANE * sizeof *y);
    lm_free(y);
}

START_TEST(inputs_alone_have_the_bits_of_all) {
    struct setup s;
    for (enum order order = ROWS; order < ORDERS; order++) {
        set_up(&s, _i);
        put_in_order(&s, order);
        lm_multiply(&s.p);
        for (ptrdiff_t b = 0; b < s.p.width; b += LM_LANE)
            check_alone(&s, b);
        tear_down(&s);
    }
}
END_TEST

/* Values relaxed at once are, to the bit, those that the products relax. */
START_TEST(values_relax_as_by_products) {
    struct setup s;
    set_up(&s, _i);
    real *value = lm_allocate(y_size(&s), sizeof *value);
    s.p.bias = NULL;
    for (int by_error = 0; s.p.ins <= LM_BLOCK && by_error < 2; by_error++) {
        const real *error = by_error ? s.before : NULL;
        struct lm_relaxation behind = lm_relaxation_of((real)0.1, error, value);
        struct lm_relaxation at_once = lm_relaxation_of((real)0.1, error, s.y);
        lm_multiply(&s.p);
        memcpy(value, s.before, y_size(&s) * sizeof(real));
        lm_relax(&behind, y_size(&s), s.y);
        memcpy(s.y, s.before, y_size(&s) * sizeof(real));
        s.p.relaxation = &at_once;
        lm_multiply(&s.p);
        s.p.relaxation = NULL;
        ck_assert_mem_eq(s.y, value, y_size(&s) * sizeof(real));
    }
    lm_free(value);
    tear_down(&s);
}
END_TEST

static void check_gradient(const struct setup *s, const real *begin, const real *gradient) {
    const struct lm_multiplication *p = &s->p;
    for (ptrdiff_t o = 0; o < p->outs; o++)
        for (ptrdiff_t i = 0; i < p->ins; i++) {
            ptrdiff_t at = o * p->ins + i;
            long double sum = begin ? begin[at] : 0, scale = fabsl(sum);
            for (ptrdiff_t b = 0; b < p->width; b++) {
                long double product =
                    (long double)s->before[o * p->width + b] * s->x[i * p->width + b];
                sum += product;
                scale += fabsl(product);
            }
            CHECK_EACH(fabsl(gradient[at] - sum) <=
                           epsilon * (long double)(p->width + 1) * scale,
                       "gradient (%td, %td): %.9Lg, expected %.9Lg", o, i,
                       (long double)gradient[at], sum);
        }
}

START_TEST(gradients_are_plain_sums) {
    struct setup s;
    set_up(&s, _i);
    size_t n = (size_t)(s.p.outs * s.p.ins);
    const struct lm_multiplied learned = {s.p.outs, s.p.ins, s.p.width, s.x, s.before};
    real *gradient = s.other;
    spoil(n, gradient);
    lm_multiply_gradient(&learned, false, gradient);
    check_gradient(&s, NULL, gradient);
    memcpy(gradient, s.weight, n * sizeof *gradient);
    lm_multiply_gradient(&learned, true, gradient);
    check_gradient(&s, s.weight, gradient);
    tear_down(&s);
}
END_TEST

int main(void) {
    const struct repeated_test tests[] = {{products_are_plain_sums, CASES},
                                          {orders_of_weights_have_the_same_bits, CASES},
                                          {inputs_alone_have_the_bits_of_all, CASES},
                                          {values_relax_as_by_products, CASES},
                                          {gradients_are_plain_sums, CASES},
                                          {NULL, 0}};
    return run_repeated_tests("multiply", false, tests);
}
