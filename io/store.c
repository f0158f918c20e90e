#include "store_hdf5.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Files ---- */

static void destroy(struct lm_store *store) {
    if (store->parallel)
        lm_h5_mpi(MPI_Comm_free(&store->communicator));
    lm_aside_clear(&store->aside);
    lm_digest_clear(&store->digest);
    lm_h5_end(store);
    lm_free(store->path);
    lm_free(store);
}

static struct lm_store *begin_store(const char *path, const struct lm_peers *peers) {
    struct lm_store *store = lm_allocate(1, sizeof *store);
    store->path = lm_copy_string(path);
    lm_h5_begin(store);
    store->file = H5I_INVALID_HID;
    lm_aside_init(&store->aside, path);
    store->size = 1;
    if (!peers)
        return store;
    store->rank = peers->rank;
    store->size = peers->size;
    store->parallel = peers->communicator != NULL;
    if (store->parallel) {
        lm_h5_mpi(MPI_Comm_dup(*(const MPI_Comm *)peers->communicator, &store->communicator));
        lm_h5_mpi(MPI_Comm_set_errhandler(store->communicator, MPI_ERRORS_RETURN));
    }
    return store;
}

/* Whether this rank may open as many files as HDF5 and MPI-IO will: where one of several ranks
 * cannot, the others wait for it for ever. */
static bool has_room(const struct lm_store *store, struct lm_status *status) {
    enum { MOST = 8 };
    int file[MOST], n = 0;
    while (n < MOST && (file[n] = open("/dev/null", O_RDONLY)) >= 0)
        n++;
    bool good = n == MOST || lm_fail(status, LM_CANT_CREATE, "cannot create %s: %s",
                                     store->path, strerror(errno));
    while (n > 0)
        close(file[--n]);
    return good;
}

/* Rank 0 makes the file, then the others look whether they see it: MPI-IO would not
 * notice that their folder is another one. */
static bool make_file(struct lm_store *store, struct lm_status *status) {
    bool maker = store->rank == 0;
    return lm_h5_agree(store, has_room(store, status), 0, status) &&
           lm_h5_agree(store, !maker || lm_aside_make(&store->aside, status), 0, status) &&
           lm_h5_agree(store, maker || lm_aside_see(&store->aside, status), 0, status);
}

/* Attributes of / stay in its header, where to set one again is one write: in the heap that
 * HDF5 would take for many it is several, and a kill between them leaves none readable. */
static hid_t file_list(void) {
    enum { MOST_ATTRIBUTES = 1000 };
    hid_t list = lm_h5_got(H5Pcreate(H5P_FILE_CREATE));
    if (list >= 0 && lm_h5_done(H5Pset_attr_phase_change(list, MOST_ATTRIBUTES, 0)))
        return list;
    lm_h5_drop(list);
    return H5I_INVALID_HID;
}

struct lm_store *lm_store_create(const char *path, const struct lm_peers *peers,
                                 struct lm_status *status) {
    struct lm_store *store = begin_store(path, peers);
    if (!make_file(store, status)) {
        destroy(store);
        return NULL;
    }
    hid_t access = lm_h5_access(store, false), creation = file_list();
    if (access >= 0 && creation >= 0)
        store->file = lm_h5_got(H5Fcreate(store->aside.name, H5F_ACC_TRUNC, creation, access));
    lm_h5_drop(access), lm_h5_drop(creation);
    if (lm_h5_settle(store, store->file >= 0, "create", "the file",
                     lm_h5_hash_call("create", path), status))
        return store;
    status->code = LM_CANT_CREATE;
    lm_store_abandon(store, true);
    return NULL;
}

/* ---- Checksums ---- */

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
        lm_h5_mpi(MPI_Allgather(&mine, 1, MPI_INT, bytes, 1, MPI_INT, store->communicator));
    for (int r = 0; r < store->size; r++) {
        place[r] = total;
        total += bytes[r];
    }
    struct lm_digest_part *parts = lm_allocate((size_t)total, 1);
    if (store->parallel)
        lm_h5_mpi(MPI_Allgatherv(digest->parts, mine, MPI_BYTE, parts, bytes, place, MPI_BYTE,
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
        ok = lm_store_set_unsigned(store, path, LM_H5_CHECKSUM, crc, status);
    }
    lm_free(parts);
    return ok;
}

