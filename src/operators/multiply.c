#include "multiply.h"

#include "../memory.h"
#include "transpose.h"

enum {
    PANEL = 48,               /* units whose weights for a block stay in the L2 cache */
    MOST = PANEL + PANEL / 2, /* fewer units than these are one panel */
    LONG = 32,                /* inputs that high tiles are worth while for */
    PAGE = 4096,           /* bytes; what is so far apart meets in the same lines of a cache */
    STRIP = BROAD * LANES, /* inputs of the widest tiles */
    WIDEST = 128,          /* inputs whose strips are there at a time */
    ACROSS = STRIP,        /* units of x that are transposed together */
    DEEP = 64,             /* inputs likewise */
    SIDE_BY_SIDE = 8,      /* such blocks at a time */
};

_Static_assert(WIDEST % STRIP == 0, "strips begin at multiples of STRIP");

INLINE void store_tile(int outs, int vectors, const struct lm_multiplication *p,
                       vec sum[HIGH][BROAD], real *y) {
    const ptrdiff_t step = p->y_step;
#pragma GCC unroll HIGH
    for (int k = 0; k < outs; k++, y += step)
#pragma GCC unroll BROAD
        for (int v = 0; v < vectors; v++)
            store(y + v * LANES, sum[k][v]);
}

INLINE void relax_tile(int outs, int vectors, bool by_error, const struct lm_multiplication *p,
                       vec sum[HIGH][BROAD], real *y) {
    const struct lm_relaxation by = *p->relaxation; /* in registers, whatever is stored */
    const ptrdiff_t step = p->y_step;
#pragma GCC unroll HIGH
    for (int k = 0; k < outs; k++, y += step)
#pragma GCC unroll BROAD
        for (int v = 0; v < vectors; v++)
            relax(&by, by_error, y + v * LANES, sum[k][v]);
}

/* Of rows of weights that a later tile reads the first lines: those that follow in a row the
 * processor fetches by itself. */
INLINE void fetch_rows(int outs, ptrdiff_t ins, const real *w, ptrdiff_t out_step) {
    enum { TILES = 2, LINES = 4, WEIGHTS = LINE / sizeof *w };
    for (int i = 0; i < LINES * WEIGHTS && i < ins; i += WEIGHTS)
        for (int k = 0; k < outs; k++)
            __builtin_prefetch(w + (TILES * outs + k) * out_step + i);
}

/* Units o, ..., o + outs - 1 of some vectors of inputs from b on, by the weights at w. */
INLINE void multiply_tile(int outs, int vectors, const struct lm_multiplication *p,
                          const real *w, ptrdiff_t out_step, ptrdiff_t in_step, ptrdiff_t o,
                          ptrdiff_t b) {
    const real *x = p->x + b;
    real *y = p->y + o * p->y_step + b;
    const bool fetches = FETCHES || p->adds; /* where most likely the next tile is */
    vec sum[HIGH][BROAD];
#pragma GCC unroll HIGH
    for (int k = 0; k < outs; k++)
#pragma GCC unroll BROAD
        for (int v = 0; v < vectors; v++) {
            sum[k][v] = p->adds ? load(y + k * p->y_step + v * LANES)
                                : (p->bias ? p->bias[o + k] : 0) - (vec){0};
            if (fetches && v * VECTOR_BYTES % LINE == 0)
                __builtin_prefetch(y + (k + outs) * p->y_step + v * LANES, 1);
        }
    if (vectors == BROAD && in_step == 1)
        fetch_rows(outs, p->ins, w, out_step);
    const int kept = in_registers(outs, vectors);
#pragma GCC unroll 5
    for (ptrdiff_t i = 0; i < p->ins; i++, x += p->x_step, w += in_step) {
        vec input[BROAD];
        for (int v = 0; v < kept; v++)
            input[v] = keep(load(x + v * LANES));
        for (int k = 0; k < outs; k++) {
            vec weight = keep(w[k * out_step] - (vec){0});
            for (int v = 0; v < vectors; v++)
                sum[k][v] = v < kept ? add_product(sum[k][v], weight, input[v])
                                     : add_product_at(sum[k][v], weight, x + v * LANES);
        }
    }
    if (!p->relaxation)
        store_tile(outs, vectors, p, sum, y);
    else if (p->relaxation->error)
        relax_tile(outs, vectors, true, p, sum, y);
    else
        relax_tile(outs, vectors, false, p, sum, y);
}

