/* Optimizer: adam and sgd against PyTorch's formulas, written out in double. */
#include "optimizer.h"

#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { N = 37, STEPS = 25 };

static const double tolerance = sizeof(real) == 4 ? 2e-6 : 1e-14;

/* Parameters and gradients of made-up sizes from 1e-4 to 1. */
static real made_up(uint64_t index, uint64_t i) {
    double size = pow(10, -(double)(i % 5));
    return (real)(size * (2 * lm_random_uniform(1, LM_STREAM_TEST, index, i) - 1));
}

/* An optimizer's state. */
struct state {
    real parameters[N], first[N], second[N];
    real *moment[LM_MAX_MOMENTS];
};

static void init_state(struct state *state) {
    memset(state, 0, sizeof *state);
    state->moment[0] = state->first;
    state->moment[1] = state->second;
    for (uint64_t i = 0; i < N; i++)
        state->parameters[i] = made_up(0, i);
}

static void make_gradient(long t, real *gradient) {
    for (uint64_t i = 0; i < N; i++)
        gradient[i] = made_up((uint64_t)t, i);
}

START_TEST(adam_follows_its_formulas) {
    const double rate = 0.002;
    const struct lm_optimizer *adam = lm_optimizer_find("adam");
    struct state state;
    double theta[N], m[N] = {0}, v[N] = {0};
    real gradient[N];
    init_state(&state);
    for (int i = 0; i < N; i++)
        theta[i] = (double)state.parameters[i];
    for (long t = 1; t <= STEPS; t++) {
        make_gradient(t, gradient);
        adam->step(N, t, rate, 0.7, gradient, state.moment, state.parameters);
        for (int i = 0; i < N; i++) {
            double g = (double)gradient[i];
            m[i] = 0.9 * m[i] + (1 - 0.9) * g;
            v[i] = 0.999 * v[i] + (1 - 0.999) * g * g;
            double m_hat = m[i] / (1 - pow(0.9, (double)t));
            double v_hat = v[i] / (1 - pow(0.999, (double)t));
            theta[i] -= rate * m_hat / (sqrt(v_hat) + 1e-8);
            ck_assert_msg(fabs((double)state.parameters[i] - theta[i]) <= tolerance,
                          "step %ld, parameter %d: %.12g, not %.12g", t, i,
                          (double)state.parameters[i], theta[i]);
        }
    }
    for (int i = 0; i < N; i++) {
        ck_assert(fabs((double)state.first[i] - m[i]) <= tolerance);
        ck_assert(fabs((double)state.second[i] - v[i]) <= tolerance);
    }
}
END_TEST

/* At the first step adam moves by the rate, whatever the gradient's size; epsilon is added to
 * the root, not under it. */
START_TEST(first_step_of_adam) {
    const double sizes[] = {1, 1e-4, 1e-8, 0};
    for (int i = 0; i < 4; i++) {
        real parameter = 0, gradient = (real)sizes[i], first = 0, second = 0;
        real *moment[LM_MAX_MOMENTS] = {&first, &second};
        lm_optimizer_find("adam")->step(1, 1, 0.01, 0, &gradient, moment, &parameter);
        double expected = -0.01 * sizes[i] / (sizes[i] + 1e-8);
        ck_assert_msg(fabs((double)parameter - expected) <= 1e-8, "%g, not %g",
                      (double)parameter, expected);
    }
}
END_TEST

START_TEST(sgd_follows_its_formulas) {
    const double rate = 0.05, momenta[] = {0, 0.9};
    const struct lm_optimizer *sgd = lm_optimizer_find("sgd");
    for (int k = 0; k < 2; k++) {
        struct state state;
        double theta[N], m[N] = {0};
        real gradient[N];
        init_state(&state);
        for (int i = 0; i < N; i++)
            theta[i] = (double)state.parameters[i];
        for (long t = 1; t <= STEPS; t++) {
            make_gradient(t, gradient);
            sgd->step(N, t, rate, momenta[k], gradient, state.moment, state.parameters);
            for (int i = 0; i < N; i++) {
                m[i] = momenta[k] * m[i] + (double)gradient[i];
                theta[i] -= rate * m[i];
                ck_assert(fabs((double)state.parameters[i] - theta[i]) <= tolerance);
            }
        }
    }
}
END_TEST

/* Updating slices one by one gives the bits of one update. */
START_TEST(slices_may_be_updated_alone) {
    const size_t ends[] = {0, 1, 17, 33, N};
    for (int k = 0; lm_optimizers()[k]; k++) {
        const struct lm_optimizer *optimizer = lm_optimizers()[k];
        struct state whole, sliced;
        real gradient[N];
        init_state(&whole);
        init_state(&sliced);
        for (long t = 1; t <= 3; t++) {
            make_gradient(t, gradient);
            optimizer->step(N, t, 0.01, 0.9, gradient, whole.moment, whole.parameters);
            for (int s = 3; s >= 0; s--) {
                real *moment[] = {sliced.first + ends[s], sliced.second + ends[s]};
                optimizer->step(ends[s + 1] - ends[s], t, 0.01, 0.9, gradient + ends[s], moment,
                                sliced.parameters + ends[s]);
            }
        }
        ck_assert(memcmp(whole.parameters, sliced.parameters, sizeof gradient) == 0);
        ck_assert(memcmp(whole.first, sliced.first, sizeof gradient) == 0);
        ck_assert(memcmp(whole.second, sliced.second, sizeof gradient) == 0);
    }
}
END_TEST

START_TEST(optimizers_are_found_by_name) {
    for (int k = 0; lm_optimizers()[k]; k++) {
        const struct lm_optimizer *optimizer = lm_optimizers()[k];
        ck_assert(lm_optimizer_find(optimizer->name) == optimizer);
        ck_assert(optimizer->n_moments <= LM_MAX_MOMENTS);
        for (int m = 0; m < optimizer->n_moments; m++)
            ck_assert(optimizer->moments[m] != NULL);
    }
    ck_assert(lm_optimizer_find("sgd") && lm_optimizer_find("adam"));
    ck_assert(lm_optimizer_find("rmsprop") == NULL);
}
END_TEST

int main(void) {
    return RUN_TESTS("optimizer", adam_follows_its_formulas, first_step_of_adam,
                     sgd_follows_its_formulas, slices_may_be_updated_alone,
                     optimizers_are_found_by_name);
}
