#include "random.h"

#include <Random123/philox.h>

static philox4x32_ctr_t draw(uint64_t seed, enum lm_stream stream, uint64_t index,
                             uint64_t element) {
    philox4x32_ctr_t counter = {{(uint32_t)element, (uint32_t)(element >> 32), (uint32_t)index,
                                 ((uint32_t)(index >> 32) << 8) ^ (uint32_t)stream}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

double lm_random_uniform(uint64_t seed, enum lm_stream stream, uint64_t index,
                         uint64_t element) {
    philox4x32_ctr_t word = draw(seed, stream, index, element);
    uint64_t bits = ((uint64_t)word.v[0] << 32 | word.v[1]) >> 12;
    return ((double)bits + 0.5) * 0x1p-52;
}

/* A whole number below n, n < 2^32: the high word of a 64-bit product, whose bias
 * is below 2^-32. */
static uint32_t below(uint64_t seed, enum lm_stream stream, uint64_t index, uint64_t element,
                      uint32_t n) {
    philox4x32_ctr_t word = draw(seed, stream, index, element);
    uint64_t bits = (uint64_t)word.v[0] << 32 | word.v[1];
    return (uint32_t)(((bits >> 32) * n + ((bits & 0xffffffffu) * n >> 32)) >> 32);
}

void lm_random_permutation(uint64_t seed, enum lm_stream stream, uint64_t index, size_t n,
                           uint32_t order[]) {
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        uint32_t other = below(seed, stream, index, i, (uint32_t)i);
        uint32_t moved = order[i - 1];
        order[i - 1] = order[other];
        order[other] = moved;
    }
}
