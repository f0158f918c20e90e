#include "store.h"

#include "aside.h"
#include "digest.h"
#include "memory.h"
#include "watchdog.h"

#include <errno.h>
#include <hdf5.h>
#include <hdf5_hl.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lm_store {
    char *path;
    struct lm_aside aside; /* the file that is written */
    bool exposed;          /* it has been flushed */
    bool sealed;
    struct lm_digest digest; /* if sealed */
    hid_t file;
    bool parallel;
    MPI_Comm communicator; /* if parallel */
    int rank, size;
    bool failed; /* an independent call did, and the other ranks do not know */
    struct lm_status failure;
    struct lm_status end; /* what all ranks know to have failed; LM_OK: nothing */
};

/* For the others to hear of a failure, or for HDF5 to close a file after one; seconds. */
static const double PATIENCE = 3;

/* ---- HDF5's reasons ---- */

/* The innermost HDF5 error of the public call at work: HDF5 forgets it at its next call. */
static char reason[256];

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *unused) {
    (void)unused;
    if (n == 0)
        snprintf(reason, sizeof reason, "%s", error->desc);
    return 0;
}

/* Every value that HDF5 returns goes through here or done: below 0 is a failure. */
static hid_t got(hid_t value) {
    if (value < 0 && !*reason)
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, NULL);
    return value;
}

static bool done(hid_t value) {
    return got(value) >= 0;
}

/* Let go of an identifier, which may be a failed one. */
static bool drop(hid_t id) {
    return id < 0 || done(H5Idec_ref(id));
}

