/* Tensor: the number type, the shape of one input's activity, and how a batch of
 * inputs lies in memory.
 *
 * Arrays are units x inputs with the inputs contiguous: element (unit u, input b)
 * of an array of width W stands at u * W + b. Units run over channels, rows,
 * columns (row-major). So one vector register holds the same unit of many inputs,
 * and every operator vectorises over inputs.
 *
 * A batch is cut into chunks of at most `chunk` inputs (32 by default). A chunk's
 * width is its number of inputs rounded up to a multiple of LM_LANE; the padding
 * inputs hold finite numbers and zero errors, so that they add nothing to any sum
 * over inputs. A chunk is the unit of work, of threading and of messages. */
#ifndef LAMINA_TENSOR_H
#define LAMINA_TENSOR_H

#include "status.h"

#include <stddef.h>

/* The number type of the whole program: float, or double when built with
 * -DLAMINA_REAL=double. */
#ifdef LAMINA_DOUBLE
typedef double real;
#define LM_REAL_NAME "double"
#else
typedef float real;
#define LM_REAL_NAME "float"
#endif

/* Every chunk width is a multiple of this many inputs. */
enum { LM_LANE = 16 };

/* Shape of one input's activity: rank 1 (units) or 3 (channels, rows, columns). */
struct lm_shape {
    int rank;
    size_t extent[3]; /* unused extents are 1 */
};

enum { LM_SHAPE_TEXT = 64 };

/* A shape of `rank` (1 or 3) extents; every extent must be at least 1. */
bool lm_shape_init(struct lm_shape *shape, int rank, const long extent[],
                   struct lm_status *status);

/* Number of units: the product of the extents. */
size_t lm_shape_units(const struct lm_shape *shape);

bool lm_shape_equal(const struct lm_shape *a, const struct lm_shape *b);

/* "10 x 13 x 13" in text[LM_SHAPE_TEXT]; returns text. */
const char *lm_shape_text(const struct lm_shape *shape, char *text);

/* Inputs rounded up to a multiple of LM_LANE. */
size_t lm_width(size_t inputs);

/* y[i] += x[i] for i < n. x and y do not overlap. */
void lm_add(size_t n, const real *x, real *y);

/* sum[i] = a[i] + b[i] for i < n. */
void lm_sum(size_t n, const real *a, const real *b, real *sum);

#endif
