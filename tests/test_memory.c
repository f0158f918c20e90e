/* Memory: zeroed, aligned, counted, and no size that does not fit. */
#include "memory.h"

#include "runner.h"

#include <stdint.h>
#include <string.h>

START_TEST(blocks_are_aligned_and_zeroed) {
    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *block = lm_allocate(bytes, 1);
        ck_assert(block != NULL);
        ck_assert((uintptr_t)block % 64 == 0);
        for (size_t i = 0; i < bytes; i++)
            ck_assert(block[i] == 0);
        memset(block, 0xff,
               bytes); /* so that the next block of this size is not zero by luck */
        lm_free(block);
    }
}
END_TEST

START_TEST(elements_have_their_size) {
    double *numbers = lm_allocate(1000, sizeof *numbers);
    for (size_t i = 0; i < 1000; i++)
        ck_assert(numbers[i] == 0);
    memset(numbers, 1, 1000 * sizeof *numbers);
    lm_free(numbers);
}
END_TEST

START_TEST(blocks_are_counted) {
    size_t before = lm_memory_blocks();
    void *some = lm_allocate(3, 5), *none = lm_allocate(0, 8);
    char *text = lm_copy_string("V1");
    ck_assert(lm_memory_blocks() == before + 3);
    lm_free(NULL);
    ck_assert(lm_copy_string(NULL) == NULL);
    ck_assert(lm_memory_blocks() == before + 3);
    lm_free(some);
    lm_free(none);
    lm_free(text);
    ck_assert(lm_memory_blocks() == before);
}
END_TEST

START_TEST(many_threads_are_counted_too) {
    size_t before = lm_memory_blocks();
#pragma omp parallel for num_threads(4)
    for (int i = 0; i < 4000; i++)
        lm_free(lm_allocate(1, (size_t)i));
    ck_assert(lm_memory_blocks() == before);
}
END_TEST

START_TEST(strings_are_copied) {
    char text[] = "IT", *copy = lm_copy_string(text);
    text[0] = 'x';
    ck_assert_str_eq(copy, "IT");
    lm_free(copy);
}
END_TEST

START_TEST(products_that_fit) {
    ck_assert(lm_product(0, SIZE_MAX) == 0);
    ck_assert(lm_product(SIZE_MAX, 0) == 0);
    ck_assert(lm_product(SIZE_MAX, 1) == SIZE_MAX);
    ck_assert(lm_product((size_t)1 << 31, (size_t)1 << 32) == (size_t)1 << 63);
}
END_TEST

static void multiply_too_much(void) {
    lm_product((size_t)1 << 32, (size_t)1 << 32);
}

static void allocate_an_overflow(void) {
    lm_allocate(SIZE_MAX / 2, 3);
}

static void allocate_all_addresses(void) {
    lm_allocate(SIZE_MAX - 1, 1);
}

START_TEST(sizes_that_do_not_fit_end_the_job) {
    expect_abort(LM_SYSTEM, "does not fit", multiply_too_much);
    expect_abort(LM_SYSTEM, "does not fit", allocate_an_overflow);
    expect_abort(LM_SYSTEM, "does not fit", allocate_all_addresses);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* which ends the program itself */
static void allocate_more_than_there_is(void) {
    lm_allocate(SIZE_MAX / 2, 1);
}

START_TEST(no_memory_ends_the_job) {
    expect_abort(LM_SYSTEM, "out of memory", allocate_more_than_there_is);
}
END_TEST
#else
START_TEST(no_memory_ends_the_job) {
}
END_TEST
#endif

/* Of a cache that there is or was, and always the same. */
START_TEST(near_bytes_are_those_of_a_cache) {
    size_t near = lm_near_bytes();
    ck_assert(near >= 64 << 10 && near <= 1 << 30);
    ck_assert(lm_near_bytes() == near);
}
END_TEST

int main(void) {
    return RUN_TESTS("memory", blocks_are_aligned_and_zeroed, elements_have_their_size,
                     blocks_are_counted, many_threads_are_counted_too, strings_are_copied,
                     products_that_fit, sizes_that_do_not_fit_end_the_job,
                     no_memory_ends_the_job, near_bytes_are_those_of_a_cache);
}
