/* Summary: medians and quartiles. */
#include "summary.h"

#include "runner.h"

#include <math.h>

static void expect(int n, const double values[], const double wanted[5]) {
    struct lm_summary s = lm_summarize(n, values);
    const double found[] = {s.minimum, s.quartile[0], s.median, s.quartile[1], s.maximum};
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq_tol(found[i], wanted[i], 1e-15);
}

START_TEST(quantiles_lie_between_values) {
    expect(1, (double[]){7}, (double[]){7, 7, 7, 7, 7});
    expect(2, (double[]){3, 1}, (double[]){1, 1.5, 2, 2.5, 3});
    expect(4, (double[]){4, 1, 3, 2}, (double[]){1, 1.75, 2.5, 3.25, 4});
    expect(5, (double[]){9, -1, 9, 2, 4}, (double[]){-1, 2, 4, 9, 9});
}
END_TEST

START_TEST(one_that_is_no_number_makes_all_none) {
    const double values[] = {1, NAN, 3};
    struct lm_summary s = lm_summarize(3, values);
    ck_assert(isnan(s.median) && isnan(s.minimum) && isnan(s.maximum));
    ck_assert(isnan(s.quartile[0]) && isnan(s.quartile[1]));
}
END_TEST

START_TEST(values_stay_as_they_are) {
    const double values[] = {3, 1, 2};
    lm_summarize(3, values);
    ck_assert(values[0] == 3 && values[1] == 1 && values[2] == 2);
}
END_TEST

int main(void) {
    return RUN_TESTS("summary", quantiles_lie_between_values,
                     one_that_is_no_number_makes_all_none, values_stay_as_they_are);
}
