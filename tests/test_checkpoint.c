#include "checkpoint.h"

#include "memory.h"
#include "together.h"

#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct lm_status status;

enum { LAYERS = 3, LARGEST = 7, MOMENTS = 2, STEPS = 6, INPUTS = 2, ERROR_STEPS = 3 };

static const char *const names[LAYERS] = {"V1", "IT", "out"};
static const char *const moments[MOMENTS] = {"first", "second"};
static const size_t sizes[LAYERS] = {5, 0, LARGEST}; /* IT has no parameters */
static const int64_t error_steps[ERROR_STEPS] = {0, 4, 6};

/* The state of one rank of a job, which owns some of the layers. */
struct state {
    bool owned[LAYERS];
    real values[LAYERS][1 + MOMENTS][LARGEST];
    struct lm_checkpoint_layer layers[LAYERS];
    struct lm_records_plan plan;
    struct lm_checkpoint checkpoint;
};

/* State of a rank that owns the layers l with l % size == rank. */
static void state_init(struct state *state, int rank, int size) {
    memset(state, 0, sizeof *state);
    for (int l = 0; l < LAYERS; l++) {
        bool owned = state->owned[l] = l % size == rank;
        struct lm_checkpoint_layer *layer = &state->layers[l];
        *layer = (struct lm_checkpoint_layer){
            .name = names[l], .n_parameters = sizes[l], .n_moments = MOMENTS};
        layer->moment_names = moments;
        layer->parameters = owned ? state->values[l][0] : NULL;
        for (int m = 0; m < MOMENTS; m++)
            layer->moment[m] = owned ? state->values[l][1 + m] : NULL;
    }
    state->plan = (struct lm_records_plan){.n_layers = LAYERS,
                                           .layers = names,
                                           .owned = state->owned,
                                           .owns_output = state->owned[LAYERS - 1],
                                           .n_steps = STEPS,
                                           .n_error_steps = ERROR_STEPS,
                                           .error_steps = error_steps,
                                           .n_inputs = INPUTS};
    state->checkpoint = (struct lm_checkpoint){.settings = "training: {seed: 1}\n",
                                               .n_layers = LAYERS,
                                               .layers = state->layers,
                                               .records = lm_records_create(&state->plan)};
}

static void state_clear(struct state *state) {
    lm_records_destroy(state->checkpoint.records);
}

/* A number of its own for every place; not a round one in binary. */
static real parameter(int layer, int array, size_t i) {
    return (real)(100 * layer + 10 * array) + (real)i / 10;
}

/* What training would have made by `steps`. Records beyond are made too: they must not
 * come back. */
static void state_fill(struct state *state, int64_t steps) {
    struct lm_records *records = state->checkpoint.records;
    state->checkpoint.steps_done = steps;
    for (int l = 0; l < LAYERS; l++) {
        for (int a = 0; a <= MOMENTS; a++)
            for (size_t i = 0; i < sizes[l]; i++)
                state->values[l][a][i] = parameter(l, a, i);
        if (!state->owned[l])
            continue;
        for (int step = 0; step < STEPS; step++)
            lm_records_curve(records, LM_RECORD_ENERGY, l)[step] = 10 * l + step;
        for (int k = 0; k < ERROR_STEPS; k++)
            for (int i = 0; i < INPUTS; i++)
                lm_records_errors(records, LM_RECORD_MAGNITUDE, k, l)[i] = 100 * k + 10 * l + i;
    }
    if (state->plan.owns_output) {
        for (int step = 0; step < STEPS; step++)
            lm_records_curve(records, LM_RECORD_LOSS, 0)[step] = step;
        for (int k = 0; k < ERROR_STEPS; k++)
            lm_records_integers(records, LM_RECORD_PREDICTION, k)[0] = k;
    }
}

static bool is_or_nan(double found, bool there, double expected) {
    return there ? found == expected : isnan(found);
}

