#include "peak.h"

#include "operators/vector.h"

#include <omp.h>

enum {
    SUMS = 12, /* of 16 registers; a product and sum takes 4 cycles, 2 may start per cycle */
    ROUNDS = 20000
};

/* 2 SUMS LANES ROUNDS operations; the numbers stay near shift / (1 - scale). */
static __attribute__((noinline)) real work(real scale, real shift) {
    vec sum[SUMS], total = {0}, s = scale - (vec){0}, t = shift - (vec){0};
    for (int i = 0; i < SUMS; i++)
        sum[i] = t * (real)i;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SUMS; i++)
            sum[i] = sum[i] * s + t;
    for (int i = 0; i < SUMS; i++)
        total += sum[i];
    real all = 0;
    for (int lane = 0; lane < LANES; lane++)
        all += total[lane];
    return all;
}

/* From and to these, so that no call of work can be left out. */
static volatile real scale = (real)0.5, shift = 1, sink;

double lm_peak_measure(int threads, double seconds) {
    double rate = 0;
    real sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : rate, sum)
    {
        double flops = 0, start, elapsed;
#pragma omp barrier
        start = omp_get_wtime();
        do {
            sum += work(scale, shift);
            flops += 2. * SUMS * LANES * ROUNDS;
            elapsed = omp_get_wtime() - start;
        } while (elapsed < seconds);
        rate += flops / elapsed;
    }
    sink = sum;
    return rate;
}
