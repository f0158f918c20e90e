#include "bench_file.h"

#include "json.h"
#include "memory.h"
#include "summary.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char format[] = "lamina bench";

/* Of `store` and `stream` one is in use: HDF5, or JSON on rank 0. */
struct lm_bench_file {
    char *path;
    struct lm_peers peers; /* rank and size only */
    struct lm_store *store;
    FILE *stream;
    struct lm_json json;
    double started; /* lm_run_clock */
};

/* --- JSON ----------------------------------------------------------------------------- */

static char *partial_path(const char *path) {
    char *partial = lm_allocate(strlen(path) + sizeof ".partial", 1);
    return strcat(strcpy(partial, path), ".partial");
}

static void describe_json(struct lm_json *json, int ranks, const struct lm_run_meta *meta) {
    struct lm_run_build build;
    char created[LM_RUN_TIME];
    lm_json_text(json, "format", format);
    lm_json_text(json, "created", lm_run_time(created));
    lm_json_text(json, "command", meta->command);
    lm_json_text(json, "settings", meta->settings);
    lm_json_integer(json, "ranks", ranks);
    lm_json_integer(json, "threads", meta->threads);
    lm_json_integer(json, "replicas", meta->replicas);
    lm_json_text(json, "placement", meta->placement);
    lm_run_build(&build);
    for (int i = 0; i < LM_RUN_BUILD_TEXTS; i++)
        lm_json_text(json, build.text[i].name, build.text[i].text);
}

static bool create_json(struct lm_bench_file *file, const struct lm_run_meta *meta,
                        struct lm_status *status) {
    if (file->peers.rank != 0)
        return true;
    char *partial = partial_path(file->path);
    file->stream = fopen(partial, "w");
    if (!file->stream)
        lm_fail(status, LM_CANT_CREATE, "%s: %s", partial, strerror(errno));
    lm_free(partial);
    if (!file->stream)
        return false;
    file->json.stream = file->stream;
    lm_json_begin(&file->json, NULL, '{');
    describe_json(&file->json, file->peers.size, meta);
    return true;
}

static void write_repeats(struct lm_json *json, const char *name, int n,
                          const double values[]) {
    struct lm_summary summary = lm_summarize(n, values);
    lm_json_begin(json, name, '{');
    lm_json_number(json, "median", summary.median);
    lm_json_number(json, "minimum", summary.minimum);
    lm_json_number(json, "maximum", summary.maximum);
    lm_json_numbers(json, "quartiles", 2, summary.quartile);
    lm_json_numbers(json, "repeats", n, values);
    lm_json_end(json, '}');
}

static void write_json(struct lm_json *json, const struct lm_bench_table *table) {
    for (int i = 0; i < table->n_texts; i++)
        lm_json_text(json, table->texts[i][0], table->texts[i][1]);
    lm_json_begin(json, "columns", '{');
    for (int c = 0; c < table->n_columns; c++) {
        if (!lm_bench_has(table, c))
            continue;
        lm_json_begin(json, table->columns[c].name, '{');
        lm_json_text(json, "units", table->columns[c].units);
        lm_json_text(json, "long_name", table->columns[c].long_name);
        lm_json_end(json, '}');
    }
    lm_json_end(json, '}');
    lm_json_begin(json, "rows", '[');
    for (int i = 0; i < table->n_rows; i++) {
        lm_json_begin(json, NULL, '{');
        lm_json_text(json, "name", table->rows[i]);
        for (int c = 0; c < table->n_columns; c++) {
            const struct lm_bench_column *column = &table->columns[c];
            if (!lm_bench_has(table, c))
                continue;
            if (column->repeated)
                write_repeats(json, column->name, table->n_repeats,
                              column->values + i * table->n_repeats);
            else
                lm_json_number(json, column->name, column->values[i]);
        }
        lm_json_end(json, '}');
    }
    lm_json_end(json, ']');
}

static bool finish_json(struct lm_bench_file *file, const struct lm_bench_table *table,
                        struct lm_status *status) {
    if (file->peers.rank != 0)
        return true;
    char *partial = partial_path(file->path);
    write_json(&file->json, table);
    lm_json_number(&file->json, "seconds", lm_run_clock() - file->started);
    lm_json_end(&file->json, '}');
    errno = 0;
    bool good =
        !ferror(file->stream) && fflush(file->stream) == 0 && fsync(fileno(file->stream)) == 0;
    int reason = errno ? errno : EIO;
    fclose(file->stream); /* all of it is on the disk, or that has failed */
    file->stream = NULL;
    if (good && rename(partial, file->path) != 0) {
        good = false;
        reason = errno;
    }
    if (!good) {
        lm_fail(status, LM_IO, "%s: %s", partial, strerror(reason));
        unlink(partial);
    }
    lm_free(partial);
    return good;
}

/* --- HDF5 ----------------------------------------------------------------------------- */

