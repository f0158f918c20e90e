/* Timing: how long a training step takes all ranks and threads of the job together, and how
 * fast their processors can be at most. All functions are collective. */
#ifndef LAMINA_TIMING_H
#define LAMINA_TIMING_H

#include "session.h"

#include <sched.h>

/* A rule with its step size and number of steps; `name` is what --rules calls it. */
struct lm_method {
    const char *name;
    const struct lm_rule *rule;
    double eta;
    long n;
};

enum { LM_METHODS = 4 };

/* "strict" and "fixed-prediction" with the step size and steps of the settings if these are for
 * the same rule, else 0.1 and 20; "exact": fixed prediction with step size 1 and as many
 * steps as the network is deep, left out if that is what "fixed-prediction" is; "backprop".
 * Those that `list` ("strict,backprop"; NULL: all) names, in this order, go into methods; their
 * number is returned. LM_USAGE and 0 for a name that is none of these. Local. */
int lm_methods_of(const struct lm_session *session, const char *list,
                  struct lm_method methods[LM_METHODS], struct lm_status *status);

/* Floating-point operations that a training step on a whole batch needs (flops.h). Local. */
double lm_method_flops(const struct lm_session *session, const struct lm_method *method);

/* The parts of a training step: its passes (passes.h) and the update; and the whole. */
enum lm_part { LM_PART_UPDATE = LM_PASSES, LM_PART_ALL, LM_PARTS };

/* Train k steps from the initial parameters, recording nothing; seconds[p] of each part, for
 * all steps together, of the rank that took longest over it: of a pass the mean of its threads,
 * without waiting for messages. Ends the job when values diverge. */
void lm_time_training(struct lm_session *session, const struct lm_method *method, long k,
                      double seconds[LM_PARTS]);

/* The processors that ranks of this node may run on; their number. */
int lm_node_processors(cpu_set_t *set);

/* Peak of the job (peak.h) in operations per second, measured for about `seconds`: that of
 * as many threads of its ranks as have a processor of their own, at the same time. */
double lm_time_peak(const struct lm_session *session, double seconds);

#endif
