/* Stage: done band by band, operators give the bits that they give one after another on whole
 * arrays. */
#include "stage.h"

#include "memory.h"
#include "operators/operators.h"
#include "plain_chain.h"
#include "runner.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INPUTS = 2 };

/* One stage each: operators, ended by one without a kind, and the shape of every input. Bands
 * have some 33000 reals: most outputs here are cut into several, by rows, channels, or both. */
static const struct test_case {
    struct lm_operator_spec op[LM_MAX_STAGE + 1];
    struct lm_shape in;
} cases[] = {
    {{{&lm_conv2d, {"13", "3"}}, {&lm_relu, {0}}}, {3, {3, 19, 17}}},
    {{{&lm_conv2d, {"3", "2"}}, {&lm_relu, {0}}}, {3, {1, 5, 4}}},
    {{{&lm_conv2d, {"13", "3"}}, {&lm_maxpool2d, {"2"}}, {&lm_relu, {0}}}, {3, {3, 19, 18}}},
    {{{&lm_conv2d, {"3", "2"}}, {&lm_maxpool2d, {"2"}}, {&lm_relu, {0}}}, {3, {2, 6, 6}}},
    {{{&lm_conv2d, {"13", "5", "1", "2"}}, {&lm_tanh, {0}}, {&lm_avgpool2d, {"3"}}},
     {3, {2, 20, 17}}},
    {{{&lm_conv2d, {"7", "2x3", "3x2", "1x0"}}, {&lm_relu, {0}}, {&lm_avgpool2d, {"2x5"}}},
     {3, {4, 43, 49}}},
    /* a row of windows is more than a band */
    {{{&lm_conv2d, {"8", "1"}}, {&lm_maxpool2d, {"3"}}, {&lm_relu, {0}}}, {3, {2, 7, 700}}},
    {{{&lm_conv2d, {"8", "1"}}, {&lm_avgpool2d, {"3x2"}}, {&lm_tanh, {0}}}, {3, {2, 4, 700}}},
    /* a single row */
    {{{&lm_conv2d, {"20", "3x1"}}, {&lm_relu, {0}}}, {3, {1, 3, 300}}},
    {{{&lm_conv2d, {"20", "2x1"}}, {&lm_maxpool2d, {"2x3", "2x1"}}, {&lm_relu, {0}}},
     {3, {2, 4, 100}}},
    /* rows of windows of rows of windows */
    {{{&lm_conv2d, {"9", "3"}},
      {&lm_maxpool2d, {"2"}},
      {&lm_relu, {0}},
      {&lm_avgpool2d, {"3x2"}},
      {&lm_sigmoid, {0}}},
     {3, {2, 31, 20}}},
    /* as long as stages get */
    {{{&lm_conv2d, {"7", "3"}},
      {&lm_relu, {0}},
      {&lm_tanh, {0}},
      {&lm_sigmoid, {0}},
      {&lm_relu, {0}},
      {&lm_tanh, {0}}},
     {3, {2, 20, 20}}},
    {{{&lm_linear, {"3000"}}, {&lm_relu, {0}}}, {1, {40, 1, 1}}},
    {{{&lm_linear, {"2100"}}, {&lm_sigmoid, {0}}}, {1, {37, 1, 1}}},
    {{{&lm_linear, {"2131"}}, {&lm_tanh, {0}}, {&lm_relu, {0}}}, {1, {300, 1, 1}}},
    {{{&lm_linear, {"9"}}, {&lm_relu, {0}}}, {1, {5, 1, 1}}},
    /* alone */
    {{{&lm_conv2d, {"13", "3"}}}, {3, {3, 19, 17}}},
    /* A first operator that is whole. */
    {{{&lm_conv2d, {"32", "3"}}, {&lm_relu, {0}}}, {3, {33, 9, 8}}},
    {{{&lm_conv2d, {"34", "3"}}, {&lm_maxpool2d, {"2"}}, {&lm_relu, {0}}}, {3, {32, 11, 7}}},
    {{{&lm_linear, {"3000"}}}, {1, {40, 1, 1}}},
    {{{&lm_maxpool2d, {"2"}}}, {3, {13, 19, 17}}},
    {{{&lm_relu, {0}}}, {3, {13, 19, 17}}},
    {{{&lm_tanh, {0}}}, {1, {1200, 1, 1}}},
    {{{&lm_add_parents, {0}}}, {3, {13, 19, 17}}},
    {{{&lm_concat, {0}}}, {3, {13, 9, 17}}},
    /* A relu that is done with the maxima, and what is done all together. */
    {{{&lm_conv2d, {"13", "3"}}, {&lm_maxpool2d, {"2"}}}, {3, {3, 19, 18}}},
    {{{&lm_conv2d, {"10", "3"}}, {&lm_maxpool2d, {"2"}}}, {3, {1, 28, 28}}},
    {{{&lm_conv2d, {"7", "3"}}, {&lm_maxpool2d, {"2"}}}, {3, {1, 15, 12}}},
};
enum { CASES = sizeof cases / sizeof *cases, RECTIFIED = 3 /* the last ones */ };

