/* linear: y = W x + b, every unit of x connected to every unit of y. */
#include "../memory.h"
#include "multiply.h"
#include "operators.h"
#include "transpose.h"

enum { UNITS };

enum { SIDE = LINE / sizeof(real) }; /* of a square that is transposed in whole lines */

static bool infer(struct lm_operator *op, struct lm_status *status) {
    char text[LM_SHAPE_TEXT];
    if (op->in[0].rank != 1)
        return lm_fail(
            status, LM_CONFIG,
            "the input has shape %s: one extent is expected, so put flatten before it",
            lm_shape_text(&op->in[0], text));
    size_t in = op->in[0].extent[0], out = op->option[UNITS][0];
    op->out = (struct lm_shape){1, {out, 1, 1}};
    op->n_weights = lm_product(in, out);
    op->n_biases = out;
    op->n_prepared = op->n_weights;
    op->fan_in = in;
    op->relaxes = out <= LM_BLOCK;
    op->flops = 2.0 * (double)in * (double)out;
    return true;
}

static struct lm_multiplication of_x(const struct lm_operator *op, const real *parameters,
                                     const real *x, size_t width, real *y) {
    return (struct lm_multiplication){.outs = (ptrdiff_t)op->out.extent[0],
                                      .ins = (ptrdiff_t)op->fan_in,
                                      .width = (ptrdiff_t)width,
                                      .weight = parameters + op->channel * op->fan_in,
                                      .out_step = (ptrdiff_t)op->fan_in,
                                      .in_step = 1,
                                      .x = x,
                                      .x_step = (ptrdiff_t)width,
                                      .y = y,
                                      .y_step = (ptrdiff_t)width};
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)tape;
    struct lm_multiplication p = of_x(op, parameters, x[0], width, y);
    p.bias = parameters + op->n_weights + op->channel;
    lm_multiply(&p);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y, (void)tape;
    struct lm_multiplication p = of_x(op, parameters, dx[0], width, dy);
    lm_multiply(&p);
}

static struct lm_multiplication of_error(const struct lm_operator *op, const real *weights,
                                         const real *ey, size_t width, real *ex) {
    return (struct lm_multiplication){.outs = (ptrdiff_t)op->fan_in,
                                      .ins = (ptrdiff_t)op->out.extent[0],
                                      .width = (ptrdiff_t)width,
                                      .weight = weights,
                                      .out_step = 1,
                                      .in_step = (ptrdiff_t)op->fan_in,
                                      .x = ey,
                                      .x_step = (ptrdiff_t)width,
                                      .y = ex,
                                      .y_step = (ptrdiff_t)width};
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)tape;
    struct lm_multiplication p = of_error(op, parameters, ey, width, ex[0]);
    if (ex[0])
        lm_multiply(&p);
}

static void relax_input(const struct lm_operator *op, const real *parameters, const real *tape,
                        const real *ey, size_t width, const struct lm_relaxation *relaxation) {
    (void)tape;
    struct lm_multiplication p = of_error(op, parameters, ey, width, relaxation->value);
    p.relaxation = relaxation;
    lm_multiply(&p);
}

/* --- prepared weights: (in, out) ------------------------------------------------------ */

/* to (columns, rows) = from (rows, columns), in the square at a row and a column. */
static void transpose_whole(const real *from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row,
                            ptrdiff_t column, real *to) {
    for (ptrdiff_t j = column; j < column + SIDE; j += LANES)
        for (ptrdiff_t i = row; i < row + SIDE; i += LANES)
            transpose_numbers(LANES, from + i * columns + j, columns, to + j * rows + i, rows);
}

/* The same of a square that is partly outside. */
static void transpose_partly(const real *from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row,
                             ptrdiff_t column, real *to) {
    for (ptrdiff_t j = column; j < least(column + SIDE, columns); j++)
        for (ptrdiff_t i = row; i < least(row + SIDE, rows); i++)
            to[j * rows + i] = from[i * columns + j];
}

static void prepare(const struct lm_operator *op, const real *parameters, size_t part,
                    size_t parts, real *prepared) {
    ptrdiff_t rows = (ptrdiff_t)op->out.extent[0], columns = (ptrdiff_t)op->fan_in;
    size_t squares = (op->fan_in + SIDE - 1) / SIDE;
    ptrdiff_t first = (ptrdiff_t)(part * squares / parts) * SIDE;
    ptrdiff_t end = (ptrdiff_t)((part + 1) * squares / parts) * SIDE;
    for (ptrdiff_t j = first; j < end; j += SIDE)
        for (ptrdiff_t i = 0; i < rows; i += SIDE)
            if (i + SIDE <= rows && j + SIDE <= columns)
                transpose_whole(parameters, rows, columns, i, j, prepared);
            else
                transpose_partly(parameters, rows, columns, i, j, prepared);
}

static void pull_prepared(const struct lm_operator *op, const real *prepared, const real *ey,
                          size_t width, const struct lm_relaxation *relaxation, real *ex) {
    struct lm_multiplication p =
        of_error(op, prepared, ey, width, relaxation ? relaxation->value : ex);
    p.out_step = p.ins;
    p.in_step = 1;
    p.relaxation = relaxation;
    lm_multiply(&p);
}

static void pull_parameters(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, bool adds, real *gradient) {
    const struct lm_multiplied p = {(ptrdiff_t)op->out.extent[0], (ptrdiff_t)op->fan_in,
                                    (ptrdiff_t)width, x, ey};
    lm_multiply_gradient(&p, adds, gradient + op->channel * op->fan_in);
    sum_errors(p.outs, p.width, ey, adds, gradient + op->n_weights + op->channel);
}

const struct lm_operator_kind lm_linear = {
    .name = "linear",
    .summary = "y = W x + b",
    .options = {{"units", NULL, 1, false}},
    .bands = true,
    .infer = infer,
    .forward = forward,
    .difference = difference,
    .pull_input = pull_input,
    .relax_input = relax_input,
    .prepare = prepare,
    .pull_prepared = pull_prepared,
    .pull_parameters = pull_parameters,
};
