#include "pipeline.h"

#include "crowd.h"

#include <omp.h>
#include <string.h>

enum { IN_FLIGHT = 5 };

/* A chunk under way: it is at a node in a round of a step. */
struct flight {
    int chunk, round, node;
    long step;
};

/* What is done at each node in turn; false: later, when messages have come or have room. */
struct round {
    bool (*work)(const struct lm_pipeline *pipeline, struct lm_node *node, int c, long step);
    bool down; /* from the output to the input */
};

#define FOR_NODES(pipeline, node)                                                              \
    for (struct lm_node *node = (pipeline)->nodes->node;                                       \
         node < (pipeline)->nodes->node + (pipeline)->nodes->n; node++)

/* --- steps -------------------------------------------------------------------------------- */

long lm_pipeline_inference(const struct lm_passes *passes) {
    return passes->rule && passes->rule->sweeps && passes->steps > 1 ? 1 : passes->steps;
}

long lm_pipeline_steps(const struct lm_passes *passes, int learners) {
    return passes->forward + lm_pipeline_inference(passes) + learners;
}

enum lm_pass lm_pipeline_pass(const struct lm_passes *passes, long s) {
    if (passes->forward && s == 0)
        return LM_PASS_FORWARD;
    return s < passes->forward + lm_pipeline_inference(passes) ? LM_PASS_INFER : LM_PASS_LEARN;
}

int lm_pipeline_learner(const struct lm_passes *passes, long s) {
    return (int)(s - passes->forward - lm_pipeline_inference(passes));
}

/* The step of inference, counted since hat v, that step s is; and the one behind the last. */
static long inference_step(const struct lm_pipeline *pipeline, long s) {
    return pipeline->begun + s - pipeline->passes->forward;
}

static long inference_end(const struct lm_pipeline *pipeline) {
    return pipeline->begun + lm_pipeline_inference(pipeline->passes);
}

/* A pass has worked on a layer since `start`. */
static void spent(const struct lm_pipeline *pipeline, enum lm_pass pass, struct lm_layer *layer,
                  double start) {
    double seconds = omp_get_wtime() - start;
    lm_layer_spent(layer, seconds);
    pipeline->seconds[pass] += seconds;
}

/* --- feedforward -------------------------------------------------------------------------- */

static bool go_forward(const struct lm_pipeline *pipeline, struct lm_node *node, int c,
                       long step) {
    (void)step;
    if (!lm_node_values_are_here(node, c) || !lm_node_values_have_room(node, c, LM_BOX_FORWARD))
        return false;
    double start = omp_get_wtime();
    lm_layer_forward(node->layer, c, pipeline->scratch);
    spent(pipeline, LM_PASS_FORWARD, node->layer, start);
    lm_node_send_values_begin(node, c, LM_BOX_FORWARD);
    return true;
}

/* --- inference ---------------------------------------------------------------------------- */

/* Errors travel down one layer per step: a layer at distance d from the output has none
 * before step d (counted from 0), so its errors, feedback and values are at rest till then. */
static bool has_error(const struct lm_node *node, long step) {
    return step >= node->layer->plan->distance;
}

/* Whether errors and feedback are those of the step before. */
static bool is_settled(const struct lm_pipeline *pipeline, const struct lm_node *node,
                       long step) {
    const struct lm_passes *passes = pipeline->passes;
    return passes->rule->settled &&
           passes->rule->settled(passes->inference, node->layer->plan, step);
}

/* A hidden layer above the input has no feedback to give, so only its last error counts. */
static bool makes_last_error_only(const struct lm_node *node) {
    return node->layer->plan->on_input && !node->layer->is_output;
}

static bool needs_error(const struct lm_pipeline *pipeline, const struct lm_node *node,
                        long step) {
    if (makes_last_error_only(node))
        return has_error(node, step) && step + 1 == inference_end(pipeline);
    return has_error(node, step) && !is_settled(pipeline, node, step);
}

