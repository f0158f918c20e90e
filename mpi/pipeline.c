#include "pipeline.h"

#include "crowd.h"

#include <omp.h>
#include <string.h>

enum { IN_FLIGHT = 5 };

/* A chunk under way: it is at a node in the errors or the values of a step. */
struct flight {
    int chunk, node;
    long step;
    bool values;
};

#define FOR_NODES(pipeline, node)                                                              \
    for (struct lm_node *node = (pipeline)->nodes->node;                                       \
         node < (pipeline)->nodes->node + (pipeline)->nodes->n; node++)

/* Errors travel down one layer per step: a layer at distance d from the output has none
 * before step d (counted from 0), so its errors, feedback and values are at rest till then. */
static bool has_error(const struct lm_node *node, long step) {
    return step >= node->layer->plan->distance;
}

/* Whether errors and feedback are those of the step before. */
static bool is_settled(const struct lm_pipeline *pipeline, const struct lm_node *node,
                       long step) {
    return pipeline->rule->settled &&
           pipeline->rule->settled(pipeline->inference, node->layer->plan, step);
}

/* A hidden layer above the input has no feedback to give, so only its last error counts. */
static bool makes_last_error_only(const struct lm_node *node) {
    return node->layer->plan->clamped && !node->layer->is_output;
}

static bool needs_error(const struct lm_pipeline *pipeline, const struct lm_node *node,
                        long step) {
    if (makes_last_error_only(node))
        return has_error(node, step) && step + 1 == pipeline->end;
    return has_error(node, step) && !is_settled(pipeline, node, step);
}

/* Whether the only child of a layer, on this rank too (else NULL), moves its values as it makes
 * its feedback. The output does not: its feedback may stay the same while values move. */
static bool is_relaxed_by(const struct lm_pipeline *pipeline, const struct lm_layer *parent,
                          const struct lm_layer *child) {
    return parent && child && !child->is_output && parent->plan->n_children == 1 &&
           child->plan->n_parents == 1 && pipeline->rule->relaxes &&
           pipeline->rule->relaxes(parent->plan);
}

static void make_node_errors(const struct lm_pipeline *pipeline, struct lm_node *node, int c) {
    struct lm_layer *parent = node->down[0].other;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    const struct lm_relaxation relaxation = lm_relaxation_of(pipeline->inference->step);
    if (is_relaxed_by(pipeline, parent, node->layer)) {
        chunk->relaxation = &relaxation;
        chunk->relaxed = parent->chunks[c].value;
    }
    pipeline->rule->errors(pipeline->inference, node->layer, c, pipeline->scratch);
    chunk->relaxation = NULL;
}

/* What goes down is zero at first. Of an only child on this rank nobody reads it before it is
 * made. */
static void clear_feedback(const struct lm_node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        const struct lm_port *port = &node->down[k];
        real *feedback = node->layer->chunks[c].feedback[k];
        if (feedback && (port->link || port->other->plan->n_children > 1))
            memset(feedback, 0, lm_node_length(node, port, c) * sizeof *feedback);
    }
}

/* Errors of a node, when the values of the step before have come. */
static bool make_errors(const struct lm_pipeline *pipeline, struct lm_node *node, int c,
                        long step) {
    if (!lm_node_values_are_here(node, c))
        return false;
    double start = omp_get_wtime();
    node->layer->chunks[c].still = step < node->layer->plan->still;
    if (step == 0)
        clear_feedback(node, c);
    if (needs_error(pipeline, node, step))
        make_node_errors(pipeline, node, c);
    lm_layer_spent(node->layer, start);
    if (pipeline->rule->values_travel)
        lm_node_receive_values_begin(node, c, LM_BOX_VALUE);
    lm_node_send_feedback_begin(node, c);
    return true;
}

static bool is_relaxed(const struct lm_pipeline *pipeline, const struct lm_node *node) {
    return node->layer->plan->n_children > 0 &&
           is_relaxed_by(pipeline, node->layer, node->up[0].other);
}

/* Values of a node, when the feedback of this step has come. */
static bool move_values(const struct lm_pipeline *pipeline, struct lm_node *node, int c,
                        long step) {
    if (!lm_node_feedback_is_here(node, c, pipeline->rule->values_travel))
        return false;
    double start = omp_get_wtime();
    if (has_error(node, step + 1) && !is_settled(pipeline, node, step + 1) &&
        !is_relaxed(pipeline, node))
        pipeline->rule->values(pipeline->inference, node->layer, c, pipeline->scratch);
    lm_layer_spent(node->layer, start);
    if (step + 1 < pipeline->end)
        lm_node_receive_feedback_begin(node, c);
    if (pipeline->rule->values_travel)
        lm_node_send_values_begin(node, c, LM_BOX_VALUE);
    return true;
}

/* A layer at hat v. */
static void rest(const struct lm_pipeline *pipeline, const struct lm_node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    size_t n = node->layer->plan->units * chunk->width;
    pipeline->rule->begin(n, chunk->forward, chunk->value);
    if (!makes_last_error_only(node) || !has_error(node, pipeline->end - 1))
        memset(chunk->own_error, 0, n * sizeof *chunk->own_error);
    chunk->error = chunk->own_error;
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        struct lm_port *port = &node->down[k];
        if (port->link)
            pipeline->rule->begin(lm_node_length(node, port, c), chunk->parent_forward[k],
                                  lm_link_box(port->link, LM_BOX_VALUE, c));
    }
}

static void begin(const struct lm_pipeline *pipeline, struct flight *flight, int c) {
    *flight = (struct flight){.chunk = c, .step = pipeline->first};
    if (pipeline->first == 0)
        FOR_NODES(pipeline, node) rest(pipeline, node, c);
    FOR_NODES(pipeline, node) lm_node_receive_feedback_begin(node, c);
}

/* Take a chunk as far as it can go; whether it moved. */
static bool advance(const struct lm_pipeline *pipeline, struct flight *flight) {
    bool moved = false;
    while (flight->step < pipeline->end) {
        for (; flight->node < pipeline->nodes->n; flight->node++) {
            struct lm_node *node = &pipeline->nodes->node[flight->node];
            if (!(flight->values ? move_values : make_errors)(pipeline, node, flight->chunk,
                                                              flight->step))
                return moved;
            moved = true;
        }
        flight->node = 0;
        flight->step += flight->values;
        flight->values = !flight->values;
    }
    return moved;
}

void lm_pipeline_run(const struct lm_pipeline *pipeline) {
    struct flight flights[IN_FLIGHT];
    int n = 0, next = pipeline->chunk, idle = 0;
    while (n > 0 || next < pipeline->n_chunks) {
        for (; n < IN_FLIGHT && next < pipeline->n_chunks; next += pipeline->stride)
            begin(pipeline, &flights[n++], next);
        int i = 0;
        unsigned heard = lm_crowd_listen();
        while (i < n && !advance(pipeline, &flights[i]))
            i++;
        idle = i < n ? 0 : idle + 1;
        if (idle)
            lm_crowd_idle(idle, heard);
        else if (flights[i].step == pipeline->end) {
            for (n--; i < n; i++)
                flights[i] = flights[i + 1];
        }
    }
    for (int c = pipeline->chunk; c < pipeline->n_chunks; c += pipeline->stride)
        FOR_NODES(pipeline, node) {
            lm_node_receive_values_end(node, c);
            lm_node_send_feedback_end(node, c);
            lm_node_send_values_end(node, c);
        }
}
