/* Batch: what subcommands do with a batch of a session, in passes (mpi/passes.h), each of which
 * is counted in its phase of the traffic. */
#ifndef LAMINA_BATCH_H
#define LAMINA_BATCH_H

#include "session.h"

/* The next batch: n inputs of a data set, index (n), both of which stay until the next forward
 * pass has loaded them. Local. */
void lm_batch_take(struct lm_session *session, const struct lm_dataset *set,
                   const uint32_t *index, size_t n);

/* Load the batch, and hat v, counted in `phase`. Neighbour. */
void lm_batch_forward(struct lm_session *session, enum lm_phase phase);

/* Load the batch, and hat v, counted in LM_PHASE_EVALUATE, of which only what the output layer
 * predicts can be read then. Neighbour. */
void lm_batch_predict(struct lm_session *session);

/* n steps of inference of a rule from hat v, for its errors: no lm_batch_step may go on from
 * here, nor from lm_batch_train. Neighbour. */
void lm_batch_infer(struct lm_session *session, const struct lm_rule *rule,
                    const struct lm_inference *inference, long n, enum lm_phase phase);

/* What a training step is to tell beside the gradient of its rule. */
struct lm_batch_extras {
    bool exact;      /* the exact gradient, in layer->exact */
    bool energy;     /* what lm_session_energy adds up */
    double *seconds; /* NULL, or (LM_PASSES): what passes took is added */
};

/* All of a training step but its records and its update: load the batch, hat v, n steps of a
 * rule, and its gradient, into layer->gradient. Of the cortex only what the output layer
 * predicted can be read then. Neighbour and Replicas. */
void lm_batch_train(struct lm_session *session, const struct lm_rule *rule,
                    const struct lm_inference *inference, long n,
                    const struct lm_batch_extras *extras);

/* Load the batch, hat v, and the exact gradient, into layer->exact. Neighbour and Replicas. */
void lm_batch_exact(struct lm_session *session);

/* One more step of the session's rule, from hat v if it is the `first`, and the gradient that
 * there is then, into layer->gradient, and the energies. Neighbour and Replicas. */
void lm_batch_step(struct lm_session *session, const struct lm_inference *inference,
                   bool first);

#endif
