/* IDX: one byte of choices, the length of the file of images in two bytes, then that file
 * and the file of labels. */
#include "fuzz.h"
#include "fuzz_dataset.h"

#include <unistd.h>
#include <zlib.h>

enum {
    PACK_IMAGES = 4,
    PACK_LABELS = 8,
    DOT = 16,
    TEST = 32,
    FEW_CLASSES = 64,
    PACKED = 1 << 17
};

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fuzz_start();
    return 0;
}

/* Through gzip when asked to, so that inputs get behind its checksum. */
static void write_file(const char *path, bool pack, const uint8_t *data, size_t size) {
    if (!pack) {
        fuzz_write(path, data, size);
        return;
    }
    static uint8_t packed[PACKED];
    z_stream stream = {.next_in = (uint8_t *)data,
                       .avail_in = (unsigned)size,
                       .next_out = packed,
                       .avail_out = PACKED};
    PROMISE(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    PROMISE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    fuzz_write(path, packed, stream.total_out);
    PROMISE(deflateEnd(&stream) == Z_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[2][2][2] = {
        {{"train-images-idx3-ubyte", "train-images.idx3-ubyte.gz"},
         {"train-labels-idx1-ubyte", "train-labels.idx1-ubyte.gz"}},
        {{"t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte.gz"},
         {"t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte.gz"}}};
    if (size > PACKED / 2)
        return 0;
    struct fuzz_input input = {data, size};
    unsigned choice = fuzz_byte(&input);
    size_t images = fuzz_word(&input);
    images = images < input.size ? images : input.size;
    bool test = choice & TEST, dot = choice & DOT;
    const char *path = fuzz_path(names[test][0][dot]), *other = fuzz_path(names[test][1][dot]);
    write_file(path, choice & PACK_IMAGES, input.data, images);
    write_file(other, choice & PACK_LABELS, input.data + images, input.size - images);
    fuzz_dataset("idx", test ? LM_TEST : LM_TRAIN, (int)(choice & 3),
                 choice & FEW_CLASSES ? 3 : 10);
    unlink(path); /* a plain name would hide the one that ends in .gz */
    unlink(other);
    return 0;
}
