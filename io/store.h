/* Store: the one layer between Lamina and HDF5. Everything that io/ keeps in HDF5 is
 * made, written and read through here; no other source includes hdf5.h.
 *
 * Writing is safe against kills (aside.h): a file is made at PATH.new, the first
 * lm_store_flush calls it PATH.partial, and only lm_store_commit puts it in the place of
 * PATH, so whatever was at PATH stays whole until then. After a kill PATH.partial reads up to
 * the last flush.
 *
 * Several ranks write one file (MPI-IO driver). Calls marked Collective are made by all
 * ranks in the same order with the same arguments (a difference is a bug and ends the
 * job) and return the same on all: when one rank fails, all get its message. Calls
 * marked Independent are made by any rank; a failure there is returned at once and once
 * more, on all ranks, by the next collective call.
 *
 * An object is named by its full path in the file ("/training/loss"); groups on the way
 * are made as needed. A file written here opens in netCDF4 and xarray because every
 * dimension of a dataset has a scale, a dataset that holds its coordinates, or none has. */
#ifndef LAMINA_STORE_H
#define LAMINA_STORE_H

#include "tensor.h"

#include <stdint.h>

/* Who writes a file together. */
struct lm_peers {
    const void *communicator; /* MPI_Comm *, duplicated, not owned; NULL: this process
                                 alone, without MPI */
    int rank, size;           /* 0 and 1 for a process alone */
};

enum lm_field_type {
    LM_FIELD_DOUBLE, /* double; fills with NaN */
    LM_FIELD_REAL,   /* real: float or double in the file as in the program; NaN */
    LM_FIELD_INT64,  /* int64_t; fills with -1 */
    LM_FIELD_TEXT    /* UTF-8 of any length; scales only */
};

enum { LM_MAX_DIMENSIONS = 3 };

/* A dataset as it is made. */
struct lm_field {
    const char *path;
    enum lm_field_type type;
    int rank; /* dimensions, 1 to LM_MAX_DIMENSIONS */
    size_t extent[LM_MAX_DIMENSIONS];
    const char *scale[LM_MAX_DIMENSIONS]; /* path of each dimension's scale, which is in
                                             the same group or one above it; NULL for all
                                             dimensions or none */
    const char *units;                    /* "1" for a plain number */
    const char *long_name;
    bool whole; /* all of it will be written before the commit: do not fill it first */
};

/* A part of a dataset and the type of its values in memory (not LM_FIELD_TEXT); HDF5
 * converts when the file holds another type. offset and count have as many entries as
 * the dataset has dimensions, the other counts are 0; values are row-major and dense. */
struct lm_slab {
    const char *path;
    enum lm_field_type type;
    size_t offset[LM_MAX_DIMENSIONS], count[LM_MAX_DIMENSIONS];
};

struct lm_store;

/* Start a file. LM_CANT_CREATE names PATH and the reason. Ends with commit or abandon.
 * Collective. */
struct lm_store *lm_store_create(const char *path, const struct lm_peers *peers,
                                 struct lm_status *status);

/* Before anything is made: give every dataset of numbers an attribute `crc32` (digest.h) when
 * the store is committed, from what the ranks had in memory, and compare the file with it
 * before it takes its place. Until then it is at PATH.new. All numbers of a sealed store must
 * be written, in parts that are one run in the file and have the dataset's type. Collective. */
void lm_store_seal(struct lm_store *store);

/* Write everything to the disk, close, and rename PATH.partial to PATH. The store is
 * gone afterwards, also on failure, which leaves PATH as it was. Collective. */
bool lm_store_commit(struct lm_store *store, struct lm_status *status);

/* Close without renaming; remove the file if told so. NULL is allowed. Collective. */
void lm_store_abandon(struct lm_store *store, bool remove);

/* Open a file to read. LM_NO_INPUT: not there or not readable; LM_DATA: not an HDF5
 * file, or truncated. Close with lm_store_close. Local: any rank on its own. */
struct lm_store *lm_store_open(const char *path, struct lm_status *status);
void lm_store_close(struct lm_store *store);

