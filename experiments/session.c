#include "session.h"

#include "balance.h"
#include "blas.h"
#include "checkpoint.h"
#include "checkpoints.h"
#include "comm.h"
#include "crowd.h"
#include "data.h"
#include "memory.h"
#include "store.h"
#include "threads.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Costs that are given count as shares of the operations. */
static void take_costs(const struct lm_settings *settings, const struct lm_network *network,
                       double cost[]) {
    double operations = 0, given = 0;
    for (int i = 0; i < settings->placement.n_costs; i++) {
        operations += cost[i];
        given += settings->placement.costs[i];
    }
    for (int i = 0; i < settings->placement.n_costs; i++)
        cost[lm_network_find(network, settings->network.layers[i].name)] =
            settings->placement.costs[i] / given * operations;
}

static const struct lm_rule *rule_of(const struct lm_settings *settings) {
    return lm_rule_find(settings->inference.rule, settings->inference.state);
}

struct lm_flops *lm_session_flops(const struct lm_settings *settings,
                                  const struct lm_network *network) {
    struct lm_flops *flops = lm_allocate((size_t)network->n_layers, sizeof *flops);
    lm_flops_of_layers(network, rule_of(settings), settings->inference.step,
                       settings->inference.steps,
                       strcmp(settings->inference.presynaptic, "value") == 0, flops);
    return flops;
}

struct lm_workload lm_session_workload(const struct lm_settings *settings,
                                       const struct lm_network *network, double cost[]) {
    struct lm_flops *flops = lm_session_flops(settings, network);
    for (int l = 0; l < network->n_layers; l++)
        cost[l] = lm_flops_sum(&flops[l]) +
                  4 * (double)network->layers[l].units * (double)settings->inference.steps;
    lm_free(flops);
    take_costs(settings, network, cost);
    return (struct lm_workload){.network = network,
                                .rule = rule_of(settings),
                                .n = settings->inference.steps,
                                .batch = (size_t)settings->training.batch,
                                .chunk = lm_settings_chunk(settings),
                                .cost = cost};
}

bool lm_session_placement(struct lm_placement *placement, const struct lm_settings_file *file,
                          const struct lm_network *network, int n_ranks,
                          struct lm_status *status) {
    const struct lm_settings *settings = lm_settings_get(file);
    int *by_hand = lm_allocate((size_t)network->n_layers, sizeof *by_hand);
    for (int i = 0; i < settings->placement.n; i++)
        by_hand[lm_network_find(network, settings->network.layers[i].name)] =
            (int)settings->placement.ranks[i];
    double *cost = lm_allocate((size_t)network->n_layers, sizeof *cost);
    struct lm_workload workload = lm_session_workload(settings, network, cost);
    struct lm_placement_plan plan = {.n_ranks = n_ranks,
                                     .n_replicas = (int)settings->placement.replicas,
                                     .by_hand = settings->placement.n ? by_hand : NULL};
    bool good = lm_placement_init(placement, network, &plan, status);
    if (good && !plan.by_hand)
        lm_balance(&workload, placement);
    if (!good && (plan.by_hand || plan.n_replicas > 1))
        lm_settings_blame(file,
                          n_ranks % plan.n_replicas || !plan.by_hand ? "placement.replicas"
                                                                     : "placement.ranks",
                          status);
    lm_free(by_hand);
    lm_free(cost);
    return good;
}

/* --- making --------------------------------------------------------------------------- */

/* Rank 0 looks for the checkpoint of a trained network. */
static bool find_checkpoint(struct lm_session *session, struct lm_status *status) {
    struct {
        char path[4096]; /* empty: not found */
        struct lm_status status;
    } found = {0};
    if (!session->options->network)
        return true;
    if (lm_comm_rank() == 0) {
        char *path = lm_checkpoints_of(session->options->network, &found.status);
        if (path)
            snprintf(found.path, sizeof found.path, "%s", path);
        lm_free(path);
    }
    lm_comm_broadcast(&found, sizeof found, 0);
    session->checkpoint = lm_copy_string(found.path);
    if (!found.path[0])
        *status = found.status;
    return found.path[0];
}

static struct lm_settings_file *read_file(const struct lm_session *session,
                                          struct lm_status *status) {
    const struct lm_options *options = session->options;
    const char *const *set = (const char *const *)options->set;
    if (!session->checkpoint)
        return lm_settings_read(options->settings, options->n_set, set, status);
    char *text = lm_checkpoint_settings(session->checkpoint, status);
    struct lm_settings_file *file =
        text ? lm_settings_parse(session->checkpoint, text, options->n_set, set, status) : NULL;
    lm_free(text);
    return file;
}

static bool read_settings(struct lm_session *session, struct lm_status *status) {
    session->file = read_file(session, status);
    if (!session->file)
        return false;
    session->settings = lm_settings_get(session->file);
    const struct lm_settings *settings = session->settings;
    session->loss = lm_loss_find(settings->loss);
    session->optimizer = lm_optimizer_find(settings->training.optimizer);
    session->rule = rule_of(settings);
    session->backprop = lm_rule_find("backprop", settings->inference.state);
    session->batch = (size_t)settings->training.batch;
    session->network = lm_network_create(&settings->network, status);
    return session->network && lm_session_placement(&session->placement, session->file,
                                                    session->network, lm_comm_size(), status);
}

