#include "store.h"

#include "memory.h"
#include "together.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct lm_status status;

static const struct lm_field step_scale = {
    "/training/step", LM_FIELD_INT64, 1, {4}, {NULL}, "1", "training step", false};

static const struct lm_field layer_scale = {"/layer", LM_FIELD_TEXT, 1,       {3},
                                            {NULL},   "1",           "layer", false};

static const struct lm_field curve = {
    "/training/angle", LM_FIELD_DOUBLE, 2,    {3, 4}, {"/layer", "/training/step"},
    "degrees",         "angle",         false};

/* A file with two scales, a curve of (layer, step) and a count of (step). */
static struct lm_store *make_example(const char *path, const struct lm_peers *peers) {
    static const char *const layers[] = {"V1", "V2", "\xc3\xa9nd"};
    struct lm_field count = {"/training/count", LM_FIELD_INT64, 1, {4}, {"/training/step"}, "1",
                             "count",           false};
    struct lm_field weight = {"/weight",  LM_FIELD_REAL, 1,        {3},
                              {"/layer"}, "1",           "weight", true};
    struct lm_store *store = lm_store_create(path, peers, &status);
    CHECK_OK(store != NULL);
    CHECK_OK(lm_store_make_scale(store, &layer_scale, layers, &status));
    CHECK_OK(lm_store_make_count(store, &step_scale, 10, &status));
    CHECK_OK(lm_store_make(store, &curve, &status));
    CHECK_OK(lm_store_make(store, &count, &status));
    CHECK_OK(lm_store_make(store, &weight, &status));
    CHECK_OK(lm_store_flush(store, &status));
    return store;
}

static void write_row(struct lm_store *store, size_t layer) {
    double row[2] = {(double)layer + 0.25, (double)layer + 0.5};
    struct lm_slab slab = {"/training/angle", LM_FIELD_DOUBLE, {layer, 1}, {1, 2}};
    CHECK_OK(lm_store_write(store, &slab, row, &status));
}

static void check_rows(const char *path) {
    struct lm_store *store = lm_store_open(path, &status);
    CHECK_OK(store != NULL);
    double angle[3][4];
    struct lm_slab all = {"/training/angle", LM_FIELD_DOUBLE, {0, 0}, {3, 4}};
    CHECK_OK(lm_store_read(store, &all, angle, &status));
    for (int l = 0; l < 3; l++) {
        ck_assert(isnan(angle[l][0]) && isnan(angle[l][3]));
        ck_assert(angle[l][1] == l + 0.25 && angle[l][2] == l + 0.5);
    }
    int64_t count[4], step[2];
    struct lm_slab counts = {"/training/count", LM_FIELD_INT64, {0}, {4}};
    CHECK_OK(lm_store_read(store, &counts, count, &status));
    ck_assert(count[0] == -1 && count[3] == -1);
    struct lm_slab steps = {"/training/step", LM_FIELD_INT64, {2}, {2}};
    CHECK_OK(lm_store_read(store, &steps, step, &status));
    ck_assert(step[0] == 12 && step[1] == 13);
    real weight[3];
    struct lm_slab weights = {"/weight", LM_FIELD_REAL, {0}, {3}};
    CHECK_OK(lm_store_read(store, &weights, weight, &status));
    ck_assert(weight[0] == (real)0.1 && weight[2] == (real)0.3);
    lm_store_close(store);
}

START_TEST(writes_what_it_reads) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    size_t blocks = lm_memory_blocks();
    struct lm_store *store = make_example(path, &peers);
    for (size_t l = 0; l < 3; l++)
        if ((int)l % peers.size == peers.rank)
            write_row(store, l);
    real weight[3] = {(real)0.1, (real)0.2, (real)0.3};
    struct lm_slab slab = {"/weight", LM_FIELD_REAL, {0}, {3}};
    struct lm_slab nothing = {"/weight", LM_FIELD_REAL, {3}, {0}};
    if (peers.rank == 0)
        CHECK_OK(lm_store_write(store, &slab, weight, &status));
    CHECK_OK(lm_store_write(store, &nothing, weight, &status));
    CHECK_OK(lm_store_commit(store, &status));
    ck_assert(access(together_path("a.h5.partial"), F_OK) != 0);
    check_rows(path);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(keeps_attributes) {
    struct lm_peers peers = together_peers();
    size_t size = 100000; /* beyond 64 KB */
    char *settings = lm_allocate(size + 1, 1);
    memset(settings, 'x', size);
    struct lm_store *store = lm_store_create(together_path("a.h5"), &peers, &status);
    ck_assert(store != NULL);
    CHECK_OK(lm_store_make_group(store, "/layers/V1", &status));
    CHECK_OK(lm_store_set_text(store, "/", "settings", settings, &status));
    CHECK_OK(lm_store_set_text(store, "/layers/V1", "map", "", &status));
    CHECK_OK(lm_store_set_integer(store, "/", "complete", 0, &status));
    CHECK_OK(lm_store_set_integer(store, "/", "complete", 1, &status));
    CHECK_OK(lm_store_set_unsigned(store, "/", "seed", UINT64_MAX, &status));
    CHECK_OK(lm_store_set_double(store, "/layers/V1", "step_size", 0.1, &status));
    CHECK_OK(lm_store_commit(store, &status));

    store = lm_store_open(together_path("a.h5"), &status);
    ck_assert(store != NULL);
    char *text = lm_store_get_text(store, "/", "settings", &status);
    ck_assert_str_eq(text, settings);
    lm_free(text);
    text = lm_store_get_text(store, "/layers/V1", "map", &status);
    ck_assert_str_eq(text, "");
    lm_free(text);
    lm_free(settings);
    int64_t complete = 0;
    double step_size = 0;
    CHECK_OK(lm_store_get_integer(store, "/", "complete", &complete, &status));
    CHECK_OK(lm_store_get_double(store, "/layers/V1", "step_size", &step_size, &status));
    ck_assert(complete == 1 && step_size == 0.1);
    lm_store_close(store);
}
END_TEST

