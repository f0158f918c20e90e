/* The rows of the operator table, one per file of this folder (operator.h). */
#ifndef LAMINA_OPERATORS_H
#define LAMINA_OPERATORS_H

#include "../operator.h"

extern const struct lm_operator_kind lm_linear, lm_conv2d, lm_maxpool2d, lm_avgpool2d, lm_relu,
    lm_tanh, lm_sigmoid, lm_flatten, lm_add_parents, lm_concat;

#endif
