#include "kernel.h"

#include "blas.h"
#include "memory.h"

#include <string.h>

enum { KERNEL = 1, STRIDE, PADDING }; /* options of conv2d */

void lm_kernel_to_images(size_t units, size_t count, size_t width, const real *from, real *to) {
    for (size_t b = 0; b < count; b++)
        for (size_t u = 0; u < units; u++)
            to[b * units + u] = from[u * width + b];
}

void lm_kernel_from_images(size_t units, size_t count, size_t width, const real *from,
                           real *to) {
    for (size_t b = 0; b < count; b++)
        for (size_t u = 0; u < units; u++)
            to[u * width + b] = from[b * units + u];
}

struct state {
    struct lm_kernel_case c;
    bool is_conv;
    size_t in, out;       /* units */
    size_t places;        /* of windows */
    real *x, *e, *y, *ex; /* (count, units) */
    real *columns;        /* (fan_in, places) */
    real *gradient;       /* (parameters) */
};

static const char *describe(void) {
    return lm_blas_version();
}

static void *create(const struct lm_kernel_case *c) {
    const struct lm_operator *op = c->op;
    bool is_conv = strcmp(op->kind->name, "conv2d") == 0;
    if (!is_conv && strcmp(op->kind->name, "linear") != 0)
        return NULL;
    struct state *s = lm_allocate(1, sizeof *s);
    *s = (struct state){.c = *c,
                        .is_conv = is_conv,
                        .in = lm_shape_units(&op->in[0]),
                        .out = lm_shape_units(&op->out),
                        .places = op->out.extent[1] * op->out.extent[2]};
    s->x = lm_allocate(s->in * c->count, sizeof(real));
    s->ex = lm_allocate(s->in * c->count, sizeof(real));
    s->y = lm_allocate(s->out * c->count, sizeof(real));
    s->e = lm_allocate(s->out * c->count, sizeof(real));
    s->columns = lm_allocate(op->fan_in * s->places, sizeof(real));
    s->gradient = lm_allocate(lm_operator_parameters(op), sizeof(real));
    lm_kernel_to_images(s->in, c->count, c->width, c->x, s->x);
    lm_kernel_to_images(s->out, c->count, c->width, c->e, s->e);
    return s;
}

static void destroy(void *state) {
    struct state *s = state;
    lm_free(s->x);
    lm_free(s->ex);
    lm_free(s->y);
    lm_free(s->e);
    lm_free(s->columns);
    lm_free(s->gradient);
    lm_free(s);
}

/* The windows' places of column index j, kernel column t, that lie in the image: [from, to). */
static void inside(const struct lm_operator *op, size_t t, size_t *from, size_t *to) {
    size_t stride = op->option[STRIDE][1], padding = op->option[PADDING][1];
    size_t in = op->in[0].extent[2], out = op->out.extent[2];
    *from = t < padding ? (padding - t + stride - 1) / stride : 0;
    *to = in + padding > t ? (in + padding - t - 1) / stride + 1 : 0;
    *to = *to < out ? *to : out;
    *from = *from < *to ? *from : *to;
}

/* One row of one window element: either columns = image (to_columns) or image += columns. */
static void move_row(const struct lm_operator *op, size_t t, real *image, real *columns,
                     bool to_columns) {
    size_t stride = op->option[STRIDE][1], padding = op->option[PADDING][1], from, to;
    inside(op, t, &from, &to);
    if (to_columns) {
        memset(columns, 0, from * sizeof *columns);
        for (size_t j = from; j < to; j++)
            columns[j] = image[j * stride + t - padding];
        memset(columns + to, 0, (op->out.extent[2] - to) * sizeof *columns);
    } else {
        for (size_t j = from; j < to; j++)
            image[j * stride + t - padding] += columns[j];
    }
}

/* Between an image (channels, rows, columns) and its windows (channels, kernel rows, kernel
 * columns, places). */
