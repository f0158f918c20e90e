/* Settings: the bytes of a file, and behind each 0 byte a `--set`. */
#include "fuzz.h"
#include "memory.h"
#include "settings.h"

#include <string.h>

enum { MOST_SETS = 8 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fuzz_start();
    return 0;
}

/* The text of all settings says the same when it is read again. */
static void check_text(const struct lm_settings_file *file) {
    static const char *const none[] = {NULL};
    struct lm_status status = {0};
    const char *text = lm_settings_text(file);
    struct lm_settings_file *again = lm_settings_parse("again", text, 0, NULL, &status);
    PROMISE(again);
    PROMISE(strcmp(lm_settings_text(again), text) == 0);
    PROMISE(lm_settings_same(text, lm_settings_text(again), none, &status));
    PROMISE(lm_settings_get(again)->training.seed == lm_settings_get(file)->training.seed);
    PROMISE(lm_settings_get(again)->network.n_layers ==
            lm_settings_get(file)->network.n_layers);
    lm_settings_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t blocks = lm_memory_blocks();
    char *copy = lm_allocate(size + 1, 1);
    if (size)
        memcpy(copy, data, size);
    const char *set[MOST_SETS];
    int n_set = 0;
    for (size_t at = strlen(copy) + 1; at < size && n_set < MOST_SETS;
         at += strlen(copy + at) + 1)
        set[n_set++] = copy + at;
    struct lm_status status = {0};
    struct lm_settings_file *file = lm_settings_parse("file", copy, n_set, set, &status);
    if (file)
        check_text(file);
    else
        fuzz_check_failure(&status, LM_CONFIG, LM_CONFIG);
    lm_settings_destroy(file);
    lm_free(copy);
    PROMISE(lm_memory_blocks() == blocks);
    return 0;
}