INLINE void product_tile(int outs, int vectors, const struct lm_multiplication *p, ptrdiff_t o,
                         ptrdiff_t b) {
    multiply_tile(outs, vectors, p, p->weight + o * p->out_step, p->out_step, p->in_step, o, b);
}

INLINE void product_wide(int outs, const struct lm_multiplication *p, ptrdiff_t o,
                         ptrdiff_t b) {
    product_tile(outs, WIDE, p, o, b);
}

INLINE void product_narrow(int outs, const struct lm_multiplication *p, ptrdiff_t o,
                           ptrdiff_t b) {
    product_tile(outs, NARROW, p, o, b);
}

INLINE void product_broad(int outs, const struct lm_multiplication *p, ptrdiff_t o,
                          ptrdiff_t b) {
    product_tile(outs < FLAT ? outs : FLAT, BROAD, p, o, b);
}

/* The most units of a tile. Those of four vectors are low in any case; of two, short sums,
 * which begin and end often, are quicker in low ones. */
static ptrdiff_t highest(const struct lm_multiplication *p, int vectors) {
    if (vectors == BROAD)
        return FLAT;
    return p->ins < LONG && vectors > NARROW ? TILE : HIGH;
}

/* Some vectors of inputs of all units. */
static void product_vectors(const struct lm_multiplication *p, ptrdiff_t b, int vectors) {
    ptrdiff_t high = highest(p, vectors), tiles = (p->outs + high - 1) / high;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * p->outs / tiles, outs = (tile + 1) * p->outs / tiles - o;
        if (vectors == BROAD) {
            WITH_CHANNELS(outs, product_broad, p, o, b)
        } else if (vectors == WIDE) {
            WITH_HIGH(outs, product_wide, p, o, b)
        } else {
            WITH_HIGH(outs, product_narrow, p, o, b)
        }
    }
}

/* Whether the lines of weights that a tile reads push each other out of the caches before the
 * next tile has had its part of them. */
static bool collide(const struct lm_multiplication *p) {
    return p->out_step == 1 && p->in_step * (ptrdiff_t)sizeof(real) % PAGE == 0;
}

/* Units of the next panel, of so many that are left. */
static ptrdiff_t panel_of(ptrdiff_t units) {
    return units < MOST ? units : PANEL;
}

/* The strips of x one after the other, as far as they are whole. Without gaps between its rows
 * a strip is spread over all lines of the L1 cache, and stays there. */
static void cut_strips(const struct lm_multiplication *p, real *strips) {
    for (ptrdiff_t b = 0; b + STRIP <= p->width; b += STRIP)
        for (ptrdiff_t i = 0; i < p->ins; i++, strips += STRIP)
            memcpy(strips, p->x + i * p->x_step + b, STRIP * sizeof *strips);
}

static void product_strip(const struct lm_multiplication *p, const real *strip, ptrdiff_t b) {
    struct lm_multiplication q = *p;
    q.x = strip;
    q.x_step = STRIP;
    q.y += b;
    product_vectors(&q, 0, BROAD);
}

/* A panel of units over a block of inputs; strips: NULL, or those of x. Weights that collide
 * are put side by side. */
static void product_panel(const struct lm_multiplication *p, const real *strips) {
    real packed[LM_BLOCK * PANEL];
    struct lm_multiplication q = *p;
    if (collide(p) && p->outs == PANEL) {
        for (ptrdiff_t i = 0; i < p->ins; i++)
            memcpy(packed + i * PANEL, p->weight + i * p->in_step, PANEL * sizeof *packed);
        q.weight = packed;
        q.in_step = PANEL;
    }
    ptrdiff_t b = 0;
    for (; b + STRIP <= p->width; b += STRIP)
        if (strips)
            product_strip(&q, strips + b * p->ins, b);
        else
            product_vectors(&q, b, BROAD);
    for (; b + WIDE * LANES <= p->width; b += WIDE * LANES)
        product_vectors(&q, b, WIDE);
    for (; NARROW < WIDE && b < p->width; b += NARROW * LANES)
        product_vectors(&q, b, NARROW);
}