static const size_t widths[] = {16, 32};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* A stage, and the same plainly. */
struct setup {
    struct plain_chain plain;
    struct lm_stage stage;
    int n_inputs, last;
    size_t in, width; /* reals of an input; width of a chunk */
    real *x[INPUTS], *dx[INPUTS];
    real *parameters, *e;                            /* e: at the last output */
    real *y[LM_MAX_STAGE], *tape[LM_MAX_STAGE], *dy; /* for what the stage makes */
    real *ex[INPUTS], *expected[INPUTS];
    real *work;
    char name[64];
};

static void set_up(struct setup *s, const struct test_case *c, bool rectifies, size_t width) {
    const struct lm_shape in[INPUTS] = {c->in, c->in};
    int n = 0;
    memset(s, 0, sizeof *s);
    for (; c->op[n].kind; n++) {
        size_t length = strlen(s->name);
        snprintf(s->name + length, sizeof s->name - length, "%s%s", n ? " > " : "",
                 c->op[n].kind->name);
    }
    s->n_inputs = c->op[0].kind->joins ? INPUTS : 1;
    s->last = n - 1;
    s->in = lm_shape_units(&c->in) * width;
    s->width = width;
    plain_chain_init(&s->plain, n, c->op, s->n_inputs, in, width);
    for (int k = 0; k < n; k++)
        s->plain.op[k].rectifies = rectifies && s->plain.op[k].kind == &lm_maxpool2d;
    lm_stage_init(&s->stage, 0, n, s->plain.op);
    ck_assert_msg(s->stage.n == n, "%s: a stage of %d", s->name, s->stage.n);
    for (int k = 0; k < s->n_inputs; k++) {
        s->x[k] = made_up(s->in, 1, 10 + (unsigned)k);
        s->dx[k] = made_up(s->in, 0.5, 20 + (unsigned)k);
        s->ex[k] = lm_allocate(s->in, sizeof(real));
        s->expected[k] = lm_allocate(s->in, sizeof(real));
    }
    s->parameters = made_up(lm_operator_parameters(&s->plain.op[0]), 0.5, 1);
    s->e = made_up(plain_chain_size(&s->plain, s->last), 1, 2);
    s->dy = lm_allocate(plain_chain_size(&s->plain, s->last), sizeof(real));
    for (int k = 0; k < n; k++) {
        s->y[k] = lm_allocate(plain_chain_size(&s->plain, k), sizeof(real));
        s->tape[k] = lm_allocate(s->plain.op[k].tape * width, sizeof(real));
    }
    s->work = lm_allocate(lm_stage_work(&s->stage, s->plain.op, width), sizeof(real));
    plain_chain_forward(&s->plain, s->parameters, (const real *const *)s->x);
    plain_chain_difference(&s->plain, (const real *const *)s->dx);
}

