/* The algorithm F(4, 3) of Winograd along one line: four neighbouring outputs of three taps in
 * six products where plain sums need twelve (A. Lavin and S. Gray, "Fast algorithms for
 * convolutional neural networks", CVPR 2016). Internal to the operators.
 *
 * The six inputs d that the outputs meet are transformed, v = B^T d, and so are the taps, u = G
 * g; y = A^T (u v) are the outputs. Likewise errors e of the outputs, A e, with which the
 * gradient of the taps is G^T ((A e) v). Inputs and taps are taken as polynomials, which are
 * multiplied by their values at six places: 0, plus and minus AT_NEAR, plus and minus AT_FAR,
 * and infinity. With 5/8 and 3/2 rounding is half of that with the usual 1 and 2, about twice
 * that of plain sums (B. Barabasz and others, "Error analysis and improving the accuracy of
 * Winograd convolution for deep neural networks", ACM TOMS 46, 2020, has the reasons). */
#ifndef LAMINA_WINOGRAD_LINE_H
#define LAMINA_WINOGRAD_LINE_H

#include "vector.h"

enum {
    LINE_OUTS = 4, /* neighbouring outputs that are made together */
    LINE_TAPS = 3,
    LINE_INS = LINE_OUTS + LINE_TAPS - 1, /* inputs that they meet */
    LINE_PLACES = LINE_INS,
};

/* The places, their squares, and what the taps are divided by there. */
#define AT_NEAR ((real)5 / 8)
#define AT_FAR ((real)3 / 2)
#define AT_NEAR_2 (AT_NEAR * AT_NEAR)
#define AT_FAR_2 (AT_FAR * AT_FAR)
#define PER_ZERO (1 / (AT_NEAR_2 * AT_FAR_2))
#define PER_NEAR (1 / (2 * AT_NEAR_2 * (AT_NEAR_2 - AT_FAR_2)))
#define PER_FAR (1 / (2 * AT_FAR_2 * (AT_FAR_2 - AT_NEAR_2)))

/* sum + factor * x. */
INLINE vec plus(vec sum, real factor, vec x) {
    return add_product(sum, factor - (vec){0}, x);
}

/* v = B^T d. */
INLINE void line_of_inputs(const vec d[LINE_INS], vec v[LINE_PLACES]) {
    vec near_even = plus(d[4], -AT_FAR_2, d[2]), near_odd = plus(d[3], -AT_FAR_2, d[1]);
    vec far_even = plus(d[4], -AT_NEAR_2, d[2]), far_odd = plus(d[3], -AT_NEAR_2, d[1]);
    v[0] = plus(plus(d[4], -(AT_NEAR_2 + AT_FAR_2), d[2]), AT_NEAR_2 * AT_FAR_2, d[0]);
    v[1] = plus(near_even, AT_NEAR, near_odd);
    v[2] = plus(near_even, -AT_NEAR, near_odd);
    v[3] = plus(far_even, AT_FAR, far_odd);
    v[4] = plus(far_even, -AT_FAR, far_odd);
    v[5] = plus(plus(d[5], -(AT_NEAR_2 + AT_FAR_2), d[3]), AT_NEAR_2 * AT_FAR_2, d[1]);
}

/* y = A^T m. */
INLINE void line_of_sums(const vec m[LINE_PLACES], vec y[LINE_OUTS]) {
    vec near_even = m[1] + m[2], near_odd = m[1] - m[2];
    vec far_even = m[3] + m[4], far_odd = m[3] - m[4];
    y[0] = m[0] + near_even + far_even;
    y[1] = plus(AT_NEAR * near_odd, AT_FAR, far_odd);
    y[2] = plus(AT_NEAR_2 * near_even, AT_FAR_2, far_even);
    y[3] = plus(plus(m[5], AT_NEAR_2 * AT_NEAR, near_odd), AT_FAR_2 * AT_FAR, far_odd);
}

/* u = G g. */
INLINE void line_of_taps(const vec g[LINE_TAPS], vec u[LINE_PLACES]) {
    vec near = plus(g[0], AT_NEAR_2, g[2]), far = plus(g[0], AT_FAR_2, g[2]);
    u[0] = PER_ZERO * g[0];
    u[1] = PER_NEAR * plus(near, AT_NEAR, g[1]);
    u[2] = PER_NEAR * plus(near, -AT_NEAR, g[1]);
    u[3] = PER_FAR * plus(far, AT_FAR, g[1]);
    u[4] = PER_FAR * plus(far, -AT_FAR, g[1]);
    u[5] = g[2];
}

/* v = A e. */
INLINE void line_of_errors(const vec e[LINE_OUTS], vec v[LINE_PLACES]) {
    vec near_even = plus(e[0], AT_NEAR_2, e[2]), near_odd = plus(e[1], AT_NEAR_2, e[3]);
    vec far_even = plus(e[0], AT_FAR_2, e[2]), far_odd = plus(e[1], AT_FAR_2, e[3]);
    v[0] = e[0];
    v[1] = plus(near_even, AT_NEAR, near_odd);
    v[2] = plus(near_even, -AT_NEAR, near_odd);
    v[3] = plus(far_even, AT_FAR, far_odd);
    v[4] = plus(far_even, -AT_FAR, far_odd);
    v[5] = e[3];
}

/* g = G^T u. */
INLINE void line_of_products(const vec u[LINE_PLACES], vec g[LINE_TAPS]) {
    vec near_even = u[1] + u[2], near_odd = u[1] - u[2];
    vec far_even = u[3] + u[4], far_odd = u[3] - u[4];
    g[0] = plus(plus(PER_ZERO * u[0], PER_NEAR, near_even), PER_FAR, far_even);
    g[1] = plus(PER_NEAR * AT_NEAR * near_odd, PER_FAR * AT_FAR, far_odd);
    g[2] = plus(plus(u[5], PER_NEAR * AT_NEAR_2, near_even), PER_FAR * AT_FAR_2, far_even);
}

#endif