static void move_windows(const struct lm_operator *op, real *image, real *columns,
                         bool to_columns) {
    const size_t *kernel = op->option[KERNEL], *extent = op->in[0].extent;
    size_t rows = op->out.extent[1], wide = op->out.extent[2];
    for (size_t c = 0; c < extent[0]; c++)
        for (size_t i = 0; i < kernel[0]; i++)
            for (size_t j = 0; j < kernel[1]; j++)
                for (size_t r = 0; r < rows; r++, columns += wide) {
                    size_t row = r * op->option[STRIDE][0] + i; /* of the padded image */
                    bool there = row >= op->option[PADDING][0] &&
                                 row - op->option[PADDING][0] < extent[1];
                    if (there)
                        move_row(op, j,
                                 image +
                                     (c * extent[1] + row - op->option[PADDING][0]) * extent[2],
                                 columns, to_columns);
                    else if (to_columns)
                        memset(columns, 0, wide * sizeof *columns);
                }
}

static void run_conv(struct state *s, enum lm_function function) {
    const struct lm_operator *op = s->c.op;
    const real *weights = s->c.parameters, *biases = weights + op->n_weights;
    size_t channels = op->n_biases, places = s->places, fan_in = op->fan_in;
    for (size_t b = 0; b < s->c.count; b++) {
        real *x = s->x + b * s->in, *ex = s->ex + b * s->in, *y = s->y + b * s->out;
        const real *e = s->e + b * s->out;
        if (function == LM_PULL_INPUT) {
            memset(ex, 0, s->in * sizeof *ex);
            lm_gemm(true, false, fan_in, places, channels, weights, e, 0, s->columns);
            move_windows(op, ex, s->columns, false);
            continue;
        }
        move_windows(op, x, s->columns, true);
        if (function == LM_PULL_PARAMETERS) {
            lm_gemm(false, true, channels, fan_in, places, e, s->columns, b > 0, s->gradient);
        } else {
            for (size_t o = 0; o < channels; o++)
                for (size_t p = 0; p < places; p++)
                    y[o * places + p] = biases[o];
            lm_gemm(false, false, channels, places, fan_in, weights, s->columns, 1, y);
        }
    }
}

static void run_linear(struct state *s, enum lm_function function) {
    const struct lm_operator *op = s->c.op;
    const real *weights = s->c.parameters, *biases = weights + op->n_weights;
    size_t n = s->c.count;
    if (function == LM_PULL_INPUT) {
        lm_gemm(false, false, n, s->in, s->out, s->e, weights, 0, s->ex);
    } else if (function == LM_PULL_PARAMETERS) {
        lm_gemm(true, false, s->out, s->in, n, s->e, s->x, 0, s->gradient);
    } else {
        for (size_t b = 0; b < n; b++)
            for (size_t o = 0; o < s->out; o++)
                s->y[b * s->out + o] = biases[o];
        lm_gemm(false, true, n, s->out, s->in, s->x, weights, 1, s->y);
    }
}

static void sum_biases(struct state *s) {
    const struct lm_operator *op = s->c.op;
    size_t places = s->out / op->n_biases;
    real *gradient = s->gradient + op->n_weights;
    memset(gradient, 0, op->n_biases * sizeof *gradient);
    for (size_t b = 0; b < s->c.count; b++)
        for (size_t o = 0; o < op->n_biases; o++)
            for (size_t p = 0; p < places; p++)
                gradient[o] += s->e[b * s->out + o * places + p];
}

static void run(void *state, enum lm_function function) {
    struct state *s = state;
    if (s->is_conv)
        run_conv(s, function);
    else
        run_linear(s, function);
    if (function == LM_PULL_PARAMETERS)
        sum_biases(s);
}

static void read(const void *state, enum lm_function function, real *result) {
    const struct state *s = state;
    if (function == LM_PULL_PARAMETERS)
        memcpy(result, s->gradient, lm_operator_parameters(s->c.op) * sizeof *result);
    else if (function == LM_PULL_INPUT)
        lm_kernel_from_images(s->in, s->c.count, s->c.width, s->ex, result);
    else
        lm_kernel_from_images(s->out, s->c.count, s->c.width, s->y, result);
}

const struct lm_kernel lm_kernel_gemm = {"gemm", describe, create, run, read, destroy};
