/* Tensor: shapes, their text, and the width of chunks. */
#include "tensor.h"

#include "runner.h"

#include <limits.h>
#include <string.h>

static struct lm_shape shape(int rank, long a, long b, long c) {
    struct lm_shape made;
    struct lm_status status = {.message = ""};
    ck_assert_msg(lm_shape_init(&made, rank, (const long[]){a, b, c}, &status), "%s",
                  status.message);
    return made;
}

START_TEST(shapes_have_units) {
    struct lm_shape vector = shape(1, 30, -1, -1), image = shape(3, 10, 13, 14);
    ck_assert(vector.rank == 1 && vector.extent[0] == 30);
    ck_assert(vector.extent[1] == 1 && vector.extent[2] == 1);
    ck_assert(image.extent[0] == 10 && image.extent[1] == 13 && image.extent[2] == 14);
    ck_assert(lm_shape_units(&vector) == 30);
    ck_assert(lm_shape_units(&image) == 10 * 13 * 14);
}
END_TEST

START_TEST(shapes_are_compared) {
    struct lm_shape a = shape(3, 2, 3, 4), b = shape(3, 2, 3, 4);
    struct lm_shape others[] = {shape(3, 1, 3, 4), shape(3, 2, 1, 4), shape(3, 2, 3, 1)};
    ck_assert(lm_shape_equal(&a, &b));
    for (int i = 0; i < 3; i++)
        ck_assert(!lm_shape_equal(&a, &others[i]));
    struct lm_shape vector = shape(1, 5, 0, 0), image = shape(3, 5, 1, 1);
    ck_assert(!lm_shape_equal(&vector, &image));
}
END_TEST

START_TEST(shapes_have_a_text) {
    char text[LM_SHAPE_TEXT];
    struct lm_shape vector = shape(1, 30, 0, 0), image = shape(3, 10, 13, 14);
    struct lm_shape largest = shape(3, LONG_MAX, LONG_MAX, LONG_MAX);
    ck_assert_str_eq(lm_shape_text(&vector, text), "30");
    ck_assert_str_eq(lm_shape_text(&image, text), "10 x 13 x 14");
    ck_assert(strlen(lm_shape_text(&largest, text)) == 3 * 19 + 2 * 3);
}
END_TEST

static void expect_bad(int rank, const long extent[], const char *words) {
    struct lm_shape made;
    struct lm_status status = {0};
    ck_assert(!lm_shape_init(&made, rank, extent, &status));
    ck_assert(status.code == LM_CONFIG);
    ck_assert_msg(strstr(status.message, words) != NULL, "%s", status.message);
}

START_TEST(bad_shapes_are_refused) {
    const long good[] = {1, 2, 3, 4}, zero[] = {1, 0, 3}, negative[] = {1, 2, -5};
    expect_bad(0, good, "not 0");
    expect_bad(2, good, "not 2");
    expect_bad(4, good, "not 4");
    expect_bad(3, zero, "extent 2 is 0");
    expect_bad(3, negative, "extent 3 is -5");
}
END_TEST

START_TEST(widths_are_whole_lanes) {
    const size_t inputs[] = {0, 1, 15, 16, 17, 32, 300}, width[] = {0, 16, 16, 16, 32, 32, 304};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        ck_assert(lm_width(inputs[i]) == width[i]);
}
END_TEST

START_TEST(arrays_are_added) {
    enum { N = 37 };
    real a[N], b[N], sum[N + 1];
    for (int i = 0; i < N; i++) {
        a[i] = (real)i;
        b[i] = (real)(1000 - 3 * i);
    }
    sum[N] = -1;
    lm_sum(N, a, b, sum);
    for (int i = 0; i < N; i++)
        ck_assert(sum[i] == (real)(1000 - 2 * i));
    lm_add(N, a, sum);
    for (int i = 0; i < N; i++)
        ck_assert(sum[i] == (real)(1000 - i));
    ck_assert(sum[N] == -1);
}
END_TEST

int main(void) {
    return RUN_TESTS("tensor", shapes_have_units, shapes_are_compared, shapes_have_a_text,
                     bad_shapes_are_refused, widths_are_whole_lanes, arrays_are_added);
}
