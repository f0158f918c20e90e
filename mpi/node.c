#include "node.h"

#include "memory.h"

/* --- making and binding ------------------------------------------------------------------ */

struct lm_layer *lm_nodes_find(const struct lm_nodes *nodes, int index) {
    for (int i = 0; i < nodes->n; i++)
        if (nodes->node[i].layer->index == index)
            return nodes->node[i].layer;
    return NULL;
}

static void init_port(struct lm_nodes *nodes, struct lm_port *port, int edge, bool is_parent) {
    const struct lm_network *network = nodes->network;
    const struct lm_edge *e = &network->edges[edge];
    int other = is_parent ? e->child : e->parent;
    int first = nodes->rank - nodes->rank % nodes->placement->n_ranks; /* of our replica */
    int peer = first + nodes->placement->rank[other];
    port->units = network->layers[e->parent].units;
    port->block = lm_product(port->units, nodes->width);
    port->other = lm_nodes_find(nodes, other);
    size_t all = lm_product((size_t)nodes->n_chunks, port->block);
    if (peer != nodes->rank) {
        port->link = lm_link_create(edge, network->n_edges, peer, is_parent, nodes->n_chunks,
                                    port->block);
        nodes->has_links = true;
    }
    if (!is_parent && port->link) {
        port->forward = lm_allocate(all, sizeof(real));
        port->value = lm_allocate(all, sizeof(real));
    }
    if (!is_parent || port->link)
        port->feedback = lm_allocate(all, sizeof(real));
}

void lm_nodes_connect(struct lm_nodes *nodes) {
    const struct lm_network *network = nodes->network;
    for (int i = 0; i < nodes->n; i++) {
        struct lm_node *node = &nodes->node[i];
        node->down = lm_allocate((size_t)node->layer->plan->n_parents, sizeof *node->down);
        node->up = lm_allocate((size_t)node->layer->plan->n_children, sizeof *node->up);
        for (int e = 0; e < network->n_edges; e++) {
            if (network->edges[e].child == node->layer->index)
                init_port(nodes, &node->down[network->edges[e].slot], e, false);
            if (network->edges[e].parent == node->layer->index)
                init_port(nodes, &node->up[network->edges[e].child_slot], e, true);
        }
    }
}

static void clear_ports(struct lm_port *ports, int n) {
    for (int k = 0; ports && k < n; k++) {
        lm_link_destroy(ports[k].link);
        lm_free(ports[k].forward);
        lm_free(ports[k].value);
        lm_free(ports[k].feedback);
    }
    lm_free(ports);
}

void lm_nodes_clear(struct lm_nodes *nodes) {
    for (int i = 0; i < nodes->n; i++) {
        struct lm_node *node = &nodes->node[i];
        clear_ports(node->down, node->layer->plan->n_parents);
        clear_ports(node->up, node->layer->plan->n_children);
        lm_layer_destroy(node->layer);
    }
    lm_free(nodes->node);
    nodes->node = NULL;
    nodes->n = 0;
}

/* What comes from below: of the input, of a layer of ours, or of what is received. */
static void bind_parents(struct lm_node *node, int c, real *input) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        struct lm_port *port = &node->down[k];
        if (node->layer->plan->parents[k] == LM_INPUT) {
            chunk->parent_forward[k] = input;
            chunk->parent_value[k] = NULL;
            chunk->feedback[k] = NULL;
            continue;
        }
        size_t at = (size_t)c * port->block;
        struct lm_layer_chunk *parent = port->other ? &port->other->chunks[c] : NULL;
        chunk->parent_forward[k] = parent ? parent->forward : port->forward + at;
        chunk->parent_value[k] = parent ? parent->value : port->value + at;
        chunk->feedback[k] = port->feedback + at;
    }
}

/* The children's feedback: of a child of ours, what it made; else what is received. */
static void bind_children(struct lm_node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_children; k++) {
        const struct lm_port *port = &node->up[k];
        if (port->link) {
            chunk->child_feedback[k] = port->feedback + (size_t)c * port->block;
            continue;
        }
        const struct lm_plan *child = port->other->plan;
        for (int slot = 0; slot < child->n_parents; slot++)
            if (child->parents[slot] == node->layer->index)
                chunk->child_feedback[k] = port->other->chunks[c].feedback[slot];
    }
}

void lm_nodes_bind(struct lm_nodes *nodes, int c, real *input) {
    for (int i = 0; i < nodes->n; i++)
        bind_parents(&nodes->node[i], c, input);
    for (int i = 0; i < nodes->n; i++)
        bind_children(&nodes->node[i], c);
}

/* --- messages ------------------------------------------------------------------------------
 */

size_t lm_node_length(const struct lm_node *node, const struct lm_port *port, int c) {
    return port->units * node->layer->chunks[c].width;
}

/* Each port of a node, down or up, that is a link. */
#define FOR_LINKS(port, node, side, count)                                                     \
    for (struct lm_port *port = (node)->side;                                                  \
         port < (node)->side + (node)->layer->plan->count; port++)                             \
        if (port->link)

void lm_node_receive_values_begin(struct lm_node *node, int c, bool forward) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_receive_begin(port->link, c,
                          (forward ? port->forward : port->value) + (size_t)c * port->block,
                          lm_node_length(node, port, c));
}

void lm_node_receive_values_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_receive_end(port->link, c);
}

void lm_node_send_feedback_begin(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_send_begin(port->link, c, port->feedback + (size_t)c * port->block,
                       lm_node_length(node, port, c));
}

void lm_node_send_feedback_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_send_end(port->link, c);
}

void lm_node_receive_feedback_begin(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_receive_begin(port->link, c, port->feedback + (size_t)c * port->block,
                          lm_node_length(node, port, c));
}

void lm_node_receive_feedback_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_receive_end(port->link, c);
}

void lm_node_send_values_begin(struct lm_node *node, int c, const real *values) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_send_begin(port->link, c, values, lm_node_length(node, port, c));
}

void lm_node_send_values_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_send_end(port->link, c);
}

bool lm_node_values_are_here(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    if (!lm_link_receive_is_done(port->link, c) || !lm_link_send_is_done(port->link, c))
        return false;
    return true;
}

bool lm_node_feedback_is_here(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    if (!lm_link_receive_is_done(port->link, c) || !lm_link_send_is_done(port->link, c))
        return false;
    return true;
}
