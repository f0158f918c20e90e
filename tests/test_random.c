/* Random: the generator's known answers, its distribution, and that nothing but the key counts.
 */
#include "random.h"

#include "memory.h"
#include "runner.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>

/* The known answers that Random123 publishes for Philox 4x32 with 10 rounds. */
START_TEST(philox_gives_the_published_words) {
    const struct {
        philox4x32_ctr_t counter;
        philox4x32_key_t key;
        uint32_t words[4];
    } cases[] = {
        {{{0, 0, 0, 0}}, {{0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         {{0xffffffff, 0xffffffff}},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         {{0xa4093822, 0x299f31d0}},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        philox4x32_ctr_t words = philox4x32(cases[i].counter, cases[i].key);
        ck_assert(memcmp(words.v, cases[i].words, sizeof words.v) == 0);
    }
}
END_TEST

/* The words of counter (element, 0, index, stream) and key seed, as lm_random_uniform packs
 * them: runs of other versions and machines must give the same numbers. */
START_TEST(uniform_is_made_of_philox_words) {
    const uint64_t seeds[] = {0, 7, 0x123456789abcdef0};
    for (int i = 0; i < 3; i++) {
        philox4x32_ctr_t counter = {{40, 0, 3, LM_STREAM_TRAIN}};
        philox4x32_key_t key = {{(uint32_t)seeds[i], (uint32_t)(seeds[i] >> 32)}};
        philox4x32_ctr_t words = philox4x32(counter, key);
        double expected = ldexp((double)words.v[0], -32) + ldexp((double)words.v[1], -64);
        double found = lm_random_uniform(seeds[i], LM_STREAM_TRAIN, 3, 40);
        ck_assert(fabs(found - expected) <= 0x1p-52);
    }
}
END_TEST

/* Mean 1/2, variance 1/12, skewness 0 and lag-1 correlation 0 within 5 standard errors. */
START_TEST(uniform_has_its_moments) {
    enum { N = 1000000 };
    int inside = 0;
    double sum = 0, squares = 0, cubes = 0, lag = 0, last = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = lm_random_uniform(5, LM_STREAM_PARAMETERS, i % 7, i / 7);
        inside += x > 0 && x < 1;
        double centred = x - 0.5;
        sum += centred;
        squares += centred * centred;
        cubes += centred * centred * centred;
        lag += centred * last;
        last = centred;
    }
    ck_assert(inside == N);
    ck_assert(fabs(sum / N) <= 5 * sqrt(1 / 12. / N));
    ck_assert(fabs(squares / N - 1 / 12.) <= 5 * sqrt((1 / 80. - 1 / 144.) / N));
    ck_assert(fabs(cubes / N) <= 5 * sqrt(1 / 448. / N));
    ck_assert(fabs(lag / N) <= 5 / 12. / sqrt(N));
}
END_TEST

/* Every part of the key makes another number, also its high words. */
START_TEST(every_part_of_the_key_counts) {
    const uint64_t large = (uint64_t)1 << 32;
    const double numbers[] = {
        lm_random_uniform(1, LM_STREAM_PARAMETERS, 0, 0),
        lm_random_uniform(2, LM_STREAM_PARAMETERS, 0, 0),
        lm_random_uniform(1 + large, LM_STREAM_PARAMETERS, 0, 0),
        lm_random_uniform(1, LM_STREAM_TRAIN, 0, 0),
        lm_random_uniform(1, LM_STREAM_TEST, 0, 0),
        lm_random_uniform(1, LM_STREAM_LABEL, 0, 0),
        lm_random_uniform(1, LM_STREAM_PARAMETERS, 1, 0),
        lm_random_uniform(1, LM_STREAM_PARAMETERS, large - 1, 0),
        lm_random_uniform(1, LM_STREAM_PARAMETERS, 0, 1),
        lm_random_uniform(1, LM_STREAM_PARAMETERS, 0, large - 1),
    };
    size_t n = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            ck_assert_msg(numbers[i] != numbers[k], "numbers %zu and %zu", k, i);
}
END_TEST

START_TEST(order_of_calls_does_not_count) {
    enum { N = 100 };
    double forward[N];
    uint32_t first[N], again[N], other[N];
    for (uint64_t i = 0; i < N; i++)
        forward[i] = lm_random_uniform(3, LM_STREAM_TEST, 1, i);
    lm_random_permutation(3, LM_STREAM_TEST, 1, N, first);
    lm_random_permutation(3, LM_STREAM_TEST, 2, N, other);
    lm_random_permutation(3, LM_STREAM_TEST, 1, N, again);
    for (uint64_t i = N; i-- > 0;)
        ck_assert(lm_random_uniform(3, LM_STREAM_TEST, 1, i) == forward[i]);
    ck_assert(memcmp(first, again, sizeof first) == 0);
    ck_assert(memcmp(first, other, sizeof first) != 0);
}
END_TEST

static void expect_permutation(size_t n) {
    uint32_t *order = lm_allocate(n + 1, sizeof *order);
    bool *seen = lm_allocate(n, sizeof *seen);
    order[n] = 0xdeadbeef;
    lm_random_permutation(9, LM_STREAM_TRAIN, 4, n, order);
    for (size_t i = 0; i < n; i++) {
        ck_assert(order[i] < n && !seen[order[i]]);
        seen[order[i]] = true;
    }
    ck_assert(order[n] == 0xdeadbeef);
    lm_free(order);
    lm_free(seen);
}

START_TEST(permutations_hold_every_number_once) {
    const size_t sizes[] = {0, 1, 2, 3, 17, 60000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        expect_permutation(sizes[i]);
}
END_TEST

/* How often each number stands at each position: chi-square with (N - 1)^2 degrees of freedom,
 * within 5 standard deviations. */
START_TEST(every_position_is_uniform) {
    enum { N = 12, ROUNDS = 24000 };
    static int count[N][N];
    uint32_t order[N];
    for (uint64_t round = 0; round < ROUNDS; round++) {
        lm_random_permutation(11, LM_STREAM_TRAIN, round, N, order);
        for (int i = 0; i < N; i++)
            count[i][order[i]]++;
    }
    double chi = 0, mean = (double)ROUNDS / N, freedom = (N - 1) * (N - 1);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            chi += (count[i][k] - mean) * (count[i][k] - mean) / mean;
    ck_assert_msg(fabs(chi - freedom) <= 5 * sqrt(2 * freedom), "chi-square %g of %g", chi,
                  freedom);
}
END_TEST

/* All 24 orders of 4 numbers are as frequent. */
START_TEST(every_order_is_as_likely) {
    enum { ROUNDS = 24000 };
    int count[256] = {0}, orders = 0;
    uint32_t order[4];
    double chi = 0, mean = ROUNDS / 24.;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        lm_random_permutation(12, LM_STREAM_TRAIN, round, 4, order);
        count[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        orders += count[i] > 0;
        if (count[i] > 0)
            chi += (count[i] - mean) * (count[i] - mean) / mean;
    }
    ck_assert(orders == 24);
    ck_assert_msg(fabs(chi - 23) <= 5 * sqrt(2 * 23), "chi-square %g of 23", chi);
}
END_TEST

int main(void) {
    return RUN_TESTS("random", philox_gives_the_published_words,
                     uniform_is_made_of_philox_words, uniform_has_its_moments,
                     every_part_of_the_key_counts, order_of_calls_does_not_count,
                     permutations_hold_every_number_once, every_position_is_uniform,
                     every_order_is_as_likely);
}
