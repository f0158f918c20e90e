/* Relaxation: values against the formula, and step size 1 to the bit. */
#include "relaxation.h"

#include "random.h"
#include "runner.h"

#include <math.h>

enum { N = 23 * LM_LANE }; /* parts of several lengths */

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

/* What is 0 and has not been written is not read, nor its error. */
static void expect_fresh(bool by_error) {
    real value[N] = {0}, expected[N] = {0}, zeros[N] = {0}, unread[N] = {0};
    struct lm_relaxation zero = lm_relaxation_of((real)0.1, by_error ? zeros : NULL, expected);
    struct lm_relaxation fresh = lm_relaxation_of((real)0.1, by_error ? unread : NULL, value);
    for (size_t i = 0; i < N; i++)
        value[i] = unread[i] = (real)NAN;
    fresh.fresh = true;
    expect_same(&fresh, &zero);
}

START_TEST(fresh_values_start_from_zero) {
    expect_fresh(false);
    expect_fresh(true);
}
END_TEST

/* Through the caches and past them the copy gets the bits of the values, and nothing else. */
static void expect_copied(const real *error, size_t n, bool streams) {
    _Alignas(LM_LANE * sizeof(real)) real copy[N + LM_LANE] = {0};
    real feedback[N], value[N], expected[N];
    draw(1, feedback);
    draw(2, expected);
    draw(2, value);
    struct lm_relaxation alone = lm_relaxation_of((real)0.1, error, expected);
    struct lm_relaxation copied = lm_relaxation_of((real)0.1, error, value);
    copied.copy = copy;
    copied.streams = streams;
    lm_relax(&alone, n, feedback);
    lm_relax(&copied, n, feedback);
    ck_assert_mem_eq(value, expected, sizeof value);
    ck_assert_mem_eq(copy, expected, n * sizeof *copy);
    for (size_t i = n; i < N + LM_LANE; i++)
        ck_assert(copy[i] == 0);
}

START_TEST(values_are_copied_as_they_move) {
    real error[N];
    draw(3, error);
    for (size_t n = LM_LANE; n <= N; n += LM_LANE)
        for (int streams = 0; streams < 2; streams++) {
            expect_copied(NULL, n, streams);
            expect_copied(error, n, streams);
        }
}
END_TEST

int main(void) {
    return RUN_TESTS("relaxation", values_move_by_the_formula, fresh_values_start_from_zero,
                     step_one_takes_the_feedback_as_it_is, values_are_copied_as_they_move);
}
