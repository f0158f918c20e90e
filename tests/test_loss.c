/* Loss: values by their formulas, errors by finite differences, and what padding gets. */
#include "loss.h"

#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { UNITS = 10, WIDTH = 16, COUNT = 13 };

static const double exactness = sizeof(real) == 4 ? 1e-6 : 1e-14;

/* Made-up predictions of `size`, NaN in the padding, and labels. */
static void make_batch(double size, real *mu, int *label) {
    for (int u = 0; u < UNITS; u++)
        for (int b = 0; b < WIDTH; b++)
            mu[u * WIDTH + b] =
                b < COUNT ? (real)(size * (2 * lm_random_uniform(1, LM_STREAM_TEST, (uint64_t)b,
                                                                 (uint64_t)u) -
                                           1))
                          : (real)NAN;
    for (int b = 0; b < COUNT; b++)
        label[b] = b * 7 % UNITS;
}

static double target(int u, int label) {
    return u == label ? 1 : 0;
}

START_TEST(mse_is_the_mean_of_squares) {
    real mu[UNITS * WIDTH];
    int label[COUNT];
    double value[COUNT];
    make_batch(2, mu, label);
    lm_loss_find("mse")->value(UNITS, WIDTH, COUNT, mu, label, value);
    for (int b = 0; b < COUNT; b++) {
        double sum = 0;
        for (int u = 0; u < UNITS; u++)
            sum += pow((double)mu[u * WIDTH + b] - target(u, label[b]), 2);
        ck_assert(fabs(value[b] - sum / UNITS) <= 1e-14);
    }
}
END_TEST

START_TEST(cross_entropy_is_minus_log_softmax) {
    real mu[UNITS * WIDTH];
    int label[COUNT];
    double value[COUNT];
    make_batch(3, mu, label);
    lm_loss_find("cross_entropy")->value(UNITS, WIDTH, COUNT, mu, label, value);
    for (int b = 0; b < COUNT; b++) {
        double sum = 0;
        for (int u = 0; u < UNITS; u++)
            sum += exp((double)mu[u * WIDTH + b]);
        double expected = -log(exp((double)mu[label[b] * WIDTH + b]) / sum);
        ck_assert(fabs(value[b] - expected) <= 1e-13);
    }
}
END_TEST

/* With equal predictions both are known: 0.9^2 + 9 * 0.1^2 over 10, and log 10. */
START_TEST(values_by_hand) {
    real mu[UNITS * WIDTH];
    const int label[] = {3};
    double value[1];
    for (int i = 0; i < UNITS * WIDTH; i++)
        mu[i] = (real)0.1;
    lm_loss_find("mse")->value(UNITS, WIDTH, 1, mu, label, value);
    ck_assert(fabs(value[0] - 0.09) <= exactness);
    lm_loss_find("cross_entropy")->value(UNITS, WIDTH, 1, mu, label, value);
    ck_assert(fabs(value[0] - log(10)) <= 1e-14);
}
END_TEST

/* The slope of the loss of input b by unit u, by central differences of step h. */
static double slope(const struct lm_loss *loss, real *mu, const int *label, int u, int b,
                    double h) {
    double up[COUNT], down[COUNT];
    real *moved = &mu[u * WIDTH + b], kept = *moved;
    *moved = kept + (real)h;
    double step = (double)*moved;
    loss->value(UNITS, WIDTH, COUNT, mu, label, up);
    *moved = kept - (real)h;
    step -= (double)*moved;
    loss->value(UNITS, WIDTH, COUNT, mu, label, down);
    *moved = kept;
    return (up[b] - down[b]) / step;
}

START_TEST(errors_are_slopes_of_the_mean_loss) {
    const double batch = 300, tolerance = sizeof(real) == 4 ? 1e-5 : 1e-7;
    real mu[UNITS * WIDTH], error[UNITS * WIDTH];
    int label[COUNT];
    make_batch(2, mu, label);
    for (int i = 0; lm_losses()[i]; i++) {
        const struct lm_loss *loss = lm_losses()[i];
        loss->error(UNITS, WIDTH, COUNT, mu, label, batch, error);
        for (int u = 0; u < UNITS; u++)
            for (int b = 0; b < COUNT; b++) {
                double expected = slope(loss, mu, label, u, b, sizeof(real) == 4 ? 1e-3 : 1e-5);
                ck_assert_msg(fabs((double)error[u * WIDTH + b] * batch - expected) <=
                                  tolerance,
                              "%s: unit %d, input %d", loss->name, u, b);
            }
    }
}
END_TEST

START_TEST(padding_has_no_error) {
    real mu[UNITS * WIDTH], error[UNITS * WIDTH];
    int label[COUNT];
    make_batch(2, mu, label);
    for (int i = 0; lm_losses()[i]; i++) {
        memset(error, 0xff, sizeof error);
        lm_losses()[i]->error(UNITS, WIDTH, COUNT, mu, label, 13, error);
        for (int u = 0; u < UNITS; u++)
            for (int b = COUNT; b < WIDTH; b++)
                ck_assert(error[u * WIDTH + b] == 0);
    }
}
END_TEST