static void tear_down(struct setup *s) {
    for (int k = 0; k < s->n_inputs; k++) {
        lm_free(s->x[k]);
        lm_free(s->dx[k]);
        lm_free(s->ex[k]);
        lm_free(s->expected[k]);
    }
    for (int k = 0; k <= s->last; k++) {
        lm_free(s->y[k]);
        lm_free(s->tape[k]);
    }
    lm_free(s->parameters);
    lm_free(s->e);
    lm_free(s->dy);
    lm_free(s->work);
    plain_chain_clear(&s->plain);
}

/* A run that keeps nothing yet, with nothing of an earlier one left. */
static struct lm_stage_run fresh_run(struct setup *s) {
    spoil(lm_stage_work(&s->stage, s->plain.op, s->width), s->work);
    spoil(plain_chain_size(&s->plain, s->last), s->dy);
    for (int k = 0; k <= s->last; k++) {
        spoil(plain_chain_size(&s->plain, k), s->y[k]);
        spoil(s->plain.op[k].tape * s->width, s->tape[k]);
    }
    for (int k = 0; k < s->n_inputs; k++)
        spoil(s->in, s->ex[k]);
    return (struct lm_stage_run){.stage = &s->stage,
                                 .op = s->plain.op,
                                 .parameters = s->parameters,
                                 .width = s->width,
                                 .x = (const real *const *)s->x,
                                 .work = s->work};
}

/* Arrays of operator k's output, in the rows that make a difference to the last output. */
static void expect_rows(const struct setup *s, int k, const real *met, const real *expected,
                        const char *what) {
    const size_t *out = s->plain.op[k].out.extent;
    size_t rows = s->plain.op[s->last].out.extent[1] * s->stage.above[k];
    size_t row = out[2] * s->width;
    ck_assert(rows >= 1 && rows <= out[1]);
    for (size_t c = 0; c < out[0]; c++)
        CHECK_EACH(memcmp(met + c * out[1] * row, expected + c * out[1] * row,
                          rows * row * sizeof *met) == 0,
                   "%s, width %zu: %s of operator %d differs in channel %zu", s->name, s->width,
                   what, k, c);
}

static void expect_tape(const struct setup *s, int k, const real *met, const real *expected,
                        const char *what) {
    if (s->plain.op[k].tape)
        expect_rows(s, k, met, expected, what);
}

static void expect_inputs(const struct setup *s, const char *what) {
    for (int k = 0; k < s->n_inputs; k++)
        ck_assert_msg(memcmp(s->ex[k], s->expected[k], s->in * sizeof(real)) == 0,
                      "%s, width %zu: %s differs in input %d", s->name, s->width, what, k);
}

/* What is kept: every other one, or all, or none; or the last tape where the last output is. */
enum { OUTPUTS = 1, ODD_OUTPUTS = 2, TAPES = 4, ODD_TAPES = 8, SHARED = 16 };
static const int ways[] = {0, OUTPUTS | ODD_OUTPUTS | TAPES | ODD_TAPES, OUTPUTS | ODD_TAPES,
                           ODD_OUTPUTS | TAPES, TAPES | ODD_TAPES | SHARED};

static bool keeps(int way, int all, int odd, int k) {
    return way & (k % 2 ? odd : all);
}

static void check_forward(struct setup *s) {
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const int way = ways[i];
        struct lm_stage_run run = fresh_run(s);
        bool shared = way & SHARED && s->plain.op[s->last].kind->tape_is_output;
        for (int k = 0; k <= s->last; k++) {
            run.y[k] = k == s->last || keeps(way, OUTPUTS, ODD_OUTPUTS, k) ? s->y[k] : NULL;
            run.tape[k] = keeps(way, TAPES, ODD_TAPES, k) ? s->tape[k] : NULL;
            if (k == s->last && shared)
                run.tape[k] = run.y[k];
        }
        lm_stage_forward(&run);
        for (int k = 0; k <= s->last; k++) {
            if (run.y[k])
                expect_rows(s, k, run.y[k], s->plain.y[k], "y");
            if (run.tape[k])
                expect_tape(s, k, run.tape[k], s->plain.tape[k], "tape");
        }
    }
}

