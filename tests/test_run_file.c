#include "run_file.h"

#include "gradient_file.h"
#include "memory.h"
#include "together.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

static struct lm_status status;

enum { LAYERS = 3, STEPS = 6, INPUTS = 2, ERROR_STEPS = 3, ITERATIONS = 4, STEP_SIZES = 2 };

static const char *const names[LAYERS] = {"V1", "IT", "out"};
static const int64_t error_steps[ERROR_STEPS] = {0, 4, 6};
static const double step_sizes[STEP_SIZES] = {0.1, 0.5};
static const size_t sizes[LAYERS] = {5, 3, 7};

/* Layers go to ranks in turn; the output is the last layer. */
static struct lm_records_plan make_plan(const struct lm_peers *peers, bool owned[LAYERS]) {
    for (int l = 0; l < LAYERS; l++)
        owned[l] = l % peers->size == peers->rank;
    return (struct lm_records_plan){.n_layers = LAYERS,
                                    .layers = names,
                                    .owned = owned,
                                    .owns_output = owned[LAYERS - 1],
                                    .n_steps = STEPS,
                                    .n_error_steps = ERROR_STEPS,
                                    .error_steps = error_steps,
                                    .n_inputs = INPUTS};
}

static void fill_curves(struct lm_records *records, const struct lm_records_plan *plan,
                        int to) {
    for (int step = 0; step < to; step++) {
        if (plan->owns_output)
            lm_records_curve(records, LM_RECORD_LOSS, 0)[step] = 1.0 / (step + 1);
        for (int l = 0; l < LAYERS; l++)
            if (plan->owned[l])
                lm_records_curve(records, LM_RECORD_ANGLE, l)[step] = 10 * l + step;
    }
}

static void fill_errors(struct lm_records *records, const struct lm_records_plan *plan, int k) {
    for (int i = 0; i < INPUTS; i++) {
        if (plan->owns_output)
            lm_records_integers(records, LM_RECORD_LABEL, k)[i] = 100 * k + i;
        for (int l = 0; l < LAYERS; l++)
            if (plan->owned[l])
                lm_records_errors(records, LM_RECORD_MAGNITUDE, k, l)[i] = 100 * k + 10 * l + i;
    }
}

static const struct lm_run_layer layers[LAYERS] = {
    {"V1", 20, "5 x 2 x 2", "conv2d > relu", 5, 0},
    {"IT", 4, "4", "linear > relu", 3, 1},
    {"out", 10, "10", "linear", 7, 2}};

static const struct lm_run_meta meta = {
    .command = "lamina train example.yaml",
    .settings = "training:\n  seed: 7\n  note: \xc3\xa9\n",
    .seed = 7,
    .threads = 1,
    .replicas = 1,
    .placement = "V1:0 IT:1 out:2",
    .n_layers = LAYERS,
    .layers = layers,
};

/* What rank `from` sent to rank `to`, made up. */
static int64_t entry(int matrix, int from, int to) {
    return 1000 * matrix + 10 * from + to;
}

static void write_traffic(struct lm_run_file *file, const struct lm_peers *peers) {
    const struct lm_run_text texts[] = {{"phase", "inference"}};
    struct lm_run_traffic traffic = {.n_texts = 1, .texts = texts};
    for (int m = 0; m < LM_MATRICES; m++) {
        traffic.row[m] = lm_allocate((size_t)peers->size, sizeof(int64_t));
        for (int to = 0; to < peers->size; to++)
            traffic.row[m][to] = entry(m, peers->rank, to);
    }
    CHECK_OK(lm_run_file_write_traffic(file, &traffic, &status));
    for (int m = 0; m < LM_MATRICES; m++)
        lm_free(traffic.row[m]);
}

