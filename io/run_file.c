#include "run_file.h"

#include "blas.h"
#include "memory.h"
#include "revision.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct lm_run_file {
    struct lm_store *store;
    const struct lm_records *records;
    struct lm_peers peers; /* rank and size only */
    double started;        /* lm_run_clock */
};

enum { RUN_VERSION = 1, PATH_TEXT = 512 };

static bool describe_layers(struct lm_store *store, const struct lm_run_meta *meta,
                            struct lm_status *status) {
    for (int l = 0; l < meta->n_layers; l++) {
        const struct lm_run_layer *layer = &meta->layers[l];
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "/layers/%s", layer->name);
        if (!lm_store_make_group(store, path, status) ||
            !lm_store_set_integer(store, path, "units", (int64_t)layer->units, status) ||
            !lm_store_set_text(store, path, "shape", layer->shape, status) ||
            !lm_store_set_text(store, path, "map", layer->map, status) ||
            !lm_store_set_integer(store, path, "parameters", (int64_t)layer->parameters,
                                  status) ||
            !lm_store_set_integer(store, path, "rank", layer->rank, status))
            return false;
    }
    return true;
}

void lm_run_build(struct lm_run_build *build) {
    lm_store_versions(build->mpi, build->hdf5);
    const struct lm_run_text texts[LM_RUN_BUILD_TEXTS] = {
        {"real", LM_REAL_NAME},
        {"lamina_version", LAMINA_VERSION},
        {"git_revision", LAMINA_REVISION},
        {"flags", LAMINA_FLAGS},
        {"mpi_version", build->mpi},
        {"hdf5_version", build->hdf5},
        {"openblas_version", lm_blas_version()}};
    memcpy(build->text, texts, sizeof texts);
}

static bool describe_build(struct lm_store *store, struct lm_status *status) {
    struct lm_run_build build;
    lm_run_build(&build);
    for (int i = 0; i < LM_RUN_BUILD_TEXTS; i++)
        if (!lm_store_set_text(store, "/", build.text[i].name, build.text[i].text, status))
            return false;
    return true;
}

