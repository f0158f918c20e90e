#include "surprise_file.h"

#include "memory.h"

struct lm_surprise_file {
    struct lm_store *store;
    struct lm_peers peers; /* rank and size only */
    double started;        /* lm_run_clock */
};

/* One field: where it goes and what it is. */
static const struct row {
    const char *path;
    bool whole, imposed, layered;
    const char *long_name;
} rows[LM_SURPRISE_FIELDS] = {
    [LM_SURPRISE_INDEX] = {"/surprise/index", 1, 0, 0, "position of the input in the data set"},
    [LM_SURPRISE_LABEL] = {"/surprise/label", 1, 0, 0, "label of the input"},
    [LM_SURPRISE_PREDICTION] = {"/surprise/prediction", 1, 0, 0, "predicted label"},
    [LM_SURPRISE_CORRECT] = {"/surprise/correct", 1, 0, 0, "1: the prediction is the label"},
    [LM_SURPRISE_CONFIDENCE] = {"/surprise/confidence", 0, 0, 0,
                                "largest softmax probability of the feedforward output"},
    [LM_SURPRISE_IMPOSED_LABEL] = {"/surprise/imposed_label", 1, 1, 0,
                                   "label imposed on the output"},
    [LM_SURPRISE_LOSS] = {"/surprise/loss", 0, 1, 0,
                          "loss of the input alone under the imposed label"},
    [LM_SURPRISE_MAGNITUDE] = {"/surprise/magnitude", 0, 1, 1,
                               "Euclidean norm of the layer's error for the input alone"},
};

static const char imposed_path[] = "/surprise/imposed", input_path[] = "/surprise/input";

static bool make_scales(struct lm_store *store, const struct lm_run_meta *meta,
                        const struct lm_surprise_plan *plan, struct lm_status *status) {
    struct lm_field layer = {.path = "/layer", .type = LM_FIELD_TEXT, .rank = 1, .units = "1"};
    layer.extent[0] = (size_t)meta->n_layers;
    layer.long_name = "layer";
    struct lm_field imposed = layer;
    imposed.path = imposed_path;
    imposed.extent[0] = (size_t)plan->n_imposed;
    imposed.long_name = "which label is imposed on the output";
    struct lm_field input = {.path = input_path, .type = LM_FIELD_INT64, .rank = 1};
    input.extent[0] = (size_t)plan->n_inputs;
    input.units = "1";
    input.long_name = "recorded input";
    const char **names = lm_allocate((size_t)meta->n_layers, sizeof *names);
    for (int l = 0; l < meta->n_layers; l++)
        names[l] = meta->layers[l].name;
    bool good = lm_store_make_scale(store, &layer, names, status) &&
                lm_store_make_scale(store, &imposed, plan->imposed, status) &&
                lm_store_make_count(store, &input, 0, status);
    lm_free(names);
    return good;
}

static bool make_fields(struct lm_store *store, const struct lm_run_meta *meta,
                        const struct lm_surprise_plan *plan, struct lm_status *status) {
    for (const struct row *row = rows; row < rows + LM_SURPRISE_FIELDS; row++) {
        struct lm_field field = {.path = row->path,
                                 .type = row->whole ? LM_FIELD_INT64 : LM_FIELD_DOUBLE,
                                 .units = "1",
                                 .long_name = row->long_name};
        if (row->imposed) {
            field.scale[field.rank] = imposed_path;
            field.extent[field.rank++] = (size_t)plan->n_imposed;
        }
        if (row->layered) {
            field.scale[field.rank] = "/layer";
            field.extent[field.rank++] = (size_t)meta->n_layers;
        }
        field.scale[field.rank] = input_path;
        field.extent[field.rank++] = (size_t)plan->n_inputs;
        if (!lm_store_make(store, &field, status))
            return false;
    }
    return true;
}

struct lm_surprise_file *lm_surprise_file_create(const char *path, const struct lm_peers *peers,
                                                 const struct lm_run_meta *meta,
                                                 const struct lm_surprise_plan *plan,
                                                 struct lm_status *status) {
    double started = lm_run_clock();
    struct lm_store *store = lm_store_create(path, peers, status);
    if (!store)
        return NULL;
    if (!lm_run_describe(store, peers->size, meta, status) ||
        !lm_store_set_integer(store, "/", "steps_done", plan->steps_done, status) ||
        !make_scales(store, meta, plan, status) || !make_fields(store, meta, plan, status) ||
        !lm_store_flush(store, status)) {
        lm_store_abandon(store, true);
        return NULL;
    }
    struct lm_surprise_file *file = lm_allocate(1, sizeof *file);
    *file = (struct lm_surprise_file){store, {NULL, peers->rank, peers->size}, started};
    return file;
}

bool lm_surprise_file_write(struct lm_surprise_file *file, const struct lm_surprise_part *part,
                            const void *values, struct lm_status *status) {
    const struct row *row = &rows[part->field];
    struct lm_slab slab = {.path = row->path,
                           .type = row->whole ? LM_FIELD_INT64 : LM_FIELD_DOUBLE};
    int rank = 0;
    if (row->imposed) {
        slab.offset[rank] = (size_t)part->imposed;
        slab.count[rank++] = 1;
    }
    if (row->layered) {
        slab.offset[rank] = (size_t)part->layer;
        slab.count[rank++] = 1;
    }
    slab.offset[rank] = part->first;
    slab.count[rank] = part->n;
    return lm_store_write(file->store, &slab, values, status);
}

bool lm_surprise_file_write_traffic(struct lm_surprise_file *file,
                                    const struct lm_run_traffic *traffic,
                                    struct lm_status *status) {
    return lm_run_write_traffic(file->store, &file->peers, traffic, status);
}

bool lm_surprise_file_finish(struct lm_surprise_file *file, struct lm_status *status) {
    struct lm_store *store = file->store;
    double started = file->started;
    lm_free(file);
    if (lm_run_tell_seconds(store, started, status) &&
        lm_store_set_integer(store, "/", "complete", 1, status))
        return lm_store_commit(store, status);
    lm_store_abandon(store, false);
    return false;
}

void lm_surprise_file_abandon(struct lm_surprise_file *file) {
    if (!file)
        return;
    lm_store_abandon(file->store, false);
    lm_free(file);
}
