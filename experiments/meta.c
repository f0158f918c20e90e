#include "meta.h"

#include "checkpoint.h"
#include "comm.h"
#include "memory.h"

enum { MAP_TEXT = LM_MAX_OPERATORS * (LM_OPERATOR_TEXT + 4), PLACEMENT_WORD = 128 };

struct lm_run_meta *lm_meta_create(const struct lm_session *session) {
    const struct lm_network *network = session->network;
    size_t n = (size_t)network->n_layers, placement_size = n * PLACEMENT_WORD;
    struct lm_run_meta *meta = lm_allocate(1, sizeof *meta);
    struct lm_run_layer *layers = lm_allocate(n, sizeof *layers);
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        char *shape = lm_allocate(LM_SHAPE_TEXT, 1), *map = lm_allocate(MAP_TEXT, 1);
        layers[l] = (struct lm_run_layer){.name = plan->name,
                                          .units = plan->units,
                                          .shape = lm_shape_text(&plan->map.out, shape),
                                          .map = lm_plan_map_text(plan, map, MAP_TEXT),
                                          .parameters = plan->map.parameters,
                                          .rank = session->placement.rank[l]};
    }
    char *placement = lm_allocate(placement_size, 1);
    *meta = (struct lm_run_meta){
        .command = session->options->line,
        .settings = lm_settings_text(session->file),
        .seed = session->settings->training.seed,
        .threads = session->threads,
        .replicas = session->placement.n_replicas,
        .placement = lm_placement_text(&session->placement, network, placement, placement_size),
        .n_layers = network->n_layers,
        .layers = layers};
    /* Ranks may have different numbers of processors: the file says rank 0's threads. */
    lm_comm_broadcast(&meta->threads, sizeof meta->threads, 0);
    return meta;
}

void lm_meta_destroy(struct lm_run_meta *meta) {
    if (!meta)
        return;
    for (int l = 0; l < meta->n_layers; l++) {
        lm_free((void *)(uintptr_t)meta->layers[l].shape);
        lm_free((void *)(uintptr_t)meta->layers[l].map);
    }
    lm_free((void *)(uintptr_t)meta->placement);
    lm_free((void *)(uintptr_t)meta->layers);
    lm_free(meta);
}

char *lm_meta_trained(const char *checkpoint, struct lm_status *status) {
    char *settings = lm_checkpoint_settings(checkpoint, status);
    if (lm_comm_agree(settings != NULL, status))
        return settings;
    lm_free(settings);
    return NULL;
}

struct lm_peers lm_meta_peers(void) {
    return (struct lm_peers){lm_comm_files(), lm_comm_rank(), lm_comm_size()};
}
