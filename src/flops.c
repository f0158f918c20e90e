#include "flops.h"

#include "memory.h"

static double of_operator(const struct lm_operator *op) {
    return lm_operator_parameters(op) ? op->flops : 0;
}

/* One forward pass of a map; a whole pull back to its input or its weights costs the same. */
static double of_map(const struct lm_map *map) {
    double sum = 0;
    for (int j = 0; j < map->n; j++)
        sum += of_operator(&map->operators[j]);
    return sum;
}

/* To pull eps back to the output of the first operator with weights. */
static double of_inner_pull(const struct lm_map *map) {
    double sum = 0;
    bool inner = false;
    for (int j = 0; j < map->n; j++) {
        if (inner)
            sum += of_operator(&map->operators[j]);
        inner = inner || lm_operator_parameters(&map->operators[j]);
    }
    return sum;
}

/* Of a forward pass what learning needs: the inputs of the operators that have weights or a
 * tape. */
static double of_inner_forward(const struct lm_map *map) {
    double sum = 0;
    bool needed = false;
    for (int j = map->n - 1; j >= 0; j--) {
        if (needed)
            sum += of_operator(&map->operators[j]);
        needed = needed || map->operators[j].tape || lm_operator_parameters(&map->operators[j]);
    }
    return sum;
}

/* Inference of one training step. */
struct schedule {
    const struct lm_network *network;
    const struct lm_rule *rule;
    bool at_once; /* eta = 1 */
    long n;
    bool presynaptic_value;
    bool *changes; /* (layers, n) whether eps changes at a step */
};

static bool *changes_of(const struct schedule *schedule, int l) {
    return schedule->changes + (size_t)l * (size_t)schedule->n;
}

/* Fixed prediction: eps changes after that of a child did, and, unless a step makes up for all
 * of it at once, at every step from then on. */
static void follow_fixed_errors(const struct schedule *schedule, int l) {
    const struct lm_plan *plan = &schedule->network->layers[l];
    bool *changes = changes_of(schedule, l);
    changes[0] = plan->n_children == 0;
    for (long s = 1; s < schedule->n; s++) {
        changes[s] = changes[s - 1] && plan->n_children > 0 && !schedule->at_once;
        for (int k = 0; k < plan->n_children; k++)
            changes[s] = changes[s] || changes_of(schedule, plan->children[k])[s - 1];
    }
}

static void follow_errors(const struct schedule *schedule) {
    for (int l = schedule->network->n_layers - 1; l >= 0; l--) {
        if (!schedule->rule->values_travel)
            follow_fixed_errors(schedule, l);
        else
            for (long s = schedule->network->layers[l].distance; s < schedule->n; s++)
                changes_of(schedule, l)[s] = true;
    }
}

static void add_layer(const struct schedule *schedule, int l, struct lm_flops *flops) {
    const struct lm_plan *plan = &schedule->network->layers[l];
    const struct lm_map *map = &plan->map;
    const bool *changes = changes_of(schedule, l);
    bool strict = schedule->rule->values_travel;
    bool moved = strict && schedule->presynaptic_value && !plan->on_input;
    long last = schedule->n - 1;
    double map_flops = of_map(map);
    flops->forward += map_flops;
    if (strict && plan->still < schedule->n)
        flops->predict += (double)(schedule->n - plan->still) * map_flops;
    bool any = false; /* error at the end */
    for (long s = 0; s <= last; s++) {
        any = any || changes[s];
        if (changes[s] && !plan->on_input && (s < last || moved))
            flops->feedback += map_flops;
    }
    if (!any)
        return;
    flops->learn += map_flops + (moved ? of_inner_forward(map) : 0);
    /* The feedback has pulled the same eps through the same tape. */
    if (strict || plan->on_input || changes[last])
        flops->learn += of_inner_pull(map);
}

static void add_swept_layer(const struct lm_plan *plan, struct lm_flops *flops) {
    flops->forward += of_map(&plan->map);
    flops->feedback += plan->on_input ? 0 : of_map(&plan->map);
    flops->learn += of_map(&plan->map) + (plan->on_input ? of_inner_pull(&plan->map) : 0);
}

void lm_flops_of_layers(const struct lm_network *network, const struct lm_rule *rule,
                        double eta, long n, bool presynaptic_value, struct lm_flops flops[]) {
    struct schedule schedule = {network, rule, eta == 1, n, presynaptic_value, NULL};
    for (int l = 0; l < network->n_layers; l++)
        flops[l] = (struct lm_flops){0};
    if (rule->sweeps) {
        for (int l = 0; l < network->n_layers; l++)
            add_swept_layer(&network->layers[l], &flops[l]);
        return;
    }
    schedule.changes =
        lm_allocate(lm_product((size_t)network->n_layers, (size_t)n), sizeof(bool));
    follow_errors(&schedule);
    for (int l = 0; l < network->n_layers; l++)
        add_layer(&schedule, l, &flops[l]);
    lm_free(schedule.changes);
}

struct lm_flops lm_flops_training(const struct lm_network *network, const struct lm_rule *rule,
                                  double eta, long n, bool presynaptic_value) {
    struct lm_flops all = {0};
    struct lm_flops *flops = lm_allocate((size_t)network->n_layers, sizeof *flops);
    lm_flops_of_layers(network, rule, eta, n, presynaptic_value, flops);
    for (int l = 0; l < network->n_layers; l++) {
        all.forward += flops[l].forward;
        all.predict += flops[l].predict;
        all.feedback += flops[l].feedback;
        all.learn += flops[l].learn;
    }
    lm_free(flops);
    return all;
}

double lm_flops_pulls(const struct lm_flops *flops) {
    return flops->forward > 0 ? flops->feedback / flops->forward : 0;
}

double lm_flops_sum(const struct lm_flops *flops) {
    return flops->forward + flops->predict + flops->feedback + flops->learn;
}
