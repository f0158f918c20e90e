/* Passes: what is done with a batch, each pass on its own or several of them in turn, chunk by
 * chunk: a chunk goes through all of them while it stays in cache, and one may be inferred
 * while another is in its feedforward pass.
 *
 *   load      the inputs and labels of the chunk are filled in
 *   forward   hat v travels up
 *   infer     steps of a rule: errors, feedback down; values up (rule.h)
 *   learn     parameter gradients, which are summed over the batch in the end */
#ifndef LAMINA_PASSES_H
#define LAMINA_PASSES_H

#include "rule.h"
#include "traffic.h"

enum lm_pass { LM_PASS_LOAD, LM_PASS_FORWARD, LM_PASS_INFER, LM_PASS_LEARN, LM_PASSES };

/* The passes, in this order; zero leaves one out. */
struct lm_passes {
    void (*load)(void *context, int c); /* chunk c, before it goes forward. Thread-safe */
    void *context;                      /* of load and of done */
    bool forward;
    const struct lm_rule *rule;           /* of what follows; NULL: nothing does */
    const struct lm_inference *inference; /* likewise */
    long steps;   /* of inference; a rule that sweeps makes one sweep of any number */
    bool goes_on; /* from where the last inference stopped, else from hat v */
    bool ends;    /* no later pass goes on from here, or learns: what would only move values
                     for it is left out */
    bool learn;   /* into layer->gradient, or, if `exact`, layer->exact */
    bool exact;
    void (*done)(void *context, int c); /* NULL; or of chunk c, whose passes are done and whose
                                           state is there. Thread-safe */
    bool forgets; /* nobody but that reads what a chunk leaves behind, except for what the
                     output layer predicts: chunks may share memory, where it is in cache, and
                     other passes need a new batch then */
    enum lm_phase forward_phase, infer_phase; /* that messages are counted in */
    double *seconds; /* NULL, or (LM_PASSES): what the passes took is added, the mean of this
                        rank's threads, without waiting for messages */
};

#endif
