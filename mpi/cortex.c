#include "cortex.h"

#include "comm.h"
#include "link.h"
#include "memory.h"

#include <omp.h>
#include <string.h>

/* One edge at one of our layers. Blocks are (chunks, units of the parent, width). */
struct port {
    struct lm_link *link;   /* NULL: the other layer is ours too */
    int peer;               /* its rank */
    size_t units;           /* of the parent's value */
    struct lm_layer *other; /* the other layer when ours */
    real *forward, *value;  /* parent's, received here; child's end of a link */
    real *feedback;         /* for the parent: made at the child's end, received at
                               the parent's end of a link */
};

/* A layer of ours with its edges. */
struct node {
    struct lm_layer *layer;
    struct port *down; /* (parents) */
    struct port *up;   /* (children) */
};

struct lm_cortex {
    struct lm_cortex_plan plan;
    int n_nodes;
    struct node *nodes;
    struct lm_layer **layers; /* of the nodes */
    bool has_input, has_output, has_links;
    size_t input_units, width;  /* largest width of a chunk */
    real *input;                /* (chunks, input units, width) */
    size_t n;                   /* inputs of the batch */
    long steps;                 /* of inference since begin */
    int n_chunks;               /* of the batch */
    struct lm_scratch *scratch; /* (threads) */
};

/* What the threads are asked to do. */
struct job {
    const struct lm_rule *rule;
    const struct lm_inference *inference;
    long first, end; /* steps of inference since begin */
};

static real *block(real *blocks, const struct lm_cortex *cortex, size_t units, int c) {
    return blocks + (size_t)c * units * cortex->width;
}

/* --- making ------------------------------------------------------------------------- */

static void init_port(struct lm_cortex *cortex, struct port *port, int edge, bool is_parent) {
    const struct lm_network *network = cortex->plan.network;
    const struct lm_edge *e = &network->edges[edge];
    int other = is_parent ? e->child : e->parent;
    int chunks = (int)((cortex->plan.batch + cortex->plan.chunk - 1) / cortex->plan.chunk);
    port->peer = cortex->plan.placement->rank[other];
    port->units = network->layers[e->parent].units;
    port->other = lm_cortex_find(cortex, other);
    size_t message = port->units * cortex->width, all = lm_product((size_t)chunks, message);
    if (port->peer != cortex->plan.rank) {
        port->link =
            lm_link_create(edge, network->n_edges, port->peer, is_parent, chunks, message);
        cortex->has_links = true;
    }
    if (!is_parent && port->link) {
        port->forward = lm_allocate(all, sizeof(real));
        port->value = lm_allocate(all, sizeof(real));
    }
    if (!is_parent || port->link)
        port->feedback = lm_allocate(all, sizeof(real));
}

static void clear_port(struct port *port) {
    lm_link_destroy(port->link);
    lm_free(port->forward);
    lm_free(port->value);
    lm_free(port->feedback);
}

static void init_ports(struct lm_cortex *cortex) {
    const struct lm_network *network = cortex->plan.network;
    for (int i = 0; i < cortex->n_nodes; i++) {
        struct node *node = &cortex->nodes[i];
        node->down = lm_allocate((size_t)node->layer->plan->n_parents, sizeof *node->down);
        node->up = lm_allocate((size_t)node->layer->plan->n_children, sizeof *node->up);
        for (int e = 0; e < network->n_edges; e++) {
            if (network->edges[e].child == node->layer->index)
                init_port(cortex, &node->down[network->edges[e].slot], e, false);
            if (network->edges[e].parent == node->layer->index)
                init_port(cortex, &node->up[network->edges[e].child_slot], e, true);
        }
    }
}

static void init_nodes(struct lm_cortex *cortex) {
    const struct lm_cortex_plan *plan = &cortex->plan;
    const struct lm_network *network = plan->network;
    cortex->nodes = lm_allocate((size_t)network->n_layers, sizeof *cortex->nodes);
    cortex->layers = lm_allocate((size_t)network->n_layers, sizeof(struct lm_layer *));
    for (int l = 0; l < network->n_layers; l++) {
        if (plan->placement->rank[l] != plan->rank)
            continue;
        struct lm_layer *layer =
            lm_layer_create(network, l, plan->optimizer, plan->exact, plan->batch, plan->chunk);
        cortex->layers[cortex->n_nodes] = layer;
        cortex->nodes[cortex->n_nodes++].layer = layer;
        cortex->has_output = cortex->has_output || layer->is_output;
        for (int k = 0; k < layer->plan->n_parents; k++)
            cortex->has_input = cortex->has_input || layer->plan->parents[k] == LM_INPUT;
    }
}

