/* BLAS: the one door to OpenBLAS, in the number type of the program. No operator multiplies
 * by it, so that results depend on no library; operators are compared with it.
 *
 * Matrices are row-major and dense. OpenBLAS runs with one thread. */
#ifndef LAMINA_BLAS_H
#define LAMINA_BLAS_H

#include "tensor.h"

/* Set OpenBLAS to one thread; call once at the start of the program. */
void lm_blas_start(void);

/* Version and kernel of OpenBLAS, for run files. Not owned. */
const char *lm_blas_version(void);

/* Whether OpenBLAS does not know this processor and has taken kernels without AVX for it, as
 * old versions do for new processors: the variable OPENBLAS_CORETYPE would name others. */
bool lm_blas_is_slow(void);

/* C (m, n) = A (m, k) * B (k, n) + beta * C. With transpose_a A is stored (k, m), with
 * transpose_b B is stored (n, k). beta 0 ignores what C held. */
void lm_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const real *a,
             const real *b, real beta, real *c);

#endif
