#include "checkpoints.h"

#include "checkpoint.h"
#include "memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEP_DIGITS = 6 };

/* Length of the path of a run file without ".h5". */
static int stem_length(const char *out) {
    size_t length = strlen(out);
    bool ends = length > 3 && strcmp(out + length - 3, ".h5") == 0;
    return (int)(ends ? length - 3 : length);
}

char *lm_checkpoints_path(const char *out, int64_t step) {
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

char *lm_checkpoints_newest(const char *out, int64_t *step, struct lm_status *status) {
    struct list list;
    char *path = NULL;
    status->code = LM_OK;
    if (list_init(&list, out, status) && list.n > 0) {
        *step = list.step[0];
        path = lm_checkpoints_path(out, *step);
    }
    list_clear(&list);
    return path;
}

/* The newest checkpoint of the run whose file this is; there must be one. */
static char *newest_of_run(const char *path, struct lm_status *status) {
    int64_t step;
    char *found = lm_checkpoints_newest(path, &step, status);
    if (!found && status->code == LM_OK)
        lm_fail(status, LM_NO_INPUT,
                "%s: no checkpoint of this run is beside it: checkpoint.every makes them",
                path);
    return found;
}

char *lm_checkpoints_of(const char *path, struct lm_status *status) {
    struct lm_store *store = lm_store_open(path, status);
    if (!store)
        return NULL;
    char *kind = lm_store_get_text(store, "/", "format", status);
    lm_store_close(store);
    if (!kind)
        return NULL;
    char *found = NULL;
    if (strcmp(kind, LM_CHECKPOINT_FORMAT) == 0)
        found = lm_copy_string(path);
    else if (strcmp(kind, "lamina run") == 0)
        found = newest_of_run(path, status);
    else
        lm_fail(status, LM_DATA, "%s: format '%s': '%s' or 'lamina run' expected", path, kind,
                LM_CHECKPOINT_FORMAT);
    lm_free(kind);
    return found;
}

char *lm_checkpoints_newest_sound(const char *out, int64_t *step,
                                  void (*warn)(const char *message), struct lm_status *status) {
    struct list list;
    char *path = NULL;
    status->code = LM_OK;
    if (!list_init(&list, out, status))
        return NULL;
    for (int i = 0; !path && i < list.n; i++) {
        struct lm_status damage;
        path = lm_checkpoints_path(out, *step = list.step[i]);
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
        char *path = lm_checkpoints_path(out, step[i]);
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

bool lm_checkpoints_prune(const char *out, int64_t step, int keep, struct lm_status *status) {
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

bool lm_checkpoints_remove_all(const char *out, struct lm_status *status) {
    struct list list;
    bool ok = list_init(&list, out, status) &&
              remove_steps(out, list.n, list.step, "", status) &&
              remove_steps(out, list.n_half, list.half, ".partial", status) &&
              remove_steps(out, list.n_half, list.half, ".new", status);
    list_clear(&list);
    return ok;
}