struct lm_cortex *lm_cortex_create(const struct lm_cortex_plan *plan) {
    struct lm_cortex *cortex = lm_allocate(1, sizeof *cortex);
    cortex->plan = *plan;
    cortex->width = lm_width(plan->chunk < plan->batch ? plan->chunk : plan->batch);
    init_nodes(cortex);
    init_ports(cortex);
    cortex->input_units = lm_shape_units(&plan->network->input);
    size_t chunks = (plan->batch + plan->chunk - 1) / plan->chunk;
    if (cortex->has_input)
        cortex->input =
            lm_allocate(lm_product(chunks, cortex->input_units * cortex->width), sizeof(real));
    if (cortex->has_links && !lm_comm_is_threaded())
        cortex->plan.threads = 1;
    cortex->scratch = lm_allocate((size_t)plan->threads, sizeof *cortex->scratch);
    for (int t = 0; t < cortex->plan.threads; t++)
        lm_scratch_init(&cortex->scratch[t], cortex->n_nodes, cortex->layers, cortex->width);
    return cortex;
}

void lm_cortex_destroy(struct lm_cortex *cortex) {
    if (!cortex)
        return;
    for (int i = 0; i < cortex->n_nodes; i++) {
        struct node *node = &cortex->nodes[i];
        for (int k = 0; k < node->layer->plan->n_parents; k++)
            clear_port(&node->down[k]);
        for (int k = 0; k < node->layer->plan->n_children; k++)
            clear_port(&node->up[k]);
        lm_free(node->down);
        lm_free(node->up);
        lm_layer_destroy(node->layer);
    }
    for (int t = 0; t < cortex->plan.threads; t++)
        lm_scratch_clear(&cortex->scratch[t]);
    lm_free(cortex->scratch);
    lm_free(cortex->nodes);
    lm_free(cortex->layers);
    lm_free(cortex->input);
    lm_free(cortex);
}

int lm_cortex_layers(const struct lm_cortex *cortex) {
    return cortex->n_nodes;
}

struct lm_layer *lm_cortex_layer(const struct lm_cortex *cortex, int i) {
    return cortex->nodes[i].layer;
}

struct lm_layer *lm_cortex_find(const struct lm_cortex *cortex, int index) {
    for (int i = 0; i < cortex->n_nodes; i++)
        if (cortex->nodes[i].layer->index == index)
            return cortex->nodes[i].layer;
    return NULL;
}

bool lm_cortex_has_input(const struct lm_cortex *cortex) {
    return cortex->has_input;
}

bool lm_cortex_has_output(const struct lm_cortex *cortex) {
    return cortex->has_output;
}

/* --- the batch ---------------------------------------------------------------------- */

/* Where layer and chunk find their neighbours: in our own layers or in the ports. */
static void bind_chunk(struct lm_cortex *cortex, struct node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        struct port *port = &node->down[k];
        if (node->layer->plan->parents[k] == LM_INPUT) {
            chunk->parent_forward[k] = lm_cortex_input(cortex, c);
            chunk->parent_value[k] = NULL;
            chunk->feedback[k] = NULL;
            continue;
        }
        struct lm_layer_chunk *parent = port->other ? &port->other->chunks[c] : NULL;
        chunk->parent_forward[k] =
            parent ? parent->forward : block(port->forward, cortex, port->units, c);
        chunk->parent_value[k] =
            parent ? parent->value : block(port->value, cortex, port->units, c);
        chunk->feedback[k] = block(port->feedback, cortex, port->units, c);
    }
}

/* The children's feedback: of a child of ours, what it made; else what came. */
static void bind_feedback(struct lm_cortex *cortex, struct node *node, int c) {
    struct lm_layer_chunk *chunk = &node->layer->chunks[c];
    for (int k = 0; k < node->layer->plan->n_children; k++) {
        const struct port *port = &node->up[k];
        if (port->link) {
            chunk->child_feedback[k] = block(port->feedback, cortex, port->units, c);
            continue;
        }
        const struct lm_plan *child = port->other->plan;
        for (int slot = 0; slot < child->n_parents; slot++)
            if (child->parents[slot] == node->layer->index)
                chunk->child_feedback[k] = port->other->chunks[c].feedback[slot];
    }
}

