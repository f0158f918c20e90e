/* Rule: each row on three layers linked by hand, against the formulas of the paper written out
 * in double; and what rows share. */
#include "rule.h"

#include "make_network.h"
#include "memory.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

/* input 5 -> a 6 -> b 4 -> out 3; f is tanh(W v + b) for a and b, W v + b for out. */
enum { LAYERS = 3, OUT = LAYERS - 1, WIDEST = 6, COUNT = 5, WIDTH = 16, STEPS = 7 };
static const size_t units[LAYERS + 1] = {5, 6, 4, 3}; /* units[l]: below layer l */

static const double tolerance = sizeof(real) == 4 ? 3e-6 : 1e-12;

struct chain {
    struct lm_network *network;
    struct lm_layer *layers[LAYERS];
    real *input, *feedback[LAYERS];
    struct lm_scratch scratch;
};

/* What the cortex would link: the values below, the feedback from above. */
static void link_by_hand(struct chain *chain) {
    for (int l = 0; l < LAYERS; l++)
        lm_layer_set_count(chain->layers[l], 0, COUNT);
    for (int l = 0; l < LAYERS; l++) {
        struct lm_layer_chunk *chunk = &chain->layers[l]->chunks[0];
        chunk->parent_forward[0] = l ? chain->layers[l - 1]->chunks[0].forward : chain->input;
        chunk->parent_value[0] = l ? chain->layers[l - 1]->chunks[0].value : NULL;
        chunk->feedback[0] = l ? chain->feedback[l] : NULL;
        if (l < OUT)
            chunk->child_feedback[0] = chain->feedback[l + 1];
    }
}

static void init_chain(struct chain *chain) {
    const struct lm_layer_spec specs[] = {
        {"a", 0, {0}, 2, {OP("linear", "6"), OP("tanh", 0)}},
        {"b", 0, {0}, 2, {OP("linear", "4"), OP("tanh", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "3")}},
    };
    chain->network = make_network((struct lm_shape){1, {5, 1, 1}}, LAYERS, specs);
    for (int l = 0; l < LAYERS; l++) {
        chain->layers[l] =
            lm_layer_create(chain->network, l, lm_optimizer_find("sgd"), COUNT, COUNT);
        lm_layer_init_parameters(chain->layers[l], 8);
        chain->feedback[l] = lm_allocate(units[l] * WIDTH, sizeof(real));
    }
    chain->input = lm_allocate(units[0] * WIDTH, sizeof(real));
    for (size_t u = 0; u < units[0]; u++)
        for (size_t b = 0; b < COUNT; b++)
            chain->input[u * WIDTH + b] =
                (real)(2 * lm_random_uniform(1, LM_STREAM_TEST, u, b) - 1);
    lm_scratch_init(&chain->scratch, LAYERS, chain->layers, WIDTH);
    link_by_hand(chain);
    for (int b = 0; b < COUNT; b++)
        chain->layers[OUT]->chunks[0].label[b] = b % 3;
    for (int l = 0; l < LAYERS; l++)
        lm_layer_forward(chain->layers[l], 0, &chain->scratch);
}

static void clear_chain(struct chain *chain) {
    for (int l = 0; l < LAYERS; l++) {
        lm_layer_destroy(chain->layers[l]);
        lm_free(chain->feedback[l]);
    }
    lm_free(chain->input);
    lm_scratch_clear(&chain->scratch);
    lm_network_destroy(chain->network);
}

static void begin(struct chain *chain, const struct lm_rule *rule) {
    for (int l = 0; l < LAYERS; l++) {
        struct lm_layer_chunk *chunk = &chain->layers[l]->chunks[0];
        size_t n = units[l + 1] * WIDTH;
        chunk->fresh = !rule->begin && !rule->values_travel; /* else they are read at rest */
        if (rule->begin)
            rule->begin(n, chunk->forward, chunk->value);
        else
            memset(chunk->value, chunk->fresh ? 0xff : 0, n * sizeof *chunk->value);
        memset(chunk->own_error, 0, n * sizeof *chunk->own_error);
        chunk->error = chunk->own_error;
        memset(chain->layers[l]->gradient, 0,
               chain->layers[l]->plan->map.parameters * sizeof(real));
    }
}