/* Outputs at x for what only reads them; afterwards they are as they were. */
static void give_outputs(struct setup *s, struct lm_stage_run *run) {
    for (int k = 0; k <= s->last; k++) {
        memcpy(s->y[k], s->plain.y[k], plain_chain_size(&s->plain, k) * sizeof(real));
        run->y[k] = s->y[k];
    }
}

static void expect_outputs_untouched(const struct setup *s) {
    for (int k = 0; k <= s->last; k++)
        ck_assert(
            memcmp(s->y[k], s->plain.y[k], plain_chain_size(&s->plain, k) * sizeof(real)) == 0);
}

static void check_difference(struct setup *s) {
    for (int way = 0; way <= (TAPES | ODD_TAPES); way += TAPES) {
        struct lm_stage_run run = fresh_run(s);
        real *tape[LM_MAX_STAGE] = {NULL};
        give_outputs(s, &run);
        for (int k = 0; k <= s->last; k++)
            tape[k] = keeps(way, TAPES, ODD_TAPES, k) ? s->tape[k] : NULL;
        lm_stage_difference(&run, (const real *const *)s->dx, s->dy, tape);
        expect_rows(s, s->last, s->dy, s->plain.dy[s->last], "dy");
        for (int k = 0; k <= s->last; k++)
            if (tape[k])
                expect_tape(s, k, tape[k], s->plain.moved_tape[k], "tape at x + dx");
        expect_outputs_untouched(s);
    }
    struct lm_stage_run run = fresh_run(s);
    give_outputs(s, &run);
    lm_stage_difference(&run, (const real *const *)s->dx, s->dy, NULL);
    expect_rows(s, s->last, s->dy, s->plain.dy[s->last], "dy without tapes");
}

/* An input at rest is one that moves by nothing; so it is in the plain chain from here on. */
static void check_rest(struct setup *s) {
    const real *dx[INPUTS] = {s->dx[0], NULL};
    if (s->n_inputs == 1)
        return;
    struct lm_stage_run run = fresh_run(s);
    give_outputs(s, &run);
    plain_chain_difference(&s->plain, dx);
    lm_stage_difference(&run, dx, s->dy, NULL);
    expect_rows(s, s->last, s->dy, s->plain.dy[s->last], "dy");
}

/* With the tapes at x, and no outputs but the one that is a tape; wanted by some inputs only.
 */
static void check_pull_back(struct setup *s) {
    plain_chain_pull(&s->plain, s->plain.tape, s->e, NULL, s->expected);
    for (int shared = 0; shared < 2; shared++) {
        struct lm_stage_run run = fresh_run(s);
        memcpy(run.tape, s->plain.tape, sizeof run.tape);
        if (shared && s->plain.op[s->last].kind->tape_is_output)
            run.tape[s->last] = s->plain.y[s->last];
        lm_stage_pull_input(&run, s->e, s->ex);
        expect_inputs(s, "ex");
        real *ex[INPUTS] = {NULL, s->ex[1]}, *none[INPUTS] = {NULL};
        fresh_run(s);
        lm_stage_pull_input(&run, s->e, none);
        lm_stage_pull_input(&run, s->e, ex);
        ck_assert(isnan(s->ex[0][0]));
        if (s->n_inputs > 1)
            ck_assert(memcmp(s->ex[1], s->expected[1], s->in * sizeof(real)) == 0);
    }
}

