#include "memory.h"

#include "status.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ALIGNMENT = 64,
    USUAL_NEAR = 512 << 10, /* bytes */
    LEAST_NEAR = 64 << 10,  /* what is less cannot be true */
};

static atomic_size_t blocks;

size_t lm_product(size_t a, size_t b) {
    if (b && a > SIZE_MAX / b)
        lm_abort(LM_SYSTEM, "a size of %zu x %zu does not fit this machine", a, b);
    return a * b;
}

/* A block of any numbers, and how long it is. */
static void *allocate(size_t count, size_t size, size_t *rounded) {
    size_t bytes = lm_product(count, size);
    if (bytes > SIZE_MAX - ALIGNMENT)
        lm_abort(LM_SYSTEM, "a block of %zu bytes does not fit this machine", bytes);
    *rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, *rounded);
    if (!block)
        lm_abort(LM_SYSTEM, "out of memory: no block of %zu bytes", *rounded);
    atomic_fetch_add(&blocks, 1);
    return block;
}

void *lm_allocate(size_t count, size_t size) {
    size_t bytes;
    void *block = allocate(count, size, &bytes);
    return memset(block, 0, bytes);
}

void *lm_allocate_room(size_t count, size_t size) {
    size_t bytes;
    return allocate(count, size, &bytes);
}

void lm_free(void *block) {
    if (!block)
        return;
    atomic_fetch_sub(&blocks, 1);
    free(block);
}

char *lm_copy_string(const char *text) {
    if (!text)
        return NULL;
    size_t bytes = strlen(text) + 1;
    return memcpy(lm_allocate(bytes, 1), text, bytes);
}

size_t lm_near_bytes(void) {
    static atomic_size_t known; /* to ask may take long */
    size_t bytes = atomic_load(&known);
    if (!bytes) {
        long told = sysconf(_SC_LEVEL2_CACHE_SIZE);
        bytes = told >= LEAST_NEAR ? (size_t)told : USUAL_NEAR;
        atomic_store(&known, bytes);
    }
    return bytes;
}

size_t lm_memory_blocks(void) {
    return atomic_load(&blocks);
}
