/* Relaxation: values against the formula, and step size 1 to the bit. */
#include "relaxation.h"

#include "random.h"
#include "runner.h"

#include <math.h>

enum { N = 3 * LM_LANE };

static void draw(uint64_t stream, real *array) {
    for (size_t i = 0; i < N; i++)
        array[i] = (real)(2 * lm_random_uniform(stream, LM_STREAM_TEST, 0, i) - 1);
}

static void expect_formula(const real *error) {
    real feedback[N], value[N], before[N];
    draw(1, feedback);
    draw(2, value);
    draw(2, before);
    struct lm_relaxation relaxation = lm_relaxation_of((real)0.1, error, value);
    lm_relax(&relaxation, N, feedback);
    const double keep = (double)relaxation.keep, step = (double)relaxation.step;
    for (size_t i = 0; i < N; i++) {
        double by_error = (double)before[i] + (error ? step * (double)error[i] : 0);
        double expected =
            (error ? by_error : keep * (double)before[i]) - step * (double)feedback[i];
        ck_assert_double_le(fabs((double)value[i] - expected),
                            sizeof(real) == 4 ? 1e-7 : 1e-15);
    }
}

START_TEST(values_move_by_the_formula) {
    real error[N];
    draw(3, error);
    expect_formula(NULL);
    expect_formula(error);
}
END_TEST

/* Where fixed prediction gives backprop's errors exactly. */
START_TEST(step_one_takes_the_feedback_as_it_is) {
    real feedback[N], value[N];
    draw(1, feedback);
    draw(2, value);
    struct lm_relaxation relaxation = lm_relaxation_of(1, NULL, value);
    lm_relax(&relaxation, N, feedback);
    for (size_t i = 0; i < N; i++)
        ck_assert(value[i] == -feedback[i]);
}
END_TEST

/* Both move their values to the same bits. */
static void expect_same(const struct lm_relaxation *a, const struct lm_relaxation *b) {
    real feedback[N];
    draw(1, feedback);
    lm_relax(a, N, feedback);
    lm_relax(b, N, feedback);
    ck_assert_mem_eq(a->value, b->value, sizeof feedback);
}

/* What is 0 and has not been written is not read. */
static void expect_fresh(const real *error) {
    real value[N], expected[N];
    struct lm_relaxation zero = lm_relaxation_of((real)0.1, error, expected);
    struct lm_relaxation fresh = lm_relaxation_of((real)0.1, error, value);
    for (size_t i = 0; i < N; i++) {
        expected[i] = 0;
        value[i] = (real)NAN;
    }
    fresh.fresh = true;
    expect_same(&fresh, &zero);
}

START_TEST(fresh_values_start_from_zero) {
    real error[N];
    draw(3, error);
    expect_fresh(NULL);
    expect_fresh(error);
}
END_TEST

/* Past the caches they go to the same place with the same bits. */
static void expect_streamed(const real *error) {
    _Alignas(LM_LANE * sizeof(real)) real value[N];
    real expected[N];
    struct lm_relaxation through = lm_relaxation_of((real)0.1, error, expected);
    struct lm_relaxation past = lm_relaxation_of((real)0.1, error, value);
    past.streams = true;
    draw(2, expected);
    draw(2, value);
    expect_same(&past, &through);
}

START_TEST(values_may_go_past_the_caches) {
    real error[N];
    draw(3, error);
    expect_streamed(NULL);
    expect_streamed(error);
}
END_TEST

int main(void) {
    return RUN_TESTS("relaxation", values_move_by_the_formula, fresh_values_start_from_zero,
                     step_one_takes_the_feedback_as_it_is, values_may_go_past_the_caches);
}
