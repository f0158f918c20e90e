#include "store_hdf5.h"

#include "memory.h"

#include <errno.h>
#include <hdf5_hl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Types and parts of datasets ---- */

static hid_t memory_type(enum lm_field_type type) {
    bool single = type == LM_FIELD_REAL && sizeof(real) == sizeof(float);
    return type == LM_FIELD_INT64 ? H5T_NATIVE_INT64
           : single               ? H5T_NATIVE_FLOAT
                                  : H5T_NATIVE_DOUBLE;
}

static hid_t file_type(enum lm_field_type type) {
    bool single = type == LM_FIELD_REAL && sizeof(real) == sizeof(float);
    return type == LM_FIELD_INT64 ? H5T_STD_I64LE : single ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
}

static size_t size_of(enum lm_field_type type) {
    return type == LM_FIELD_REAL ? sizeof(real) : sizeof(double);
}

/* Select a part of a dataset and write it from `in`, or read it to `out`, which have numbers
 * of `type`. */
static bool transfer(hid_t dataset, const struct lm_slab *slab, hid_t type, const void *in,
                     void *out) {
    hsize_t offset[LM_MAX_DIMENSIONS], count[LM_MAX_DIMENSIONS];
    for (int d = 0; d < LM_MAX_DIMENSIONS; d++) {
        offset[d] = slab->offset[d];
        count[d] = slab->count[d];
    }
    hid_t space = lm_h5_got(H5Dget_space(dataset)), memory = H5I_INVALID_HID;
    int rank = space < 0 ? 0 : H5Sget_simple_extent_ndims(space);
    bool ok =
        rank >= 1 && rank <= LM_MAX_DIMENSIONS &&
        lm_h5_done(H5Sselect_hyperslab(space, H5S_SELECT_SET, offset, NULL, count, NULL)) &&
        lm_h5_done(memory = H5Screate_simple(rank, count, NULL));
    if (ok && in)
        ok = lm_h5_done(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, in));
    else if (ok)
        ok = lm_h5_done(H5Dread(dataset, type, memory, space, H5P_DEFAULT, out));
    return lm_h5_drop(memory) && lm_h5_drop(space) && ok;
}

/* Whether a slab of `rank` dimensions has no values. */
static bool is_empty(const struct lm_slab *slab, int rank) {
    for (int d = 0; d < rank; d++)
        if (slab->count[d] == 0)
            return true;
    return false;
}

/* Dimensions that a slab has values in. */
static int dimensions(const struct lm_slab *slab) {
    int n = 0;
    while (n < LM_MAX_DIMENSIONS && slab->count[n])
        n++;
    return n;
}

/* The dimensions of a dataset, or -1. */
static int get_extent(hid_t dataset, hsize_t extent[LM_MAX_DIMENSIONS]) {
    hid_t space = lm_h5_got(H5Dget_space(dataset));
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (rank > LM_MAX_DIMENSIONS ||
        (rank > 0 && H5Sget_simple_extent_dims(space, extent, NULL) < 0))
        rank = -1;
    lm_h5_drop(space);
    return rank;
}

/* ---- Groups and datasets ---- */

/* Objects on the way to a new one are made as needed. */
static hid_t link_list(void) {
    hid_t list = lm_h5_got(H5Pcreate(H5P_LINK_CREATE));
    if (list >= 0 && lm_h5_done(H5Pset_create_intermediate_group(list, 1)))
        return list;
    lm_h5_drop(list);
    return H5I_INVALID_HID;
}

bool lm_store_make_group(struct lm_store *store, const char *path, struct lm_status *status) {
    lm_h5_begin(store);
    hid_t links = link_list();
    hid_t group = H5I_INVALID_HID;
    if (links >= 0)
        group = lm_h5_got(H5Gcreate2(store->file, path, links, H5P_DEFAULT, H5P_DEFAULT));
    bool ok = group >= 0;
    ok = lm_h5_drop(group) && lm_h5_drop(links) && ok;
    return lm_h5_settle(store, ok, "make group", path, lm_h5_hash_call("group", path), status);
}

