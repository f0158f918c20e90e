/* lamina gradients: parameter updates against the number of inference steps (Figs 2 and 4 of
 * Rosenbaum 2022): train a network, then compare the update after every step of inference on
 * one batch with the exact gradient, for several step sizes. */
#include "audit.h"
#include "batch.h"
#include "comm.h"
#include "divergence.h"
#include "gradient_file.h"
#include "memory.h"
#include "output.h"
#include "progress.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

/* --- the network that is measured ------------------------------------------------------- */

static void train_network(struct lm_session *session) {
    const struct lm_settings *settings = session->settings;
    const struct lm_rule *rule =
        lm_rule_find(settings->gradients.train, settings->inference.state);
    struct lm_inference inference =
        lm_session_inference(session, settings->inference.step, session->batch);
    bool shows = lm_session_leads_output(session) && !session->options->quiet;
    struct lm_progress *progress =
        lm_progress_create(!shows                  ? LM_PROGRESS_QUIET
                           : lm_comm_on_terminal() ? LM_PROGRESS_BAR
                                                   : LM_PROGRESS_LINES,
                           "training", 0, session->steps);
    for (long step = 0; step < session->steps; step++) {
        double loss, accuracy;
        lm_batch_take(session, &session->train, lm_sampler_batch(session->train_sampler, step),
                      session->batch);
        lm_batch_train(session, rule, &inference, settings->inference.steps,
                       &(struct lm_batch_extras){0});
        lm_session_score(session, &loss, &accuracy);
        lm_session_check_finite(session, step, "nothing was written");
        lm_cortex_update(session->cortex, step + 1, settings->training.rate,
                         settings->training.momentum);
        lm_progress_step(progress, step, loss, accuracy);
    }
    lm_session_check_parameters(session, session->steps);
    lm_progress_destroy(progress);
}

/* Take the network of --from, if there is one; `steps` are the training steps behind it. */
static bool restore_network(struct lm_session *session, long *steps, struct lm_status *status) {
    const char *from = session->options->from;
    *steps = 0;
    return !from || lm_comm_agree(lm_output_restore(session, from, steps, status), status);
}

/* Train it, unless it was restored or shall stay as initialised. */
static void get_network(struct lm_session *session, long *steps) {
    if (session->options->from || strcmp(session->settings->gradients.train, "none") == 0)
        return;
    train_network(session);
    *steps = session->steps;
}

/* --- the measurement ------------------------------------------------------------------------
 */

struct measurement {
    struct lm_session *session;
    struct lm_gradient_file *file;
    double *curves; /* (LM_GRADIENT_CURVES, layers of this rank, iterations) */
};

static double *curve(const struct measurement *measurement, enum lm_gradient_curve which,
                     int i) {
    size_t n = (size_t)measurement->session->settings->gradients.steps;
    size_t layers = (size_t)lm_cortex_layers(measurement->session->cortex);
    return measurement->curves + ((size_t)which * layers + (size_t)i) * n;
}