void lm_cortex_set_batch(struct lm_cortex *cortex, size_t n) {
    LM_ASSERT(n >= 1 && n <= cortex->plan.batch);
    cortex->n = n;
    cortex->n_chunks = (int)((n + cortex->plan.chunk - 1) / cortex->plan.chunk);
    for (int c = 0; c < cortex->n_chunks; c++) {
        for (int i = 0; i < cortex->n_nodes; i++)
            lm_layer_set_count(cortex->nodes[i].layer, c, lm_cortex_count(cortex, c));
        for (int i = 0; i < cortex->n_nodes; i++)
            bind_chunk(cortex, &cortex->nodes[i], c);
        for (int i = 0; i < cortex->n_nodes; i++)
            bind_feedback(cortex, &cortex->nodes[i], c);
    }
}

int lm_cortex_chunks(const struct lm_cortex *cortex) {
    return cortex->n_chunks;
}

size_t lm_cortex_count(const struct lm_cortex *cortex, int c) {
    size_t first = (size_t)c * cortex->plan.chunk, left = cortex->n - first;
    return left < cortex->plan.chunk ? left : cortex->plan.chunk;
}

real *lm_cortex_input(const struct lm_cortex *cortex, int c) {
    return cortex->has_input ? block(cortex->input, cortex, cortex->input_units, c) : NULL;
}

int *lm_cortex_label(const struct lm_cortex *cortex, int c) {
    return cortex->has_output ? cortex->nodes[cortex->n_nodes - 1].layer->chunks[c].label
                              : NULL;
}

/* --- messages of one layer and chunk, nothing for neighbours of ours ------------------ */

static size_t message_length(const struct node *node, const struct port *port, int c) {
    return port->units * node->layer->chunks[c].width;
}

static void receive_from_parents_begin(struct lm_cortex *cortex, struct node *node, int c,
                                       bool forward) {
    for (int k = 0; k < node->layer->plan->n_parents; k++) {
        struct port *port = &node->down[k];
        if (port->link)
            lm_link_receive_begin(
                port->link, c,
                block(forward ? port->forward : port->value, cortex, port->units, c),
                message_length(node, port, c));
    }
}

static void receive_from_parents_end(struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_parents; k++)
        if (node->down[k].link)
            lm_link_receive_end(node->down[k].link, c);
}

static void receive_from_children_begin(struct lm_cortex *cortex, struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_children; k++) {
        struct port *port = &node->up[k];
        if (port->link)
            lm_link_receive_begin(port->link, c, block(port->feedback, cortex, port->units, c),
                                  message_length(node, port, c));
    }
}

static void receive_from_children_end(struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_children; k++)
        if (node->up[k].link)
            lm_link_receive_end(node->up[k].link, c);
}

static void send_to_parents_begin(struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_parents; k++)
        if (node->down[k].link)
            lm_link_send_begin(node->down[k].link, c, node->layer->chunks[c].feedback[k],
                               message_length(node, &node->down[k], c));
}

static void send_to_children_begin(struct node *node, int c, const real *data) {
    for (int k = 0; k < node->layer->plan->n_children; k++)
        if (node->up[k].link)
            lm_link_send_begin(node->up[k].link, c, data,
                               message_length(node, &node->up[k], c));
}

static void send_to_parents_end(struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_parents; k++)
        if (node->down[k].link)
            lm_link_send_end(node->down[k].link, c);
}

static void send_to_children_end(struct node *node, int c) {
    for (int k = 0; k < node->layer->plan->n_children; k++)
        if (node->up[k].link)
            lm_link_send_end(node->up[k].link, c);
}

/* Everything this rank still sends of a chunk has left. */
static void drain(struct lm_cortex *cortex, int c) {
    for (int i = 0; i < cortex->n_nodes; i++) {
        send_to_parents_end(&cortex->nodes[i], c);
        send_to_children_end(&cortex->nodes[i], c);
    }
}

/* --- work of one thread: chunks first, first + stride, ... ---------------------------- */