/* Share the node's processors by what a training step costs the ranks, in operations per input.
 */
static void gather_crowd(const struct lm_session *session) {
    int n = session->network->n_layers, ranks = lm_comm_size();
    double *cost = lm_allocate((size_t)n, sizeof *cost), sum = 0;
    double *exchange = lm_allocate((size_t)ranks, sizeof *exchange);
    struct lm_workload workload =
        lm_session_workload(session->settings, session->network, cost);
    for (int l = 0; l < n; l++)
        sum += lm_placement_holds(&session->placement, lm_comm_rank(), l) ? cost[l] : 0;
    for (int r = 0; r < ranks; r++)
        exchange[r] = LM_FLOPS_PER_BYTE *
                      lm_estimate_exchange(&workload, &session->placement, lm_comm_rank(), r);
    lm_crowd_gather(session->threads, sum, exchange);
    lm_free(cost);
    lm_free(exchange);
}

static void make_cortex(struct lm_session *session) {
    const struct lm_settings *settings = session->settings;
    struct lm_cortex_plan plan = {.network = session->network,
                                  .placement = &session->placement,
                                  .rank = lm_comm_rank(),
                                  .optimizer = session->optimizer,
                                  .batch = session->batch,
                                  .chunk = lm_settings_chunk(settings),
                                  .threads = session->threads};
    session->cortex = lm_cortex_create(&plan);
    session->energy =
        lm_allocate(lm_product((size_t)lm_cortex_layers(session->cortex),
                               (session->batch + lm_settings_chunk(settings) - 1) /
                                   lm_settings_chunk(settings)),
                    sizeof *session->energy);
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++)
        lm_layer_init_parameters(lm_cortex_layer(session->cortex, i), settings->training.seed);
}

bool lm_session_init(struct lm_session *session, const struct lm_options *options,
                     struct lm_status *status) {
    *session = (struct lm_session){.options = options};
    if (!find_checkpoint(session, status) ||
        !lm_comm_agree(read_settings(session, status), status) ||
        !lm_data_make(session, status))
        return false;
    lm_blas_start();
    session->threads = lm_threads_start(options->threads, lm_comm_node_ranks());
    gather_crowd(session);
    make_cortex(session);
    return true;
}

/* Ranks of a killed run may outlive it for this long. */
static const double PATIENCE = 10; /* seconds */

bool lm_session_lock(struct lm_session *session, const char *output, struct lm_status *status) {
    bool first = lm_comm_rank() == 0;
    if (first)
        session->lock = lm_lock_take(output, PATIENCE, status);
    bool good = !first || (session->lock && lm_lock_share(session->lock, status));
    if (lm_comm_agree(good, status)) {
        if (!first)
            session->lock = lm_lock_join(output, status);
        if (lm_comm_agree(session->lock != NULL, status))
            return true;
    }
    lm_lock_release(session->lock, false);
    session->lock = NULL;
    return false;
}

static void unlock(struct lm_session *session) {
    if (!session->lock)
        return;
    if (lm_comm_rank() != 0)
        lm_lock_release(session->lock, false);
    lm_comm_barrier();
    if (lm_comm_rank() == 0)
        lm_lock_release(session->lock, true);
}

void lm_session_clear(struct lm_session *session) {
    unlock(session);
    lm_cortex_destroy(session->cortex);
    lm_free(session->energy);
    lm_sampler_destroy(session->train_sampler);
    lm_sampler_destroy(session->test_sampler);
    lm_dataset_clear(&session->train);
    lm_dataset_clear(&session->test);
    lm_placement_clear(&session->placement);
    lm_network_destroy(session->network);
    lm_settings_destroy(session->file);
    lm_free(session->checkpoint);
    *session = (struct lm_session){0};
}

/* --- passes over a batch ---------------------------------------------------------------- */

struct lm_inference lm_session_inference(const struct lm_session *session, double eta,
                                         size_t batch) {
    return (struct lm_inference){
        .loss = session->loss,
        .batch = (double)batch,
        .step = (real)eta,
        .presynaptic_value = strcmp(session->settings->inference.presynaptic, "value") == 0};
}

bool lm_session_compares(const struct lm_session *session, long step) {
    const struct lm_settings *settings = session->settings;
    return settings->record.gradients && (step + 1) % settings->record.gradients_every == 0;
}

/* --- records ---------------------------------------------------------------------------- */

bool lm_session_leads(const struct lm_session *session) {
    return lm_cortex_replica(session->cortex) == 0;
}

bool lm_session_leads_output(const struct lm_session *session) {
    return lm_session_leads(session) && lm_cortex_has_output(session->cortex);
}

