/* Watchdog: an end for calls that may never return. When a disk fails on one rank, HDF5 and
 * MPI-IO on the others can wait for it for ever. */
#ifndef LAMINA_WATCHDOG_H
#define LAMINA_WATCHDOG_H

#include "status.h"

struct lm_watchdog;

/* From now on the job ends with *status (lm_abort), unless lm_watchdog_stop comes within so
 * many seconds. Local. */
struct lm_watchdog *lm_watchdog_start(double seconds, const struct lm_status *status);
void lm_watchdog_stop(struct lm_watchdog *watchdog);

#endif
