#include "fuzz_resume.h"

#include "checkpoint.h"
#include "fuzz.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, LARGEST = 5, MOMENTS = 2, STEPS = 4, INPUTS = 2, ERROR_STEPS = 2 };

static const char *const names[LAYERS] = {"V1", "out"};
static const char *const moments[MOMENTS] = {"first_moment", "second_moment"};
static const size_t sizes[LAYERS] = {LARGEST, 3};
static const int64_t error_steps[ERROR_STEPS] = {0, STEPS};
static const bool owned[LAYERS] = {true, true};
static const struct lm_records_plan plan = {.n_layers = LAYERS,
                                            .layers = names,
                                            .owned = owned,
                                            .owns_output = true,
                                            .n_steps = STEPS,
                                            .n_error_steps = ERROR_STEPS,
                                            .error_steps = error_steps,
                                            .n_inputs = INPUTS};

struct state {
    real values[LAYERS][1 + MOMENTS][LARGEST];
    struct lm_checkpoint_layer layers[LAYERS];
    struct lm_checkpoint checkpoint;
};

static void state_init(struct state *state, int n_moments, bool records) {
    memset(state, 0, sizeof *state);
    for (int l = 0; l < LAYERS; l++) {
        state->layers[l] = (struct lm_checkpoint_layer){.name = names[l],
                                                        .n_parameters = sizes[l],
                                                        .parameters = state->values[l][0],
                                                        .n_moments = n_moments,
                                                        .moment_names = moments};
        for (int m = 0; m < n_moments; m++)
            state->layers[l].moment[m] = state->values[l][1 + m];
    }
    state->checkpoint =
        (struct lm_checkpoint){.settings = "training: {seed: 1}\n",
                               .steps_done = STEPS,
                               .n_layers = LAYERS,
                               .layers = state->layers,
                               .records = records ? lm_records_create(&plan) : NULL};
}

uint8_t *fuzz_good_checkpoint(const char *path, size_t *size) {
    const struct lm_peers alone = {NULL, 0, 1};
    struct state state;
    struct lm_status status;
    state_init(&state, MOMENTS, true);
    PROMISE(lm_checkpoint_write(path, &alone, &state.checkpoint, &status));
    PROMISE(lm_checkpoint_read(path, &state.checkpoint, &status));
    lm_records_destroy(state.checkpoint.records);
    FILE *file = fopen(path, "rb");
    PROMISE(file && fseek(file, 0, SEEK_END) == 0 && ftell(file) > 0);
    *size = (size_t)ftell(file);
    uint8_t *bytes = malloc(*size);
    rewind(file);
    PROMISE(bytes && fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

/* With the state of the optimizer and the records, or without both. */
static void read_state(const char *path, bool whole) {
    struct state state;
    struct lm_status status = {0};
    state_init(&state, whole ? MOMENTS : 0, whole);
    if (lm_checkpoint_read(path, &state.checkpoint, &status))
        PROMISE(0 <= state.checkpoint.steps_done &&
                (!whole || state.checkpoint.steps_done <= STEPS));
    else
        fuzz_check_failure(&status, LM_DATA, LM_IO);
    lm_records_destroy(state.checkpoint.records);
}

void fuzz_resume(const char *path) {
    size_t blocks = lm_memory_blocks();
    struct lm_status status = {0};
    char *text = lm_checkpoint_settings(path, &status);
    if (text)
        PROMISE(strlen(text) < SIZE_MAX);
    else
        fuzz_check_failure(&status, LM_DATA, LM_IO);
    lm_free(text);
    read_state(path, true);
    read_state(path, false);
    PROMISE(lm_memory_blocks() == blocks);
}
