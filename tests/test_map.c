/* Map: how operators are chained, and that pulling back, differences and slopes agree. */
#include "map.h"

#include "make_network.h"
#include "memory.h"
#include "plain_chain.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 16, MAX_INPUTS = 2 };

/* A map with made-up parameters, inputs, changes of the inputs and an error at its output. */
struct setup {
    struct lm_map map;
    int n_inputs;
    size_t units[MAX_INPUTS], out;
    real *parameters, *prepared, *x[MAX_INPUTS], *dx[MAX_INPUTS], *e;
    struct lm_map_run run; /* at x */
};

static void init_setup(struct setup *s, int n, const struct lm_operator_spec spec[],
                       int n_inputs, const struct lm_shape in[], double change) {
    struct lm_status status = {.message = ""};
    memset(s, 0, sizeof *s);
    s->n_inputs = n_inputs;
    ck_assert_msg(lm_map_init(&s->map, n, spec, n_inputs, in, &status), "%s", status.message);
    for (int k = 0; k < n_inputs; k++) {
        s->units[k] = lm_shape_units(&in[k]);
        s->x[k] = made_up(s->units[k] * WIDTH, 1, (unsigned)k + 10);
        s->dx[k] = made_up(s->units[k] * WIDTH, change, (unsigned)k + 20);
    }
    s->out = lm_shape_units(&s->map.out);
    s->parameters = made_up(s->map.parameters, 0.5, 1);
    s->prepared = lm_allocate(s->map.prepared, sizeof(real));
    for (size_t part = 0; part < 3; part++)
        lm_map_prepare(&s->map, s->parameters, part, 3, s->prepared);
    s->e = made_up(s->out * WIDTH, 1, 2);
    s->run = (struct lm_map_run){
        .map = &s->map,
        .parameters = s->parameters,
        .x = (const real *const *)s->x,
        .width = WIDTH,
        .activations = lm_allocate(s->map.activations * WIDTH, sizeof(real)),
        .inner = true,
        .tape = lm_allocate(s->map.own_tape * WIDTH, sizeof(real)),
        .work = lm_allocate(lm_map_work(&s->map, WIDTH), sizeof(real))};
}

static void clear_setup(struct setup *s) {
    for (int k = 0; k < s->n_inputs; k++) {
        lm_free(s->x[k]);
        lm_free(s->dx[k]);
    }
    lm_free(s->parameters);
    lm_free(s->prepared);
    lm_free(s->e);
    lm_free(s->run.activations);
    lm_free(s->run.tape);
    lm_free(s->run.work);
}

static const real *forward(struct setup *s, real *const x[]) {
    struct lm_map_run run = s->run;
    run.x = (const real *const *)x;
    lm_map_forward(&run);
    return lm_map_output(&s->map, s->run.activations, WIDTH);
}

static double dot(size_t n, const real *a, const real *b) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Smooth maps: a convolutional one, one that begins with a reshaping, one of two parents. */
enum { SMOOTH = 3 };

static void init_smooth(struct setup *s, int which, double change) {
    const struct lm_shape image = {3, {2, 7, 8}}, vectors[] = {{1, {6, 1, 1}}, {1, {5, 1, 1}}};
    const struct lm_operator_spec conv[] = {OP("conv2d", "3", "3"), OP("tanh", 0),
                                            OP("avgpool2d", "2"),   OP("flatten", 0),
                                            OP("linear", "9"),      OP("sigmoid", 0)};
    const struct lm_operator_spec flat[] = {OP("flatten", 0), OP("linear", "12"), OP("tanh", 0),
                                            OP("linear", "4")};
    const struct lm_operator_spec join[] = {OP("concat", 0), OP("linear", "8"), OP("tanh", 0)};
    if (which == 0)
        init_setup(s, 6, conv, 1, &image, change);
    else if (which == 1)
        init_setup(s, 4, flat, 1, &image, change);
    else
        init_setup(s, 3, join, 2, vectors, change);
}

/* Operators in the order in which their outputs, and their tapes, must follow each other. */
struct layout {
    int n_outputs, outputs[LM_MAX_OPERATORS]; /* of stages, then of what is within them */
    int n_tapes, tapes[LM_MAX_OPERATORS];     /* last those that are a stage's output */
    int stage_outputs, own_tapes;             /* how many come first */
    int alias;                                /* has the output of the operator before */
};