/* What was there does not matter. Sums over bands are rounded otherwise than those over all. */
static void check_gradient(struct setup *s) {
    const double tolerance = sizeof(real) == 4 ? 1e-5 : 1e-13;
    size_t n = lm_operator_parameters(&s->plain.op[0]);
    real *gradient = made_up(n, 1, 5), *expected = made_up(n, 1, 5);
    if (n) {
        struct lm_stage_run run = fresh_run(s);
        memcpy(run.tape, s->plain.tape, sizeof run.tape);
        lm_stage_pull_parameters(&run, s->e, gradient);
        plain_chain_pull(&s->plain, s->plain.tape, s->e, expected, NULL);
    }
    double largest = largest_magnitude(n, expected);
    for (size_t i = 0; i < n; i++)
        CHECK_EACH(fabs((double)gradient[i] - (double)expected[i]) <= tolerance * largest,
                   "%s, width %zu: gradient %zu is %g, not %g", s->name, s->width, i,
                   (double)gradient[i], (double)expected[i]);
    lm_free(gradient);
    lm_free(expected);
}

/* The change, or without dx the output, then the error made of it, then its pull back with the
 * tapes there. */
static void expect_inference_at(struct setup *s, const real *const dx[]) {
    size_t n = plain_chain_size(&s->plain, s->last);
    const real *change = dx ? s->plain.dy[s->last] : s->plain.y[s->last];
    real *value = made_up(n, 1, 30), *e = lm_allocate(n, sizeof *e);
    const struct lm_operator_error error = {.value = value};
    real *none[INPUTS] = {NULL};
    make_error(n, change, value, s->e);
    plain_chain_pull(&s->plain, dx ? s->plain.moved_tape : s->plain.tape, s->e, NULL,
                     s->expected);
    for (int wanted = 0; wanted < 2; wanted++) {
        struct lm_stage_run run = fresh_run(s);
        if (dx)
            give_outputs(s, &run);
        spoil(n, e);
        lm_stage_infer(&run, dx, &error, e, wanted ? s->ex : none);
        ck_assert_msg(memcmp(e, s->e, n * sizeof *e) == 0, "%s, width %zu: e", s->name,
                      s->width);
        if (dx)
            expect_outputs_untouched(s);
        if (wanted)
            expect_inputs(s, dx ? "ex at x + dx" : "ex at x");
    }
    lm_free(value);
    lm_free(e);
}

/* An error of what does not move, from 0 or from an array, and its pull back from the tapes. */
static void expect_still(struct setup *s, const real *from) {
    size_t n = plain_chain_size(&s->plain, s->last);
    real *value = made_up(n, 1, 30), *e = lm_allocate(n, sizeof *e);
    struct lm_operator_error error = {value, from};
    struct lm_stage_run run = fresh_run(s);
    memcpy(run.tape, s->plain.tape, sizeof run.tape);
    make_error(n, from, value, s->e);
    plain_chain_pull(&s->plain, s->plain.tape, s->e, NULL, s->expected);
    spoil(n, e);
    lm_stage_pull_error(&run, &error, e, s->ex);
    ck_assert_msg(memcmp(e, s->e, n * sizeof *e) == 0, "%s, width %zu: e", s->name, s->width);
    expect_inputs(s, "ex of what is still");
    lm_free(value);
    lm_free(e);
}

static void check_inference(struct setup *s) {
    expect_still(s, NULL);
    expect_still(s, s->plain.y[s->last]);
    expect_inference_at(s, (const real *const *)s->dx);
    expect_inference_at(s, NULL);
}

/* Work for wide chunks is enough for narrow ones. */
static void check_work(struct setup *s) {
    size_t wide = lm_stage_work(&s->stage, s->plain.op, s->width);
    for (size_t width = LM_LANE; width < s->width; width += LM_LANE)
        ck_assert(lm_stage_work(&s->stage, s->plain.op, width) <= wide);
}

