/* Memory: zeroed, aligned, overflow-checked, counted allocation.
 *
 * Running out of memory ends the job (lm_abort, LM_SYSTEM): no caller has to
 * check. Blocks start at a multiple of 64 bytes, one cache line and one AVX-512
 * vector. */
#ifndef LAMINA_MEMORY_H
#define LAMINA_MEMORY_H

#include <stddef.h>

/* A zeroed block of `count` elements of `size` bytes; free with lm_free. Never
 * NULL, also for count 0. Thread-safe. */
void *lm_allocate(size_t count, size_t size);

/* The same, but what the block holds is undefined: for what is written before it is read. */
void *lm_allocate_room(size_t count, size_t size);

/* Free a block of these; NULL is allowed. Thread-safe. */
void lm_free(void *block);

/* A copy of a string; free with lm_free. NULL gives NULL. */
char *lm_copy_string(const char *text);

/* Bytes of a processor's second cache, as far as the system tells, else what most have: how
 * much a thread had better go through at a time. Thread-safe. */
size_t lm_near_bytes(void);

/* Blocks allocated and not yet freed; tests check that it returns to its value. */
size_t lm_memory_blocks(void);

/* a * b, or the job ends when the product does not fit a size_t. */
size_t lm_product(size_t a, size_t b);

#endif
