#include "gradient_file.h"

#include "memory.h"

#include <stdio.h>

struct lm_gradient_file {
    struct lm_store *store;
    struct lm_peers peers;        /* rank and size only */
    struct lm_gradient_plan plan; /* without its step sizes */
    int n_layers;
    char **names;       /* (n_layers) */
    size_t *parameters; /* (n_layers) */
    double started;     /* lm_run_clock */
};

static const struct {
    const char *path, *units, *long_name;
} curves[LM_GRADIENT_CURVES] = {
    [LM_GRADIENT_RELATIVE_ERROR] = {"/gradients/relative_error", "1",
                                    "relative error of the update against the exact gradient"},
    [LM_GRADIENT_ANGLE] = {"/gradients/angle", "degrees",
                           "angle between the update and the exact gradient"},
    [LM_GRADIENT_ENERGY] =
        {"/gradients/energy", "1",
         "half the sum of squared errors; of the output layer the mean loss"},
};

enum { PATH_TEXT = 512 };

static bool make_curves(struct lm_gradient_file *file, const double *step_sizes,
                        struct lm_status *status) {
    size_t layers = (size_t)file->n_layers, sizes = (size_t)file->plan.n_step_sizes;
    size_t iterations = (size_t)file->plan.n_iterations;
    struct lm_field layer = {"/layer", LM_FIELD_TEXT, 1, {layers}, {NULL}, "1", "layer", false};
    struct lm_field size = {
        "/gradients/step_size", LM_FIELD_DOUBLE, 1, {sizes}, {NULL}, "1", "step size", false};
    struct lm_field iteration = {"/gradients/iteration",
                                 LM_FIELD_INT64,
                                 1,
                                 {iterations},
                                 {NULL},
                                 "1",
                                 "iteration",
                                 false};
    if (!lm_store_make_scale(file->store, &layer, file->names, status) ||
        !lm_store_make_scale(file->store, &size, step_sizes, status) ||
        !lm_store_make_count(file->store, &iteration, 1, status))
        return false;
    for (int c = 0; c < LM_GRADIENT_CURVES; c++) {
        struct lm_field field = {.path = curves[c].path,
                                 .type = LM_FIELD_DOUBLE,
                                 .rank = 3,
                                 .extent = {sizes, layers, iterations},
                                 .scale = {size.path, layer.path, iteration.path},
                                 .units = curves[c].units,
                                 .long_name = curves[c].long_name};
        if (!lm_store_make(file->store, &field, status))
            return false;
    }
    return true;
}

/* Path of an update of a layer with step size number s. */
static const char *update_path(const struct lm_gradient_file *file, int s, int layer,
                               char text[PATH_TEXT]) {
    if (s == LM_EXACT_UPDATE)
        snprintf(text, PATH_TEXT, "/updates/exact/%s", file->names[layer]);
    else
        snprintf(text, PATH_TEXT, "/updates/%d/%s", s, file->names[layer]);
    return text;
}

static const char *parameters_path(const struct lm_gradient_file *file, int layer,
                                   char text[PATH_TEXT]) {
    snprintf(text, PATH_TEXT, "/parameters/%s", file->names[layer]);
    return text;
}

/* Room for the updates and the parameters of one layer. */
static bool make_updates(struct lm_gradient_file *file, int layer, struct lm_status *status) {
    char scale_path[PATH_TEXT], path[PATH_TEXT];
    snprintf(scale_path, sizeof scale_path, "/parameter_%s", file->names[layer]);
    struct lm_field scale = {.path = scale_path, .type = LM_FIELD_INT64, .rank = 1};
    scale.extent[0] = file->parameters[layer];
    scale.units = "1";
    scale.long_name = "parameter of the layer";
    struct lm_field field = scale;
    field.type = LM_FIELD_REAL;
    field.scale[0] = scale_path;
    field.path = parameters_path(file, layer, path);
    field.long_name = "weights, then biases";
    if (!lm_store_make_count(file->store, &scale, 0, status) ||
        !lm_store_make(file->store, &field, status))
        return false;
    field.long_name = "gradient with respect to the parameters";
    for (int s = LM_EXACT_UPDATE; s < file->plan.n_step_sizes; s++) {
        field.path = update_path(file, s, layer, path);
        if (!lm_store_make(file->store, &field, status))
            return false;
    }
    return true;
}

