/* The IDX format: two zero bytes, the type, the number of dimensions, one 32-bit
 * big-endian extent each, then the elements, the last dimension fastest. */
#include "dataset.h"
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum {
    UNSIGNED_BYTE = 0x08,
    MAX_DIMENSIONS = 3,
    MAX_EXPANSION = 1032, /* deflate: 258 bytes from 2 bits at best */
    FIRST_PIECE = 1 << 20,
    LONGEST_READ = 1 << 30,
};

struct idx_file {
    const char *part; /* "images" or "labels" */
    int dimensions;   /* expected */
    char *path;
    size_t size; /* bytes on disk, compressed or not */
    gzFile stream;
    size_t extent[MAX_DIMENSIONS];
    size_t header;  /* bytes */
    size_t content; /* bytes after the header, by the header */
};

/* Look for the file under each of its names; prefers plain ones. */
static bool find_file(struct idx_file *file, const char *folder, enum lm_split split,
                      struct lm_status *status) {
    static const char *const dot[] = {"-", "-", ".", "."};
    static const char *const end[] = {"", ".gz", "", ".gz"};
    const char *name = split == LM_TRAIN ? "train" : "t10k";
    size_t room = strlen(folder) + 64;
    file->path = lm_allocate(room, 1);
    for (int i = 0; i < 4; i++) {
        snprintf(file->path, room, "%s/%s-%s%sidx%d-ubyte%s", folder, name, file->part, dot[i],
                 file->dimensions, end[i]);
        struct stat found;
        if (!stat(file->path, &found)) {
            file->size = (size_t)found.st_size;
            return S_ISREG(found.st_mode) ||
                   lm_fail(status, LM_NO_INPUT, "%s: is not a regular file", file->path);
        }
        if (errno != ENOENT)
            return lm_fail(status, LM_NO_INPUT, "%s: %s", file->path, strerror(errno));
    }
    return lm_fail(status, LM_NO_INPUT,
                   "%s/%s-%s-idx%d-ubyte: is not there, nor with '.idx%d', nor with '.gz'",
                   folder, name, file->part, file->dimensions, file->dimensions);
}

/* The reason why `found` bytes could be read where `expected` belong. */
static bool fail_read(const struct idx_file *file, size_t found, size_t expected,
                      struct lm_status *status) {
    int error = Z_OK;
    int reason = errno;
    gzerror(file->stream, &error);
    if (error == Z_ERRNO)
        return lm_fail(status, LM_NO_INPUT, "%s: cannot be read: %s", file->path,
                       strerror(reason));
    if (found == expected)
        return lm_fail(status, LM_DATA, "%s: gzip data whose checksum is missing or wrong",
                       file->path);
    if (error == Z_DATA_ERROR)
        return lm_fail(status, LM_DATA,
                       "%s: corrupted gzip data: %zu of %zu bytes could be unpacked",
                       file->path, found, expected);
    if (error == Z_BUF_ERROR)
        return lm_fail(status, LM_DATA,
                       "%s: truncated gzip data: %zu bytes found, %zu expected", file->path,
                       found, expected);
    return lm_fail(status, LM_DATA, "%s: truncated: %zu bytes found, %zu expected", file->path,
                   found, expected);
}

/* Read up to `bytes`; fewer only at the end of the file or after an error. */
static size_t read_up_to(struct idx_file *file, size_t bytes, uint8_t *data) {
    size_t found = 0;
    while (found < bytes) {
        size_t piece = bytes - found < LONGEST_READ ? bytes - found : LONGEST_READ;
        int got = gzread(file->stream, data + found, (unsigned)piece);
        if (got <= 0)
            break;
        found += (size_t)got;
    }
    return found;
}

static size_t big_endian(const uint8_t byte[4]) {
    return (size_t)byte[0] << 24 | (size_t)byte[1] << 16 | (size_t)byte[2] << 8 | byte[3];
}

/* Compare what the header announces with what the file can hold. */
static bool check_size(const struct idx_file *file, struct lm_status *status) {
    if (!gzdirect(file->stream)) {
        if (file->content / MAX_EXPANSION > file->size)
            return lm_fail(status, LM_DATA,
                           "%s: %zu bytes expected by its header, more than %zu bytes of gzip "
                           "data can hold",
                           file->path, file->content, file->size);
        return true;
    }
    size_t expected = file->header + file->content;
    if (file->size != expected)
        return lm_fail(status, LM_DATA, "%s: %s: %zu bytes found, %zu expected", file->path,
                       file->size < expected ? "truncated" : "too long", file->size, expected);
    return true;
}

static bool read_header(struct idx_file *file, struct lm_status *status) {
    uint8_t header[4 + 4 * MAX_DIMENSIONS];
    file->header = 4 + 4 * (size_t)file->dimensions;
    size_t found = read_up_to(file, file->header, header);
    if (found >= 4 &&
        (header[0] || header[1] || header[2] != UNSIGNED_BYTE || header[3] != file->dimensions))
        return lm_fail(status, LM_DATA,
                       "%s: magic 0x%08zx found, 0x%08x expected (%s are unsigned bytes of %d "
                       "dimension%s)",
                       file->path, big_endian(header),
                       UNSIGNED_BYTE << 8 | (unsigned)file->dimensions, file->part,
                       file->dimensions, file->dimensions == 1 ? "" : "s");
    if (found < file->header)
        return fail_read(file, found, file->header, status);
    file->content = 1;
    for (int i = 0; i < file->dimensions; i++) {
        file->extent[i] = big_endian(header + 4 + 4 * i);
        if (file->extent[i] < 1)
            return lm_fail(status, LM_DATA, "%s: extent %d is 0: at least 1 is expected",
                           file->path, i + 1);
        if (file->content > (SIZE_MAX - file->header) / file->extent[i])
            return lm_fail(status, LM_DATA,
                           "%s: extents from %zu on are too large for any machine", file->path,
                           file->extent[0]);
        file->content *= file->extent[i];
    }
    return check_size(file, status);
}

