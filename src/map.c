#include "map.h"

#include "memory.h"

#include <string.h>

/* Whether operator j is left out: it only reshapes what operator j - 1 wrote. */
static bool is_alias(const struct lm_map *map, int j) {
    return j > 0 && map->operators[j].kind->view;
}

static void count_operator(struct lm_map *map, int j) {
    const struct lm_operator *op = &map->operators[j];
    size_t units = lm_shape_units(&op->out);
    map->parameter_offset[j] = map->parameters;
    map->tape_offset[j] = map->tape;
    map->activation_offset[j] = map->activations;
    if (is_alias(map, j))
        map->activation_offset[j] = map->activation_offset[j - 1];
    else
        map->activations += units;
    map->parameters += lm_operator_parameters(op);
    map->tape += op->tape;
    map->widest = units > map->widest ? units : map->widest;
}

bool lm_map_init(struct lm_map *map, int n, const struct lm_operator_spec spec[], int n_inputs,
                 const struct lm_shape in[], struct lm_status *status) {
    *map = (struct lm_map){.n = n};
    if (n < 1 || n > LM_MAX_OPERATORS)
        return lm_fail(status, LM_CONFIG, "the map has %d operators: 1 to %d are expected", n,
                       LM_MAX_OPERATORS);
    for (int j = 0; j < n; j++) {
        struct lm_operator *op = &map->operators[j];
        if (!lm_operator_init(op, spec[j].kind, spec[j].option, j ? 1 : n_inputs,
                              j ? &map->operators[j - 1].out : in, status))
            return lm_fail_prefix(status, "operator %d of its map, ", j + 1);
        count_operator(map, j);
    }
    map->out = map->operators[n - 1].out;
    return true;
}

static real *activation(const struct lm_map *map, real *block, int j, size_t width) {
    return block + map->activation_offset[j] * width;
}

real *lm_map_output(const struct lm_map *map, real *activations, size_t width) {
    return activation(map, activations, map->n - 1, width);
}

void lm_map_forward(const struct lm_map *map, const real *parameters, const real *const x[],
                    size_t width, real *activations, real *tape) {
    const real *previous = NULL;
    for (int j = 0; j < map->n; j++) {
        const struct lm_operator *op = &map->operators[j];
        real *y = activation(map, activations, j, width);
        if (!is_alias(map, j))
            op->kind->forward(op, parameters + map->parameter_offset[j], j ? &previous : x,
                              width, y, tape + map->tape_offset[j] * width);
        previous = y;
    }
}

void lm_map_difference(const struct lm_map *map, const real *parameters, const real *const x[],
                       real *activations, const real *const dx[], size_t width, real *changes,
                       real *tape) {
    const real *previous = NULL, *previous_change = NULL;
    for (int j = 0; j < map->n; j++) {
        const struct lm_operator *op = &map->operators[j];
        real *y = activation(map, activations, j, width);
        real *dy = activation(map, changes, j, width);
        if (!is_alias(map, j))
            op->kind->difference(op, parameters + map->parameter_offset[j], j ? &previous : x,
                                 y, j ? &previous_change : dx, width, dy,
                                 tape + map->tape_offset[j] * width);
        previous = y;
        previous_change = dy;
    }
}

/* What pulling an error back through the chain needs; scratch has two halves, used in
 * turn. */
struct pull {
    const struct lm_map *map;
    const real *parameters, *tape;
    size_t width;
    real *scratch;
};

static const real *pull_one(const struct pull *pull, int j, const real *e) {
    const struct lm_map *map = pull->map;
    const struct lm_operator *op = &map->operators[j];
    if (is_alias(map, j))
        return e;
    size_t half = map->widest * pull->width;
    real *to = e == pull->scratch ? pull->scratch + half : pull->scratch;
    op->kind->pull_input(op, pull->parameters + map->parameter_offset[j],
                         pull->tape + map->tape_offset[j] * pull->width, e, pull->width, &to);
    return to;
}

void lm_map_pull_input(const struct lm_map *map, const real *parameters, const real *tape,
                       const real *e, size_t width, real *const ex[], real *scratch) {
    struct pull pull = {map, parameters, tape, width, scratch};
    for (int j = map->n - 1; j > 0; j--)
        e = pull_one(&pull, j, e);
    const struct lm_operator *op = &map->operators[0];
    op->kind->pull_input(op, parameters, tape, e, width, ex);
}

void lm_map_pull_parameters(const struct lm_map *map, const real *parameters,
                            const real *const x[], real *activations, const real *tape,
                            const real *e, size_t width, real *gradient, real *scratch) {
    struct pull pull = {map, parameters, tape, width, scratch};
    int first = 0;
    while (first < map->n && lm_operator_parameters(&map->operators[first]) == 0)
        first++;
    for (int j = map->n - 1; j >= first; j--) {
        const struct lm_operator *op = &map->operators[j];
        if (lm_operator_parameters(op))
            op->kind->pull_parameters(op, j ? activation(map, activations, j - 1, width) : x[0],
                                      e, width, gradient + map->parameter_offset[j]);
        if (j > first)
            e = pull_one(&pull, j, e);
    }
}

double lm_map_flops(const struct lm_map *map) {
    double flops = 0;
    for (int j = 0; j < map->n; j++)
        flops += map->operators[j].flops;
    return flops;
}
