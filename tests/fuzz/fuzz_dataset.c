#include "fuzz_dataset.h"

#include "fuzz.h"
#include "memory.h"

#include <string.h>

/* Read every byte: a sanitizer watches. */
static void touch(const uint8_t *bytes, size_t n) {
    static volatile uint8_t last;
    for (size_t i = 0; i < n; i++)
        last = bytes[i];
    (void)last;
}

void fuzz_dataset(const char *format, enum lm_split split, int want, size_t classes) {
    size_t blocks = lm_memory_blocks();
    struct lm_dataset set;
    struct lm_status status = {0};
    if (lm_dataset_read(&set, format, fuzz_path("."), split, want, classes, &status)) {
        PROMISE(set.n > 0 && lm_shape_units(&set.shape) > 0);
        PROMISE(set.source && set.label_source);
        PROMISE(!set.images == !(want & LM_WANT_IMAGES));
        PROMISE(!set.labels == !(want & LM_WANT_LABELS));
        if (set.images)
            touch(set.images, set.n * lm_shape_units(&set.shape));
        for (size_t i = 0; set.labels && i < set.n; i++)
            PROMISE(set.labels[i] < classes);
        lm_dataset_clear(&set);
    } else {
        fuzz_check_failure(&status, LM_DATA, LM_NO_INPUT);
        static const struct lm_dataset empty;
        PROMISE(!set.source && !set.label_source && !set.images && !set.labels &&
                set.n == empty.n);
    }
    PROMISE(lm_memory_blocks() == blocks);
}
