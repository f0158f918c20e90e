/* Map: how operators are chained, and that pulling back, differences and slopes agree. */
#include "map.h"

#include "make_network.h"
#include "memory.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 16, MAX_INPUTS = 2 };

/* A map with made-up parameters, inputs, changes of the inputs and an error at its output. */
struct setup {
    struct lm_map map;
    int n_inputs;
    size_t units[MAX_INPUTS], out;
    real *parameters, *x[MAX_INPUTS], *dx[MAX_INPUTS], *e;
    real *activations, *tape, *scratch;
};

static real *made_up(size_t n, double size, uint64_t index) {
    real *array = lm_allocate(n, sizeof *array);
    for (size_t i = 0; i < n; i++)
        array[i] = (real)(size * (2 * lm_random_uniform(2, LM_STREAM_TEST, index, i) - 1));
    return array;
}

static void init_setup(struct setup *s, int n, const struct lm_operator_spec spec[],
                       int n_inputs, const struct lm_shape in[], double change) {
    struct lm_status status = {.message = ""};
    memset(s, 0, sizeof *s);
    s->n_inputs = n_inputs;
    ck_assert_msg(lm_map_init(&s->map, n, spec, n_inputs, in, &status), "%s", status.message);
    for (int k = 0; k < n_inputs; k++) {
        s->units[k] = lm_shape_units(&in[k]);
        s->x[k] = made_up(s->units[k] * WIDTH, 1, (uint64_t)k + 10);
        s->dx[k] = made_up(s->units[k] * WIDTH, change, (uint64_t)k + 20);
    }
    s->out = lm_shape_units(&s->map.out);
    s->parameters = made_up(s->map.parameters, 0.5, 1);
    s->e = made_up(s->out * WIDTH, 1, 2);
    s->activations = lm_allocate(s->map.activations * WIDTH, sizeof(real));
    s->tape = lm_allocate(s->map.tape * WIDTH, sizeof(real));
    s->scratch = lm_allocate(2 * s->map.widest * WIDTH, sizeof(real));
}

static void clear_setup(struct setup *s) {
    for (int k = 0; k < s->n_inputs; k++) {
        lm_free(s->x[k]);
        lm_free(s->dx[k]);
    }
    lm_free(s->parameters);
    lm_free(s->e);
    lm_free(s->activations);
    lm_free(s->tape);
    lm_free(s->scratch);
}

