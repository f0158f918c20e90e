/* Compiled only where oneDNN was found. */
#include "kernel.h"

#include "memory.h"

#include <dnnl.h>
#include <stdio.h>
#include <string.h>

enum { KERNEL = 1, STRIDE, PADDING }; /* options of conv2d */
enum { MOST_ARGUMENTS = 4 };

/* One array as oneDNN sees it: its argument number, how it lies here, and that it may lie
 * otherwise for a function. */
struct array {
    int argument;
    dnnl_memory_desc_t plain, any;
    float *numbers; /* in the plain layout */
};

/* One function: a primitive and its arguments, the result last but for that of the biases. */
struct function {
    dnnl_primitive_t primitive;
    int n;
    dnnl_exec_arg_t arguments[MOST_ARGUMENTS];
};

struct state {
    struct lm_kernel_case c;
    bool is_conv;
    size_t in, out;                          /* units */
    struct array x, weights, biases, y;      /* forward */
    struct array ex, e, d_weights, d_biases; /* backward */
    struct function function[LM_FUNCTIONS];
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void check(dnnl_status_t result, const char *call) {
    if (result != dnnl_success)
        lm_abort(LM_UNAVAILABLE, "oneDNN: %s: error %d", call, (int)result);
}

#define CHECK(call) check((call), #call)

static const char *describe(void) {
    static char text[64];
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor,
             version->patch);
    return text;
}

/* --- arrays ----------------------------------------------------------------------------- */

static void init_array(struct array *array, int argument, int rank, const dnnl_dims_t extent) {
    static const dnnl_format_tag_t plain[] = {0, dnnl_a, dnnl_ab, 0, dnnl_abcd};
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (size_t)extent[i];
    array->argument = argument;
    array->numbers = lm_allocate(n, sizeof *array->numbers);
    CHECK(dnnl_memory_desc_init_by_tag(&array->plain, rank, extent, dnnl_f32, plain[rank]));
    CHECK(dnnl_memory_desc_init_by_tag(&array->any, rank, extent, dnnl_f32,
                                       rank == 1 ? dnnl_a : dnnl_format_tag_any));
}

static void init_arrays(struct state *s) {
    const struct lm_operator *op = s->c.op;
    const dnnl_dim_t n = (dnnl_dim_t)s->c.count, outs = (dnnl_dim_t)op->n_biases;
    const dnnl_dims_t biases = {outs};
    dnnl_dims_t x = {n, (dnnl_dim_t)s->in}, y = {n, outs}, w = {outs, (dnnl_dim_t)s->in};
    int rank = s->is_conv ? 4 : 2;
    if (s->is_conv) {
        x[1] = w[1] = (dnnl_dim_t)op->in[0].extent[0];
        for (int i = 0; i < 2; i++) {
            x[2 + i] = (dnnl_dim_t)op->in[0].extent[1 + i];
            y[2 + i] = (dnnl_dim_t)op->out.extent[1 + i];
            w[2 + i] = (dnnl_dim_t)op->option[KERNEL][i];
        }
    }
    init_array(&s->x, DNNL_ARG_SRC, rank, x);
    init_array(&s->ex, DNNL_ARG_DIFF_SRC, rank, x);
    init_array(&s->weights, DNNL_ARG_WEIGHTS, rank, w);
    init_array(&s->d_weights, DNNL_ARG_DIFF_WEIGHTS, rank, w);
    init_array(&s->y, DNNL_ARG_DST, rank, y);
    init_array(&s->e, DNNL_ARG_DIFF_DST, rank, y);
    init_array(&s->biases, DNNL_ARG_BIAS, 1, biases);
    init_array(&s->d_biases, DNNL_ARG_DIFF_BIAS, 1, biases);
}

/* Copy from one layout to another. */
static void reorder(dnnl_memory_t from, dnnl_memory_t to) {
    const dnnl_memory_desc_t *a, *b;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    CHECK(dnnl_memory_get_memory_desc(from, &a));
    CHECK(dnnl_memory_get_memory_desc(to, &b));
    CHECK(dnnl_reorder_primitive_desc_create(&description, a, engine, b, engine, NULL));
    CHECK(dnnl_primitive_create(&primitive, description));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    CHECK(dnnl_primitive_execute(primitive, stream, 2, arguments));
    CHECK(dnnl_stream_wait(stream));
    CHECK(dnnl_primitive_destroy(primitive));
    CHECK(dnnl_primitive_desc_destroy(description));
}

