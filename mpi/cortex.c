#include "cortex.h"

#include "comm.h"
#include "learning.h"
#include "memory.h"
#include "node.h"
#include "pipeline.h"
#include "replicas.h"
#include "schedule.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

struct lm_cortex {
    struct lm_cortex_plan plan;
    struct lm_nodes nodes;
    bool has_input, has_output;
    size_t input_units;
    real *input;         /* (chunks, input units, width) */
    size_t n;            /* inputs of the batch */
    int n_all;           /* chunks of the batch */
    int first, n_chunks; /* of them, those of this replica */
    long steps;          /* of inference since begin */
    struct lm_replicas *replicas;
    struct lm_learning *learning;
    struct lm_lesson *lessons;  /* (nodes) */
    struct lm_scratch *scratch; /* (threads) */
    atomic_long *reached;       /* (chunks) steps of inference that are done */
};

/* What the threads are asked to do. */
struct job {
    const struct lm_rule *rule;
    const struct lm_inference *inference;
    long first, end; /* steps of inference since begin */
};

/* --- making ------------------------------------------------------------------------- */

static void make_nodes(struct lm_cortex *cortex) {
    const struct lm_cortex_plan *plan = &cortex->plan;
    struct lm_nodes *nodes = &cortex->nodes;
    int n_layers = plan->network->n_layers;
    nodes->node = lm_allocate((size_t)n_layers, sizeof *nodes->node);
    for (int l = 0; l < n_layers; l++) {
        if (!lm_placement_holds(plan->placement, plan->rank, l))
            continue;
        struct lm_layer *layer =
            lm_layer_create(plan->network, l, plan->optimizer, false,
                            (size_t)nodes->n_chunks * plan->chunk, plan->chunk);
        nodes->node[nodes->n++].layer = layer;
        cortex->has_output = cortex->has_output || layer->is_output;
        for (int k = 0; k < layer->plan->n_parents; k++)
            cortex->has_input = cortex->has_input || layer->plan->parents[k] == LM_INPUT;
    }
    lm_nodes_connect(nodes);
}

static void make_scratch(struct lm_cortex *cortex) {
    const struct lm_nodes *nodes = &cortex->nodes;
    struct lm_layer **layers = lm_allocate((size_t)nodes->n, sizeof(struct lm_layer *));
    for (int i = 0; i < nodes->n; i++)
        layers[i] = nodes->node[i].layer;
    cortex->scratch = lm_allocate((size_t)cortex->plan.threads, sizeof *cortex->scratch);
    for (int t = 0; t < cortex->plan.threads; t++)
        lm_scratch_init(&cortex->scratch[t], nodes->n, layers, nodes->width);
    lm_free(layers);
}

struct lm_cortex *lm_cortex_create(const struct lm_cortex_plan *plan) {
    struct lm_cortex *cortex = lm_allocate(1, sizeof *cortex);
    size_t all = (plan->batch + plan->chunk - 1) / plan->chunk;
    size_t replicas = (size_t)plan->placement->n_replicas;
    size_t chunks = (all + replicas - 1) / replicas; /* of one replica at most */
    cortex->plan = *plan;
    cortex->nodes = (struct lm_nodes){
        .network = plan->network,
        .placement = plan->placement,
        .rank = plan->rank,
        .n_chunks = (int)chunks,
        .width = lm_width(plan->chunk < plan->batch ? plan->chunk : plan->batch)};
    make_nodes(cortex);
    cortex->input_units = lm_shape_units(&plan->network->input);
    if (cortex->has_input)
        cortex->input = lm_allocate(
            lm_product(chunks, cortex->input_units * cortex->nodes.width), sizeof(real));
    if (cortex->nodes.has_links && !lm_comm_is_threaded())
        cortex->plan.threads = 1;
    make_scratch(cortex);
    cortex->replicas = lm_replicas_create(plan->placement, plan->rank, cortex->nodes.n);
    cortex->learning = lm_learning_create(cortex->nodes.n, (int)chunks, cortex->plan.threads);
    cortex->lessons = lm_allocate((size_t)cortex->nodes.n, sizeof *cortex->lessons);
    cortex->reached = lm_allocate(chunks, sizeof *cortex->reached);
    return cortex;
}