/* Contiguous, allocated at once. HDF5 must not fill what ranks make together: see reserve. */
static hid_t creation_list(enum lm_field_type type) {
    H5D_fill_time_t filling = type == LM_FIELD_TEXT ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER;
    hid_t list = lm_h5_got(H5Pcreate(H5P_DATASET_CREATE));
    if (list >= 0 && lm_h5_done(H5Pset_obj_track_times(list, false)) &&
        lm_h5_done(H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY)) &&
        lm_h5_done(H5Pset_fill_time(list, filling)))
        return list;
    lm_h5_drop(list);
    return H5I_INVALID_HID;
}

static hid_t create_dataset(struct lm_store *store, const struct lm_field *field, hid_t type) {
    hsize_t extent[LM_MAX_DIMENSIONS];
    LM_ASSERT(field->rank >= 1 && field->rank <= LM_MAX_DIMENSIONS);
    for (int d = 0; d < field->rank; d++)
        extent[d] = field->extent[d];
    hid_t space = lm_h5_got(H5Screate_simple(field->rank, extent, NULL));
    hid_t creation = creation_list(field->type), links = link_list();
    hid_t dataset = H5I_INVALID_HID;
    if (space >= 0 && creation >= 0 && links >= 0)
        dataset = lm_h5_got(
            H5Dcreate2(store->file, field->path, type, space, links, creation, H5P_DEFAULT));
    lm_h5_drop(space), lm_h5_drop(creation), lm_h5_drop(links);
    return dataset;
}

static bool describe(const struct lm_store *store, hid_t dataset,
                     const struct lm_field *field) {
    return lm_h5_set_text(store, dataset, "units", field->units) &&
           lm_h5_set_text(store, dataset, "long_name", field->long_name);
}

static bool attach_scales(struct lm_store *store, hid_t dataset, const struct lm_field *field) {
    bool ok = true;
    for (int d = 0; ok && d < field->rank && field->scale[d]; d++) {
        hid_t scale = lm_h5_got(H5Dopen2(store->file, field->scale[d], H5P_DEFAULT));
        ok = scale >= 0 && lm_h5_done(H5DSattach_scale(dataset, scale, (unsigned)d));
        ok = lm_h5_drop(scale) && ok;
    }
    return ok;
}

static uint64_t hash_field(const struct lm_field *field) {
    uint64_t said = lm_h5_hash_call("make", field->path);
    said = lm_h5_hash(said, &field->type, sizeof field->type);
    said = lm_h5_hash(said, field->extent, (size_t)field->rank * sizeof field->extent[0]);
    return lm_h5_hash_text(lm_h5_hash_text(said, field->units), field->long_name);
}

/* Rank 0 takes the disk space of a new dataset, and some for what HDF5 says of it: when
 * HDF5 meets a full disk while ranks work together, they wait for each other for ever. */
static bool reserve(const struct lm_store *store, hid_t dataset) {
    const off_t room = 1 << 16;
    haddr_t offset = H5Dget_offset(dataset);
    off_t end = offset == HADDR_UNDEF ? 0 : (off_t)(offset + H5Dget_storage_size(dataset));
    if (lm_aside_reserve(&store->aside, end + room))
        return true;
    snprintf(lm_h5_reason, sizeof lm_h5_reason, "%s", strerror(errno));
    return false;
}

/* Fill a new dataset, one index of its first dimension after the other. */
static bool fill(hid_t dataset, const struct lm_field *field) {
    struct lm_slab slab = {field->path, field->type, {0}, {0}};
    size_t rows = field->rank > 1 ? field->extent[0] : 1, n = 1;
    for (int d = 0; d < field->rank; d++) {
        slab.count[d] = d > 0 || rows == 1 ? field->extent[d] : 1;
        n = lm_product(n, slab.count[d]);
    }
    bool integer = field->type == LM_FIELD_INT64, ok = true;
    int64_t *integers = lm_allocate(integer ? n : 0, sizeof *integers);
    double *numbers = lm_allocate(integer ? 0 : n, sizeof *numbers);
    for (size_t i = 0; i < n; i++)
        if (integer)
            integers[i] = -1;
        else
            numbers[i] = NAN;
    slab.type = integer ? LM_FIELD_INT64 : LM_FIELD_DOUBLE;
    for (; ok && n && slab.offset[0] < rows; slab.offset[0]++)
        ok = transfer(dataset, &slab, memory_type(slab.type),
                      integer ? (void *)integers : numbers, NULL);
    lm_free(integers);
    lm_free(numbers);
    return ok;
}

