#include "lessons.h"

#include "make_network.h"
#include "memory.h"
#include "random.h"
#include "runner.h"

#include <string.h>

const struct lm_inference lesson_inference = {.batch = 1, .step = 1};

struct example *example_create(void) {
    const struct lm_layer_spec spec[] = {{"out", 0, {0}, 1, {OP("linear", "9")}}};
    struct example *example = lm_allocate(1, sizeof *example);
    example->network = make_network((struct lm_shape){1, {INPUTS, 1, 1}}, 1, spec);
    example->layer =
        lm_layer_create(example->network, 0, lm_optimizer_find("sgd"), CHUNKS * CHUNK, CHUNK);
    example->n = example->layer->plan->map.parameters;
    for (int t = 0; t < LESSON_THREADS; t++)
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

void example_destroy(struct example *example) {
    for (int t = 0; t < LESSON_THREADS; t++)
        lm_scratch_clear(&example->scratch[t]);
    lm_layer_destroy(example->layer);
    lm_network_destroy(example->network);
    lm_free(example);
}

const struct lm_rule *lesson_rule(void) {
    return lm_rule_find("backprop", "deviation");
}

void plain_sum(const struct example *example, int first, int end, real *sum) {
    memset(sum, 0, example->n * sizeof *sum);
    if (end - first == 1) {
        lesson_rule()->learn(&lesson_inference, example->layer, first, &example->scratch[0],
                             sum);
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

struct lm_lesson make_lesson(const struct example *example, int chunks, struct lm_span part) {
    struct lm_lesson lesson = {.layer = example->layer};
    lesson.n = lm_span_nodes(chunks, part, lesson.nodes);
    for (int i = 0; i < lesson.n; i++)
        lesson.sums[i] = lm_allocate(example->n, sizeof(real));
    return lesson;
}

void expect_sums(const struct example *example, const struct lm_lesson *lesson, int first) {
    real *expected = lm_allocate(example->n, sizeof(real));
    for (int i = 0; i < lesson->n; i++) {
        plain_sum(example, lesson->nodes[i].first - first, lesson->nodes[i].end - first,
                  expected);
        ck_assert(memcmp(lesson->sums[i], expected, example->n * sizeof(real)) == 0);
        lm_free(lesson->sums[i]);
    }
    lm_free(expected);
}
