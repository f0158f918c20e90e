/* Learning: gradients of chunks are added along the tree, for any nodes, threads and memory. */
#include "learning.h"

#include "make_network.h"
#include "memory.h"
#include "random.h"
#include "runner.h"

#include <string.h>

enum { CHUNKS = 11, CHUNK = 16, UNITS = 9, INPUTS = 7 };

/* A layer whose gradient of each chunk is known: made-up errors and values below. */
struct example {
    struct lm_network *network;
    struct lm_layer *layer;
    real below[CHUNKS][INPUTS * CHUNK];
    struct lm_scratch scratch[3];
    size_t n; /* parameters */
};

static const struct lm_inference inference = {.batch = 1, .step = 1};

static struct example *example_create(void) {
    const struct lm_layer_spec spec[] = {{"out", 0, {0}, 1, {OP("linear", "9")}}};
    struct example *example = lm_allocate(1, sizeof *example);
    example->network = make_network((struct lm_shape){1, {INPUTS, 1, 1}}, 1, spec);
    example->layer = lm_layer_create(example->network, 0, lm_optimizer_find("sgd"), false,
                                     CHUNKS * CHUNK, CHUNK);
    example->n = example->layer->plan->map.parameters;
    for (int t = 0; t < 3; t++)
        lm_scratch_init(&example->scratch[t], 1, &example->layer, CHUNK);
    for (int c = 0; c < CHUNKS; c++) {
        struct lm_layer_chunk *chunk = &example->layer->chunks[c];
        lm_layer_set_count(example->layer, c, CHUNK);
        chunk->parent_forward[0] = example->below[c];
        for (size_t i = 0; i < INPUTS * CHUNK; i++)
            example->below[c][i] = (real)lm_random_uniform(1, LM_STREAM_TEST, (uint64_t)c, i);
        for (size_t i = 0; i < UNITS * CHUNK; i++)
            chunk->own_error[i] =
                (real)(lm_random_uniform(2, LM_STREAM_TEST, (uint64_t)c, i) - 0.5);
        lm_layer_forward(example->layer, c, &example->scratch[0]);
    }
    return example;
}

static void example_destroy(struct example *example) {
    for (int t = 0; t < 3; t++)
        lm_scratch_clear(&example->scratch[t]);
    lm_layer_destroy(example->layer);
    lm_network_destroy(example->network);
    lm_free(example);
}

static const struct lm_rule *rule(void) {
    return lm_rule_find("backprop", "deviation");
}

/* sum = gradient of the chunks of a node of the tree, written out once more. */
static void plain_sum(const struct example *example, int first, int end, real *sum) {
    memset(sum, 0, example->n * sizeof *sum);
    if (end - first == 1) {
        rule()->learn(&inference, example->layer, first, &example->scratch[0], sum);
        return;
    }
    int half = first + (end - first) / 2;
    real *second = lm_allocate(example->n, sizeof *second);
    plain_sum(example, first, half, sum);
    plain_sum(example, half, end, second);
    for (size_t i = 0; i < example->n; i++)
        sum[i] += second[i];
    lm_free(second);
}

START_TEST(threads_change_no_bit) {
    struct example *example = example_create();
    real *expected = lm_allocate(example->n, sizeof(real));
    plain_sum(example, 0, CHUNKS, expected);
    for (int threads = 1; threads <= 3; threads++) {
        struct lm_learning *learning = lm_learning_create(1, CHUNKS, threads);
        const struct lm_lesson lesson = {
            example->layer, 1, {{0, CHUNKS}}, {example->layer->gradient}};
        for (int again = 0; again < 2; again++) {
            lm_learning_run(learning, rule(), &inference, 0, 1, &lesson, example->scratch);
            ck_assert(memcmp(lesson.sums[0], expected, example->n * sizeof(real)) == 0);
        }
        lm_learning_destroy(learning);
    }
    lm_free(expected);
    example_destroy(example);
}
END_TEST

