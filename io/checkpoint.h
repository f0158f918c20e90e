/* Checkpoint: all that a training run needs to go on, in a file of its own beside the run
 * file: parameters and optimizer state of every layer, the position, the settings, and
 * the records so far. A run resumed from it ends with the bits of one never stopped.
 *
 *     /             format, format_version, settings, steps_done, real, git_revision, flags,
 *                   n_layers; train_inputs, test_inputs, train_labels_crc32, test_labels_crc32
 *     /layers/NAME/parameters, MOMENT   packed as in src/layer.h; without scales, which
 *                                       would be larger than they are
 *     /training, /errors                see records.h
 *     /traffic      placement, first_step; the matrices of run_file.h (sender, receiver)
 *
 * A checkpoint appears under its name (checkpoints.h) when all of it is on the disk and was
 * read back: every dataset has a checksum (store.h, lm_store_seal). Any number of ranks reads
 * what any other number wrote, in float or double; a run goes on with the same numbers and data
 * only. */
#ifndef LAMINA_CHECKPOINT_H
#define LAMINA_CHECKPOINT_H

#include "dataset.h"
#include "optimizer.h"
#include "run_file.h"

/* The attribute `format` of /. */
#define LM_CHECKPOINT_FORMAT "lamina checkpoint"

/* One layer. Names and counts are the same on all ranks. */
struct lm_checkpoint_layer {
    const char *name;
    size_t n_parameters;
    real *parameters; /* (n_parameters); NULL: not on this rank. Not owned */
    int n_moments;
    const char *const *moment_names;
    real *moment[LM_MAX_MOMENTS]; /* (n_parameters); NULL: not on this rank. Not owned */
};

/* The messages of training so far, as long as layers stayed on their ranks: what this rank sent
 * to each, from training step `first_step` on. Nothing is owned. */
struct lm_checkpoint_traffic {
    const char *placement; /* the same on all ranks */
    int rank, ranks;
    int64_t first_step;
    int64_t *row[LM_MATRICES]; /* (ranks) */
};

enum { LM_CHECKPOINT_BUILD = 200 };

/* What a checkpoint holds; `data`, `records` and `traffic` may be NULL. Nothing is owned. */
struct lm_checkpoint {
    const char *settings; /* lm_settings_text; used by write only */
    int64_t steps_done;   /* training steps behind it; set by read */
    int n_layers;
    const struct lm_checkpoint_layer *layers;
    struct lm_records *records;            /* those of the steps done are kept */
    struct lm_checkpoint_traffic *traffic; /* read when ranks and placement are the same; else
                                              first_step becomes steps_done */
    const struct lm_data_mark *data; /* what the run learns from. Read, the file must have the
                                        same, and numbers like ours */
    char build[LM_CHECKPOINT_BUILD]; /* set by read with `data`: revision and flags of the
                                        program that wrote it; empty if those are ours */
};

/* Write a checkpoint. On failure there is none at `path`, or the older one that was there.
 * Collective, errors as of lm_store_create and lm_store_commit. */
bool lm_checkpoint_write(const char *path, const struct lm_peers *peers,
                         const struct lm_checkpoint *checkpoint, struct lm_status *status);

/* Read into the arrays and records of this rank, and set steps_done. Names and sizes are
 * checked for all layers: LM_DATA names the file, the dataset, what was found and what was
 * expected. Local: each rank on its own. */
bool lm_checkpoint_read(const char *path, struct lm_checkpoint *checkpoint,
                        struct lm_status *status);

/* The settings in a checkpoint, or NULL with a status as of lm_store_open, or LM_DATA when
 * the file is not a checkpoint. Free with lm_free. Local. */
char *lm_checkpoint_settings(const char *path, struct lm_status *status);

/* Whether all numbers and the settings of a checkpoint are what was written: LM_DATA names the
 * file and what is damaged, errors else as of lm_store_open. Reads all of it. Local. */
bool lm_checkpoint_verify(const char *path, struct lm_status *status);

#endif