/* Whether values move without their error. */
static bool moves_alone(const struct lm_pipeline *pipeline, const struct lm_node *node, int c) {
    const struct lm_passes *passes = pipeline->passes;
    return passes->rule->relaxation &&
           !passes->rule->relaxation(passes->inference, node->layer, c).error;
}

/* Whether the only child of a layer, on this rank too (else NULL), moves its values as it makes
 * its feedback. The output does not: its feedback may stay the same while values move. */
static bool is_relaxed_by(const struct lm_pipeline *pipeline, const struct lm_layer *parent,
                          const struct lm_layer *child) {
    return parent && child && !child->is_output && parent->plan->n_children == 1 &&
           child->plan->n_parents == 1 && pipeline->passes->rule->relaxation;
}

/* Whether the values that a layer has after a step are read by nobody: when all ends with it,
 * and they neither travel to another rank nor are what is learned from. */
static bool is_over(const struct lm_pipeline *pipeline, const struct lm_node *node, long step) {
    const struct lm_passes *passes = pipeline->passes;
    bool travel = passes->rule->values_travel;
    if (!passes->ends || step + 1 < inference_end(pipeline) ||
        (travel && passes->inference->presynaptic_value))
        return false;
    for (int k = 0; travel && k < node->layer->plan->n_children; k++)
        if (node->up[k].link)
            return false;
    return true;
}

/* Whether that is so for all parents, on this rank too: nobody reads the feedback to them. */
static bool is_unheard(const struct lm_node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        const struct lm_layer *parent = node->down[k].other;
        if (node->layer->chunks[c].feedback[k] && !(parent && parent->chunks[c].over))
            return false;
    }
    return true;
}

/* Whether the values of a step do not move, but to the same bits, before its error is read: by
 * learning, or not at all, since it is made again and values move without it. */
static bool stays(const struct lm_pipeline *pipeline, const struct lm_node *node, int c,
                  long step) {
    if (node->layer->chunks[c].over || is_settled(pipeline, node, step + 1))
        return true;
    return step + 1 < inference_end(pipeline) && needs_error(pipeline, node, step + 1) &&
           moves_alone(pipeline, node, c);
}

static void make_heard_errors(const struct lm_pipeline *pipeline, struct lm_node *node, int c) {
    struct lm_layer *parent = node->down[0].other;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    const struct lm_passes *passes = pipeline->passes;
    struct lm_relaxation relaxation;
    if (is_relaxed_by(pipeline, parent, node->layer)) {
        relaxation = passes->rule->relaxation(passes->inference, parent, c);
        chunk->relaxation = &relaxation;
    }
    passes->rule->errors(passes->inference, node->layer, c, pipeline->scratch);
    if (chunk->relaxation)
        parent->chunks[c].fresh = false;
    chunk->relaxation = NULL;
}

static void make_node_errors(const struct lm_pipeline *pipeline, struct lm_node *node, int c) {
    const struct lm_passes *passes = pipeline->passes;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    real *feedback[LM_MAX_PARENTS];
    if (!is_unheard(node, c)) {
        make_heard_errors(pipeline, node, c);
        return;
    }
    memcpy(feedback, chunk->feedback, sizeof feedback);
    memset(chunk->feedback, 0, sizeof chunk->feedback);
    passes->rule->errors(passes->inference, node->layer, c, pipeline->scratch);
    memcpy(chunk->feedback, feedback, sizeof feedback);
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
                        long s) {
    long step = inference_step(pipeline, s);
    if (!lm_node_values_are_here(node, c) || !lm_node_feedback_has_room(node, c))
        return false;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    chunk->still = step < node->layer->plan->still;
    chunk->over = is_over(pipeline, node, step);
    chunk->stays = stays(pipeline, node, c, step);
    if (step == 0)
        clear_feedback(node, c);
    if (needs_error(pipeline, node, step)) {
        double start = omp_get_wtime();
        make_node_errors(pipeline, node, c);
        spent(pipeline, LM_PASS_INFER, node->layer, start);
    }
    if (pipeline->passes->rule->values_travel)
        lm_node_receive_values_begin(node, c, LM_BOX_VALUE);
    lm_node_send_feedback_begin(node, c);
    return true;
}