static const real *forward(struct setup *s, real *const x[]) {
    const real *in[MAX_INPUTS] = {x[0], x[1]};
    lm_map_forward(&s->map, s->parameters, in, WIDTH, s->activations, s->tape);
    return lm_map_output(&s->map, s->activations, WIDTH);
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

START_TEST(offsets_cut_up_the_blocks) {
    struct setup s;
    init_smooth(&s, 0, 0);
    const struct lm_map *map = &s.map;
    const size_t units[] = {3 * 5 * 6, 3 * 5 * 6, 3 * 2 * 3, 18, 9, 9};
    const size_t parameters[] = {3 * 2 * 9 + 3, 0, 0, 0, 18 * 9 + 9, 0};
    size_t parameter = 0, activation = 0, tape = 0;
    for (int j = 0; j < map->n; j++) {
        ck_assert(map->parameter_offset[j] == parameter && map->tape_offset[j] == tape);
        if (j == 3) /* flatten is left out: its output is that of the pooling */
            ck_assert(map->activation_offset[j] == map->activation_offset[j - 1]);
        else
            ck_assert(map->activation_offset[j] == activation);
        activation += j == 3 ? 0 : units[j];
        parameter += parameters[j];
        tape += map->operators[j].tape;
    }
    ck_assert(map->parameters == parameter && map->tape == tape);
    ck_assert(map->activations == activation && map->widest == 90);
    ck_assert(map->out.rank == 1 && map->out.extent[0] == 9);
    ck_assert(lm_map_output(map, s.activations, WIDTH) ==
              s.activations + (activation - 9) * WIDTH);
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
    ck_assert(forward(&s, s.x) == s.activations);
    for (size_t i = 0; i < 24 * WIDTH; i++)
        ck_assert(fabs((double)s.activations[i] - tanh((double)s.x[0][i])) <= 1e-6);
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
        const real *x[MAX_INPUTS] = {s.x[0], s.x[1]};
        forward(&s, s.x);
        for (int twice = 0; twice < 2; twice++) /* it adds to what is there */
            lm_map_pull_parameters(&s.map, s.parameters, x, s.activations, s.tape, s.e, WIDTH,
                                   gradient, s.scratch);
        for (size_t p = 0; p < s.map.parameters; p++) {
            double expected = slope(&s, p, h);
            ck_assert_msg(fabs((double)gradient[p] / 2 - expected) <= tolerance,
                          "map %d, parameter %zu: %g, not %g", which, p,
                          (double)gradient[p] / 2, expected);
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
        const real *x[MAX_INPUTS] = {s.x[0], s.x[1]}, *dx[MAX_INPUTS] = {s.dx[0], s.dx[1]};
        real *changes = lm_allocate(s.map.activations * WIDTH, sizeof *changes);
        real *tape = lm_allocate(s.map.tape * WIDTH, sizeof *tape);
        real *ex[MAX_INPUTS] = {NULL};
        double pulled = 0, size = 0;
        forward(&s, s.x);
        lm_map_difference(&s.map, s.parameters, x, s.activations, dx, WIDTH, changes, tape);
        for (int k = 0; k < s.n_inputs; k++)
            ex[k] = lm_allocate(s.units[k] * WIDTH, sizeof(real));
        lm_map_pull_input(&s.map, s.parameters, s.tape, s.e, WIDTH, ex, s.scratch);
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
        ck_assert_msg(fabs((double)a[i] - (double)b[i]) <= tolerance, "%s %zu: %g, not %g",
                      what, i, (double)a[i], (double)b[i]);
}

/* Of changes as large as the inputs: x + dx forward gives the sum of y and dy everywhere, and
 * the tape that difference leaves. Also through kinks: relu and maxpool2d. */
static void expect_difference_is_forward_change(struct setup *s) {
    const real *x[MAX_INPUTS] = {s->x[0], s->x[1]}, *dx[MAX_INPUTS] = {s->dx[0], s->dx[1]};
    size_t activations = s->map.activations * WIDTH, tape = s->map.tape * WIDTH;
    real *changes = lm_allocate(activations, sizeof *changes);
    real *moved_tape = lm_allocate(tape, sizeof *moved_tape);
    forward(s, s->x);
    lm_map_difference(&s->map, s->parameters, x, s->activations, dx, WIDTH, changes,
                      moved_tape);
    lm_add(activations, s->activations, changes);
    for (int k = 0; k < s->n_inputs; k++)
        lm_add(s->units[k] * WIDTH, s->x[k], s->dx[k]);
    forward(s, s->dx);
    expect_close(activations, changes, s->activations, "activation");
    expect_close(tape, moved_tape, s->tape, "tape");
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
    const real *x[MAX_INPUTS] = {s.x[0], s.x[1]}, *dx[MAX_INPUTS] = {NULL, s.dx[1]};
    size_t n = s.map.activations * WIDTH;
    real *rests = lm_allocate(n, sizeof(real)), *zero = lm_allocate(n, sizeof(real));
    real *wanted[2] = {lm_allocate(s.units[0] * WIDTH, sizeof(real)),
                       lm_allocate(s.units[1] * WIDTH, sizeof(real))};
    real *alone = lm_allocate(s.units[1] * WIDTH, sizeof(real)), *ex[] = {NULL, alone};
    forward(&s, s.x);
    lm_map_pull_input(&s.map, s.parameters, s.tape, s.e, WIDTH, wanted, s.scratch);
    lm_map_pull_input(&s.map, s.parameters, s.tape, s.e, WIDTH, ex, s.scratch);
    ck_assert(memcmp(alone, wanted[1], s.units[1] * WIDTH * sizeof *alone) == 0);
    lm_map_difference(&s.map, s.parameters, x, s.activations, dx, WIDTH, rests, s.tape);
    memset(s.dx[0], 0, s.units[0] * WIDTH * sizeof(real));
    dx[0] = s.dx[0];
    lm_map_difference(&s.map, s.parameters, x, s.activations, dx, WIDTH, zero, s.tape);
    expect_close(n, rests, zero, "change");
    lm_free(rests);
    lm_free(zero);
    lm_free(wanted[0]);
    lm_free(wanted[1]);
    lm_free(alone);
    clear_setup(&s);
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

int main(void) {
    return RUN_TESTS("map", offsets_cut_up_the_blocks, reshaping_is_left_out, flops_add_up,
                     parameter_gradient_is_the_slope, pull_back_is_the_adjoint_of_difference,
                     difference_is_the_change_of_forward, inputs_may_rest_or_be_unwanted,
                     mistakes_name_the_operator);
}
