/* Checkpoint, its bytes: a good file cut to a length given in two bytes (of 65536ths; 0: not
 * cut), in which bytes are replaced: three bytes say where, one by what. */
#include "fuzz.h"
#include "fuzz_resume.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *good, *spoiled;
static size_t good_size;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fuzz_start();
    good = fuzz_good_checkpoint(fuzz_path("good.h5"), &good_size);
    spoiled = malloc(good_size);
    PROMISE(spoiled);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_path("spoiled.h5");
    struct fuzz_input input = {data, size};
    size_t cut = fuzz_word(&input);
    memcpy(spoiled, good, good_size);
    while (input.size) {
        size_t at = fuzz_word(&input);
        at |= (size_t)fuzz_byte(&input) << 16;
        spoiled[at % good_size] = fuzz_byte(&input);
    }
    fuzz_write(path, spoiled, cut ? good_size * cut / 65536 : good_size);
    fuzz_resume(path);
    return 0;
}
