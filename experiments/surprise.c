/* lamina surprise: the error magnitudes of a trained network for every input of a data set,
 * under the true label, the network's own guess and a wrong label (Figs 6 and 7 of Rosenbaum
 * 2022, in numbers). The rank of the output layer alone knows the labels and what is guessed;
 * every rank measures its own layers. */
#include "audit.h"
#include "batch.h"
#include "comm.h"
#include "memory.h"
#include "output.h"
#include "random.h"
#include "session.h"
#include "surprise_file.h"

#include <stdio.h>
#include <string.h>

enum imposed { IMPOSED_TRUE, IMPOSED_GUESS, IMPOSED_WRONG, IMPOSED };

static const char *const imposed_names[IMPOSED] = {"true", "guess", "wrong"};

struct surprise {
    struct lm_session *session;
    struct lm_surprise_file *file;
    struct lm_inference inference; /* under the loss of one input */
    int n_imposed;
    enum imposed imposed[IMPOSED]; /* (n_imposed) ascending */
    const char *names[IMPOSED];    /* (n_imposed) */
    /* The batch at work, each (training.batch). */
    size_t first, n;
    uint32_t *index;
    int *label, *guess, *now; /* true, guessed, imposed now; where the output layer is */
    double *values;
    int64_t *integers;
};

/* --- the command line -------------------------------------------------------------------- */

/* The kinds of labels in a list such as "true,wrong". */
static bool choose_imposed(struct surprise *surprise, struct lm_status *status) {
    const char *list = surprise->session->options->labels;
    bool chosen[IMPOSED] = {false};
    for (const char *word = list ? list : "true,guess,wrong"; word;) {
        size_t length = strcspn(word, ",");
        int kind = 0;
        while (kind < IMPOSED && (strlen(imposed_names[kind]) != length ||
                                  strncmp(word, imposed_names[kind], length) != 0))
            kind++;
        if (kind == IMPOSED || chosen[kind])
            return lm_fail(status, LM_USAGE,
                           "--labels is '%s': true, guess and wrong are expected, each once at "
                           "most, with commas between them",
                           list);
        chosen[kind] = true;
        word = word[length] ? word + length + 1 : NULL;
    }
    for (int kind = 0; kind < IMPOSED; kind++)
        if (chosen[kind]) {
            surprise->names[surprise->n_imposed] = imposed_names[kind];
            surprise->imposed[surprise->n_imposed++] = (enum imposed)kind;
        }
    return true;
}

static size_t classes(const struct lm_session *session) {
    return session->network->layers[session->network->n_layers - 1].units;
}

static bool check_classes(const struct surprise *surprise, struct lm_status *status) {
    if (surprise->imposed[surprise->n_imposed - 1] != IMPOSED_WRONG ||
        classes(surprise->session) >= 3)
        return true;
    return lm_fail(status, LM_USAGE,
                   "--labels wrong: a label that is neither the true one nor the guess takes 3 "
                   "classes, the network has %zu",
                   classes(surprise->session));
}

/* --- labels ------------------------------------------------------------------------------- */

/* Uniform over the labels that are neither the true one nor the guess; a function of the seed
 * and of the input's position in its data set. */
static int wrong_label(const struct lm_session *session, uint32_t index, int label, int guess) {
    int low = label < guess ? label : guess, high = label < guess ? guess : label;
    int rest = (int)classes(session) - (low == high ? 1 : 2);
    double uniform =
        lm_random_uniform(session->settings->training.seed, LM_STREAM_LABEL, index, 0);
    int wrong = (int)(uniform * rest);
    wrong += wrong >= low;
    wrong += low != high && wrong >= high;
    return wrong;
}

static int imposed_label(const struct surprise *surprise, enum imposed kind, size_t i) {
    switch (kind) {
    case IMPOSED_TRUE:
        return surprise->label[i];
    case IMPOSED_GUESS:
        return surprise->guess[i];
    default:
        return wrong_label(surprise->session, surprise->index[i], surprise->label[i],
                           surprise->guess[i]);
    }
}

/* --- one batch ------------------------------------------------------------------------------
 */

/* The first replica has all of the batch. Writes are independent; what fails here is returned
 * by the next collective call. */