/* What H5Ovisit meets: compare one dataset with its checksum, if it has one. */
struct check {
    struct lm_store *store;
    struct lm_status *status;
};

static herr_t check_object(hid_t file, const char *name, const H5O_info_t *info, void *data) {
    struct check *check = data;
    (void)file;
    if (info->type != H5O_TYPE_DATASET)
        return 0;
    char path[1024];
    snprintf(path, sizeof path, "/%s", name);
    return lm_h5_is_sound(check->store, path, check->status) ? 0 : 1;
}

bool lm_store_verify(struct lm_store *store, struct lm_status *status) {
    lm_h5_begin(store);
    struct check check = {store, status};
    herr_t found = H5Ovisit2(store->file, H5_INDEX_NAME, H5_ITER_NATIVE, check_object, &check,
                             H5O_INFO_BASIC);
    if (found < 0)
        lm_fail(status, LM_DATA, "%s is damaged: %s", store->path,
                lm_h5_got(found) < 0 && *lm_h5_reason ? lm_h5_reason : "it cannot be read");
    return found == 0;
}

/* ---- The end of a file ---- */

/* Whether the file that was written, read from the disk, holds what was meant. */
static bool verify_file(struct lm_store *store, struct lm_status *status) {
    bool opened = lm_h5_open(store, store->aside.name, H5F_ACC_RDONLY, true);
    bool ok = opened ? lm_store_verify(store, status)
                     : lm_h5_fail(store, LM_IO, "read back", "the file", status);
    if (opened)
        lm_h5_close(store);
    if (!ok)
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
    lm_h5_begin(store);
    bool closed = lm_h5_close(store);
    if (ok)
        ok = lm_h5_settle(store, closed, "close", "the file", 0, status);
    if (store->stuck)
        lm_abort(status->code, "%s", status->message);
    if (ok)
        ok = lm_h5_agree(store, store->rank > 0 || publish(store, status), 0, status);
    if (!ok && store->sealed) /* nobody can go on with it, and it takes room */
        lm_aside_remove(&store->aside);
    destroy(store);
    return ok;
}

/* Close a file that may be broken. When HDF5 cannot, it must not come to its own end. */
static void abandon_file(struct lm_store *store) {
    if (store->file < 0 && !store->stuck)
        return;
    bool broken = store->end.code != LM_OK;
    if (broken)
        lm_h5_alarm(&store->end);
    if (store->stuck || !lm_h5_close(store)) {
        if (!broken)
            lm_h5_fail(store, LM_IO, "close", "the file", &store->end);
        lm_abort(store->end.code, "%s", store->end.message);
    }
    lm_h5_calm();
}

void lm_store_abandon(struct lm_store *store, bool remove) {
    if (!store)
        return;
    lm_h5_begin(store);
    struct lm_status unused;
    /* Room for what H5Fclose writes: on a full disk it fails, and MPI_Finalize crashes. */
    if (remove)
        lm_aside_empty(&store->aside);
    abandon_file(store);
    lm_h5_agree(store, true, remove, &unused);
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
    if (!lm_h5_open(store, path, H5F_ACC_RDONLY, false))
        return lm_fail(status, LM_DATA, "%s is damaged or truncated: %s", path, lm_h5_reason);
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
    lm_h5_begin(store);
    bool ok = lm_h5_done(H5Fflush(store->file, H5F_SCOPE_GLOBAL));
    ok = lm_h5_settle(store, ok, "flush", "the file", lm_h5_hash_call("flush", ""), status);
    if (!ok || store->exposed || store->sealed)
        return ok;
    if (!(store->exposed = lm_aside_expose(&store->aside)))
        snprintf(lm_h5_reason, sizeof lm_h5_reason, "%s", strerror(errno));
    return lm_h5_settle(store, store->exposed, "rename", "the file", 0, status);
}

void lm_store_versions(char *mpi_text, char *hdf5) {
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    unsigned major = 0, minor = 0, release = 0;
    lm_h5_mpi(MPI_Get_library_version(library, &length));
    library[strcspn(library, ",\n")] = '\0';
    snprintf(mpi_text, LM_VERSION_TEXT, "%.*s", LM_VERSION_TEXT - 1, library);
    LM_ASSERT(H5get_libversion(&major, &minor, &release) >= 0);
    snprintf(hdf5, LM_VERSION_TEXT, "%u.%u.%u", major, minor, release);
}