const char *lm_run_time(char text[LM_RUN_TIME]) {
    time_t now = time(NULL);
    struct tm utc;
    strftime(text, LM_RUN_TIME, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return text;
}

static const struct {
    const char *path, *units, *long_name;
} matrices[LM_MATRICES] = {
    [LM_MATRIX_MESSAGES] = {"/traffic/messages", "1", "messages sent between layers"},
    [LM_MATRIX_BYTES] = {"/traffic/bytes", "bytes", "bytes sent between layers"},
    [LM_MATRIX_WITHIN_MESSAGES] = {"/traffic/within_messages", "1",
                                   "messages sent between replicas of a layer"},
    [LM_MATRIX_WITHIN_BYTES] = {"/traffic/within_bytes", "bytes",
                                "bytes sent between replicas of a layer"},
};

struct lm_field lm_run_matrix(int m, int ranks) {
    struct lm_field matrix = {.type = LM_FIELD_INT64, .rank = 2};
    matrix.path = matrices[m].path;
    matrix.extent[0] = matrix.extent[1] = (size_t)ranks;
    matrix.units = matrices[m].units;
    matrix.long_name = matrices[m].long_name;
    return matrix;
}

static bool make_traffic(struct lm_store *store, int ranks, const struct lm_run_meta *meta,
                         struct lm_status *status) {
    struct lm_field sender = {.type = LM_FIELD_INT64, .rank = 1, .units = "1"};
    sender.extent[0] = (size_t)ranks;
    struct lm_field receiver = sender;
    sender.path = "/traffic/sender";
    sender.long_name = "rank that sends";
    receiver.path = "/traffic/receiver";
    receiver.long_name = "rank that receives";
    if (!lm_store_make_count(store, &sender, 0, status) ||
        !lm_store_make_count(store, &receiver, 0, status))
        return false;
    for (int m = 0; m < LM_MATRICES; m++) {
        struct lm_field matrix = lm_run_matrix(m, ranks);
        matrix.scale[0] = sender.path, matrix.scale[1] = receiver.path;
        if (!lm_store_make(store, &matrix, status))
            return false;
    }
    return !meta->traffic ||
           (lm_store_set_text(store, "/traffic", "summary", meta->traffic, status) &&
            lm_store_set_integer(store, "/traffic", "first_step", meta->first_step, status));
}

static bool set_texts(struct lm_store *store, const char *object, int n,
                      const struct lm_run_text texts[], struct lm_status *status) {
    for (int i = 0; i < n; i++)
        if (!lm_store_set_text(store, object, texts[i].name, texts[i].text, status))
            return false;
    return true;
}

bool lm_run_describe(struct lm_store *store, int ranks, const struct lm_run_meta *meta,
                     struct lm_status *status) {
    char created[LM_RUN_TIME];
    lm_run_time(created);
    lm_store_share(store, created, sizeof created); /* rank 0's */
    return lm_store_set_text(store, "/", "format", "lamina run", status) &&
           lm_store_set_integer(store, "/", "format_version", RUN_VERSION, status) &&
           lm_store_set_text(store, "/", "created", created, status) &&
           lm_store_set_text(store, "/", "command", meta->command, status) &&
           lm_store_set_text(store, "/", "settings", meta->settings, status) &&
           lm_store_set_unsigned(store, "/", "seed", meta->seed, status) &&
           lm_store_set_integer(store, "/", "ranks", ranks, status) &&
           lm_store_set_integer(store, "/", "threads", meta->threads, status) &&
           lm_store_set_integer(store, "/", "replicas", meta->replicas, status) &&
           lm_store_set_text(store, "/", "placement", meta->placement, status) &&
           set_texts(store, "/", meta->n_texts, meta->texts, status) &&
           describe_build(store, status) &&
           lm_store_set_integer(store, "/", "complete", 0, status) &&
           lm_store_set_double(store, "/", "seconds", 0, status) &&
           lm_store_set_integer(store, "/", "steps_done", 0, status) &&
           describe_layers(store, meta, status) && make_traffic(store, ranks, meta, status);
}

double lm_run_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool lm_run_tell_seconds(struct lm_store *store, double started, struct lm_status *status) {
    double seconds = lm_run_clock() - started;
    lm_store_share(store, &seconds, sizeof seconds);
    return lm_store_set_double(store, "/", "seconds", seconds, status);
}

bool lm_run_write_traffic(struct lm_store *store, const struct lm_peers *peers,
                          const struct lm_run_traffic *traffic, struct lm_status *status) {
    struct lm_slab row = {.type = LM_FIELD_INT64, .offset = {(size_t)peers->rank, 0}};
    row.count[0] = 1, row.count[1] = (size_t)peers->size;
    if (!set_texts(store, "/traffic", traffic->n_texts, traffic->texts, status))
        return false;
    /* What a rank fails to write is told to all by the flush. */
    struct lm_status mine;
    for (int m = 0; m < LM_MATRICES; m++) {
        row.path = matrices[m].path;
        if (!lm_store_write(store, &row, traffic->row[m], &mine))
            break;
    }
    return lm_store_flush(store, status);
}

struct lm_run_file *lm_run_file_create(const char *path, const struct lm_peers *peers,
                                       const struct lm_run_meta *meta,
                                       const struct lm_records *records,
                                       struct lm_status *status) {
    double started = lm_run_clock();
    struct lm_store *store = lm_store_create(path, peers, status);
    if (!store)
        return NULL;
    int64_t steps = lm_records_get_plan(records)->n_steps;
    if (!lm_run_describe(store, peers->size, meta, status) ||
        !lm_records_make(records, store, steps, status) || !lm_store_flush(store, status)) {
        lm_store_abandon(store, true);
        return NULL;
    }
    struct lm_run_file *file = lm_allocate(1, sizeof *file);
    *file = (struct lm_run_file){store, records, {NULL, peers->rank, peers->size}, started};
    return file;
}

bool lm_run_file_write_steps(struct lm_run_file *file, int64_t from, int64_t to,
                             struct lm_status *status) {
    return lm_records_write_steps(file->records, file->store, from, to, status);
}

bool lm_run_file_write_errors(struct lm_run_file *file, int k, struct lm_status *status) {
    return lm_records_write_errors(file->records, file->store, k, status);
}

bool lm_run_file_write_traffic(struct lm_run_file *file, const struct lm_run_traffic *traffic,
                               struct lm_status *status) {
    return lm_run_write_traffic(file->store, &file->peers, traffic, status);
}

bool lm_run_file_write_costs(struct lm_run_file *file, const double seconds[],
                             struct lm_status *status) {
    const struct lm_records_plan *plan = lm_records_get_plan(file->records);
    for (int l = 0; l < plan->n_layers; l++) {
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "/layers/%s", plan->layers[l]);
        if (!lm_store_set_double(file->store, path, "seconds", seconds[l], status))
            return false;
    }
    return true;
}

bool lm_run_file_flush(struct lm_run_file *file, int64_t steps_done, struct lm_status *status) {
    return lm_store_set_integer(file->store, "/", "steps_done", steps_done, status) &&
           lm_store_flush(file->store, status);
}

bool lm_run_file_finish(struct lm_run_file *file, int64_t steps_done,
                        struct lm_status *status) {
    struct lm_store *store = file->store;
    bool complete = steps_done == lm_records_get_plan(file->records)->n_steps;
    bool ok = lm_store_set_integer(store, "/", "steps_done", steps_done, status) &&
              lm_run_tell_seconds(store, file->started, status) &&
              lm_store_set_integer(store, "/", "complete", complete, status);
    if (!ok)
        lm_store_abandon(store, false);
    lm_free(file);
    return ok && lm_store_commit(store, status);
}

void lm_run_file_abandon(struct lm_run_file *file) {
    if (!file)
        return;
    lm_store_abandon(file->store, false);
    lm_free(file);
}
