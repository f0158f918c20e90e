#include "store_hdf5.h"

#include "memory.h"
#include "watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the others to hear of a failure, or for HDF5 to close a file after one; seconds. */
static const double PATIENCE = 3;

/* ---- HDF5's reasons ---- */

/* The innermost HDF5 error of the public call at work: HDF5 forgets it at its next call. */
char lm_h5_reason[LM_H5_REASON];

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *unused) {
    (void)unused;
    if (n == 0)
        snprintf(lm_h5_reason, sizeof lm_h5_reason, "%s", error->desc);
    return 0;
}

/* Every value that HDF5 returns goes through here or done: below 0 is a failure. */
hid_t lm_h5_got(hid_t value) {
    if (value < 0 && !*lm_h5_reason)
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, NULL);
    return value;
}

bool lm_h5_done(hid_t value) {
    return lm_h5_got(value) >= 0;
}

/* Let go of an identifier, which may be a failed one. */
bool lm_h5_drop(hid_t id) {
    return id < 0 || lm_h5_done(H5Idec_ref(id));
}

/* Each public call starts here. */
void lm_h5_begin(void) {
    *lm_h5_reason = '\0';
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

bool lm_h5_fail(const struct lm_store *store, enum lm_code code, const char *what,
                const char *object, struct lm_status *status) {
    return lm_fail(status, code, "%s: cannot %s %s: %s", store->path, what, object,
                   *lm_h5_reason ? lm_h5_reason : "HDF5 gives no reason");
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
uint64_t lm_h5_hash(uint64_t before, const void *bytes, size_t size) {
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++)
        before = (before ^ byte[i]) * UINT64_C(0x100000001b3);
    return before;
}

uint64_t lm_h5_hash_text(uint64_t before, const char *text) {
    return lm_h5_hash(before, text, strlen(text) + 1);
}

uint64_t lm_h5_hash_call(const char *what, const char *object) {
    return lm_h5_hash_text(lm_h5_hash_text(UINT64_C(0xcbf29ce484222325), what), object);
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
bool lm_h5_settle(struct lm_store *store, bool ok, const char *what, const char *object,
                  uint64_t said, struct lm_status *status) {
    if (!ok)
        lm_h5_fail(store, LM_IO, what, object, status);
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
    lm_h5_begin();
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
    hid_t list = lm_h5_got(H5Pcreate(H5P_FILE_ACCESS));
    if (list >= 0 && lm_h5_done(H5Pset_fclose_degree(list, H5F_CLOSE_STRONG)) &&
        lm_h5_done(H5Pset_libver_bounds(list, H5F_LIBVER_V18, H5F_LIBVER_V18)) &&
        lm_h5_done(H5Pset_file_locking(list, false, true)) &&
        (alone || !store->parallel ||
         lm_h5_done(H5Pset_fapl_mpio(list, store->communicator, MPI_INFO_NULL))))
        return list;
    lm_h5_drop(list);
    return H5I_INVALID_HID;
}

bool lm_h5_close(struct lm_store *store) {
    written = store->path;
    bool ok = lm_h5_done(H5Fclose(store->file));
    store->file = H5I_INVALID_HID;
    return ok;
}

/* Open the file that is written again: by all ranks, or by this one alone. */
bool lm_h5_reopen(struct lm_store *store, bool alone) {
    hid_t list = access_list(store, alone);
    if (list >= 0)
        store->file = lm_h5_got(H5Fopen(store->aside.name, H5F_ACC_RDWR, list));
    lm_h5_drop(list);
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
    hid_t access = access_list(store, false), creation = file_list();
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
    lm_h5_begin();
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
    hid_t list = access_list(store, true);
    if (list >= 0)
        store->file = lm_h5_got(H5Fopen(store->aside.name, H5F_ACC_RDONLY, list));
    lm_h5_drop(list);
    bool ok = store->file < 0 ? lm_h5_fail(store, LM_IO, "read back", "the file", status)
                              : lm_store_verify(store, status);
    if (store->file >= 0)
        lm_h5_close(store);
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
    lm_h5_begin();
    bool closed = lm_h5_close(store);
    if (ok)
        ok = lm_h5_settle(store, closed, "close", "the file", 0, status);
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
    if (!lm_h5_close(store)) {
        if (!broken)
            lm_h5_fail(store, LM_IO, "close", "the file", &store->end);
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
        store->file = lm_h5_got(H5Fopen(path, H5F_ACC_RDONLY, list));
    lm_h5_drop(list);
    if (store->file < 0)
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
    lm_h5_begin();
    written = store->path;
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
    mpi(MPI_Get_library_version(library, &length));
    library[strcspn(library, ",\n")] = '\0';
    snprintf(mpi_text, LM_VERSION_TEXT, "%.*s", LM_VERSION_TEXT - 1, library);
    LM_ASSERT(H5get_libversion(&major, &minor, &release) >= 0);
    snprintf(hdf5, LM_VERSION_TEXT, "%u.%u.%u", major, minor, release);
}
