/* Bell: by which the ranks of a node wake each other, for when they outnumber its processors
 * and wait asleep. It carries nothing: what was said is in the messages. Internal to comm and
 * crowd.
 *
 * Who waits counts the rings, looks for messages, and sleeps unless it has rung since. */
#ifndef LAMINA_BELL_H
#define LAMINA_BELL_H

#include <mpi.h>
#include <stdbool.h>

/* A bell for each rank of the job that is on this node, of the communicators of both.
 * Collective. */
void lm_bell_create(MPI_Comm job, MPI_Comm node);
void lm_bell_destroy(void);

/* Whether rank `rank` of the job is on this node. */
bool lm_bell_is_here(int rank);

/* Rings of this rank's bell so far. Thread-safe, like the following. */
unsigned lm_bell_rings(void);

/* Ring the bell of rank `to` of the job; on another node nothing happens. */
void lm_bell_ring(int to);

/* Sleep until this rank's bell has rung more often than `rings`, or at most for a millisecond:
 * MPI has messages of its own, which ring no bell. */
void lm_bell_wait(unsigned rings);

#endif