START_TEST(refuses_attributes_of_another_kind) {
    struct lm_peers peers = together_peers();
    struct lm_store *store = lm_store_create(together_path("a.h5"), &peers, &status);
    ck_assert(store != NULL);
    CHECK_OK(lm_store_set_text(store, "/", "format", "lamina test", &status));
    CHECK_OK(lm_store_set_integer(store, "/", "format_version", 1, &status));
    CHECK_OK(lm_store_commit(store, &status));
    store = lm_store_open(together_path("a.h5"), &status);
    ck_assert(store != NULL);
    int64_t number;
    ck_assert(!lm_store_get_integer(store, "/", "format", &number, &status));
    ck_assert_int_eq(status.code, LM_DATA);
    ck_assert(!lm_store_get_text(store, "/layers/V9", "map", &status));
    ck_assert(strstr(status.message, "/layers/V9 has no attribute map") != NULL);
    CHECK_OK(lm_store_check_format(store, "lamina test", 1, &status));
    ck_assert(!lm_store_check_format(store, "lamina test", 2, &status));
    ck_assert(!lm_store_check_format(store, "lamina run", 1, &status));
    ck_assert(strstr(status.message, "'lamina run' of version 1 is expected") != NULL);
    lm_store_close(store);
}
END_TEST

/* What was at PATH stays until the commit, and after a failure or a giving up. */
START_TEST(replaces_at_commit_only) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5"), *partial = together_path("a.h5.partial");
    struct lm_store *store = make_example(path, &peers);
    CHECK_OK(lm_store_set_integer(store, "/", "version", 1, &status));
    CHECK_OK(lm_store_commit(store, &status));
    for (int64_t version = 2; version < 5; version++) {
        store = make_example(path, &peers);
        CHECK_OK(lm_store_set_integer(store, "/", "version", version, &status));
        int64_t there = 0;
        struct lm_store *old = lm_store_open(path, &status);
        ck_assert(old && lm_store_get_integer(old, "/", "version", &there, &status));
        lm_store_close(old);
        ck_assert_int_eq(there, 1);
        together_wait();
        if (version < 4)
            lm_store_abandon(store, version == 2);
        else
            CHECK_OK(lm_store_commit(store, &status));
        together_wait();
        ck_assert_int_eq(access(partial, F_OK) == 0, version == 3);
        together_wait();
    }
    store = lm_store_open(path, &status);
    int64_t there = 0;
    ck_assert(store && lm_store_get_integer(store, "/", "version", &there, &status));
    ck_assert_int_eq(there, 4);
    lm_store_close(store);
}
END_TEST

/* A rank dies after the flush: the partial file reads. One process, for it is killed. */
START_TEST(reads_after_a_kill) {
    struct lm_peers peers = together_peers(), alone = {NULL, 0, 1};
    if (peers.rank == 0) {
        const char *path = together_path("a.h5");
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct lm_store *store = make_example(path, &alone);
            for (size_t l = 0; l < 3; l++)
                write_row(store, l);
            real weight[3] = {(real)0.1, (real)0.2, (real)0.3};
            struct lm_slab slab = {"/weight", LM_FIELD_REAL, {0}, {3}};
            lm_store_write(store, &slab, weight, &status);
            raise(SIGKILL);
        }
        ck_assert(child > 0);
        int ended;
        while (waitpid(child, &ended, 0) < 0)
            continue;
        ck_assert(WIFSIGNALED(ended));
        ck_assert(access(path, F_OK) != 0);
        check_rows(together_path("a.h5.partial"));
    }
}
END_TEST