/* Each public call starts here. */
static void begin(void) {
    *reason = '\0';
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static bool fail_with(const struct lm_store *store, enum lm_code code, const char *what,
                      const char *object, struct lm_status *status) {
    return lm_fail(status, code, "%s: cannot %s %s: %s", store->path, what, object,
                   *reason ? reason : "HDF5 gives no reason");
}

/* ---- Agreement of the ranks ---- */

static void mpi(int code) {
    if (code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", code);
    lm_abort(LM_SYSTEM, "MPI failed: %s", text);
}

/* FNV-1a, to compare what the ranks were asked to do. */
static uint64_t hash(uint64_t before, const void *bytes, size_t size) {
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++)
        before = (before ^ byte[i]) * UINT64_C(0x100000001b3);
    return before;
}

static uint64_t hash_text(uint64_t before, const char *text) {
    return hash(before, text, strlen(text) + 1);
}

static uint64_t hash_call(const char *what, const char *object) {
    return hash_text(hash_text(UINT64_C(0xcbf29ce484222325), what), object);
}

/* Whether all ranks are well; if not, all get the status of the lowest that is not.
 * `said` is a hash of the arguments. */
static bool agree_with(struct lm_store *store, bool ok, uint64_t said,
                       struct lm_status *status) {
    if (!store->parallel)
        return ok;
    uint64_t mine[3] = {(uint64_t)(ok ? store->size : store->rank), said, ~said}, least[3];
    mpi(MPI_Allreduce(mine, least, 3, MPI_UINT64_T, MPI_MIN, store->communicator));
    if (least[1] != ~least[2])
        lm_abort(LM_INTERNAL, "%s: bug: the ranks write different things", store->path);
    if (least[0] == (uint64_t)store->size)
        return true;
    mpi(MPI_Bcast(status, sizeof *status, MPI_BYTE, (int)least[0], store->communicator));
    return false;
}

/* When MPI fails to write for HDF5 on one rank, the ranks may wait for each other for ever
 * inside HDF5: unless they agree soon, this rank ends the job. */
static struct lm_watchdog *alarmed;
static const char *written; /* path of the file at work */

static void alarm_at(const struct lm_status *status) {
    if (!alarmed)
        alarmed = lm_watchdog_start(PATIENCE, status);
}

static void calm_down(void) {
    if (alarmed)
        lm_watchdog_stop(alarmed);
    alarmed = NULL;
}

void lm_store_alarm(int number) {
    struct lm_status status;
    if (!written)
        return;
    lm_fail(&status, LM_IO, "%s: cannot write: %s", written,
            number ? strerror(number) : "MPI gives no reason");
    alarm_at(&status);
}

/* The same as agree_with; a rank that failed and is not heard ends the job. */
static bool agree(struct lm_store *store, bool ok, uint64_t said, struct lm_status *status) {
    if (!ok && store->parallel)
        alarm_at(status);
    bool all = agree_with(store, ok, said, status);
    calm_down();
    if (!all)
        store->end = *status;
    return all;
}

/* The end of a collective call. */
static bool settle(struct lm_store *store, bool ok, const char *what, const char *object,
                   uint64_t said, struct lm_status *status) {
    if (!ok)
        fail_with(store, LM_IO, what, object, status);
    else if (store->failed)
        *status = store->failure;
    return agree(store, ok && !store->failed, said, status);
}

void lm_store_share(struct lm_store *store, void *bytes, size_t size) {
    LM_ASSERT(size <= INT32_MAX);
    if (store->parallel)
        mpi(MPI_Bcast(bytes, (int)size, MPI_BYTE, 0, store->communicator));
}

/* ---- Files ---- */

static void destroy(struct lm_store *store) {
    if (store->parallel)
        mpi(MPI_Comm_free(&store->communicator));
    lm_aside_clear(&store->aside);
    lm_digest_clear(&store->digest);
    lm_free(store->path);
    lm_free(store);
}

static struct lm_store *begin_store(const char *path, const struct lm_peers *peers) {
    begin();
    struct lm_store *store = lm_allocate(1, sizeof *store);
    store->path = lm_copy_string(path);
    store->file = H5I_INVALID_HID;
    lm_aside_init(&store->aside, path);
    store->size = 1;
    if (!peers)
        return store;
    store->rank = peers->rank;
    store->size = peers->size;
    store->parallel = peers->communicator != NULL;
    if (store->parallel) {
        mpi(MPI_Comm_dup(*(const MPI_Comm *)peers->communicator, &store->communicator));
        mpi(MPI_Comm_set_errhandler(store->communicator, MPI_ERRORS_RETURN));
    }
    return store;
}

/* Version 1.8 of the format: checksums, and attributes beyond 64 KB. */
static hid_t access_list(const struct lm_store *store, bool alone) {
    hid_t list = got(H5Pcreate(H5P_FILE_ACCESS));
    if (list >= 0 && done(H5Pset_fclose_degree(list, H5F_CLOSE_STRONG)) &&
        done(H5Pset_libver_bounds(list, H5F_LIBVER_V18, H5F_LIBVER_V18)) &&
        done(H5Pset_file_locking(list, false, true)) &&
        (alone || !store->parallel ||
         done(H5Pset_fapl_mpio(list, store->communicator, MPI_INFO_NULL))))
        return list;
    drop(list);
    return H5I_INVALID_HID;
}

static bool close_file(struct lm_store *store) {
    written = store->path;
    bool ok = done(H5Fclose(store->file));
    store->file = H5I_INVALID_HID;
    return ok;
}

/* Open the file that is written again: by all ranks, or by this one alone. */
static bool reopen(struct lm_store *store, bool alone) {
    hid_t list = access_list(store, alone);
    if (list >= 0)
        store->file = got(H5Fopen(store->aside.name, H5F_ACC_RDWR, list));
    drop(list);
    return store->file >= 0;
}

/* Rank 0 makes the file, then the others look whether they see it: MPI-IO would not
 * notice that their folder is another one. */
static bool make_file(struct lm_store *store, struct lm_status *status) {
    bool maker = store->rank == 0;
    return agree(store, !maker || lm_aside_make(&store->aside, status), 0, status) &&
           agree(store, maker || lm_aside_see(&store->aside, status), 0, status);
}

/* Attributes of / stay in its header, where to set one again is one write: in the heap that
 * HDF5 would take for many it is several, and a kill between them leaves none readable. */
static hid_t file_list(void) {
    enum { MOST_ATTRIBUTES = 1000 };
    hid_t list = got(H5Pcreate(H5P_FILE_CREATE));
    if (list >= 0 && done(H5Pset_attr_phase_change(list, MOST_ATTRIBUTES, 0)))
        return list;
    drop(list);
    return H5I_INVALID_HID;
}

struct lm_store *lm_store_create(const char *path, const struct lm_peers *peers,
                                 struct lm_status *status) {
    struct lm_store *store = begin_store(path, peers);
    if (!make_file(store, status)) {
        destroy(store);
        return NULL;
    }
    hid_t access = access_list(store, false), creation = file_list();
    if (access >= 0 && creation >= 0)
        store->file = got(H5Fcreate(store->aside.name, H5F_ACC_TRUNC, creation, access));
    drop(access), drop(creation);
    if (settle(store, store->file >= 0, "create", "the file", hash_call("create", path),
               status))
        return store;
    status->code = LM_CANT_CREATE;
    lm_store_abandon(store, true);
    return NULL;
}

/* ---- Checksums ---- */

static const char checksum[] = "crc32";

void lm_store_seal(struct lm_store *store) {
    LM_ASSERT(!store->sealed && !store->exposed);
    store->sealed = true;
}

/* The parts that all ranks wrote; free with lm_free. Collective. */
static struct lm_digest_part *gather_parts(struct lm_store *store, size_t *n) {
    const struct lm_digest *digest = &store->digest;
    int mine = digest->n_parts * (int)sizeof *digest->parts, total = 0;
    int *bytes = lm_allocate((size_t)store->size, sizeof *bytes);
    int *place = lm_allocate((size_t)store->size, sizeof *place);
    bytes[0] = mine;
    if (store->parallel)
        mpi(MPI_Allgather(&mine, 1, MPI_INT, bytes, 1, MPI_INT, store->communicator));
    for (int r = 0; r < store->size; r++) {
        place[r] = total;
        total += bytes[r];
    }
    struct lm_digest_part *parts = lm_allocate((size_t)total, 1);
    if (store->parallel)
        mpi(MPI_Allgatherv(digest->parts, mine, MPI_BYTE, parts, bytes, place, MPI_BYTE,
                           store->communicator));
    else if (mine)
        memcpy(parts, digest->parts, (size_t)mine);
    lm_free(bytes);
    lm_free(place);
    *n = (size_t)total / sizeof *parts;
    return parts;
}

static bool write_checksums(struct lm_store *store, struct lm_status *status) {
    size_t n;
    struct lm_digest_part *parts = gather_parts(store, &n);
    bool ok = true;
    for (int set = 0; ok && set < store->digest.n_sets; set++) {
        const char *path = store->digest.sets[set].path;
        uint32_t crc;
        if (!lm_digest_combine(&store->digest, set, parts, n, &crc))
            lm_abort(LM_INTERNAL, "%s: bug: %s was not written whole", store->path, path);
        ok = lm_store_set_unsigned(store, path, checksum, crc, status);
    }
    lm_free(parts);
    return ok;
}

/* What H5Ovisit meets: compare one dataset with its checksum, if it has one. */
struct check {
    struct lm_store *store;
    struct lm_status *status;
};

static bool is_sound(struct lm_store *store, const char *path, struct lm_status *status);

static herr_t check_object(hid_t file, const char *name, const H5O_info_t *info, void *data) {
    struct check *check = data;
    (void)file;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    char path[1024];
    snprintf(path, sizeof path, "/%s", name);
    return is_sound(check->store, path, check->status) ? 0 : 1;
}

bool lm_store_verify(struct lm_store *store, struct lm_status *status) {
    begin();
    struct check check = {store, status};
    herr_t found = H5Ovisit2(store->file, H5_INDEX_NAME, H5_ITER_NATIVE, check_object, &check,
                             H5O_INFO_BASIC);
    if (found < 0)
        lm_fail(status, LM_DATA, "%s is damaged: %s", store->path,
                got(found) < 0 && *reason ? reason : "it cannot be read");
    return found == 0;
}

/* ---- The end of a file ---- */

/* Whether the file that was written, read from the disk, holds what was meant. */
static bool verify_file(struct lm_store *store, struct lm_status *status) {
    hid_t list = access_list(store, true);
    if (list >= 0)
        store->file = got(H5Fopen(store->aside.name, H5F_ACC_RDONLY, list));
    drop(list);
    bool ok = store->file < 0 ? fail_with(store, LM_IO, "read back", "the file", status)
                              : lm_store_verify(store, status);
    if (store->file >= 0)
        close_file(store);
    status->code = LM_IO;
    return ok;
}

/* Put a finished file on the disk and in its place. */
static bool publish(struct lm_store *store, struct lm_status *status) {
    if (lm_aside_sync(&store->aside)) {
        if (store->sealed && !verify_file(store, status))
            return false;
        if (lm_aside_publish(&store->aside))
            return true;
    }
    return lm_fail(status, LM_IO, "cannot put %s in place: %s", store->path, strerror(errno));
}

bool lm_store_commit(struct lm_store *store, struct lm_status *status) {
    bool ok =
        (!store->sealed || write_checksums(store, status)) && lm_store_flush(store, status);
    begin();
    bool closed = close_file(store);
    if (ok)
        ok = settle(store, closed, "close", "the file", 0, status);
    if (ok)
        ok = agree(store, store->rank > 0 || publish(store, status), 0, status);
    destroy(store);
    return ok;
}

/* Close a file that may be broken. When HDF5 cannot, it must not come to its own end. */
static void abandon_file(struct lm_store *store) {
    if (store->file < 0)
        return;
    bool broken = store->end.code != LM_OK;
    if (broken)
        alarm_at(&store->end);
    if (!close_file(store)) {
        if (!broken)
            fail_with(store, LM_IO, "close", "the file", &store->end);
        lm_abort(store->end.code, "%s", store->end.message);
    }
    calm_down();
}

void lm_store_abandon(struct lm_store *store, bool remove) {
    if (!store)
        return;
    struct lm_status unused;
    /* Room for what H5Fclose writes: on a full disk it fails, and MPI_Finalize crashes. */
    if (remove)
        lm_aside_empty(&store->aside);
    abandon_file(store);
    agree(store, true, remove, &unused);
    if (remove)
        lm_aside_remove(&store->aside);
    destroy(store);
}

static bool open_file(struct lm_store *store, struct lm_status *status) {
    const char *path = store->path;
    struct stat info;
    if (stat(path, &info) != 0 || access(path, R_OK) != 0)
        return lm_fail(status, LM_NO_INPUT, "cannot open %s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return lm_fail(status, LM_NO_INPUT, "cannot open %s: it is a folder", path);
    if (H5Fis_hdf5(path) <= 0)
        return lm_fail(status, LM_DATA, "%s is not an HDF5 file", path);
    hid_t list = access_list(store, false);
    if (list >= 0)
        store->file = got(H5Fopen(path, H5F_ACC_RDONLY, list));
    drop(list);
    if (store->file < 0)
        return lm_fail(status, LM_DATA, "%s is damaged or truncated: %s", path, reason);
    return true;
}

struct lm_store *lm_store_open(const char *path, struct lm_status *status) {
    struct lm_store *store = begin_store(path, NULL);
    if (open_file(store, status))
        return store;
    destroy(store);
    return NULL;
}

void lm_store_close(struct lm_store *store) {
    if (!store)
        return;
    H5Fclose(store->file);
    destroy(store);
}

const char *lm_store_path(const struct lm_store *store) {
    return store->path;
}

bool lm_store_flush(struct lm_store *store, struct lm_status *status) {
    begin();
    written = store->path;
    bool ok = done(H5Fflush(store->file, H5F_SCOPE_GLOBAL));
    ok = settle(store, ok, "flush", "the file", hash_call("flush", ""), status);
    if (!ok || store->exposed || store->sealed)
        return ok;
    if (!(store->exposed = lm_aside_expose(&store->aside)))
        snprintf(reason, sizeof reason, "%s", strerror(errno));
    return settle(store, store->exposed, "rename", "the file", 0, status);
}

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
    hid_t space = got(H5Dget_space(dataset)), memory = H5I_INVALID_HID;
    int rank = space < 0 ? 0 : H5Sget_simple_extent_ndims(space);
    bool ok = rank >= 1 && rank <= LM_MAX_DIMENSIONS &&
              done(H5Sselect_hyperslab(space, H5S_SELECT_SET, offset, NULL, count, NULL)) &&
              done(memory = H5Screate_simple(rank, count, NULL));
    if (ok && in)
        ok = done(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, in));
    else if (ok)
        ok = done(H5Dread(dataset, type, memory, space, H5P_DEFAULT, out));
    return drop(memory) && drop(space) && ok;
}