void lm_cortex_destroy(struct lm_cortex *cortex) {
    if (!cortex)
        return;
    for (int t = 0; t < cortex->plan.threads; t++)
        lm_scratch_clear(&cortex->scratch[t]);
    lm_nodes_clear(&cortex->nodes);
    lm_replicas_destroy(cortex->replicas);
    lm_learning_destroy(cortex->learning);
    lm_free(cortex->lessons);
    lm_free(cortex->scratch);
    lm_free(cortex->reached);
    lm_free(cortex->input);
    lm_free(cortex);
}

int lm_cortex_layers(const struct lm_cortex *cortex) {
    return cortex->nodes.n;
}

struct lm_layer *lm_cortex_layer(const struct lm_cortex *cortex, int i) {
    return cortex->nodes.node[i].layer;
}

struct lm_layer *lm_cortex_find(const struct lm_cortex *cortex, int index) {
    return lm_nodes_find(&cortex->nodes, index);
}

int lm_cortex_replica(const struct lm_cortex *cortex) {
    return lm_replicas_index(cortex->replicas);
}

bool lm_cortex_has_input(const struct lm_cortex *cortex) {
    return cortex->has_input;
}

bool lm_cortex_has_output(const struct lm_cortex *cortex) {
    return cortex->has_output;
}

/* --- the batch ---------------------------------------------------------------------- */

void lm_cortex_set_batch(struct lm_cortex *cortex, size_t n) {
    LM_ASSERT(n >= 1 && n <= cortex->plan.batch);
    cortex->n = n;
    cortex->n_all = (int)((n + cortex->plan.chunk - 1) / cortex->plan.chunk);
    struct lm_span share = lm_replicas_share(cortex->replicas, cortex->n_all);
    cortex->first = share.first;
    cortex->n_chunks = share.end - share.first;
    for (int c = 0; c < cortex->n_chunks; c++) {
        for (int i = 0; i < cortex->nodes.n; i++)
            lm_layer_set_count(cortex->nodes.node[i].layer, c, lm_cortex_count(cortex, c));
        lm_nodes_bind(&cortex->nodes, c, lm_cortex_input(cortex, c));
    }
}

int lm_cortex_chunks(const struct lm_cortex *cortex) {
    return cortex->n_chunks;
}

size_t lm_cortex_first(const struct lm_cortex *cortex, int c) {
    return (size_t)(cortex->first + c) * cortex->plan.chunk;
}

size_t lm_cortex_count(const struct lm_cortex *cortex, int c) {
    size_t left = cortex->n - lm_cortex_first(cortex, c);
    return left < cortex->plan.chunk ? left : cortex->plan.chunk;
}

real *lm_cortex_input(const struct lm_cortex *cortex, int c) {
    return cortex->has_input
               ? cortex->input + (size_t)c * cortex->input_units * cortex->nodes.width
               : NULL;
}

int *lm_cortex_label(const struct lm_cortex *cortex, int c) {
    return cortex->has_output ? cortex->nodes.node[cortex->nodes.n - 1].layer->chunks[c].label
                              : NULL;
}

/* Everything this rank still sends of a chunk has left. */
static void drain(struct lm_cortex *cortex, int c) {
    for (int i = 0; i < cortex->nodes.n; i++) {
        lm_node_send_feedback_end(&cortex->nodes.node[i], c);
        lm_node_send_values_end(&cortex->nodes.node[i], c);
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
    for (struct lm_node *node = (worker)->cortex->nodes.node;                                  \
         node < (worker)->cortex->nodes.node + (worker)->cortex->nodes.n; node++)

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
    lm_node_receive_values_begin(node, c, LM_BOX_FORWARD);
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node) {
        lm_node_receive_values_end(node, c);
        double start = omp_get_wtime();
        lm_layer_forward(node->layer, c, worker->scratch);
        lm_layer_spent(node->layer, start);
        lm_node_send_values_begin(node, c, LM_BOX_FORWARD);
    }
    FOR_CHUNKS(worker, c) drain(worker->cortex, c);
}

