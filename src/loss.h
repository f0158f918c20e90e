/* Loss: what the output layer's error is the gradient of.
 *
 * The target of an input is the one-hot vector of its label. Losses are means over
 * the inputs of the global batch, never of what one rank or chunk holds. */
#ifndef LAMINA_LOSS_H
#define LAMINA_LOSS_H

#include "tensor.h"

struct lm_loss {
    const char *name; /* as in settings: network.loss */
    /* value[b] = loss of input b alone, from the output layer's prediction
     * mu (units, width) and label[count]. */
    void (*value)(size_t units, size_t width, size_t count, const real *mu, const int *label,
                  double *value);
    /* error (units, width) = d(sum of losses / batch)/d mu; zero in the padding. */
    void (*error)(size_t units, size_t width, size_t count, const real *mu, const int *label,
                  double batch, real *error);
};

/* "mse": mean over the outputs of (mu - target)^2. "cross_entropy": -log softmax(mu)
 * at the label. */
const struct lm_loss *const *lm_losses(void); /* ended by NULL */
const struct lm_loss *lm_loss_find(const char *name);

/* prediction (count) = the class that mu speaks for: the unit of the largest mu of each input,
 * the first one of equals. */
void lm_loss_predict(size_t units, size_t width, size_t count, const real *mu, int *prediction);

/* confidence[b] = the largest of softmax(mu), whatever the loss. */
void lm_loss_confidence(size_t units, size_t width, size_t count, const real *mu,
                        double *confidence);

#endif
