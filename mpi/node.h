/* Node: a layer of this rank with its edges: where it finds the values of its parents and the
 * feedback of its children, and how these travel when the other layer is on another rank.
 * Internal to the cortex.
 *
 * Of two layers on one rank each reads the other's arrays: no message, no copy. */
#ifndef LAMINA_NODE_H
#define LAMINA_NODE_H

#include "layer.h"
#include "link.h"
#include "placement.h"
#include "writing.h"

/* One edge, seen from one of its layers. */
struct lm_port {
    struct lm_link *link;   /* NULL: the other layer is on this rank */
    struct lm_layer *other; /* that layer, else NULL. Not owned */
    bool only_parent;       /* the child reads no other values */
    size_t units;           /* of the parent's value */
    size_t block;           /* reals per chunk of a message: units * largest width */
    real *feedback;         /* (chunks, block) for the parent on this rank, made by the child */
};

struct lm_node {
    struct lm_layer *layer;     /* owned */
    struct lm_port *down;       /* (parents); of the network's input all zero */
    struct lm_port *up;         /* (children) */
    struct lm_link *keeps_in;   /* NULL, or in whose boxes the values are (a rule whose values
                                   do not travel writes there without asking for room: between
                                   it and one whose do lies a forward pass, which asks), */
    struct lm_link *copies_to;  /* or are written as they move: another rank reads them there.
                                   Of those of up, not owned */
    struct lm_writing *writing; /* (chunks) how they are written there, else NULL */
};

/* All nodes of this rank. */
struct lm_nodes {
    const struct lm_network *network;     /* not owned */
    const struct lm_placement *placement; /* not owned */
    int rank;
    int n_chunks; /* most chunks of a batch */
    size_t width; /* largest width of a chunk */
    int n;
    struct lm_node *node; /* (n) in the order of the network */
    bool has_links;       /* some layer's neighbour is on another rank */
    bool has_messages;    /* and what it gets is sent from where it is, and not copied first */
};

/* Make the ports of all nodes; network ... node[].layer are given, all layers are made. */
void lm_nodes_connect(struct lm_nodes *nodes);

/* Free the layers and ports of all nodes. */
void lm_nodes_clear(struct lm_nodes *nodes);

/* The layer of this rank that is layer `index` of the network, or NULL. */
struct lm_layer *lm_nodes_find(const struct lm_nodes *nodes, int index);

/* Keep the state of chunk c of all layers at the home of chunk `place` (lm_layer_place), c
 * itself where nodes have messages, and set the pointers to parents and children;
 * `input` is the chunk of the network's input, NULL if no layer of this rank takes it. After
 * lm_layer_set_count. */
void lm_nodes_bind(struct lm_nodes *nodes, int c, int place, real *input);

/* Reals of chunk c on an edge of a node. */
size_t lm_node_length(const struct lm_node *node, const struct lm_port *port, int c);

/* Messages of chunk c with the parents: values from below, feedback to them, for which
 * there may be no room as yet. Nothing happens for neighbours on this rank, and an _end returns
 * at once when nothing is under way. Neighbour; threads may work on different chunks. */
void lm_node_receive_values_begin(struct lm_node *node, int c, enum lm_box box);
void lm_node_receive_values_end(struct lm_node *node, int c);
void lm_node_send_feedback_begin(struct lm_node *node, int c);
void lm_node_send_feedback_end(struct lm_node *node, int c);

/* Whether the values from below have come; whether feedback may be made. */
bool lm_node_values_are_here(struct lm_node *node, int c);
bool lm_node_feedback_has_room(struct lm_node *node, int c);

/* The same with the children: feedback from above, values to them. */
void lm_node_receive_feedback_begin(struct lm_node *node, int c);
void lm_node_send_values_begin(struct lm_node *node, int c, enum lm_box box);
void lm_node_send_values_end(struct lm_node *node, int c);

/* Whether the feedback from above has come; whether values may be sent. */
bool lm_node_feedback_is_here(struct lm_node *node, int c);
bool lm_node_values_have_room(struct lm_node *node, int c, enum lm_box box);

#endif
