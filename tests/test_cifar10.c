/* The CIFAR-10 reader: its records in both splits, and every way a file can be wrong. */
#include "dataset.h"
#include "memory.h"
#include "runner.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIXELS = 3 * 32 * 32, RECORD = 1 + PIXELS, CLASSES = 10, FILES = 6 };
enum { BOTH = LM_WANT_IMAGES | LM_WANT_LABELS };

static const char *const names[FILES] = {"data_batch_1.bin", "data_batch_2.bin",
                                         "data_batch_3.bin", "data_batch_4.bin",
                                         "data_batch_5.bin", "test_batch.bin"};
static const int records[FILES] = {3, 1, 2, 1, 4, 2};
enum { TRAIN = 3 + 1 + 2 + 1 + 4, TEST = 2, MOST = 5 };

static char folder[64];

static const char *path_of(const char *name) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Byte of a record of the data set; records of the test split come after the others. */
static uint8_t byte_of(int record, int byte) {
    if (byte == 0)
        return (uint8_t)(record * 7 % CLASSES);
    unsigned z = (unsigned)(record * PIXELS + byte) * 2654435761u;
    return (uint8_t)((z ^ z >> 15) * 2246822519u >> 24);
}

static void write_file(const char *name, const void *data, size_t bytes) {
    FILE *file = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

/* The good content of file f, and its size. */
static size_t content(int f, uint8_t data[MOST * RECORD]) {
    int first = 0;
    for (int i = 0; i < f; i++)
        first += records[i];
    for (int i = 0; i < records[f] * RECORD; i++)
        data[i] = byte_of(first + i / RECORD, i % RECORD);
    return (size_t)records[f] * RECORD;
}

static void make_files(void) {
    strcpy(folder, "cifar10-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    uint8_t data[MOST * RECORD];
    for (int f = 0; f < FILES; f++) {
        size_t bytes = content(f, data);
        write_file(names[f], data, bytes);
    }
}

static void remove_files(void) {
    for (int f = 0; f < FILES; f++)
        unlink(path_of(names[f]));
    ck_assert_int_eq(rmdir(folder), 0);
}

static void expect_failure(enum lm_split split, int want, enum lm_code code, const char *part) {
    struct lm_dataset set;
    struct lm_status status = {0};
    size_t before = lm_memory_blocks();
    ck_assert_msg(!lm_dataset_read(&set, "cifar10", folder, split, want, CLASSES, &status),
                  "read although: %s", part);
    ck_assert_msg(status.code == code, "code %d: %s", status.code, status.message);
    ck_assert_msg(strstr(status.message, part) != NULL, "'%s' is not in: %s", part,
                  status.message);
    ck_assert(!set.source && !set.label_source && !set.images && !set.labels);
    ck_assert_uint_eq(lm_memory_blocks(), before);
}

static void expect_good(enum lm_split split, int want) {
    int n = split == LM_TRAIN ? TRAIN : TEST, first = split == LM_TRAIN ? 0 : TRAIN;
    struct lm_dataset set;
    struct lm_status status = {0};
    ck_assert_msg(lm_dataset_read(&set, "cifar10", folder, split, want, CLASSES, &status), "%s",
                  status.message);
    struct lm_shape shape = {3, {3, 32, 32}};
    ck_assert(lm_shape_equal(&set.shape, &shape));
    ck_assert_uint_eq(set.n, (size_t)n);
    ck_assert_int_eq(set.images != NULL, !!(want & LM_WANT_IMAGES));
    ck_assert_int_eq(set.labels != NULL, !!(want & LM_WANT_LABELS));
    for (int i = 0; set.labels && i < n; i++)
        ck_assert_int_eq(set.labels[i], byte_of(first + i, 0));
    int wrong = 0;
    for (int i = 0; set.images && i < n * PIXELS; i++)
        wrong += set.images[i] != byte_of(first + i / PIXELS, 1 + i % PIXELS);
    ck_assert_int_eq(wrong, 0);
    lm_dataset_clear(&set);
}

START_TEST(reads_both_splits_and_every_want) {
    make_files();
    for (int want = 0; want <= BOTH; want++) {
        expect_good(LM_TRAIN, want);
        expect_good(LM_TEST, want);
    }
    remove_files();
}
END_TEST

/* Pixels become numbers in [0, 1], planes in the order red, green, blue. */
START_TEST(fills_chunks) {
    struct lm_dataset set;
    struct lm_status status = {0};
    uint32_t index[] = {10, 0, 5};
    static real x[PIXELS * 16];
    int label[3];
    make_files();
    ck_assert(lm_dataset_read(&set, "cifar10", folder, LM_TRAIN, BOTH, CLASSES, &status));
    lm_dataset_fill(&set, 3, index, 16, x, label);
    int wrong = 0;
    for (int u = 0; u < PIXELS; u++)
        for (int b = 0; b < 3; b++)
            wrong += x[u * 16 + b] != (real)byte_of((int)index[b], 1 + u) / 255;
    ck_assert_int_eq(wrong, 0);
    for (int b = 0; b < 3; b++)
        ck_assert_int_eq(label[b], byte_of((int)index[b], 0));
    lm_dataset_clear(&set);
    remove_files();
}
END_TEST

/* Files of a wrong size; `packed` ones begin as gzip files do. */
static const struct wrong_size {
    long grow;
    bool packed;
    const char *part;
} wrong_sizes[] = {
    {-1, false, "data_batch_3.bin: 6145 bytes found, a multiple of 3073 expected"},
    {+1, false, "data_batch_3.bin: 6147 bytes found, a multiple of 3073 expected"},
    {-2 * RECORD, false, "data_batch_3.bin: 0 bytes found, a multiple of 3073 expected"},
    {-2 * RECORD + 1, false, "data_batch_3.bin: 1 bytes found"},
    {-300, true, "data_batch_3.bin: gzip data found, plain records expected"},
    {0, true, "data_batch_3.bin: gzip data found, plain records expected"},
};

START_TEST(reports_wrong_sizes) {
    make_files();
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof wrong_sizes[0]; i++) {
        const struct wrong_size *wrong = &wrong_sizes[i];
        uint8_t data[MOST * RECORD] = {0};
        size_t bytes = content(2, data);
        if (wrong->packed) {
            data[0] = 0x1f;
            data[1] = 0x8b;
        }
        write_file("data_batch_3.bin", data, (size_t)((long)bytes + wrong->grow));
        for (int want = 0; want <= BOTH; want++)
            expect_failure(LM_TRAIN, want, LM_DATA, wrong->part);
    }
    remove_files();
}
END_TEST

START_TEST(reports_a_wrong_label) {
    uint8_t data[MOST * RECORD];
    make_files();
    size_t bytes = content(4, data);
    data[3 * RECORD] = 10;
    write_file("data_batch_5.bin", data, bytes);
    for (int want = 1; want <= BOTH; want++)
        expect_failure(LM_TRAIN, want, LM_DATA,
                       "data_batch_5.bin: label 10 of record 3 (from 0) found, 0 to 9");
    bytes = content(5, data);
    data[0] = 255;
    write_file("test_batch.bin", data, bytes);
    expect_failure(LM_TEST, LM_WANT_IMAGES, LM_DATA,
                   "test_batch.bin: label 255 of record 0 (from 0) found, 0 to 9");
    remove_files();
}
END_TEST

/* A network of fewer classes: the message says which input. */
START_TEST(reports_a_label_beyond_the_classes) {
    struct lm_dataset set;
    struct lm_status status = {0};
    char part[128];
    make_files();
    snprintf(part, sizeof part, "%s: label 7 of input 1 is not below 7 classes", folder);
    ck_assert(!lm_dataset_read(&set, "cifar10", folder, LM_TRAIN, BOTH, 7, &status));
    ck_assert_int_eq(status.code, LM_DATA);
    ck_assert_str_eq(status.message, part);
    remove_files();
}
END_TEST

START_TEST(reports_missing_and_strange_files) {
    make_files();
    unlink(path_of("data_batch_4.bin"));
    for (int want = 0; want <= BOTH; want++)
        expect_failure(LM_TRAIN, want, LM_NO_INPUT, "data_batch_4.bin: is not there");
    write_file("data_batch_4.bin.gz", "", 0);
    expect_failure(LM_TRAIN, BOTH, LM_NO_INPUT, "data_batch_4.bin.gz: is packed: unpack it");
    unlink(path_of("data_batch_4.bin.gz"));
    ck_assert_int_eq(mkdir(path_of("data_batch_4.bin"), 0777), 0);
    expect_failure(LM_TRAIN, BOTH, LM_NO_INPUT, "data_batch_4.bin: is not a regular file");
    ck_assert_int_eq(rmdir(path_of("data_batch_4.bin")), 0);
    ck_assert_int_eq(symlink("test_batch.bin/no", path_of("data_batch_4.bin")), 0);
    expect_failure(LM_TRAIN, BOTH, LM_NO_INPUT, "data_batch_4.bin: Not a directory");
    unlink(path_of("test_batch.bin"));
    expect_failure(LM_TEST, 0, LM_NO_INPUT, "test_batch.bin: is not there");
    remove_files();
}
END_TEST

int main(void) {
    return RUN_TESTS("cifar10", reads_both_splits_and_every_want, fills_chunks,
                     reports_wrong_sizes, reports_a_wrong_label,
                     reports_a_label_beyond_the_classes, reports_missing_and_strange_files);
}
