#include "store_hdf5.h"

#include "watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* For the others to hear of a failure, or for HDF5 to close a file after one; seconds. */
static const double PATIENCE = 3;

/* ---- HDF5's reasons ---- */

char lm_h5_reason[LM_H5_REASON];

/* "WHAT: time = ..., error message = 'WHY', ..." as "WHAT: WHY". */
static void shorten(char *reason) {
    static const char before[] = "error message = '";
    char *details = strstr(reason, ": time = "), *why = strstr(reason, before);
    if (!details || !why)
        return;
    why += sizeof before - 1;
    size_t length = strcspn(why, "'");
    memmove(details + 2, why, length);
    details[2 + length] = '\0';
}

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *unused) {
    (void)unused;
    if (n == 0)
        snprintf(lm_h5_reason, sizeof lm_h5_reason, "%s", error->desc);
    shorten(lm_h5_reason);
    return 0;
}

hid_t lm_h5_got(hid_t value) {
    if (value < 0 && !*lm_h5_reason)
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, NULL);
    return value;
}

bool lm_h5_done(hid_t value) {
    return lm_h5_got(value) >= 0;
}

bool lm_h5_drop(hid_t id) {
    return id < 0 || lm_h5_done(H5Idec_ref(id));
}

static const char *at_work; /* path of the file that HDF5 is at; NULL: none */

void lm_h5_begin(const struct lm_store *store) {
    *lm_h5_reason = '\0';
    at_work = store->path;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void lm_h5_end(const struct lm_store *store) {
    if (at_work == store->path)
        at_work = NULL;
}

bool lm_h5_fail(const struct lm_store *store, enum lm_code code, const char *what,
                const char *object, struct lm_status *status) {
    return lm_fail(status, code, "%s: cannot %s %s: %s", store->path, what, object,
                   *lm_h5_reason ? lm_h5_reason : "HDF5 gives no reason");
}

/* ---- Agreement of the ranks ---- */

void lm_h5_mpi(int code) {
    if (code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", code);
    lm_abort(LM_SYSTEM, "MPI failed: %s", text);
}

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
    lm_h5_mpi(MPI_Allreduce(mine, least, 3, MPI_UINT64_T, MPI_MIN, store->communicator));
    if (least[1] != ~least[2])
        lm_abort(LM_INTERNAL, "%s: bug: the ranks write different things", store->path);
    if (least[0] == (uint64_t)store->size)
        return true;
    lm_h5_mpi(MPI_Bcast(status, sizeof *status, MPI_BYTE, (int)least[0], store->communicator));
    return false;
}

static struct lm_watchdog *alarmed;
static struct lm_status short_write; /* LM_OK: none that the other ranks do not know of */

void lm_h5_alarm(const struct lm_status *status) {
    if (!alarmed)
        alarmed = lm_watchdog_start(PATIENCE, status);
}

void lm_h5_calm(void) {
    if (alarmed)
        lm_watchdog_stop(alarmed);
    alarmed = NULL;
}

void lm_store_alarm(int number) {
    if (!at_work || short_write.code != LM_OK)
        return;
    lm_fail(&short_write, LM_IO, "%s: cannot write: %s", at_work,
            number ? strerror(number) : "MPI gives no reason");
    lm_h5_alarm(&short_write);
}

bool lm_h5_agree(struct lm_store *store, bool ok, uint64_t said, struct lm_status *status) {
    if (short_write.code != LM_OK) { /* it says more than HDF5 does, if that says anything */
        *status = short_write;
        short_write.code = LM_OK;
        ok = false;
    }
    if (!ok && store->parallel)
        lm_h5_alarm(status);
    bool all = agree_with(store, ok, said, status);
    lm_h5_calm();
    if (!all)
        store->end = *status;
    return all;
}

bool lm_h5_settle(struct lm_store *store, bool ok, const char *what, const char *object,
                  uint64_t said, struct lm_status *status) {
    if (!ok)
        lm_h5_fail(store, LM_IO, what, object, status);
    else if (store->failed)
        *status = store->failure;
    return lm_h5_agree(store, ok && !store->failed, said, status);
}

void lm_store_share(struct lm_store *store, void *bytes, size_t size) {
    LM_ASSERT(size <= INT32_MAX);
    if (store->parallel)
        lm_h5_mpi(MPI_Bcast(bytes, (int)size, MPI_BYTE, 0, store->communicator));
}

/* ---- Files ---- */

/* Version 1.8 of the format: checksums, and attributes beyond 64 KB. */
hid_t lm_h5_access(const struct lm_store *store, bool alone) {
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
    bool ok = lm_h5_done(H5Fclose(store->file));
    store->file = H5I_INVALID_HID;
    store->stuck = !ok;
    return ok;
}

bool lm_h5_open(struct lm_store *store, const char *name, unsigned how, bool alone) {
    hid_t list = lm_h5_access(store, alone);
    if (list >= 0)
        store->file = lm_h5_got(H5Fopen(name, how, list));
    lm_h5_drop(list);
    return store->file >= 0;
}
