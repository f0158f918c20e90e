#include "cortex.h"

#include "comm.h"
#include "estimate.h"
#include "flops.h"
#include "learning.h"
#include "memory.h"
#include "node.h"
#include "pipeline.h"
#include "replicas.h"
#include "schedule.h"
#include "slots.h"
#include "tally.h"

#include <omp.h>
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
    long steps;          /* of inference since hat v */
    struct lm_replicas *replicas;
    struct lm_learning *learning;
    struct lm_tally *tally;
    struct lm_lesson *lessons;  /* (nodes) */
    struct lm_scratch *scratch; /* (threads) */
    struct lm_reached *reached; /* (chunks) */
    struct lm_slots *slots;     /* (chunks) homes of chunks, for those that are under way */
    int *place;                 /* (chunks) at whose home a chunk has its state */
    bool forgot;                /* chunks have taken places since the batch was set */
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
            lm_layer_create(plan->network, l, plan->optimizer,
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
    cortex->tally = lm_tally_create(cortex->nodes.n, (int)chunks, cortex->plan.threads);
    cortex->lessons = lm_allocate((size_t)cortex->nodes.n, sizeof *cortex->lessons);
    cortex->reached = lm_allocate(chunks, sizeof *cortex->reached);
    cortex->slots = lm_slots_create((int)chunks);
    cortex->place = lm_allocate(chunks, sizeof *cortex->place);
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
    lm_tally_destroy(cortex->tally);
    lm_free(cortex->lessons);
    lm_free(cortex->scratch);
    lm_free(cortex->reached);
    lm_slots_destroy(cortex->slots);
    lm_free(cortex->place);
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

bool lm_cortex_has_output(const struct lm_cortex *cortex) {
    return cortex->has_output;
}

/* --- the batch ---------------------------------------------------------------------- */

static void bind(struct lm_cortex *cortex, int c, int place) {
    cortex->place[c] = place;
    lm_nodes_bind(&cortex->nodes, c, place, lm_cortex_input(cortex, c));
}

void lm_cortex_set_batch(struct lm_cortex *cortex, size_t n) {
    LM_ASSERT(n >= 1 && n <= cortex->plan.batch);
    cortex->n = n;
    cortex->n_all = (int)((n + cortex->plan.chunk - 1) / cortex->plan.chunk);
    struct lm_span share = lm_replicas_share(cortex->replicas, cortex->n_all);
    cortex->first = share.first;
    cortex->n_chunks = share.end - share.first;
    cortex->forgot = false;
    for (int c = 0; c < cortex->n_chunks; c++) {
        for (int i = 0; i < cortex->nodes.n; i++)
            lm_layer_set_count(cortex->nodes.node[i].layer, c, lm_cortex_count(cortex, c));
        bind(cortex, c, c);
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
    return cortex->has_input ? cortex->input + (size_t)cortex->place[c] * cortex->input_units *
                                                   cortex->nodes.width
                             : NULL;
}

int *lm_cortex_label(const struct lm_cortex *cortex, int c) {
    return cortex->has_output ? cortex->nodes.node[cortex->nodes.n - 1].layer->chunks[c].label
                              : NULL;
}

/* --- passes ------------------------------------------------------------------------- */

/* What the threads are asked to do. */
struct job {
    const struct lm_passes *passes;
    long begun, steps;
    struct lm_schedule *schedule; /* NULL: there are links, and chunks belong to threads */
    bool places;                  /* chunks under way get a place, and leave it in the end */
    struct lm_tally *tally;       /* NULL: no chunk learns on its own */
    double *seconds;              /* (threads, SECONDS): LM_PASSES of each */
};

enum { SECONDS = LM_APART / sizeof(double) };

static void take_place(void *context, int c) {
    struct lm_cortex *cortex = context;
    bind(cortex, c, lm_slots_take(cortex->slots, omp_get_thread_num()));
}

static void leave_place(void *context, int c) {
    struct lm_cortex *cortex = context;
    lm_slots_give(cortex->slots, omp_get_thread_num(), cortex->place[c]);
}

/* What is next to do of a chunk that no other rank has part in. */
static void run_turn(const struct lm_turn *turn, struct lm_pipeline *pipeline) {
    pipeline->chunk = turn->chunk;
    pipeline->n_chunks = turn->chunk + 1;
    pipeline->first = turn->first;
    pipeline->end = turn->end;
    lm_pipeline_run(pipeline);
}

/* All threads together, who go on when all is done. */
static void prepare_weights(struct lm_cortex *cortex, double *seconds) {
    for (int i = 0; i < cortex->nodes.n; i++)
        *seconds += lm_layer_prepare(cortex->nodes.node[i].layer);
#pragma omp barrier
}

static void run_threads(struct lm_cortex *cortex, const struct job *job) {
#pragma omp parallel num_threads(cortex->plan.threads)
    {
        int thread = omp_get_thread_num();
        struct lm_turn turn;
        struct lm_pipeline pipeline = {.nodes = &cortex->nodes,
                                       .passes = job->passes,
                                       .begun = job->begun,
                                       .tally = job->tally,
                                       .chunk = thread,
                                       .stride = omp_get_num_threads(),
                                       .n_chunks = cortex->n_chunks,
                                       .end = job->steps,
                                       .take_place = job->places ? take_place : NULL,
                                       .leave_place = job->places ? leave_place : NULL,
                                       .context = cortex,
                                       .scratch = &cortex->scratch[thread],
                                       .seconds = job->seconds + thread * SECONDS};
        prepare_weights(cortex, &pipeline.seconds[LM_PASS_INFER]);
        if (!job->schedule)
            lm_pipeline_run(&pipeline);
        while (job->schedule && lm_schedule_take(job->schedule, thread, &turn)) {
            run_turn(&turn, &pipeline);
            lm_schedule_give(job->schedule, &turn);
        }
    }
}

/* Operations of a step, all steps of inference alike. */
static double estimate_step(const struct lm_cortex *cortex, const struct lm_passes *passes,
                            const struct lm_flops flops[], long step) {
    const struct lm_nodes *nodes = &cortex->nodes;
    double sum = 0, n = (double)lm_pipeline_inference(passes);
    enum lm_pass pass = lm_pipeline_pass(passes, step);
    if (pass == LM_PASS_LEARN)
        return flops[nodes->node[lm_pipeline_learner(passes, step)].layer->index].learn;
    for (int i = 0; i < nodes->n; i++) {
        const struct lm_flops *own = &flops[nodes->node[i].layer->index];
        sum += pass == LM_PASS_INFER ? (own->predict + own->feedback) / n : own->forward;
    }
    return sum;
}

/* Of each layer (layers). */
static struct lm_flops *count_flops(const struct lm_cortex *cortex,
                                    const struct lm_passes *passes) {
    const struct lm_network *network = cortex->plan.network;
    const struct lm_inference *inference = passes->inference;
    long n = lm_pipeline_inference(passes);
    struct lm_flops *flops = lm_allocate((size_t)network->n_layers, sizeof *flops);
    for (int l = 0; !inference && l < network->n_layers; l++)
        flops[l].forward = 1;
    if (inference)
        lm_flops_of_layers(network, passes->rule, (double)inference->step, n > 0 ? n : 1,
                           inference->presynaptic_value, flops);
    return flops;
}

/* Operations in steps s and on of a chunk: left (steps + 1). */
static void estimate_steps(const struct lm_cortex *cortex, const struct lm_passes *passes,
                           const struct lm_flops flops[], long steps, double left[]) {
    left[steps] = 0;
    for (long s = steps - 1; s >= 0; s--)
        left[s] = left[s + 1] + estimate_step(cortex, passes, flops, s);
}

/* Of one input that changes threads: its state leaves a processor's caches and comes to those
 * of another; and where chunks take places in turn, so do two places that would else have
 * stayed where they are. */
static double estimate_handover(const struct lm_cortex *cortex, bool places) {
    double bytes = 0;
    for (int i = 0; i < cortex->nodes.n; i++)
        bytes += (double)lm_plan_bytes_per_input(cortex->nodes.node[i].layer->plan);
    return LM_FLOPS_PER_BYTE * 2 * (places ? 3 : 1) * bytes;
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

/* Whether chunks can learn each on its own. */
static bool begin_learning(struct lm_cortex *cortex, const struct lm_passes *passes) {
    for (int i = 0; passes->learn && i < cortex->nodes.n; i++)
        set_lesson(cortex, i, passes->exact);
    return passes->learn &&
           lm_tally_open(cortex->tally, cortex->first, cortex->nodes.n, cortex->lessons);
}

/* Learn, if chunks have not done so, and add up over replicas: layer by layer, the sums of one
 * travelling while the next one learns. */
static void end_learning(struct lm_cortex *cortex, const struct lm_passes *passes,
                         bool learned) {
    struct lm_replicas *replicas = cortex->replicas;
    int n = cortex->nodes.n;
    int together = cortex->plan.placement->n_replicas > 1 ? 1 : n;
    lm_traffic_turn(LM_PHASE_SUM);
    for (int i = 0; i < n; i += together) {
        if (!learned)
            lm_learning_run(cortex->learning, passes->rule, passes->inference, cortex->first,
                            together, cortex->lessons + i, cortex->scratch);
        for (int k = i; k < i + together; k++)
            lm_replicas_sum_begin(replicas, k);
    }
    for (int i = 0; i < n; i++)
        lm_replicas_sum_reduce(replicas, i);
    for (int i = 0; i < n; i++)
        lm_replicas_sum_end(replicas, i);
}

/* Add what the threads have taken in passes, and all of them in the end of learning. */
static void add_seconds(const struct lm_cortex *cortex, const struct job *job,
                        double learning) {
    int threads = cortex->plan.threads;
    double *seconds = job->passes->seconds;
    for (int i = 0; seconds && i < threads * LM_PASSES; i++)
        seconds[i % LM_PASSES] +=
            job->seconds[i / LM_PASSES * SECONDS + i % LM_PASSES] / threads;
    if (seconds && job->passes->learn)
        seconds[LM_PASS_LEARN] += learning;
}

/* Whether chunks may take places in turn: all that is done with them is done in one go, their
 * inputs are brought to where they are, and what they send is gone when it is sent. */
static bool may_place(const struct lm_cortex *cortex, const struct lm_passes *passes,
                      bool learns) {
    return passes->forgets && passes->load && passes->forward && !cortex->nodes.has_messages &&
           learns == passes->learn;
}

static void expect_pulls(struct lm_cortex *cortex, const struct lm_passes *passes,
                         const struct lm_flops flops[]) {
    int chunks = lm_pipeline_inference(passes) > 0 ? cortex->n_chunks : 0;
    for (int i = 0; i < cortex->nodes.n; i++) {
        struct lm_layer *layer = cortex->nodes.node[i].layer;
        lm_layer_expect(layer, chunks * lm_flops_pulls(&flops[layer->index]));
    }
}

void lm_cortex_run(struct lm_cortex *cortex, const struct lm_passes *passes) {
    int threads = cortex->plan.threads;
    long begun = passes->goes_on ? cortex->steps : 0;
    lm_traffic_open(passes->forward_phase);
    bool learns = begin_learning(cortex, passes), places = may_place(cortex, passes, learns);
    LM_ASSERT(places || !cortex->forgot);
    cortex->forgot = places;
    int n = cortex->n_chunks;
    long steps = lm_pipeline_steps(passes, learns ? cortex->nodes.n : 0);
    struct lm_flops *flops = count_flops(cortex, passes);
    double *left = lm_allocate((size_t)steps + 1, sizeof *left);
    double *seconds = lm_allocate((size_t)(threads * SECONDS), sizeof *seconds);
    struct lm_schedule schedule = {.threads = threads,
                                   .n_chunks = n,
                                   .width = cortex->nodes.width,
                                   .last_width =
                                       n ? lm_width(lm_cortex_count(cortex, n - 1)) : 0,
                                   .steps = steps,
                                   .left = left,
                                   .handover = estimate_handover(cortex, places),
                                   .reached = cortex->reached};
    const struct job job = {passes, begun,
                            steps,  cortex->nodes.has_links ? NULL : &schedule,
                            places, learns ? cortex->tally : NULL,
                            seconds};
    if (job.schedule)
        estimate_steps(cortex, passes, flops, steps, left);
    memset(cortex->reached, 0, (size_t)n * sizeof *cortex->reached);
    expect_pulls(cortex, passes, flops);
    if (steps > 0)
        run_threads(cortex, &job);
    double start = omp_get_wtime();
    if (passes->learn)
        end_learning(cortex, passes, learns);
    add_seconds(cortex, &job, omp_get_wtime() - start);
    lm_traffic_close();
    cortex->steps = begun + lm_pipeline_inference(passes);
    lm_free(flops);
    lm_free(left);
    lm_free(seconds);
}

void lm_cortex_update(struct lm_cortex *cortex, long t, double rate, double momentum) {
#pragma omp parallel num_threads(cortex->plan.threads)
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
