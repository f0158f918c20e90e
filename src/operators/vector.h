/* Vectors of inputs, and tiles of them that are summed in registers.
 *
 * A tile is up to TILE channels x WIDE vectors; in multiply.h FLAT x BROAD where inputs are
 * many enough, which takes fewer instructions, a weight being loaded once for BROAD vectors,
 * and TILE x FULL where weights are packed.
 * Functions that work on tiles are INLINE and called with constant sizes, so that the compiler
 * keeps their arrays in registers, with loops over these unrolled where it would not: 12,
 * which are enough for two multiplications and additions to begin in each cycle. Where there
 * are 32 registers, multiply.h and winograd1d.h have tiles twice as high: they need each input
 * half as often, and narrow ones are enough to keep a processor busy too.
 */
#ifndef LAMINA_VECTOR_H
#define LAMINA_VECTOR_H

#include "../relaxation.h"
#include "operators.h"

#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
enum { VECTOR_BYTES = 64, REGISTERS = 32 };
#elif defined __AVX__
enum { VECTOR_BYTES = 32, REGISTERS = 16 };
#elif defined __aarch64__
enum { VECTOR_BYTES = 16, REGISTERS = 32 };
#else
enum { VECTOR_BYTES = 16, REGISTERS = 16 };
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));

enum {
    TILE = 6,
    WIDE = 2,
    HIGH = REGISTERS / 16 * TILE,
    FLAT = HIGH / 2,
    BROAD = 4,
    FULL = TILE * BROAD < REGISTERS ? BROAD : WIDE, /* vectors that TILE channels can have */
    LANES = VECTOR_BYTES / sizeof(real),
    LINE = 64, /* bytes of a cache line, over whose ends vectors are not to reach */
    FETCHES = VECTOR_BYTES < 64, /* ahead, which is not worth it where a load is a line */
    /* every width is a multiple; if it is WIDE, there is to be no code beside that for WIDE */
    NARROW = LM_LANE / LANES < WIDE ? LM_LANE / LANES : WIDE,
};

#define INLINE static inline __attribute__((always_inline))

/* f(n, ...) with a constant n, 1 <= n <= TILE. */
#define WITH_CHANNELS(n, f, ...)                                                               \
    switch (n) {                                                                               \
    case 1:                                                                                    \
        f(1, __VA_ARGS__);                                                                     \
        break;                                                                                 \
    case 2:                                                                                    \
        f(2, __VA_ARGS__);                                                                     \
        break;                                                                                 \
    case 3:                                                                                    \
        f(3, __VA_ARGS__);                                                                     \
        break;                                                                                 \
    case 4:                                                                                    \
        f(4, __VA_ARGS__);                                                                     \
        break;                                                                                 \
    case 5:                                                                                    \
        f(5, __VA_ARGS__);                                                                     \
        break;                                                                                 \
    default:                                                                                   \
        f(TILE, __VA_ARGS__);                                                                  \
    }

/* Likewise, n <= HIGH. */
#define WITH_HIGH(n, f, ...)                                                                   \
    switch (HIGH > TILE && (n) > TILE ? (n)-TILE : 0) {                                        \
    case 0:                                                                                    \
        WITH_CHANNELS(n, f, __VA_ARGS__)                                                       \
        break;                                                                                 \
    case 1:                                                                                    \
        f(TILE + 1, __VA_ARGS__);                                                              \
        break;                                                                                 \
    case 2:                                                                                    \
        f(TILE + 2, __VA_ARGS__);                                                              \
        break;                                                                                 \
    case 3:                                                                                    \
        f(TILE + 3, __VA_ARGS__);                                                              \
        break;                                                                                 \
    case 4:                                                                                    \
        f(TILE + 4, __VA_ARGS__);                                                              \
        break;                                                                                 \
    case 5:                                                                                    \
        f(TILE + 5, __VA_ARGS__);                                                              \
        break;                                                                                 \
    default:                                                                                   \
        f(HIGH, __VA_ARGS__);                                                                  \
    }

INLINE ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) {
    return a < b ? a : b;
}

INLINE ptrdiff_t most(ptrdiff_t a, ptrdiff_t b) {
    return a > b ? a : b;
}

