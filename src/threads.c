#include "threads.h"

#include <omp.h>
#include <sched.h>

#ifdef __SSE2__
#include <xmmintrin.h>
static void flush_denormals(void) {
    const unsigned int flush_to_zero = 0x8000, denormals_are_zero = 0x0040;
    _mm_setcsr(_mm_getcsr() | flush_to_zero | denormals_are_zero);
}
#elif defined(__aarch64__)
#include <stdint.h>
static void flush_denormals(void) {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (uint64_t)1 << 24));
}
#else
#error "set flush-to-zero for this processor here"
#endif

static int processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int lm_threads_start(int n, int sharing) {
    if (n == 0)
        n = processors() / (sharing > 1 ? sharing : 1);
    n = n < 1 ? 1 : n;
    omp_set_dynamic(0);
    omp_set_num_threads(n);
#pragma omp parallel
    flush_denormals();
    return n;
}
