/* Tally: chunks that learn one by one, in any order and by any threads, give the bits of all at
 * once. */
#include "tally.h"

#include "lessons.h"
#include "make_network.h"
#include "memory.h"
#include "runner.h"

#include <omp.h>

/* Three lessons, of which one has nothing to do; a replica holds chunks 3 .. 10 of 20. */
static void make_lessons(const struct example *example, struct lm_lesson lessons[3]) {
    const struct lm_span spans[] = {{3, 11}, {0, 0}, {3, 11}};
    for (int l = 0; l < 3; l++)
        lessons[l] = make_lesson(example, 20, spans[l]);
}

/* Chunk i of the order that begins with `start` and goes on by `stride`. */
static int in_order(int i, int start, int stride) {
    return (start + i * stride) % 8;
}

/* Forwards, backwards, and one from here and one from there; again and again, so that what was
 * summed before must not matter. */
START_TEST(any_order_gives_the_same) {
    static const int orders[][2] = {{0, 1}, {7, 7}, {2, 3}, {5, 5}};
    struct example *example = example_create();
    struct lm_tally *tally = lm_tally_create(3, CHUNKS, 1);
    for (int k = 0; k < 4; k++) {
        struct lm_lesson lessons[3];
        make_lessons(example, lessons);
        ck_assert(lessons[0].n > 2);
        ck_assert(lm_tally_open(tally, 3, 3, lessons));
        for (int i = 0; i < 8; i++)
            for (int l = 0; l < 3; l += 2)
                lm_tally_learn(tally, lesson_rule(), &lesson_inference, l,
                               in_order(i, orders[k][0], orders[k][1]), example->scratch);
        for (int l = 0; l < 3; l++)
            expect_sums(example, &lessons[l], 3);
    }
    lm_tally_destroy(tally);
    example_destroy(example);
}
END_TEST

START_TEST(threads_change_no_bit) {
    struct example *example = example_create();
    struct lm_tally *tally = lm_tally_create(1, CHUNKS, LESSON_THREADS);
    for (int times = 0; times < 50; times++) {
        struct lm_lesson lesson = make_lesson(example, CHUNKS, (struct lm_span){0, CHUNKS});
        ck_assert_int_eq(lesson.n, 1);
        ck_assert(lm_tally_open(tally, 0, 1, &lesson));
#pragma omp parallel for num_threads(LESSON_THREADS) schedule(dynamic)
        for (int c = 0; c < CHUNKS; c++)
            lm_tally_learn(tally, lesson_rule(), &lesson_inference, 0, c,
                           &example->scratch[omp_get_thread_num()]);
        expect_sums(example, &lesson, 0);
    }
    lm_tally_destroy(tally);
    example_destroy(example);
}
END_TEST

/* Two layers whose 11 chunks have gradients of 8 or 16 MiB each are too large for that
 * together. */
START_TEST(large_layers_do_not_open) {
    const struct lm_layer_spec spec[] = {{"out", 0, {0}, 1, {OP("linear", "2048")}}};
    struct lm_network *network = make_network((struct lm_shape){1, {1023, 1, 1}}, 1, spec);
    struct lm_layer *layer =
        lm_layer_create(network, 0, lm_optimizer_find("sgd"), CHUNK, CHUNK);
    struct lm_tally *tally = lm_tally_create(2, CHUNKS, 1);
    struct lm_lesson lessons[2] = {{layer, 1, {{0, CHUNKS}}, {layer->gradient}}};
    lessons[1] = lessons[0];
    ck_assert(!lm_tally_open(tally, 0, 2, lessons));
    lessons[0].nodes[0].end = 1; /* one chunk, whose sum has its place */
    ck_assert(lm_tally_open(tally, 0, 1, lessons));
    lm_tally_destroy(tally);
    lm_layer_destroy(layer);
    lm_network_destroy(network);
}
END_TEST

int main(void) {
    return RUN_TESTS("tally", any_order_gives_the_same, threads_change_no_bit,
                     large_layers_do_not_open);
}
