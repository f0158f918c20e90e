/* Threads: their number, and that all of them flush denormal numbers. */
#include "threads.h"

#include "runner.h"

#include <float.h>
#include <omp.h>
#include <sched.h>

START_TEST(as_many_threads_as_asked_for) {
    for (int n = 1; n <= 4; n++) {
        int seen = 0;
        ck_assert(lm_threads_start(n, 1) == n);
#pragma omp parallel reduction(+ : seen)
        seen += 1;
        ck_assert(seen == n);
    }
}
END_TEST

/* 0: the processors of this process, shared by the ranks of the node. */
START_TEST(as_many_threads_as_processors) {
    cpu_set_t set;
    ck_assert(sched_getaffinity(0, sizeof set, &set) == 0);
    ck_assert(lm_threads_start(0, 1) == CPU_COUNT(&set));
    ck_assert(lm_threads_start(0, 2) == (CPU_COUNT(&set) >= 2 ? CPU_COUNT(&set) / 2 : 1));
    ck_assert(lm_threads_start(0, 1000000) == 1);
    ck_assert(lm_threads_start(3, 1000000) == 3);
}
END_TEST

/* Not local: GCC 12 for aarch64 knows what local ones are, within a parallel region. */
static volatile float small = FLT_MIN;
static volatile double tiny = DBL_MIN;

/* Also those that were there before. */
START_TEST(every_thread_flushes_denormals) {
    int flushed = 0;
    omp_set_num_threads(4);
#pragma omp parallel reduction(+ : flushed)
    flushed += 0;
    ck_assert(lm_threads_start(4, 1) == 4);
#pragma omp parallel reduction(+ : flushed)
    flushed += small / 4 == 0 && tiny / 4 == 0;
    ck_assert(flushed == 4);
}
END_TEST

int main(void) {
    return RUN_TESTS("threads", every_thread_flushes_denormals, as_many_threads_as_asked_for,
                     as_many_threads_as_processors);
}
