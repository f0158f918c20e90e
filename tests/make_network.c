#include "make_network.h"

struct lm_network *make_network(struct lm_shape input, int n,
                                const struct lm_layer_spec *layers) {
    struct lm_status status = {0};
    struct lm_network_spec spec = {input, n, layers, false};
    struct lm_network *network = lm_network_create(&spec, &status);
    if (!network)
        lm_abort(status.code, "%s", status.message);
    return network;
}
