/* Tests that all ranks of an MPI job run together, one after the other. A check that
 * fails on one rank ends the job, so that the others do not wait for it for ever. */
#ifndef LAMINA_TOGETHER_H
#define LAMINA_TOGETHER_H

#include "store.h"

#include <check.h>
#include <dirent.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A call that fills `status` when it fails. */
#define CHECK_OK(call) ck_assert_msg((call), "%s", status.message)

enum { PATH_SIZE = 256 };

static MPI_Comm together_world;
static char together_folder[PATH_SIZE];

static inline struct lm_peers together_peers(void) {
    struct lm_peers peers = {&together_world, 0, 1};
    MPI_Comm_rank(together_world, &peers.rank);
    MPI_Comm_size(together_world, &peers.size);
    return peers;
}

/* FOLDER/NAME of the folder of this test, in a static text that the 64th call from now
 * overwrites. */
static inline const char *together_path(const char *name) {
    static char text[64][2 * PATH_SIZE];
    static int next;
    char *path = text[next++ % 64];
    snprintf(path, sizeof text[0], "%s/%s", together_folder, name);
    return path;
}

/* All ranks have arrived; what rank 0 did to files is done. */
static inline void together_wait(void) {
    MPI_Barrier(together_world);
}

/* Remove the files of the folder, and it. */
static inline void together_clean(void) {
    DIR *folder = opendir(together_folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            unlink(together_path(entry->d_name));
    if (folder)
        closedir(folder);
    rmdir(together_folder);
}

static inline void together_run_one(const TTest *test, int rank) {
    const char *top = getenv("TMPDIR");
    snprintf(together_folder, sizeof together_folder, "%s/lamina-test-XXXXXX",
             top ? top : "/tmp");
    if (rank == 0 && !mkdtemp(together_folder))
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Bcast(together_folder, sizeof together_folder, MPI_CHAR, 0, together_world);
    Suite *suite = suite_create(test->name);
    TCase *tests = tcase_create(test->name);
    tcase_add_test(tests, test);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    bool failed = srunner_ntests_failed(runner) > 0;
    if (failed) {
        printf("rank %d:\n", rank);
        srunner_print(runner, CK_NORMAL);
        fflush(stdout);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    srunner_free(runner);
    together_wait();
    if (rank == 0)
        together_clean();
}

/* Run the n tests on all ranks, with MPI started and ended. Returns 0. */
static inline int together_run(const TTest *const tests[], size_t n) {
    int rank;
    MPI_Init(NULL, NULL);
    MPI_Comm_dup(MPI_COMM_WORLD, &together_world);
    MPI_Comm_rank(together_world, &rank);
    for (size_t i = 0; i < n; i++)
        together_run_one(tests[i], rank);
    if (rank == 0)
        printf("%zu tests passed\n", n);
    MPI_Comm_free(&together_world);
    MPI_Finalize();
    return 0;
}

#endif
