#include "network.h"

#include "memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The specification with names resolved and layers not yet in order. */
struct draft {
    const struct lm_network_spec *spec;
    int (*parents)[LM_MAX_PARENTS]; /* indices into spec->layers, or LM_INPUT */
    int *n_parents;
    int *order; /* order[k]: the spec's index of layer k of the network */
    int *place; /* place[i]: layer of the network that spec->layers[i] became, or -1 */
};

static int spec_find(const struct lm_network_spec *spec, const char *name) {
    for (int i = 0; i < spec->n_layers; i++)
        if (strcmp(spec->layers[i].name, name) == 0)
            return i;
    return -1;
}

enum { LAYER_NAME = 100 }; /* bytes */

/* Names become groups of files, columns of tables and words of the placement. */
static bool is_name(const char *name) {
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '/' || *c == ':')
            return false;
    return *name && strlen(name) <= LAYER_NAME && strcmp(name, "input") != 0 &&
           strcmp(name, ".") != 0;
}

static bool check_names(const struct lm_network_spec *spec, struct lm_status *status) {
    if (spec->n_layers < 1)
        return lm_fail(status, LM_CONFIG, "the network has no layers");
    for (int i = 0; i < spec->n_layers; i++) {
        const char *name = spec->layers[i].name;
        if (!name || !is_name(name))
            return lm_fail(
                status, LM_CONFIG,
                "layer %d is named '%.60s': expected letters, digits and signs other than "
                "blanks, '/' and ':', at most %d, and not input",
                i + 1, name ? name : "", LAYER_NAME);
        if (spec_find(spec, name) != i)
            return lm_fail(status, LM_CONFIG, "layer %s: two layers have this name", name);
    }
    return true;
}

static bool resolve_parents(struct draft *draft, int i, struct lm_status *status) {
    const struct lm_layer_spec *layer = &draft->spec->layers[i];
    draft->n_parents[i] = layer->n_parents;
    if (layer->n_parents == 0) {
        draft->n_parents[i] = 1;
        draft->parents[i][0] = i - 1; /* LM_INPUT for the first */
        return true;
    }
    if (layer->n_parents > LM_MAX_PARENTS)
        return lm_fail(status, LM_CONFIG, "layer %s has %d inputs: at most %d are possible",
                       layer->name, layer->n_parents, LM_MAX_PARENTS);
    for (int k = 0; k < layer->n_parents; k++) {
        const char *name = layer->parents[k];
        int parent = strcmp(name, "input") == 0 ? LM_INPUT : spec_find(draft->spec, name);
        if (parent == LM_INPUT && strcmp(name, "input") != 0)
            return lm_fail(status, LM_CONFIG, "layer %s: its input '%s' is not a layer",
                           layer->name, name);
        for (int earlier = 0; earlier < k; earlier++)
            if (draft->parents[i][earlier] == parent)
                return lm_fail(status, LM_CONFIG, "layer %s: its input '%s' is named twice",
                               layer->name, name);
        draft->parents[i][k] = parent;
    }
    return true;
}

static bool is_ready(const struct draft *draft, int i) {
    for (int k = 0; k < draft->n_parents[i]; k++)
        if (draft->parents[i][k] != LM_INPUT && draft->place[draft->parents[i][k]] < 0)
            return false;
    return true;
}

/* Topological order: again and again the first layer of the file whose parents have
 * their place, so that a file in order stays in order. */
static bool put_in_order(struct draft *draft, struct lm_status *status) {
    int n = draft->spec->n_layers;
    for (int i = 0; i < n; i++)
        draft->place[i] = -1;
    for (int k = 0; k < n; k++) {
        int next = 0, stuck = -1;
        while (next < n && (draft->place[next] >= 0 || !is_ready(draft, next))) {
            if (draft->place[next] < 0 && stuck < 0)
                stuck = next;
            next++;
        }
        if (next == n)
            return lm_fail(
                status, LM_CONFIG,
                "layer %s: it is on a cycle, or fed by one: a layer cannot depend on "
                "itself",
                draft->spec->layers[stuck].name);
        draft->order[k] = next;
        draft->place[next] = k;
    }
    return true;
}

static bool init_plan(struct lm_network *network, const struct draft *draft, int l,
                      struct lm_status *status) {
    int i = draft->order[l];
    const struct lm_layer_spec *spec = &draft->spec->layers[i];
    struct lm_plan *plan = &network->layers[l];
    struct lm_shape in[LM_MAX_PARENTS];
    plan->name = lm_copy_string(spec->name);
    plan->n_parents = draft->n_parents[i];
    plan->on_input = true;
    for (int k = 0; k < plan->n_parents; k++) {
        int parent = draft->parents[i][k];
        plan->parents[k] = parent == LM_INPUT ? LM_INPUT : draft->place[parent];
        plan->on_input = plan->on_input && parent == LM_INPUT;
        in[k] = parent == LM_INPUT ? network->input : network->layers[plan->parents[k]].map.out;
    }
    if (!lm_map_init(&plan->map, spec->n_operators, spec->operators, plan->n_parents, in,
                     status))
        return lm_fail_prefix(status, "layer %s: ", spec->name);
    for (int j = 0; j < plan->map.n; j++)
        plan->map.operators[j].plain = draft->spec->plain;
    plan->units = lm_shape_units(&plan->map.out);
    plan->children = lm_allocate((size_t)network->n_layers, sizeof *plan->children);
    /* Predict and pull back; layers on the input do neither. */
    plan->flops = (plan->on_input ? 0 : 2 * lm_map_flops(&plan->map)) + 4 * (double)plan->units;
    return true;
}

