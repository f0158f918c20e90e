/* CIFAR-10: one byte of choices, then for each file of the split its size in two bytes and
 * five: what it holds throughout but for the labels of its records and its second byte. */
#include "fuzz.h"
#include "fuzz_dataset.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECORD = 3073, MOST = 3 * RECORD + 3, MISSING = 0xffff, TEST = 4, FEW_CLASSES = 8 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fuzz_start();
    return 0;
}

static void write_file(const char *path, struct fuzz_input *input) {
    static uint8_t bytes[MOST];
    size_t size = fuzz_word(input);
    memset(bytes, fuzz_byte(input), MOST);
    for (size_t k = 0; k < MOST / RECORD; k++)
        bytes[k * RECORD] = fuzz_byte(input);
    bytes[1] = fuzz_byte(input);
    if (size == MISSING)
        unlink(path);
    else
        fuzz_write(path, bytes, size % MOST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    unsigned choice = fuzz_byte(&input);
    bool test = choice & TEST;
    for (int f = 1; !test && f <= 5; f++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", f);
        write_file(fuzz_path(name), &input);
    }
    if (test)
        write_file(fuzz_path("test_batch.bin"), &input);
    fuzz_dataset("cifar10", test ? LM_TEST : LM_TRAIN, (int)(choice & 3),
                 choice & FEW_CLASSES ? 3 : 10);
    return 0;
}