/* The same inputs as a part of a batch ten times as large have a tenth of the error. */
START_TEST(errors_are_scaled_by_the_global_batch) {
    real mu[UNITS * WIDTH], error[UNITS * WIDTH], part[UNITS * WIDTH];
    int label[COUNT];
    make_batch(2, mu, label);
    for (int i = 0; lm_losses()[i]; i++) {
        lm_losses()[i]->error(UNITS, WIDTH, COUNT, mu, label, COUNT, error);
        lm_losses()[i]->error(UNITS, WIDTH, COUNT, mu, label, 10 * COUNT, part);
        for (int k = 0; k < UNITS * WIDTH; k++)
            ck_assert(fabs(10 * (double)part[k] - (double)error[k]) <= exactness);
    }
}
END_TEST

/* Logits of 10^4: the exponential of the largest would overflow. */
START_TEST(big_logits_do_not_overflow) {
    const struct lm_loss *loss = lm_loss_find("cross_entropy");
    const double rounding = sizeof(real) == 4 ? 1e-6 : 1e-11; /* of 10^4 */
    real mu[3 * WIDTH] = {0}, error[3 * WIDTH];
    const int label[] = {0, 1, 2};
    double value[3];
    for (int b = 0; b < 3; b++) {
        mu[0 * WIDTH + b] = -10000;
        mu[1 * WIDTH + b] = 10000;
        mu[2 * WIDTH + b] = 10000;
    }
    loss->value(3, WIDTH, 3, mu, label, value);
    loss->error(3, WIDTH, 3, mu, label, 1, error);
    const double values[] = {20000 + log(2), log(2), log(2)};
    const double errors[3][3] = {{-1, 0, 0}, {.5, -.5, .5}, {.5, .5, -.5}};
    for (int b = 0; b < 3; b++) {
        ck_assert(fabs(value[b] - values[b]) <= 1e-11);
        for (int u = 0; u < 3; u++)
            ck_assert(fabs((double)error[u * WIDTH + b] - errors[u][b]) <= rounding);
    }
}
END_TEST

/* At a label that is nearly certain the error is the others' probability, not 1 - 1. */
START_TEST(errors_of_certain_labels_do_not_cancel) {
    real mu[2 * WIDTH] = {40}, error[2 * WIDTH];
    const int label[] = {0};
    lm_loss_find("cross_entropy")->error(2, WIDTH, 1, mu, label, 1, error);
    ck_assert(fabs((double)error[0] / -exp(-40) - 1) <= 1e-6);
    ck_assert(fabs((double)error[WIDTH] / exp(-40) - 1) <= 1e-6);
}
END_TEST

START_TEST(prediction_is_the_first_of_the_largest) {
    real mu[4 * WIDTH] = {0};
    const real columns[][4] = {{1, 2, 3, 0}, {5, 5, 5, 5}, {-3, -1, -2, -1}, {-9, -9, -9, -8}};
    const int expected[] = {2, 0, 1, 3};
    int prediction[5] = {0, 0, 0, 0, 77};
    for (int b = 0; b < 4; b++)
        for (int u = 0; u < 4; u++)
            mu[u * WIDTH + b] = columns[b][u];
    mu[WIDTH + 4] = 100; /* in the padding */
    lm_loss_predict(4, WIDTH, 4, mu, prediction);
    for (int b = 0; b < 4; b++)
        ck_assert(prediction[b] == expected[b]);
    ck_assert(prediction[4] == 77);
}
END_TEST

START_TEST(confidence_is_the_largest_softmax) {
    real mu[3 * WIDTH] = {0};
    const real columns[][3] = {
        {0, 0, 0}, {(real)log(2), 0, 0}, {10000, 10000, 0}, {0, 0, -9000}};
    const double expected[] = {1. / 3, .5, .5, .5};
    double confidence[5] = {0, 0, 0, 0, 77};
    for (int b = 0; b < 4; b++)
        for (int u = 0; u < 3; u++)
            mu[u * WIDTH + b] = columns[b][u];
    lm_loss_confidence(3, WIDTH, 4, mu, confidence);
    for (int b = 0; b < 4; b++)
        ck_assert(fabs(confidence[b] - expected[b]) <= 1e-7);
    ck_assert(confidence[4] == 77);
}
END_TEST

START_TEST(losses_are_found_by_name) {
    for (int i = 0; lm_losses()[i]; i++)
        ck_assert(lm_loss_find(lm_losses()[i]->name) == lm_losses()[i]);
    ck_assert(lm_loss_find("mse") && lm_loss_find("cross_entropy"));
    ck_assert(lm_loss_find("hinge") == NULL);
}
END_TEST

int main(void) {
    return RUN_TESTS("loss", mse_is_the_mean_of_squares, cross_entropy_is_minus_log_softmax,
                     values_by_hand, errors_are_slopes_of_the_mean_loss, padding_has_no_error,
                     errors_are_scaled_by_the_global_batch, big_logits_do_not_overflow,
                     errors_of_certain_labels_do_not_cancel,
                     prediction_is_the_first_of_the_largest, confidence_is_the_largest_softmax,
                     losses_are_found_by_name);
}