static bool is_relaxed(const struct lm_pipeline *pipeline, const struct lm_node *node) {
    return node->layer->plan->n_children > 0 &&
           is_relaxed_by(pipeline, node->layer, node->up[0].other);
}

/* Whether values of a node that have not moved are read: sent in messages, by a layer that
 * reads others beside them, or, if they never move, by all. */
static bool is_read_at_rest(const struct lm_pipeline *pipeline, const struct lm_node *node) {
    if (!pipeline->passes->rule->values_travel)
        return false;
    for (int k = 0; k < node->layer->plan->n_children; k++) {
        const struct lm_port *port = &node->up[k];
        if (!port->only_parent || (port->link && !lm_link_is_shared(port->link)))
            return true;
    }
    return !has_error(node, inference_end(pipeline));
}

/* Whether the state of a node is 0 and need not be written before it moves, by feedback alone.
 */
static bool begins_fresh(const struct lm_pipeline *pipeline, const struct lm_node *node) {
    return !pipeline->passes->rule->begin && !is_read_at_rest(pipeline, node);
}

/* The state at hat v, and where another rank reads it, which has read the last one. */
static void begin_values(const struct lm_pipeline *pipeline, const struct lm_node *node,
                         int c) {
    const struct lm_rule *rule = pipeline->passes->rule;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    size_t n = node->layer->plan->units * chunk->width;
    bool copies = rule->values_travel && node->copies_to;
    chunk->copy = copies ? lm_link_box(node->copies_to, LM_BOX_VALUE, c) : NULL;
    chunk->fresh = begins_fresh(pipeline, node);
    if (rule->begin)
        rule->begin(n, chunk->forward, chunk->value);
    else if (!chunk->fresh)
        memset(chunk->value, 0, n * sizeof *chunk->value);
    if (chunk->copy && !chunk->fresh)
        memcpy(chunk->copy, chunk->value, n * sizeof *chunk->copy);
}

static void relax_values(const struct lm_pipeline *pipeline, const struct lm_node *node,
                         int c) {
    const struct lm_passes *passes = pipeline->passes;
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    struct lm_writing *writing = chunk->copy ? &node->writing[c] : NULL;
    double start = omp_get_wtime();
    chunk->streams = writing && lm_writing_streams(writing);
    passes->rule->values(passes->inference, node->layer, c, pipeline->scratch);
    if (writing)
        lm_writing_took(writing, omp_get_wtime() - start);
}

/* Values of a node, when the feedback of this step has come. */
static bool move_values(const struct lm_pipeline *pipeline, struct lm_node *node, int c,
                        long s) {
    const struct lm_passes *passes = pipeline->passes;
    bool travel = passes->rule->values_travel;
    long step = inference_step(pipeline, s);
    if (!lm_node_feedback_is_here(node, c) ||
        (travel && !lm_node_values_have_room(node, c, LM_BOX_VALUE)))
        return false;
    bool moves = has_error(node, step + 1) && !is_settled(pipeline, node, step + 1) &&
                 !is_relaxed(pipeline, node) && !node->layer->chunks[c].over;
    if (step == 0 || moves) {
        double start = omp_get_wtime();
        if (step == 0)
            begin_values(pipeline, node, c);
        if (moves)
            relax_values(pipeline, node, c);
        spent(pipeline, LM_PASS_INFER, node->layer, start);
    }
    if (step + 1 < inference_end(pipeline))
        lm_node_receive_feedback_begin(node, c);
    if (travel)
        lm_node_send_values_begin(node, c, LM_BOX_VALUE);
    return true;
}

