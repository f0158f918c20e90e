#include "checkpoint.h"

#include "memory.h"
#include "revision.h"

#include <stdio.h>
#include <string.h>

static const char format[] = LM_CHECKPOINT_FORMAT;

enum { CHECKPOINT_VERSION = 3, PATH_TEXT = 512 };

static const char *layer_path(const struct lm_checkpoint_layer *layer, const char *name,
                              char text[PATH_TEXT]) {
    snprintf(text, PATH_TEXT, "/layers/%s/%s", layer->name, name);
    return text;
}

/* Array a of a layer: its parameters, then its moments. */
static real *array_of(const struct lm_checkpoint_layer *layer, int a, const char **name) {
    *name = a == 0 ? "parameters" : layer->moment_names[a - 1];
    return a == 0 ? layer->parameters : layer->moment[a - 1];
}

static bool make_layer(struct lm_store *store, const struct lm_checkpoint_layer *layer,
                       struct lm_status *status) {
    char path[PATH_TEXT];
    struct lm_field field = {.type = LM_FIELD_REAL,
                             .rank = 1,
                             .extent = {layer->n_parameters},
                             .units = "1",
                             .whole = true};
    for (int a = 0; a <= layer->n_moments; a++) {
        const char *name;
        array_of(layer, a, &name);
        field.path = layer_path(layer, name, path);
        field.long_name = a == 0 ? "weights, then biases" : "state of the optimizer";
        if (!lm_store_make(store, &field, status))
            return false;
    }
    return true;
}

/* Write or read the arrays of a layer that are on this rank. */
static bool move_layer(struct lm_store *store, const struct lm_checkpoint_layer *layer,
                       bool writes, struct lm_status *status) {
    for (int a = 0; a <= layer->n_moments; a++) {
        const char *name;
        real *values = array_of(layer, a, &name);
        char path[PATH_TEXT];
        struct lm_slab slab = {.path = layer_path(layer, name, path), .type = LM_FIELD_REAL};
        slab.count[0] = layer->n_parameters;
        if (values && !(writes ? lm_store_write(store, &slab, values, status)
                               : lm_store_read(store, &slab, values, status)))
            return false;
    }
    return true;
}

static bool make_traffic(struct lm_store *store, const struct lm_checkpoint_traffic *traffic,
                         struct lm_status *status) {
    for (int m = 0; m < LM_MATRICES; m++) {
        struct lm_field field = lm_run_matrix(m, traffic->ranks);
        field.whole = true;
        if (!lm_store_make(store, &field, status))
            return false;
    }
    return lm_store_set_text(store, "/traffic", "placement", traffic->placement, status) &&
           lm_store_set_integer(store, "/traffic", "first_step", traffic->first_step, status);
}

static bool move_traffic(struct lm_store *store, const struct lm_checkpoint_traffic *traffic,
                         bool writes, struct lm_status *status) {
    for (int m = 0; m < LM_MATRICES; m++) {
        struct lm_slab row = {lm_run_matrix(m, traffic->ranks).path, LM_FIELD_INT64, {0}, {1}};
        row.offset[0] = (size_t)traffic->rank;
        row.count[1] = (size_t)traffic->ranks;
        if (!(writes ? lm_store_write(store, &row, traffic->row[m], status)
                     : lm_store_read(store, &row, traffic->row[m], status)))
            return false;
    }
    return true;
}

/* What the mark of the data is kept as. */
enum { MARKS = 4 };
static const char *const mark_names[MARKS] = {"train_inputs", "test_inputs",
                                              "train_labels_crc32", "test_labels_crc32"};

static bool write_mark(struct lm_store *store, const struct lm_data_mark *mark,
                       struct lm_status *status) {
    const int64_t value[MARKS] = {mark->train, mark->test, mark->train_labels,
                                  mark->test_labels};
    bool ok = true;
    for (int i = 0; ok && i < MARKS; i++)
        ok = lm_store_set_integer(store, "/", mark_names[i], value[i], status);
    return ok;
}

