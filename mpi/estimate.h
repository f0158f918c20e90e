/* Estimate: what a training step costs on ranks and replicas, by a simple model: the operations
 * of the busiest rank, and the bytes it exchanges, while each of which it could do
 * LM_FLOPS_PER_BYTE operations. Pure arithmetic, no message. */
#ifndef LAMINA_ESTIMATE_H
#define LAMINA_ESTIMATE_H

#include "placement.h"
#include "rule.h"

/* Of a processor at 50 GF/s and messages within a node at 10 GB/s. */
enum { LM_FLOPS_PER_BYTE = 5 };

/* A training step: n steps of inference of a rule on a batch of `batch` inputs in chunks of
 * `chunk`; cost (layers) are operations per input of the step. */
struct lm_workload {
    const struct lm_network *network; /* not owned, likewise below */
    const struct lm_rule *rule;
    long n;
    size_t batch, chunk;
    const double *cost;
};

/* Of a rank, and of the step, which lasts as long as its busiest rank needs. */
struct lm_estimate {
    double time;     /* in operations */
    double speed_up; /* of the step against one rank */
    double between;  /* bytes that the rank exchanges with other layers, per step */
    double within;   /* and with replicas of its own */
};

/* Rank `rank` of a replica, with one thread; its speed_up is not set. */
struct lm_estimate lm_estimate_rank(const struct lm_workload *workload,
                                    const struct lm_placement *placement, int rank);

/* The whole step. */
struct lm_estimate lm_estimate_step(const struct lm_workload *workload,
                                    const struct lm_placement *placement);

/* Bytes that two ranks of the job exchange with each other between their layers, for one input
 * of a step. */
double lm_estimate_exchange(const struct lm_workload *workload,
                            const struct lm_placement *placement, int a, int b);

#endif