/* No error as yet: it is 0, where that is read before one is made, or none will be. */
static void begin_error(const struct lm_pipeline *pipeline, const struct lm_node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    size_t n = node->layer->plan->units * chunk->width;
    bool unread = makes_last_error_only(node) || moves_alone(pipeline, node, c) ||
                  begins_fresh(pipeline, node);
    if (!unread || !has_error(node, inference_end(pipeline) - 1))
        memset(chunk->own_error, 0, n * sizeof *chunk->own_error);
    chunk->error = chunk->own_error;
}

/* The errors of a node and its feedback in one go, when the feedback from above has come. */
static bool sweep(const struct lm_pipeline *pipeline, struct lm_node *node, int c, long step) {
    (void)step;
    const struct lm_passes *passes = pipeline->passes;
    if (!lm_node_feedback_is_here(node, c) || !lm_node_feedback_has_room(node, c))
        return false;
    double start = omp_get_wtime();
    passes->rule->values(passes->inference, node->layer, c, pipeline->scratch);
    passes->rule->errors(passes->inference, node->layer, c, pipeline->scratch);
    spent(pipeline, LM_PASS_INFER, node->layer, start);
    lm_node_send_feedback_begin(node, c);
    return true;
}

/* --- learning ----------------------------------------------------------------------------- */

static bool learn(const struct lm_pipeline *pipeline, struct lm_node *node, int c, long step) {
    (void)step;
    const struct lm_passes *passes = pipeline->passes;
    if (!lm_node_values_are_here(node, c))
        return false;
    double start = omp_get_wtime();
    lm_tally_learn(pipeline->tally, passes->rule, passes->inference,
                   (int)(node - pipeline->nodes->node), c, pipeline->scratch);
    pipeline->seconds[LM_PASS_LEARN] += omp_get_wtime() - start;
    return true;
}

/* --- going through the steps ----------------------------------------------------------------
 */

static const struct round forward_rounds[] = {{go_forward, false}, {0}};
static const struct round infer_rounds[] = {{make_errors, false}, {move_values, false}, {0}};
static const struct round sweep_rounds[] = {{sweep, true}, {0}};
static const struct round learn_rounds[] = {{learn, false}, {0}};

static const struct round *rounds_of(const struct lm_passes *passes, enum lm_pass pass) {
    if (pass == LM_PASS_INFER)
        return passes->rule->sweeps ? sweep_rounds : infer_rounds;
    return pass == LM_PASS_FORWARD ? forward_rounds : learn_rounds;
}

static void load(const struct lm_pipeline *pipeline, int c) {
    const struct lm_passes *passes = pipeline->passes;
    double start = omp_get_wtime();
    if (passes->load)
        passes->load(passes->context, c);
    pipeline->seconds[LM_PASS_LOAD] += omp_get_wtime() - start;
}

static void begin_inference(const struct lm_pipeline *pipeline, int c, long step) {
    double start = omp_get_wtime();
    if (inference_step(pipeline, step) == 0 && !pipeline->passes->rule->sweeps)
        FOR_NODES(pipeline, node) begin_error(pipeline, node, c);
    pipeline->seconds[LM_PASS_INFER] += omp_get_wtime() - start;
    FOR_NODES(pipeline, node) lm_node_receive_feedback_begin(node, c);
}

/* A chunk comes to a step. */
static void enter(const struct lm_pipeline *pipeline, int c, long step) {
    const struct lm_passes *passes = pipeline->passes;
    enum lm_pass pass = lm_pipeline_pass(passes, step);
    if (pipeline->take_place && step == 0)
        pipeline->take_place(pipeline->context, c);
    if (pass == LM_PASS_FORWARD)
        load(pipeline, c);
    else if (pass == LM_PASS_INFER &&
             (step == pipeline->first || lm_pipeline_pass(passes, step - 1) != LM_PASS_INFER))
        begin_inference(pipeline, c, step);
}