struct worker {
    struct lm_cortex *cortex;
    const struct job *job;
    int first, stride;
    const struct lm_scratch *scratch;
};

#define FOR_CHUNKS(worker, c)                                                                  \
    for (int c = (worker)->first; c < (worker)->cortex->n_chunks; c += (worker)->stride)
#define FOR_NODES(worker, node)                                                                \
    for (struct node *node = (worker)->cortex->nodes;                                          \
         node < (worker)->cortex->nodes + (worker)->cortex->n_nodes; node++)

static void run(struct lm_cortex *cortex, const struct job *job,
                void (*work)(const struct worker *worker)) {
    int threads = cortex->plan.threads;
#pragma omp parallel num_threads(threads)
    {
        int t = omp_get_thread_num();
        struct worker worker = {cortex, job, t, omp_get_num_threads(), &cortex->scratch[t]};
        work(&worker);
    }
}

static void forward_work(const struct worker *worker) {
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node)
    receive_from_parents_begin(worker->cortex, node, c, true);
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node) {
        receive_from_parents_end(node, c);
        lm_layer_forward(node->layer, c);
        send_to_children_begin(node, c, node->layer->chunks[c].forward);
    }
    FOR_CHUNKS(worker, c) drain(worker->cortex, c);
}

void lm_cortex_forward(struct lm_cortex *cortex) {
    run(cortex, NULL, forward_work);
}

static void begin_work(const struct worker *worker) {
    const struct lm_rule *rule = worker->job->rule;
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node) {
        struct lm_layer_chunk *chunk = &node->layer->chunks[c];
        size_t n = node->layer->plan->units * chunk->width;
        rule->begin(n, chunk->forward, chunk->value);
        memset(chunk->error, 0, n * sizeof *chunk->error);
        for (int k = 0; k < node->layer->plan->n_parents; k++) {
            struct port *port = &node->down[k];
            size_t length = message_length(node, port, c);
            if (port->link)
                rule->begin(length, chunk->parent_forward[k],
                            block(port->value, worker->cortex, port->units, c));
            if (chunk->feedback[k])
                memset(chunk->feedback[k], 0, length * sizeof *chunk->feedback[k]);
        }
    }
}

void lm_cortex_begin(struct lm_cortex *cortex, const struct lm_rule *rule) {
    cortex->steps = 0;
    run(cortex, &(struct job){.rule = rule}, begin_work);
}

/* Errors travel down one layer per step: a layer at distance d from the output has none
 * before step d (counted from 0), so its errors, feedback and values are at rest till then. */
static bool has_error(const struct node *node, long step) {
    return step >= node->layer->plan->distance;
}

/* errors of all our layers on one chunk; values of the step before have come. */
static void errors_of_chunk(const struct worker *worker, int c, long step) {
    const struct job *job = worker->job;
    FOR_NODES(worker, node) {
        receive_from_children_begin(worker->cortex, node, c);
        receive_from_parents_end(node, c);
        send_to_parents_end(node, c);
        if (has_error(node, step))
            job->rule->errors(job->inference, node->layer, c, worker->scratch);
        send_to_parents_begin(node, c);
        if (job->rule->values_travel)
            receive_from_parents_begin(worker->cortex, node, c, false);
    }
}

static void values_of_chunk(const struct worker *worker, int c, long step) {
    const struct job *job = worker->job;
    FOR_NODES(worker, node) {
        receive_from_children_end(node, c);
        send_to_children_end(node, c);
        if (has_error(node, step + 1))
            job->rule->values(job->inference, node->layer, c, worker->scratch);
        if (job->rule->values_travel)
            send_to_children_begin(node, c, node->layer->chunks[c].value);
    }
}

/* One chunk through all steps while it is in cache; with links, all chunks of this thread
 * step by step, so that one computes while another's messages travel. */
static void infer_work(const struct worker *worker) {
    const struct job *job = worker->job;
    if (!worker->cortex->has_links) {
        FOR_CHUNKS(worker, c)
        for (long step = job->first; step < job->end; step++) {
            errors_of_chunk(worker, c, step);
            values_of_chunk(worker, c, step);
        }
        return;
    }
    for (long step = job->first; step < job->end; step++) {
        FOR_CHUNKS(worker, c) errors_of_chunk(worker, c, step);
        FOR_CHUNKS(worker, c) values_of_chunk(worker, c, step);
    }
    FOR_CHUNKS(worker, c) {
        FOR_NODES(worker, node) receive_from_parents_end(node, c);
        drain(worker->cortex, c);
    }
}