/* All ranks get the same words, those of the rank that failed. */
static void check_same_message(void) {
    char first[sizeof status.message];
    memcpy(first, status.message, sizeof first);
    MPI_Bcast(first, sizeof first, MPI_CHAR, 0, together_world);
    ck_assert_str_eq(first, status.message);
}

START_TEST(says_why_it_cannot_create) {
    struct lm_peers peers = together_peers();
    size_t blocks = lm_memory_blocks();
    ck_assert(!lm_store_create(together_path("no/such/a.h5"), &peers, &status));
    ck_assert_int_eq(status.code, LM_CANT_CREATE);
    ck_assert(strstr(status.message, "no/such/a.h5: No such file or directory") != NULL);
    check_same_message();
    ck_assert(!lm_store_create(together_folder, &peers, &status));
    ck_assert_int_eq(status.code, LM_CANT_CREATE);
    ck_assert(strstr(status.message, "it is a folder") != NULL);
    check_same_message();
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

/* The last rank writes where nothing is: it is told at once, all at the next flush. */
START_TEST(tells_all_what_one_met) {
    struct lm_peers peers = together_peers();
    struct lm_store *store = make_example(together_path("a.h5"), &peers);
    struct lm_slab beyond = {"/training/angle", LM_FIELD_DOUBLE, {0, 3}, {1, 2}};
    double values[2] = {0};
    if (peers.rank == peers.size - 1) {
        ck_assert(!lm_store_write(store, &beyond, values, &status));
        ck_assert_int_eq(status.code, LM_IO);
    }
    memset(&status, 0, sizeof status);
    ck_assert(!lm_store_flush(store, &status));
    ck_assert_int_eq(status.code, LM_IO);
    ck_assert(strstr(status.message, "a.h5: cannot write /training/angle: ") != NULL);
    check_same_message();
    ck_assert(!lm_store_commit(store, &status));
    ck_assert(access(together_path("a.h5"), F_OK) != 0);
}
END_TEST

/* A file that may not grow, as on a full disk. */
START_TEST(says_when_the_disk_is_full) {
    struct lm_peers peers = together_peers();
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct lm_store *store = make_example(together_path("a.h5"), &peers);
    small = old;
    small.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct lm_field large = {
        "/large", LM_FIELD_DOUBLE, 2,    {3, 1 << 20}, {"/layer", "/large_scale"},
        "1",      "large",         false};
    struct lm_field scale = {"/large_scale", LM_FIELD_INT64, 1, {1 << 20}, {NULL}, "1",
                             "scale",        false};
    bool ok =
        lm_store_make_count(store, &scale, 0, &status) && lm_store_make(store, &large, &status);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert(!ok);
    ck_assert_int_eq(status.code, LM_IO);
    ck_assert(strstr(status.message, "a.h5: cannot make scale /large_scale: "));
    lm_store_abandon(store, true);
    check_same_message();
    ck_assert(access(together_path("a.h5"), F_OK) != 0);
}
END_TEST

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert(file != NULL);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static void check_open_fails(const char *path, enum lm_code code, const char *words) {
    ck_assert(!lm_store_open(path, &status));
    ck_assert_int_eq(status.code, code);
    ck_assert_msg(strstr(status.message, words) != NULL, "%s", status.message);
    ck_assert(strstr(status.message, path) != NULL);
}

START_TEST(refuses_files_it_cannot_read) {
    struct lm_peers peers = together_peers();
    const char *text = together_path("text.h5"), *whole = together_path("whole.h5");
    CHECK_OK(lm_store_commit(make_example(whole, &peers), &status));
    struct stat info;
    ck_assert_int_eq(stat(whole, &info), 0);
    together_wait();
    if (peers.rank == 0) {
        write_file(text, "not a store", 11);
        ck_assert_int_eq(truncate(whole, info.st_size - 10), 0);
    }
    together_wait();
    check_open_fails(together_path("none.h5"), LM_NO_INPUT, "No such file");
    check_open_fails(together_folder, LM_NO_INPUT, "it is a folder");
    check_open_fails(text, LM_DATA, "is not an HDF5 file");
    check_open_fails(whole, LM_DATA, "is damaged or truncated: truncated file");
}
END_TEST

START_TEST(refuses_datasets_that_do_not_fit) {
    struct lm_peers peers = together_peers();
    const char *path = together_path("a.h5");
    CHECK_OK(lm_store_commit(make_example(path, &peers), &status));
    struct lm_store *store = lm_store_open(path, &status);
    double values[16];
    struct lm_slab none = {"/training/none", LM_FIELD_DOUBLE, {0}, {4}};
    ck_assert(!lm_store_read(store, &none, values, &status));
    ck_assert_int_eq(status.code, LM_DATA);
    ck_assert(strstr(status.message, "a.h5: no dataset /training/none") != NULL);
    struct lm_slab large = {"/training/angle", LM_FIELD_DOUBLE, {0, 0}, {3, 5}};
    ck_assert(!lm_store_read(store, &large, values, &status));
    ck_assert(strstr(status.message, "/training/angle is too small: its extent is (3, 4)"));
    struct lm_slab flat = {"/training/angle", LM_FIELD_DOUBLE, {0}, {3}};
    ck_assert(!lm_store_read(store, &flat, values, &status));
    ck_assert(strstr(status.message, "/training/angle has 2 dimensions: 1 expected"));
    struct lm_slab deep = {"/training/angle", LM_FIELD_DOUBLE, {0}, {1, 1, 1}};
    ck_assert(!lm_store_read(store, &deep, values, &status));
    ck_assert(strstr(status.message, "/training/angle has 2 dimensions: 3 expected"));
    struct lm_slab whole = {"/training/angle", LM_FIELD_INT64, {0, 0}, {3, 4}};
    ck_assert(!lm_store_read(store, &whole, values, &status));
    ck_assert(strstr(status.message, "does not hold whole numbers") != NULL);
    struct lm_slab text = {"/layer", LM_FIELD_DOUBLE, {0}, {3}};
    ck_assert(!lm_store_read(store, &text, values, &status));
    size_t extent[2] = {3, 5};
    ck_assert(!lm_store_expect(store, "/training/angle", 2, extent, &status));
    ck_assert(strstr(status.message, "has extent (3, 4): (3, 5) expected") != NULL);
    ck_assert(!lm_store_expect(store, "/training/angle", 1, extent, &status));
    extent[1] = 4;
    CHECK_OK(lm_store_expect(store, "/training/angle", 2, extent, &status));
    lm_store_close(store);
}
END_TEST

START_TEST(works_without_mpi) {
    struct lm_peers alone = {NULL, 0, 1}, peers = together_peers();
    char name[32];
    snprintf(name, sizeof name, "alone-%d.h5", peers.rank);
    const char *path = together_path(name);
    struct lm_store *store = make_example(path, &alone);
    for (size_t l = 0; l < 3; l++)
        write_row(store, l);
    real weight[3] = {(real)0.1, (real)0.2, (real)0.3};
    struct lm_slab slab = {"/weight", LM_FIELD_REAL, {0}, {3}};
    CHECK_OK(lm_store_write(store, &slab, weight, &status));
    CHECK_OK(lm_store_commit(store, &status));
    check_rows(path);
}
END_TEST

/* A dataset that holds no values is there and can be read. */
START_TEST(keeps_empty_datasets) {
    struct lm_peers peers = together_peers();
    struct lm_field scale = step_scale,
                    none = {"/none", LM_FIELD_DOUBLE, 1, {0}, {"/step"}, "1", "none", false};
    scale.path = "/step";
    scale.extent[0] = 0;
    struct lm_store *store = lm_store_create(together_path("a.h5"), &peers, &status);
    ck_assert(store && lm_store_make_count(store, &scale, 0, &status));
    CHECK_OK(lm_store_make(store, &none, &status));
    struct lm_slab slab = {"/none", LM_FIELD_DOUBLE, {0}, {0}};
    double value = 1;
    CHECK_OK(lm_store_write(store, &slab, &value, &status));
    CHECK_OK(lm_store_commit(store, &status));
    store = lm_store_open(together_path("a.h5"), &status);
    ck_assert(store && lm_store_read(store, &slab, &value, &status));
    CHECK_OK(lm_store_expect(store, "/none", 1, none.extent, &status));
    lm_store_close(store);
}
END_TEST

START_TEST(names_its_libraries) {
    char mpi[LM_VERSION_TEXT], hdf5[LM_VERSION_TEXT];
    lm_store_versions(mpi, hdf5);
    ck_assert(strlen(mpi) > 3 && !strchr(mpi, ','));
    ck_assert(hdf5[0] == '1' && hdf5[1] == '.');
}
END_TEST

int main(void) {
    const TTest *const tests[] = {writes_what_it_reads,
                                  keeps_attributes,
                                  refuses_attributes_of_another_kind,
                                  replaces_at_commit_only,
                                  reads_after_a_kill,
                                  says_why_it_cannot_create,
                                  tells_all_what_one_met,
                                  says_when_the_disk_is_full,
                                  refuses_files_it_cannot_read,
                                  refuses_datasets_that_do_not_fit,
                                  works_without_mpi,
                                  keeps_empty_datasets,
                                  names_its_libraries};
    return together_run(tests, sizeof tests / sizeof *tests);
}
