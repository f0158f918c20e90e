/* Run file: the output of one run, which describes itself: opens in h5py, xarray, MATLAB.
 *
 *     /             format, format_version, created, command, settings (YAML), seed, ranks,
 *                   threads, replicas, placement, real, lamina_version, git_revision, flags,
 *                   mpi_version, hdf5_version, openblas_version, complete, steps_done,
 *                   seconds; where the network came from a checkpoint, checkpoint (its path)
 *                   and checkpoint_settings
 *     /layer        names of the layers: the scale of every dimension `layer`
 *     /layers/NAME  units, shape, map, parameters, rank; seconds computed on it in the end
 *     /training     curves of (step) and (layer, step)         see records.h
 *     /errors/STEP  records of single inputs after STEP steps  see records.h
 *     /traffic      messages, bytes (sender, receiver) between layers; within_messages,
 *                   within_bytes, likewise, between replicas of a layer; all since
 *                   training step `first_step`
 *
 * It is made aside and takes its place at PATH in the end (store.h). */
#ifndef LAMINA_RUN_FILE_H
#define LAMINA_RUN_FILE_H

#include "records.h"

/* What /layers/NAME says. Strings are not owned. */
struct lm_run_layer {
    const char *name;
    size_t units;
    const char *shape, *map; /* lm_shape_text, lm_plan_map_text */
    size_t parameters;
    int rank; /* of the first replica */
};

/* An attribute of a group. */
struct lm_run_text {
    const char *name, *text;
};

/* What a run says of itself; the same on all ranks. Nothing is owned; all must be valid
 * during the call only. */
struct lm_run_meta {
    const char *command;  /* as it was typed */
    const char *settings; /* lm_settings_text */
    uint64_t seed;
    int threads;           /* of each rank */
    int replicas;          /* of the network, on ranks / replicas ranks each */
    const char *placement; /* "V1:0 V2:1" */
    int n_layers;
    const struct lm_run_layer *layers;
    int n_texts; /* further attributes of / */
    const struct lm_run_text *texts;
    const char *traffic; /* what /traffic says of itself, NULL: nothing yet */
    int64_t first_step;  /* with it: the training step from which /traffic counts */
};

/* The matrices of /traffic. */
enum lm_run_matrix {
    LM_MATRIX_MESSAGES, /* between layers */
    LM_MATRIX_BYTES,
    LM_MATRIX_WITHIN_MESSAGES, /* between replicas of a layer */
    LM_MATRIX_WITHIN_BYTES,
    LM_MATRICES
};

/* What this rank sent to each rank, row[...][ranks], and n_texts attributes of /traffic, the
 * same on all ranks. */
struct lm_run_traffic {
    int64_t *row[LM_MATRICES];
    int n_texts;
    const struct lm_run_text *texts;
};

/* The dataset of matrix m, without scales. */
struct lm_field lm_run_matrix(int m, int ranks);

/* What a file says of the build: real, lamina_version, git_revision, flags, mpi_version,
 * hdf5_version, openblas_version. The texts live as long as *build. */
enum { LM_RUN_BUILD_TEXTS = 7, LM_RUN_TIME = 32 };
struct lm_run_build {
    char mpi[LM_VERSION_TEXT], hdf5[LM_VERSION_TEXT];
    struct lm_run_text text[LM_RUN_BUILD_TEXTS];
};
void lm_run_build(struct lm_run_build *build);

/* Now, in ISO 8601, in text; returns text. */
const char *lm_run_time(char text[LM_RUN_TIME]);

/* For any file of a run, below: write the attributes of / and the groups /layers/NAME, with
 * `complete` and `steps_done` 0, and make /traffic. The time is rank 0's. Collective. */
bool lm_run_describe(struct lm_store *store, int ranks, const struct lm_run_meta *meta,
                     struct lm_status *status);

/* Note the wall-clock seconds from `started`, a time of lm_run_clock, until now, of the start
 * that finished the file; both by rank 0's clock. Collective. */
double lm_run_clock(void);
bool lm_run_tell_seconds(struct lm_store *store, double started, struct lm_status *status);

/* Write /traffic, once. Collective. */
bool lm_run_write_traffic(struct lm_store *store, const struct lm_peers *peers,
                          const struct lm_run_traffic *traffic, struct lm_status *status);

struct lm_run_file;

/* Start a run file with everything in it but the numbers. `records` is not owned and must
 * outlive the file. NULL on failure: LM_CANT_CREATE, or LM_IO when the disk is full.
 * Collective. */
struct lm_run_file *lm_run_file_create(const char *path, const struct lm_peers *peers,
                                       const struct lm_run_meta *meta,
                                       const struct lm_records *records,
                                       struct lm_status *status);

/* Write this rank's records of the training steps from .. to - 1, or of error record k.
 * Independent. */
bool lm_run_file_write_steps(struct lm_run_file *file, int64_t from, int64_t to,
                             struct lm_status *status);
bool lm_run_file_write_errors(struct lm_run_file *file, int k, struct lm_status *status);

/* Write /traffic, once. Collective. */
bool lm_run_file_write_traffic(struct lm_run_file *file, const struct lm_run_traffic *traffic,
                               struct lm_status *status);

/* Note the seconds that all ranks have computed on each layer, seconds (layers); the same on
 * all ranks. Collective. */
bool lm_run_file_write_costs(struct lm_run_file *file, const double seconds[],
                             struct lm_status *status);

/* Make what was written readable after a kill, and note the steps done. Collective. */
bool lm_run_file_flush(struct lm_run_file *file, int64_t steps_done, struct lm_status *status);

/* Note the steps done, mark the file complete if those are all, and put it at its path.
 * The file is gone afterwards, also on failure. Collective. */
bool lm_run_file_finish(struct lm_run_file *file, int64_t steps_done, struct lm_status *status);

/* Close and leave PATH.partial as it is. NULL is allowed. Collective. */
void lm_run_file_abandon(struct lm_run_file *file);

#endif
