/* A small checkpoint, and what a reader of a spoiled one promises. */
#ifndef LAMINA_FUZZ_RESUME_H
#define LAMINA_FUZZ_RESUME_H

#include <stddef.h>
#include <stdint.h>

/* Write a good checkpoint at `path` and read it back; returns its bytes, *size of them. */
uint8_t *fuzz_good_checkpoint(const char *path, size_t *size);

/* Read the file at `path` as `lamina train --resume` and `lamina gradients --from` do. */
void fuzz_resume(const char *path);

#endif