/* Take a chunk as far through a step as it can go; whether it is through, and if it `moved`. */
static bool go_through(const struct lm_pipeline *pipeline, struct flight *flight, bool *moved) {
    const struct lm_passes *passes = pipeline->passes;
    enum lm_pass pass = lm_pipeline_pass(passes, flight->step);
    const struct round *rounds = rounds_of(passes, pass);
    bool learns = pass == LM_PASS_LEARN;
    int first = learns ? lm_pipeline_learner(passes, flight->step) : 0;
    int n = learns ? 1 : pipeline->nodes->n;
    lm_traffic_turn(pass == LM_PASS_FORWARD ? passes->forward_phase : passes->infer_phase);
    for (; rounds[flight->round].work; flight->round++, flight->node = 0)
        for (; flight->node < n; flight->node++) {
            const struct round *round = &rounds[flight->round];
            int i = round->down ? n - 1 - flight->node : first + flight->node;
            if (!round->work(pipeline, &pipeline->nodes->node[i], flight->chunk, flight->step))
                return false;
            *moved = true;
        }
    return true;
}

/* Take a chunk as far as it can go; whether it moved. */
static bool advance(const struct lm_pipeline *pipeline, struct flight *flight) {
    bool moved = false;
    while (flight->step < pipeline->end && go_through(pipeline, flight, &moved)) {
        *flight = (struct flight){.chunk = flight->chunk, .step = flight->step + 1};
        if (flight->step < pipeline->end)
            enter(pipeline, flight->chunk, flight->step);
    }
    return moved;
}

/* A chunk has come to the end of what is to be done here, perhaps of all. */
static void land(const struct lm_pipeline *pipeline, int c) {
    const struct lm_passes *passes = pipeline->passes;
    int learners = pipeline->tally ? pipeline->nodes->n : 0;
    if (pipeline->end < lm_pipeline_steps(passes, learners))
        return;
    if (passes->done)
        passes->done(passes->context, c);
    if (pipeline->leave_place)
        pipeline->leave_place(pipeline->context, c);
}

#define FOR_CHUNKS(pipeline, c)                                                                \
    for (int c = (pipeline)->chunk; c < (pipeline)->n_chunks; c += (pipeline)->stride)

/* Take the first of n chunks under way that can as far as it can go, or begin chunk `next`, if
 * one more may be under way; which of them it was, the new one being n, or -1. */
static int advance_first(const struct lm_pipeline *pipeline, struct flight flights[], int n,
                         int next) {
    for (int i = 0; i < n; i++)
        if (advance(pipeline, &flights[i]))
            return i;
    if (n == IN_FLIGHT || next >= pipeline->n_chunks)
        return -1;
    flights[n] = (struct flight){.chunk = next, .step = pipeline->first};
    enter(pipeline, next, pipeline->first);
    advance(pipeline, &flights[n]);
    return n;
}

void lm_pipeline_run(const struct lm_pipeline *pipeline) {
    struct flight flights[IN_FLIGHT];
    int n = 0, next = pipeline->chunk, idle = 0;
    if (pipeline->first == 0 && pipeline->passes->forward)
        FOR_CHUNKS(pipeline, c)
    FOR_NODES(pipeline, node) lm_node_receive_values_begin(node, c, LM_BOX_FORWARD);
    while (n > 0 || next < pipeline->n_chunks) {
        unsigned heard = lm_crowd_listen();
        int i = advance_first(pipeline, flights, n, next);
        idle = i < 0 ? idle + 1 : 0;
        if (idle)
            lm_crowd_idle(idle, heard);
        if (i == n) {
            n++;
            next += pipeline->stride;
        }
        if (i >= 0 && flights[i].step == pipeline->end) {
            land(pipeline, flights[i].chunk);
            for (n--; i < n; i++)
                flights[i] = flights[i + 1];
        }
    }
    FOR_CHUNKS(pipeline, c)
    FOR_NODES(pipeline, node) {
        lm_node_receive_values_end(node, c);
        lm_node_send_feedback_end(node, c);
        lm_node_send_values_end(node, c);
    }
}