static void connect(struct lm_network *network) {
    int capacity = 0;
    for (int l = 0; l < network->n_layers; l++)
        capacity += network->layers[l].n_parents;
    network->edges = lm_allocate((size_t)capacity, sizeof *network->edges);
    for (int l = 0; l < network->n_layers; l++)
        for (int k = 0; k < network->layers[l].n_parents; k++) {
            int parent = network->layers[l].parents[k];
            if (parent == LM_INPUT)
                continue;
            struct lm_plan *plan = &network->layers[parent];
            network->edges[network->n_edges++] =
                (struct lm_edge){parent, l, k, plan->n_children};
            plan->children[plan->n_children++] = l;
        }
}

/* From the output down: one more than the nearest and the farthest child. */
static void measure_distances(struct lm_network *network) {
    for (int l = network->n_layers - 1; l >= 0; l--) {
        struct lm_plan *plan = &network->layers[l];
        for (int k = 0; k < plan->n_children; k++) {
            const struct lm_plan *child = &network->layers[plan->children[k]];
            if (k == 0 || child->distance + 1 < plan->distance)
                plan->distance = child->distance + 1;
            if (child->farthest + 1 > plan->farthest)
                plan->farthest = child->farthest + 1;
        }
    }
    for (int l = 0; l < network->n_layers; l++) {
        struct lm_plan *plan = &network->layers[l];
        plan->still = INT_MAX;
        for (int k = 0; k < plan->n_parents; k++) {
            int parent = plan->parents[k];
            if (parent != LM_INPUT && network->layers[parent].distance < plan->still)
                plan->still = network->layers[parent].distance;
        }
    }
}

static bool check_output(const struct lm_network *network, struct lm_status *status) {
    int last = network->n_layers - 1;
    for (int l = 0; l < last; l++)
        if (network->layers[l].n_children == 0)
            return lm_fail(status, LM_CONFIG,
                           "layer %s feeds no other layer, and so does %s: one output layer is "
                           "expected",
                           network->layers[l].name, network->layers[last].name);
    if (network->layers[last].map.out.rank != 1) {
        char text[LM_SHAPE_TEXT];
        return lm_fail(
            status, LM_CONFIG,
            "layer %s: the output layer has shape %s: one extent is expected, so put "
            "flatten or linear at its end",
            network->layers[last].name, lm_shape_text(&network->layers[last].map.out, text));
    }
    return true;
}

static bool build(struct lm_network *network, struct draft *draft, struct lm_status *status) {
    bool good = true;
    for (int i = 0; good && i < network->n_layers; i++)
        good = resolve_parents(draft, i, status);
    good = good && put_in_order(draft, status);
    for (int l = 0; good && l < network->n_layers; l++)
        good = init_plan(network, draft, l, status);
    if (!good)
        return false;
    connect(network);
    measure_distances(network);
    return check_output(network, status);
}

struct lm_network *lm_network_create(const struct lm_network_spec *spec,
                                     struct lm_status *status) {
    if (!check_names(spec, status))
        return NULL;
    size_t n = (size_t)spec->n_layers;
    struct lm_network *network = lm_allocate(1, sizeof *network);
    network->input = spec->input;
    network->n_layers = spec->n_layers;
    network->layers = lm_allocate(n, sizeof *network->layers);
    struct draft draft = {spec, lm_allocate(n, sizeof *draft.parents),
                          lm_allocate(n, sizeof(int)), lm_allocate(n, sizeof(int)),
                          lm_allocate(n, sizeof(int))};
    bool good = build(network, &draft, status);
    lm_free(draft.parents);
    lm_free(draft.n_parents);
    lm_free(draft.order);
    lm_free(draft.place);
    if (good)
        return network;
    lm_network_destroy(network);
    return NULL;
}

void lm_network_destroy(struct lm_network *network) {
    if (!network)
        return;
    for (int l = 0; l < network->n_layers; l++) {
        lm_free(network->layers[l].name);
        lm_free(network->layers[l].children);
    }
    lm_free(network->layers);
    lm_free(network->edges);
    lm_free(network);
}

int lm_network_find(const struct lm_network *network, const char *name) {
    for (int l = 0; l < network->n_layers; l++)
        if (strcmp(network->layers[l].name, name) == 0)
            return l;
    return -1;
}

size_t lm_network_parameters(const struct lm_network *network) {
    size_t sum = 0;
    for (int l = 0; l < network->n_layers; l++)
        sum += network->layers[l].map.parameters;
    return sum;
}

int lm_network_depth(const struct lm_network *network) {
    int deepest = 0;
    int *depth = lm_allocate((size_t)network->n_layers, sizeof *depth);
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        for (int k = 0; k < plan->n_parents; k++)
            if (plan->parents[k] != LM_INPUT && depth[plan->parents[k]] > depth[l])
                depth[l] = depth[plan->parents[k]];
        depth[l]++;
        deepest = depth[l] > deepest ? depth[l] : deepest;
    }
    lm_free(depth);
    return deepest;
}

const char *lm_plan_map_text(const struct lm_plan *plan, char *text, size_t size) {
    char one[LM_OPERATOR_TEXT];
    size_t length = 0;
    for (int j = 0; j < plan->map.n && length < size; j++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", j ? " > " : "",
                                   lm_operator_text(&plan->map.operators[j], one));
    return text;
}