static void sweep_work(const struct worker *worker) {
    const struct job *job = worker->job;
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node) receive_from_children_begin(worker->cortex, node, c);
    FOR_CHUNKS(worker, c)
    for (int i = worker->cortex->n_nodes - 1; i >= 0; i--) {
        struct node *node = &worker->cortex->nodes[i];
        receive_from_children_end(node, c);
        job->rule->values(job->inference, node->layer, c, worker->scratch);
        job->rule->errors(job->inference, node->layer, c, worker->scratch);
        send_to_parents_begin(node, c);
    }
    FOR_CHUNKS(worker, c) drain(worker->cortex, c);
}

void lm_cortex_infer(struct lm_cortex *cortex, const struct lm_rule *rule,
                     const struct lm_inference *inference, long n) {
    const struct job job = {rule, inference, cortex->steps, cortex->steps + n};
    cortex->steps += n;
    run(cortex, &job, rule->sweeps ? sweep_work : infer_work);
}

/* --- learning ------------------------------------------------------------------------ */

/* Lanes of a layer, not chunks, are what threads may share out: a lane's order is fixed. */
static void learn_layer(struct lm_cortex *cortex, struct lm_layer *layer,
                        const struct job *job) {
    lm_layer_clear_lanes(layer);
#pragma omp parallel for schedule(dynamic) num_threads(cortex->plan.threads)
    for (int lane = 0; lane < layer->n_lanes; lane++)
        for (int c = lane; c < cortex->n_chunks; c += layer->n_lanes)
            job->rule->learn(job->inference, layer, c, &cortex->scratch[omp_get_thread_num()],
                             lm_layer_lane(layer, c));
}

void lm_cortex_learn(struct lm_cortex *cortex, const struct lm_rule *rule,
                     const struct lm_inference *inference, bool exact) {
    const struct job job = {.rule = rule, .inference = inference};
    for (int i = 0; i < cortex->n_nodes; i++) {
        struct lm_layer *layer = cortex->nodes[i].layer;
        learn_layer(cortex, layer, &job);
        lm_layer_sum_lanes(layer, exact ? layer->exact : layer->gradient);
    }
}

void lm_cortex_update(struct lm_cortex *cortex, long t, double rate, double momentum) {
    for (int i = 0; i < cortex->n_nodes; i++)
        lm_layer_update(cortex->nodes[i].layer, cortex->plan.optimizer, t, rate, momentum);
}

void lm_cortex_outcome(const struct lm_cortex *cortex, const struct lm_loss *loss,
                       double *losses, int *predictions) {
    const struct lm_layer *output = cortex->nodes[cortex->n_nodes - 1].layer;
    LM_ASSERT(output->is_output);
    for (int c = 0; c < cortex->n_chunks; c++) {
        const struct lm_layer_chunk *chunk = &output->chunks[c];
        size_t first = (size_t)c * cortex->plan.chunk;
        if (losses)
            loss->value(output->plan->units, chunk->width, chunk->count, chunk->forward,
                        chunk->label, losses + first);
        if (predictions)
            lm_loss_predict(output->plan->units, chunk->width, chunk->count, chunk->forward,
                            predictions + first);
    }
}

/* --- what the audit expects ------------------------------------------------------------ */

/* Links on which this rank sends to rank `to`: values up, or feedback down. */
static int64_t count_links(const struct lm_cortex *cortex, int to, bool up) {
    const struct lm_cortex_plan *plan = &cortex->plan;
    if (to == plan->rank)
        return 0;
    return lm_placement_edges(plan->placement, plan->network, up ? plan->rank : to,
                              up ? to : plan->rank);
}

int64_t lm_cortex_forward_messages(const struct lm_cortex *cortex, int to, int chunks) {
    return chunks * count_links(cortex, to, true);
}

int64_t lm_cortex_inference_messages(const struct lm_cortex *cortex, const struct lm_rule *rule,
                                     long n, int to, int chunks) {
    int64_t up = rule->values_travel ? count_links(cortex, to, true) : 0;
    return chunks * (rule->sweeps ? 1 : n) * (count_links(cortex, to, false) + up);
}
