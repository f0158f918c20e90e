#include "operator.h"

#include "memory.h"
#include "operators/operators.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct lm_operator_kind *const kinds[] = {
    &lm_linear,  &lm_conv2d,  &lm_maxpool2d,   &lm_avgpool2d, &lm_relu, &lm_tanh,
    &lm_sigmoid, &lm_flatten, &lm_add_parents, &lm_concat,    NULL,
};

const struct lm_operator_kind *const *lm_operator_kinds(void) {
    return kinds;
}

const struct lm_operator_kind *lm_operator_find(const char *name) {
    for (int i = 0; kinds[i]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

enum { MOST = 1 << 30 };

/* One whole number at *text, moving *text behind it. */
static bool parse_number(const char **text, long *number) {
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *number = strtol(*text, &end, 10);
    *text = end;
    return errno == 0 && *number <= MOST;
}

static bool parse_option(const struct lm_option *option, const char *text, size_t value[2],
                         struct lm_status *status) {
    const char *rest = text;
    long number[2] = {0, 0};
    bool good = parse_number(&rest, &number[0]);
    number[1] = number[0];
    if (good && option->pair && *rest == 'x') {
        rest++;
        good = parse_number(&rest, &number[1]);
    }
    if (!good || *rest || number[0] < option->minimum || number[1] < option->minimum)
        return lm_fail(status, LM_CONFIG,
                       "%s is '%s': expected a whole number from %ld to %d%s", option->name,
                       text, option->minimum, MOST,
                       option->pair ? ", or rows x columns like 3x5" : "");
    value[0] = (size_t)number[0];
    value[1] = (size_t)number[1];
    return true;
}

/* The value of an absent option: that of an earlier option, or a number. */
static bool fall_back(struct lm_operator *op, int i, struct lm_status *status) {
    const struct lm_option *option = &op->kind->options[i];
    if (!option->fallback)
        return lm_fail(status, LM_CONFIG, "%s is missing", option->name);
    for (int k = 0; k < i; k++)
        if (strcmp(op->kind->options[k].name, option->fallback) == 0) {
            memcpy(op->option[i], op->option[k], sizeof op->option[i]);
            return true;
        }
    return parse_option(option, option->fallback, op->option[i], status);
}

/* So that products of sizes fit the machine, wherever they are made. */
static bool has_possible_size(const struct lm_operator *op, struct lm_status *status) {
    const size_t *extent = op->out.extent;
    char text[LM_SHAPE_TEXT];
    return (double)extent[0] * (double)extent[1] * (double)extent[2] <= INT32_MAX ||
           lm_fail(status, LM_CONFIG, "its output has shape %s: at most %d units are possible",
                   lm_shape_text(&op->out, text), INT32_MAX);
}

bool lm_operator_init(struct lm_operator *op, const struct lm_operator_kind *kind,
                      const char *const option[LM_MAX_OPTIONS], int n_inputs,
                      const struct lm_shape in[], struct lm_status *status) {
    *op = (struct lm_operator){.kind = kind, .n_inputs = n_inputs};
    if (n_inputs > (kind->joins ? LM_MAX_PARENTS : 1))
        return lm_fail(status, LM_CONFIG,
                       "%s takes at most %d input%s, not %d; add or concat join several",
                       kind->name, kind->joins ? LM_MAX_PARENTS : 1, kind->joins ? "s" : "",
                       n_inputs);
    memcpy(op->in, in, (size_t)n_inputs * sizeof *in);
    bool good = true;
    for (int i = 0; good && kind->options[i].name; i++)
        good = option[i] ? parse_option(&kind->options[i], option[i], op->option[i], status)
                         : fall_back(op, i, status);
    if (!good || !kind->infer(op, status) || !has_possible_size(op, status))
        return lm_fail_prefix(status, "%s: ", kind->name);
    return true;
}

void lm_operator_band(const struct lm_operator *op, size_t channel, size_t channels, size_t row,
                      size_t rows, struct lm_operator *band) {
    *band = *op;
    band->channel = channel;
    band->row = row;
    band->out.extent[0] = channels;
    band->out.extent[1] = rows;
    if (op->rows_per_row) {
        band->in[0].extent[0] = channels;
        band->in[0].extent[1] = rows * op->rows_per_row;
    }
    if (op->tape)
        band->tape = lm_shape_units(&band->out);
}

size_t lm_operator_parameters(const struct lm_operator *op) {
    return op->n_weights + op->n_biases;
}

const char *lm_operator_text(const struct lm_operator *op, char *text) {
    int length = snprintf(text, LM_OPERATOR_TEXT, "%s", op->kind->name);
    for (int i = 0; op->kind->options[i].name && length < LM_OPERATOR_TEXT; i++) {
        size_t room = LM_OPERATOR_TEXT - (size_t)length;
        if (op->kind->options[i].pair)
            length += snprintf(text + length, room, " %s=%zux%zu", op->kind->options[i].name,
                               op->option[i][0], op->option[i][1]);
        else
            length += snprintf(text + length, room, " %s=%zu", op->kind->options[i].name,
                               op->option[i][0]);
    }
    if (op->rectifies && length < LM_OPERATOR_TEXT)
        snprintf(text + length, LM_OPERATOR_TEXT - (size_t)length, " > relu");
    return text;
}

bool lm_operator_needs_image(const struct lm_operator *op, struct lm_status *status) {
    char text[LM_SHAPE_TEXT];
    if (op->in[0].rank == 3)
        return true;
    return lm_fail(status, LM_CONFIG,
                   "the input has shape %s: channels x rows x columns are expected",
                   lm_shape_text(&op->in[0], text));
}

bool lm_operator_windows(const struct lm_operator *op, const size_t kernel[2],
                         const size_t stride[2], const size_t padding[2], size_t out[2],
                         struct lm_status *status) {
    if (!lm_operator_needs_image(op, status))
        return false;
    for (int i = 0; i < 2; i++) {
        size_t length = op->in[0].extent[i + 1] + 2 * padding[i];
        if (kernel[i] > length) {
            char text[LM_SHAPE_TEXT];
            return lm_fail(status, LM_CONFIG,
                           "a window of %zux%zu does not fit an input of shape %s with "
                           "padding %zux%zu",
                           kernel[0], kernel[1], lm_shape_text(&op->in[0], text), padding[0],
                           padding[1]);
        }
        out[i] = (length - kernel[i]) / stride[i] + 1;
    }
    return true;
}