static bool check_mark(struct lm_store *store, const struct lm_data_mark *mark,
                       struct lm_status *status) {
    int64_t value[MARKS];
    for (int i = 0; i < MARKS; i++)
        if (!lm_store_get_integer(store, "/", mark_names[i], &value[i], status))
            return false;
    struct lm_data_mark was = {value[0], value[1], value[2], value[3]};
    return lm_data_mark_same(mark, &was, status) ||
           lm_fail_prefix(status, "%s was made with other data: ", lm_store_path(store));
}

/* Whether it was made with the same numbers; and by which build, if that was another. */
static bool check_build(struct lm_store *store, char build[LM_CHECKPOINT_BUILD],
                        struct lm_status *status) {
    char *numbers = lm_store_get_text(store, "/", "real", status);
    char *revision = numbers ? lm_store_get_text(store, "/", "git_revision", status) : NULL;
    char *flags = revision ? lm_store_get_text(store, "/", "flags", status) : NULL;
    bool ok = flags != NULL;
    *build = '\0';
    if (ok && (strcmp(revision, LAMINA_REVISION) != 0 || strcmp(flags, LAMINA_FLAGS) != 0))
        snprintf(build, LM_CHECKPOINT_BUILD, "%s, %s", revision, flags);
    if (ok && strcmp(numbers, LM_REAL_NAME) != 0)
        ok = lm_fail(status, LM_DATA, "%s has numbers in %s: %s is expected",
                     lm_store_path(store), numbers, LM_REAL_NAME);
    lm_free(numbers);
    lm_free(revision);
    lm_free(flags);
    return ok;
}

static bool make_contents(struct lm_store *store, const struct lm_checkpoint *checkpoint,
                          struct lm_status *status) {
    bool ok = lm_store_set_text(store, "/", "format", format, status) &&
              lm_store_set_integer(store, "/", "format_version", CHECKPOINT_VERSION, status) &&
              lm_store_set_text(store, "/", "settings", checkpoint->settings, status) &&
              lm_store_set_integer(store, "/", "steps_done", checkpoint->steps_done, status) &&
              lm_store_set_text(store, "/", "real", LM_REAL_NAME, status) &&
              lm_store_set_text(store, "/", "git_revision", LAMINA_REVISION, status) &&
              lm_store_set_text(store, "/", "flags", LAMINA_FLAGS, status) &&
              (!checkpoint->data || write_mark(store, checkpoint->data, status)) &&
              lm_store_set_integer(store, "/", "n_layers", checkpoint->n_layers, status) &&
              lm_store_make_group(store, "/layers", status);
    for (int l = 0; ok && l < checkpoint->n_layers; l++)
        ok = make_layer(store, &checkpoint->layers[l], status);
    if (ok && checkpoint->traffic)
        ok = make_traffic(store, checkpoint->traffic, status);
    return ok && (!checkpoint->records ||
                  lm_records_make(checkpoint->records, store, checkpoint->steps_done, status));
}

/* Write what this rank has. Independent. */
static bool write_own(struct lm_store *store, const struct lm_checkpoint *checkpoint,
                      struct lm_status *status) {
    for (int l = 0; l < checkpoint->n_layers; l++)
        if (!move_layer(store, &checkpoint->layers[l], true, status))
            return false;
    if (checkpoint->traffic && !move_traffic(store, checkpoint->traffic, true, status))
        return false;
    const struct lm_records *records = checkpoint->records;
    if (!records)
        return true;
    const struct lm_records_plan *plan = lm_records_get_plan(records);
    if (!lm_records_write_steps(records, store, 0, checkpoint->steps_done, status))
        return false;
    for (int k = 0; k < plan->n_error_steps && plan->error_steps[k] <= checkpoint->steps_done;
         k++)
        if (!lm_records_write_errors(records, store, k, status))
            return false;
    return true;
}

bool lm_checkpoint_write(const char *path, const struct lm_peers *peers,
                         const struct lm_checkpoint *checkpoint, struct lm_status *status) {
    struct lm_store *store = lm_store_create(path, peers, status);
    if (!store)
        return false;
    lm_store_seal(store);
    struct lm_status mine;
    bool ok = make_contents(store, checkpoint, status);
    /* A failure to write is told to all ranks by the flush. */
    if (ok)
        write_own(store, checkpoint, &mine);
    if (ok && lm_store_flush(store, status))
        return lm_store_commit(store, status);
    lm_store_abandon(store, true);
    return false;
}

