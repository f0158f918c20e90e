#include "multiply.h"

#include "vector.h"

enum {
    PANEL = 8 * TILE, /* units whose weights for a block stay in the L2 cache */
    FAR = 4096,       /* weights that far apart get into each other's way in a cache */
};

INLINE void store_tile(int outs, int vectors, const struct lm_multiplication *p,
                       vec sum[TILE][BROAD], real *y) {
    for (int k = 0; k < outs; k++)
        for (int v = 0; v < vectors; v++)
            store(y + k * p->width + v * LANES, sum[k][v]);
}

INLINE void relax_tile(int outs, int vectors, bool by_error, const struct lm_multiplication *p,
                       vec sum[TILE][BROAD], real *y) {
    for (int k = 0; k < outs; k++)
        for (int v = 0; v < vectors; v++)
            relax(p->relaxation, by_error, y + k * p->width + v * LANES, sum[k][v]);
}

/* Units o, ..., o + outs - 1 of some vectors of inputs from b on. */
INLINE void product_tile(int outs, int vectors, const struct lm_multiplication *p, ptrdiff_t o,
                         ptrdiff_t b) {
    const real *x = p->x + b, *w = p->weight + o * p->out_step;
    real *y = p->y + o * p->width + b;
    vec sum[TILE][BROAD];
    for (int k = 0; k < outs; k++)
        for (int v = 0; v < vectors; v++)
            sum[k][v] = p->adds ? load(y + k * p->width + v * LANES)
                                : (p->bias ? p->bias[o + k] : 0) - (vec){0};
    const int kept = in_registers(outs, vectors);
#pragma GCC unroll 2
    for (ptrdiff_t i = 0; i < p->ins; i++, x += p->width, w += p->in_step) {
        vec input[BROAD];
        for (int v = 0; v < kept; v++)
            input[v] = keep(load(x + v * LANES));
        for (int k = 0; k < outs; k++) {
            vec weight = keep(w[k * p->out_step] - (vec){0});
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

INLINE void product_wide(int outs, const struct lm_multiplication *p, ptrdiff_t o,
                         ptrdiff_t b) {
    product_tile(outs, WIDE, p, o, b);
}

INLINE void product_narrow(int outs, const struct lm_multiplication *p, ptrdiff_t o,
                           ptrdiff_t b) {
    product_tile(outs, NARROW, p, o, b);
}

INLINE void product_broad(ptrdiff_t outs, const struct lm_multiplication *p, ptrdiff_t o,
                          ptrdiff_t b) {
    if (outs == FLAT)
        product_tile(FLAT, BROAD, p, o, b);
    else if (outs == FLAT - 1)
        product_tile(FLAT - 1, BROAD, p, o, b);
    else
        product_tile(1, BROAD, p, o, b);
}

/* Some vectors of inputs of all units. */
static void product_vectors(const struct lm_multiplication *p, ptrdiff_t b, int vectors) {
    ptrdiff_t high = vectors == BROAD ? FLAT : TILE, tiles = (p->outs + high - 1) / high;
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        ptrdiff_t o = tile * p->outs / tiles, outs = (tile + 1) * p->outs / tiles - o;
        if (vectors == BROAD) {
            product_broad(outs, p, o, b);
        } else if (vectors == WIDE) {
            WITH_CHANNELS(outs, product_wide, p, o, b)
        } else {
            WITH_CHANNELS(outs, product_narrow, p, o, b)
        }
    }
}

/* A panel of units over a block of inputs. Weights that are far apart are put side by side. */
static void product_panel(const struct lm_multiplication *p) {
    real packed[LM_BLOCK * PANEL];
    struct lm_multiplication q = *p;
    if (p->out_step == 1 && p->in_step >= FAR && p->outs == PANEL) {
        for (ptrdiff_t i = 0; i < p->ins; i++)
            memcpy(packed + i * PANEL, p->weight + i * p->in_step, PANEL * sizeof *packed);
        q.weight = packed;
        q.in_step = PANEL;
    }
    ptrdiff_t b = 0;
    for (; b + BROAD * LANES <= p->width; b += BROAD * LANES)
        product_vectors(&q, b, BROAD);
    for (; b + WIDE * LANES <= p->width; b += WIDE * LANES)
        product_vectors(&q, b, WIDE);
    for (; b < p->width; b += NARROW * LANES)
        product_vectors(&q, b, NARROW);
}

void lm_multiply(const struct lm_multiplication *p) {
    for (ptrdiff_t i = 0; i < p->ins; i += LM_BLOCK)
        for (ptrdiff_t o = 0; o < p->outs; o += PANEL) {
            struct lm_multiplication q = *p;
            q.ins = least(LM_BLOCK, p->ins - i);
            q.outs = least(PANEL, p->outs - o);
            q.weight += i * p->in_step + o * p->out_step;
            q.bias = p->bias ? p->bias + o : NULL;
            q.adds = i > 0;
            q.x += i * p->width;
            q.y += o * p->width;
            product_panel(&q);
        }
}
