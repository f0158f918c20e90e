/* Network: the description of a directed acyclic graph of layers: names, parents,
 * maps, shapes, and what each layer costs. It holds no activity and no parameters,
 * so every rank can have all of it. */
#ifndef LAMINA_NETWORK_H
#define LAMINA_NETWORK_H

#include "map.h"

/* One layer as settings describe it. Strings are not owned. */
struct lm_layer_spec {
    const char *name;
    int n_parents;                       /* 0: the layer before, or the input for the first */
    const char *parents[LM_MAX_PARENTS]; /* names of layers, or "input" */
    int n_operators;
    struct lm_operator_spec operators[LM_MAX_OPERATORS];
};

struct lm_network_spec {
    struct lm_shape input;
    int n_layers;
    const struct lm_layer_spec *layers; /* not owned */
    bool plain; /* all operators are (operator.h): their outputs are states ("state: value") */
};

enum { LM_INPUT = -1 }; /* as a parent: the network's input, which is clamped */

/* One layer of the network, in topological order. */
struct lm_plan {
    char *name;
    int n_parents;
    int parents[LM_MAX_PARENTS]; /* indices of layers, or LM_INPUT */
    int n_children;
    int *children; /* indices of layers, one entry per edge, ascending */
    struct lm_map map;
    size_t units;  /* of the layer's values */
    int distance;  /* edges of the shortest path to the output layer, */
    int farthest;  /* and of the longest */
    int still;     /* steps of inference before a value below moves: the least distance of a
                      parent, INT_MAX on the input */
    bool on_input; /* all parents are the input, so that mu never changes */
    double flops;  /* of one strict inference step, per input */
};

/* A connection between two layers (never from the input). */
struct lm_edge {
    int parent, child;
    int slot;       /* position among the child's parents */
    int child_slot; /* position among the parent's children */
};

struct lm_network {
    struct lm_shape input;
    int n_layers;
    struct lm_plan *layers; /* topological order; the last is the output layer */
    int n_edges;
    struct lm_edge *edges;
};

/* Build the network of a specification: order the layers, infer every shape.
 * LM_CONFIG names the layer for a repeated or missing name, an unknown parent, a
 * cycle, a shape that does not fit (both shapes are named), and for a graph without
 * exactly one output layer. Free with lm_network_destroy. Local. */
struct lm_network *lm_network_create(const struct lm_network_spec *spec,
                                     struct lm_status *status);
void lm_network_destroy(struct lm_network *network);

/* Index of a layer by name, or -1. */
int lm_network_find(const struct lm_network *network, const char *name);

/* Parameters of all layers. */
size_t lm_network_parameters(const struct lm_network *network);

/* Layers on the longest path from the input to the output: the number of steps after which
 * fixed prediction with step size 1 is exact (Rosenbaum 2022, for chains), if the state is the
 * deviation. */
int lm_network_depth(const struct lm_network *network);

/* "conv2d channels=10 ... > relu" of a layer's map in text (of `size` bytes). */
const char *lm_plan_map_text(const struct lm_plan *plan, char *text, size_t size);

#endif