static bool read_contents(struct lm_store *store, struct lm_checkpoint *checkpoint,
                          struct lm_status *status) {
    int64_t n_layers;
    if (!lm_store_check_format(store, format, CHECKPOINT_VERSION, status) ||
        !lm_store_get_integer(store, "/", "steps_done", &checkpoint->steps_done, status) ||
        !lm_store_get_integer(store, "/", "n_layers", &n_layers, status))
        return false;
    if (checkpoint->steps_done < 0)
        return lm_fail(status, LM_DATA, "%s: %lld training steps are done: at least 0 expected",
                       lm_store_path(store), (long long)checkpoint->steps_done);
    if (n_layers != checkpoint->n_layers)
        return lm_fail(status, LM_DATA, "%s: %lld layers: %d expected", lm_store_path(store),
                       (long long)n_layers, checkpoint->n_layers);
    for (int l = 0; l < checkpoint->n_layers; l++) {
        const struct lm_checkpoint_layer *layer = &checkpoint->layers[l];
        for (int a = 0; a <= layer->n_moments; a++) {
            char path[PATH_TEXT];
            const char *name;
            array_of(layer, a, &name);
            layer_path(layer, name, path);
            if (!lm_store_expect(store, path, 1, &layer->n_parameters, status))
                return false;
        }
        if (!move_layer(store, layer, false, status))
            return false;
    }
    return true;
}

static bool read_records(struct lm_store *store, const struct lm_checkpoint *checkpoint,
                         struct lm_status *status) {
    int64_t steps = checkpoint->steps_done;
    int64_t most = lm_records_get_plan(checkpoint->records)->n_steps;
    if (steps > most)
        return lm_fail(status, LM_DATA,
                       "%s: %lld training steps are done: at most %lld expected",
                       lm_store_path(store), (long long)steps, (long long)most);
    return lm_records_read(checkpoint->records, store, steps, status);
}

/* The traffic so far, if it was counted between the same ranks. */
static bool read_traffic(struct lm_store *store, const struct lm_checkpoint *checkpoint,
                         struct lm_status *status) {
    struct lm_checkpoint_traffic *traffic = checkpoint->traffic;
    size_t extent[2];
    if (!lm_store_extent(store, lm_run_matrix(0, traffic->ranks).path, 2, extent, status))
        return false;
    char *placement = lm_store_get_text(store, "/traffic", "placement", status);
    if (!placement)
        return false;
    bool same =
        strcmp(placement, traffic->placement) == 0 && extent[0] == (size_t)traffic->ranks;
    lm_free(placement);
    traffic->first_step = checkpoint->steps_done;
    return !same || (lm_store_get_integer(store, "/traffic", "first_step", &traffic->first_step,
                                          status) &&
                     move_traffic(store, traffic, false, status));
}

bool lm_checkpoint_read(const char *path, struct lm_checkpoint *checkpoint,
                        struct lm_status *status) {
    struct lm_store *store = lm_store_open(path, status);
    if (!store)
        return false;
    bool ok = read_contents(store, checkpoint, status) &&
              (!checkpoint->data || (check_mark(store, checkpoint->data, status) &&
                                     check_build(store, checkpoint->build, status))) &&
              (!checkpoint->records || read_records(store, checkpoint, status)) &&
              (!checkpoint->traffic || read_traffic(store, checkpoint, status));
    lm_store_close(store);
    return ok;
}

char *lm_checkpoint_settings(const char *path, struct lm_status *status) {
    struct lm_store *store = lm_store_open(path, status);
    if (!store)
        return NULL;
    char *text = NULL;
    if (lm_store_check_format(store, format, CHECKPOINT_VERSION, status))
        text = lm_store_get_text(store, "/", "settings", status);
    lm_store_close(store);
    return text;
}

bool lm_checkpoint_verify(const char *path, struct lm_status *status) {
    char *settings = lm_checkpoint_settings(path, status);
    struct lm_store *store = settings ? lm_store_open(path, status) : NULL;
    bool ok = store && lm_store_verify(store, status);
    lm_store_close(store);
    lm_free(settings);
    return ok;
}