INLINE vec load(const real *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE void store(real *x, vec v) {
    memcpy(x, &v, sizeof v);
}

INLINE real add_up(vec v) {
    real sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += v[lane];
    return sum;
}

/* Keeps GCC from loading v again at every use, which costs a third of the speed. */
INLINE vec keep(vec v) {
#if defined __x86_64__
    __asm__("" : "+v"(v));
#endif
    return v;
}

/* How many of a tile's vectors of inputs have a register, beside its sums and a weight. */
INLINE int in_registers(int channels, int vectors) {
    int left = REGISTERS - 1 - channels * vectors;
    return left < vectors ? left : vectors;
}

/* Bits of the vectors that add_product has an instruction of its own for, so that it rounds
 * once whatever the compiler does; else 0. */
#if defined __AVX512F__
#define FUSED 512
#elif defined __FMA__
#define FUSED 256
#elif defined __aarch64__
#define FUSED 128
#else
#define FUSED 0
#endif
#if defined __SSE__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_neon.h>
#endif

/* Past the caches, to an address that is a multiple of a vector's bytes: the line is not
 * fetched before, and nobody keeps it. Others may see it late, until stream_end. */
INLINE void stream(real *x, vec v) {
#if defined __AVX512F__
    _mm512_stream_ps((float *)x, (__m512)v);
#elif defined __AVX__
    _mm256_stream_ps((float *)x, (__m256)v);
#elif defined __SSE__
    _mm_stream_ps((float *)x, (__m128)v);
#else
    store(x, v);
#endif
}

INLINE void stream_end(void) {
#if defined __SSE__
    _mm_sfence();
#endif
}

/* sum + weight * input. */
INLINE vec add_product(vec sum, vec weight, vec input) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (vec)_mm512_fmadd_ps((__m512)weight, (__m512)input, (__m512)sum);
    return (vec)_mm512_fmadd_pd((__m512d)weight, (__m512d)input, (__m512d)sum);
#elif FUSED == 256
    if (sizeof(real) == sizeof(float))
        return (vec)_mm256_fmadd_ps((__m256)weight, (__m256)input, (__m256)sum);
    return (vec)_mm256_fmadd_pd((__m256d)weight, (__m256d)input, (__m256d)sum);
#elif FUSED == 128
    if (sizeof(real) == sizeof(float))
        return (vec)vfmaq_f32((float32x4_t)sum, (float32x4_t)weight, (float32x4_t)input);
    return (vec)vfmaq_f64((float64x2_t)sum, (float64x2_t)weight, (float64x2_t)input);
#else
    return sum + weight * input;
#endif
}

/* weight * input - less. */
INLINE vec product_less(vec weight, vec input, vec less) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (vec)_mm512_fmsub_ps((__m512)weight, (__m512)input, (__m512)less);
    return (vec)_mm512_fmsub_pd((__m512d)weight, (__m512d)input, (__m512d)less);
#elif FUSED == 256
    if (sizeof(real) == sizeof(float))
        return (vec)_mm256_fmsub_ps((__m256)weight, (__m256)input, (__m256)less);
    return (vec)_mm256_fmsub_pd((__m256d)weight, (__m256d)input, (__m256d)less);
#elif FUSED == 128
    return add_product(-less, weight, input);
#else
    return weight * input - less;
#endif
}

/* add_product with the numbers at x. GCC would load them into a register first, of which a FLAT
 * tile has none left. */
INLINE vec add_product_at(vec sum, vec weight, const real *x) {
#if FUSED >= 256
    if (sizeof *x == sizeof(float))
        __asm__("vfmadd231ps %2, %1, %0"
                : "+v"(sum)
                : "v"(weight), "m"(*(const real(*)[LANES])x));
    else
        __asm__("vfmadd231pd %2, %1, %0"
                : "+v"(sum)
                : "v"(weight), "m"(*(const real(*)[LANES])x));
    return sum;
#else
    return add_product(sum, weight, load(x));
#endif
}

/* biases (units) = the sums of n errors each, or `adds` them; n is a multiple of LANES. */
INLINE void sum_errors(ptrdiff_t units, ptrdiff_t n, const real *errors, bool adds,
                       real *biases) {
    enum { SUMS = 4 }; /* additions that need not wait for each other */
    for (ptrdiff_t u = 0; u < units; u++, errors += n) {
        vec sum[SUMS] = {{0}};
        ptrdiff_t i = 0;
        for (; i + SUMS * LANES <= n; i += SUMS * LANES)
            for (int k = 0; k < SUMS; k++)
                sum[k] += load(errors + i + k * LANES);
        for (; i < n; i += LANES)
            sum[0] += load(errors + i);
        biases[u] = (adds ? biases[u] : 0) + add_up((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* The values at `at`, moved: the same roundings wherever this is compiled. */
INLINE vec relaxed(const struct lm_relaxation *by, bool by_error, const real *at,
                   vec feedback) {
    const vec step = by->step - (vec){0};
    const vec zero = {0}, value = by->fresh ? zero : load(at);
    if (by_error) {
        const vec error = by->fresh ? zero : load(by->error + (at - by->value));
        return add_product(value, step, error - feedback);
    }
    return product_less(by->keep - (vec){0}, value, step * feedback);
}

INLINE void relax(const struct lm_relaxation *by, bool by_error, real *at, vec feedback) {
    store(at, relaxed(by, by_error, at, feedback));
}

#endif
