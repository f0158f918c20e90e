/* Lock: who may write, seen by other processes. */
#include "lock.h"

#include "runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/lamina-test-XXXXXX", path[64], name[80];
static struct lm_status status;

/* What another process is told that wants the lock for itself: 0, or the code. */
static int other_takes(void) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct lm_lock *lock = lm_lock_take(path, 0, &status);
        _exit(lock ? 0 : strstr(status.message, "another run writes") ? (int)status.code : 1);
    }
    int ended;
    ck_assert(child > 0 && waitpid(child, &ended, 0) == child && WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

START_TEST(one_run_at_a_time) {
    struct lm_lock *lock = lm_lock_take(path, 0, &status);
    ck_assert(lock != NULL);
    ck_assert_int_eq(other_takes(), LM_CANT_CREATE);
    ck_assert(!lm_lock_join(path, &status));
    ck_assert(lm_lock_share(lock, &status));
    ck_assert_int_eq(other_takes(), LM_CANT_CREATE);
    struct lm_lock *rank = lm_lock_join(path, &status);
    ck_assert(rank != NULL);
    lm_lock_release(lock, false);
    ck_assert_int_eq(other_takes(), LM_CANT_CREATE); /* the rank still writes */
    lm_lock_release(rank, true);
    ck_assert(access(name, F_OK) != 0);
    ck_assert_int_eq(other_takes(), 0);
}
END_TEST

START_TEST(names_who_holds_it) {
    char expected[40];
    struct lm_lock *lock = lm_lock_take(path, 0, &status);
    ck_assert(lock && !lm_lock_take(path, 0.2, &status));
    snprintf(expected, sizeof expected, "process %ld on ", (long)getpid());
    ck_assert(strstr(status.message, path) && strstr(status.message, expected));
    lm_lock_release(lock, true);
}
END_TEST

/* A kill frees the lock, and who waits for it gets it. */
START_TEST(a_kill_frees_it) {
    int ends[2];
    char byte = 0;
    ck_assert(pipe(ends) == 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (lm_lock_take(path, 0, &status) && write(ends[1], &byte, 1) == 1)
            pause();
        _exit(1);
    }
    ck_assert(child > 0 && read(ends[0], &byte, 1) == 1);
    ck_assert(!lm_lock_take(path, 0, &status));
    kill(child, SIGKILL);
    struct lm_lock *lock = lm_lock_take(path, 60, &status);
    ck_assert(lock != NULL && waitpid(child, NULL, 0) == child);
    lm_lock_release(lock, true);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(says_where_it_cannot_be) {
    ck_assert(!lm_lock_take("/no/such/folder/run.h5", 0, &status));
    ck_assert(status.code == LM_CANT_CREATE &&
              strstr(status.message, "/no/such/folder/run.h5:"));
}
END_TEST

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/run.h5", folder);
    snprintf(name, sizeof name, "%s.lock", path);
    int result = RUN_TESTS("lock", one_run_at_a_time, names_who_holds_it, a_kill_frees_it,
                           says_where_it_cannot_be);
    unlink(name);
    rmdir(folder);
    return result;
}
