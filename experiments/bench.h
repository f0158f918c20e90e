/* Bench: how fast this build is on this machine: training steps of each rule (bench_rules.c) or
 * single operators (bench_operators.c), beside what the processors could do at most.
 *
 * Machines are shared and their clocks move, so each measurement is taken between two of the
 * peak, or beside that of a peer, all of them many times over, and what is compared is
 * compared within a repeat; of the repeats medians and quartiles are told. */
#ifndef LAMINA_BENCH_H
#define LAMINA_BENCH_H

#include "bench_table.h"
#include "timing.h"

/* Make, fill and print a table; the caller frees it, also after a failure. Collective. */
bool lm_bench_rules(struct lm_session *session, int repeats, struct lm_bench_table *table,
                    struct lm_status *status);
bool lm_bench_operators(struct lm_session *session, int repeats, struct lm_bench_table *table,
                        struct lm_status *status);

#endif
