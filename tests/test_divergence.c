/* Divergence: relative error and angle of weight updates, biases left out. */
#include "divergence.h"

#include "operator.h"
#include "runner.h"

#include <math.h>
#include <string.h>

/* Two linear operators, (3 -> 2) and (2 -> 2): weights at 0..5 and 8..11, biases at 6, 7, 12
 * and 13. */
enum { PARAMETERS = 14 };
static const int weights[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11};
static const int biases[] = {6, 7, 12, 13};
enum { WEIGHTS = 10, BIASES = 4 };

static const struct lm_map *map(void) {
    static struct lm_map made;
    struct lm_status status;
    const struct lm_operator_spec spec[] = {{lm_operator_find("linear"), {"2"}},
                                            {lm_operator_find("linear"), {"2"}}};
    const struct lm_shape in = {1, {3, 1, 1}};
    ck_assert(lm_map_init(&made, 2, spec, 1, &in, &status));
    ck_assert(made.parameters == PARAMETERS);
    return &made;
}

/* Set weight w of a gradient, w < WEIGHTS, to x. */
static void set(real *gradient, int w, double x) {
    gradient[weights[w]] = (real)x;
}

static struct lm_divergence measure(const real *update, const real *exact) {
    return lm_divergence_measure(map(), update, exact);
}

START_TEST(zeros) {
    const real zero[PARAMETERS] = {0};
    real some[PARAMETERS] = {0};
    set(some, 9, 0.25);
    struct lm_divergence both = measure(zero, zero), update = measure(zero, some);
    struct lm_divergence exact = measure(some, zero);
    ck_assert(both.relative_error == 0 && both.angle == 0);
    ck_assert(update.relative_error == 1 && update.angle == 90);
    ck_assert(isinf(exact.relative_error) && exact.angle == 90);
}
END_TEST

START_TEST(equal_and_scaled) {
    real a[PARAMETERS] = {0}, b[PARAMETERS] = {0};
    for (int w = 0; w < WEIGHTS; w++) {
        set(a, w, w - 3.5);
        set(b, w, 3 * (w - 3.5));
    }
    struct lm_divergence same = measure(a, a), scaled = measure(b, a);
    ck_assert(same.relative_error == 0 && same.angle == 0);
    ck_assert(fabs(scaled.relative_error - 2) <= 1e-14);
    ck_assert(scaled.angle <= 1e-13);
}
END_TEST

START_TEST(angles_of_all_sizes) {
    const double angles[] = {1, 30, 45, 90, 120, 179};
    for (int i = 0; i < 6; i++) {
        real exact[PARAMETERS] = {0}, update[PARAMETERS] = {0};
        double radians = angles[i] * acos(-1) / 180;
        set(exact, 0, 2);
        set(update, 0, 5 * cos(radians));
        set(update, 8, 5 * sin(radians));
        struct lm_divergence d = measure(update, exact);
        double expected = sqrt(25 + 4 - 20 * cos(radians)) / 2;
        ck_assert_msg(fabs(d.angle - angles[i]) <= (sizeof(real) == 4 ? 1e-5 : 1e-12),
                      "%.17g, not %g", d.angle, angles[i]);
        ck_assert(fabs(d.relative_error - expected) <= (sizeof(real) == 4 ? 1e-6 : 1e-14));
    }
}
END_TEST

START_TEST(opposite_is_180) {
    real a[PARAMETERS] = {0}, b[PARAMETERS] = {0};
    for (int w = 0; w < WEIGHTS; w++) {
        set(a, w, w + 1);
        set(b, w, -2 * (w + 1));
    }
    struct lm_divergence d = measure(a, b);
    ck_assert(fabs(d.angle - 180) <= 1e-12);
    ck_assert(fabs(d.relative_error - 1.5) <= 1e-14);
}
END_TEST

/* Angles far below what an arc cosine in double can tell from 0 (1e-6 degrees). */
START_TEST(tiny_angles_are_exact) {
    const double angles[] = {1e-3, 1e-5, 1e-7, 1e-9};
    for (int i = 0; i < 4; i++) {
        real exact[PARAMETERS] = {0}, update[PARAMETERS] = {0};
        for (int w = 0; w < 5; w++) {
            set(exact, w, 2);
            set(update, w, 2);
        }
        set(update, 7, 2 * sqrt(5) * angles[i] * acos(-1) / 180);
        struct lm_divergence d = measure(update, exact);
        ck_assert_msg(fabs(d.angle / angles[i] - 1) <= 1e-3, "%g, not %g", d.angle, angles[i]);
    }
}
END_TEST

START_TEST(size_does_not_count) {
    const double sizes[] = {1e-30, 1e-10, 1e10, 1e30};
    for (int i = 0; i < 4; i++) {
        real exact[PARAMETERS] = {0}, update[PARAMETERS] = {0};
        set(exact, 2, sizes[i]);
        set(update, 2, sizes[i]);
        set(update, 3, sizes[i]);
        struct lm_divergence d = measure(update, exact);
        ck_assert(fabs(d.angle - 45) <= 1e-12);
        ck_assert(fabs(d.relative_error - 1) <= 1e-12);
    }
}
END_TEST

START_TEST(numbers_that_are_not_finite_give_nan) {
    const double bad[] = {NAN, INFINITY, -INFINITY};
    real good[PARAMETERS] = {0};
    set(good, 0, 1);
    for (int i = 0; i < 3; i++) {
        real broken[PARAMETERS] = {0};
        set(broken, 6, bad[i]);
        struct lm_divergence update = measure(broken, good), exact = measure(good, broken);
        ck_assert(isnan(update.relative_error) && isnan(update.angle));
        ck_assert(isnan(exact.relative_error) && isnan(exact.angle));
    }
}
END_TEST

START_TEST(biases_do_not_count) {
    real a[PARAMETERS] = {0}, b[PARAMETERS] = {0};
    for (int w = 0; w < WEIGHTS; w++) {
        set(a, w, w + 1);
        set(b, w, w * w);
    }
    struct lm_divergence without = measure(a, b);
    for (int i = 0; i < BIASES; i++) {
        a[biases[i]] = (real)NAN;
        b[biases[i]] = 1000;
    }
    struct lm_divergence with = measure(a, b);
    ck_assert(memcmp(&with, &without, sizeof with) == 0);
}
END_TEST

int main(void) {
    return RUN_TESTS("divergence", zeros, equal_and_scaled, angles_of_all_sizes,
                     opposite_is_180, tiny_angles_are_exact, size_does_not_count,
                     numbers_that_are_not_finite_give_nan, biases_do_not_count);
}