static void write(struct surprise *surprise, enum lm_surprise_field field, int imposed,
                  int layer, const void *values) {
    struct lm_status ignored;
    if (!lm_session_leads(surprise->session))
        return;
    struct lm_surprise_part part = {field, imposed, layer, surprise->first, surprise->n};
    lm_surprise_file_write(surprise->file, &part, values, &ignored);
}

static void write_integers(struct surprise *surprise, enum lm_surprise_field field, int imposed,
                           const int *values) {
    for (size_t i = 0; i < surprise->n; i++)
        surprise->integers[i] = values[i];
    write(surprise, field, imposed, 0, surprise->integers);
}

/* The largest softmax probability of every input, into values (batch). Replicas. */
static void fill_confidence(struct surprise *surprise, const struct lm_layer *output) {
    struct lm_cortex *cortex = surprise->session->cortex;
    for (int c = 0; c < lm_cortex_chunks(cortex); c++) {
        const struct lm_layer_chunk *chunk = &output->chunks[c];
        lm_loss_confidence(output->plan->units, chunk->width, chunk->count, chunk->forward,
                           surprise->values + lm_cortex_first(cortex, c));
    }
    lm_traffic_open(LM_PHASE_RECORD);
    lm_cortex_gather_inputs(cortex, surprise->values, sizeof *surprise->values);
    lm_traffic_close();
}

/* What the output layer says of the batch before any inference. */
static void record_outcome(struct surprise *surprise) {
    struct lm_session *session = surprise->session;
    if (!lm_cortex_has_output(session->cortex))
        return;
    lm_session_outcome(session, NULL, surprise->guess, surprise->label);
    fill_confidence(surprise, lm_cortex_find(session->cortex, session->network->n_layers - 1));
    write(surprise, LM_SURPRISE_CONFIDENCE, 0, 0, surprise->values);
    write_integers(surprise, LM_SURPRISE_LABEL, 0, surprise->label);
    write_integers(surprise, LM_SURPRISE_PREDICTION, 0, surprise->guess);
    for (size_t i = 0; i < surprise->n; i++)
        surprise->integers[i] = surprise->index[i];
    write(surprise, LM_SURPRISE_INDEX, 0, 0, surprise->integers);
    for (size_t i = 0; i < surprise->n; i++)
        surprise->integers[i] = surprise->label[i] == surprise->guess[i];
    write(surprise, LM_SURPRISE_CORRECT, 0, 0, surprise->integers);
}

/* Put labels number k on the output layer, and record them and the loss under them. */
static void impose(struct surprise *surprise, int k) {
    struct lm_cortex *cortex = surprise->session->cortex;
    if (!lm_cortex_has_output(cortex))
        return;
    for (int c = 0; c < lm_cortex_chunks(cortex); c++) {
        size_t first = lm_cortex_first(cortex, c);
        for (size_t b = 0; b < lm_cortex_count(cortex, c); b++)
            lm_cortex_label(cortex, c)[b] =
                imposed_label(surprise, surprise->imposed[k], first + b);
    }
    lm_session_outcome(surprise->session, surprise->values, NULL, surprise->now);
    write_integers(surprise, LM_SURPRISE_IMPOSED_LABEL, k, surprise->now);
    write(surprise, LM_SURPRISE_LOSS, k, 0, surprise->values);
}

static void measure_batch(struct surprise *surprise) {
    struct lm_session *session = surprise->session;
    for (size_t i = 0; i < surprise->n; i++)
        surprise->index[i] = (uint32_t)(surprise->first + i);
    lm_batch_take(session, &session->test, surprise->index, surprise->n);
    lm_batch_forward(session, LM_PHASE_EVALUATE);
    record_outcome(surprise);
    for (int k = 0; k < surprise->n_imposed; k++) {
        impose(surprise, k);
        lm_batch_infer(session, session->rule, &surprise->inference,
                       session->settings->inference.steps, LM_PHASE_EVALUATE);
        for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
            const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
            lm_session_magnitudes(session, layer, surprise->values);
            write(surprise, LM_SURPRISE_MAGNITUDE, k, layer->index, surprise->values);
        }
    }
}