/* --- functions ---------------------------------------------------------------------------- */

/* Describe a function to oneDNN. `hint` is that of LM_FORWARD. */
static dnnl_primitive_desc_t describe_conv(const struct state *s, enum lm_function function,
                                           dnnl_primitive_desc_t hint) {
    const size_t(*option)[2] = s->c.op->option;
    const dnnl_dims_t stride = {(dnnl_dim_t)option[STRIDE][0], (dnnl_dim_t)option[STRIDE][1]};
    const dnnl_dims_t padding = {(dnnl_dim_t)option[PADDING][0],
                                 (dnnl_dim_t)option[PADDING][1]};
    const dnnl_alg_kind_t how = dnnl_convolution_auto;
    dnnl_convolution_desc_t conv;
    dnnl_primitive_desc_t made;
    if (function == LM_FORWARD)
        CHECK(dnnl_convolution_forward_desc_init(&conv, dnnl_forward_training, how, &s->x.any,
                                                 &s->weights.any, &s->biases.any, &s->y.any,
                                                 stride, padding, padding));
    else if (function == LM_PULL_INPUT)
        CHECK(dnnl_convolution_backward_data_desc_init(&conv, how, &s->ex.any, &s->weights.any,
                                                       &s->e.any, stride, padding, padding));
    else
        CHECK(dnnl_convolution_backward_weights_desc_init(&conv, how, &s->x.any,
                                                          &s->d_weights.any, &s->d_biases.any,
                                                          &s->e.any, stride, padding, padding));
    CHECK(dnnl_primitive_desc_create(&made, &conv, NULL, engine, hint));
    return made;
}

static dnnl_primitive_desc_t describe_linear(const struct state *s, enum lm_function function,
                                             dnnl_primitive_desc_t hint) {
    dnnl_inner_product_desc_t product;
    dnnl_primitive_desc_t made;
    if (function == LM_FORWARD)
        CHECK(dnnl_inner_product_forward_desc_init(&product, dnnl_forward_training, &s->x.any,
                                                   &s->weights.any, &s->biases.any, &s->y.any));
    else if (function == LM_PULL_INPUT)
        CHECK(dnnl_inner_product_backward_data_desc_init(&product, &s->ex.any, &s->weights.any,
                                                         &s->e.any));
    else
        CHECK(dnnl_inner_product_backward_weights_desc_init(
            &product, &s->x.any, &s->d_weights.any, &s->d_biases.any, &s->e.any));
    CHECK(dnnl_primitive_desc_create(&made, &product, NULL, engine, hint));
    return made;
}

/* The next argument of a function, in the layout that the function wants. */
static void add_argument(struct function *function, dnnl_primitive_desc_t description,
                         const struct array *array) {
    dnnl_memory_t plain, memory;
    CHECK(dnnl_memory_create(
        &memory,
        dnnl_primitive_desc_query_md(description, dnnl_query_exec_arg_md, array->argument),
        engine, DNNL_MEMORY_ALLOCATE));
    CHECK(dnnl_memory_create(&plain, &array->plain, engine, array->numbers));
    reorder(plain, memory);
    CHECK(dnnl_memory_destroy(plain));
    function->arguments[function->n++] = (dnnl_exec_arg_t){array->argument, memory};
}

