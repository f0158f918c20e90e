/* The rows of the rule table, one rule per file of this folder (rule.h), each for both
 * ways to keep the state:
 *   deviation   value = v - hat v, under fixed predictions eps = hat v - v; nothing close is
 *               subtracted, so float is exact enough
 *   value       value = v, as the published program keeps it (float loses the errors) */
#ifndef LAMINA_RULES_H
#define LAMINA_RULES_H

#include "../rule.h"

extern const struct lm_rule lm_backprop_deviation, lm_backprop_value, lm_strict_deviation,
    lm_strict_value, lm_fixed_prediction_deviation, lm_fixed_prediction_value;

/* begin for `value`; a deviation begins from 0. */
void lm_rule_begin_value(size_t n, const real *forward, real *value);

#endif
