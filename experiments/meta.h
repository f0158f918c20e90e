/* Meta: what a run says of itself in its file (io/run_file.h), from a session. */
#ifndef LAMINA_META_H
#define LAMINA_META_H

#include "run_file.h"
#include "session.h"

/* Make the description of a session; its texts live until lm_meta_destroy. The same on all
 * ranks. */
struct lm_run_meta *lm_meta_create(const struct lm_session *session);
void lm_meta_destroy(struct lm_run_meta *meta);

/* The settings in a checkpoint, for the texts of a description; NULL on failure, with the
 * status of lm_checkpoint_settings on all ranks. Free with lm_free. Collective. */
char *lm_meta_trained(const char *checkpoint, struct lm_status *status);

/* The ranks that write files together. */
struct lm_peers lm_meta_peers(void);

#endif
