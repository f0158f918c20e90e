/* Checkpoints: those of a run, in the folder of its file, by their names; what is in them is in
 * checkpoint.h. Call these functions on one rank: folders look different to hosts for a while
 * after a change. */
#ifndef LAMINA_CHECKPOINTS_H
#define LAMINA_CHECKPOINTS_H

#include "status.h"

#include <stdbool.h>
#include <stdint.h>

/* Path of the checkpoint after `step` steps of the run that writes `out`: "fig1.h5" gives
 * "fig1.checkpoint-000400.h5". Free with lm_free. */
char *lm_checkpoints_path(const char *out, int64_t step);

/* Path of the checkpoint of `out` with the most steps, and those steps; NULL with LM_OK in
 * *status if there is none, with LM_NO_INPUT if the folder cannot be read. Files that were
 * still being written do not count. Free with lm_free. */
char *lm_checkpoints_newest(const char *out, int64_t *step, struct lm_status *status);

/* The same, of those that are sound. Each newer one that is damaged is told to `warn`. NULL
 * with LM_OK in *status when there is none at all; else with the failure of the newest when
 * none is sound, or when one cannot be opened. */
char *lm_checkpoints_newest_sound(const char *out, int64_t *step,
                                  void (*warn)(const char *message), struct lm_status *status);

/* Remove all checkpoints of `out` up to `step` but the newest `keep` (0: keep all), or all of
 * them and what a kill left half-written. LM_IO names the file that cannot be removed,
 * LM_NO_INPUT the folder that cannot be read. */
bool lm_checkpoints_prune(const char *out, int64_t step, int keep, struct lm_status *status);
bool lm_checkpoints_remove_all(const char *out, struct lm_status *status);

/* The checkpoint that `path` stands for: itself, or the newest one of the run whose file it
 * is. NULL with a status as of lm_store_open, LM_DATA when it is neither, LM_NO_INPUT when the
 * run has none beside it. Free with lm_free. */
char *lm_checkpoints_of(const char *path, struct lm_status *status);

#endif
