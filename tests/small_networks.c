#include "small_networks.h"

#include "comm.h"
#include "make_network.h"
#include "memory.h"
#include "random.h"

#include <string.h>

static struct lm_network *conv_network(void) {
    const struct lm_layer_spec layers[] = {
        {"V1", 0, {0}, 3, {OP("conv2d", "4", "3"), OP("relu", 0), OP("maxpool2d", "2")}},
        {"V2", 0, {0}, 3, {OP("conv2d", "3", "3"), OP("relu", 0), OP("flatten", 0)}},
        {"IT", 0, {0}, 2, {OP("linear", "20"), OP("relu", 0)}},
        {"PFC", 0, {0}, 2, {OP("linear", "12"), OP("relu", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    return make_network((struct lm_shape){3, {1, 12, 12}}, 5, layers);
}

static struct lm_network *mlp_network(void) {
    const struct lm_layer_spec layers[] = {
        {"l1", 0, {0}, 3, {OP("flatten", 0), OP("linear", "24"), OP("tanh", 0)}},
        {"l2", 0, {0}, 2, {OP("linear", "20"), OP("sigmoid", 0)}},
        {"l3", 0, {0}, 2, {OP("linear", "18"), OP("relu", 0)}},
        {"l4", 0, {0}, 2, {OP("linear", "14"), OP("tanh", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    return make_network((struct lm_shape){3, {1, 6, 6}}, 5, layers);
}

/* Paths from a to the output: a-b-c-join-out (4 edges), a-c-join-out, a-join-out. */
static struct lm_network *skip_network(void) {
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 3, {OP("flatten", 0), OP("linear", "16"), OP("tanh", 0)}},
        {"b", 0, {0}, 2, {OP("linear", "16"), OP("tanh", 0)}},
        {"c", 2, {"b", "a"}, 3, {OP("add", 0), OP("linear", "12"), OP("relu", 0)}},
        {"join",
         3,
         {"a", "c", "input_copy"},
         3,
         {OP("concat", 0), OP("linear", "15"), OP("tanh", 0)}},
        {"input_copy", 1, {"input"}, 2, {OP("flatten", 0), OP("linear", "5")}},
        {"out", 1, {"join"}, 1, {OP("linear", "10")}},
    };
    return make_network((struct lm_shape){3, {1, 5, 5}}, 6, layers);
}

/* Layers whose chunks cannot all have a gradient of their own where there are 12 or more
 * (src/tally.c). */
static struct lm_network *wide_network(void) {
    const char *units = sizeof(real) == sizeof(float) ? "1300" : "950";
    const struct lm_layer_spec layers[] = {
        {"a", 0, {0}, 2, {OP("linear", units), OP("relu", 0)}},
        {"b", 0, {0}, 2, {OP("linear", units), OP("relu", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    return make_network((struct lm_shape){1, {20, 1, 1}}, 3, layers);
}

struct lm_network *small_network(const char *name) {
    if (strcmp(name, "conv") == 0)
        return conv_network();
    if (strcmp(name, "mlp") == 0)
        return mlp_network();
    if (strcmp(name, "wide") == 0)
        return wide_network();
    LM_ASSERT(strcmp(name, "skip") == 0);
    return skip_network();
}

static void fill_batch(struct small_cortex *small, size_t batch) {
    size_t units = lm_shape_units(&small->network->input);
    lm_cortex_set_batch(small->cortex, batch);
    for (int c = 0; c < lm_cortex_chunks(small->cortex); c++) {
        size_t count = lm_cortex_count(small->cortex, c), width = lm_width(count);
        real *x = lm_cortex_input(small->cortex, c);
        int *label = lm_cortex_label(small->cortex, c);
        for (size_t b = 0; b < count; b++) {
            size_t input = lm_cortex_first(small->cortex, c) + b;
            for (size_t u = 0; x && u < units; u++)
                x[u * width + b] = (real)lm_random_uniform(7, LM_STREAM_TEST, input, u);
            if (label)
                label[b] = (int)(input * 7 % 10);
        }
    }
}

static struct small_cortex *create(const char *name, const struct lm_placement_plan *ranks,
                                   int rank, size_t batch, size_t chunk, int threads) {
    struct small_cortex *small = lm_allocate(1, sizeof *small);
    struct lm_status status;
    small->network = small_network(name);
    if (!lm_placement_init(&small->placement, small->network, ranks, &status))
        lm_abort(status.code, "%s", status.message);
    struct lm_cortex_plan plan = {.network = small->network,
                                  .placement = &small->placement,
                                  .rank = rank,
                                  .optimizer = lm_optimizer_find("adam"),
                                  .batch = batch,
                                  .chunk = chunk,
                                  .threads = threads};
    small->cortex = lm_cortex_create(&plan);
    for (int i = 0; i < lm_cortex_layers(small->cortex); i++)
        lm_layer_init_parameters(lm_cortex_layer(small->cortex, i), 3);
    fill_batch(small, batch);
    return small;
}

struct small_cortex *small_cortex_create(const char *name, int n_ranks, size_t batch,
                                         size_t chunk, int threads) {
    const struct lm_placement_plan ranks = {.n_ranks = n_ranks ? n_ranks : 1};
    return create(name, &ranks, n_ranks ? lm_comm_rank() : 0, batch, chunk, threads);
}

struct small_cortex *small_cortex_deal(const char *name, int n_ranks, size_t batch,
                                       size_t chunk, int threads) {
    enum { LAYERS = 16 }; /* or fewer in each of the networks */
    int by_hand[LAYERS];
    for (int l = 0; l < LAYERS; l++)
        by_hand[l] = l % n_ranks;
    const struct lm_placement_plan ranks = {.n_ranks = n_ranks, .by_hand = by_hand};
    return create(name, &ranks, lm_comm_rank(), batch, chunk, threads);
}

struct small_cortex *small_cortex_replicate(const char *name, int n_replicas, size_t batch,
                                            size_t chunk, int threads) {
    const struct lm_placement_plan ranks = {.n_ranks = lm_comm_size(),
                                            .n_replicas = n_replicas};
    return create(name, &ranks, lm_comm_rank(), batch, chunk, threads);
}

void small_cortex_destroy(struct small_cortex *small) {
    lm_cortex_destroy(small->cortex);
    lm_placement_clear(&small->placement);
    lm_network_destroy(small->network);
    lm_free(small);
}

struct lm_inference small_inference(const char *loss, double step, size_t batch) {
    return (struct lm_inference){lm_loss_find(loss), (double)batch, (real)step, true};
}

void small_run(struct small_cortex *small, const char *rule, const char *state,
               const struct lm_inference *inference, long n, bool exact) {
    const struct lm_rule *row = lm_rule_find(rule, state);
    lm_cortex_run(small->cortex, &(struct lm_passes){.forward = true,
                                                     .rule = row,
                                                     .inference = inference,
                                                     .steps = n,
                                                     .learn = true,
                                                     .exact = exact,
                                                     .infer_phase = LM_PHASE_INFERENCE});
}