static void expect_layout(const struct lm_map *map, const struct layout *layout) {
    size_t parameter = 0, prepared = 0, activation = 0, tape = 0;
    for (int j = 0; j < map->n; j++) {
        ck_assert(map->parameter_offset[j] == parameter);
        ck_assert(map->prepared_offset[j] == prepared);
        prepared += map->operators[j].n_prepared;
        parameter += lm_operator_parameters(&map->operators[j]);
    }
    for (int i = 0; i < layout->n_outputs; i++) {
        int j = layout->outputs[i];
        if (i == layout->stage_outputs)
            ck_assert(map->outputs == activation);
        ck_assert_msg(map->activation_offset[j] == activation, "activation %d", j);
        activation += lm_shape_units(&map->operators[j].out);
    }
    for (int i = 0; i < layout->n_tapes; i++) {
        int j = layout->tapes[i];
        if (i == layout->own_tapes)
            ck_assert(map->own_tape == tape);
        ck_assert_msg(map->tape_offset[j] == tape, "tape %d", j);
        tape += map->operators[j].tape;
    }
    ck_assert(map->activation_offset[layout->alias] ==
              map->activation_offset[layout->alias - 1]);
    ck_assert(map->parameters == parameter && map->activations == activation);
    ck_assert(map->tape == tape && map->own_tape <= tape && map->outputs <= activation);
}

START_TEST(offsets_cut_up_the_blocks) {
    const struct lm_shape image = {3, {2, 7, 8}};
    const struct lm_operator_spec kinks[] = {
        OP("conv2d", "3", "3"), OP("tanh", 0), OP("relu", 0),     OP("maxpool2d", "2"),
        OP("flatten", 0),       OP("relu", 0), OP("linear", "9"), OP("relu", 0)};
    /* relu and maxpool2d, 2 and 3, are done together */
    const struct layout smooth = {5, {2, 5, 0, 1, 4}, 2, {1, 5}, 2, 2, 3},
                        kinked = {6, {2, 4, 6, 0, 1, 5}, 4, {1, 2, 4, 6}, 3, 2, 3};
    struct setup s;
    init_smooth(&s, 0, 0);
    expect_layout(&s.map, &smooth);
    ck_assert(s.map.n_stages == 2 && s.map.outputs == 18 + 9 && s.map.own_tape == 90 + 9);
    ck_assert(s.map.activations == 90 + 90 + 18 + 9 + 9 && s.map.widest == 90);
    ck_assert(s.map.parameters == 3 * 2 * 9 + 3 + 18 * 9 + 9);
    ck_assert(s.map.out.rank == 1 && s.map.out.extent[0] == 9);
    ck_assert(lm_map_output(&s.map, s.run.activations, WIDTH) ==
              s.run.activations + 18 * WIDTH);
    clear_setup(&s);
    init_setup(&s, 8, kinks, 1, &image, 0);
    expect_layout(&s.map, &kinked);
    ck_assert(s.map.n_stages == 3 && s.map.outputs == 18 + 18 + 9);
    ck_assert(s.map.own_tape == 90 + 18 && s.map.tape == 90 + 18 + 18 + 9);
    clear_setup(&s);
}
END_TEST

/* A flatten at the end is the output of the operator before; at the start it is a copy. */
START_TEST(reshaping_is_left_out) {
    const struct lm_shape image = {3, {2, 3, 4}};
    const struct lm_operator_spec last[] = {OP("tanh", 0), OP("flatten", 0)};
    const struct lm_operator_spec first[] = {OP("flatten", 0), OP("flatten", 0)};
    struct setup s;
    init_setup(&s, 2, last, 1, &image, 0);
    ck_assert(s.map.activations == 24 && s.map.out.rank == 1);
    ck_assert(forward(&s, s.x) == s.run.activations);
    for (size_t i = 0; i < 24 * WIDTH; i++)
        ck_assert(fabs((double)s.run.activations[i] - tanh((double)s.x[0][i])) <= 1e-6);
    clear_setup(&s);
    init_setup(&s, 2, first, 1, &image, 0);
    ck_assert(s.map.activations == 24);
    ck_assert(memcmp(forward(&s, s.x), s.x[0], 24 * WIDTH * sizeof(real)) == 0);
    clear_setup(&s);
}
END_TEST

