/* Stop: signals that ask a job to end early, heeded by all ranks after the same step.
 *
 * SIGUSR1, SIGTERM and SIGINT are caught, on whatever rank they arrive. Between steps every
 * rank calls lm_stop_agreed, and about ten times a second, or every step when steps are
 * longer, the ranks begin a reduction of two integers, which they look at one step later, so
 * that it costs no waiting. How many steps lie between two reductions is agreed in the
 * reduction before. No message of a training step is changed or added.
 *
 * A second signal, a quarter of a second or more after the first, ends the process at once:
 * one closer is the same request, which mpirun and a batch system both passed on. */
#ifndef LAMINA_STOP_H
#define LAMINA_STOP_H

#include <stdbool.h>

/* Catch the signals from now on; MPI need not have started. Local. */
void lm_stop_start(void);

/* Whether the ranks agreed to end: the same on all ranks after the same number of calls.
 * Collective, though most calls exchange nothing. */
bool lm_stop_agreed(void);

/* Name of the signal agreed on. Not owned. */
const char *lm_stop_signal(void);

/* Leave the signals alone again; collective. */
void lm_stop_finish(void);

#endif
