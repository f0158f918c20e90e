/* Checkpoints of a run: their names, the newest, those that are no longer kept. */
#include "checkpoints.h"

#include "checkpoint.h"
#include "memory.h"
#include "together.h"

#include <fcntl.h>

static struct lm_status status;

START_TEST(names_files_after_steps) {
    const char *const pairs[][2] = {{"fig1.h5", "fig1.checkpoint-000400.h5"},
                                    {"a.b/fig1", "a.b/fig1.checkpoint-000400.h5"},
                                    {"/x/.h5", "/x/.checkpoint-000400.h5"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *path = lm_checkpoints_path(pairs[i][0], 400);
        ck_assert_str_eq(path, pairs[i][1]);
        lm_free(path);
    }
    char *path = lm_checkpoints_path("fig1.h5", 12345678);
    ck_assert_str_eq(path, "fig1.checkpoint-12345678.h5");
    lm_free(path);
}
END_TEST

static void touch(const char *name) {
    int file = open(together_path(name), O_WRONLY | O_CREAT, 0666);
    ck_assert(file >= 0);
    close(file);
}

static bool is_there(const char *name) {
    return access(together_path(name), F_OK) == 0;
}

static void check_newest(const char *out, int64_t expected) {
    int64_t step = -1;
    char *path = lm_checkpoints_newest(out, &step, &status);
    ck_assert_int_eq(status.code, LM_OK);
    ck_assert_int_eq(step, expected);
    ck_assert((path != NULL) == (expected >= 0));
    char *same = lm_checkpoints_path(out, step);
    ck_assert(!path || strcmp(path, same) == 0);
    lm_free(same);
    lm_free(path);
}

START_TEST(finds_and_prunes) {
    size_t blocks = lm_memory_blocks();
    if (together_peers().rank == 0) {
        const char *out = together_path("run.h5");
        check_newest(out, -1);
        check_newest(together_path("no/run.h5"), -1);
        static const char *const others[] = {"run.checkpoint-9.h5",
                                             "run.checkpoint-000900.h5x",
                                             "run2.checkpoint-000900.h5",
                                             "run.checkpoint-00900a.h5",
                                             "run.h5",
                                             "xrun.checkpoint-000900.h5"};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            touch(others[i]);
        check_newest(out, -1);
        static const char *const ours[] = {
            "run.checkpoint-000100.h5", "run.checkpoint-1000000.h5", "run.checkpoint-999999.h5",
            "run.checkpoint-000000.h5"};
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            touch(ours[i]);
        touch("run.checkpoint-2000000.h5.partial");
        check_newest(out, 1000000);
        CHECK_OK(lm_checkpoints_prune(out, INT64_MAX, 0, &status));
        CHECK_OK(lm_checkpoints_prune(out, INT64_MAX, 9, &status));
        ck_assert(is_there(ours[0]) && is_there(ours[3]));
        CHECK_OK(lm_checkpoints_prune(out, 999999, 2, &status)); /* newer ones do not count */
        ck_assert(is_there(ours[0]) && is_there(ours[1]) && is_there(ours[2]));
        ck_assert(!is_there(ours[3]));
        CHECK_OK(lm_checkpoints_prune(out, INT64_MAX, 2, &status));
        ck_assert(!is_there(ours[0]) && is_there(ours[1]) && is_there(ours[2]));
        ck_assert(!is_there(ours[3]) && is_there("run.checkpoint-2000000.h5.partial"));
        CHECK_OK(lm_checkpoints_remove_all(out, &status));
        check_newest(out, -1);
        ck_assert(!is_there("run.checkpoint-2000000.h5.partial"));
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            ck_assert(is_there(others[i]));
    }
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

static char warned[2000];

static void warn(const char *message) {
    strncat(warned, message, sizeof warned - strlen(warned) - 1);
}

/* One layer with a moment. */
static void write_checkpoint(const char *path, int64_t steps) {
    struct lm_peers alone = {NULL, 0, 1};
    real parameters[] = {(real)0.1, (real)-0.7}, moment[] = {(real)1.3, (real)-1.9};
    const char *const moments[] = {"second"};
    struct lm_checkpoint_layer layer = {.name = "V1",
                                        .n_parameters = 2,
                                        .parameters = parameters,
                                        .n_moments = 1,
                                        .moment_names = moments,
                                        .moment = {moment}};
    struct lm_checkpoint checkpoint = {.settings = "training: {seed: 1}\n",
                                       .steps_done = steps,
                                       .n_layers = 1,
                                       .layers = &layer};
    CHECK_OK(lm_checkpoint_write(path, &alone, &checkpoint, &status));
}

/* Change one number of a dataset in place. */
static void damage(const char *path, const char *dataset) {
    struct lm_store *store = lm_store_open(path, &status);
    size_t extent;
    ck_assert(store && lm_store_extent(store, dataset, 1, &extent, &status));
    real value;
    struct lm_slab slab = {dataset, LM_FIELD_REAL, {extent - 1}, {1}};
    CHECK_OK(lm_store_read(store, &slab, &value, &status));
    lm_store_close(store);
    FILE *file = fopen(path, "r+b");
    unsigned char bytes[1 << 17];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    bool found = false;
    for (size_t i = 0; !found && i + sizeof value <= size; i++)
        if (memcmp(bytes + i, &value, sizeof value) == 0) {
            fseek(file, (long)i, SEEK_SET);
            fputc(bytes[i] ^ 1, file);
            found = true;
        }
    fclose(file);
    ck_assert(found);
}

START_TEST(takes_the_newest_that_is_sound) {
    const char *out = together_path("run.h5");
    int64_t step;
    if (together_peers().rank != 0)
        return;
    ck_assert(!lm_checkpoints_newest_sound(out, &step, warn, &status) && status.code == LM_OK);
    char *paths[3];
    for (int i = 0; i < 3; i++)
        write_checkpoint(paths[i] = lm_checkpoints_path(out, i + 1), i + 1);
    damage(paths[2], "/layers/V1/second");
    ck_assert(truncate(paths[1], 1000) == 0);
    char *found = lm_checkpoints_newest_sound(out, &step, warn, &status);
    ck_assert(found && step == 1);
    ck_assert_str_eq(found, paths[0]);
    ck_assert_msg(
        strstr(warned, "checkpoint-000003.h5: /layers/V1/second is damaged: its CRC-32"), "%s",
        warned);
    ck_assert(strstr(warned, "checkpoint-000002.h5 is damaged or truncated") != NULL);
    damage(paths[0], "/layers/V1/parameters");
    ck_assert(!lm_checkpoints_newest_sound(out, &step, warn, &status));
    ck_assert(status.code == LM_DATA && strstr(status.message, "/layers/V1/second"));
    lm_free(found);
    for (int i = 0; i < 3; i++)
        lm_free(paths[i]);
}
END_TEST

/* A folder that cannot be read is not one without checkpoints. */
START_TEST(says_which_folder_it_cannot_read) {
    int64_t step;
    if (together_peers().rank != 0)
        return;
    touch("file");
    const char *out = together_path("file/run.h5");
    for (int i = 0; i < 4; i++) {
        status.code = LM_OK;
        if (i == 0)
            ck_assert(!lm_checkpoints_newest(out, &step, &status));
        else if (i == 1)
            ck_assert(!lm_checkpoints_newest_sound(out, &step, warn, &status));
        else if (i == 2)
            ck_assert(!lm_checkpoints_prune(out, 1, 1, &status));
        else
            ck_assert(!lm_checkpoints_remove_all(out, &status));
        ck_assert_int_eq(status.code, LM_NO_INPUT);
        ck_assert_msg(strstr(status.message, "/file: Not a directory") != NULL, "%s",
                      status.message);
    }
}
END_TEST

/* A checkpoint stands for itself, a run file for its newest one. */
START_TEST(finds_that_of_a_file) {
    struct lm_peers alone = {NULL, 0, 1};
    if (together_peers().rank != 0)
        return;
    const char *out = together_path("run.h5");
    struct lm_store *store = lm_store_create(out, &alone, &status);
    CHECK_OK(lm_store_set_text(store, "/", "format", "lamina run", &status));
    CHECK_OK(lm_store_commit(store, &status));
    ck_assert(!lm_checkpoints_of(out, &status) && status.code == LM_NO_INPUT);
    ck_assert(strstr(status.message, "no checkpoint of this run is beside it") != NULL);
    char *path = lm_checkpoints_path(out, 3);
    write_checkpoint(path, 3);
    for (int i = 0; i < 2; i++) {
        char *found = lm_checkpoints_of(i ? path : out, &status);
        ck_assert(found && strcmp(found, path) == 0);
        lm_free(found);
    }
    lm_free(path);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {names_files_after_steps, finds_and_prunes,
                                  takes_the_newest_that_is_sound,
                                  says_which_folder_it_cannot_read, finds_that_of_a_file};
    return together_run(tests, sizeof tests / sizeof *tests);
}
