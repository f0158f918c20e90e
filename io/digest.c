#include "digest.h"

#include "memory.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

uint32_t lm_crc32(uint32_t before, const void *bytes, size_t size) {
    return (uint32_t)crc32_z(before, bytes, size);
}

/* A list that is full is made twice as long. */
static void *grow(void *list, int n, size_t size) {
    if (n & (n - 1))
        return list;
    void *longer = lm_allocate(n ? 2 * (size_t)n : 1, size);
    if (n)
        memcpy(longer, list, (size_t)n * size);
    lm_free(list);
    return longer;
}

void lm_digest_make(struct lm_digest *digest, const char *path, int rank, const size_t extent[],
                    size_t size) {
    LM_ASSERT(rank >= 1 && rank <= 3);
    digest->sets = grow(digest->sets, digest->n_sets, sizeof *digest->sets);
    struct lm_digest_set *set = &digest->sets[digest->n_sets++];
    *set = (struct lm_digest_set){.path = lm_copy_string(path), .rank = rank, .size = size};
    for (int d = 0; d < rank; d++)
        set->extent[d] = extent[d];
}

static int find(const struct lm_digest *digest, const char *path) {
    for (int i = digest->n_sets - 1; i >= 0; i--)
        if (strcmp(digest->sets[i].path, path) == 0)
            return i;
    lm_abort(LM_INTERNAL, "bug: %s was never made", path);
}

void lm_digest_write(struct lm_digest *digest, const char *path, const size_t offset[],
                     const size_t count[], const void *values) {
    struct lm_digest_part part = {.set = find(digest, path), .count = 1};
    const struct lm_digest_set *set = &digest->sets[part.set];
    for (int d = 0; d < set->rank; d++) {
        LM_ASSERT(part.count == 1 || count[d] == set->extent[d]);
        part.start = part.start * set->extent[d] + offset[d];
        part.count *= count[d];
    }
    part.crc = lm_crc32(0, values, part.count * set->size);
    digest->parts = grow(digest->parts, digest->n_parts, sizeof *digest->parts);
    digest->parts[digest->n_parts++] = part;
}

static int by_place(const void *a, const void *b) {
    const struct lm_digest_part *x = a, *y = b;
    if (x->set != y->set)
        return x->set < y->set ? -1 : 1;
    return (x->start > y->start) - (x->start < y->start);
}

bool lm_digest_combine(const struct lm_digest *digest, int set, struct lm_digest_part *parts,
                       size_t n, uint32_t *crc) {
    if (n > 0)
        qsort(parts, n, sizeof *parts, by_place);
    uint64_t all = 1, reached = 0;
    for (int d = 0; d < digest->sets[set].rank; d++)
        all *= digest->sets[set].extent[d];
    *crc = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].set != set || parts[i].start != reached)
            continue;
        uint64_t bytes = parts[i].count * digest->sets[set].size;
        *crc = (uint32_t)crc32_combine(*crc, parts[i].crc, (z_off_t)bytes);
        reached += parts[i].count;
    }
    return reached == all;
}

void lm_digest_clear(struct lm_digest *digest) {
    for (int i = 0; i < digest->n_sets; i++)
        lm_free(digest->sets[i].path);
    lm_free(digest->sets);
    lm_free(digest->parts);
    *digest = (struct lm_digest){0};
}