static bool create_store(struct lm_bench_file *file, const struct lm_peers *peers,
                         const struct lm_run_meta *meta, struct lm_status *status) {
    file->store = lm_store_create(file->path, peers, status);
    if (!file->store)
        return false;
    if (lm_run_describe(file->store, peers->size, meta, status) &&
        lm_store_set_text(file->store, "/", "format", format, status))
        return true;
    lm_store_abandon(file->store, true);
    file->store = NULL;
    return false;
}

static bool make_column(struct lm_store *store, const struct lm_bench_table *table,
                        const struct lm_bench_column *column, const char *path,
                        struct lm_status *status) {
    const struct lm_field field = {.path = path,
                                   .type = LM_FIELD_DOUBLE,
                                   .rank = column->repeated ? 2 : 1,
                                   .extent = {(size_t)table->n_rows, (size_t)table->n_repeats},
                                   .scale = {"/bench/row", "/bench/repeat"},
                                   .units = column->units,
                                   .long_name = column->long_name};
    return lm_store_make(store, &field, status);
}

enum { PATH_TEXT = 128 };

static bool make_table(struct lm_store *store, const struct lm_bench_table *table,
                       struct lm_status *status) {
    struct lm_field row = {.path = "/bench/row",
                           .type = LM_FIELD_TEXT,
                           .rank = 1,
                           .extent = {(size_t)table->n_rows},
                           .units = "1",
                           .long_name = "what was measured"};
    struct lm_field repeat = {.path = "/bench/repeat",
                              .type = LM_FIELD_INT64,
                              .rank = 1,
                              .extent = {(size_t)table->n_repeats},
                              .units = "1",
                              .long_name = "repeat"};
    if (!lm_store_make_scale(store, &row, table->rows, status) ||
        !lm_store_make_count(store, &repeat, 1, status))
        return false;
    for (int c = 0; c < table->n_columns; c++) {
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "/bench/%s", table->columns[c].name);
        if (lm_bench_has(table, c) &&
            !make_column(store, table, &table->columns[c], path, status))
            return false;
    }
    for (int i = 0; i < table->n_texts; i++)
        if (!lm_store_set_text(store, "/bench", table->texts[i][0], table->texts[i][1], status))
            return false;
    return true;
}

/* Rank 0 writes; what fails is told to all by the commit. */
static void write_table(struct lm_store *store, const struct lm_bench_table *table) {
    for (int c = 0; c < table->n_columns; c++) {
        struct lm_status ignored;
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "/bench/%s", table->columns[c].name);
        const struct lm_slab slab = {
            path, LM_FIELD_DOUBLE, {0, 0}, {(size_t)table->n_rows, (size_t)table->n_repeats}};
        if (lm_bench_has(table, c))
            lm_store_write(store, &slab, table->columns[c].values, &ignored);
    }
}

static bool finish_store(struct lm_bench_file *file, const struct lm_bench_table *table,
                         const struct lm_run_traffic *traffic, struct lm_status *status) {
    struct lm_store *store = file->store;
    if (make_table(store, table, status) && lm_store_flush(store, status)) {
        if (file->peers.rank == 0)
            write_table(store, table);
        if (lm_run_write_traffic(store, &file->peers, traffic, status) &&
            lm_run_tell_seconds(store, file->started, status) &&
            lm_store_set_integer(store, "/", "complete", 1, status))
            return lm_store_commit(store, status);
    }
    lm_store_abandon(store, true);
    return false;
}

/* --- both ------------------------------------------------------------------------------- */

static void destroy(struct lm_bench_file *file) {
    lm_free(file->path);
    lm_free(file);
}

static bool is_json(const char *path) {
    size_t length = strlen(path), end = strlen(".json");
    return length > end && strcmp(path + length - end, ".json") == 0;
}

struct lm_bench_file *lm_bench_file_create(const char *path, const struct lm_peers *peers,
                                           const struct lm_run_meta *meta,
                                           struct lm_status *status) {
    struct lm_bench_file *file = lm_allocate(1, sizeof *file);
    file->started = lm_run_clock();
    file->path = lm_copy_string(path);
    file->peers = (struct lm_peers){NULL, peers->rank, peers->size};
    if (is_json(path) ? create_json(file, meta, status)
                      : create_store(file, peers, meta, status))
        return file;
    destroy(file);
    return NULL;
}

bool lm_bench_file_finish(struct lm_bench_file *file, const struct lm_bench_table *table,
                          const struct lm_run_traffic *traffic, struct lm_status *status) {
    bool good = file->store ? finish_store(file, table, traffic, status)
                            : finish_json(file, table, status);
    destroy(file);
    return good;
}

void lm_bench_file_abandon(struct lm_bench_file *file) {
    if (!file)
        return;
    lm_store_abandon(file->store, true);
    if (file->stream) {
        char *partial = partial_path(file->path);
        fclose(file->stream);
        unlink(partial);
        lm_free(partial);
    }
    destroy(file);
}
