#include "blas.h"

#include <cblas.h>
#include <limits.h>
#include <string.h>

#ifdef LAMINA_DOUBLE
#define GEMM cblas_dgemm
#else
#define GEMM cblas_sgemm
#endif

void lm_blas_start(void) {
    openblas_set_num_threads(1);
}

const char *lm_blas_version(void) {
    return openblas_get_config();
}

bool lm_blas_is_slow(void) {
#if defined __x86_64__
    return __builtin_cpu_supports("avx2") && strstr(lm_blas_version(), " Prescott ");
#else
    return false;
#endif
}

void lm_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const real *a,
             const real *b, real beta, real *c) {
    LM_ASSERT(m <= INT_MAX && n <= INT_MAX && k <= INT_MAX);
    GEMM(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
         transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a,
         (int)(transpose_a ? m : k), b, (int)(transpose_b ? k : n), beta, c, (int)n);
}