/* Inference in the order that rule.h states, and learning. */
static void run(struct chain *chain, const struct lm_rule *rule,
                const struct lm_inference *inference, int steps) {
    begin(chain, rule);
    for (int n = 0; n < (rule->sweeps ? 1 : steps); n++) {
        for (int l = OUT; l >= 0; l--) {
            if (rule->sweeps)
                rule->values(inference, chain->layers[l], 0, &chain->scratch);
            if (rule->sweeps || n >= OUT - l)
                rule->errors(inference, chain->layers[l], 0, &chain->scratch);
        }
        for (int l = 0; l < LAYERS && !rule->sweeps; l++)
            if (n + 1 >= OUT - l)
                rule->values(inference, chain->layers[l], 0, &chain->scratch);
    }
    for (int l = 0; l < LAYERS; l++)
        rule->learn(inference, chain->layers[l], 0, &chain->scratch,
                    chain->layers[l]->gradient);
}

/* --- the same for one input in plain formulas ------------------------------------------- */

/* Index l + 1 is layer l; index 0 the input. */
struct plain {
    const struct chain *chain;
    double hat[LAYERS + 1][WIDEST], v[LAYERS + 1][WIDEST];
    double mu[LAYERS][WIDEST], e[LAYERS][WIDEST];
    double feedback[LAYERS][WIDEST]; /* J^T eps of layer l for the layer below */
};

static double weight(const struct plain *plain, int l, size_t o, size_t i) {
    return (double)plain->chain->layers[l]->parameters[o * units[l] + i];
}

static void predict(const struct plain *plain, int l, const double *below, double *mu) {
    for (size_t o = 0; o < units[l + 1]; o++) {
        mu[o] = (double)plain->chain->layers[l]->parameters[units[l] * units[l + 1] + o];
        for (size_t i = 0; i < units[l]; i++)
            mu[o] += weight(plain, l, o, i) * below[i];
        mu[o] = l < OUT ? tanh(mu[o]) : mu[o];
    }
}

/* d mu / d (W v + b) from mu. */
static double slope(int l, double mu) {
    return l < OUT ? 1 - mu * mu : 1;
}

static void pull(struct plain *plain, int l, const double *mu) {
    for (size_t i = 0; i < units[l]; i++) {
        plain->feedback[l][i] = 0;
        for (size_t o = 0; o < units[l + 1]; o++)
            plain->feedback[l][i] += weight(plain, l, o, i) * slope(l, mu[o]) * plain->e[l][o];
    }
}

/* The error of the mean of squares over 3 outputs and `batch` inputs. */
static void output_error(struct plain *plain, const double *mu, int label, double batch) {
    for (int o = 0; o < 3; o++)
        plain->e[OUT][o] = 2 * (mu[o] - (o == label)) / (3 * batch);
}

static void init_plain(struct plain *plain, const struct chain *chain, int b) {
    memset(plain, 0, sizeof *plain);
    plain->chain = chain;
    for (size_t u = 0; u < units[0]; u++)
        plain->hat[0][u] = (double)chain->input[u * WIDTH + (size_t)b];
    for (int l = 0; l < LAYERS; l++)
        predict(plain, l, plain->hat[l], plain->hat[l + 1]);
    memcpy(plain->v, plain->hat, sizeof plain->v);
}

/* Algorithm 1. */
static void plain_backprop(struct plain *plain, int label, double batch) {
    output_error(plain, plain->hat[LAYERS], label, batch);
    for (int l = OUT; l > 0; l--) {
        pull(plain, l, plain->hat[l + 1]);
        memcpy(plain->e[l - 1], plain->feedback[l], sizeof plain->feedback[l]);
    }
}

/* One step of Algorithm 2, or 3 when predictions are fixed: all errors, then all values. */
static void plain_step(struct plain *plain, int label, double batch, double eta, bool fixed) {
    for (int l = 0; l < LAYERS; l++)
        predict(plain, l, fixed ? plain->hat[l] : plain->v[l], plain->mu[l]);
    output_error(plain, plain->mu[OUT], label, batch);
    for (int l = 0; l < OUT; l++)
        for (size_t u = 0; u < units[l + 1]; u++)
            plain->e[l][u] = plain->mu[l][u] - plain->v[l + 1][u];
    for (int l = 1; l < LAYERS; l++)
        pull(plain, l, plain->mu[l]);
    for (int l = 0; l < OUT; l++)
        for (size_t u = 0; u < units[l + 1]; u++)
            plain->v[l + 1][u] += eta * (plain->e[l][u] - plain->feedback[l + 1][u]);
}