/* The layers and records that were filled by `steps`, and nothing else. */
static void state_check(const struct state *state, int64_t steps) {
    struct lm_records *records = state->checkpoint.records;
    ck_assert_int_eq(state->checkpoint.steps_done, steps);
    for (int l = 0; l < LAYERS; l++) {
        for (int a = 0; a <= MOMENTS; a++)
            for (size_t i = 0; i < sizes[l]; i++)
                ck_assert(state->values[l][a][i] == (state->owned[l] ? parameter(l, a, i) : 0));
        if (!state->owned[l])
            continue;
        for (int step = 0; step < STEPS; step++)
            ck_assert(is_or_nan(lm_records_curve(records, LM_RECORD_ENERGY, l)[step],
                                step < steps, 10 * l + step));
        for (int k = 0; k < ERROR_STEPS; k++)
            ck_assert(is_or_nan(lm_records_errors(records, LM_RECORD_MAGNITUDE, k, l)[1],
                                error_steps[k] <= steps, 100 * k + 10 * l + 1));
    }
    for (int step = 0; state->plan.owns_output && step < STEPS; step++)
        ck_assert(
            is_or_nan(lm_records_curve(records, LM_RECORD_LOSS, 0)[step], step < steps, step));
    for (int k = 0; state->plan.owns_output && k < ERROR_STEPS; k++)
        ck_assert_int_eq(lm_records_integers(records, LM_RECORD_PREDICTION, k)[0],
                         error_steps[k] <= steps ? k : -1);
}

static void write_checkpoint(const char *path, const struct lm_peers *peers, int64_t steps) {
    struct state state;
    state_init(&state, peers->rank, peers->size);
    state_fill(&state, steps);
    CHECK_OK(lm_checkpoint_write(path, peers, &state.checkpoint, &status));
    state_clear(&state);
}

static void check_checkpoint(const char *path, int rank, int size, int64_t steps) {
    struct state state;
    state_init(&state, rank, size);
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    state_check(&state, steps);
    state_clear(&state);
}

START_TEST(reads_on_any_ranks) {
    size_t blocks = lm_memory_blocks();
    struct lm_peers peers = together_peers(), alone = {NULL, 0, 1};
    const char *together = together_path("together.h5"), *single = together_path("single.h5");
    write_checkpoint(together, &peers, 4);
    if (peers.rank == 0)
        write_checkpoint(single, &alone, 5);
    together_wait();
    for (int size = 1; size <= LAYERS; size++)
        for (int rank = 0; rank < size; rank++) {
            check_checkpoint(together, rank, size, 4);
            check_checkpoint(single, rank, size, 5);
        }
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(reads_before_and_after_training) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    write_checkpoint(path, &peers, 0);
    check_checkpoint(path, 0, 1, 0);
    together_wait();
    write_checkpoint(path, &peers, STEPS);
    check_checkpoint(path, 0, 1, STEPS);
}
END_TEST

START_TEST(carries_its_settings) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    write_checkpoint(path, &peers, 4);
    char *text = lm_checkpoint_settings(path, &status);
    ck_assert_msg(text != NULL, "%s", status.message);
    ck_assert_str_eq(text, "training: {seed: 1}\n");
    lm_free(text);
    ck_assert(!lm_checkpoint_settings(together_path("none.h5"), &status));
    ck_assert_int_eq(status.code, LM_NO_INPUT);
}
END_TEST

static void check_read_fails(const char *path, struct state *state, const char *words) {
    ck_assert(!lm_checkpoint_read(path, &state->checkpoint, &status));
    ck_assert_int_eq(status.code, LM_DATA);
    ck_assert_msg(strstr(status.message, words) != NULL, "%s", status.message);
    ck_assert_msg(strstr(status.message, path) != NULL, "%s", status.message);
}

START_TEST(refuses_what_does_not_fit) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    write_checkpoint(path, &peers, 5);
    struct state state;
    state_init(&state, 0, 1);
    state.layers[2].n_parameters = 6;
    check_read_fails(path, &state, "/layers/out/parameters has extent (7): (6) expected");
    state.layers[2].n_parameters = sizes[2];
    state.layers[0].name = "V9";
    check_read_fails(path, &state, "no dataset /layers/V9/parameters");
    state.layers[0].name = "V1";
    state.layers[1].moment_names = (const char *const[]){"first", "third"};
    check_read_fails(path, &state, "no dataset /layers/IT/third");
    state.layers[1].moment_names = moments;
    state.checkpoint.n_layers = 2;
    check_read_fails(path, &state, "3 layers: 2 expected");
    state.checkpoint.n_layers = LAYERS;
    state_clear(&state);

    state_init(&state, 0, 1);
    state.plan.n_steps = 4;
    state.plan.n_error_steps = 2;
    lm_records_destroy(state.checkpoint.records);
    state.checkpoint.records = lm_records_create(&state.plan);
    check_read_fails(path, &state, "5 training steps are done: at most 4 expected");
    lm_records_destroy(state.checkpoint.records);
    state.plan.n_steps = STEPS;
    state.plan.n_inputs = 3;
    state.checkpoint.records = lm_records_create(&state.plan);
    check_read_fails(path, &state, "/errors/input has extent (2): (3) expected");
    state_clear(&state);
}
END_TEST