/* --- packed weights --------------------------------------------------------------------- */

_Static_assert((int)LM_PACK == (int)TILE, "a tile is as high as weights are packed for");

INLINE void packed_tile(int outs, int vectors, const struct lm_multiplication *p, const real *w,
                        ptrdiff_t o, ptrdiff_t b) {
    multiply_tile(outs, vectors, p, w, 1, outs, o, b);
}

/* Units o, ..., o + outs - 1, whose weights of the block begin at w. */
static void packed_units(ptrdiff_t outs, const struct lm_multiplication *p, const real *w,
                         ptrdiff_t o) {
    ptrdiff_t b = 0;
    for (; b + FULL * LANES <= p->width; b += FULL * LANES) {
        WITH_CHANNELS(outs, packed_tile, FULL, p, w, o, b)
    }
    for (; FULL > WIDE && b + WIDE * LANES <= p->width; b += WIDE * LANES) {
        WITH_CHANNELS(outs, packed_tile, WIDE, p, w, o, b)
    }
    for (; NARROW < WIDE && b < p->width; b += NARROW * LANES) {
        WITH_CHANNELS(outs, packed_tile, NARROW, p, w, o, b)
    }
}

/* With inputs from `first` on of `ins` that the weights are packed for. */
static void multiply_packed(const struct lm_multiplication *p, ptrdiff_t first, ptrdiff_t ins) {
    for (ptrdiff_t o = 0; o < p->outs; o += LM_PACK) {
        ptrdiff_t outs = least(LM_PACK, p->outs - o);
        packed_units(outs, p, p->weight + o * ins + first * outs, o);
    }
}

/* --- block by block ---------------------------------------------------------------------- */

/* Units o, ..., o + outs - 1, by weights that have steps. */
static struct lm_multiplication of_units(const struct lm_multiplication *p, ptrdiff_t o,
                                         ptrdiff_t outs) {
    struct lm_multiplication q = *p;
    q.outs = outs;
    q.weight += o * p->out_step;
    q.bias = p->bias ? p->bias + o : NULL;
    q.y += o * p->y_step;
    return q;
}

/* Some inputs of all units; strips: NULL, or those of x. */
static void multiply_inputs(const struct lm_multiplication *p, const real *strips) {
    for (ptrdiff_t o = 0, outs; o < p->outs; o += outs) {
        outs = panel_of(p->outs - o);
        struct lm_multiplication q = of_units(p, o, outs);
        product_panel(&q, strips);
    }
}

/* The same of all inputs by strips, on its own, lest others have the room on their stack. */
static __attribute__((noinline)) void multiply_strips(const struct lm_multiplication *p) {
    _Alignas(LINE) real strips[LM_BLOCK * WIDEST];
    for (ptrdiff_t b = 0; b < p->width; b += WIDEST) {
        struct lm_multiplication q = *p;
        q.width = least(WIDEST, p->width - b);
        q.x += b;
        q.y += b;
        cut_strips(&q, strips);
        multiply_inputs(&q, strips);
    }
}

/* With weights that have steps. */
static void multiply_panels(const struct lm_multiplication *p) {
    if (p->width > STRIP && p->outs >= PANEL)
        multiply_strips(p);
    else
        multiply_inputs(p, NULL);
}

static void multiply_blocks(const struct lm_multiplication *p) {
    ptrdiff_t blocks = (p->ins + LM_BLOCK - 1) / LM_BLOCK;
    for (ptrdiff_t k = 0; k < blocks; k++) {
        struct lm_multiplication q = *p;
        ptrdiff_t first = k * p->ins / blocks;
        q.ins = (k + 1) * p->ins / blocks - first;
        q.adds = p->adds || k > 0;
        q.x += first * p->x_step;
        q.weight += p->packed ? 0 : first * p->in_step;
        if (p->packed)
            multiply_packed(&q, first, p->ins);
        else
            multiply_panels(&q);
    }
}

