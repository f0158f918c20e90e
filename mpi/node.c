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
    port->only_parent = network->layers[e->child].n_parents == 1;
    if (peer != nodes->rank) {
        port->link = lm_link_create(edge, network->n_edges, peer, is_parent, nodes->n_chunks,
                                    port->block);
        nodes->has_links = true;
        nodes->has_messages = nodes->has_messages || !lm_link_is_shared(port->link);
    } else if (!is_parent) {
        port->feedback =
            lm_allocate(lm_product((size_t)nodes->n_chunks, port->block), sizeof(real));
    }
}

/* Values that go to another rank through memory that is shared with it are kept there, if it
 * has the caches of this one, else written there as they move; to others, if there are such,
 * they are copied. */
static void share_values(struct lm_node *node) {
    struct lm_link *shared = NULL;
    for (int k = 0; k < node->layer->plan->n_children && !shared; k++)
        if (node->up[k].link && lm_link_is_shared(node->up[k].link))
            shared = node->up[k].link;
    if (shared && lm_link_shares_processor(shared)) {
        node->keeps_in = shared;
    } else if (shared) {
        node->copies_to = shared;
        node->writing = lm_allocate((size_t)node->layer->n_chunks, sizeof *node->writing);
    }
}

/* Edge by edge, as links want it. */
void lm_nodes_connect(struct lm_nodes *nodes) {
    const struct lm_network *network = nodes->network;
    for (int i = 0; i < nodes->n; i++) {
        struct lm_node *node = &nodes->node[i];
        node->down = lm_allocate((size_t)node->layer->plan->n_parents, sizeof *node->down);
        node->up = lm_allocate((size_t)node->layer->plan->n_children, sizeof *node->up);
    }
    for (int e = 0; e < network->n_edges; e++)
        for (int i = 0; i < nodes->n; i++) {
            struct lm_node *node = &nodes->node[i];
            if (network->edges[e].child == node->layer->index)
                init_port(nodes, &node->down[network->edges[e].slot], e, false);
            if (network->edges[e].parent == node->layer->index)
                init_port(nodes, &node->up[network->edges[e].child_slot], e, true);
        }
    for (int i = 0; i < nodes->n; i++)
        share_values(&nodes->node[i]);
}

static void clear_ports(struct lm_port *ports, int n) {
    for (int k = 0; ports && k < n; k++) {
        lm_link_destroy(ports[k].link);
        lm_free(ports[k].feedback);
    }
    lm_free(ports);
}

void lm_nodes_clear(struct lm_nodes *nodes) {
    for (int i = 0; i < nodes->n; i++) {
        struct lm_node *node = &nodes->node[i];
        clear_ports(node->down, node->layer->plan->n_parents);
        clear_ports(node->up, node->layer->plan->n_children);
        lm_free(node->writing);
        lm_layer_destroy(node->layer);
    }
    lm_free(nodes->node);
    nodes->node = NULL;
    nodes->n = 0;
}

/* What comes from below: of the input, of what is received, or of a layer of ours. */
static void bind_parents(struct lm_node *node, int c, int place, real *input) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        struct lm_port *port = &node->down[k];
        if (node->layer->plan->parents[k] == LM_INPUT) {
            chunk->parent_forward[k] = input;
            chunk->parent_value[k] = NULL;
            chunk->feedback[k] = NULL;
            continue;
        }
        if (port->link) {
            chunk->parent_forward[k] = lm_link_box(port->link, LM_BOX_FORWARD, c);
            chunk->parent_value[k] = lm_link_box(port->link, LM_BOX_VALUE, c);
            chunk->feedback[k] = lm_link_box(port->link, LM_BOX_FEEDBACK, c);
        } else {
            chunk->parent_forward[k] = port->other->chunks[c].forward;
            chunk->parent_value[k] = port->other->chunks[c].value;
            chunk->feedback[k] = port->feedback + (size_t)place * port->block;
        }
    }
}

/* The children's feedback: of a child of ours, what it made; else what is received. */
static void bind_children(struct lm_node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_children; k++) {
        const struct lm_port *port = &node->up[k];
        if (port->link) {
            chunk->child_feedback[k] = lm_link_box(port->link, LM_BOX_FEEDBACK, c);
            continue;
        }
        const struct lm_plan *child = port->other->plan;
        for (int slot = 0; slot < child->n_parents; slot++)
            if (child->parents[slot] == node->layer->index)
                chunk->child_feedback[k] = port->other->chunks[c].feedback[slot];
    }
}

static void place_node(struct lm_node *node, int c, int place) {
    lm_layer_place(node->layer, c, place);
    if (node->keeps_in)
        node->layer->chunks[c].value = lm_link_box(node->keeps_in, LM_BOX_VALUE, c);
}

void lm_nodes_bind(struct lm_nodes *nodes, int c, int place, real *input) {
    LM_ASSERT(place == c || !nodes->has_messages);
    for (int i = 0; i < nodes->n; i++)
        place_node(&nodes->node[i], c, place);
    for (int i = 0; i < nodes->n; i++)
        bind_parents(&nodes->node[i], c, place, input);
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

void lm_node_receive_values_begin(struct lm_node *node, int c, enum lm_box box) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_receive_begin(port->link, box, c, lm_node_length(node, port, c));
}

void lm_node_receive_values_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_receive_end(port->link, c);
}

void lm_node_send_feedback_begin(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_send_begin(port->link, LM_BOX_FEEDBACK, c,
                       lm_link_box(port->link, LM_BOX_FEEDBACK, c),
                       lm_node_length(node, port, c));
}

void lm_node_send_feedback_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    lm_link_send_end(port->link, c);
}

void lm_node_receive_feedback_begin(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_receive_begin(port->link, LM_BOX_FEEDBACK, c, lm_node_length(node, port, c));
}

static const real *values_to_send(const struct lm_node *node, const struct lm_link *link, int c,
                                  enum lm_box box) {
    const struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    if (box == LM_BOX_FORWARD)
        return chunk->forward;
    return link == node->copies_to ? chunk->copy : chunk->value;
}

void lm_node_send_values_begin(struct lm_node *node, int c, enum lm_box box) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_send_begin(port->link, box, c, values_to_send(node, port->link, c, box),
                       lm_node_length(node, port, c));
}

void lm_node_send_values_end(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    lm_link_send_end(port->link, c);
}

bool lm_node_values_are_here(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    if (!lm_link_receive_is_done(port->link, c))
        return false;
    return true;
}

bool lm_node_feedback_has_room(struct lm_node *node, int c) {
    FOR_LINKS(port, node, down, n_parents)
    if (!lm_link_has_room(port->link, LM_BOX_FEEDBACK, c))
        return false;
    return true;
}

bool lm_node_feedback_is_here(struct lm_node *node, int c) {
    FOR_LINKS(port, node, up, n_children)
    if (!lm_link_receive_is_done(port->link, c))
        return false;
    return true;
}

bool lm_node_values_have_room(struct lm_node *node, int c, enum lm_box box) {
    FOR_LINKS(port, node, up, n_children)
    if (!lm_link_has_room(port->link, box, c))
        return false;
    return true;
}