/* A lesson about the chunks in `part` of a batch of `chunks`, with room for its sums. */
static struct lm_lesson make_lesson(const struct example *example, int chunks,
                                    struct lm_span part) {
    struct lm_lesson lesson = {.layer = example->layer};
    lesson.n = lm_span_nodes(chunks, part, lesson.nodes);
    for (int i = 0; i < lesson.n; i++)
        lesson.sums[i] = lm_allocate(example->n, sizeof(real));
    return lesson;
}

/* Each sum is that of its node, chunk c of the layer being chunk first + c; then they go. */
static void expect_sums(const struct example *example, const struct lm_lesson *lesson,
                        int first) {
    real *expected = lm_allocate(example->n, sizeof(real));
    for (int i = 0; i < lesson->n; i++) {
        plain_sum(example, lesson->nodes[i].first - first, lesson->nodes[i].end - first,
                  expected);
        ck_assert(memcmp(lesson->sums[i], expected, example->n * sizeof(real)) == 0);
        lm_free(lesson->sums[i]);
    }
    lm_free(expected);
}

/* A replica holds chunks 3 .. 10 of a batch of 20 as its chunks 0 .. 7, in several nodes. */
START_TEST(each_node_has_its_sum) {
    struct example *example = example_create();
    struct lm_lesson lesson = make_lesson(example, 20, (struct lm_span){3, 11});
    ck_assert(lesson.n > 2);
    struct lm_learning *learning = lm_learning_create(1, CHUNKS, 2);
    lm_learning_run(learning, rule(), &inference, 3, 1, &lesson, example->scratch);
    expect_sums(example, &lesson, 3);
    lesson.n = 0; /* no chunk, nothing to do */
    lm_learning_run(learning, rule(), &inference, 0, 1, &lesson, example->scratch);
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
    lm_learning_run(learning, rule(), &inference, 0, 3, lessons, example->scratch);
    for (int l = 0; l < 3; l++)
        expect_sums(example, &lessons[l], 0);
    lm_learning_destroy(learning);
    example_destroy(example);
}
END_TEST

/* Chunk by chunk, in any order: the bits of all at once. A replica holds chunks 3 .. 10. */
START_TEST(chunks_learn_one_by_one) {
    struct example *example = example_create();
    const struct lm_span spans[] = {{3, 11}, {0, 0}, {3, 11}};
    struct lm_lesson lessons[3];
    for (int l = 0; l < 3; l++)
        lessons[l] = make_lesson(example, 20, spans[l]);
    struct lm_learning *learning = lm_learning_create(3, CHUNKS, 2);
    ck_assert(lm_learning_open(learning, 3, 3, lessons));
    for (int c = 7; c >= 0; c--)
        for (int l = 0; l < 3; l++)
            lm_learning_chunk(learning, rule(), &inference, l, c, example->scratch);
    for (int l = 0; l < 3; l++) {
        lm_learning_close(learning, l, &lessons[l]);
        expect_sums(example, &lessons[l], 3);
    }
    lm_learning_destroy(learning);
    example_destroy(example);
}
END_TEST

/* Two layers whose 11 chunks have gradients of 8 or 16 MiB each are too large for that
 * together. */
START_TEST(large_layers_do_not_open) {
    const struct lm_layer_spec spec[] = {{"out", 0, {0}, 1, {OP("linear", "2048")}}};
    struct lm_network *network = make_network((struct lm_shape){1, {1023, 1, 1}}, 1, spec);
    struct lm_layer *layer =
        lm_layer_create(network, 0, lm_optimizer_find("sgd"), false, CHUNK, CHUNK);
    struct lm_learning *learning = lm_learning_create(2, CHUNKS, 1);
    struct lm_lesson lessons[2] = {{layer, 1, {{0, CHUNKS}}, {layer->gradient}}};
    lessons[1] = lessons[0];
    ck_assert(!lm_learning_open(learning, 0, 2, lessons));
    lessons[0].nodes[0].end = 1; /* one chunk, whose sum has its place */
    ck_assert(lm_learning_open(learning, 0, 1, lessons));
    lm_learning_destroy(learning);
    lm_layer_destroy(layer);
    lm_network_destroy(network);
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
                     layers_learn_together, chunks_learn_one_by_one, large_layers_do_not_open,
                     large_layers_take_few_arrays);
}