START_TEST(refuses_other_files) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    struct state state;
    state_init(&state, 0, 1);
    struct lm_store *store = lm_store_create(path, &peers, &status);
    ck_assert(store && lm_store_commit(store, &status));
    check_read_fails(path, &state, "is not a lamina checkpoint");
    together_wait();
    store = lm_store_create(path, &peers, &status);
    CHECK_OK(lm_store_set_text(store, "/", "format", "lamina checkpoint", &status));
    CHECK_OK(lm_store_set_integer(store, "/", "format_version", 99, &status));
    CHECK_OK(lm_store_commit(store, &status));
    check_read_fails(path, &state, "of version 99: 'lamina checkpoint' of version 3");
    state_clear(&state);
}
END_TEST

START_TEST(says_where_it_cannot_write) {
    struct lm_peers peers = together_peers();
    struct state state;
    state_init(&state, peers.rank, peers.size);
    const char *path = together_path("no/a.h5");
    ck_assert(!lm_checkpoint_write(path, &peers, &state.checkpoint, &status));
    ck_assert_int_eq(status.code, LM_CANT_CREATE);
    ck_assert(strstr(status.message, "no/a.h5: No such file or directory") != NULL);
    state_clear(&state);
}
END_TEST

/* A rank dies while it writes a checkpoint again: the old one stays. */
START_TEST(survives_a_kill) {
    struct lm_peers peers = together_peers(), alone = {NULL, 0, 1};
    const char *path = together_path("run.checkpoint-000004.h5");
    write_checkpoint(path, &peers, 4);
    if (peers.rank == 0) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct lm_store *store = lm_store_create(path, &alone, &status);
            if (store && lm_store_flush(store, &status))
                raise(SIGKILL);
            _exit(1);
        }
        ck_assert(child > 0);
        int ended;
        while (waitpid(child, &ended, 0) < 0)
            continue;
        ck_assert(WIFSIGNALED(ended));
        ck_assert(access(together_path("run.checkpoint-000004.h5.partial"), F_OK) == 0);
    }
    together_wait();
    check_checkpoint(path, 0, 1, 4);
    together_wait();
    write_checkpoint(path, &peers, 5);
    check_checkpoint(path, 0, 1, 5);
}
END_TEST

/* Parameters written by a program of the other number type are converted. */
START_TEST(reads_another_number_type) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    struct lm_store *store = lm_store_create(path, &peers, &status);
    ck_assert(store != NULL);
    CHECK_OK(lm_store_set_text(store, "/", "format", "lamina checkpoint", &status));
    CHECK_OK(lm_store_set_integer(store, "/", "format_version", 3, &status));
    CHECK_OK(lm_store_set_integer(store, "/", "steps_done", 2, &status));
    CHECK_OK(lm_store_set_integer(store, "/", "n_layers", 1, &status));
    struct lm_field field = {
        .path = "/layers/V1/parameters", .type = LM_FIELD_DOUBLE, .rank = 1, .extent = {2}};
    field.units = field.long_name = "1";
    CHECK_OK(lm_store_make(store, &field, &status));
    const double values[2] = {0.1, -3};
    struct lm_slab slab = {field.path, LM_FIELD_DOUBLE, {0}, {2}};
    CHECK_OK(lm_store_write(store, &slab, values, &status));
    CHECK_OK(lm_store_commit(store, &status));
    real parameters[2];
    struct lm_checkpoint_layer layer = {
        .name = "V1", .n_parameters = 2, .parameters = parameters};
    struct lm_checkpoint checkpoint = {.n_layers = 1, .layers = &layer};
    CHECK_OK(lm_checkpoint_read(path, &checkpoint, &status));
    ck_assert(parameters[0] == (real)0.1 && parameters[1] == -3);
}
END_TEST

