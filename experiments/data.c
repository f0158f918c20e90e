#include "data.h"

#include "comm.h"
#include "memory.h"
#include "random.h"

#include <string.h>

enum { MOST_STEPS = 1000000000 }; /* each has a place in memory and in the run file */

static bool check_shape(const struct lm_session *session, const struct lm_dataset *set,
                        struct lm_status *status) {
    char have[LM_SHAPE_TEXT], want[LM_SHAPE_TEXT];
    const struct lm_shape *input = &session->network->input;
    if (lm_shape_equal(&set->shape, input) ||
        (input->rank == 1 && lm_shape_units(&set->shape) == input->extent[0]))
        return true;
    lm_fail(status, session->checkpoint ? LM_DATA : LM_CONFIG,
            "the network's input has shape %s, the inputs of %s have %s",
            lm_shape_text(input, want), set->source, lm_shape_text(&set->shape, have));
    return !session->checkpoint && lm_settings_blame(session->file, "network.input", status);
}

static enum lm_split asked_split(const struct lm_options *options) {
    return strcmp(options->split, "train") == 0 ? LM_TRAIN : LM_TEST;
}

static bool read_split(const struct lm_session *session, struct lm_dataset *set,
                       enum lm_split split, int want, struct lm_status *status) {
    const struct lm_settings *settings = session->settings;
    const char *path = session->options->data;
    size_t classes = session->network->layers[session->network->n_layers - 1].units;
    return lm_dataset_read(set, settings->data.format, path ? path : settings->data.path, split,
                           want, classes, status) &&
           check_shape(session, set, status);
}

/* What this rank uses of the data: without input or output layer nothing. Labels tell which
 * data the images are of. */
static int wanted_data(const struct lm_session *session) {
    const struct lm_network *network = session->network;
    int want = 0;
    for (int l = 0; l < network->n_layers; l++)
        for (int k = 0; k < network->layers[l].n_parents; k++)
            if (network->layers[l].parents[k] == LM_INPUT &&
                lm_placement_holds(&session->placement, lm_comm_rank(), l))
                want |= LM_WANT_IMAGES | LM_WANT_LABELS;
    if (lm_placement_holds(&session->placement, lm_comm_rank(), network->n_layers - 1))
        want |= LM_WANT_LABELS;
    return want;
}

static bool read_data(struct lm_session *session, struct lm_status *status) {
    int want = wanted_data(session);
    struct lm_dataset *sets[] = {&session->train, &session->test};
    if (session->checkpoint)
        return read_split(session, &session->test, asked_split(session->options), want, status);
    for (int split = LM_TRAIN; split <= LM_TEST; split++)
        if (!read_split(session, sets[split], (enum lm_split)split, want, status))
            return false;
    return true;
}

/* Two batches of noise, of the shape of the network's input, as both splits. */
static void make_up_data(struct lm_session *session) {
    const struct lm_network *network = session->network;
    size_t classes = network->layers[network->n_layers - 1].units, n = 2 * session->batch;
    size_t units = lm_shape_units(&network->input);
    uint64_t seed = session->settings->training.seed;
    struct lm_dataset *sets[] = {&session->train, &session->test};
    for (int split = LM_TRAIN; split <= LM_TEST; split++) {
        struct lm_dataset *set = sets[split];
        *set = (struct lm_dataset){.source = lm_copy_string("made-up inputs"),
                                   .n = n,
                                   .shape = network->input,
                                   .images = lm_allocate(lm_product(n, units), 1),
                                   .labels = lm_allocate(n, 1)};
        for (size_t i = 0; i < n; i++) {
            for (size_t u = 0; u < units; u++)
                set->images[i * units + u] =
                    (uint8_t)(256 * lm_random_uniform(seed, LM_STREAM_MADE_UP, i, (uint64_t)u));
            set->labels[i] =
                (uint8_t)((double)(classes < 256 ? classes : 256) *
                          lm_random_uniform(seed, LM_STREAM_MADE_UP, i, (uint64_t)units));
        }
    }
}

static bool read_or_make_up(struct lm_session *session, struct lm_status *status) {
    if (!session->options->synthetic && !session->options->operators)
        return read_data(session, status);
    make_up_data(session);
    return true;
}

static bool make_samplers(struct lm_session *session, struct lm_status *status) {
    const struct lm_settings *settings = session->settings;
    if (session->checkpoint)
        return true;
    session->train_sampler = lm_sampler_create(settings->training.seed, LM_STREAM_TRAIN,
                                               session->train.n, session->batch, status);
    bool good = session->train_sampler != NULL;
    if (good && settings->record.test_every > 0) {
        session->test_sampler = lm_sampler_create(settings->training.seed, LM_STREAM_TEST,
                                                  session->test.n, session->batch, status);
        good = session->test_sampler != NULL;
    }
    if (!good)
        return lm_settings_blame(session->file, "training.batch", status);
    session->steps = lm_sampler_epoch(session->train_sampler) * settings->training.epochs;
    if (settings->training.steps > 0 && settings->training.steps < session->steps)
        session->steps = settings->training.steps;
    if (session->steps <= MOST_STEPS)
        return true;
    lm_fail(status, LM_CONFIG, "%ld training steps: at most %d are possible", session->steps,
            MOST_STEPS);
    return lm_settings_blame(session->file, "training.epochs", status);
}

/* The first rank that has labels; the last one if none has. */
static int first_with_labels(const struct lm_data_mark *mark) {
    int ranks = lm_comm_size(), first = 0;
    double here = mark->train_labels >= 0 || mark->test_labels >= 0;
    double *all = lm_allocate((size_t)ranks, sizeof *all);
    lm_comm_gather(&here, 1, all);
    while (first + 1 < ranks && all[first] == 0)
        first++;
    lm_free(all);
    return first;
}

/* Hosts may have other data under the same path. */
static bool agree_on_data(struct lm_session *session, struct lm_status *status) {
    struct lm_data_mark mine = lm_data_mark(&session->train, &session->test);
    session->mark = mine;
    lm_comm_broadcast(&session->mark, sizeof session->mark, first_with_labels(&mine));
    bool same = lm_data_mark_same(&mine, &session->mark, status) ||
                lm_fail_prefix(status, "%s: ", session->test.source);
    return lm_comm_agree(same, status);
}

bool lm_data_make(struct lm_session *session, struct lm_status *status) {
    return lm_comm_agree(read_or_make_up(session, status), status) &&
           agree_on_data(session, status) &&
           lm_comm_agree(make_samplers(session, status), status);
}
