/* Operator: one differentiable step of a layer's map (conv2d, relu, linear, ...).
 *
 * A kind of operator is one row of functions (struct lm_operator_kind) in a file of
 * its own under src/operators/, and one line in the table of operator.c. An
 * operator (struct lm_operator) is a kind with its options and shapes; it holds no
 * numbers: parameters, activities and errors are passed in.
 *
 * All arrays are units x width (tensor.h). With y = g(x; theta), the functions are
 *   forward          y = g(x), and the tape: what the Jacobian at x needs later
 *   difference       g(x + dx) - g(x) without subtracting two close numbers, and the
 *                    tape at x + dx. This is what keeps errors exact in float when
 *                    they are 1e-5 of the values ("state: deviation")
 *   pull_input       J_x^T e: the error at y pulled back to x, from the tape alone
 *   relax_input      the same, and the values there moved by it (relaxation.h)
 *   pull_prepared    each of the two from weights that were prepared for it (linear.c)
 *   pull_error       the error at y made and pulled back in one go
 *   pull_parameters  J_theta^T e summed over the inputs of the chunk
 * Padding inputs hold finite numbers in x and zeros in e.
 *
 * An operator may be restricted to a band of its output, some channels and some rows of each
 * (lm_operator_band), so that the next one finds what it made in the nearest cache. Of a band
 * y, e and the tape are arrays of their own, without gaps; results have the same bits, but for
 * gradients, which are summed band by band. */
#ifndef LAMINA_OPERATOR_H
#define LAMINA_OPERATOR_H

#include "relaxation.h"
#include "tensor.h"

enum {
    LM_MAX_PARENTS = 16, /* inputs of one operator, parents of one layer */
    LM_MAX_OPTIONS = 6
};

/* An option as settings give it: a whole number ("3"), or rows x columns ("3x5"). */
struct lm_option {
    const char *name;     /* as in settings; NULL ends a list */
    const char *fallback; /* value when absent; NULL: the option is required;
                             "kernel" etc.: the value of that earlier option */
    long minimum;
    bool pair; /* "RxC" allowed; a single number means both */
};

struct lm_operator;

/* An error at y: what y is, or has changed by, less a value. Arrays like y. */
struct lm_operator_error {
    const real *value; /* v, or its deviation */
    const real *from; /* what it is subtracted from; NULL: from what y is or has changed by, or,
                         where nothing has moved, from 0 */
};

/* n numbers of an error made and pulled back in one go. */
struct lm_operator_pull {
    size_t n;
    const real *x, *dx;             /* NULL: see pull_error */
    const real *tape;               /* at x; read if there is no x */
    struct lm_operator_error error; /* `from` is not read if there is x */
    real *e;                        /* the error */
    real *ex;                       /* it pulled back; may be dx, or x without dx */
};

/* One kind of operator. Every function must be there, but for relax_input, pull_error, those
 * of pairs and of prepared weights, and pull_parameters of a kind without parameters. */
struct lm_operator_kind {
    const char *name;    /* as in settings */
    const char *summary; /* a few words for `lamina describe --help` */
    struct lm_option options[LM_MAX_OPTIONS + 1];
    bool joins;          /* takes several parents (add, concat) */
    bool view;           /* only reshapes: forward is a copy, which lm_map
                            leaves out where it can */
    bool tape_is_output; /* the tape is y, and y may be passed for it */
    bool bands; /* forward, difference and pull_parameters of a band work on all of x */

    /* From op->in (n_inputs shapes) and op->option set op->out, n_weights, n_biases,
     * fan_in, tape, flops, and what else is so of such an operator (the rest is zero).
     * LM_CONFIG when the shapes do not fit; the message says which shape was expected and
     * which was met. */
    bool (*infer)(struct lm_operator *op, struct lm_status *status);

    /* y and tape at x. x[k] (units of in[k], width), y (units of out, width), tape
     * (op->tape, width). Local, thread-safe; allocates room to work in at most; likewise
     * below. */
    void (*forward)(const struct lm_operator *op, const real *parameters, const real *const x[],
                    size_t width, real *y, real *tape);

    /* dy = g(x + dx) - g(x), and the tape at x + dx. y = g(x) is given. dx[k] NULL: that
     * input does not move; only kinds that join meet it. */
    void (*difference)(const struct lm_operator *op, const real *parameters,
                       const real *const x[], const real *y, const real *const dx[],
                       size_t width, real *dy, real *tape);

    /* ex[k] = (dg/dx_k)^T ey from the tape, overwriting ex[k]; ex[k] NULL: not wanted. */
    void (*pull_input)(const struct lm_operator *op, const real *parameters, const real *tape,
                       const real *ey, size_t width, real *const ex[]);

    /* With the bits of pull_input and lm_relax one after the other: relaxation->value (units of
     * in[0], width), which is not ey, moved by the error pulled back. For `relaxes` only. */
    void (*relax_input)(const struct lm_operator *op, const real *parameters, const real *tape,
                        const real *ey, size_t width, const struct lm_relaxation *relaxation);