/* A run goes on with its data and numbers only; others may take the parameters. */
START_TEST(tells_other_data) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    struct lm_data_mark mark = {60, 10, 0xfedcba98, -1}, other = mark;
    struct state state;
    state_init(&state, peers.rank, peers.size);
    state_fill(&state, 5);
    state.checkpoint.data = &mark;
    CHECK_OK(lm_checkpoint_write(path, &peers, &state.checkpoint, &status));
    snprintf(state.checkpoint.build, sizeof state.checkpoint.build, "another");
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    ck_assert_str_eq(state.checkpoint.build, "");
    state.checkpoint.data = &other;
    other.train = 59;
    check_read_fails(path, &state, "other data: 59 training inputs: 60 are expected");
    other.train = 60, other.test = 11;
    check_read_fails(path, &state, "other data: 11 test inputs: 10 are expected");
    other.test = 10, other.train_labels = 1;
    check_read_fails(path, &state, "training labels have CRC-32 00000001: fedcba98 is");
    other.train_labels = -1, other.test_labels = 7; /* not known here, not known there */
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    state.checkpoint.data = NULL;
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    state_clear(&state);
}
END_TEST

/* One byte after the other is changed: what is read then is what was written, or the damage
 * is found. One rank does all of it, so with several there is nothing new to see. */
START_TEST(no_changed_byte_goes_unnoticed) {
    struct lm_peers alone = {NULL, 0, 1};
    const char *path = together_path("a.h5");
    if (together_peers().size != 1)
        return;
    write_checkpoint(path, &alone, 5);
    FILE *file = fopen(path, "r+b");
    struct stat info;
    ck_assert(file && stat(path, &info) == 0);
    long named = 0;
    for (long place = 0; place < info.st_size; place += 7) {
        fseek(file, place, SEEK_SET);
        int byte = fgetc(file);
        fseek(file, place, SEEK_SET);
        fputc(byte ^ 16, file);
        fflush(file);
        if (lm_checkpoint_verify(path, &status))
            check_checkpoint(path, 0, 1, 5);
        else
            named += strstr(status.message, "CRC-32") != NULL;
        fseek(file, place, SEEK_SET);
        fputc(byte, file);
        fflush(file);
    }
    fclose(file);
    ck_assert(named > 10);
    CHECK_OK(lm_checkpoint_verify(path, &status));
}
END_TEST

/* Traffic goes on where the same layers are on the same ranks; else it starts anew. */
START_TEST(carries_the_traffic) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    int64_t rows[LM_MATRICES][8];
    struct state state;
    state_init(&state, peers.rank, peers.size);
    state_fill(&state, 4);
    struct lm_checkpoint_traffic traffic = {"V1:0", peers.rank, peers.size, 2, {NULL}};
    for (int m = 0; m < LM_MATRICES; m++) {
        traffic.row[m] = rows[m];
        for (int to = 0; to < peers.size; to++)
            rows[m][to] = 100 * m + 10 * peers.rank + to;
    }
    state.checkpoint.traffic = &traffic;
    CHECK_OK(lm_checkpoint_write(path, &peers, &state.checkpoint, &status));
    traffic.placement = "V1:1";
    memset(rows, 0, sizeof rows);
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    ck_assert(traffic.first_step == 4 && rows[1][0] == 0);
    traffic.placement = "V1:0";
    CHECK_OK(lm_checkpoint_read(path, &state.checkpoint, &status));
    ck_assert(traffic.first_step == 2);
    for (int m = 0; m < LM_MATRICES; m++)
        for (int to = 0; to < peers.size; to++)
            ck_assert(rows[m][to] == 100 * m + 10 * peers.rank + to);
    state_clear(&state);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {reads_on_any_ranks,
                                  reads_before_and_after_training,
                                  carries_its_settings,
                                  refuses_what_does_not_fit,
                                  refuses_other_files,
                                  says_where_it_cannot_write,
                                  survives_a_kill,
                                  reads_another_number_type,
                                  no_changed_byte_goes_unnoticed,
                                  tells_other_data,
                                  carries_the_traffic};
    return together_run(tests, sizeof tests / sizeof *tests);
}
