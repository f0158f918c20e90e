#include "checkpoint.h"

#include "memory.h"
#include "revision.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char format[] = "lamina checkpoint";

enum { CHECKPOINT_VERSION = 3, PATH_TEXT = 512, STEP_DIGITS = 6 };

/* ---- Contents ---- */

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

/* ---- Names ---- */

/* Length of the path of a run file without ".h5". */
static int stem_length(const char *out) {
    size_t length = strlen(out);
    bool ends = length > 3 && strcmp(out + length - 3, ".h5") == 0;
    return (int)(ends ? length - 3 : length);
}

char *lm_checkpoint_path(const char *out, int64_t step) {
    size_t size = strlen(out) + 64;
    char *path = lm_allocate(size, 1);
    snprintf(path, size, "%.*s.checkpoint-%0*lld.h5", stem_length(out), out, STEP_DIGITS,
             (long long)step);
    return path;
}

/* The checkpoints of a run in its folder. */
struct list {
    int n;
    int64_t *step; /* descending */
    int n_half;
    int64_t *half; /* those half-written */
};

/* The step in the name of a checkpoint of `out`, or -1; whether it is half-written. */
static int64_t step_of(const char *name, const char *out, bool *half) {
    const char *slash = strrchr(out, '/');
    const char *stem = slash ? slash + 1 : out;
    size_t length = (size_t)stem_length(stem);
    static const char middle[] = ".checkpoint-";
    if (strncmp(name, stem, length) != 0 ||
        strncmp(name + length, middle, sizeof middle - 1) != 0)
        return -1;
    const char *digits = name + length + sizeof middle - 1;
    size_t n = strspn(digits, "0123456789");
    *half = strcmp(digits + n, ".h5.partial") == 0 || strcmp(digits + n, ".h5.new") == 0;
    if (n < STEP_DIGITS || n > 18 || (n > STEP_DIGITS && *digits == '0') ||
        (!*half && strcmp(digits + n, ".h5") != 0))
        return -1;
    return strtoll(digits, NULL, 10);
}

static int descending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* What is in the folder of `out`, as scandir gives it; nothing if there is no such folder. */
static int scan_folder(const char *out, struct dirent ***entries, struct lm_status *status) {
    char *folder = lm_copy_string(out);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const char *name = slash ? folder : ".";
    int n = scandir(name, entries, NULL, NULL);
    if (n < 0 && errno == ENOENT)
        n = 0, *entries = NULL;
    else if (n < 0)
        lm_fail(status, LM_NO_INPUT, "cannot look for checkpoints in %s: %s", name,
                strerror(errno));
    lm_free(folder);
    return n;
}

/* The checkpoints there are. Clear it also after a failure. */
static bool list_init(struct list *list, const char *out, struct lm_status *status) {
    struct dirent **entries;
    int n = scan_folder(out, &entries, status);
    *list = (struct list){0};
    if (n < 0)
        return false;
    list->step = lm_allocate((size_t)n, sizeof *list->step);
    list->half = lm_allocate((size_t)n, sizeof *list->half);
    for (int i = 0; i < n; i++) {
        bool half;
        int64_t step = step_of(entries[i]->d_name, out, &half);
        if (step >= 0 && half)
            list->half[list->n_half++] = step;
        else if (step >= 0)
            list->step[list->n++] = step;
        free(entries[i]);
    }
    free(entries);
    qsort(list->step, (size_t)list->n, sizeof *list->step, descending);
    return true;
}

static void list_clear(struct list *list) {
    lm_free(list->step);
    lm_free(list->half);
}

char *lm_checkpoint_newest(const char *out, int64_t *step, struct lm_status *status) {
    struct list list;
    char *path = NULL;
    status->code = LM_OK;
    if (list_init(&list, out, status) && list.n > 0) {
        *step = list.step[0];
        path = lm_checkpoint_path(out, *step);
    }
    list_clear(&list);
    return path;
}

static char *newest_of_run(const char *path, struct lm_status *status) {
    int64_t step;
    char *found = lm_checkpoint_newest(path, &step, status);
    if (!found && status->code == LM_OK)
        lm_fail(status, LM_NO_INPUT,
                "%s: no checkpoint of this run is beside it: checkpoint.every makes them",
                path);
    return found;
}

char *lm_checkpoint_of(const char *path, struct lm_status *status) {
    struct lm_store *store = lm_store_open(path, status);
    if (!store)
        return NULL;
    char *kind = lm_store_get_text(store, "/", "format", status);
    lm_store_close(store);
    if (!kind)
        return NULL;
    char *found = NULL;
    if (strcmp(kind, format) == 0)
        found = lm_copy_string(path);
    else if (strcmp(kind, "lamina run") == 0)
        found = newest_of_run(path, status);
    else
        lm_fail(status, LM_DATA, "%s: format '%s': '%s' or 'lamina run' expected", path, kind,
                format);
    lm_free(kind);
    return found;
}

char *lm_checkpoint_newest_sound(const char *out, int64_t *step,
                                 void (*warn)(const char *message), struct lm_status *status) {
    struct list list;
    char *path = NULL;
    status->code = LM_OK;
    if (!list_init(&list, out, status))
        return NULL;
    for (int i = 0; !path && i < list.n; i++) {
        struct lm_status damage;
        path = lm_checkpoint_path(out, *step = list.step[i]);
        if (lm_checkpoint_verify(path, &damage)) {
            status->code = LM_OK;
            break;
        }
        lm_free(path);
        path = NULL;
        bool damaged = damage.code == LM_DATA || damage.code == LM_IO;
        if (i == 0 || !damaged)
            *status = damage;
        if (!damaged)
            break;
        if (i + 1 < list.n)
            warn(damage.message);
    }
    list_clear(&list);
    return path;
}

/* Remove the checkpoints of some steps. `ending` follows their names. */
static bool remove_steps(const char *out, int n, const int64_t step[], const char *ending,
                         struct lm_status *status) {
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        char *path = lm_checkpoint_path(out, step[i]);
        size_t size = strlen(path) + strlen(ending) + 1;
        char *whole = lm_allocate(size, 1);
        snprintf(whole, size, "%s%s", path, ending);
        if (unlink(whole) != 0 && errno != ENOENT)
            ok = lm_fail(status, LM_IO, "cannot remove %s: %s", whole, strerror(errno));
        lm_free(path);
        lm_free(whole);
    }
    return ok;
}

bool lm_checkpoint_prune(const char *out, int64_t step, int keep, struct lm_status *status) {
    struct list list;
    if (!list_init(&list, out, status))
        return false;
    int newer = 0;
    while (newer < list.n && list.step[newer] > step)
        newer++;
    int kept = keep > 0 && newer + keep < list.n ? newer + keep : list.n;
    bool ok = remove_steps(out, list.n - kept, list.step + kept, "", status);
    list_clear(&list);
    return ok;
}

bool lm_checkpoint_remove_all(const char *out, struct lm_status *status) {
    struct list list;
    bool ok = list_init(&list, out, status) &&
              remove_steps(out, list.n, list.step, "", status) &&
              remove_steps(out, list.n_half, list.half, ".partial", status) &&
              remove_steps(out, list.n_half, list.half, ".new", status);
    list_clear(&list);
    return ok;
}
