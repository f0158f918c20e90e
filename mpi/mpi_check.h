/* MPI check: every MPI call goes through LM_MPI, which ends the job with the call, the place
 * and MPI's own words when it fails. Internal to mpi/. */
#ifndef LAMINA_MPI_CHECK_H
#define LAMINA_MPI_CHECK_H

#include <mpi.h>

#define LM_MPI(call) lm_mpi_check((call), #call, __FILE__, __LINE__)

void lm_mpi_check(int result, const char *call, const char *file, int line);

/* MPI_Wait, asleep where ranks wait so (crowd.h). */
void lm_mpi_wait(MPI_Request *request, MPI_Status *status);

#ifdef LAMINA_DOUBLE
#define LM_MPI_REAL MPI_DOUBLE
#else
#define LM_MPI_REAL MPI_FLOAT
#endif

/* The communicators of comm.c, all ranks in their order: for links between layers, for replicas
 * of the same layers, and for agreement; never each other's; and the ranks of this node. */
MPI_Comm lm_comm_links(void);
MPI_Comm lm_comm_replicas(void);
MPI_Comm lm_comm_agreement(void);
MPI_Comm lm_comm_node(void);

#endif
