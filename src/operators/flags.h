/* Flags: what is so of which numbers of a vector, and choices by it. Comparisons write a mask
 * register where there are such (AVX-512), else all bits of a number or none. Internal to the
 * operators. */
#ifndef LAMINA_FLAGS_H
#define LAMINA_FLAGS_H

#include "vector.h"

/* Vectors of whole numbers as wide as the reals. */
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 4, (int32_t)0, (int64_t)0)) wholes
    __attribute__((vector_size(VECTOR_BYTES)));

#if FUSED == 512
typedef __mmask16 flags;
#else
typedef wholes flags; /* all bits of a number or none */
#endif

INLINE flags either(flags f, flags g) {
    return (flags)(f | g);
}

/* a > b, a = b, a or b is NaN. */
#if FUSED == 512
#define COMPARE(a, b, how)                                                                     \
    (sizeof(real) == sizeof(float)                                                             \
         ? (flags)_mm512_cmp_ps_mask((__m512)(a), (__m512)(b), how)                            \
         : (flags)_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), how))
#elif FUSED == 256
#define COMPARE(a, b, how)                                                                     \
    (sizeof(real) == sizeof(float) ? (flags)_mm256_cmp_ps((__m256)(a), (__m256)(b), how)       \
                                   : (flags)_mm256_cmp_pd((__m256d)(a), (__m256d)(b), how))
#endif

INLINE flags above(vec a, vec b) {
#if FUSED >= 256
    return COMPARE(a, b, _CMP_GT_OQ);
#else
    return a > b;
#endif
}

INLINE flags equal(vec a, vec b) {
#if FUSED >= 256
    return COMPARE(a, b, _CMP_EQ_OQ);
#else
    return a == b;
#endif
}

INLINE flags unordered(vec a, vec b) {
#if FUSED >= 256
    return COMPARE(a, b, _CMP_UNORD_Q);
#else
    return (a != a) | (b != b);
#endif
}

/* a > b. */
INLINE flags above_whole(wholes a, wholes b) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (flags)_mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);
    return (flags)_mm512_cmpgt_epi64_mask((__m512i)a, (__m512i)b);
#else
    return a > b;
#endif
}

/* a where it is so, else b. */
INLINE vec choose(flags f, vec a, vec b) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (vec)_mm512_mask_blend_ps(f, (__m512)b, (__m512)a);
    return (vec)_mm512_mask_blend_pd((__mmask8)f, (__m512d)b, (__m512d)a);
#elif FUSED == 256
    return (vec)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)f);
#else
    return (vec)((f & (wholes)a) | (~f & (wholes)b));
#endif
}

/* Likewise, else 0. */
INLINE vec only(flags f, vec a) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (vec)_mm512_maskz_mov_ps(f, (__m512)a);
    return (vec)_mm512_maskz_mov_pd((__mmask8)f, (__m512d)a);
#else
    return (vec)(f & (wholes)a);
#endif
}

/* The larger of two. */
INLINE wholes larger(wholes a, wholes b) {
#if FUSED == 512
    if (sizeof(real) == sizeof(float))
        return (wholes)_mm512_max_epi32((__m512i)a, (__m512i)b);
    return (wholes)_mm512_max_epi64((__m512i)a, (__m512i)b);
#elif FUSED == 256 && defined __AVX2__
    if (sizeof(real) == sizeof(float))
        return (wholes)_mm256_max_epi32((__m256i)a, (__m256i)b);
#endif
    wholes first = a > b;
    return (first & a) | (~first & b);
}

#endif
