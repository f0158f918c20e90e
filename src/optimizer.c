#include "optimizer.h"

#include <math.h>
#include <string.h>

static void sgd_step(size_t n, long t, double rate, double momentum, const real *gradient,
                     real *const moment[], real *parameters) {
    (void)t;
    real *m = moment[0], beta = (real)momentum, step = (real)rate;
    for (size_t i = 0; i < n; i++) {
        m[i] = beta * m[i] + gradient[i];
        parameters[i] -= step * m[i];
    }
}

static void adam_step(size_t n, long t, double rate, double momentum, const real *gradient,
                      real *const moment[], real *parameters) {
    (void)momentum;
    const double beta1 = 0.9, beta2 = 0.999;
    const real keep1 = (real)beta1, take1 = (real)(1 - beta1);
    const real keep2 = (real)beta2, take2 = (real)(1 - beta2), epsilon = (real)1e-8;
    const real step = (real)(rate / (1 - pow(beta1, (double)t)));
    const real correction = (real)(1 / sqrt(1 - pow(beta2, (double)t)));
    real *restrict m = moment[0], *restrict v = moment[1], *restrict theta = parameters;
    for (size_t i = 0; i < n; i++) {
        real g = gradient[i];
        m[i] = keep1 * m[i] + take1 * g;
        v[i] = keep2 * v[i] + take2 * g * g;
#ifdef LAMINA_DOUBLE
        theta[i] -= step * m[i] / (sqrt(v[i]) * correction + epsilon);
#else
        theta[i] -= step * m[i] / (sqrtf(v[i]) * correction + epsilon);
#endif
    }
}

static const struct lm_optimizer sgd = {"sgd", 1, {"momentum", NULL}, sgd_step};
static const struct lm_optimizer adam = {
    "adam", 2, {"first_moment", "second_moment"}, adam_step};
static const struct lm_optimizer *const optimizers[] = {&sgd, &adam, NULL};

const struct lm_optimizer *const *lm_optimizers(void) {
    return optimizers;
}

const struct lm_optimizer *lm_optimizer_find(const char *name) {
    for (int i = 0; optimizers[i]; i++)
        if (strcmp(optimizers[i]->name, name) == 0)
            return optimizers[i];
    return NULL;
}