/* gradient += J_theta^T eps of layer l at the values below. */
static void plain_learn(const struct plain *plain, int l, const double *below,
                        double *gradient) {
    double mu[WIDEST];
    predict(plain, l, below, mu);
    for (size_t o = 0; o < units[l + 1]; o++) {
        double e = slope(l, mu[o]) * plain->e[l][o];
        for (size_t i = 0; i < units[l]; i++)
            gradient[o * units[l] + i] += e * below[i];
        gradient[units[l] * units[l + 1] + o] += e;
    }
}

/* --- comparisons ------------------------------------------------------------------------ */

static void expect_errors(const struct chain *chain, const struct plain *plain, size_t b,
                          const char *rule) {
    for (int l = 0; l < LAYERS; l++)
        for (size_t u = 0; u < units[l + 1]; u++) {
            double found = (double)chain->layers[l]->chunks[0].error[u * WIDTH + b];
            ck_assert_msg(fabs(found - plain->e[l][u]) <= tolerance,
                          "%s: error %zu of layer %d: %.15g, not %.15g", rule, u, l, found,
                          plain->e[l][u]);
        }
}

/* v of the hidden layers, stored as it is or as the deviation from hat v. */
static void expect_values(const struct chain *chain, const struct plain *plain, size_t b,
                          const struct lm_rule *rule) {
    bool is_value = strcmp(rule->state, "value") == 0;
    bool is_error = !is_value && strcmp(rule->name, "fixed-prediction") == 0;
    for (int l = 0; l < OUT; l++)
        for (size_t u = 0; u < units[l + 1]; u++) {
            double found = (double)chain->layers[l]->chunks[0].value[u * WIDTH + b];
            double expected = plain->v[l + 1][u] - (is_value ? 0 : plain->hat[l + 1][u]);
            expected = is_error ? -expected : expected;
            ck_assert_msg(fabs(found - expected) <= tolerance, "%s: value %zu of layer %d",
                          rule->name, u, l);
        }
}

static void expect_gradients(const struct chain *chain, double gradient[LAYERS][64],
                             const char *rule) {
    for (int l = 0; l < LAYERS; l++)
        for (size_t p = 0; p < (units[l] + 1) * units[l + 1]; p++) {
            double found = (double)chain->layers[l]->gradient[p];
            ck_assert_msg(fabs(found - gradient[l][p]) <= tolerance,
                          "%s: parameter %zu of layer %d: %.15g, not %.15g", rule, p, l, found,
                          gradient[l][p]);
        }
}

/* A row of the table with learning from the values below or from hat v. */
static void expect_formulas(const struct lm_rule *rule, bool presynaptic_value) {
    const double eta = 0.2, batch = 4; /* not COUNT: the batch is what it is told */
    const struct lm_inference inference = {lm_loss_find("mse"), batch, (real)eta,
                                           presynaptic_value};
    const bool strict = strcmp(rule->name, "strict") == 0;
    double gradient[LAYERS][64] = {{0}};
    struct chain chain;
    init_chain(&chain);
    run(&chain, rule, &inference, STEPS);
    for (int b = 0; b < COUNT; b++) {
        struct plain plain;
        init_plain(&plain, &chain, b);
        for (int n = 0; n < STEPS && !rule->sweeps; n++)
            plain_step(&plain, b % 3, batch, eta, !strict);
        if (rule->sweeps)
            plain_backprop(&plain, b % 3, batch);
        expect_errors(&chain, &plain, (size_t)b, rule->name);
        if (!rule->sweeps) /* which has no use for them */
            expect_values(&chain, &plain, (size_t)b, rule);
        for (int l = 0; l < LAYERS; l++)
            plain_learn(&plain, l, strict && presynaptic_value ? plain.v[l] : plain.hat[l],
                        gradient[l]);
    }
    expect_gradients(&chain, gradient, rule->name);
    clear_chain(&chain);
}