START_TEST(flops_add_up) {
    struct setup s;
    double sum = 0;
    init_smooth(&s, 0, 0);
    for (int j = 0; j < s.map.n; j++)
        sum += s.map.operators[j].flops;
    ck_assert(lm_map_flops(&s.map) == sum && sum > 2 * 18 * 9);
    clear_setup(&s);
}
END_TEST

/* e . f as a function of one parameter: its slope by central differences. */
static double slope(struct setup *s, size_t parameter, double h) {
    real *p = &s->parameters[parameter], kept = *p;
    *p = kept + (real)h;
    double step = (double)*p, up = dot(s->out * WIDTH, s->e, forward(s, s->x));
    *p = kept - (real)h;
    step -= (double)*p;
    double down = dot(s->out * WIDTH, s->e, forward(s, s->x));
    *p = kept;
    return (up - down) / step;
}

START_TEST(parameter_gradient_is_the_slope) {
    const double tolerance = sizeof(real) == 4 ? 2e-3 : 1e-7,
                 h = sizeof(real) == 4 ? 1e-2 : 1e-5;
    for (int which = 0; which < SMOOTH; which++) {
        struct setup s;
        init_smooth(&s, which, 0);
        real *gradient = lm_allocate(s.map.parameters, sizeof *gradient);
        forward(&s, s.x);
        for (size_t p = 0; p < s.map.parameters; p++)
            gradient[p] = 3; /* it does not matter what was there */
        lm_map_pull_parameters(&s.run, s.e, gradient);
        for (size_t p = 0; p < s.map.parameters; p++) {
            double expected = slope(&s, p, h);
            ck_assert_msg(fabs((double)gradient[p] - expected) <= tolerance,
                          "map %d, parameter %zu: %g, not %g", which, p, (double)gradient[p],
                          expected);
        }
        lm_free(gradient);
        clear_setup(&s);
    }
}
END_TEST

/* Of small changes: e . J dx = dx . J^T e. Changes are so small that float can tell them only
 * because nothing is subtracted. */
START_TEST(pull_back_is_the_adjoint_of_difference) {
    const double change = sizeof(real) == 4 ? 1e-6 : 1e-8;
    const double tolerance = sizeof(real) == 4 ? 2e-5 : 1e-7;
    for (int which = 0; which < SMOOTH; which++) {
        struct setup s;
        init_smooth(&s, which, change);
        real *changes = lm_allocate(s.map.outputs * WIDTH, sizeof *changes);
        real *tape = lm_allocate(s.map.tape * WIDTH, sizeof *tape);
        real *ex[MAX_INPUTS] = {NULL};
        double pulled = 0, size = 0;
        forward(&s, s.x);
        lm_map_difference(&s.run, (const real *const *)s.dx, changes, tape);
        for (int k = 0; k < s.n_inputs; k++)
            ex[k] = lm_allocate(s.units[k] * WIDTH, sizeof(real));
        lm_map_pull_input(&s.run, s.e, ex);
        for (int k = 0; k < s.n_inputs; k++) {
            pulled += dot(s.units[k] * WIDTH, s.dx[k], ex[k]);
            size += dot(s.units[k] * WIDTH, ex[k], ex[k]);
            lm_free(ex[k]);
        }
        double moved = dot(s.out * WIDTH, s.e, lm_map_output(&s.map, changes, WIDTH));
        ck_assert(size > 0);
        ck_assert_msg(fabs(moved - pulled) <= tolerance * change * sqrt(size), "map %d: %g, %g",
                      which, moved, pulled);
        lm_free(changes);
        lm_free(tape);
        clear_setup(&s);
    }
}
END_TEST

static void expect_close(size_t n, const real *a, const real *b, const char *what) {
    const double tolerance = sizeof(real) == 4 ? 2e-6 : 4e-15;
    for (size_t i = 0; i < n; i++)
        CHECK_EACH(fabs((double)a[i] - (double)b[i]) <= tolerance, "%s %zu: %g, not %g", what,
                   i, (double)a[i], (double)b[i]);
}