static void measure_iteration(struct measurement *measurement, long iteration) {
    struct lm_cortex *cortex = measurement->session->cortex;
    for (int i = 0; i < lm_cortex_layers(cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(cortex, i);
        struct lm_divergence divergence =
            lm_divergence_measure(&layer->plan->map, layer->gradient, layer->exact);
        curve(measurement, LM_GRADIENT_RELATIVE_ERROR, i)[iteration] =
            divergence.relative_error;
        curve(measurement, LM_GRADIENT_ANGLE, i)[iteration] = divergence.angle;
        curve(measurement, LM_GRADIENT_ENERGY, i)[iteration] =
            lm_session_energy(measurement->session, i);
    }
}

/* Writes are independent; what fails here is returned by the next collective call. */
static void write_step_size(struct measurement *measurement, int s) {
    struct lm_session *session = measurement->session;
    struct lm_status ignored;
    for (int i = 0; lm_session_leads(session) && i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        for (int which = 0; which < LM_GRADIENT_CURVES; which++)
            lm_gradient_file_write(
                measurement->file, (enum lm_gradient_curve)which, s, layer->index,
                curve(measurement, (enum lm_gradient_curve)which, i), &ignored);
        if (session->settings->gradients.updates)
            lm_gradient_file_write_update(measurement->file, s, layer->index, layer->gradient,
                                          &ignored);
    }
}

static void measure_step_size(struct measurement *measurement, int s) {
    struct lm_session *session = measurement->session;
    const struct lm_settings *settings = session->settings;
    struct lm_inference inference =
        lm_session_inference(session, settings->gradients.step[s], session->batch);
    for (long i = 0; i < settings->gradients.steps; i++) {
        lm_batch_step(session, &inference, i == 0);
        measure_iteration(measurement, i);
    }
    write_step_size(measurement, s);
}

static void write_exact(struct measurement *measurement) {
    struct lm_cortex *cortex = measurement->session->cortex;
    struct lm_status ignored;
    for (int i = 0; lm_session_leads(measurement->session) && i < lm_cortex_layers(cortex);
         i++) {
        const struct lm_layer *layer = lm_cortex_layer(cortex, i);
        lm_gradient_file_write_parameters(measurement->file, layer->index, layer->parameters,
                                          &ignored);
        lm_gradient_file_write_update(measurement->file, LM_EXACT_UPDATE, layer->index,
                                      layer->exact, &ignored);
    }
}

/* One batch, the one that would be trained with next, the same for all step sizes. */
static void measure(struct measurement *measurement, long trained) {
    struct lm_session *session = measurement->session;
    const struct lm_settings *settings = session->settings;
    lm_batch_take(session, &session->train, lm_sampler_batch(session->train_sampler, trained),
                  session->batch);
    lm_batch_exact(session);
    if (settings->gradients.updates)
        write_exact(measurement);
    for (int s = 0; s < settings->gradients.n_step; s++) {
        if (lm_comm_rank() == 0 && !session->options->quiet)
            fprintf(stderr, "%s, step size %g, %ld steps\n", session->rule->name,
                    settings->gradients.step[s], settings->gradients.steps);
        measure_step_size(measurement, s);
    }
}

static struct lm_gradient_file *create_file(struct lm_session *session,
                                            struct lm_status *status) {
    const struct lm_settings *settings = session->settings;
    const struct lm_gradient_plan plan = {.n_step_sizes = settings->gradients.n_step,
                                          .step_sizes = settings->gradients.step,
                                          .n_iterations = settings->gradients.steps,
                                          .updates = settings->gradients.updates};
    const char *from = session->options->from;
    char *trained = from ? lm_meta_trained(from, status) : NULL;
    if (from && !trained)
        return NULL;
    const struct lm_run_text texts[] = {{"checkpoint", from}, {"checkpoint_settings", trained}};
    struct lm_peers peers = lm_meta_peers();
    struct lm_run_meta *meta = lm_meta_create(session);
    meta->n_texts = from ? sizeof texts / sizeof *texts : 0;
    meta->texts = texts;
    struct lm_gradient_file *file =
        lm_gradient_file_create(session->options->output, &peers, meta, &plan, status);
    lm_meta_destroy(meta);
    lm_free(trained);
    return file;
}

/* The traffic of training and measurement, all of it between neighbours. */
static bool finish(struct measurement *measurement, struct lm_status *status) {
    struct lm_run_traffic traffic = lm_audit_traffic(false);
    bool good = lm_audit_check_neighbours(measurement->session, status) &&
                lm_gradient_file_write_traffic(measurement->file, &traffic, status);
    lm_audit_clear(&traffic);
    if (good)
        return lm_gradient_file_finish(measurement->file, status);
    lm_gradient_file_abandon(measurement->file);
    return false;
}

static bool work(struct lm_session *session, struct lm_status *status) {
    long trained;
    if (!lm_output_may_write(session, false, status) ||
        !restore_network(session, &trained, status))
        return false;
    struct measurement measurement = {session, create_file(session, status), NULL};
    if (!measurement.file)
        return false;
    get_network(session, &trained);
    size_t layers = (size_t)lm_cortex_layers(session->cortex);
    size_t iterations = (size_t)session->settings->gradients.steps;
    measurement.curves =
        lm_allocate(lm_product(LM_GRADIENT_CURVES * layers, iterations), sizeof(double));
    measure(&measurement, trained);
    lm_free(measurement.curves);
    return finish(&measurement, status);
}

static int run(int argc, char **argv) {
    return lm_session_run(
        argc, argv, LM_TAKES_OUTPUT | LM_TAKES_FROM | LM_TAKES_RUN, &lm_gradients_command,
        "The network is trained by the rule gradients.train (none: not at all) for "
        "the steps of `training`, or comes from a checkpoint of `lamina train` (--from). "
        "Updates that overflow are recorded as NaN.",
        work);
}

const struct lm_command lm_gradients_command = {
    "gradients", "Measure parameter updates against the steps of inference.", run};
