/* Learning: gradients of chunks are added along the tree, for any nodes, threads and memory. */
#include "learning.h"

#include "lessons.h"
#include "memory.h"
#include "runner.h"

#include <string.h>

START_TEST(threads_change_no_bit) {
    struct example *example = example_create();
    real *expected = lm_allocate(example->n, sizeof(real));
    plain_sum(example, 0, CHUNKS, expected);
    for (int threads = 1; threads <= 3; threads++) {
        struct lm_learning *learning = lm_learning_create(1, CHUNKS, threads);
        const struct lm_lesson lesson = {
            example->layer, 1, {{0, CHUNKS}}, {example->layer->gradient}};
        for (int again = 0; again < 2; again++) {
            lm_learning_run(learning, lesson_rule(), &lesson_inference, 0, 1, &lesson,
                            example->scratch);
            ck_assert(memcmp(lesson.sums[0], expected, example->n * sizeof(real)) == 0);
        }
        lm_learning_destroy(learning);
    }
    lm_free(expected);
    example_destroy(example);
}
END_TEST

/* A replica holds chunks 3 .. 10 of a batch of 20 as its chunks 0 .. 7, in several nodes. */
START_TEST(each_node_has_its_sum) {
    struct example *example = example_create();
    struct lm_lesson lesson = make_lesson(example, 20, (struct lm_span){3, 11});
    ck_assert(lesson.n > 2);
    struct lm_learning *learning = lm_learning_create(1, CHUNKS, 2);
    lm_learning_run(learning, lesson_rule(), &lesson_inference, 3, 1, &lesson,
                    example->scratch);
    expect_sums(example, &lesson, 3);
    lesson.n = 0; /* no chunk, nothing to do */
    lm_learning_run(learning, lesson_rule(), &lesson_inference, 0, 1, &lesson,
                    example->scratch);
    lm_learning_destroy(learning);
    example_destroy(example);
}
END_TEST

/* Several lessons at once, of which one has nothing to do, are what each is alone. */
START_TEST(layers_learn_together) {
    struct example *example = example_create();
    const struct lm_span spans[] = {{0, CHUNKS}, {0, 0}, {3, 9}};
    struct lm_lesson lessons[3];
    for (int l = 0; l < 3; l++)
        lessons[l] = make_lesson(example, CHUNKS, spans[l]);
    struct lm_learning *learning = lm_learning_create(3, CHUNKS, 2);
    lm_learning_run(learning, lesson_rule(), &lesson_inference, 0, 3, lessons,
                    example->scratch);
    for (int l = 0; l < 3; l++)
        expect_sums(example, &lessons[l], 0);
    lm_learning_destroy(learning);
    example_destroy(example);
}
END_TEST

/* What a layer of n parameters needs: all sums at once if they are small, as many as the tree
 * is deep if one alone is huge. */
START_TEST(large_layers_take_few_arrays) {
    ck_assert_int_eq(lm_learning_arrays(1000, 10), 9);
    ck_assert_int_eq(lm_learning_arrays(25088 * (size_t)4096, 10), 4);
    ck_assert_int_eq(lm_learning_arrays((size_t)1 << 40, 32), 5);
    ck_assert_int_eq(lm_learning_arrays((size_t)1 << 40, 1), 0);
    size_t third = ((size_t)1 << 30) / sizeof(real) / 3;
    ck_assert_int_eq(lm_learning_arrays(third, 2), 1);
}
END_TEST

int main(void) {
    return RUN_TESTS("learning", threads_change_no_bit, each_node_has_its_sum,
                     layers_learn_together, large_layers_take_few_arrays);
}
