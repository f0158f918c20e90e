/* Output: the files of a run of `lamina train`: the run file, the checkpoints beside it, and
 * how a run starts over, goes on, or refuses to overwrite another. */
#ifndef LAMINA_OUTPUT_H
#define LAMINA_OUTPUT_H

#include "meta.h"
#include "records.h"
#include "session.h"

struct lm_output;

/* Lock the output against other runs (LM_CANT_CREATE). LM_CANT_CREATE when it exists and is no
 * regular file and, unless --force or --resume, when it (or, with `checkpoints`, a checkpoint
 * of it) exists. Collective. */
bool lm_output_may_write(struct lm_session *session, bool checkpoints,
                         struct lm_status *status);

/* Start the files of a run. With --resume parameters, optimizer state and records come from
 * the newest checkpoint, whose settings must be the same, and *first says how many steps are
 * behind it; without any it is 0, and LM_CANT_CREATE if there is an output. When the run is
 * complete already, nothing is opened, and *first is the number of all steps. With --force the
 * checkpoints of an earlier run are removed once the run file has begun. NULL on failure.
 * Collective. */
struct lm_output *lm_output_create(struct lm_session *session, long *first,
                                   struct lm_status *status);

/* What this rank has measured so far; owned by the output, NULL when nothing was opened. */
struct lm_records *lm_output_records(struct lm_output *output);

/* Error record k is measured: put it into the run file. Local. */
void lm_output_write_errors(struct lm_output *output, int k);

/* Put everything measured up to `step` where it survives a kill. Collective. */
bool lm_output_flush(struct lm_output *output, long step, struct lm_status *status);

/* Write the checkpoint after `step` steps and drop those beyond checkpoint.keep; its path is
 * lm_output_newest from now on. Collective. */
bool lm_output_checkpoint(struct lm_output *output, long step, struct lm_status *status);

/* The newest checkpoint, written or resumed from; NULL: none. Not owned. */
const char *lm_output_newest(const struct lm_output *output);

/* The run is done: check and write the traffic, put the run file at its path, and tell the
 * user. Collective. */
bool lm_output_finish(struct lm_output *output, struct lm_status *status);

/* Leave; an unfinished run file stays at PATH.partial. Collective. */
void lm_output_destroy(struct lm_output *output);

/* Take the parameters of a checkpoint of any run with the same layers; *steps says how many
 * steps are behind it. LM_DATA when it is damaged, which rank 0 looks for. Local. */
bool lm_output_restore(struct lm_session *session, const char *path, long *steps,
                       struct lm_status *status);

#endif