START_TEST(every_row_follows_its_formulas) {
    for (int i = 0; lm_rules()[i]; i++) {
        expect_formulas(lm_rules()[i], true);
        expect_formulas(lm_rules()[i], false);
    }
}
END_TEST

/* Learning from the values below or from hat v is not the same, so the test above can tell. */
START_TEST(presynaptic_values_count) {
    struct chain a, b;
    struct lm_inference inference = {lm_loss_find("mse"), 4, (real)0.2, true};
    init_chain(&a);
    init_chain(&b);
    run(&a, lm_rule_find("strict", "deviation"), &inference, STEPS);
    inference.presynaptic_value = false;
    run(&b, lm_rule_find("strict", "deviation"), &inference, STEPS);
    double apart[LAYERS] = {0};
    for (int l = 0; l < LAYERS; l++)
        for (size_t p = 0; p < a.layers[l]->plan->map.parameters; p++)
            apart[l] +=
                fabs((double)a.layers[l]->gradient[p] - (double)b.layers[l]->gradient[p]);
    ck_assert(apart[0] == 0 && apart[1] > 100 * tolerance && apart[2] > 100 * tolerance);
    clear_chain(&a);
    clear_chain(&b);
}
END_TEST

/* What a gradient was does not matter, and padding takes no part in anything. */
START_TEST(learning_starts_afresh_and_padding_is_zero) {
    const struct lm_inference inference = {lm_loss_find("mse"), 4, (real)0.2, true};
    for (int i = 0; lm_rules()[i]; i++) {
        struct chain chain;
        init_chain(&chain);
        run(&chain, lm_rules()[i], &inference, 3);
        for (int l = 0; l < LAYERS; l++) {
            struct lm_layer *layer = chain.layers[l];
            for (size_t u = 0; u < units[l + 1]; u++)
                for (size_t b = COUNT; b < WIDTH; b++)
                    ck_assert(layer->chunks[0].error[u * WIDTH + b] == 0);
            real once = layer->gradient[1];
            lm_rules()[i]->learn(&inference, layer, 0, &chain.scratch, layer->gradient);
            ck_assert(layer->gradient[1] == once);
        }
        clear_chain(&chain);
    }
}
END_TEST

/* Several children's feedback is added in their order; one child's is taken as it is. */
START_TEST(feedback_of_children_is_summed_in_order) {
    const struct lm_layer_spec specs[] = {
        {"a", 0, {0}, 1, {OP("linear", "2")}},
        {"b", 1, {"a"}, 1, {OP("linear", "3")}},
        {"c", 1, {"a"}, 1, {OP("linear", "3")}},
        {"d", 3, {"a", "b", "c"}, 2, {OP("concat", 0), OP("linear", "3")}},
    };
    struct lm_network *network = make_network((struct lm_shape){1, {4, 1, 1}}, 4, specs);
    struct lm_layer *a = lm_layer_create(network, 0, lm_optimizer_find("sgd"), COUNT, COUNT);
    struct lm_layer *b = lm_layer_create(network, 1, lm_optimizer_find("sgd"), COUNT, COUNT);
    struct lm_scratch scratch;
    real from[3][3 * WIDTH];
    lm_scratch_init(&scratch, 1, &a, WIDTH);
    lm_layer_set_count(a, 0, COUNT);
    lm_layer_set_count(b, 0, COUNT);
    for (int k = 0; k < 3; k++) {
        a->chunks[0].child_feedback[k] = from[k];
        for (size_t i = 0; i < 3 * WIDTH; i++)
            from[k][i] = (real)(pow(10, 4 * k) * lm_random_uniform(1, LM_STREAM_TEST, i, 0));
    }
    const real *sum = lm_rule_feedback(a, 0, &scratch);
    for (size_t i = 0; i < 2 * WIDTH; i++) {
        real first_two = from[0][i] + from[1][i];
        ck_assert(sum[i] == first_two + from[2][i]);
    }
    b->chunks[0].child_feedback[0] = from[1];
    ck_assert(lm_rule_feedback(b, 0, &scratch) == from[1]);
    lm_scratch_clear(&scratch);
    lm_layer_destroy(a);
    lm_layer_destroy(b);
    lm_network_destroy(network);
}
END_TEST

