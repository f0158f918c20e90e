#include "loss.h"

#include <math.h>
#include <string.h>

static void mse_value(size_t units, size_t width, size_t count, const real *mu,
                      const int *label, double *value) {
    for (size_t b = 0; b < count; b++) {
        double sum = 0;
        for (size_t u = 0; u < units; u++) {
            double difference = (double)mu[u * width + b] - (label[b] == (int)u);
            sum += difference * difference;
        }
        value[b] = sum / (double)units;
    }
}

static void mse_error(size_t units, size_t width, size_t count, const real *mu,
                      const int *label, double batch, real *error) {
    double scale = 2 / (batch * (double)units);
    memset(error, 0, units * width * sizeof *error);
    for (size_t u = 0; u < units; u++)
        for (size_t b = 0; b < count; b++)
            error[u * width + b] =
                (real)(scale * ((double)mu[u * width + b] - (label[b] == (int)u)));
}

/* The largest mu_u of input b. At fmax, in such a loop, GCC 12 for aarch64 gives up. */
static double largest_of(size_t units, size_t width, const real *mu, size_t b) {
    real largest = mu[b];
    for (size_t u = 1; u < units; u++)
        if (mu[u * width + b] > largest)
            largest = mu[u * width + b];
    return (double)largest;
}

/* log sum_u exp(mu_u) of input b, without overflow. */
static double log_sum_exp(size_t units, size_t width, const real *mu, size_t b) {
    double largest = largest_of(units, width, mu, b), sum = 0;
    for (size_t u = 0; u < units; u++)
        sum += exp((double)mu[u * width + b] - largest);
    return largest + log(sum);
}

static void cross_entropy_value(size_t units, size_t width, size_t count, const real *mu,
                                const int *label, double *value) {
    for (size_t b = 0; b < count; b++)
        value[b] = log_sum_exp(units, width, mu, b) - (double)mu[(size_t)label[b] * width + b];
}

/* softmax(mu) - target; at the label -(sum of the other probabilities), which does not
 * cancel when the label is nearly certain. */
static void cross_entropy_error(size_t units, size_t width, size_t count, const real *mu,
                                const int *label, double batch, real *error) {
    memset(error, 0, units * width * sizeof *error);
    for (size_t b = 0; b < count; b++) {
        double total = log_sum_exp(units, width, mu, b), others = 0;
        for (size_t u = 0; u < units; u++) {
            if (label[b] == (int)u)
                continue;
            double probability = exp((double)mu[u * width + b] - total);
            others += probability;
            error[u * width + b] = (real)(probability / batch);
        }
        error[(size_t)label[b] * width + b] = (real)(-others / batch);
    }
}

static const struct lm_loss mse = {"mse", mse_value, mse_error};
static const struct lm_loss cross_entropy = {"cross_entropy", cross_entropy_value,
                                             cross_entropy_error};
static const struct lm_loss *const losses[] = {&mse, &cross_entropy, NULL};

const struct lm_loss *const *lm_losses(void) {
    return losses;
}

const struct lm_loss *lm_loss_find(const char *name) {
    for (int i = 0; losses[i]; i++)
        if (strcmp(losses[i]->name, name) == 0)
            return losses[i];
    return NULL;
}

void lm_loss_predict(size_t units, size_t width, size_t count, const real *mu,
                     int *prediction) {
    for (size_t b = 0; b < count; b++) {
        prediction[b] = 0;
        for (size_t u = 1; u < units; u++)
            if (mu[u * width + b] > mu[(size_t)prediction[b] * width + b])
                prediction[b] = (int)u;
    }
}

void lm_loss_confidence(size_t units, size_t width, size_t count, const real *mu,
                        double *confidence) {
    for (size_t b = 0; b < count; b++) {
        double largest = largest_of(units, width, mu, b);
        confidence[b] = exp(largest - log_sum_exp(units, width, mu, b));
    }
}
