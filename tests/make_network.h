/* Make network: networks written down in C. */
#ifndef LAMINA_MAKE_NETWORK_H
#define LAMINA_MAKE_NETWORK_H

#include "network.h"

/* An operator of a layer: its name, then the texts of its options (0: none). */
#define OP(NAME, ...)                                                                          \
    {                                                                                          \
        lm_operator_find(NAME), {                                                              \
            __VA_ARGS__                                                                        \
        }                                                                                      \
    }

/* The network of n layers; ends the test program when it cannot be made. Free with
 * lm_network_destroy. */
struct lm_network *make_network(struct lm_shape input, int n,
                                const struct lm_layer_spec *layers);

#endif