bool lm_store_make(struct lm_store *store, const struct lm_field *field,
                   struct lm_status *status) {
    lm_h5_begin(store);
    LM_ASSERT(field->type != LM_FIELD_TEXT);
    hid_t dataset = create_dataset(store, field, file_type(field->type));
    bool ok = describe(store, dataset, field) && attach_scales(store, dataset, field) &&
              reserve(store, dataset);
    if (ok && store->rank == 0 && !field->whole)
        ok = fill(dataset, field);
    ok = lm_h5_drop(dataset) && ok;
    if (store->sealed)
        lm_digest_make(&store->digest, field->path, field->rank, field->extent,
                       size_of(field->type));
    return lm_h5_settle(store, ok, "make dataset", field->path, hash_field(field), status);
}

/* Make a dataset with values, and make it a scale. Rank 0 writes the values. */
static bool make_scale(struct lm_store *store, const struct lm_field *field, hid_t type,
                       hid_t memory, const void *values) {
    const char *slash = strrchr(field->path, '/');
    hid_t dataset = create_dataset(store, field, type);
    bool ok = describe(store, dataset, field) &&
              lm_h5_done(H5DSset_scale(dataset, slash ? slash + 1 : field->path)) &&
              reserve(store, dataset);
    if (ok && store->rank == 0 && field->extent[0])
        ok = lm_h5_done(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    return lm_h5_drop(dataset) && ok;
}

/* A scale of texts of any length. Parallel HDF5 cannot write those, and netCDF 4.9 crashes
 * on texts of fixed length, so rank 0 opens the file alone in between. */
static bool make_text_scale(struct lm_store *store, const struct lm_field *field,
                            const char *const texts[], uint64_t said,
                            struct lm_status *status) {
    const char *what = "make scale", *path = field->path;
    if (store->parallel && !lm_h5_settle(store, lm_h5_close(store), what, path, said, status))
        return false;
    bool ok = true;
    if (store->rank == 0) {
        hid_t type = lm_h5_text_type(H5T_VARIABLE);
        ok = (!store->parallel || lm_h5_open(store, store->aside.name, H5F_ACC_RDWR, true)) &&
             type >= 0 && make_scale(store, field, type, type, texts);
        lm_h5_drop(type);
        if (store->parallel && store->file >= 0)
            ok = lm_h5_close(store) && ok;
    }
    ok = lm_h5_settle(store, ok, what, path, said, status);
    if (!ok || !store->parallel)
        return ok;
    return lm_h5_settle(store, lm_h5_open(store, store->aside.name, H5F_ACC_RDWR, false), what,
                        path, said, status);
}

bool lm_store_make_scale(struct lm_store *store, const struct lm_field *field,
                         const void *values, struct lm_status *status) {
    lm_h5_begin(store);
    LM_ASSERT(field->rank == 1);
    uint64_t said = hash_field(field);
    const char *const *texts = values;
    if (field->type == LM_FIELD_TEXT) {
        for (size_t i = 0; i < field->extent[0]; i++)
            said = lm_h5_hash_text(said, texts[i]);
        return make_text_scale(store, field, texts, said, status);
    }
    said = lm_h5_hash(said, values, field->extent[0] * size_of(field->type));
    if (store->sealed) {
        lm_digest_make(&store->digest, field->path, 1, field->extent, size_of(field->type));
        if (store->rank == 0)
            lm_digest_write(&store->digest, field->path, &(size_t){0}, field->extent, values);
    }
    bool ok =
        make_scale(store, field, file_type(field->type), memory_type(field->type), values);
    return lm_h5_settle(store, ok, "make scale", field->path, said, status);
}

bool lm_store_make_count(struct lm_store *store, const struct lm_field *field, int64_t first,
                         struct lm_status *status) {
    LM_ASSERT(field->type == LM_FIELD_INT64 && field->rank == 1);
    int64_t *values = lm_allocate(field->extent[0], sizeof *values);
    for (size_t i = 0; i < field->extent[0]; i++)
        values[i] = first + (int64_t)i;
    bool ok = lm_store_make_scale(store, field, values, status);
    lm_free(values);
    return ok;
}

/* ---- Values ---- */

bool lm_store_write(struct lm_store *store, const struct lm_slab *slab, const void *values,
                    struct lm_status *status) {
    lm_h5_begin(store);
    hsize_t extent[LM_MAX_DIMENSIONS];
    hid_t dataset = lm_h5_got(H5Dopen2(store->file, slab->path, H5P_DEFAULT));
    int rank = dataset < 0 ? -1 : get_extent(dataset, extent);
    bool ok = rank > 0 && (is_empty(slab, rank) ||
                           transfer(dataset, slab, memory_type(slab->type), values, NULL));
    ok = lm_h5_drop(dataset) && ok;
    if (ok && store->sealed)
        lm_digest_write(&store->digest, slab->path, slab->offset, slab->count, values);
    if (ok)
        return true;
    lm_h5_fail(store, LM_IO, "write", slab->path, status);
    if (!store->failed)
        store->failure = *status;
    store->failed = true;
    return false;
}

static hid_t open_dataset(struct lm_store *store, const char *path, struct lm_status *status) {
    hid_t dataset = lm_h5_got(H5Dopen2(store->file, path, H5P_DEFAULT));
    if (dataset < 0)
        lm_fail(status, LM_DATA, "%s: no dataset %s", store->path, path);
    return dataset;
}

/* "(5, 400)" in text[LM_SHAPE_TEXT]. */
static const char *extent_text(int rank, const hsize_t extent[], char *text) {
    size_t used = 0;
    for (int d = 0; d < rank && used < LM_SHAPE_TEXT; d++)
        used += (size_t)snprintf(text + used, LM_SHAPE_TEXT - used, "%s%llu", d ? ", " : "(",
                                 (unsigned long long)extent[d]);
    if (used < LM_SHAPE_TEXT)
        snprintf(text + used, LM_SHAPE_TEXT - used, rank > 0 ? ")" : "()");
    return text;
}

bool lm_store_extent(struct lm_store *store, const char *path, int rank, size_t extent[],
                     struct lm_status *status) {
    lm_h5_begin(store);
    hid_t dataset = open_dataset(store, path, status);
    if (dataset < 0)
        return false;
    hsize_t found[LM_MAX_DIMENSIONS] = {0};
    int found_rank = get_extent(dataset, found);
    lm_h5_drop(dataset);
    for (int d = 0; d < rank; d++)
        extent[d] = (size_t)found[d];
    return found_rank == rank ||
           lm_fail(status, LM_DATA, "%s: %s has %d dimensions: %d expected", store->path, path,
                   found_rank, rank);
}

bool lm_store_expect(struct lm_store *store, const char *path, int rank, const size_t extent[],
                     struct lm_status *status) {
    size_t found[LM_MAX_DIMENSIONS];
    if (!lm_store_extent(store, path, rank, found, status))
        return false;
    hsize_t is[LM_MAX_DIMENSIONS], want[LM_MAX_DIMENSIONS];
    char is_text[LM_SHAPE_TEXT], want_text[LM_SHAPE_TEXT];
    bool same = true;
    for (int d = 0; d < rank; d++) {
        same = same && found[d] == extent[d];
        is[d] = found[d];
        want[d] = extent[d];
    }
    return same ||
           lm_fail(status, LM_DATA, "%s: %s has extent %s: %s expected", store->path, path,
                   extent_text(rank, is, is_text), extent_text(rank, want, want_text));
}

/* Whether a part can be read from a dataset as what the caller wants. */
static bool is_readable(struct lm_store *store, hid_t dataset, const struct lm_slab *slab,
                        struct lm_status *status) {
    hsize_t extent[LM_MAX_DIMENSIONS];
    int rank = get_extent(dataset, extent);
    hid_t type = lm_h5_got(H5Dget_type(dataset));
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    lm_h5_drop(type);
    if (class != (slab->type == LM_FIELD_INT64 ? H5T_INTEGER : H5T_FLOAT))
        return lm_fail(status, LM_DATA, "%s: %s does not hold %s numbers", store->path,
                       slab->path, slab->type == LM_FIELD_INT64 ? "whole" : "floating-point");
    int wanted = dimensions(slab);
    if (wanted && wanted != rank)
        return lm_fail(status, LM_DATA, "%s: %s has %d dimensions: %d expected", store->path,
                       slab->path, rank, wanted);
    bool fits = rank > 0;
    for (int d = 0; d < rank; d++)
        fits = fits && slab->offset[d] + slab->count[d] <= extent[d];
    char text[LM_SHAPE_TEXT];
    return fits || lm_fail(status, LM_DATA, "%s: %s is too small: its extent is %s",
                           store->path, slab->path, extent_text(rank, extent, text));
}

bool lm_store_read(struct lm_store *store, const struct lm_slab *slab, void *values,
                   struct lm_status *status) {
    lm_h5_begin(store);
    hid_t dataset = open_dataset(store, slab->path, status);
    if (dataset < 0)
        return false;
    bool ok = is_readable(store, dataset, slab, status);
    hsize_t extent[LM_MAX_DIMENSIONS];
    if (ok && !is_empty(slab, get_extent(dataset, extent))) {
        ok = transfer(dataset, slab, memory_type(slab->type), NULL, values);
        if (!ok)
            lm_h5_fail(store, LM_IO, "read", slab->path, status);
    }
    lm_h5_drop(dataset);
    return ok;
}

/* CRC-32 of the numbers of a dataset as they are stored, some rows after the other; false if
 * they cannot be read. */
static bool sum_up(hid_t dataset, uint32_t *crc) {
    enum { BLOCK = 1 << 17 }; /* numbers at a time, if rows are not longer */
    hsize_t extent[LM_MAX_DIMENSIONS] = {0};
    struct lm_slab slab = {0};
    int rank = get_extent(dataset, extent);
    hid_t type = lm_h5_got(H5Dget_type(dataset));
    size_t row = 1, size = type < 0 ? 0 : H5Tget_size(type);
    for (int d = 1; d < rank; d++)
        row = lm_product(row, slab.count[d] = (size_t)extent[d]);
    size_t rows = row && row < BLOCK ? BLOCK / row : 1, total = rank > 0 && row ? extent[0] : 0;
    void *values = lm_allocate(lm_product(rows < total ? rows : total, row), size);
    bool ok = rank > 0 && size > 0;
    *crc = 0;
    for (size_t first = 0; ok && first < total; first += rows) {
        slab.offset[0] = first;
        slab.count[0] = total - first < rows ? total - first : rows;
        ok = transfer(dataset, &slab, type, NULL, values);
        *crc = lm_crc32(*crc, values, slab.count[0] * row * size);
    }
    lm_free(values);
    lm_h5_drop(type);
    return ok;
}

bool lm_h5_is_sound(struct lm_store *store, const char *path, struct lm_status *status) {
    uint64_t expected = 0;
    uint32_t found = 0;
    lm_h5_begin(store);
    hid_t dataset = open_dataset(store, path, status);
    htri_t summed = dataset < 0 ? -1 : (htri_t)lm_h5_got(H5Aexists(dataset, LM_H5_CHECKSUM));
    bool ok = summed == 0;
    if (summed > 0 &&
        !lm_h5_get_number(store, path, LM_H5_CHECKSUM, H5T_NATIVE_UINT64, &expected))
        summed = -1;
    if (summed < 0)
        lm_fail(status, LM_DATA, "%s: %s is damaged: %s", store->path, path, lm_h5_reason);
    else if (summed > 0 && !sum_up(dataset, &found))
        lm_h5_fail(store, LM_IO, "read", path, status);
    else if (summed > 0 && !(ok = found == expected))
        lm_fail(status, LM_DATA, "%s: %s is damaged: its CRC-32 is %08x, %08x was written",
                store->path, path, (unsigned)found, (unsigned)expected);
    lm_h5_drop(dataset);
    return ok;
}
