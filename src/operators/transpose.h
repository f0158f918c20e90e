/* Transposition of as many vectors as each has numbers. Internal to the operators. */
#ifndef LAMINA_TRANSPOSE_H
#define LAMINA_TRANSPOSE_H

#include "vector.h"

#if FUSED >= 256 && !defined LAMINA_DOUBLE

#if FUSED == 512
typedef __m512 floats;
#define INTERLEAVE(half, a, b) _mm512_unpack##half##_ps(a, b)
#define TWO_OF_EACH(a, b, which) _mm512_shuffle_ps(a, b, which)
#define FOURS(a, b, which) _mm512_shuffle_f32x4(a, b, which)
#else
typedef __m256 floats;
#define INTERLEAVE(half, a, b) _mm256_unpack##half##_ps(a, b)
#define TWO_OF_EACH(a, b, which) _mm256_shuffle_ps(a, b, which)
#define FOURS(a, b, which) _mm256_permute2f128_ps(a, b, which)
#endif

/* Squares of four rows and columns become their transposes where they are. */
INLINE void transpose_fours(const vec row[LANES], floats four[LANES]) {
    for (int i = 0; i < LANES; i += 4) {
        floats pair[4];
        for (int k = 0; k < 4; k += 2) {
            pair[k] = INTERLEAVE(lo, (floats)row[i + k], (floats)row[i + k + 1]);
            pair[k + 1] = INTERLEAVE(hi, (floats)row[i + k], (floats)row[i + k + 1]);
        }
        for (int k = 0; k < 2; k++) {
            four[i + 2 * k] = TWO_OF_EACH(pair[k], pair[2 + k], 0x44);
            four[i + 2 * k + 1] = TWO_OF_EACH(pair[k], pair[2 + k], 0xee);
        }
    }
}

/* Rows become columns. */
INLINE void transpose_square(vec row[LANES]) {
    floats four[LANES];
    transpose_fours(row, four);
    for (int i = 0; i < 4; i++) {
#if FUSED == 512
        floats even[2], odd[2];
        for (int k = 0; k < 2; k++) {
            even[k] = FOURS(four[8 * k + i], four[8 * k + 4 + i], 0x88);
            odd[k] = FOURS(four[8 * k + i], four[8 * k + 4 + i], 0xdd);
        }
        row[i] = (vec)FOURS(even[0], even[1], 0x88);
        row[4 + i] = (vec)FOURS(odd[0], odd[1], 0x88);
        row[8 + i] = (vec)FOURS(even[0], even[1], 0xdd);
        row[12 + i] = (vec)FOURS(odd[0], odd[1], 0xdd);
#else
        row[i] = (vec)FOURS(four[i], four[4 + i], 0x20);
        row[4 + i] = (vec)FOURS(four[i], four[4 + i], 0x31);
#endif
    }
}

#else

/* Rows become columns. */
INLINE void transpose_square(vec row[LANES]) {
    vec column[LANES];
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++)
            column[i][j] = row[j][i];
    memcpy(row, column, sizeof column);
}

#endif

/* The square at `from`, of which `rows` rows are there and the others zero, to `to`; so many
 * numbers from one row to the next. */
INLINE void transpose_numbers(ptrdiff_t rows, const real *from, ptrdiff_t from_step, real *to,
                              ptrdiff_t to_step) {
    vec row[LANES];
    for (int k = 0; k < LANES; k++)
        row[k] = k < rows ? load(from + k * from_step) : (vec){0};
    transpose_square(row);
    for (int k = 0; k < LANES; k++)
        store(to + k * to_step, row[k]);
}

#endif
