/* Writing: ways with made-up times. */
#include "writing.h"

#include "runner.h"

static double known[2]; /* seconds through the caches, and past them */

/* Write some times; how often past the caches. */
static int write_times(struct lm_writing *writing, int times) {
    int streams = 0;
    for (int i = 0; i < times; i++) {
        bool way = lm_writing_streams(writing);
        streams += way;
        lm_writing_took(writing, known[way]);
    }
    return streams;
}

static void set(double through, double past) {
    known[false] = through;
    known[true] = past;
}

/* Of 6400 times 100 are trials; and at first, when nothing is known, each way is taken once. */
START_TEST(the_faster_way_is_taken_and_the_other_tried) {
    struct lm_writing near = {{0}, 0}, far = {{0}, 0};
    set(10e-6, 15e-6);
    ck_assert_int_eq(write_times(&near, 6400), 1 + 100);
    set(50e-6, 15e-6);
    ck_assert_int_eq(write_times(&far, 6400), 6400 - 1 - 100);
}
END_TEST

START_TEST(ranks_that_move_are_noticed) {
    struct lm_writing writing = {{0}, 0};
    set(10e-6, 15e-6);
    write_times(&writing, 500);
    set(50e-6, 15e-6);
    write_times(&writing, 100);
    ck_assert_int_ge(write_times(&writing, 100), 90);
    set(10e-6, 15e-6);
    write_times(&writing, 100);
    ck_assert_int_le(write_times(&writing, 100), 10);
}
END_TEST

/* Another process had the processor meanwhile: once, the way that is taken stays so. */
START_TEST(one_long_time_changes_nothing) {
    struct lm_writing writing = {{0}, 0};
    set(10e-6, 15e-6);
    do
        write_times(&writing, 1);
    while (lm_writing_streams(&writing) || writing.times < 100);
    lm_writing_took(&writing, 1);
    ck_assert(!lm_writing_streams(&writing));
}
END_TEST

int main(void) {
    return RUN_TESTS("writing", the_faster_way_is_taken_and_the_other_tried,
                     ranks_that_move_are_noticed, one_long_time_changes_nothing);
}