/* Whether a slab of `rank` dimensions has no values. */
static bool is_empty(const struct lm_slab *slab, int rank) {
    for (int d = 0; d < rank; d++)
        if (slab->count[d] == 0)
            return true;
    return false;
}

/* The dimensions of a dataset, or -1. */
static int get_extent(hid_t dataset, hsize_t extent[LM_MAX_DIMENSIONS]) {
    hid_t space = got(H5Dget_space(dataset));
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (rank > LM_MAX_DIMENSIONS ||
        (rank > 0 && H5Sget_simple_extent_dims(space, extent, NULL) < 0))
        rank = -1;
    drop(space);
    return rank;
}

/* ---- Groups and datasets ---- */

/* UTF-8 of a size with its final zero, or H5T_VARIABLE: of any length. */
static hid_t text_type(size_t size) {
    hid_t type = got(H5Tcopy(H5T_C_S1));
    if (type >= 0 && done(H5Tset_size(type, size)) && done(H5Tset_cset(type, H5T_CSET_UTF8)))
        return type;
    drop(type);
    return H5I_INVALID_HID;
}

/* Objects on the way to a new one are made as needed. */
static hid_t link_list(void) {
    hid_t list = got(H5Pcreate(H5P_LINK_CREATE));
    if (list >= 0 && done(H5Pset_create_intermediate_group(list, 1)))
        return list;
    drop(list);
    return H5I_INVALID_HID;
}

