/* Runner: what the main functions of the Check programs share. Tests run in this process, one
 * after the other, and each program gives back the memory it took. */
#ifndef LAMINA_RUNNER_H
#define LAMINA_RUNNER_H

#include "status.h"

#include <check.h>
#include <sched.h>

/* Run the named tests: 0 when all pass and no block of memory is left, else 1: what main
 * returns. */
#define RUN_TESTS(NAME, ...) run_tests(NAME, false, TESTS(__VA_ARGS__))

/* The same on all ranks of a job, after lm_comm_start: a test that fails on one rank ends the
 * job at once, so that the others do not wait for it for ever. */
#define RUN_TESTS_TOGETHER(NAME, ...) run_tests(NAME, true, TESTS(__VA_ARGS__))

#define TESTS(...) ((const TTest *const[]){__VA_ARGS__, NULL})
int run_tests(const char *name, bool together, const TTest *const tests[]);

/* The same of tests that are run several times each, with _i = 0, 1, ...; ended by NULL. */
struct repeated_test {
    const TTest *test;
    int times;
};
int run_repeated_tests(const char *name, bool together, const struct repeated_test tests[]);

/* ck_assert_msg for every number of many: of each of its own checks Check makes a note, and it
 * goes through all notes in the end, which takes longer than most tests. */
#define CHECK_EACH(good, ...)                                                                  \
    do {                                                                                       \
        if (!(good))                                                                           \
            ck_abort_msg(__VA_ARGS__);                                                         \
    } while (0)

/* Have this thread keep to number `index` of the processors that it may use; returns these, for
 * sched_setaffinity to give it them back. */
cpu_set_t keep_to_processor(int index);

/* Check that `call`, in a child process, ends the job with `code` and says `words` on standard
 * error. */
void expect_abort(enum lm_code code, const char *words, void (*call)(void));

#endif