void lm_cortex_forward(struct lm_cortex *cortex) {
    run(cortex, NULL, forward_work);
}

void lm_cortex_begin(struct lm_cortex *cortex) {
    cortex->steps = 0;
}

/* Steps first .. end - 1 of every stride-th chunk from `chunk` on. */
static void infer_chunks(const struct worker *worker, int chunk, int stride, long first,
                         long end) {
    struct lm_cortex *cortex = worker->cortex;
    lm_pipeline_run(&(struct lm_pipeline){.nodes = &cortex->nodes,
                                          .rule = worker->job->rule,
                                          .inference = worker->job->inference,
                                          .first = first,
                                          .end = end,
                                          .chunk = chunk,
                                          .stride = stride,
                                          .n_chunks = cortex->n_chunks,
                                          .scratch = worker->scratch});
}

/* Without messages chunks pass from thread to thread, so that all get the same work. */
static void infer_turns(const struct worker *worker) {
    struct lm_cortex *cortex = worker->cortex;
    int n = cortex->n_chunks;
    const struct lm_schedule schedule = {.threads = worker->stride,
                                         .n_chunks = n,
                                         .width = cortex->nodes.width,
                                         .last_width =
                                             n ? lm_width(lm_cortex_count(cortex, n - 1)) : 0,
                                         .first = worker->job->first,
                                         .end = worker->job->end};
    struct lm_turn turn;
    for (int c = 0; c < n; c++) {
        if (!lm_schedule_turn(&schedule, worker->first, c, &turn))
            continue;
        while (atomic_load(&cortex->reached[c]) < turn.first)
            sched_yield();
        infer_chunks(worker, c, n, turn.first, turn.end);
        atomic_store(&cortex->reached[c], turn.end);
    }
}

static void infer_work(const struct worker *worker) {
    if (worker->cortex->nodes.has_links)
        infer_chunks(worker, worker->first, worker->stride, worker->job->first,
                     worker->job->end);
    else
        infer_turns(worker);
}

static void sweep_work(const struct worker *worker) {
    const struct job *job = worker->job;
    FOR_CHUNKS(worker, c)
    FOR_NODES(worker, node) lm_node_receive_feedback_begin(node, c);
    FOR_CHUNKS(worker, c)
    for (int i = worker->cortex->nodes.n - 1; i >= 0; i--) {
        struct lm_node *node = &worker->cortex->nodes.node[i];
        lm_node_receive_feedback_end(node, c);
        lm_node_await_feedback_room(node, c);
        double start = omp_get_wtime();
        job->rule->values(job->inference, node->layer, c, worker->scratch);
        job->rule->errors(job->inference, node->layer, c, worker->scratch);
        lm_layer_spent(node->layer, start);
        lm_node_send_feedback_begin(node, c);
    }
    FOR_CHUNKS(worker, c) drain(worker->cortex, c);
}

void lm_cortex_infer(struct lm_cortex *cortex, const struct lm_rule *rule,
                     const struct lm_inference *inference, long n) {
    const struct job job = {rule, inference, cortex->steps, cortex->steps + n};
    cortex->steps += n;
    for (int c = 0; c < cortex->n_chunks; c++)
        atomic_store(&cortex->reached[c], job.first);
    run(cortex, &job, rule->sweeps ? sweep_work : infer_work);
}

/* --- learning ------------------------------------------------------------------------ */

/* What layer i has to learn. */
static void set_lesson(struct lm_cortex *cortex, int i, bool exact) {
    struct lm_layer *layer = cortex->nodes.node[i].layer;
    struct lm_lesson *lesson = &cortex->lessons[i];
    size_t parameters = layer->plan->map.parameters;
    if (exact && !layer->exact)
        layer->exact = lm_allocate(parameters, sizeof(real));
    lesson->layer = layer;
    lesson->n =
        lm_replicas_nodes(cortex->replicas, i, cortex->n_all, parameters,
                          exact ? layer->exact : layer->gradient, lesson->nodes, lesson->sums);
}