/* A run that stops after `steps` steps; all error records up to there are made. */
static struct lm_run_file *run(const char *path, const struct lm_peers *peers,
                               struct lm_records *records, int steps) {
    const struct lm_records_plan *plan = lm_records_get_plan(records);
    struct lm_run_file *file = lm_run_file_create(path, peers, &meta, records, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    fill_curves(records, plan, steps);
    CHECK_OK(lm_run_file_write_steps(file, 0, 2, &status));
    CHECK_OK(lm_run_file_flush(file, 2, &status));
    CHECK_OK(lm_run_file_write_steps(file, 2, steps, &status));
    for (int k = 0; k < ERROR_STEPS && error_steps[k] <= steps; k++) {
        fill_errors(records, plan, k);
        CHECK_OK(lm_run_file_write_errors(file, k, &status));
    }
    write_traffic(file, peers);
    return file;
}

static int64_t read_integer(struct lm_store *store, const char *object, const char *name) {
    int64_t value;
    CHECK_OK(lm_store_get_integer(store, object, name, &value, &status));
    return value;
}

static void check_text(struct lm_store *store, const char *object, const char *name,
                       const char *expected) {
    char *text = lm_store_get_text(store, object, name, &status);
    ck_assert_msg(text != NULL, "%s", status.message);
    ck_assert_str_eq(text, expected);
    lm_free(text);
}

static void check_numbers(struct lm_store *store, int steps) {
    double loss[STEPS], angle[LAYERS][STEPS], magnitude[LAYERS][INPUTS];
    int64_t label[INPUTS];
    struct lm_slab losses = {"/training/loss", LM_FIELD_DOUBLE, {0}, {STEPS}};
    struct lm_slab angles = {"/training/angle", LM_FIELD_DOUBLE, {0, 0}, {LAYERS, STEPS}};
    struct lm_slab labels = {"/errors/4/label", LM_FIELD_INT64, {0}, {INPUTS}};
    struct lm_slab magnitudes = {
        "/errors/4/magnitude", LM_FIELD_DOUBLE, {0, 0}, {LAYERS, INPUTS}};
    CHECK_OK(lm_store_read(store, &losses, loss, &status));
    CHECK_OK(lm_store_read(store, &angles, angle, &status));
    CHECK_OK(lm_store_read(store, &labels, label, &status));
    CHECK_OK(lm_store_read(store, &magnitudes, magnitude, &status));
    for (int step = 0; step < STEPS; step++) {
        ck_assert(step < steps ? loss[step] == 1.0 / (step + 1) : isnan(loss[step]));
        for (int l = 0; l < LAYERS; l++)
            ck_assert(step < steps ? angle[l][step] == 10 * l + step : isnan(angle[l][step]));
    }
    for (int i = 0; i < INPUTS; i++) {
        ck_assert(label[i] == (steps >= 4 ? 100 + i : -1));
        for (int l = 0; l < LAYERS; l++)
            ck_assert(steps >= 4 ? magnitude[l][i] == 100 + 10 * l + i
                                 : isnan(magnitude[l][i]));
    }
}

static void check_traffic(struct lm_store *store, int ranks) {
    static const char *const paths[LM_MATRICES] = {"/traffic/messages", "/traffic/bytes",
                                                   "/traffic/within_messages",
                                                   "/traffic/within_bytes"};
    for (int m = 0; m < LM_MATRICES; m++) {
        int64_t found[16];
        size_t n = (size_t)ranks;
        struct lm_slab slab = {paths[m], LM_FIELD_INT64, {0, 0}, {n, n}};
        CHECK_OK(lm_store_read(store, &slab, found, &status));
        for (int i = 0; i < ranks * ranks; i++)
            ck_assert_int_eq(found[i], entry(m, i / ranks, i % ranks));
    }
    check_text(store, "/traffic", "phase", "inference");
}

START_TEST(holds_a_whole_run) {
    size_t blocks = lm_memory_blocks();
    struct lm_peers peers = together_peers();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    struct lm_records *records = lm_records_create(&plan);
    const char *path = together_path("run.h5");
    struct lm_run_file *file = run(path, &peers, records, STEPS);
    const double seconds[LAYERS] = {1.5, 2.5, 3.5};
    CHECK_OK(lm_run_file_write_costs(file, seconds, &status));
    CHECK_OK(lm_run_file_finish(file, STEPS, &status));
    struct lm_store *store = lm_store_open(path, &status);
    ck_assert_msg(store != NULL, "%s", status.message);
    CHECK_OK(lm_store_check_format(store, "lamina run", 1, &status));
    check_numbers(store, STEPS);
    check_traffic(store, peers.size);
    check_text(store, "/", "settings", meta.settings);
    check_text(store, "/", "placement", meta.placement);
    check_text(store, "/", "real", LM_REAL_NAME);
    check_text(store, "/layers/IT", "map", "linear > relu");
    double cost;
    CHECK_OK(lm_store_get_double(store, "/layers/out", "seconds", &cost, &status));
    ck_assert(cost == 3.5);
    ck_assert_int_eq(read_integer(store, "/", "complete"), 1);
    ck_assert_int_eq(read_integer(store, "/", "steps_done"), STEPS);
    ck_assert_int_eq(read_integer(store, "/", "ranks"), peers.size);
    ck_assert_int_eq(read_integer(store, "/layers/out", "parameters"), 7);
    ck_assert_int_eq(read_integer(store, "/errors/4", "step"), 4);
    lm_store_close(store);
    lm_records_destroy(records);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

/* The partial file of a run that stopped early tells what was done. */
START_TEST(shows_how_far_it_came) {
    struct lm_peers peers = together_peers();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    struct lm_records *records = lm_records_create(&plan);
    struct lm_run_file *file = run(together_path("run.h5"), &peers, records, 5);
    CHECK_OK(lm_run_file_flush(file, 5, &status));
    lm_run_file_abandon(file);
    ck_assert(access(together_path("run.h5"), F_OK) != 0);
    struct lm_store *store = lm_store_open(together_path("run.h5.partial"), &status);
    ck_assert_msg(store != NULL, "%s", status.message);
    check_numbers(store, 5);
    ck_assert_int_eq(read_integer(store, "/", "complete"), 0);
    ck_assert_int_eq(read_integer(store, "/", "steps_done"), 5);
    lm_store_close(store);
    lm_records_destroy(records);
}
END_TEST

START_TEST(does_not_claim_to_be_complete) {
    struct lm_peers peers = together_peers();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    struct lm_records *records = lm_records_create(&plan);
    struct lm_run_file *file = run(together_path("run.h5"), &peers, records, 3);
    CHECK_OK(lm_run_file_finish(file, 3, &status));
    struct lm_store *store = lm_store_open(together_path("run.h5"), &status);
    ck_assert(store != NULL);
    check_numbers(store, 3);
    ck_assert_int_eq(read_integer(store, "/", "complete"), 0);
    lm_store_close(store);
    lm_records_destroy(records);
}
END_TEST

START_TEST(gives_records_to_their_owners_only) {
    struct lm_peers peers = together_peers();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    struct lm_records *records = lm_records_create(&plan);
    for (int l = 0; l < LAYERS; l++) {
        double *energy = lm_records_curve(records, LM_RECORD_ENERGY, l);
        double *magnitude = lm_records_errors(records, LM_RECORD_MAGNITUDE, 2, l);
        ck_assert((energy != NULL) == owned[l] && (magnitude != NULL) == owned[l]);
        ck_assert(!energy || (isnan(energy[0]) && isnan(energy[STEPS - 1])));
        ck_assert(!magnitude || isnan(magnitude[INPUTS - 1]));
    }
    int64_t *index = lm_records_integers(records, LM_RECORD_INDEX, 1);
    ck_assert((index != NULL) == plan.owns_output && (!index || index[0] == -1));
    ck_assert((lm_records_curve(records, LM_RECORD_LOSS, 0) != NULL) == plan.owns_output);
    lm_records_destroy(records);
}
END_TEST

/* Without error records there is no group for them. */
START_TEST(leaves_out_what_is_not_recorded) {
    struct lm_peers peers = together_peers();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    plan.n_error_steps = 0;
    struct lm_records *records = lm_records_create(&plan);
    const char *path = together_path("run.h5");
    struct lm_run_file *file = lm_run_file_create(path, &peers, &meta, records, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    CHECK_OK(lm_run_file_finish(file, 0, &status));
    struct lm_store *store = lm_store_open(path, &status);
    size_t extent[1];
    ck_assert(!lm_store_extent(store, "/errors/input", 1, extent, &status));
    CHECK_OK(lm_store_extent(store, "/training/loss", 1, extent, &status));
    lm_store_close(store);
    lm_records_destroy(records);
}
END_TEST

START_TEST(says_where_it_cannot_write) {
    struct lm_peers peers = together_peers();
    size_t blocks = lm_memory_blocks();
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&peers, owned);
    struct lm_records *records = lm_records_create(&plan);
    ck_assert(!lm_run_file_create(together_path("no/run.h5"), &peers, &meta, records, &status));
    ck_assert_int_eq(status.code, LM_CANT_CREATE);
    ck_assert(strstr(status.message, "no/run.h5: No such file or directory") != NULL);
    lm_records_destroy(records);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

/* Update s of a layer: number i is s + l + i / 10. */
static void write_updates(struct lm_gradient_file *file, int layer) {
    for (int s = LM_EXACT_UPDATE; s < STEP_SIZES; s++) {
        real update[8], parameters[8];
        for (size_t i = 0; i < sizes[layer]; i++) {
            update[i] = (real)(s + layer) + (real)i / 10;
            parameters[i] = (real)i;
        }
        CHECK_OK(lm_gradient_file_write_update(file, s, layer, update, &status));
        CHECK_OK(lm_gradient_file_write_parameters(file, layer, parameters, &status));
    }
}

static void write_gradients(const char *path, const struct lm_peers *peers, bool updates) {
    struct lm_gradient_plan plan = {STEP_SIZES, step_sizes, ITERATIONS, updates};
    struct lm_gradient_file *file = lm_gradient_file_create(path, peers, &meta, &plan, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    for (int l = peers->rank; l < LAYERS; l += peers->size) {
        for (int s = 0; s < STEP_SIZES; s++) {
            double values[ITERATIONS];
            for (int i = 0; i < ITERATIONS; i++)
                values[i] = 100 * s + 10 * l + i;
            CHECK_OK(lm_gradient_file_write(file, LM_GRADIENT_ANGLE, s, l, values, &status));
        }
        if (updates)
            write_updates(file, l);
    }
    CHECK_OK(lm_gradient_file_finish(file, &status));
}

START_TEST(holds_gradients) {
    size_t blocks = lm_memory_blocks();
    struct lm_peers peers = together_peers();
    const char *path = together_path("gradients.h5");
    write_gradients(path, &peers, false);
    write_gradients(path, &peers, true);
    struct lm_store *store = lm_store_open(path, &status);
    ck_assert_msg(store != NULL, "%s", status.message);
    double angle[STEP_SIZES][LAYERS][ITERATIONS], size;
    struct lm_slab angles = {
        "/gradients/angle", LM_FIELD_DOUBLE, {0}, {STEP_SIZES, LAYERS, ITERATIONS}};
    CHECK_OK(lm_store_read(store, &angles, angle, &status));
    for (int s = 0; s < STEP_SIZES; s++)
        for (int l = 0; l < LAYERS; l++)
            for (int i = 0; i < ITERATIONS; i++)
                ck_assert(angle[s][l][i] == 100 * s + 10 * l + i);
    real update[7];
    struct lm_slab updates = {"/updates/1/out", LM_FIELD_REAL, {0}, {7}};
    CHECK_OK(lm_store_read(store, &updates, update, &status));
    ck_assert(update[6] == (real)3 + (real)6 / 10);
    updates.path = "/updates/exact/out";
    CHECK_OK(lm_store_read(store, &updates, update, &status));
    ck_assert(update[1] == (real)1 + (real)1 / 10);
    updates.path = "/parameters/out";
    CHECK_OK(lm_store_read(store, &updates, update, &status));
    ck_assert(update[6] == 6);
    CHECK_OK(lm_store_get_double(store, "/updates/1", "step_size", &size, &status));
    ck_assert(size == 0.5);
    lm_store_close(store);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

static const char *example_folder;

/* Example files for test_run_file.py: FOLDER/run.h5, of a run that stopped after 5 of 6
 * steps, and FOLDER/gradients.h5. Without MPI. */
START_TEST(writes_examples) {
    struct lm_peers alone = {NULL, 0, 1};
    bool owned[LAYERS];
    struct lm_records_plan plan = make_plan(&alone, owned);
    struct lm_records *records = lm_records_create(&plan);
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/run.h5", example_folder);
    CHECK_OK(lm_run_file_finish(run(path, &alone, records, 5), 5, &status));
    snprintf(path, sizeof path, "%s/gradients.h5", example_folder);
    write_gradients(path, &alone, true);
    lm_records_destroy(records);
}
END_TEST

static int run_examples(const char *folder) {
    example_folder = folder;
    Suite *suite = suite_create("examples");
    TCase *tests = tcase_create("examples");
    tcase_add_test(tests, writes_examples);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--example") == 0)
        return run_examples(argv[2]);
    const TTest *const tests[] = {holds_a_whole_run,
                                  shows_how_far_it_came,
                                  does_not_claim_to_be_complete,
                                  gives_records_to_their_owners_only,
                                  leaves_out_what_is_not_recorded,
                                  says_where_it_cannot_write,
                                  holds_gradients};
    return together_run(tests, sizeof tests / sizeof *tests);
}
