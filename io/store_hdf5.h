/* Store, HDF5: calls of HDF5 and their failures, agreement of the ranks on them, and what else
 * the sources of the store share. Internal to io/store*.c, which alone include hdf5.h; the
 * interface is store.h.
 *
 * Every value that HDF5 returns goes through lm_h5_got or lm_h5_done, which keep the reason of
 * the first failure of a public call. Collective functions are called by all ranks that write
 * the file, in the same order. */
#ifndef LAMINA_STORE_HDF5_H
#define LAMINA_STORE_HDF5_H

#include "aside.h"
#include "digest.h"
#include "store.h"

#include <hdf5.h>
#include <mpi.h>

struct lm_store {
    char *path;
    struct lm_aside aside; /* the file that is written */
    bool exposed;          /* it has been flushed */
    bool sealed;
    struct lm_digest digest; /* if sealed */
    hid_t file;
    bool stuck; /* HDF5 could not close it */
    bool parallel;
    MPI_Comm communicator; /* if parallel */
    int rank, size;
    bool failed; /* an independent call did, and the other ranks do not know */
    struct lm_status failure;
    struct lm_status end; /* what all ranks know to have failed; LM_OK: nothing */
};

/* The innermost HDF5 error of the public call at work: HDF5 forgets it at its next call. */
enum { LM_H5_REASON = 256 };
extern char lm_h5_reason[LM_H5_REASON];

/* Each public call starts with begin, and end says that a store is gone. Then, where below 0 is
 * a failure: a value as it is; whether it is none; let go of an identifier, which may be a
 * failed one. Local. */
void lm_h5_begin(const struct lm_store *store);
void lm_h5_end(const struct lm_store *store);
hid_t lm_h5_got(hid_t value);
bool lm_h5_done(hid_t value);
bool lm_h5_drop(hid_t id);

/* "PATH: cannot WHAT OBJECT: REASON"; returns false. Local. */
bool lm_h5_fail(const struct lm_store *store, enum lm_code code, const char *what,
                const char *object, struct lm_status *status);

/* FNV-1a, to compare what the ranks were asked to do. Local. */
uint64_t lm_h5_hash(uint64_t before, const void *bytes, size_t size);
uint64_t lm_h5_hash_text(uint64_t before, const char *text);
uint64_t lm_h5_hash_call(const char *what, const char *object);

/* End the job if an MPI call failed. Local. */
void lm_h5_mpi(int code);

/* When MPI fails to write for HDF5 on one rank, the ranks may wait for each other for ever
 * inside HDF5. After an alarm this rank ends the job with `status` unless it is calm within
 * seconds; the first alarm counts. Local. */
void lm_h5_alarm(const struct lm_status *status);
void lm_h5_calm(void);

/* Whether all ranks are well; if not, all get the status of the lowest that is not. `said` is a
 * hash of the arguments. A rank that failed and is not heard ends the job. Collective. */
bool lm_h5_agree(struct lm_store *store, bool ok, uint64_t said, struct lm_status *status);

/* The end of a collective call: agree, where HDF5's reason is what a rank that is not well has
 * to say. Collective. */
bool lm_h5_settle(struct lm_store *store, bool ok, const char *what, const char *object,
                  uint64_t said, struct lm_status *status);

/* How to make or open a file: by all ranks, or by this one alone. To be dropped. Local. */
hid_t lm_h5_access(const struct lm_store *store, bool alone);

/* Open the file of a name, `how` being H5F_ACC_RDWR or H5F_ACC_RDONLY; close it. Collective,
 * unless alone. */
bool lm_h5_open(struct lm_store *store, const char *name, unsigned how, bool alone);
bool lm_h5_close(struct lm_store *store);

/* UTF-8 of a size with its final zero, or H5T_VARIABLE: of any length. To be dropped. Local. */
hid_t lm_h5_text_type(size_t size);

/* Set a text attribute of an open object. Local. */
bool lm_h5_set_text(const struct lm_store *store, hid_t object, const char *name,
                    const char *text);

/* The number in an attribute of an object, in memory of `type`; false if there is none. Local.
 */
bool lm_h5_get_number(struct lm_store *store, const char *object, const char *name, hid_t type,
                      void *value);

/* The attribute that holds the CRC-32 of a dataset of a sealed store, and whether a dataset
 * agrees with it; LM_DATA, LM_IO. Local. */
#define LM_H5_CHECKSUM "crc32"
bool lm_h5_is_sound(struct lm_store *store, const char *path, struct lm_status *status);

#endif
