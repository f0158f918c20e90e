/* Digest: CRC-32 of datasets that several ranks write in parts, each from its own memory.
 *
 * The digest of a dataset is that of its numbers as they stand in the file: row-major, little
 * endian, the CRC-32 of zlib, gzip and PNG. It is put together from those of the parts, so no
 * rank needs the numbers of another. */
#ifndef LAMINA_DIGEST_H
#define LAMINA_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of dataset number `set`: `count` numbers from number `start` on. */
struct lm_digest_part {
    int64_t set;
    uint64_t start, count;
    uint32_t crc;
};

/* Datasets in the order they were made, the same on all ranks, and the parts that this rank
 * wrote. Zeroed: none yet. */
struct lm_digest {
    int n_sets, n_parts;
    struct lm_digest_set {
        char *path;
        int rank;
        uint64_t extent[3];
        size_t size; /* bytes of a number */
    } * sets;
    struct lm_digest_part *parts;
};

/* A dataset of `rank` dimensions (at most 3) was made. */
void lm_digest_make(struct lm_digest *digest, const char *path, int rank, const size_t extent[],
                    size_t size);

/* This rank wrote a part of a dataset; `values` have the file's type. Parts that are not one
 * run of numbers in the file are a bug. */
void lm_digest_write(struct lm_digest *digest, const char *path, const size_t offset[],
                     const size_t count[], const void *values);

/* The CRC-32 of dataset number `set` from the n parts of all ranks, which are sorted; false if
 * they are not the whole of it. */
bool lm_digest_combine(const struct lm_digest *digest, int set, struct lm_digest_part *parts,
                       size_t n, uint32_t *crc);

void lm_digest_clear(struct lm_digest *digest);

/* CRC-32 of bytes that follow those of `before` (0: none). */
uint32_t lm_crc32(uint32_t before, const void *bytes, size_t size);

#endif