/* Tapes of operators that keep none of their own are found in the activations. */
static void expect_same_tape(const struct setup *s, const real *moved_tape) {
    size_t own = s->map.own_tape * WIDTH;
    expect_close(own, moved_tape, s->run.tape, "tape");
    for (int j = 0; j < s->map.n; j++) {
        size_t n = s->map.operators[j].tape * WIDTH, at = s->map.tape_offset[j] * WIDTH;
        if (n && at >= own)
            expect_close(n, moved_tape + at,
                         s->run.activations + s->map.activation_offset[j] * WIDTH, "output");
    }
}

/* Of changes as large as the inputs: x + dx forward gives the sum of y and dy everywhere, and
 * the tape that difference leaves. Also through kinks: relu and maxpool2d. */
static void expect_difference_is_forward_change(struct setup *s) {
    size_t outputs = s->map.outputs * WIDTH;
    real *changes = lm_allocate(outputs, sizeof *changes);
    real *moved_tape = lm_allocate(s->map.tape * WIDTH, sizeof *moved_tape);
    forward(s, s->x);
    lm_map_difference(&s->run, (const real *const *)s->dx, changes, moved_tape);
    lm_add(outputs, s->run.activations, changes);
    for (int k = 0; k < s->n_inputs; k++)
        lm_add(s->units[k] * WIDTH, s->x[k], s->dx[k]);
    forward(s, s->dx);
    expect_close(outputs, changes, s->run.activations, "activation");
    expect_same_tape(s, moved_tape);
    lm_free(changes);
    lm_free(moved_tape);
}

START_TEST(difference_is_the_change_of_forward) {
    const struct lm_shape image = {3, {2, 8, 7}};
    const struct lm_operator_spec kinks[] = {OP("conv2d", "3", "3"), OP("relu", 0),
                                             OP("maxpool2d", "2"), OP("flatten", 0),
                                             OP("linear", "5")};
    struct setup s;
    for (int which = 0; which < SMOOTH; which++) {
        init_smooth(&s, which, 0.7);
        expect_difference_is_forward_change(&s);
        clear_setup(&s);
    }
    init_setup(&s, 5, kinks, 1, &image, 0.7);
    expect_difference_is_forward_change(&s);
    clear_setup(&s);
}
END_TEST

/* An input that does not move (NULL) is one that moves by nothing; a pull back that is not
 * wanted leaves the other one as it is. */
START_TEST(inputs_may_rest_or_be_unwanted) {
    struct setup s;
    init_smooth(&s, 2, 0.5);
    const real *dx[MAX_INPUTS] = {NULL, s.dx[1]};
    size_t n = s.map.outputs * WIDTH;
    real *rests = lm_allocate(n, sizeof(real)), *zero = lm_allocate(n, sizeof(real));
    real *wanted[2] = {lm_allocate(s.units[0] * WIDTH, sizeof(real)),
                       lm_allocate(s.units[1] * WIDTH, sizeof(real))};
    real *alone = lm_allocate(s.units[1] * WIDTH, sizeof(real)), *ex[] = {NULL, alone};
    real *tape = lm_allocate(s.map.tape * WIDTH, sizeof(real));
    forward(&s, s.x);
    lm_map_pull_input(&s.run, s.e, wanted);
    lm_map_pull_input(&s.run, s.e, ex);
    ck_assert(memcmp(alone, wanted[1], s.units[1] * WIDTH * sizeof *alone) == 0);
    lm_map_difference(&s.run, dx, rests, tape);
    memset(s.dx[0], 0, s.units[0] * WIDTH * sizeof(real));
    dx[0] = s.dx[0];
    lm_map_difference(&s.run, dx, zero, tape);
    expect_close(n, rests, zero, "change");
    lm_free(rests);
    lm_free(zero);
    lm_free(wanted[0]);
    lm_free(wanted[1]);
    lm_free(alone);
    lm_free(tape);
    clear_setup(&s);
}
END_TEST

static void expect_near(size_t n, const real *met, const real *expected, const char *what) {
    const double tolerance = sizeof(real) == 4 ? 2e-6 : 4e-15;
    double largest = largest_magnitude(n, expected);
    for (size_t i = 0; i < n; i++)
        CHECK_EACH(fabs((double)met[i] - (double)expected[i]) <= tolerance * largest,
                   "%s %zu: %g, not %g", what, i, (double)met[i], (double)expected[i]);
}

static void expect_same(size_t n, const real *met, const real *expected, const char *what) {
    ck_assert_msg(memcmp(met, expected, n * sizeof *met) == 0, "%s", what);
}

