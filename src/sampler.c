#include "sampler.h"

#include "memory.h"

struct lm_sampler {
    uint64_t seed;
    enum lm_stream stream;
    size_t n, batch;
    long epoch;      /* of the order at hand; -1: none yet */
    uint32_t *order; /* (n) */
};

struct lm_sampler *lm_sampler_create(uint64_t seed, enum lm_stream stream, size_t n,
                                     size_t batch, struct lm_status *status) {
    if (n < batch) {
        lm_fail(status, LM_CONFIG,
                "a batch of %zu inputs from the %zu of the %s split: at most all of them are "
                "possible",
                batch, n, stream == LM_STREAM_TEST ? "test" : "train");
        return NULL;
    }
    if (n > UINT32_MAX) {
        lm_fail(status, LM_DATA, "the data set has %zu inputs: at most 2^32 - 1 are possible",
                n);
        return NULL;
    }
    struct lm_sampler *sampler = lm_allocate(1, sizeof *sampler);
    *sampler =
        (struct lm_sampler){seed, stream, n, batch, -1, lm_allocate(n, sizeof(uint32_t))};
    return sampler;
}

void lm_sampler_destroy(struct lm_sampler *sampler) {
    if (!sampler)
        return;
    lm_free(sampler->order);
    lm_free(sampler);
}

long lm_sampler_epoch(const struct lm_sampler *sampler) {
    return (long)(sampler->n / sampler->batch);
}

const uint32_t *lm_sampler_batch(struct lm_sampler *sampler, long step) {
    long epoch = step / lm_sampler_epoch(sampler);
    if (epoch != sampler->epoch) {
        lm_random_permutation(sampler->seed, sampler->stream, (uint64_t)epoch, sampler->n,
                              sampler->order);
        sampler->epoch = epoch;
    }
    return sampler->order + (size_t)(step % lm_sampler_epoch(sampler)) * sampler->batch;
}