void lm_session_outcome(const struct lm_session *session, double *losses, int *predictions,
                        int *labels) {
    lm_traffic_open(LM_PHASE_RECORD);
    lm_cortex_outcome(session->cortex, session->loss, losses, predictions, labels);
    lm_traffic_close();
}

void lm_session_score(const struct lm_session *session, double *loss, double *accuracy) {
    *loss = *accuracy = NAN;
    if (!lm_cortex_has_output(session->cortex))
        return;
    double *losses = lm_allocate(session->batch, sizeof *losses), sum = 0;
    int *predictions = lm_allocate(session->batch, sizeof *predictions);
    int *labels = lm_allocate(session->batch, sizeof *labels), right = 0;
    lm_session_outcome(session, losses, predictions, labels);
    for (size_t i = 0; i < session->batch; i++) {
        sum += losses[i];
        right += predictions[i] == labels[i];
    }
    if (lm_session_leads(session)) {
        *loss = sum / (double)session->batch;
        *accuracy = (double)right / (double)session->batch;
    }
    lm_free(losses);
    lm_free(predictions);
    lm_free(labels);
}

/* Sum of the losses of chunk c at the output layer's last prediction. */
static double prediction_loss(const struct lm_session *session, const struct lm_layer *layer,
                              int c) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    double *losses = lm_allocate(chunk->count, sizeof *losses), sum = 0;
    session->loss->value(layer->plan->units, chunk->width, chunk->count, chunk->prediction,
                         chunk->label, losses);
    for (size_t b = 0; b < chunk->count; b++)
        sum += losses[b];
    lm_free(losses);
    return sum;
}

/* The energies of a layer, chunk by chunk of the batch. */
static double *energies_of(const struct lm_session *session, int i) {
    return session->energy + (size_t)i * (size_t)lm_cortex_all_chunks(session->cortex);
}

void lm_session_keep_energies(const struct lm_session *session, int c) {
    const struct lm_cortex *cortex = session->cortex;
    size_t chunk = lm_cortex_first(cortex, c) / lm_settings_chunk(session->settings);
    for (int i = 0; i < lm_cortex_layers(cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        energies_of(session, i)[chunk] =
            layer->is_output ? prediction_loss(session, layer, c) / (double)session->batch
                             : lm_layer_energy(layer, c);
    }
}

double lm_session_energy(const struct lm_session *session, int i) {
    double *energy = energies_of(session, i), sum = 0;
    lm_traffic_open(LM_PHASE_RECORD);
    lm_cortex_gather_chunks(session->cortex, energy, sizeof *energy);
    lm_traffic_close();
    for (int c = 0; c < lm_cortex_all_chunks(session->cortex); c++)
        sum += energy[c];
    return sum;
}

void lm_session_magnitudes(const struct lm_session *session, const struct lm_layer *layer,
                           double *magnitude) {
    for (int c = 0; c < lm_cortex_chunks(session->cortex); c++)
        lm_layer_magnitudes(layer, c, magnitude + lm_cortex_first(session->cortex, c));
    lm_traffic_open(LM_PHASE_RECORD);
    lm_cortex_gather_inputs(session->cortex, magnitude, sizeof *magnitude);
    lm_traffic_close();
}

void lm_session_check_finite(const struct lm_session *session, long step, const char *last) {
    if (!lm_session_leads(session)) /* the others have the same updates */
        return;
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        if (!lm_all_finite(layer->plan->map.parameters, layer->gradient))
            lm_abort(LM_DIVERGED,
                     "the update of layer %s is not finite at training step %ld: inference "
                     "diverged; take a smaller inference.step or training.rate%s%s",
                     layer->plan->name, step, last ? "; " : "", last ? last : "");
    }
}

void lm_session_check_parameters(const struct lm_session *session, long steps) {
    for (int i = 0; lm_session_leads(session) && i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        if (!lm_all_finite(layer->plan->map.parameters, layer->parameters))
            lm_abort(LM_DIVERGED,
                     "the parameters of layer %s are not finite after %ld training steps; take "
                     "a smaller training.rate",
                     layer->plan->name, steps);
    }
}

/* --- the run of a subcommand -------------------------------------------------------------- */

int lm_session_run(int argc, char **argv, int takes, const struct lm_command *command,
                   const char *details,
                   bool (*work)(struct lm_session *session, struct lm_status *status)) {
    struct lm_options options;
    struct lm_session session;
    struct lm_status status = {.code = LM_OK};
    lm_comm_start();
    lm_traffic_on_short_write(lm_store_alarm);
    lm_comm_finish_at_exit();
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large is one that cannot be written */
    lm_options_read(&options, argc, argv, takes, lm_comm_rank() == 0, command, details);
    bool good = lm_session_init(&session, &options, &status) && work(&session, &status);
    if (!good && lm_comm_rank() == 0)
        fprintf(stderr, "lamina: %s\n", status.message);
    lm_session_clear(&session);
    lm_options_clear(&options);
    lm_comm_done();
    return good ? LM_OK : (int)status.code;
}
