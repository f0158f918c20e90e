/* What the fuzz targets share. A target feeds bytes of any kind to one parser, which must
 * take them or fail as its header says; anything else (a bug, a sanitizer's finding, a block
 * not given back) ends the process, which libFuzzer, or replay.c, reports. */
#ifndef LAMINA_FUZZ_H
#define LAMINA_FUZZ_H

#include "status.h"

#include <stddef.h>
#include <stdint.h>

/* Called by libFuzzer or replay.c: once, then for each input. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* End the process when a promise is broken. */
#define PROMISE(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_broken(const char *file, int line, const char *promise);

/* Make lm_abort a finding, and make a folder for files of this process in $TMPDIR. */
void fuzz_start(void);

/* FOLDER/NAME; valid until the fourth call from now. */
const char *fuzz_path(const char *name);

/* Make a file hold these bytes. */
void fuzz_write(const char *path, const void *bytes, size_t size);

/* A failure has one of two codes and says one printable line. */
void fuzz_check_failure(const struct lm_status *status, enum lm_code one, enum lm_code other);

/* What is left of an input. Past its end all bytes are 0. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

uint8_t fuzz_byte(struct fuzz_input *input);
unsigned fuzz_word(struct fuzz_input *input); /* two bytes, the lower first */

#endif
