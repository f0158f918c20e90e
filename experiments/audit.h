/* Audit: what the traffic counters (mpi/traffic.h) found in a run, held against what its
 * links must carry. */
#ifndef LAMINA_AUDIT_H
#define LAMINA_AUDIT_H

#include "run_file.h"
#include "session.h"

/* Compare the messages of this rank in the training steps from `first` on with what they must
 * be: feedforward, inference and exact messages and sums over replicas to the letter;
 * evaluation to neighbours only, records to replicas of the same layers only; nothing
 * elsewhere. LM_INTERNAL with the first difference. Collective. */
bool lm_audit_check(const struct lm_session *session, long first, struct lm_status *status);

/* One line for the user: messages per link and step, and that none went elsewhere. Returns
 * text[size]. */
const char *lm_audit_text(const struct lm_session *session, char *text, size_t size);

/* For a run that is no training: messages to neighbours, and within layers, only.
 * Collective. */
bool lm_audit_check_neighbours(const struct lm_session *session, struct lm_status *status);

/* The traffic for the file of a run: of one that trains that of its training steps, of any
 * other all there was, with a summary. Free with lm_audit_clear. Local. */
struct lm_run_traffic lm_audit_traffic(bool trains);

/* Add the rows of an earlier run. Local. */
void lm_audit_add(struct lm_run_traffic *traffic, int64_t *const row[LM_MATRICES]);
void lm_audit_clear(struct lm_run_traffic *traffic);

#endif
