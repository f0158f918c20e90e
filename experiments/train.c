/* lamina train: train a network, record curves and errors, write checkpoints. */
#include "batch.h"
#include "comm.h"
#include "divergence.h"
#include "memory.h"
#include "output.h"
#include "progress.h"
#include "session.h"
#include "stop.h"

#include <stdio.h>
#include <string.h>

enum { FLUSH_STEPS = 50 };

struct training {
    struct lm_session *session;
    struct lm_output *output;
    struct lm_records *records;
    struct lm_progress *progress;
    long first; /* steps done when this run started */
};

/* --- one training step ------------------------------------------------------------------ */

static void record_value(struct training *training, enum lm_record record, int layer, long step,
                         double value) {
    double *row = lm_records_curve(training->records, record, layer);
    if (row)
        row[step] = value;
}

static void record_layers(struct training *training, long step) {
    struct lm_session *session = training->session;
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        record_value(training, LM_RECORD_ENERGY, layer->index, step,
                     lm_session_energy(session, i));
        if (!lm_session_compares(session, step))
            continue;
        struct lm_divergence divergence =
            lm_divergence_measure(&layer->plan->map, layer->gradient, layer->exact);
        record_value(training, LM_RECORD_RELATIVE_ERROR, layer->index, step,
                     divergence.relative_error);
        record_value(training, LM_RECORD_ANGLE, layer->index, step, divergence.angle);
    }
}

static void record_test(struct training *training, long step) {
    struct lm_session *session = training->session;
    double loss, accuracy;
    lm_batch_take(session, &session->test, lm_sampler_batch(session->test_sampler, step),
                  session->batch);
    lm_batch_predict(session);
    lm_session_score(session, &loss, &accuracy);
    record_value(training, LM_RECORD_TEST_LOSS, 0, step, loss);
    record_value(training, LM_RECORD_TEST_ACCURACY, 0, step, accuracy);
}

static void train_step(struct training *training, long step) {
    struct lm_session *session = training->session;
    const struct lm_settings *settings = session->settings;
    struct lm_inference inference =
        lm_session_inference(session, settings->inference.step, session->batch);
    double loss, accuracy;
    lm_batch_take(session, &session->train, lm_sampler_batch(session->train_sampler, step),
                  session->batch);
    lm_batch_train(
        session, session->rule, &inference, settings->inference.steps,
        &(struct lm_batch_extras){.exact = lm_session_compares(session, step), .energy = true});
    lm_session_score(session, &loss, &accuracy);
    record_value(training, LM_RECORD_LOSS, 0, step, loss);
    record_value(training, LM_RECORD_ACCURACY, 0, step, accuracy);
    record_layers(training, step);
    lm_session_check_finite(session, step, NULL);
    lm_cortex_update(session->cortex, step + 1, settings->training.rate,
                     settings->training.momentum);
    if (settings->record.test_every > 0 && (step + 1) % settings->record.test_every == 0)
        record_test(training, step);
    if (training->progress)
        lm_progress_step(training->progress, step, loss, accuracy);
}

/* --- errors of chosen inputs ----------------------------------------------------------------
 */

/* Loss, label and prediction of n inputs in the cortex, the first of which is number `first`.
 */
static void record_outcome(struct training *training, int k, size_t first, size_t n) {
    struct lm_session *session = training->session;
    if (!lm_cortex_has_output(session->cortex))
        return;
    double *losses = lm_allocate(n, sizeof *losses);
    int *predictions = lm_allocate(n, sizeof *predictions);
    int *labels = lm_allocate(n, sizeof *labels);
    lm_session_outcome(session, losses, predictions, labels);
    struct lm_records *records = training->records;
    for (size_t i = 0; lm_session_leads(session) && i < n; i++) {
        lm_records_errors(records, LM_RECORD_INPUT_LOSS, k, 0)[first + i] = losses[i];
        lm_records_integers(records, LM_RECORD_INDEX, k)[first + i] = (int64_t)(first + i);
        lm_records_integers(records, LM_RECORD_LABEL, k)[first + i] = labels[i];
        lm_records_integers(records, LM_RECORD_PREDICTION, k)[first + i] = predictions[i];
    }
    lm_free(losses);
    lm_free(predictions);
    lm_free(labels);
}

static void record_magnitudes(struct training *training, int k, size_t first, size_t n) {
    struct lm_session *session = training->session;
    double *magnitude = lm_allocate(n, sizeof *magnitude);
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        lm_session_magnitudes(session, layer, magnitude);
        double *row =
            lm_records_errors(training->records, LM_RECORD_MAGNITUDE, k, layer->index);
        if (row)
            memcpy(row + first, magnitude, n * sizeof *row);
    }
    lm_free(magnitude);
}

