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

START_TEST(values_move_by_the_formula) {
    const struct lm_relaxation relaxation = {(real)0.9, (real)0.1};
    real feedback[N], value[N], before[N];
    draw(1, feedback);
    draw(2, value);
    draw(2, before);
    lm_relax(&relaxation, N, feedback, value);
    for (size_t i = 0; i < N; i++) {
        double expected = (double)relaxation.keep * (double)before[i] -
                          (double)relaxation.step * (double)feedback[i];
        ck_assert_double_le(fabs((double)value[i] - expected),
                            sizeof(real) == 4 ? 1e-7 : 1e-15);
    }
}
END_TEST

/* Where fixed prediction gives backprop's errors exactly. */
START_TEST(step_one_takes_the_feedback_as_it_is) {
    const struct lm_relaxation relaxation = {0, 1};
    real feedback[N], value[N];
    draw(1, feedback);
    draw(2, value);
    lm_relax(&relaxation, N, feedback, value);
    for (size_t i = 0; i < N; i++)
        ck_assert(value[i] == -feedback[i]);
}
END_TEST

int main(void) {
    return RUN_TESTS("relaxation", values_move_by_the_formula,
                     step_one_takes_the_feedback_as_it_is);
}
