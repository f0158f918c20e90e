#include "digest.h"

#include "runner.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

START_TEST(is_the_crc_of_zlib) {
    ck_assert_uint_eq(lm_crc32(0, "123456789", 9), 0xcbf43926u);
    ck_assert_uint_eq(lm_crc32(lm_crc32(0, "1234", 4), "56789", 5), 0xcbf43926u);
}
END_TEST

enum { ROWS = 5, COLUMNS = 7, ALL = ROWS * COLUMNS };

static void fill(double values[ALL]) {
    for (int i = 0; i < ALL; i++)
        values[i] = 0.1 * i;
}

/* Rows written in another order, and one in two parts, sum up to the whole. */
START_TEST(parts_make_the_whole) {
    struct lm_digest digest = {0};
    double values[ALL];
    size_t extent[2] = {ROWS, COLUMNS};
    fill(values);
    lm_digest_make(&digest, "/other", 1, extent, sizeof(float));
    lm_digest_make(&digest, "/values", 2, extent, sizeof(double));
    static const size_t order[] = {3, 0, 4, 1};
    for (int i = 0; i < 4; i++)
        lm_digest_write(&digest, "/values", (size_t[]){order[i], 0}, (size_t[]){1, COLUMNS},
                        values + order[i] * COLUMNS);
    lm_digest_write(&digest, "/values", (size_t[]){2, 4}, (size_t[]){1, 3},
                    values + 2 * COLUMNS + 4);
    uint32_t crc;
    ck_assert(!lm_digest_combine(&digest, 1, digest.parts, (size_t)digest.n_parts,
                                 &crc)); /* a hole */
    lm_digest_write(&digest, "/values", (size_t[]){2, 0}, (size_t[]){1, 4},
                    values + 2 * COLUMNS);
    ck_assert(lm_digest_combine(&digest, 1, digest.parts, (size_t)digest.n_parts, &crc));
    ck_assert_uint_eq(crc, crc32(0, (const unsigned char *)values, sizeof values));
    ck_assert(!lm_digest_combine(&digest, 0, digest.parts, (size_t)digest.n_parts, &crc));
    lm_digest_clear(&digest);
}
END_TEST

START_TEST(nothing_is_a_whole_of_nothing) {
    struct lm_digest digest = {0};
    uint32_t crc;
    lm_digest_make(&digest, "/none", 1, &(size_t){0}, sizeof(double));
    ck_assert(lm_digest_combine(&digest, 0, NULL, 0, &crc));
    ck_assert_uint_eq(crc, 0);
    lm_digest_clear(&digest);
}
END_TEST

static void write_columns(void) {
    struct lm_digest digest = {0};
    double values[ALL] = {0};
    lm_digest_make(&digest, "/values", 2, (size_t[]){ROWS, COLUMNS}, sizeof(double));
    lm_digest_write(&digest, "/values", (size_t[]){0, 0}, (size_t[]){ROWS, 2}, values);
}

START_TEST(refuses_parts_with_gaps) {
    expect_abort(LM_INTERNAL, "bug", write_columns);
}
END_TEST

int main(void) {
    return RUN_TESTS("digest", is_the_crc_of_zlib, parts_make_the_whole,
                     nothing_is_a_whole_of_nothing, refuses_parts_with_gaps);
}