bool lm_store_make_group(struct lm_store *store, const char *path, struct lm_status *status) {
    begin();
    hid_t links = link_list();
    hid_t group = H5I_INVALID_HID;
    if (links >= 0)
        group = got(H5Gcreate2(store->file, path, links, H5P_DEFAULT, H5P_DEFAULT));
    bool ok = group >= 0;
    ok = drop(group) && drop(links) && ok;
    return settle(store, ok, "make group", path, hash_call("group", path), status);
}

/* Contiguous, allocated at once. HDF5 must not fill what ranks make together: see reserve. */
static hid_t creation_list(enum lm_field_type type) {
    H5D_fill_time_t filling = type == LM_FIELD_TEXT ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER;
    hid_t list = got(H5Pcreate(H5P_DATASET_CREATE));
    if (list >= 0 && done(H5Pset_obj_track_times(list, false)) &&
        done(H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY)) &&
        done(H5Pset_fill_time(list, filling)))
        return list;
    drop(list);
    return H5I_INVALID_HID;
}

static hid_t create_dataset(struct lm_store *store, const struct lm_field *field, hid_t type) {
    hsize_t extent[LM_MAX_DIMENSIONS];
    LM_ASSERT(field->rank >= 1 && field->rank <= LM_MAX_DIMENSIONS);
    for (int d = 0; d < field->rank; d++)
        extent[d] = field->extent[d];
    hid_t space = got(H5Screate_simple(field->rank, extent, NULL));
    hid_t creation = creation_list(field->type), links = link_list();
    hid_t dataset = H5I_INVALID_HID;
    if (space >= 0 && creation >= 0 && links >= 0)
        dataset = got(
            H5Dcreate2(store->file, field->path, type, space, links, creation, H5P_DEFAULT));
    drop(space), drop(creation), drop(links);
    return dataset;
}

