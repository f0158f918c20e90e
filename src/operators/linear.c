/* linear: y = W x + b, every unit of x connected to every unit of y.
 *
 * With a few inputs side by side, products are made without packing the weights: sums are kept
 * in registers, a tile is up to TILE units x WIDE vectors of inputs. */
#include "../blas.h"
#include "vector.h"

enum { UNITS };

static bool infer(struct lm_operator *op, struct lm_status *status) {
    char text[LM_SHAPE_TEXT];
    if (op->in[0].rank != 1)
        return lm_fail(
            status, LM_CONFIG,
            "the input has shape %s: one extent is expected, so put flatten before it",
            lm_shape_text(&op->in[0], text));
    size_t in = op->in[0].extent[0], out = op->option[UNITS][0];
    op->out = (struct lm_shape){1, {out, 1, 1}};
    op->n_weights = in * out;
    op->n_biases = out;
    op->fan_in = in;
    op->flops = 2.0 * (double)in * (double)out;
    return true;
}

enum {
    BLOCK = 256,      /* inputs that are summed over in one go: their x stay in the L1 cache */
    PANEL = 8 * TILE, /* units whose weights for a block stay in the L2 cache */
    FAR = 4096,       /* weights that far apart get into each other's way in a cache */
};

/* y (outs, width) = bias + weights * x (ins, width); element (o, i) of the weights is at
 * weight[o * out_step + i * in_step]. */
struct product {
    ptrdiff_t outs, ins, width;
    const real *weight, *bias; /* bias NULL: zero */
    bool adds;                 /* to what y holds, instead of the bias */
    ptrdiff_t out_step, in_step;
    const real *x;
    real *y;
};

/* Units o, ..., o + outs - 1 of some vectors of inputs from b on. */
INLINE void product_tile(int outs, int vectors, const struct product *p, ptrdiff_t o,
                         ptrdiff_t b) {
    const real *x = p->x + b, *w = p->weight + o * p->out_step;
    real *y = p->y + o * p->width + b;
    vec sum[TILE][WIDE];
    for (int k = 0; k < outs; k++)
        for (int v = 0; v < vectors; v++)
            sum[k][v] = p->adds ? load(y + k * p->width + v * LANES)
                                : (p->bias ? p->bias[o + k] : 0) - (vec){0};
    for (ptrdiff_t i = 0; i < p->ins; i++, x += p->width, w += p->in_step) {
        vec input[WIDE];
        for (int v = 0; v < vectors; v++)
            input[v] = keep(load(x + v * LANES));
        for (int k = 0; k < outs; k++)
            for (int v = 0; v < vectors; v++)
                sum[k][v] += w[k * p->out_step] * input[v];
    }
    for (int k = 0; k < outs; k++)
        for (int v = 0; v < vectors; v++)
            store(y + k * p->width + v * LANES, sum[k][v]);
}

INLINE void product_wide(int outs, const struct product *p, ptrdiff_t o, ptrdiff_t b) {
    product_tile(outs, WIDE, p, o, b);
}

INLINE void product_narrow(int outs, const struct product *p, ptrdiff_t o, ptrdiff_t b) {
    product_tile(outs, NARROW, p, o, b);
}

/* Some vectors of inputs of all units. */
static void product_vectors(const struct product *p, ptrdiff_t b, bool wide) {
    ptrdiff_t tiles = (p->outs + TILE - 1) / TILE;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * p->outs / tiles, outs = (tile + 1) * p->outs / tiles - o;
        if (wide) {
            WITH_CHANNELS(outs, product_wide, p, o, b)
        } else {
            WITH_CHANNELS(outs, product_narrow, p, o, b)
        }
    }
}

/* A panel of units over a block of inputs. Weights that are far apart are put side by side. */
static void product_panel(const struct product *p) {
    real packed[BLOCK * PANEL];
    struct product q = *p;
    if (p->out_step == 1 && p->in_step >= FAR && p->outs == PANEL) {
        for (ptrdiff_t i = 0; i < p->ins; i++)
            memcpy(packed + i * PANEL, p->weight + i * p->in_step, PANEL * sizeof *packed);
        q.weight = packed;
        q.in_step = PANEL;
    }
    ptrdiff_t b = 0;
    for (; b + WIDE * LANES <= p->width; b += WIDE * LANES)
        product_vectors(&q, b, true);
    for (; b < p->width; b += NARROW * LANES)
        product_vectors(&q, b, false);
}

static void product(const struct product *p) {
    for (ptrdiff_t i = 0; i < p->ins; i += BLOCK)
        for (ptrdiff_t o = 0; o < p->outs; o += PANEL) {
            struct product q = *p;
            q.ins = least(BLOCK, p->ins - i);
            q.outs = least(PANEL, p->outs - o);
            q.weight += i * p->in_step + o * p->out_step;
            q.bias = p->bias ? p->bias + o : NULL;
            q.adds = i > 0;
            q.x += i * p->width;
            q.y += o * p->width;
            product_panel(&q);
        }
}

static struct product of_x(const struct lm_operator *op, const real *parameters, const real *x,
                           size_t width, real *y) {
    return (struct product){.outs = (ptrdiff_t)op->out.extent[0],
                            .ins = (ptrdiff_t)op->fan_in,
                            .width = (ptrdiff_t)width,
                            .weight = parameters + op->channel * op->fan_in,
                            .out_step = (ptrdiff_t)op->fan_in,
                            .in_step = 1,
                            .x = x,
                            .y = y};
}

static void forward(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape) {
    (void)tape;
    struct product p = of_x(op, parameters, x[0], width, y);
    p.bias = parameters + op->n_weights + op->channel;
    product(&p);
}

static void difference(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape) {
    (void)x, (void)y, (void)tape;
    struct product p = of_x(op, parameters, dx[0], width, dy);
    product(&p);
}

static void pull_input(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]) {
    (void)tape;
    struct product p = {.outs = (ptrdiff_t)op->fan_in,
                        .ins = (ptrdiff_t)op->out.extent[0],
                        .width = (ptrdiff_t)width,
                        .weight = parameters,
                        .out_step = 1,
                        .in_step = (ptrdiff_t)op->fan_in,
                        .x = ey,
                        .y = ex[0]};
    if (ex[0])
        product(&p);
}

static void pull_parameters(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, real *gradient) {
    size_t units = op->out.extent[0];
    lm_gemm(false, true, units, op->fan_in, width, ey, x, 1,
            gradient + op->channel * op->fan_in);
    for (size_t o = 0; o < units; o++) {
        real sum = 0;
        for (size_t b = 0; b < width; b++)
            sum += ey[o * width + b];
        gradient[op->n_weights + op->channel + o] += sum;
    }
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
    .pull_parameters = pull_parameters,
};