/* The bits of the operators in the order written; only sums for parameters, and changes, are
 * rounded otherwise. */
static void expect_order_written(int n, const struct lm_operator_spec spec[],
                                 const struct lm_shape *in) {
    struct setup s;
    struct plain_chain plain;
    init_setup(&s, n, spec, 1, in, 0.7);
    plain_chain_init(&plain, n, spec, 1, in, WIDTH);
    real *gradient = lm_allocate(s.map.parameters, sizeof(real));
    real *plain_gradient = lm_allocate(s.map.parameters, sizeof(real));
    real *changes = lm_allocate(s.map.outputs * WIDTH, sizeof(real));
    real *tape = lm_allocate(s.map.tape * WIDTH, sizeof(real));
    real *ex = lm_allocate(s.units[0] * WIDTH, sizeof(real));
    real *plain_ex = lm_allocate(s.units[0] * WIDTH, sizeof(real));
    const real *y = forward(&s, s.x);
    plain_chain_forward(&plain, s.parameters, s.run.x);
    expect_same(s.out * WIDTH, y, plain.y[n - 1], "y");
    lm_map_pull_input(&s.run, s.e, &ex);
    lm_map_pull_parameters(&s.run, s.e, gradient);
    plain_chain_pull(&plain, plain.tape, s.e, plain_gradient, &plain_ex);
    expect_same(s.units[0] * WIDTH, ex, plain_ex, "ex");
    expect_near(s.map.parameters, gradient, plain_gradient, "gradient");
    lm_map_difference(&s.run, (const real *const *)s.dx, changes, tape);
    plain_chain_difference(&plain, (const real *const *)s.dx);
    expect_near(s.out * WIDTH, lm_map_output(&s.map, changes, WIDTH), plain.dy[n - 1], "dy");
    struct lm_map_run moved = s.run;
    moved.tape = tape;
    moved.moved = true;
    lm_map_pull_input(&moved, s.e, &ex);
    plain_chain_pull(&plain, plain.moved_tape, s.e, NULL, &plain_ex);
    expect_near(s.units[0] * WIDTH, ex, plain_ex, "ex at x + dx");
    lm_free(gradient);
    lm_free(plain_gradient);
    lm_free(changes);
    lm_free(tape);
    lm_free(ex);
    lm_free(plain_ex);
    plain_chain_clear(&plain);
    clear_setup(&s);
}

START_TEST(relu_goes_with_maxpool2d) {
    const struct lm_shape image = {3, {2, 9, 8}};
    const struct lm_operator_spec inside[] = {OP("conv2d", "4", "2"), OP("relu", 0),
                                              OP("maxpool2d", "2"),   OP("flatten", 0),
                                              OP("linear", "7"),      OP("relu", 0)};
    const struct lm_operator_spec first[] = {OP("relu", 0), OP("maxpool2d", "3x2")};
    const struct lm_operator_spec overlapping[] = {OP("tanh", 0), OP("relu", 0), OP("relu", 0),
                                                   OP("maxpool2d", "3", "2"), OP("relu", 0)};
    const struct lm_operator_spec twice[] = {OP("conv2d", "3", "3", 0, "1"), OP("relu", 0),
                                             OP("maxpool2d", "2"),           OP("relu", 0),
                                             OP("maxpool2d", "2"),           OP("tanh", 0)};
    struct lm_map map;
    struct lm_status status;
    ck_assert(lm_map_init(&map, 6, twice, 1, &image, &status));
    ck_assert_int_eq(map.n, 4);
    for (int j = 1; j <= 2; j++)
        ck_assert(strcmp(map.operators[j].kind->name, "maxpool2d") == 0 &&
                  map.operators[j].rectifies);
    char text[LM_OPERATOR_TEXT];
    ck_assert_str_eq(lm_operator_text(&map.operators[1], text),
                     "maxpool2d size=2x2 stride=2x2 > relu");
    expect_order_written(6, inside, &image);
    expect_order_written(2, first, &image);
    expect_order_written(5, overlapping, &image);
    expect_order_written(6, twice, &image);
}
END_TEST

/* In one go, with prepared weights, against step by step, without: bit by bit the same, with
 * nothing but `changes` and `tape` to write to. */