/* Set an attribute of an open object. */
static bool set(hid_t object, const char *name, hid_t type, hid_t memory, const void *value) {
    htri_t there = (htri_t)got(H5Aexists(object, name));
    hid_t space = got(H5Screate(H5S_SCALAR)), attribute = H5I_INVALID_HID;
    if (there > 0)
        attribute = got(H5Aopen(object, name, H5P_DEFAULT));
    else if (there == 0 && space >= 0)
        attribute = got(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    bool ok = attribute >= 0 && done(H5Awrite(attribute, memory, value));
    return drop(attribute) && drop(space) && ok;
}

/* Of any length a text stands in a heap of the file that has no checksum, and HDF5 crashes
 * where that is damaged; of fixed length, in the header of the object, which has one. */
static bool set_text(const struct lm_store *store, hid_t object, const char *name,
                     const char *text) {
    hid_t type = text_type(store->sealed ? strlen(text) + 1 : H5T_VARIABLE);
    const void *value = store->sealed ? (const void *)text : &text;
    bool ok = object >= 0 && type >= 0 && set(object, name, type, type, value);
    return drop(type) && ok;
}

static bool describe(const struct lm_store *store, hid_t dataset,
                     const struct lm_field *field) {
    return set_text(store, dataset, "units", field->units) &&
           set_text(store, dataset, "long_name", field->long_name);
}

static bool attach_scales(struct lm_store *store, hid_t dataset, const struct lm_field *field) {
    bool ok = true;
    for (int d = 0; ok && d < field->rank && field->scale[d]; d++) {
        hid_t scale = got(H5Dopen2(store->file, field->scale[d], H5P_DEFAULT));
        ok = scale >= 0 && done(H5DSattach_scale(dataset, scale, (unsigned)d));
        ok = drop(scale) && ok;
    }
    return ok;
}

static uint64_t hash_field(const struct lm_field *field) {
    uint64_t said = hash_call("make", field->path);
    said = hash(said, &field->type, sizeof field->type);
    said = hash(said, field->extent, (size_t)field->rank * sizeof field->extent[0]);
    return hash_text(hash_text(said, field->units), field->long_name);
}

/* Rank 0 takes the disk space of a new dataset, and some for what HDF5 says of it: when
 * HDF5 meets a full disk while ranks work together, they wait for each other for ever. */
static bool reserve(const struct lm_store *store, hid_t dataset) {
    const off_t room = 1 << 16;
    haddr_t offset = H5Dget_offset(dataset);
    off_t end = offset == HADDR_UNDEF ? 0 : (off_t)(offset + H5Dget_storage_size(dataset));
    if (lm_aside_reserve(&store->aside, end + room))
        return true;
    snprintf(reason, sizeof reason, "%s", strerror(errno));
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
    begin();
    LM_ASSERT(field->type != LM_FIELD_TEXT);
    hid_t dataset = create_dataset(store, field, file_type(field->type));
    bool ok = describe(store, dataset, field) && attach_scales(store, dataset, field) &&
              reserve(store, dataset);
    if (ok && store->rank == 0 && !field->whole)
        ok = fill(dataset, field);
    ok = drop(dataset) && ok;
    if (store->sealed)
        lm_digest_make(&store->digest, field->path, field->rank, field->extent,
                       size_of(field->type));
    return settle(store, ok, "make dataset", field->path, hash_field(field), status);
}

/* Make a dataset with values, and make it a scale. Rank 0 writes the values. */
static bool make_scale(struct lm_store *store, const struct lm_field *field, hid_t type,
                       hid_t memory, const void *values) {
    const char *slash = strrchr(field->path, '/');
    hid_t dataset = create_dataset(store, field, type);
    bool ok = describe(store, dataset, field) &&
              done(H5DSset_scale(dataset, slash ? slash + 1 : field->path)) &&
              reserve(store, dataset);
    if (ok && store->rank == 0 && field->extent[0])
        ok = done(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    return drop(dataset) && ok;
}

/* A scale of texts of any length. Parallel HDF5 cannot write those, and netCDF 4.9 crashes
 * on texts of fixed length, so rank 0 opens the file alone in between. */
static bool make_text_scale(struct lm_store *store, const struct lm_field *field,
                            const char *const texts[], uint64_t said,
                            struct lm_status *status) {
    const char *what = "make scale", *path = field->path;
    if (store->parallel && !settle(store, close_file(store), what, path, said, status))
        return false;
    bool ok = true;
    if (store->rank == 0) {
        hid_t type = text_type(H5T_VARIABLE);
        ok = (!store->parallel || reopen(store, true)) && type >= 0 &&
             make_scale(store, field, type, type, texts);
        drop(type);
        if (store->parallel && store->file >= 0)
            ok = close_file(store) && ok;
    }
    ok = settle(store, ok, what, path, said, status);
    if (!ok || !store->parallel)
        return ok;
    return settle(store, reopen(store, false), what, path, said, status);
}

bool lm_store_make_scale(struct lm_store *store, const struct lm_field *field,
                         const void *values, struct lm_status *status) {
    begin();
    LM_ASSERT(field->rank == 1);
    uint64_t said = hash_field(field);
    const char *const *texts = values;
    if (field->type == LM_FIELD_TEXT) {
        for (size_t i = 0; i < field->extent[0]; i++)
            said = hash_text(said, texts[i]);
        return make_text_scale(store, field, texts, said, status);
    }
    said = hash(said, values, field->extent[0] * size_of(field->type));
    if (store->sealed) {
        lm_digest_make(&store->digest, field->path, 1, field->extent, size_of(field->type));
        if (store->rank == 0)
            lm_digest_write(&store->digest, field->path, &(size_t){0}, field->extent, values);
    }
    bool ok =
        make_scale(store, field, file_type(field->type), memory_type(field->type), values);
    return settle(store, ok, "make scale", field->path, said, status);
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

/* ---- Attributes ---- */

/* Set an attribute of the object of a path; value is a char ** for texts. */
static bool set_on(struct lm_store *store, const char *object, const char *name, hid_t type,
                   const void *value) {
    hid_t on = got(H5Oopen(store->file, object, H5P_DEFAULT));
    bool ok = on >= 0 && type >= 0 && set(on, name, type, type, value);
    return drop(on) && ok;
}

bool lm_store_set_text(struct lm_store *store, const char *object, const char *name,
                       const char *text, struct lm_status *status) {
    begin();
    hid_t on = got(H5Oopen(store->file, object, H5P_DEFAULT));
    bool ok = set_text(store, on, name, text);
    ok = drop(on) && ok;
    return settle(store, ok, "set attribute", name, hash_text(hash_call(object, name), text),
                  status);
}

static bool set_number(struct lm_store *store, const char *object, const char *name, hid_t type,
                       const void *value, struct lm_status *status) {
    bool ok = set_on(store, object, name, type, value);
    return settle(store, ok, "set attribute", name, hash(hash_call(object, name), value, 8),
                  status);
}

bool lm_store_set_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t value, struct lm_status *status) {
    begin();
    return set_number(store, object, name, H5T_NATIVE_INT64, &value, status);
}

bool lm_store_set_unsigned(struct lm_store *store, const char *object, const char *name,
                           uint64_t value, struct lm_status *status) {
    begin();
    return set_number(store, object, name, H5T_NATIVE_UINT64, &value, status);
}

bool lm_store_set_double(struct lm_store *store, const char *object, const char *name,
                         double value, struct lm_status *status) {
    begin();
    return set_number(store, object, name, H5T_NATIVE_DOUBLE, &value, status);
}

static bool no_attribute(struct lm_store *store, const char *object, const char *name,
                         const char *kind, struct lm_status *status) {
    return lm_fail(status, LM_DATA, "%s: %s has no attribute %s that is %s", store->path,
                   object, name, kind);
}

/* An attribute that holds one value of a class, or an invalid identifier. */
static hid_t open_attribute(struct lm_store *store, const char *object, const char *name,
                            H5T_class_t class) {
    hid_t attribute = got(H5Aopen_by_name(store->file, object, name, H5P_DEFAULT, H5P_DEFAULT));
    hid_t type = attribute < 0 ? attribute : got(H5Aget_type(attribute));
    hid_t space = attribute < 0 ? attribute : got(H5Aget_space(attribute));
    bool fits = type >= 0 && H5Tget_class(type) == class && space >= 0 &&
                H5Sget_simple_extent_npoints(space) == 1;
    drop(type), drop(space);
    if (fits)
        return attribute;
    drop(attribute);
    return H5I_INVALID_HID;
}

static bool get_number(struct lm_store *store, const char *object, const char *name, hid_t type,
                       void *value) {
    begin();
    hid_t attribute = open_attribute(store, object, name, H5Tget_class(type));
    bool ok = attribute >= 0 && done(H5Aread(attribute, type, value));
    return drop(attribute) && ok;
}

bool lm_store_get_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t *value, struct lm_status *status) {
    return get_number(store, object, name, H5T_NATIVE_INT64, value) ||
           no_attribute(store, object, name, "a whole number", status);
}

bool lm_store_get_double(struct lm_store *store, const char *object, const char *name,
                         double *value, struct lm_status *status) {
    return get_number(store, object, name, H5T_NATIVE_DOUBLE, value) ||
           no_attribute(store, object, name, "a number", status);
}

/* The text of an attribute, or NULL. */
static char *read_text(hid_t attribute) {
    hid_t stored = got(H5Aget_type(attribute));
    bool variable = stored >= 0 && H5Tis_variable_str(stored) > 0;
    size_t size = stored < 0 || variable ? 0 : H5Tget_size(stored);
    hid_t type = text_type(variable ? H5T_VARIABLE : size + 1);
    char *text = NULL, *copy = variable ? NULL : lm_allocate(size + 1, 1);
    bool ok = stored >= 0 && type >= 0 &&
              done(H5Aread(attribute, type, variable ? (void *)&text : copy));
    if (variable && ok)
        copy = lm_copy_string(text ? text : "");
    if (text)
        done(H5free_memory(text));
    drop(type), drop(stored);
    if (ok)
        return copy;
    lm_free(copy);
    return NULL;
}

char *lm_store_get_text(struct lm_store *store, const char *object, const char *name,
                        struct lm_status *status) {
    begin();
    hid_t attribute = open_attribute(store, object, name, H5T_STRING);
    char *text = attribute < 0 ? NULL : read_text(attribute);
    drop(attribute);
    if (!text)
        no_attribute(store, object, name, "a text", status);
    return text;
}

bool lm_store_check_format(struct lm_store *store, const char *format, int64_t version,
                           struct lm_status *status) {
    int64_t found;
    char *text = lm_store_get_text(store, "/", "format", status);
    if (!text || !lm_store_get_integer(store, "/", "format_version", &found, status)) {
        lm_free(text);
        return lm_fail(status, LM_DATA, "%s is not a %s", store->path, format);
    }
    bool same = strcmp(text, format) == 0 && found == version;
    if (!same)
        lm_fail(status, LM_DATA,
                "%s is a '%s' of version %lld: '%s' of version %lld is expected", store->path,
                text, (long long)found, format, (long long)version);
    lm_free(text);
    return same;
}

/* ---- Values ---- */

bool lm_store_write(struct lm_store *store, const struct lm_slab *slab, const void *values,
                    struct lm_status *status) {
    begin();
    hsize_t extent[LM_MAX_DIMENSIONS];
    hid_t dataset = got(H5Dopen2(store->file, slab->path, H5P_DEFAULT));
    int rank = dataset < 0 ? -1 : get_extent(dataset, extent);
    bool ok = rank > 0 && (is_empty(slab, rank) ||
                           transfer(dataset, slab, memory_type(slab->type), values, NULL));
    ok = drop(dataset) && ok;
    if (ok && store->sealed)
        lm_digest_write(&store->digest, slab->path, slab->offset, slab->count, values);
    if (ok)
        return true;
    fail_with(store, LM_IO, "write", slab->path, status);
    if (!store->failed)
        store->failure = *status;
    store->failed = true;
    return false;
}

static hid_t open_dataset(struct lm_store *store, const char *path, struct lm_status *status) {
    hid_t dataset = got(H5Dopen2(store->file, path, H5P_DEFAULT));
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
    begin();
    hid_t dataset = open_dataset(store, path, status);
    if (dataset < 0)
        return false;
    hsize_t found[LM_MAX_DIMENSIONS] = {0};
    int found_rank = get_extent(dataset, found);
    drop(dataset);
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
    hid_t type = got(H5Dget_type(dataset));
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    drop(type);
    if (class != (slab->type == LM_FIELD_INT64 ? H5T_INTEGER : H5T_FLOAT))
        return lm_fail(status, LM_DATA, "%s: %s does not hold %s numbers", store->path,
                       slab->path, slab->type == LM_FIELD_INT64 ? "whole" : "floating-point");
    bool fits = rank > 0;
    for (int d = 0; d < rank; d++)
        fits = fits && slab->offset[d] + slab->count[d] <= extent[d];
    char text[LM_SHAPE_TEXT];
    return fits || lm_fail(status, LM_DATA, "%s: %s is too small: its extent is %s",
                           store->path, slab->path, extent_text(rank, extent, text));
}

bool lm_store_read(struct lm_store *store, const struct lm_slab *slab, void *values,
                   struct lm_status *status) {
    begin();
    hid_t dataset = open_dataset(store, slab->path, status);
    if (dataset < 0)
        return false;
    bool ok = is_readable(store, dataset, slab, status);
    hsize_t extent[LM_MAX_DIMENSIONS];
    if (ok && !is_empty(slab, get_extent(dataset, extent))) {
        ok = transfer(dataset, slab, memory_type(slab->type), NULL, values);
        if (!ok)
            fail_with(store, LM_IO, "read", slab->path, status);
    }
    drop(dataset);
    return ok;
}

/* CRC-32 of the numbers of a dataset as they are stored, some rows after the other; false if
 * they cannot be read. */
static bool sum_up(hid_t dataset, uint32_t *crc) {
    enum { BLOCK = 1 << 17 }; /* numbers at a time, if rows are not longer */
    hsize_t extent[LM_MAX_DIMENSIONS] = {0};
    struct lm_slab slab = {0};
    int rank = get_extent(dataset, extent);
    hid_t type = got(H5Dget_type(dataset));
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
    drop(type);
    return ok;
}

static bool is_sound(struct lm_store *store, const char *path, struct lm_status *status) {
    uint64_t expected = 0;
    uint32_t found = 0;
    begin();
    hid_t dataset = open_dataset(store, path, status);
    htri_t summed = dataset < 0 ? -1 : (htri_t)got(H5Aexists(dataset, checksum));
    bool ok = summed == 0;
    if (summed > 0 && !get_number(store, path, checksum, H5T_NATIVE_UINT64, &expected))
        summed = -1;
    if (summed < 0)
        lm_fail(status, LM_DATA, "%s: %s is damaged: %s", store->path, path, reason);
    else if (summed > 0 && !sum_up(dataset, &found))
        fail_with(store, LM_IO, "read", path, status);
    else if (summed > 0 && !(ok = found == expected))
        lm_fail(status, LM_DATA, "%s: %s is damaged: its CRC-32 is %08x, %08x was written",
                store->path, path, (unsigned)found, (unsigned)expected);
    drop(dataset);
    return ok;
}

void lm_store_versions(char *mpi_text, char *hdf5) {
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    unsigned major = 0, minor = 0, release = 0;
    mpi(MPI_Get_library_version(library, &length));
    library[strcspn(library, ",\n")] = '\0';
    snprintf(mpi_text, LM_VERSION_TEXT, "%.*s", LM_VERSION_TEXT - 1, library);
    LM_ASSERT(H5get_libversion(&major, &minor, &release) >= 0);
    snprintf(hdf5, LM_VERSION_TEXT, "%u.%u.%u", major, minor, release);
}