/* With replicas layer by layer: the sums of one travel while the next one learns. */
void lm_cortex_learn(struct lm_cortex *cortex, const struct lm_rule *rule,
                     const struct lm_inference *inference, bool exact) {
    struct lm_replicas *replicas = cortex->replicas;
    int n = cortex->nodes.n, together = cortex->plan.placement->n_replicas > 1 ? 1 : n;
    for (int i = 0; i < n; i++)
        set_lesson(cortex, i, exact);
    for (int i = 0; i < n; i += together) {
        lm_learning_run(cortex->learning, rule, inference, cortex->first, together,
                        cortex->lessons + i, cortex->scratch);
        for (int k = i; k < i + together; k++)
            lm_replicas_sum_begin(replicas, k);
    }
    for (int i = 0; i < n; i++)
        lm_replicas_sum_reduce(replicas, i);
    for (int i = 0; i < n; i++)
        lm_replicas_sum_end(replicas, i);
}

void lm_cortex_update(struct lm_cortex *cortex, long t, double rate, double momentum) {
    for (int i = 0; i < cortex->nodes.n; i++)
        lm_layer_update(cortex->nodes.node[i].layer, cortex->plan.optimizer, t, rate, momentum);
}

/* --- records ------------------------------------------------------------------------- */

void lm_cortex_outcome(const struct lm_cortex *cortex, const struct lm_loss *loss,
                       double *losses, int *predictions, int *labels) {
    const struct lm_layer *output = cortex->nodes.node[cortex->nodes.n - 1].layer;
    LM_ASSERT(output->is_output);
    for (int c = 0; c < cortex->n_chunks; c++) {
        const struct lm_layer_chunk *chunk = &output->chunks[c];
        size_t first = lm_cortex_first(cortex, c);
        if (losses)
            loss->value(output->plan->units, chunk->width, chunk->count, chunk->forward,
                        chunk->label, losses + first);
        if (predictions)
            lm_loss_predict(output->plan->units, chunk->width, chunk->count, chunk->forward,
                            predictions + first);
        if (labels)
            memcpy(labels + first, chunk->label, chunk->count * sizeof *labels);
    }
    if (losses)
        lm_cortex_gather_inputs(cortex, losses, sizeof *losses);
    if (predictions)
        lm_cortex_gather_inputs(cortex, predictions, sizeof *predictions);
    if (labels)
        lm_cortex_gather_inputs(cortex, labels, sizeof *labels);
}

void lm_cortex_gather_inputs(const struct lm_cortex *cortex, void *values, size_t size) {
    lm_replicas_gather(cortex->replicas, values, size, cortex->n, cortex->plan.chunk);
}

void lm_cortex_gather_chunks(const struct lm_cortex *cortex, void *values, size_t size) {
    lm_replicas_gather(cortex->replicas, values, size, (size_t)cortex->n_all, 1);
}

int lm_cortex_all_chunks(const struct lm_cortex *cortex) {
    return cortex->n_all;
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

static int share_of(const struct lm_cortex *cortex, int chunks) {
    struct lm_span share = lm_replicas_share(cortex->replicas, chunks);
    return share.end - share.first;
}

int64_t lm_cortex_forward_messages(const struct lm_cortex *cortex, int to, int chunks) {
    return share_of(cortex, chunks) * count_links(cortex, to, true);
}

int64_t lm_cortex_inference_messages(const struct lm_cortex *cortex, const struct lm_rule *rule,
                                     long n, int to, int chunks) {
    int64_t up = rule->values_travel ? count_links(cortex, to, true) : 0;
    return share_of(cortex, chunks) * (rule->sweeps ? 1 : n) *
           (count_links(cortex, to, false) + up);
}

int64_t lm_cortex_sum_messages(const struct lm_cortex *cortex, int to, int chunks) {
    int64_t sum = 0;
    for (int i = 0; i < cortex->nodes.n; i++)
        sum += lm_replicas_messages(cortex->replicas, to, chunks,
                                    cortex->nodes.node[i].layer->plan->map.parameters);
    return sum;
}
