#include "dataset.h"

#include "digest.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct lm_dataset_format *const formats[] = {&lm_dataset_idx, &lm_dataset_cifar10,
                                                          NULL};

const struct lm_dataset_format *const *lm_dataset_formats(void) {
    return formats;
}

const struct lm_dataset_format *lm_dataset_find(const char *name) {
    for (int i = 0; formats[i]; i++)
        if (!strcmp(formats[i]->name, name))
            return formats[i];
    return NULL;
}

/* Add text to a list that is cut off where it does not fit. */
static void list_add(size_t size, char *list, const char *text) {
    size_t length = strlen(list);
    snprintf(list + length, size - length, "%s%s", length ? ", " : "", text);
}

static bool fail_format(const char *name, struct lm_status *status) {
    char known[256] = "";
    for (int i = 0; formats[i]; i++)
        list_add(sizeof known, known, formats[i]->name);
    return lm_fail(status, LM_CONFIG, "data set format '%s' is not known: expected one of %s",
                   name, known);
}

/* `path` within `folder`; owned by the caller. */
static char *join(const char *folder, const char *path) {
    size_t size = strlen(folder) + strlen(path) + 2;
    char *joined = lm_allocate(size, 1);
    snprintf(joined, size, "%s/%s", folder, path);
    return joined;
}

/* The first place where `path` exists, owned by the caller, or NULL. */
static char *find_source(const char *path, struct lm_status *status) {
    const char *variable = getenv("LAMINA_DATA");
    const char *const folders[] = {NULL, variable && *variable ? variable : NULL,
                                   LAMINA_DATA_FOLDER};
    char tried[sizeof status->message / 2] = "";
    for (int i = 0; i < 3; i++) {
        if (i && (!folders[i] || path[0] == '/'))
            continue;
        char *source = i ? join(folders[i], path) : lm_copy_string(path);
        struct stat found;
        if (!stat(source, &found))
            return source;
        list_add(sizeof tried, tried, source);
        lm_free(source);
    }
    lm_fail(status, LM_NO_INPUT,
            "data set '%s' is not there; tried %s (experiments/get-data fetches known ones)",
            path, tried);
    return NULL;
}

static bool check_labels(const struct lm_dataset *set, size_t classes,
                         struct lm_status *status) {
    for (size_t i = 0; set->labels && i < set->n; i++)
        if (set->labels[i] >= classes)
            return lm_fail(status, LM_DATA,
                           "%s: label %d of input %zu is not below %zu classes",
                           set->label_source, set->labels[i], i, classes);
    return true;
}

bool lm_dataset_read(struct lm_dataset *set, const char *format, const char *path,
                     enum lm_split split, int want, size_t classes, struct lm_status *status) {
    *set = (struct lm_dataset){0};
    const struct lm_dataset_format *kind = lm_dataset_find(format);
    if (!kind)
        return fail_format(format, status);
    set->source = find_source(path, status);
    if (!set->source)
        return false;
    if (kind->read(set, set->source, split, want, status) && check_labels(set, classes, status))
        return true;
    lm_dataset_clear(set);
    return false;
}

void lm_dataset_clear(struct lm_dataset *set) {
    lm_free(set->source);
    lm_free(set->label_source);
    lm_free(set->images);
    lm_free(set->labels);
    *set = (struct lm_dataset){0};
}

/* --- marks -------------------------------------------------------------------------------- */

static int64_t sum_of_labels(const struct lm_dataset *set) {
    return set->labels ? (int64_t)lm_crc32(0, set->labels, set->n) : -1;
}

struct lm_data_mark lm_data_mark(const struct lm_dataset *train,
                                 const struct lm_dataset *test) {
    return (struct lm_data_mark){.train = (int64_t)train->n,
                                 .test = (int64_t)test->n,
                                 .train_labels = sum_of_labels(train),
                                 .test_labels = sum_of_labels(test)};
}

static bool have_same_labels(const char *split, int64_t found, int64_t expected,
                             struct lm_status *status) {
    return found < 0 || expected < 0 || found == expected ||
           lm_fail(status, LM_DATA, "the %s labels have CRC-32 %08llx: %08llx is expected",
                   split, (long long)found, (long long)expected);
}

bool lm_data_mark_same(const struct lm_data_mark *mark, const struct lm_data_mark *expected,
                       struct lm_status *status) {
    if (mark->train != expected->train)
        return lm_fail(status, LM_DATA, "%lld training inputs: %lld are expected",
                       (long long)mark->train, (long long)expected->train);
    if (mark->test != expected->test)
        return lm_fail(status, LM_DATA, "%lld test inputs: %lld are expected",
                       (long long)mark->test, (long long)expected->test);
    return have_same_labels("training", mark->train_labels, expected->train_labels, status) &&
           have_same_labels("test", mark->test_labels, expected->test_labels, status);
}

/* --- chunks ------------------------------------------------------------------------------- */

enum { CACHE_LINE = 64 };

typedef uint8_t bytes __attribute__((vector_size(LM_LANE)));

/* Transpose: after four rounds of shuffling two halves of the rows into each other, like cards,
 * element b of row u is element u of row b. */
static void transpose(bytes row[LM_LANE]) {
    bytes shuffled[LM_LANE];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < LM_LANE / 2; i++) {
            bytes a = row[i], b = row[i + LM_LANE / 2];
            shuffled[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20,
                                                      5, 21, 6, 22, 7, 23);
            shuffled[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27,
                                                          12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(row, shuffled, sizeof shuffled);
    }
}

/* x (units, width) of up to LM_LANE inputs; inputs beyond count become zeros. */
static void fill_lane(const struct lm_dataset *set, size_t units, size_t count,
                      const uint32_t index[], size_t width, real *x) {
    for (size_t begin = 0; begin < units; begin += LM_LANE) {
        size_t n = units - begin < LM_LANE ? units - begin : LM_LANE;
        bytes tile[LM_LANE] = {{0}};
        for (size_t b = 0; b < count; b++) {
            const uint8_t *image = set->images + index[b] * units + begin;
            if (n == LM_LANE) /* a single load */
                memcpy(&tile[b], image, LM_LANE);
            else
                memcpy(&tile[b], image, n);
        }
        transpose(tile);
        for (size_t u = 0; u < n; u++)
            for (size_t b = 0; b < LM_LANE; b++)
                x[(begin + u) * width + b] = (real)tile[u][b] / 255;
    }
}

void lm_dataset_fill(const struct lm_dataset *set, size_t count, const uint32_t index[],
                     size_t width, real *x, int *label) {
    LM_ASSERT(count <= width && width % LM_LANE == 0);
    LM_ASSERT((!x || set->images) && (!label || set->labels));
    for (size_t b = 0; b < count; b++)
        LM_ASSERT(index[b] < set->n);
    size_t units = lm_shape_units(&set->shape);
    for (size_t b = 0; x && b < count; b++)
        for (size_t u = 0; u < units; u += CACHE_LINE)
            __builtin_prefetch(set->images + index[b] * units + u);
    for (size_t begin = 0; x && begin < width; begin += LM_LANE) {
        size_t left = count > begin ? count - begin : 0;
        fill_lane(set, units, left < LM_LANE ? left : LM_LANE, left ? index + begin : NULL,
                  width, x + begin);
    }
    for (size_t b = 0; label && b < count; b++)
        label[b] = set->labels[index[b]];
}
