/* Pipeline: one thread takes its chunks of a batch through the passes.
 *
 * A chunk goes through steps: one for its feedforward pass (with the loading before it), those
 * of inference, one for each layer that learns. The thread goes on with the first chunk under
 * way that can: with one as far as its messages have come, then with the next, and with a new
 * one when all of them wait, so that one computes while another's messages travel, and the few
 * that are under way stay in cache. Without messages to wait for that is one chunk after the
 * other. Internal to the cortex. */
#ifndef LAMINA_PIPELINE_H
#define LAMINA_PIPELINE_H

#include "node.h"
#include "passes.h"
#include "tally.h"

/* What a thread is to do: steps first .. end - 1 of the chunks chunk, chunk + stride ... below
 * n_chunks. */
struct lm_pipeline {
    struct lm_nodes *nodes;
    const struct lm_passes *passes;
    long begun;             /* steps of inference done before, since hat v */
    struct lm_tally *tally; /* open for the nodes; NULL: nothing is learned here */
    int chunk, stride, n_chunks;
    long first, end;
    /* NULL, or called before the first step of a chunk, which gives it a place to keep its
     * state, and after the last of all, when it needs none any more. */
    void (*take_place)(void *context, int c);
    void (*leave_place)(void *context, int c);
    void *context; /* of these */
    const struct lm_scratch *scratch;
    double *seconds; /* (LM_PASSES) of this thread, LM_APART from others': what the passes take
                        is added */
};

/* Steps of a chunk in all, with so many nodes that learn; of inference among them; the pass of
 * step s, loading being part of LM_PASS_FORWARD; and the node that learns at step s of
 * LM_PASS_LEARN. */
long lm_pipeline_steps(const struct lm_passes *passes, int learners);
long lm_pipeline_inference(const struct lm_passes *passes);
enum lm_pass lm_pipeline_pass(const struct lm_passes *passes, long s);
int lm_pipeline_learner(const struct lm_passes *passes, long s);

/* Do them; at the end all messages have come, and all that were sent have left. Neighbour;
 * threads may work on different chunks. */
void lm_pipeline_run(const struct lm_pipeline *pipeline);

#endif
