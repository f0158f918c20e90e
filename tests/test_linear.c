/* Linear: prepared weights pull errors back, and relax values, to the bits of the parameters,
 * however many threads share the preparation. */
#include "memory.h"
#include "operators/operators.h"
#include "plain_chain.h"
#include "runner.h"

#include <stdio.h>
#include <string.h>

static const struct test_case {
    size_t in, out, width;
} cases[] = {
    {1, 1, 16},    {7, 30, 32},   {16, 16, 48},    {50, 20, 16},
    {33, 100, 80}, {720, 50, 32}, {1024, 17, 144}, {20, 193, 16}, /* the last not at once */
};
enum { CASES = sizeof cases / sizeof *cases };

struct setup {
    struct lm_operator op;
    size_t width, n; /* numbers of the input */
    real *parameters, *prepared, *e, *ex, *expected;
};

static void set_up(struct setup *s, const struct test_case *c) {
    const struct lm_shape in = {1, {c->in, 1, 1}};
    struct lm_status status;
    char units[20];
    snprintf(units, sizeof units, "%zu", c->out);
    const char *const option[LM_MAX_OPTIONS] = {units};
    ck_assert_msg(lm_operator_init(&s->op, &lm_linear, option, 1, &in, &status), "%s",
                  status.message);
    s->width = c->width;
    s->n = c->in * c->width;
    s->parameters = made_up(lm_operator_parameters(&s->op), 1, 0);
    s->prepared = lm_allocate(s->op.n_prepared, sizeof(real));
    s->e = made_up(c->out * c->width, 1, 1);
    s->ex = lm_allocate(s->n, sizeof(real));
    s->expected = lm_allocate(s->n, sizeof(real));
}

static void tear_down(struct setup *s) {
    lm_free(s->parameters);
    lm_free(s->prepared);
    lm_free(s->e);
    lm_free(s->ex);
    lm_free(s->expected);
}

static void prepare(struct setup *s, size_t parts) {
    spoil(s->op.n_prepared, s->prepared);
    for (size_t part = parts; part-- > 0;)
        lm_linear.prepare(&s->op, s->parameters, part, parts, s->prepared);
}

START_TEST(prepared_weights_pull_to_the_same_bits) {
    const size_t parts[] = {1, 2, 5, 64};
    struct setup s;
    set_up(&s, &cases[_i]);
    lm_linear.pull_input(&s.op, s.parameters, NULL, s.e, s.width, &s.expected);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        prepare(&s, parts[i]);
        spoil(s.n, s.ex);
        lm_linear.pull_prepared(&s.op, s.prepared, s.e, s.width, NULL, s.ex);
        ck_assert_mem_eq(s.ex, s.expected, s.n * sizeof(real));
    }
    tear_down(&s);
}
END_TEST

START_TEST(prepared_weights_relax_to_the_same_bits) {
    struct setup s;
    set_up(&s, &cases[_i]);
    ck_assert_int_eq(s.op.relaxes, _i != CASES - 1);
    prepare(&s, 1);
    for (int by_error = 0; s.op.relaxes && by_error < 2; by_error++) {
        real *error = by_error ? made_up(s.n, 1, 2) : NULL;
        real *value = made_up(s.n, 1, 3), *expected = made_up(s.n, 1, 3);
        struct lm_relaxation plain = lm_relaxation_of((real)0.1, error, expected);
        struct lm_relaxation relaxation = lm_relaxation_of((real)0.1, error, value);
        lm_linear.relax_input(&s.op, s.parameters, NULL, s.e, s.width, &plain);
        lm_linear.pull_prepared(&s.op, s.prepared, s.e, s.width, &relaxation, NULL);
        ck_assert_mem_eq(value, expected, s.n * sizeof(real));
        lm_free(error);
        lm_free(value);
        lm_free(expected);
    }
    tear_down(&s);
}
END_TEST

int main(void) {
    const struct repeated_test tests[] = {{prepared_weights_pull_to_the_same_bits, CASES},
                                          {prepared_weights_relax_to_the_same_bits, CASES},
                                          {NULL, 0}};
    return run_repeated_tests("linear", false, tests);
}
