/* Balance: which layers share a rank, so that the busiest rank is done as soon as possible, by
 * estimate (estimate.h). Pure arithmetic, no message.
 *
 * First the best blocks of layers that follow each other. But layers near the output are at
 * work in more steps than others (flops.h), and blocks of few large layers are seldom equal; so
 * then single layers change ranks or places, if that gains more than what the estimate does not
 * see, that messages go back and forth between ranks on their way. */
#ifndef LAMINA_BALANCE_H
#define LAMINA_BALANCE_H

#include "estimate.h"

/* Place the layers anew on the ranks that the placement has. */
void lm_balance(const struct lm_workload *workload, struct lm_placement *placement);

#endif