/* The content, in memory that grows with what a gzip file really holds, because its
 * header alone is not to be trusted. */
static uint8_t *read_growing(struct idx_file *file, size_t *found) {
    bool verified = gzdirect(file->stream);
    size_t capacity =
        verified || file->content < FIRST_PIECE ? file->content : (size_t)FIRST_PIECE;
    uint8_t *data = lm_allocate(capacity, 1);
    *found = read_up_to(file, capacity, data);
    while (*found == capacity && capacity < file->content) {
        capacity = capacity < file->content / 2 ? 2 * capacity : file->content;
        uint8_t *larger = lm_allocate(capacity, 1);
        memcpy(larger, data, *found);
        lm_free(data);
        data = larger;
        *found += read_up_to(file, capacity - *found, data + *found);
    }
    return data;
}

/* Read the content into *data, for lm_free also after a failure. */
static bool read_content(struct idx_file *file, uint8_t **data, struct lm_status *status) {
    size_t found;
    *data = read_growing(file, &found);
    size_t expected = file->header + file->content;
    if (found < file->content)
        return fail_read(file, file->header + found, expected, status);
    uint8_t extra;
    int error = Z_OK;
    if (read_up_to(file, 1, &extra))
        return lm_fail(status, LM_DATA, "%s: too long: more than the expected %zu bytes found",
                       file->path, expected);
    gzerror(file->stream, &error); /* the checksum is only compared at the end */
    return error == Z_OK || error == Z_STREAM_END ||
           fail_read(file, expected, expected, status);
}

/* The last four bytes of a file; false if it has fewer, or they cannot be read. */
static bool read_last(const char *path, uint8_t last[4]) {
    FILE *file = fopen(path, "rb");
    bool good = file && fseek(file, -4, SEEK_END) == 0 && fread(last, 4, 1, file) == 1;
    if (file)
        fclose(file);
    return good;
}

/* A gzip file ends with how long its content is, little-endian: zlib does not look at what is
 * behind the data, nor at the data themselves if they are not read. */
static bool check_end(const struct idx_file *file, struct lm_status *status) {
    uint8_t last[4];
    uint32_t expected = (uint32_t)(file->header + file->content);
    if (gzdirect(file->stream))
        return true;
    if (!read_last(file->path, last))
        return lm_fail(status, LM_NO_INPUT, "%s: its end cannot be read", file->path);
    uint32_t said =
        (uint32_t)last[3] << 24 | (uint32_t)last[2] << 16 | (uint32_t)last[1] << 8 | last[0];
    return said == expected ||
           lm_fail(status, LM_DATA,
                   "%s: gzip data of %lu bytes by its end, %lu expected: cut short, or "
                   "something is behind it",
                   file->path, (unsigned long)said, (unsigned long)expected);
}

/* Find a file, read its header and, when `data` is not NULL, its content. */
static bool open_file(struct idx_file *file, const char *folder, enum lm_split split,
                      uint8_t **data, struct lm_status *status) {
    if (!find_file(file, folder, split, status))
        return false;
    file->stream = gzopen(file->path, "rb");
    if (!file->stream)
        return lm_fail(status, LM_NO_INPUT, "%s: cannot be opened: %s", file->path,
                       strerror(errno));
    gzbuffer(file->stream, 1 << 16);
    return read_header(file, status) && (!data || read_content(file, data, status)) &&
           check_end(file, status);
}

static void close_file(struct idx_file *file) {
    if (file->stream)
        gzclose_r(file->stream);
    lm_free(file->path);
}

static bool read_idx(struct lm_dataset *set, const char *folder, enum lm_split split, int want,
                     struct lm_status *status) {
    struct idx_file images = {.part = "images", .dimensions = 3};
    struct idx_file labels = {.part = "labels", .dimensions = 1};
    bool good =
        open_file(&images, folder, split, want & LM_WANT_IMAGES ? &set->images : NULL,
                  status) &&
        open_file(&labels, folder, split, want & LM_WANT_LABELS ? &set->labels : NULL, status);
    if (good && images.extent[0] != labels.extent[0])
        good = lm_fail(status, LM_DATA, "%s: %zu labels found, %zu expected, the images of %s",
                       labels.path, labels.extent[0], images.extent[0], images.path);
    if (good) {
        set->n = images.extent[0];
        set->shape = (struct lm_shape){3, {1, images.extent[1], images.extent[2]}};
        set->label_source = lm_copy_string(labels.path);
    }
    close_file(&images);
    close_file(&labels);
    return good;
}

const struct lm_dataset_format lm_dataset_idx = {
    .name = "idx",
    .summary = "the files of MNIST and Fashion-MNIST, plain or .gz",
    .read = read_idx,
};