/* Compare all datasets that have a checksum with it: LM_DATA names the first that is damaged,
 * LM_IO the first that cannot be read. Local. */
bool lm_store_verify(struct lm_store *store, struct lm_status *status);

/* The path given to create or open. Not owned. */
const char *lm_store_path(const struct lm_store *store);

/* Make all that was written readable after a kill. Collective. */
bool lm_store_flush(struct lm_store *store, struct lm_status *status);

/* Rank 0's `size` bytes to all ranks, for arguments that ranks would otherwise each
 * make differently (the time, say). Collective. */
void lm_store_share(struct lm_store *store, void *bytes, size_t size);

bool lm_store_make_group(struct lm_store *store, const char *path, struct lm_status *status);

/* Make a dataset; field->scale name scales made before. Collective, like make_group and
 * make_scale: all on all ranks, before the first flush. */
bool lm_store_make(struct lm_store *store, const struct lm_field *field,
                   struct lm_status *status);

/* Make a scale: a dataset of one dimension that other datasets' dimensions can name,
 * with its values, known to all ranks: double, real or int64_t [extent], or
 * const char *[extent] for LM_FIELD_TEXT. field->scale is not used. */
bool lm_store_make_scale(struct lm_store *store, const struct lm_field *field,
                         const void *values, struct lm_status *status);

/* A scale of the numbers first, first + 1, ..., as int64. */
bool lm_store_make_count(struct lm_store *store, const struct lm_field *field, int64_t first,
                         struct lm_status *status);

/* Set an attribute of a group or dataset ("/": the file), in the place of an older
 * value of the same type. Collective. */
bool lm_store_set_text(struct lm_store *store, const char *object, const char *name,
                       const char *text, struct lm_status *status);
bool lm_store_set_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t value, struct lm_status *status);
bool lm_store_set_unsigned(struct lm_store *store, const char *object, const char *name,
                           uint64_t value, struct lm_status *status);
bool lm_store_set_double(struct lm_store *store, const char *object, const char *name,
                         double value, struct lm_status *status);

/* Write a part of a dataset. A count of 0 writes nothing. LM_IO names the file and the
 * dataset. Independent. */
bool lm_store_write(struct lm_store *store, const struct lm_slab *slab, const void *values,
                    struct lm_status *status);

/* Read a part of a dataset. LM_DATA: no such dataset, not numbers, or too small; LM_IO:
 * reading failed midway. Local. */
bool lm_store_read(struct lm_store *store, const struct lm_slab *slab, void *values,
                   struct lm_status *status);

/* The extents of a dataset, LM_DATA unless it has `rank` dimensions. Local. */
bool lm_store_extent(struct lm_store *store, const char *path, int rank, size_t extent[],
                     struct lm_status *status);

/* LM_DATA unless the dataset has exactly these extents; the message names file and
 * dataset, what was found and what was expected. Local. */
bool lm_store_expect(struct lm_store *store, const char *path, int rank, const size_t extent[],
                     struct lm_status *status);

/* An attribute; LM_DATA when it is not there or of another kind. The text is freed by
 * the caller with lm_free; NULL on failure. Local. */
char *lm_store_get_text(struct lm_store *store, const char *object, const char *name,
                        struct lm_status *status);
bool lm_store_get_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t *value, struct lm_status *status);
bool lm_store_get_double(struct lm_store *store, const char *object, const char *name,
                         double *value, struct lm_status *status);

/* LM_DATA unless the file's attributes `format` and `format_version` are these. Local. */
bool lm_store_check_format(struct lm_store *store, const char *format, int64_t version,
                           struct lm_status *status);

/* MPI-IO wrote less than it was asked to, with errno `number`: HDF5 may not tell before the
 * other ranks have waited for ever. Unless all ranks agree within seconds that it failed,
 * this one ends the job (lm_abort, LM_IO). Local. */
void lm_store_alarm(int number);

enum { LM_VERSION_TEXT = 128 };

/* "Open MPI v4.1.4" and "1.10.8" in texts of LM_VERSION_TEXT bytes. */
void lm_store_versions(char *mpi, char *hdf5);

#endif