/* The first inputs of the split, batch by batch, each under the loss of itself alone. */
static void record_errors(struct training *training, int k) {
    struct lm_session *session = training->session;
    const struct lm_settings *settings = session->settings;
    const struct lm_dataset *set =
        strcmp(settings->record.errors.split, "train") == 0 ? &session->train : &session->test;
    size_t total = (size_t)settings->record.errors.inputs;
    struct lm_inference inference = lm_session_inference(session, settings->inference.step, 1);
    uint32_t *index = lm_allocate(session->batch, sizeof *index);
    for (size_t first = 0; first < total; first += session->batch) {
        size_t n = total - first < session->batch ? total - first : session->batch;
        for (size_t i = 0; i < n; i++)
            index[i] = (uint32_t)(first + i);
        lm_batch_take(session, set, index, n);
        lm_batch_forward(session, LM_PHASE_EVALUATE);
        lm_batch_infer(session, session->rule, &inference, settings->inference.steps,
                       LM_PHASE_EVALUATE);
        record_magnitudes(training, k, first, n);
        record_outcome(training, k, first, n);
    }
    lm_free(index);
}

/* --- the loop -------------------------------------------------------------------------------
 */

/* The error record due when `step` steps are done, or -1. */
static int errors_due(const struct training *training, long step) {
    const struct lm_records_plan *plan = lm_records_get_plan(training->records);
    for (int k = 0; k < plan->n_error_steps; k++)
        if (plan->error_steps[k] == step)
            return k;
    return -1;
}

static bool checkpoint_due(const struct training *training, long step, bool last) {
    long every = training->session->settings->checkpoint.every;
    return step > training->first &&
           (last || (every > 0 && (step % every == 0 || step == training->session->steps)));
}

/* What is due between steps, when `step` of them are done; whether a signal makes it the last
 * time. */
static bool between_steps(struct training *training, long step, bool last,
                          struct lm_status *status) {
    int k = step > training->first || step == 0 ? errors_due(training, step) : -1;
    if (k >= 0) {
        record_errors(training, k);
        lm_output_write_errors(training->output, k);
    }
    bool due = checkpoint_due(training, step, last);
    if (due || step == training->session->steps)
        lm_session_check_parameters(training->session, step);
    if (due && !lm_output_checkpoint(training->output, step, status))
        return false;
    if (step % FLUSH_STEPS == 0 || step == training->session->steps || last)
        return lm_output_flush(training->output, step, status);
    return true;
}

static bool stopped(const struct training *training, long step, struct lm_status *status) {
    const char *newest = lm_output_newest(training->output);
    return lm_fail(status, LM_STOPPED, "stopped by %s when %ld steps were done; %s%s",
                   lm_stop_signal(), step,
                   newest ? "--resume goes on from " : "there was nothing to keep yet",
                   newest ? newest : "");
}

static bool train(struct training *training, struct lm_status *status) {
    for (long step = training->first; step < training->session->steps; step++) {
        bool last = lm_stop_agreed();
        if (!between_steps(training, step, last, status))
            return false;
        if (last)
            return stopped(training, step, status);
        train_step(training, step);
    }
    return between_steps(training, training->session->steps, false, status);
}

/* Only the rank of the output layer knows the loss, so it shows the progress. */
static struct lm_progress *make_progress(const struct training *training) {
    const struct lm_session *session = training->session;
    if (!lm_session_leads_output(session) || session->options->quiet)
        return NULL;
    return lm_progress_create(lm_comm_on_terminal() ? LM_PROGRESS_BAR : LM_PROGRESS_LINES,
                              session->rule->name, training->first, session->steps);
}

static bool work(struct lm_session *session, struct lm_status *status) {
    struct training training = {.session = session};
    training.output = lm_output_create(session, &training.first, status);
    if (!training.output) {
        lm_stop_finish();
        return false;
    }
    training.records = lm_output_records(training.output);
    bool good = true;
    if (training.records) {
        training.progress = make_progress(&training);
        good = train(&training, status);
        lm_progress_destroy(training.progress);
        good = good && lm_output_finish(training.output, status);
    }
    lm_output_destroy(training.output);
    lm_stop_finish();
    return good;
}

static int run(int argc, char **argv) {
    lm_stop_start(); /* whoever asks early shall be heard too */
    return lm_session_run(
        argc, argv, LM_TAKES_OUTPUT | LM_TAKES_RESUME | LM_TAKES_RUN, &lm_train_command,
        "Curves, errors and traffic go to FILE, checkpoints to files beside it "
        "(FILE without .h5, then .checkpoint-STEP.h5). While it runs, FILE is "
        "called FILE.partial. SIGUSR1, SIGTERM and SIGINT end it after a step or two with a "
        "checkpoint; a second signal ends it at once.",
        work);
}

const struct lm_command lm_train_command = {
    "train", "Train a network and record curves, gradients and errors.", run};