static void expect_inference(struct setup *s, const real *const dx[], real *const ex[],
                             real *const expected[]) {
    size_t out = s->out * WIDTH, outputs = s->map.outputs * WIDTH, tapes = s->map.tape * WIDTH;
    real *changes = lm_allocate(outputs, sizeof(real)),
         *kept = lm_allocate(outputs, sizeof(real));
    real *tape = lm_allocate(tapes, sizeof(real));
    real *e = lm_allocate(out, sizeof(real)), *value = made_up(out, 1, 3);
    const struct lm_operator_error error = {.value = value};
    struct lm_map_run run = s->run, stepwise = s->run;
    forward(s, s->x);
    memcpy(kept, s->run.activations, outputs * sizeof *kept);
    if (dx) {
        lm_map_difference(&s->run, dx, kept, tape);
        stepwise.tape = tape;
        stepwise.moved = true;
        run.tape = NULL;
    } else {
        run.activations = run.tape = NULL;
    }
    make_error(out, lm_map_output(&s->map, kept, WIDTH), value, s->e);
    lm_map_pull_input(&stepwise, s->e, expected);
    spoil(outputs, changes);
    spoil(tapes, tape);
    spoil(lm_map_work(&s->map, WIDTH), s->run.work);
    run.prepared = s->prepared;
    lm_map_infer(&run, dx, &error, changes, tape, e, ex);
    expect_same(out, e, s->e, "e");
    expect_same(outputs - out, changes, kept, "changes");
    for (int k = 0; k < s->n_inputs; k++)
        if (ex[k])
            expect_same(s->units[k] * WIDTH, ex[k], expected[k], "ex");
    lm_free(changes);
    lm_free(kept);
    lm_free(tape);
    lm_free(e);
    lm_free(value);
}

/* A pull back that moves the values of the only input, at once or behind it, as `ex` does. */
static void expect_relaxation(struct setup *s, const real *error, real *ex) {
    size_t n = s->units[0] * WIDTH;
    real *value = made_up(n, 1, 3), *expected = made_up(n, 1, 3);
    struct lm_relaxation behind = lm_relaxation_of((real)0.1, error, expected);
    struct lm_relaxation at_once = lm_relaxation_of((real)0.1, error, value);
    struct lm_map_run run = s->run;
    lm_map_forward(&run);
    lm_map_pull_input(&run, s->e, &ex);
    lm_relax(&behind, n, ex);
    run.relaxation = &at_once;
    run.prepared = s->prepared;
    lm_map_pull_input(&run, s->e, &ex);
    expect_same(n, value, expected, "relaxed values");
    lm_free(value);
    lm_free(expected);
}

/* All inputs move and are wanted; the first neither moves nor is wanted; dx NULL. */
static void expect_inferences(struct setup *s) {
    real *ex[MAX_INPUTS] = {NULL}, *expected[MAX_INPUTS] = {NULL};
    for (int k = 0; k < s->n_inputs; k++) {
        ex[k] = lm_allocate(s->units[k] * WIDTH, sizeof(real));
        expected[k] = lm_allocate(s->units[k] * WIDTH, sizeof(real));
    }
    expect_inference(s, (const real *const *)s->dx, ex, expected);
    expect_inference(s, NULL, ex, expected);
    if (s->n_inputs == 1) {
        expect_relaxation(s, NULL, ex[0]);
        expect_relaxation(s, s->dx[0], ex[0]);
    }
    if (s->n_inputs > 1) {
        const real *dx[MAX_INPUTS] = {NULL, s->dx[1]};
        real *one[MAX_INPUTS] = {NULL, ex[1]};
        expect_inference(s, dx, one, expected);
    }
    for (int k = 0; k < s->n_inputs; k++) {
        lm_free(ex[k]);
        lm_free(expected[k]);
    }
}

