#include "runner.h"

#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <dlfcn.h>

/* Open MPI's plug-ins stay. LeakSanitizer looks for what they took by the functions that took
 * it, and where these are gone it reads the process's map anew for each of their frames. */
int dlclose(void *handle) {
    (void)handle;
    return 0;
}
#endif

enum { TIMEOUT = 250 }; /* seconds per test, when Check forks */

/* Whether one test passed, with this _i. */
static bool run_one(const TTest *test, int i) {
    Suite *suite = suite_create(test->name);
    TCase *tests = tcase_create(test->name);
    tcase_set_timeout(tests, TIMEOUT);
    tcase_add_loop_test(tests, test, i, i + 1);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    bool passed = srunner_ntests_failed(runner) == 0;
    if (!passed)
        srunner_print(runner, CK_NORMAL);
    fflush(stdout);
    srunner_free(runner);
    return passed;
}

int run_repeated_tests(const char *name, bool together, const struct repeated_test tests[]) {
    size_t blocks = lm_memory_blocks();
    int n = 0, failed = 0;
    for (; tests->test; tests++)
        for (int i = 0; i < tests->times; i++, n++) {
            bool passed = run_one(tests->test, i);
            if (!passed && together)
                lm_abort(LM_INTERNAL, "test %s failed (_i = %d)", tests->test->name, i);
            failed += !passed;
        }
    printf("%s: %d of %d tests passed\n", name, n - failed, n);
    if (failed == 0 && lm_memory_blocks() != blocks) {
        printf("%s: %zu blocks of memory are not freed\n", name, lm_memory_blocks() - blocks);
        failed++;
    }
    return failed ? 1 : 0;
}

int run_tests(const char *name, bool together, const TTest *const tests[]) {
    size_t n = 0;
    while (tests[n])
        n++;
    struct repeated_test *once = lm_allocate(n + 1, sizeof *once);
    for (size_t i = 0; i < n; i++)
        once[i] = (struct repeated_test){tests[i], 1};
    int result = run_repeated_tests(name, together, once);
    lm_free(once);
    return result;
}

void expect_abort(enum lm_code code, const char *words, void (*call)(void)) {
    int ends[2], result;
    fflush(NULL);
    ck_assert(pipe(ends) == 0);
    pid_t child = fork();
    ck_assert(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        call();
        _exit(0);
    }
    close(ends[1]);
    char said[4096] = "";
    size_t length = 0;
    for (ssize_t n; (n = read(ends[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)n;
    close(ends[0]);
    ck_assert(waitpid(child, &result, 0) == child);
    ck_assert_msg(WIFEXITED(result) && WEXITSTATUS(result) == (int)code, "%d: %s", result,
                  said);
    ck_assert_msg(strstr(said, words) != NULL, "'%s' is not in: %s", words, said);
}

cpu_set_t keep_to_processor(int index) {
    cpu_set_t before, only;
    size_t p = 0;
    CPU_ZERO(&before);
    CPU_ZERO(&only);
    ck_assert(sched_getaffinity(0, sizeof before, &before) == 0);
    while (!CPU_ISSET(p, &before) || index-- > 0)
        p++;
    CPU_SET(p, &only);
    ck_assert(sched_setaffinity(0, sizeof only, &only) == 0);
    return before;
}