/* Errors that a rule calls settled do not change by a bit, though they are made anew. */
START_TEST(settled_errors_stay) {
    const double etas[] = {1, 0.3};
    struct chain chain;
    init_chain(&chain);
    int settled = 0;
    for (int i = 0; i < 2; i++)
        for (const struct lm_rule *const *rule = lm_rules(); *rule; rule++) {
            if (!(*rule)->settled)
                continue;
            struct lm_inference inference = {lm_loss_find("mse"), COUNT, (real)etas[i], false};
            real before[LAYERS][WIDEST * WIDTH];
            for (int step = 0; step < STEPS; step++) {
                run(&chain, *rule, &inference, step + 1);
                for (int l = 0; l < LAYERS; l++) {
                    const real *error = chain.layers[l]->chunks[0].own_error;
                    size_t size = units[l + 1] * WIDTH * sizeof *error;
                    if (step > 0 && (*rule)->settled(&inference, chain.layers[l]->plan, step)) {
                        ck_assert_mem_eq(error, before[l], size);
                        settled++;
                    }
                    memcpy(before[l], error, size);
                }
            }
        }
    ck_assert_int_eq(settled, (STEPS - 1) + (STEPS - 2) + (STEPS - 3) + (STEPS - 1));
    clear_chain(&chain);
}
END_TEST

/* Above values that are still, errors are the same by the short way, which asks nothing. */
START_TEST(still_values_predict_hat_v) {
    const struct lm_inference inference = {lm_loss_find("mse"), COUNT, (real)0.2, false};
    const char *const states[] = {"deviation", "value"};
    for (int i = 0; i < 2; i++) {
        const struct lm_rule *rule = lm_rule_find("strict", states[i]);
        struct chain chain;
        init_chain(&chain);
        begin(&chain, rule);
        for (int l = OUT; l > 0; l--) {
            struct lm_layer_chunk *chunk = &chain.layers[l]->chunks[0];
            size_t size = units[l + 1] * WIDTH * sizeof(real);
            size_t below = units[l] * WIDTH * sizeof(real);
            real error[WIDEST * WIDTH], feedback[WIDEST * WIDTH];
            for (size_t k = 0; k < units[l + 1]; k++)
                chunk->value[k * WIDTH] += (real)0.25;
            rule->errors(&inference, chain.layers[l], 0, &chain.scratch);
            memcpy(error, chunk->own_error, size);
            memcpy(feedback, chunk->feedback[0], below);
            memset(chunk->feedback[0], 0, below);
            chunk->still = true;
            chunk->parent_value[0] = NULL; /* not read */
            rule->errors(&inference, chain.layers[l], 0, &chain.scratch);
            ck_assert_mem_eq(chunk->own_error, error, size);
            ck_assert_mem_eq(chunk->feedback[0], feedback, below);
            chunk->parent_value[0] = chain.layers[l - 1]->chunks[0].value;
        }
        clear_chain(&chain);
    }
}
END_TEST

START_TEST(rows_are_found_by_name_and_state) {
    const char *const names[] = {"backprop", "strict", "fixed-prediction"};
    const char *const states[] = {"deviation", "value"};
    for (int i = 0; i < 6; i++) {
        const struct lm_rule *rule = lm_rule_find(names[i / 2], states[i % 2]);
        ck_assert(rule && rule->errors && rule->values && rule->learn);
        ck_assert_str_eq(rule->name, names[i / 2]);
        ck_assert_str_eq(rule->state, states[i % 2]);
        ck_assert(rule->sweeps == (i / 2 == 0) && rule->values_travel == (i / 2 == 1));
    }
    ck_assert(lm_rule_find("strict", "guess") == NULL);
    ck_assert(lm_rule_find("hebbian", "value") == NULL);
}
END_TEST

int main(void) {
    return RUN_TESTS("rule", every_row_follows_its_formulas, presynaptic_values_count,
                     learning_starts_afresh_and_padding_is_zero,
                     feedback_of_children_is_summed_in_order, settled_errors_stay,
                     still_values_predict_hat_v, rows_are_found_by_name_and_state);
}