START_TEST(stages_are_their_operators) {
    for (int i = 0; i < CASES * WIDTHS; i++) {
        struct setup s;
        int which = i / WIDTHS;
        set_up(&s, &cases[which], which >= CASES - RECTIFIED, widths[i % WIDTHS]);
        check_work(&s);
        check_forward(&s);
        check_difference(&s);
        check_pull_back(&s);
        check_gradient(&s);
        check_inference(&s);
        check_rest(&s);
        tear_down(&s);
    }
}
END_TEST

/* Where stages end: n operators, and rows above each of the last one's rows. */
static const struct {
    struct lm_operator_spec op[LM_MAX_STAGE + 2];
    struct lm_shape in;
    int n;
    size_t above[LM_MAX_STAGE];
} ends[] = {
    {{{&lm_conv2d, {"2", "3"}}, {&lm_conv2d, {"2", "3"}}}, {3, {1, 9, 9}}, 1, {1}},
    {{{&lm_conv2d, {"2", "2"}}, {&lm_relu, {0}}, {&lm_flatten, {0}}, {&lm_tanh, {0}}},
     {3, {1, 9, 9}},
     2,
     {1, 1}},
    {{{&lm_conv2d, {"2", "2"}},
      {&lm_maxpool2d, {"2x1"}},
      {&lm_tanh, {0}},
      {&lm_avgpool2d, {"3x2", "3x1"}}},
     {3, {1, 20, 9}},
     4,
     {6, 3, 3, 1}},
    /* windows that share rows, or leave some out */
    {{{&lm_conv2d, {"2", "2"}}, {&lm_maxpool2d, {"3", "2"}}}, {3, {1, 9, 9}}, 1, {1}},
    {{{&lm_conv2d, {"2", "2"}}, {&lm_avgpool2d, {"2", "3"}}}, {3, {1, 9, 9}}, 1, {1}},
    {{{&lm_linear, {"3"}}, {&lm_sigmoid, {0}}, {&lm_linear, {"3"}}}, {1, {4, 1, 1}}, 2, {1, 1}},
    {{{&lm_tanh, {0}}, {&lm_relu, {0}}}, {1, {4, 1, 1}}, 1, {1}},
    {{{&lm_maxpool2d, {"2"}}, {&lm_relu, {0}}}, {3, {1, 9, 9}}, 1, {1}},
    {{{&lm_linear, {"3"}},
      {&lm_tanh, {0}},
      {&lm_tanh, {0}},
      {&lm_tanh, {0}},
      {&lm_tanh, {0}},
      {&lm_tanh, {0}},
      {&lm_tanh, {0}}},
     {1, {4, 1, 1}},
     LM_MAX_STAGE,
     {1, 1, 1, 1, 1, 1}},
};
enum { ENDS = sizeof ends / sizeof *ends };

static void expect_end(int i) {
    struct plain_chain plain;
    struct lm_stage stage;
    int n = 0;
    while (ends[i].op[n].kind)
        n++;
    plain_chain_init(&plain, n, ends[i].op, 1, &ends[i].in, 16);
    lm_stage_init(&stage, 0, n, plain.op);
    ck_assert_msg(stage.first == 0 && stage.n == ends[i].n, "%d: %d", i, stage.n);
    for (int k = 0; k < stage.n; k++)
        ck_assert_msg(stage.above[k] == ends[i].above[k], "%d: %zu rows above %d", i,
                      stage.above[k], k);
    lm_stage_init(&stage, n - 1, 1, plain.op);
    ck_assert(stage.first == n - 1 && stage.n == 1 && stage.above[0] == 1);
    lm_stage_init(&stage, 0, 1, plain.op);
    ck_assert(stage.first == 0 && stage.n == 1 && stage.above[0] == 1);
    plain_chain_clear(&plain);
}

START_TEST(stages_end_where_rows_meet) {
    for (int i = 0; i < ENDS; i++)
        expect_end(i);
}
END_TEST

int main(void) {
    return RUN_TESTS("stage", stages_end_where_rows_meet, stages_are_their_operators);
}
