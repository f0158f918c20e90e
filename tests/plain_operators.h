/* Plain operators: every kind as plain loops in long double, as its definition says. */
#ifndef LAMINA_PLAIN_OPERATORS_H
#define LAMINA_PLAIN_OPERATORS_H

#include "operator.h"

#include <math.h>
#include <string.h>

/* Unit (channel, row, column) of input b, or NULL outside of the image. */
static inline const long double *unit_at(const struct lm_shape *shape, const long double *x,
                                         long c, long row, long column, size_t width,
                                         size_t b) {
    long rows = (long)shape->extent[1], columns = (long)shape->extent[2];
    if (row < 0 || row >= rows || column < 0 || column >= columns)
        return NULL;
    return &x[(size_t)((c * rows + row) * columns + column) * width + b];
}

/* What a window of one input gives: a sum over channels with weights (conv2d), a maximum or a
 * mean of one channel. */
static inline long double window(const struct lm_operator *op, const long double *parameters,
                                 const long double *x, long out, long row, long column,
                                 size_t width, size_t b) {
    bool conv = !strcmp(op->kind->name, "conv2d"), max = !strcmp(op->kind->name, "maxpool2d");
    const size_t *size = op->option[conv ? 1 : 0], *stride = op->option[conv ? 2 : 1];
    long rows = (long)size[0], columns = (long)size[1], channels = (long)op->in[0].extent[0];
    long top = row * (long)stride[0] - (conv ? (long)op->option[3][0] : 0);
    long left = column * (long)stride[1] - (conv ? (long)op->option[3][1] : 0);
    long double sum = conv ? parameters[op->n_weights + (size_t)out] : max ? -INFINITY : 0;
    for (long c = conv ? 0 : out; c < (conv ? channels : out + 1); c++)
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < columns; j++) {
                const long double *unit =
                    unit_at(&op->in[0], x, c, top + i, left + j, width, b);
                if (max)
                    sum = fmaxl(sum, *unit);
                else if (conv && unit)
                    sum += parameters[((out * channels + c) * rows + i) * columns + j] * *unit;
                else if (!conv)
                    sum += *unit / (long double)(rows * columns);
            }
    return sum;
}

/* Unit u of input b of f(x). */
static inline long double reference_unit(const struct lm_operator *op,
                                         const long double *parameters, long double *const x[],
                                         size_t width, size_t u, size_t b) {
    const char *kind = op->kind->name;
    size_t at = u * width + b;
    long double sum = 0;
    if (!strcmp(kind, "linear")) {
        for (size_t i = 0; i < op->in[0].extent[0]; i++)
            sum += parameters[u * op->in[0].extent[0] + i] * x[0][i * width + b];
        return sum + parameters[op->n_weights + u];
    }
    if (!strcmp(kind, "add")) {
        for (int k = 0; k < op->n_inputs; k++)
            sum += x[k][at];
        return sum;
    }
    if (!strcmp(kind, "concat")) {
        int k = 0;
        for (; u >= lm_shape_units(&op->in[k]); k++)
            u -= lm_shape_units(&op->in[k]);
        return x[k][u * width + b];
    }
    if (!strcmp(kind, "relu"))
        return fmaxl(x[0][at], 0);
    if (!strcmp(kind, "tanh"))
        return tanhl(x[0][at]);
    if (!strcmp(kind, "sigmoid"))
        return 1 / (1 + expl(-x[0][at]));
    if (!strcmp(kind, "flatten"))
        return x[0][at];
    size_t columns = op->out.extent[2], rows = op->out.extent[1];
    return window(op, parameters, x[0], (long)(u / columns / rows), (long)(u / columns % rows),
                  (long)(u % columns), width, b);
}

#endif
