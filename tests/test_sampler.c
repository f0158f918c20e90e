/* Sampler: batches of every epoch, in any order of steps. */
#include "sampler.h"

#include "runner.h"

#include <string.h>

enum { N = 100, BATCH = 30, PER_EPOCH = 3 };

static struct lm_sampler *sampler(uint64_t seed, enum lm_stream stream) {
    struct lm_status status;
    struct lm_sampler *made = lm_sampler_create(seed, stream, N, BATCH, &status);
    ck_assert(made != NULL);
    return made;
}

/* The batches of an epoch hold no input twice; what is over is left out. */
START_TEST(an_epoch_holds_no_input_twice) {
    struct lm_sampler *s = sampler(1, LM_STREAM_TRAIN);
    ck_assert(lm_sampler_epoch(s) == PER_EPOCH);
    int total[N] = {0};
    for (long epoch = 0; epoch < 40; epoch++) {
        int seen[N] = {0};
        for (long k = 0; k < PER_EPOCH; k++) {
            const uint32_t *batch = lm_sampler_batch(s, epoch * PER_EPOCH + k);
            for (int i = 0; i < BATCH; i++) {
                ck_assert(batch[i] < N && seen[batch[i]] == 0);
                seen[batch[i]] = 1;
                total[batch[i]]++;
            }
        }
    }
    for (int i = 0; i < N; i++) /* other inputs are left out each time */
        ck_assert(total[i] > 20 && total[i] <= 40);
    lm_sampler_destroy(s);
}
END_TEST

/* The batches of an epoch are its permutation from front to end. */
START_TEST(an_epoch_is_a_permutation_cut_up) {
    struct lm_sampler *s = sampler(6, LM_STREAM_TEST);
    for (long epoch = 0; epoch < 3; epoch++) {
        uint32_t order[N];
        lm_random_permutation(6, LM_STREAM_TEST, (uint64_t)epoch, N, order);
        for (long k = 0; k < PER_EPOCH; k++)
            ck_assert(memcmp(lm_sampler_batch(s, epoch * PER_EPOCH + k), order + k * BATCH,
                             BATCH * sizeof *order) == 0);
    }
    lm_sampler_destroy(s);
}
END_TEST

START_TEST(a_batch_of_all_inputs_covers_them) {
    struct lm_status status;
    struct lm_sampler *s = lm_sampler_create(1, LM_STREAM_TRAIN, N, N, &status);
    ck_assert(s != NULL && lm_sampler_epoch(s) == 1);
    for (long step = 0; step < 3; step++) {
        int seen[N] = {0};
        const uint32_t *batch = lm_sampler_batch(s, step);
        for (int i = 0; i < N; i++)
            seen[batch[i]]++;
        for (int i = 0; i < N; i++)
            ck_assert(seen[i] == 1);
    }
    lm_sampler_destroy(s);
}
END_TEST

START_TEST(steps_may_come_in_any_order) {
    enum { STEPS = 12 };
    const int order[STEPS] = {11, 0, 5, 4, 3, 10, 1, 2, 9, 6, 8, 7};
    uint32_t expected[STEPS][BATCH];
    struct lm_sampler *in_order = sampler(4, LM_STREAM_TEST);
    struct lm_sampler *mixed = sampler(4, LM_STREAM_TEST);
    for (int step = 0; step < STEPS; step++)
        memcpy(expected[step], lm_sampler_batch(in_order, step), sizeof expected[step]);
    for (int i = 0; i < STEPS; i++)
        ck_assert(memcmp(expected[order[i]], lm_sampler_batch(mixed, order[i]),
                         sizeof expected[0]) == 0);
    lm_sampler_destroy(in_order);
    lm_sampler_destroy(mixed);
}
END_TEST

START_TEST(seed_stream_and_epoch_change_the_order) {
    struct lm_sampler *samplers[] = {sampler(1, LM_STREAM_TRAIN), sampler(2, LM_STREAM_TRAIN),
                                     sampler(1, LM_STREAM_TEST), sampler(1, LM_STREAM_TRAIN)};
    const long step[] = {0, 0, 0, PER_EPOCH};
    uint32_t batch[4][BATCH];
    for (int i = 0; i < 4; i++)
        memcpy(batch[i], lm_sampler_batch(samplers[i], step[i]), sizeof batch[i]);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            ck_assert_msg(memcmp(batch[i], batch[k], sizeof batch[i]) != 0, "%d and %d", k, i);
    for (int i = 0; i < 4; i++)
        lm_sampler_destroy(samplers[i]);
}
END_TEST

START_TEST(sizes_that_do_not_fit_are_refused) {
    struct lm_status status = {0};
    ck_assert(lm_sampler_create(0, LM_STREAM_TRAIN, 299, 300, &status) == NULL);
    ck_assert(status.code == LM_CONFIG);
    ck_assert(strstr(status.message, "300") && strstr(status.message, "299"));
    ck_assert(lm_sampler_create(0, LM_STREAM_TRAIN, (size_t)1 << 32, 300, &status) == NULL);
    ck_assert(status.code == LM_DATA);
    ck_assert(strstr(status.message, "4294967296") != NULL);
    lm_sampler_destroy(NULL);
}
END_TEST

int main(void) {
    return RUN_TESTS("sampler", an_epoch_holds_no_input_twice, an_epoch_is_a_permutation_cut_up,
                     a_batch_of_all_inputs_covers_them, steps_may_come_in_any_order,
                     seed_stream_and_epoch_change_the_order, sizes_that_do_not_fit_are_refused);
}
