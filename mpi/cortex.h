/* Cortex: the layers of this rank and their links, and one batch's way through them: the passes
 * (passes.h), then an optimizer step.
 *
 * Each replica of the network (placement.h) has its share of the chunks of a batch (span.h):
 * all chunks here are those of this rank's replica. A batch lies in chunks (tensor.h). Threads
 * work on different chunks, and each exchanges the messages of its own chunks, so that one
 * chunk computes while another's messages travel. On one rank a chunk goes through all passes
 * while it stays in cache, mostly on one thread (schedule.h). Neither ranks nor replicas
 * nor threads change a bit of any result: each chunk sees the same operations in the same
 * order, and sums over chunks have a fixed order (span.h).
 *
 * Functions that exchange messages do so with the ranks of neighbouring layers (Neighbour) or
 * of replicas of the same layers (Replicas) only; all ranks call them in the same order with
 * the same arguments. The others are Local: any rank calls them when it likes. */
#ifndef LAMINA_CORTEX_H
#define LAMINA_CORTEX_H

#include "passes.h"
#include "placement.h"

struct lm_cortex;

struct lm_cortex_plan {
    const struct lm_network *network;     /* not owned, must outlive the cortex */
    const struct lm_placement *placement; /* likewise */
    int rank;                             /* this rank */
    const struct lm_optimizer *optimizer; /* not owned */
    size_t batch;                         /* most inputs of a batch */
    size_t chunk;                         /* inputs per chunk */
    int threads;
};

/* The layers of a rank with zero parameters, and their links. Free with destroy. Neighbour. */
struct lm_cortex *lm_cortex_create(const struct lm_cortex_plan *plan);
void lm_cortex_destroy(struct lm_cortex *cortex);

/* The layers of this rank, in the order of the network. */
int lm_cortex_layers(const struct lm_cortex *cortex);
struct lm_layer *lm_cortex_layer(const struct lm_cortex *cortex, int i);

/* The layer of this rank that is layer `index` of the network, or NULL. */
struct lm_layer *lm_cortex_find(const struct lm_cortex *cortex, int index);

/* The replica of this rank, from 0; the first speaks for all in files and on the terminal. */
int lm_cortex_replica(const struct lm_cortex *cortex);

/* Whether this rank reads the labels. */
bool lm_cortex_has_output(const struct lm_cortex *cortex);

/* The next batch has n inputs. Then fill, or let the pass of loading fill, for each chunk c <
 * lm_cortex_chunks (perhaps none), count inputs of the batch from lm_cortex_first on:
 * lm_cortex_input (input units, width), NULL where no layer has the input as a parent, and
 * lm_cortex_label (count), NULL unless has_output. Local. */
void lm_cortex_set_batch(struct lm_cortex *cortex, size_t n);
int lm_cortex_chunks(const struct lm_cortex *cortex);
size_t lm_cortex_first(const struct lm_cortex *cortex, int c);
size_t lm_cortex_count(const struct lm_cortex *cortex, int c);
real *lm_cortex_input(const struct lm_cortex *cortex, int c);
int *lm_cortex_label(const struct lm_cortex *cortex, int c);

/* The passes over the batch: chunk by chunk through all of them in turn, but that learning,
 * where layers have so many parameters that each chunk cannot have a gradient of its own,
 * comes when all chunks have been inferred. hat v, errors and values stay for records.
 *
 * Per link and chunk 1 message up for a feedforward pass; n down for n steps of inference, and
 * n up if values travel; 1 down for a sweep. Replicas sum what they learn in LM_PHASE_SUM.
 * Neighbour, Replicas. */
void lm_cortex_run(struct lm_cortex *cortex, const struct lm_passes *passes);

/* Optimizer step number t = 1, 2, ... of every layer. Local. */
void lm_cortex_update(struct lm_cortex *cortex, long t, double rate, double momentum);

/* What the output layer says of the batch, from hat v, and the labels, in the order of the
 * inputs, each (batch) and possibly NULL; only where has_output. The first replica has that of
 * all, the others that of their own inputs. Replicas. */
void lm_cortex_outcome(const struct lm_cortex *cortex, const struct lm_loss *loss,
                       double *losses, int *predictions, int *labels);

/* What each replica has filled in for its own inputs of the batch, values (batch) elements of
 * `size` bytes, or for its chunks, in order, values (chunks of the batch): to the first
 * replica. lm_cortex_all_chunks says how many chunks the batch has. Replicas. */
void lm_cortex_gather_inputs(const struct lm_cortex *cortex, void *values, size_t size);
void lm_cortex_gather_chunks(const struct lm_cortex *cortex, void *values, size_t size);
int lm_cortex_all_chunks(const struct lm_cortex *cortex);

/* Messages that this rank must have sent to rank `to` for one batch of `chunks` chunks in all
 * replicas: per forward pass, per inference of n steps of a rule, and per learning. What the
 * audit is held against. */
int64_t lm_cortex_forward_messages(const struct lm_cortex *cortex, int to, int chunks);
int64_t lm_cortex_inference_messages(const struct lm_cortex *cortex, const struct lm_rule *rule,
                                     long n, int to, int chunks);
int64_t lm_cortex_sum_messages(const struct lm_cortex *cortex, int to, int chunks);

#endif
