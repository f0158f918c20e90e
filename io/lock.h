/* Lock: one run at a time writes an output.
 *
 * The ranks of a run share a lock (flock) on FILE.lock, which says who holds it and goes when
 * the run ends; after a kill the file stays, the lock does not. All ranks hold it because
 * some may outlive a kill by seconds and still write.
 *
 * flock works across the hosts of NFS (Linux 2.6.12 and later), GPFS, and Lustre or BeeGFS
 * mounted with it; where it does not work nothing is locked, and nothing is said. */
#ifndef LAMINA_LOCK_H
#define LAMINA_LOCK_H

#include "status.h"

struct lm_lock;

/* Take the lock of `path` for this process alone, waiting some seconds for ranks of a killed
 * run to end; then share it with the other ranks, which join. LM_CANT_CREATE names who holds
 * it. Local. */
struct lm_lock *lm_lock_take(const char *path, double seconds, struct lm_status *status);
bool lm_lock_share(struct lm_lock *lock, struct lm_status *status);
struct lm_lock *lm_lock_join(const char *path, struct lm_status *status);

/* Let go; `last` removes the file: when all ranks have let go but this one. NULL is allowed. */
void lm_lock_release(struct lm_lock *lock, bool last);

#endif
