/* Comm: the ranks of the job: start and end, the one abort path, agreement.
 *
 * Collective functions must be called by all ranks in the same order. They run on a
 * communicator of their own, apart from links and files. A failed MPI call ends the job
 * (lm_abort, LM_SYSTEM). */
#ifndef LAMINA_COMM_H
#define LAMINA_COMM_H

#include "status.h"

#include <stddef.h>

/* Start MPI with threads; collective. Before that, make waiting ranks yield their core, as
 * Open MPI needs when ranks outnumber cores, unless the user's environment says otherwise.
 * From now on lm_abort ends all ranks and names this one. */
void lm_comm_start(void);

/* End MPI; collective. */
void lm_comm_finish(void);

int lm_comm_rank(void);
int lm_comm_size(void);

/* Ranks on this node. */
int lm_comm_node_ranks(void);

/* Whether several threads of a rank may exchange messages at the same time. */
bool lm_comm_is_threaded(void);

/* Name and version of the MPI library. Not owned. */
const char *lm_comm_library(void);

/* The MPI_Comm for files, for io/store.h. Not owned. */
const void *lm_comm_files(void);

/* True if `good` on all ranks. Otherwise every rank gets the status of the lowest rank that
 * failed, with "rank N: " before its message when only some failed. Collective. */
bool lm_comm_agree(bool good, struct lm_status *status);

/* Copy `bytes` bytes from rank `root` to all. Collective. */
void lm_comm_broadcast(void *data, size_t bytes, int root);

/* Wait for all ranks. Collective. */
void lm_comm_barrier(void);

/* Whether standard error of this job reaches a terminal (mpirun's, or ours). Local. */
bool lm_comm_on_terminal(void);

#endif
