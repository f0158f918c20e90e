/* BLAS: lm_gemm against three plain loops. */
#include "blas.h"

#include "memory.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

/* What lm_gemm is to be, by three plain loops. */
static void plain_product(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k,
                          const real *a, const real *b, real beta, real *c) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += (double)(transpose_a ? a[p * m + i] : a[i * k + p]) *
                       (double)(transpose_b ? b[j * k + p] : b[p * n + j]);
            c[i * n + j] = (real)sum + (beta != 0 ? beta * c[i * n + j] : 0);
        }
}

static real *random_matrix(size_t n, uint64_t index) {
    real *matrix = lm_allocate(n, sizeof *matrix);
    for (size_t i = 0; i < n; i++)
        matrix[i] = (real)(2 * lm_random_uniform(1, LM_STREAM_TEST, index, i) - 1);
    return matrix;
}

/* The same product by lm_gemm and by the plain loops, from the same C. */
static void expect_product(bool transpose_a, bool transpose_b, const size_t size[3],
                           real beta) {
    const double epsilon = sizeof(real) == 4 ? 6e-8 : 1.2e-16;
    size_t m = size[0], n = size[1], k = size[2];
    real *a = random_matrix(m * k, 1), *b = random_matrix(k * n, 2);
    real *c = random_matrix(m * n, 3), *expected = random_matrix(m * n, 3);
    lm_gemm(transpose_a, transpose_b, m, n, k, a, b, beta, c);
    plain_product(transpose_a, transpose_b, m, n, k, a, b, beta, expected);
    for (size_t i = 0; i < m * n; i++)
        CHECK_EACH(fabs((double)c[i] - (double)expected[i]) <= 4 * epsilon * (double)(k + 2),
                   "%zu x %zu x %zu, %d %d: %g, not %g", m, n, k, transpose_a, transpose_b,
                   (double)c[i], (double)expected[i]);
    lm_free(a);
    lm_free(b);
    lm_free(c);
    lm_free(expected);
}

START_TEST(all_transposes_and_sizes) {
    const size_t sizes[][3] = {{1, 1, 1},    {1, 16, 5},    {5, 1, 3},     {7, 32, 13},
                               {30, 32, 50}, {50, 605, 32}, {33, 17, 257}, {128, 128, 128}};
    const real betas[] = {0, 1, -0.5};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int way = 0; way < 4; way++)
            for (int i = 0; i < 3; i++)
                expect_product(way & 1, way & 2, sizes[s], betas[i]);
}
END_TEST

/* The loops themselves against a product done by hand: A (2, 3), B (3, 2). */
START_TEST(reference_by_hand) {
    const real a[] = {1, 2, 3, 4, 5, 6}, at[] = {1, 4, 2, 5, 3, 6};
    const real b[] = {7, 8, 9, 10, 11, 12}, bt[] = {7, 9, 11, 8, 10, 12};
    const real product[] = {58, 64, 139, 154};
    for (int way = 0; way < 4; way++) {
        real c[] = {1, 2, 3, 4};
        plain_product(way & 1, way & 2, 2, 2, 3, way & 1 ? at : a, way & 2 ? bt : b, 10, c);
        for (int i = 0; i < 4; i++)
            ck_assert(c[i] == product[i] + 10 * (real)(i + 1));
    }
}
END_TEST

START_TEST(beta_0_ignores_what_c_held) {
    enum { M = 20, N = 32, K = 9 };
    real *a = random_matrix(M * K, 1), *b = random_matrix(K * N, 2);
    real *c = lm_allocate(M * N, sizeof *c);
    for (int way = 0; way < 4; way++)
        for (int reference = 0; reference < 2; reference++) {
            for (int i = 0; i < M * N; i++)
                c[i] = i % 2 ? (real)NAN : (real)INFINITY;
            (reference ? plain_product : lm_gemm)(way & 1, way & 2, M, N, K, a, b, 0, c);
            for (int i = 0; i < M * N; i++)
                CHECK_EACH(isfinite(c[i]), "number %d: %g", i, (double)c[i]);
        }
    lm_free(a);
    lm_free(b);
    lm_free(c);
}
END_TEST

START_TEST(version_is_known) {
    ck_assert(strstr(lm_blas_version(), "OpenBLAS") != NULL);
}
END_TEST

int main(void) {
    lm_blas_start();
    return RUN_TESTS("blas", all_transposes_and_sizes, reference_by_hand,
                     beta_0_ignores_what_c_held, version_is_known);
}