static bool make_all_updates(struct lm_gradient_file *file, const double *step_sizes,
                             struct lm_status *status) {
    for (int l = 0; l < file->n_layers; l++)
        if (!make_updates(file, l, status))
            return false;
    for (int s = 0; s < file->plan.n_step_sizes; s++) {
        char group[PATH_TEXT];
        snprintf(group, sizeof group, "/updates/%d", s);
        if (!lm_store_set_double(file->store, group, "step_size", step_sizes[s], status))
            return false;
    }
    return true;
}

/* Give the file back without its store. */
static void destroy(struct lm_gradient_file *file) {
    for (int l = 0; l < file->n_layers; l++)
        lm_free(file->names[l]);
    lm_free(file->names);
    lm_free(file->parameters);
    lm_free(file);
}

struct lm_gradient_file *lm_gradient_file_create(const char *path, const struct lm_peers *peers,
                                                 const struct lm_run_meta *meta,
                                                 const struct lm_gradient_plan *plan,
                                                 struct lm_status *status) {
    double started = lm_run_clock();
    struct lm_store *store = lm_store_create(path, peers, status);
    if (!store)
        return NULL;
    struct lm_gradient_file *file = lm_allocate(1, sizeof *file);
    file->store = store;
    file->started = started;
    file->peers = (struct lm_peers){NULL, peers->rank, peers->size};
    file->plan = *plan;
    file->plan.step_sizes = NULL;
    file->n_layers = meta->n_layers;
    file->names = lm_allocate((size_t)meta->n_layers, sizeof *file->names);
    file->parameters = lm_allocate((size_t)meta->n_layers, sizeof *file->parameters);
    for (int l = 0; l < meta->n_layers; l++) {
        file->names[l] = lm_copy_string(meta->layers[l].name);
        file->parameters[l] = meta->layers[l].parameters;
    }
    if (lm_run_describe(store, peers->size, meta, status) &&
        make_curves(file, plan->step_sizes, status) &&
        (!plan->updates || make_all_updates(file, plan->step_sizes, status)) &&
        lm_store_flush(store, status))
        return file;
    lm_store_abandon(store, true);
    destroy(file);
    return NULL;
}

bool lm_gradient_file_write(struct lm_gradient_file *file, enum lm_gradient_curve curve, int s,
                            int layer, const double values[], struct lm_status *status) {
    struct lm_slab slab = {.path = curves[curve].path,
                           .type = LM_FIELD_DOUBLE,
                           .offset = {(size_t)s, (size_t)layer, 0},
                           .count = {1, 1, (size_t)file->plan.n_iterations}};
    return lm_store_write(file->store, &slab, values, status);
}

static bool write_parameters(struct lm_gradient_file *file, const char *path, int layer,
                             const real values[], struct lm_status *status) {
    LM_ASSERT(file->plan.updates);
    struct lm_slab slab = {.path = path, .type = LM_FIELD_REAL};
    slab.count[0] = file->parameters[layer];
    return lm_store_write(file->store, &slab, values, status);
}

bool lm_gradient_file_write_update(struct lm_gradient_file *file, int s, int layer,
                                   const real update[], struct lm_status *status) {
    char path[PATH_TEXT];
    return write_parameters(file, update_path(file, s, layer, path), layer, update, status);
}

bool lm_gradient_file_write_parameters(struct lm_gradient_file *file, int layer,
                                       const real parameters[], struct lm_status *status) {
    char path[PATH_TEXT];
    return write_parameters(file, parameters_path(file, layer, path), layer, parameters,
                            status);
}

bool lm_gradient_file_write_traffic(struct lm_gradient_file *file,
                                    const struct lm_run_traffic *traffic,
                                    struct lm_status *status) {
    return lm_run_write_traffic(file->store, &file->peers, traffic, status);
}

bool lm_gradient_file_finish(struct lm_gradient_file *file, struct lm_status *status) {
    struct lm_store *store = file->store;
    double started = file->started;
    destroy(file);
    if (lm_run_tell_seconds(store, started, status) &&
        lm_store_set_integer(store, "/", "complete", 1, status))
        return lm_store_commit(store, status);
    lm_store_abandon(store, false);
    return false;
}

void lm_gradient_file_abandon(struct lm_gradient_file *file) {
    if (!file)
        return;
    lm_store_abandon(file->store, false);
    destroy(file);
}