START_TEST(inference_is_change_error_and_pull_back) {
    const struct lm_shape image = {3, {2, 24, 23}};
    const struct lm_operator_spec one[] = {OP("conv2d", "9", "3"), OP("relu", 0),
                                           OP("maxpool2d", "2")};
    const struct lm_operator_spec two[] = {OP("conv2d", "9", "3"), OP("relu", 0),
                                           OP("maxpool2d", "2"),   OP("flatten", 0),
                                           OP("linear", "30"),     OP("relu", 0)};
    const struct lm_operator_spec deep[] = {OP("conv2d", "4", "3"), OP("relu", 0),
                                            OP("conv2d", "5", "3"), OP("relu", 0),
                                            OP("maxpool2d", "2"),   OP("flatten", 0)};
    const struct lm_shape vector = {1, {20, 1, 1}}; /* not relaxed at once by so many units */
    const struct lm_operator_spec many[] = {OP("linear", "200"), OP("tanh", 0)};
    struct setup s;
    init_setup(&s, 3, one, 1, &image, 0.7);
    ck_assert(s.map.n_stages == 1);
    expect_inferences(&s);
    clear_setup(&s);
    init_setup(&s, 2, many, 1, &vector, 0.7);
    ck_assert(s.map.prepared > 0 && !s.map.operators[0].relaxes);
    expect_inferences(&s);
    clear_setup(&s);
    init_setup(&s, 6, two, 1, &image, 0.7);
    ck_assert(s.map.n_stages == 2);
    expect_inferences(&s);
    clear_setup(&s);
    init_setup(&s, 6, deep, 1, &image, 0.7);
    ck_assert(s.map.n_stages == 2);
    expect_inferences(&s);
    clear_setup(&s);
    for (int which = 0; which < SMOOTH; which++) {
        init_smooth(&s, which, 0.7);
        expect_inferences(&s);
        clear_setup(&s);
    }
}
END_TEST

START_TEST(mistakes_name_the_operator) {
    const struct lm_shape image = {3, {2, 7, 8}};
    const struct lm_operator_spec spec[LM_MAX_OPERATORS + 1] = {OP("tanh", 0),
                                                                OP("linear", "4")};
    struct lm_status status = {0};
    struct lm_map map;
    ck_assert(!lm_map_init(&map, 2, spec, 1, &image, &status));
    ck_assert(status.code == LM_CONFIG);
    ck_assert(strstr(status.message, "operator 2 of its map, linear: ") != NULL);
    ck_assert(strstr(status.message, "2 x 7 x 8") != NULL);
    ck_assert(!lm_map_init(&map, 0, spec, 1, &image, &status));
    ck_assert(!lm_map_init(&map, LM_MAX_OPERATORS + 1, spec, 1, &image, &status));
    ck_assert(strstr(status.message, "17 operators: 1 to 16") != NULL);
}
END_TEST

/* Places are those in the settings, whatever is done in which order. */
START_TEST(mistakes_have_the_place_in_the_settings) {
    const struct lm_shape images[] = {{3, {2, 7, 8}}, {3, {2, 7, 8}}};
    const struct {
        struct lm_operator_spec spec[4];
        int n, n_inputs;
        const char *words;
    } cases[] = {
        {{OP("tanh", 0), OP("relu", 0), OP("maxpool2d", "9")},
         3,
         1,
         "operator 3 of its map, maxpool2d: "},
        {{OP("relu", 0), OP("maxpool2d", 0)}, 2, 1, "operator 2 of its map, maxpool2d: "},
        {{OP("relu", 0), OP("maxpool2d", "2"), OP("linear", "3")},
         3,
         1,
         "operator 3 of its map, linear: "},
        {{OP("tanh", 0), OP("relu", 0), OP("maxpool2d", "2"), OP("conv2d", "3")},
         4,
         1,
         "operator 4 of its map, conv2d: "},
        {{OP("relu", 0), OP("maxpool2d", "2")}, 2, 2, "operator 1 of its map, relu "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_status status = {0};
        struct lm_map map;
        ck_assert(
            !lm_map_init(&map, cases[i].n, cases[i].spec, cases[i].n_inputs, images, &status));
        ck_assert_msg(strstr(status.message, cases[i].words) != NULL, "'%s' is not in '%s'",
                      cases[i].words, status.message);
    }
}
END_TEST

int main(void) {
    return RUN_TESTS("map", offsets_cut_up_the_blocks, reshaping_is_left_out, flops_add_up,
                     parameter_gradient_is_the_slope, pull_back_is_the_adjoint_of_difference,
                     difference_is_the_change_of_forward, inputs_may_rest_or_be_unwanted,
                     relu_goes_with_maxpool2d, inference_is_change_error_and_pull_back,
                     mistakes_name_the_operator, mistakes_have_the_place_in_the_settings);
}