/* --- the command ----------------------------------------------------------------------------
 */

static void measure(struct surprise *surprise) {
    struct lm_session *session = surprise->session;
    surprise->inference = lm_session_inference(session, session->settings->inference.step, 1);
    surprise->index = lm_allocate(session->batch, sizeof *surprise->index);
    surprise->label = lm_allocate(session->batch, sizeof *surprise->label);
    surprise->guess = lm_allocate(session->batch, sizeof *surprise->guess);
    surprise->now = lm_allocate(session->batch, sizeof *surprise->now);
    surprise->values = lm_allocate(session->batch, sizeof *surprise->values);
    surprise->integers = lm_allocate(session->batch, sizeof *surprise->integers);
    for (size_t left = session->test.n; left > 0; left -= surprise->n) {
        surprise->first = session->test.n - left;
        surprise->n = left < session->batch ? left : session->batch;
        measure_batch(surprise);
    }
    lm_free(surprise->index);
    lm_free(surprise->label);
    lm_free(surprise->guess);
    lm_free(surprise->now);
    lm_free(surprise->values);
    lm_free(surprise->integers);
}

static struct lm_surprise_file *create_file(const struct surprise *surprise, long steps,
                                            struct lm_status *status) {
    const struct lm_session *session = surprise->session;
    char *trained = lm_meta_trained(session->checkpoint, status);
    if (!trained)
        return NULL;
    const struct lm_run_text texts[] = {{"checkpoint", session->checkpoint},
                                        {"checkpoint_settings", trained},
                                        {"data", session->test.source},
                                        {"split", session->options->split}};
    const struct lm_surprise_plan plan = {.n_imposed = surprise->n_imposed,
                                          .imposed = surprise->names,
                                          .n_inputs = (int64_t)session->test.n,
                                          .steps_done = steps};
    struct lm_peers peers = lm_meta_peers();
    struct lm_run_meta *meta = lm_meta_create(session);
    meta->n_texts = sizeof texts / sizeof *texts;
    meta->texts = texts;
    struct lm_surprise_file *file =
        lm_surprise_file_create(session->options->output, &peers, meta, &plan, status);
    lm_meta_destroy(meta);
    lm_free(trained);
    return file;
}

static bool finish(struct surprise *surprise, struct lm_status *status) {
    const struct lm_options *options = surprise->session->options;
    struct lm_run_traffic traffic = lm_audit_traffic(false);
    bool good = lm_audit_check_neighbours(surprise->session, status) &&
                lm_surprise_file_write_traffic(surprise->file, &traffic, status);
    lm_audit_clear(&traffic);
    if (!good) {
        lm_surprise_file_abandon(surprise->file);
        return false;
    }
    good = lm_surprise_file_finish(surprise->file, status);
    if (good && lm_comm_rank() == 0 && !options->quiet)
        printf("%s\n", options->output);
    return good;
}

static bool work(struct lm_session *session, struct lm_status *status) {
    struct surprise surprise = {.session = session};
    long steps;
    if (!choose_imposed(&surprise, status) || !check_classes(&surprise, status) ||
        !lm_output_may_write(session, false, status) ||
        !lm_comm_agree(lm_output_restore(session, session->checkpoint, &steps, status), status))
        return false;
    surprise.file = create_file(&surprise, steps, status);
    if (!surprise.file)
        return false;
    measure(&surprise);
    return finish(&surprise, status);
}

static int run(int argc, char **argv) {
    return lm_session_run(
        argc, argv, LM_TAKES_NETWORK | LM_TAKES_OUTPUT | LM_TAKES_RUN, &lm_surprise_command,
        "NETWORK.h5 is a checkpoint, or the file of a run whose newest checkpoint is beside "
        "it. "
        "Rule, step size and steps of inference are those it was trained with, unless changed "
        "by "
        "--set. Each input is inferred under the loss of itself alone with its true label, "
        "with "
        "the network's own guess, and with a wrong label, drawn (from training.seed and the "
        "input's position) among those that are neither. Magnitudes that overflow are recorded "
        "as infinite or NaN.",
        work);
}

const struct lm_command lm_surprise_command = {
    "surprise", "Measure the errors of a trained network under imposed labels.", run};
