/* Kernel: the functions of one operator with weights done by other means, on one thread, for
 * `lamina bench --operators`. */
#ifndef LAMINA_KERNEL_H
#define LAMINA_KERNEL_H

#include "operator.h"

enum lm_function { LM_FORWARD, LM_DIFFERENCE, LM_PULL_INPUT, LM_PULL_PARAMETERS, LM_FUNCTIONS };

/* An operator and the numbers it works on, as Lamina lays them out: count inputs in arrays of
 * `width` (tensor.h). Nothing is owned. */
struct lm_kernel_case {
    const struct lm_operator *op;
    size_t count, width;
    const real *parameters; /* weights, then biases */
    const real *x;          /* (units of in[0], width) */
    const real *e;          /* (units of out, width) */
};

/* A way to do it, in a layout of its own: `create` brings the numbers there, `run` does one
 * function (not LM_DIFFERENCE, which is forward without biases), `read` brings back what it
 * made: y (units of out, width), x's error (units of in[0], width) or the gradient
 * (parameters). The padding is not written. */
struct lm_kernel {
    const char *name; /* column of files */
    const char *(*describe)(void);
    void *(*create)(const struct lm_kernel_case *c); /* NULL: not for this operator */
    void (*run)(void *state, enum lm_function function);
    void (*read)(const void *state, enum lm_function function, real *result);
    void (*destroy)(void *state);
};

/* im2col and OpenBLAS: of each image a matrix of all windows, times the weights. For linear
 * the product alone. Images are (input, channel, row, column). */
extern const struct lm_kernel lm_kernel_gemm;

/* oneDNN in whatever layouts it likes best, float only; there if it was found when Lamina was
 * built (LAMINA_DNNL). */
extern const struct lm_kernel lm_kernel_dnnl;

/* Bring (units, width) to (count, units), and back. */
void lm_kernel_to_images(size_t units, size_t count, size_t width, const real *from, real *to);
void lm_kernel_from_images(size_t units, size_t count, size_t width, const real *from,
                           real *to);

#endif
