/* Comm: the ranks of the job: start and end, the one abort path, agreement.
 *
 * Collective functions must be called by all ranks in the same order. They run on a
 * communicator of their own, apart from links and files. A failed MPI call ends the job
 * (lm_abort, LM_SYSTEM). */
#ifndef LAMINA_COMM_H
#define LAMINA_COMM_H

#include "status.h"

#include <stddef.h>

enum { LM_EAGER = 131072 };

/* Start MPI with threads; collective. Before that, unless the user's environment says
 * otherwise, make waiting ranks yield their core, as Open MPI needs when ranks outnumber cores,
 * let messages of up to LM_EAGER bytes within a node leave before their receiver asks, and keep
 * a rank that no mpirun or srun has started from looking for networks.
 * From now on lm_abort ends all ranks and names this one; when several ranks of a node fail
 * at once, one of them is heard. */
void lm_comm_start(void);

/* End MPI; collective. */
void lm_comm_finish(void);

/* End MPI when the program exits. After lm_comm_done all ranks do. Before, as when a command
 * line is wrong, they are waited for some seconds; if one does not come, the job ends with this
 * rank's exit status, so that no rank waits for one that is gone. Exit status 1 is none of
 * ours: a library has given up, and the job ends with LM_SYSTEM. Local. */
void lm_comm_finish_at_exit(void);
void lm_comm_done(void);

int lm_comm_rank(void);
int lm_comm_size(void);

/* Ranks on this node, and which of them, from 0, this one is. */
int lm_comm_node_ranks(void);
int lm_comm_node_rank(void);

/* Whether rank `rank` is on this node. */
bool lm_comm_is_near(int rank);

/* Whether several threads of a rank may exchange messages at the same time. */
bool lm_comm_is_threaded(void);

/* The MPI_Comm for files, for io/store.h. Not owned. */
const void *lm_comm_files(void);

/* True if `good` on all ranks. Otherwise every rank gets the status of the lowest rank that
 * failed, with "rank N: " before its message when only some failed. Collective. */
bool lm_comm_agree(bool good, struct lm_status *status);

/* Copy `bytes` bytes from rank `root` to all. Collective. */
void lm_comm_broadcast(void *data, size_t bytes, int root);

/* mine[n] of every rank, in the order of ranks, into all[ranks * n] on every rank.
 * Collective. */
void lm_comm_gather(const double *mine, size_t n, double *all);

/* bits[bytes] = the bits set on any rank of this node. Collective. */
void lm_comm_node_unite(void *bits, size_t bytes);

/* Wait for all ranks. Collective. */
void lm_comm_barrier(void);

/* The same for a long wait: asleep, so that the core is free for other programs, and up to a
 * few milliseconds too long. */
void lm_comm_rest(void);

/* Whether standard error of this job reaches a terminal (mpirun's, or ours). Local. */
bool lm_comm_on_terminal(void);

#endif