    /* For an operator with prepared weights and one input: part `part` of `parts` of them,
     * which are made of the parameters for many pulls back. All parts may be made at the same
     * time. */
    void (*prepare)(const struct lm_operator *op, const real *parameters, size_t part,
                    size_t parts, real *prepared);

    /* With the bits of pull_input, or of relax_input where there is a relaxation (ex is not
     * used then), from prepared weights. */
    void (*pull_prepared)(const struct lm_operator *op, const real *prepared, const real *ey,
                          size_t width, const struct lm_relaxation *relaxation, real *ex);

    /* With the bits of difference (without dx of forward; without x of neither), the error and
     * pull_input one after the other. For pointwise kinds. */
    void (*pull_error)(const struct lm_operator_pull *pull);

    /* gradient = (dg/dtheta)^T ey at x, summed over the inputs of the chunk, or `adds` it to
     * what is there. gradient: n_weights then n_biases, all of them; of a band only those of
     * its channels are touched. Only kinds with one input have parameters. */
    void (*pull_parameters)(const struct lm_operator *op, const real *x, const real *ey,
                            size_t width, bool adds, real *gradient);

    /* Whether op and the `next` one behind it can be done together, by the two functions below:
     * forward of both with the bits of one after the other, y and tape being those of next;
     * and the gradient of op from the error at the output of next. */
    bool (*pairs)(const struct lm_operator *op, const struct lm_operator *next);
    void (*forward_pair)(const struct lm_operator *op, const struct lm_operator *next,
                         const real *parameters, const real *x, size_t width, real *y,
                         real *tape);
    void (*pull_pair)(const struct lm_operator *op, const struct lm_operator *next,
                      const real *x, const real *tape, const real *ey, size_t width,
                      real *gradient);
};

/* A kind with its options and shapes. */
struct lm_operator {
    const struct lm_operator_kind *kind;     /* not owned */
    size_t option[LM_MAX_OPTIONS][2];        /* rows, columns of each of kind->options */
    int n_inputs;                            /* 1 unless kind->joins */
    struct lm_shape in[LM_MAX_PARENTS], out; /* shapes of one input's activity */
    size_t n_weights, n_biases; /* parameters: weights row-major (out, in, kernel rows,
                                   kernel columns), then biases */
    size_t n_prepared;          /* prepared weights; 0: pull_input reads the parameters best */
    size_t fan_in;              /* initial parameters are U(-1, 1) / sqrt(fan_in) */
    size_t tape;                /* reals per input that pull_input needs */
    size_t rows_per_row;        /* local operators: y at a row depends on so many rows of the
                                   same channel of x, which no other row needs; else 0 */
    bool pointwise;             /* local, and works on op->tape numbers one by one */
    bool relaxes;               /* relax_input can be done */
    bool rectifies;             /* maxpool2d: a relu behind it is done with it */
    bool plain;                 /* forward is to round as plain sums do, for outputs that others
                                   like them are subtracted from; a conv2d that is `whole` does
                                   not */
    bool whole;                 /* quickest for all channels and rows at once: not in bands */
    size_t room;                /* reals that a function allocates at most, while it works */
    size_t channel, row;        /* of a band: its first channel and row; else 0 */
    double flops;               /* floating-point operations of forward per input, without
                                   those on padding */
};

/* The kinds there are, ended by NULL, and the one of a name (NULL if none). */
const struct lm_operator_kind *const *lm_operator_kinds(void);
const struct lm_operator_kind *lm_operator_find(const char *name);

/* Make an operator. `option[i]` is the text of kind->options[i], NULL when absent.
 * LM_CONFIG names the option, its value and what was expected. */
bool lm_operator_init(struct lm_operator *op, const struct lm_operator_kind *kind,
                      const char *const option[LM_MAX_OPTIONS], int n_inputs,
                      const struct lm_shape in[], struct lm_status *status);

/* op restricted to the rows [row, row + rows) of `channels` channels of its output, for a kind
 * with `bands` or a local operator. x of a local one is restricted likewise: it holds the same
 * channels, and rows_per_row rows for each. An output of rank 1 is channels of one row. */
void lm_operator_band(const struct lm_operator *op, size_t channel, size_t channels, size_t row,
                      size_t rows, struct lm_operator *band);

/* Weights and biases together. */
size_t lm_operator_parameters(const struct lm_operator *op);

/* "conv2d channels=10 kernel=3x3 stride=1x1 padding=0x0" in text; returns text. */
enum { LM_OPERATOR_TEXT = 160 };
const char *lm_operator_text(const struct lm_operator *op, char *text);

/* For infer: in[0] must have rank 3 (channels, rows, columns). */
bool lm_operator_needs_image(const struct lm_operator *op, struct lm_status *status);

/* For infer of windowed operators: rows and columns of the output of windows of
 * `kernel`, `stride` and `padding` over in[0]; LM_CONFIG when no window fits. */
bool lm_operator_windows(const struct lm_operator *op, const size_t kernel[2],
                         const size_t stride[2], const size_t padding[2], size_t out[2],
                         struct lm_status *status);

#endif