/* Units whose y stays in the L2 cache, beside weights and x, while all blocks go by; if there
 * is one block, all. */
static ptrdiff_t near_units(const struct lm_multiplication *p) {
    ptrdiff_t fit = (ptrdiff_t)(lm_near_bytes() / 4 / sizeof(real)) / p->width;
    return p->ins <= LM_BLOCK ? p->outs : most(fit / PANEL, 1) * PANEL;
}

void lm_multiply(const struct lm_multiplication *p) {
    if (p->packed) {
        multiply_blocks(p);
        return;
    }
    const ptrdiff_t units = near_units(p);
    for (ptrdiff_t o = 0, outs; o < p->outs; o += outs) {
        ptrdiff_t left = p->outs - o;
        outs = left < units + PANEL ? left : units; /* lest a few be left */
        struct lm_multiplication q = of_units(p, o, outs);
        multiply_blocks(&q);
    }
}

/* --- gradients -----------------------------------------------------------------------------
 */

/* Up to ACROSS units of x side by side, input after input; those that are not there are zero.
 */
static void transpose(const real *x, ptrdiff_t units, ptrdiff_t width, ptrdiff_t inputs,
                      real *to) {
    for (ptrdiff_t i = 0; i < ACROSS; i += LANES)
        for (ptrdiff_t b = 0; b < inputs; b += LANES)
            transpose_numbers(units - i, x + i * width + b, width, to + b * ACROSS + i, ACROSS);
}

/* A panel's y for fewer units of x than are ACROSS. */
static void product_few(const struct lm_multiplication *p, ptrdiff_t units) {
    real sums[MOST * ACROSS];
    struct lm_multiplication q = *p;
    q.y = sums;
    q.y_step = ACROSS;
    q.adds = false;
    product_panel(&q, NULL);
    for (ptrdiff_t o = 0; o < p->outs; o++)
        for (ptrdiff_t i = 0; i < units; i++) {
            real *to = p->y + o * p->y_step + i;
            *to = (p->adds ? *to : 0) + sums[o * ACROSS + i];
        }
}

/* The gradient from the units [first, first + units) of x and up to DEEP inputs from b on, rows
 * of it one PANEL after the other: few pages of memory are in use at a time. */
static void pull_units(const struct lm_multiplied *p, ptrdiff_t first, ptrdiff_t units,
                       ptrdiff_t b, bool adds, real *gradient) {
    _Alignas(LINE) real x[SIDE_BY_SIDE][DEEP * ACROSS];
    ptrdiff_t inputs = least(DEEP, p->width - b);
    for (ptrdiff_t i = 0; i < units; i += ACROSS)
        transpose(p->x + (first + i) * p->width + b, least(ACROSS, units - i), p->width, inputs,
                  x[i / ACROSS]);
    for (ptrdiff_t o = 0, outs; o < p->outs; o += outs) {
        outs = panel_of(p->outs - o);
        for (ptrdiff_t i = 0; i < units; i += ACROSS) {
            struct lm_multiplication q = {.outs = outs,
                                          .ins = inputs,
                                          .width = ACROSS,
                                          .weight = p->error + o * p->width + b,
                                          .adds = adds || b > 0,
                                          .out_step = p->width,
                                          .in_step = 1,
                                          .x = x[i / ACROSS],
                                          .x_step = ACROSS,
                                          .y = gradient + o * p->ins + first + i,
                                          .y_step = p->ins};
            if (units - i >= ACROSS)
                product_panel(&q, NULL);
            else
                product_few(&q, units - i);
        }
    }
}

void lm_multiply_gradient(const struct lm_multiplied *p, bool adds, real *gradient) {
    const ptrdiff_t most_units = SIDE_BY_SIDE * ACROSS;
    for (ptrdiff_t i = 0; i < p->ins; i += most_units)
        for (ptrdiff_t b = 0; b < p->width; b += DEEP)
            pull_units(p, i, least(most_units, p->ins - i), b, adds, gradient);
}
