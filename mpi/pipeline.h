/* Pipeline: one thread takes its chunks of a batch through the steps of inference.
 *
 * A few chunks are under way at a time. The thread goes on with the first of them that can:
 * with one chunk as far as its messages have come, then with the next, so that one computes
 * while another's messages travel, and those under way stay in cache. Without messages to wait
 * for that is one chunk after the other. Internal to the cortex. */
#ifndef LAMINA_PIPELINE_H
#define LAMINA_PIPELINE_H

#include "node.h"
#include "rule.h"

/* Steps first .. end - 1 of inference, counted since its beginning at hat v, on chunks chunk,
 * chunk + stride ... below n_chunks. */
struct lm_pipeline {
    struct lm_nodes *nodes;
    const struct lm_rule *rule; /* does not sweep */
    const struct lm_inference *inference;
    long first, end;
    int chunk, stride, n_chunks;
    const struct lm_scratch *scratch;
};

/* Do them; at the end all messages have come, and all that were sent have left. Neighbour;
 * threads may work on different chunks. */
void lm_pipeline_run(const struct lm_pipeline *pipeline);

#endif
