/* The binary version of CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin,
 * records of one label byte and the red, green and blue plane of 32 x 32 pixels. */
#include "dataset.h"
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CHANNELS = 3,
    SIDE = 32,
    PIXELS = CHANNELS * SIDE * SIDE,
    RECORD = 1 + PIXELS, /* bytes */
    CLASSES = 10,
    MAX_FILES = 5, /* of a split */
};

struct batch_file {
    char *path;
    FILE *stream;
    size_t records;
};

static bool fail_missing(const char *path, struct lm_status *status) {
    char packed[4096];
    struct stat found;
    if (snprintf(packed, sizeof packed, "%s.gz", path) < (int)sizeof packed &&
        !stat(packed, &found))
        return lm_fail(status, LM_NO_INPUT, "%s: is packed: unpack it with gunzip", packed);
    return lm_fail(status, LM_NO_INPUT,
                   "%s: is not there: expected the files of the binary version of CIFAR-10",
                   path);
}

/* Count the records by the size, and notice a packed file before its size is blamed. */
static bool check_size(struct batch_file *file, size_t size, struct lm_status *status) {
    uint8_t magic[2];
    if (fread(magic, 1, 2, file->stream) == 2 && magic[0] == 0x1f && magic[1] == 0x8b)
        return lm_fail(status, LM_DATA,
                       "%s: gzip data found, plain records expected: unpack it with gunzip",
                       file->path);
    rewind(file->stream);
    file->records = size / RECORD;
    return (file->records && size % RECORD == 0) ||
           lm_fail(status, LM_DATA,
                   "%s: %zu bytes found, a multiple of %d expected: records of a label and "
                   "%d x %d x %d pixels",
                   file->path, size, RECORD, CHANNELS, SIDE, SIDE);
}

static bool open_file(struct batch_file *file, const char *folder, const char *name,
                      struct lm_status *status) {
    size_t room = strlen(folder) + strlen(name) + 2;
    struct stat found;
    file->path = lm_allocate(room, 1);
    snprintf(file->path, room, "%s/%s", folder, name);
    if (stat(file->path, &found))
        return errno == ENOENT
                   ? fail_missing(file->path, status)
                   : lm_fail(status, LM_NO_INPUT, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return lm_fail(status, LM_NO_INPUT, "%s: is not a regular file", file->path);
    file->stream = fopen(file->path, "rb");
    if (!file->stream)
        return lm_fail(status, LM_NO_INPUT, "%s: cannot be opened: %s", file->path,
                       strerror(errno));
    return check_size(file, (size_t)found.st_size, status);
}

/* Read all records into labels (records) and images (records, PIXELS); NULL: not wanted. */
static bool read_records(const struct batch_file *file, uint8_t *labels, uint8_t *images,
                         struct lm_status *status) {
    uint8_t record[RECORD];
    for (size_t i = 0; i < file->records; i++) {
        if (fread(record, RECORD, 1, file->stream) != 1)
            return ferror(file->stream) ? lm_fail(status, LM_NO_INPUT, "%s: cannot be read: %s",
                                                  file->path, strerror(errno))
                                        : lm_fail(status, LM_DATA,
                                                  "%s: truncated: %zu records found, %zu "
                                                  "expected",
                                                  file->path, i, file->records);
        if (record[0] >= CLASSES)
            return lm_fail(status, LM_DATA,
                           "%s: label %d of record %zu (from 0) found, 0 to %d expected",
                           file->path, record[0], i, CLASSES - 1);
        if (labels)
            labels[i] = record[0];
        if (images)
            memcpy(images + i * PIXELS, record + 1, PIXELS);
    }
    return true;
}

static bool read_split(struct lm_dataset *set, int n_files, const struct batch_file file[],
                       int want, struct lm_status *status) {
    for (int f = 0; f < n_files; f++)
        set->n += file[f].records;
    set->labels = want & LM_WANT_LABELS ? lm_allocate(set->n, 1) : NULL;
    set->images = want & LM_WANT_IMAGES ? lm_allocate(set->n, PIXELS) : NULL;
    size_t n = 0;
    for (int f = 0; want && f < n_files; f++) {
        if (!read_records(&file[f], set->labels ? set->labels + n : NULL,
                          set->images ? set->images + n * PIXELS : NULL, status))
            return false;
        n += file[f].records;
    }
    return true;
}

static bool read_cifar10(struct lm_dataset *set, const char *folder, enum lm_split split,
                         int want, struct lm_status *status) {
    static const char *const train[] = {"data_batch_1.bin", "data_batch_2.bin",
                                        "data_batch_3.bin", "data_batch_4.bin",
                                        "data_batch_5.bin"};
    static const char *const test[] = {"test_batch.bin"};
    const char *const *names = split == LM_TRAIN ? train : test;
    int n_files = split == LM_TRAIN ? MAX_FILES : 1;
    struct batch_file file[MAX_FILES] = {{0}};
    bool good = true;
    for (int f = 0; good && f < n_files; f++)
        good = open_file(&file[f], folder, names[f], status);
    good = good && read_split(set, n_files, file, want, status);
    for (int f = 0; f < n_files; f++) {
        if (file[f].stream)
            fclose(file[f].stream);
        lm_free(file[f].path);
    }
    set->shape = (struct lm_shape){3, {CHANNELS, SIDE, SIDE}};
    set->label_source = good ? lm_copy_string(folder) : NULL;
    return good;
}

const struct lm_dataset_format lm_dataset_cifar10 = {
    .name = "cifar10",
    .summary = "the binary version of CIFAR-10",
    .read = read_cifar10,
};