static void make_functions(struct state *s) {
    const struct array *const arguments[LM_FUNCTIONS][MOST_ARGUMENTS] = {
        [LM_FORWARD] = {&s->x, &s->weights, &s->biases, &s->y},
        [LM_PULL_INPUT] = {&s->weights, &s->e, &s->ex},
        [LM_PULL_PARAMETERS] = {&s->x, &s->e, &s->d_weights, &s->d_biases}};
    dnnl_primitive_desc_t made[LM_FUNCTIONS] = {0};
    for (int p = 0; p < LM_FUNCTIONS; p++) {
        if (p == LM_DIFFERENCE)
            continue;
        made[p] = s->is_conv ? describe_conv(s, (enum lm_function)p, made[LM_FORWARD])
                             : describe_linear(s, (enum lm_function)p, made[LM_FORWARD]);
        CHECK(dnnl_primitive_create(&s->function[p].primitive, made[p]));
        for (int i = 0; i < MOST_ARGUMENTS && arguments[p][i]; i++)
            add_argument(&s->function[p], made[p], arguments[p][i]);
    }
    for (int p = 0; p < LM_FUNCTIONS; p++)
        if (p != LM_DIFFERENCE)
            CHECK(dnnl_primitive_desc_destroy(made[p]));
}

/* --- the kernel ----------------------------------------------------------------------------
 */

static void destroy(void *state) {
    struct state *s = state;
    struct array *const arrays[] = {&s->x,  &s->weights, &s->biases,    &s->y,
                                    &s->ex, &s->e,       &s->d_weights, &s->d_biases};
    for (int p = 0; p < LM_FUNCTIONS; p++) {
        for (int i = 0; i < s->function[p].n; i++)
            dnnl_memory_destroy(s->function[p].arguments[i].memory);
        if (s->function[p].primitive)
            dnnl_primitive_destroy(s->function[p].primitive);
    }
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        lm_free(arrays[i]->numbers);
    lm_free(s);
}

static void *create(const struct lm_kernel_case *c) {
    const struct lm_operator *op = c->op;
    bool is_conv = strcmp(op->kind->name, "conv2d") == 0;
    if (sizeof(real) != sizeof(float) || (!is_conv && strcmp(op->kind->name, "linear") != 0))
        return NULL;
    if (!engine) {
        CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
        CHECK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    }
    struct state *s = lm_allocate(1, sizeof *s);
    *s = (struct state){.c = *c,
                        .is_conv = is_conv,
                        .in = lm_shape_units(&op->in[0]),
                        .out = lm_shape_units(&op->out)};
    init_arrays(s);
    lm_kernel_to_images(s->in, c->count, c->width, c->x, (real *)s->x.numbers);
    lm_kernel_to_images(s->out, c->count, c->width, c->e, (real *)s->e.numbers);
    memcpy(s->weights.numbers, c->parameters, op->n_weights * sizeof(float));
    memcpy(s->biases.numbers, c->parameters + op->n_weights, op->n_biases * sizeof(float));
    make_functions(s);
    return s;
}

static void run(void *state, enum lm_function function) {
    const struct function *p = &((struct state *)state)->function[function];
    CHECK(dnnl_primitive_execute(p->primitive, stream, p->n, p->arguments));
    CHECK(dnnl_stream_wait(stream));
}

/* The argument of a function, brought to its plain layout. */
static const float *fetch(const struct function *function, const struct array *array) {
    dnnl_memory_t plain;
    CHECK(dnnl_memory_create(&plain, &array->plain, engine, array->numbers));
    for (int i = 0; i < function->n; i++)
        if (function->arguments[i].arg == array->argument)
            reorder(function->arguments[i].memory, plain);
    CHECK(dnnl_memory_destroy(plain));
    return array->numbers;
}

static void read(const void *state, enum lm_function function, real *result) {
    const struct state *s = state;
    const struct function *p = &s->function[function];
    const struct lm_operator *op = s->c.op;
    if (function == LM_PULL_PARAMETERS) {
        memcpy(result, fetch(p, &s->d_weights), op->n_weights * sizeof(float));
        memcpy(result + op->n_weights, fetch(p, &s->d_biases), op->n_biases * sizeof(float));
    } else if (function == LM_PULL_INPUT) {
        lm_kernel_from_images(s->in, s->c.count, s->c.width, (const real *)fetch(p, &s->ex),
                              result);
    } else {
        lm_kernel_from_images(s->out, s->c.count, s->c.width, (const real *)fetch(p, &s->y),
                              result);
    }
}

const struct lm_kernel lm_kernel_dnnl = {"dnnl", describe, create, run, read, destroy};
