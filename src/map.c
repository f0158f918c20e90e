#include "map.h"

#include "memory.h"
#include "operators/operators.h"

/* --- making ------------------------------------------------------------------------------- */

/* Whether operator j is left out: it only reshapes what operator j - 1 wrote. */
static bool is_alias(const struct lm_map *map, int j) {
    return j > 0 && map->operators[j].kind->view;
}

static void make_stages(struct lm_map *map) {
    for (int j = 0; j < map->n; j++) {
        if (is_alias(map, j))
            continue;
        struct lm_stage *stage = &map->stage[map->n_stages++];
        lm_stage_init(stage, j, map->n - j, map->operators);
        j += stage->n - 1;
    }
}

static const struct lm_stage *last_stage(const struct lm_map *map) {
    return &map->stage[map->n_stages - 1];
}

/* First the outputs of the stages, then those within them. */
static void lay_out_activations(struct lm_map *map) {
    for (int s = 0; s < map->n_stages; s++) {
        int last = map->stage[s].first + map->stage[s].n - 1;
        map->activation_offset[last] = map->outputs;
        map->outputs += lm_shape_units(&map->operators[last].out);
    }
    map->activations = map->outputs;
    for (int s = 0; s < map->n_stages; s++)
        for (int k = 0; k < map->stage[s].n - 1; k++) {
            int j = map->stage[s].first + k;
            map->activation_offset[j] = map->activations;
            map->activations += lm_shape_units(&map->operators[j].out);
        }
    for (int j = 1; j < map->n; j++)
        if (is_alias(map, j))
            map->activation_offset[j] = map->activation_offset[j - 1];
}

/* Whether the tape of operator k of a stage is the stage's output. */
static bool is_output(const struct lm_map *map, const struct lm_stage *stage, int k) {
    return k == stage->n - 1 && map->operators[stage->first + k].kind->tape_is_output;
}

/* Last those that may be found in the activations. */
static void lay_out_tapes(struct lm_map *map) {
    for (int last = 0; last < 2; last++) {
        for (int s = 0; s < map->n_stages; s++)
            for (int k = 0; k < map->stage[s].n; k++)
                if (is_output(map, &map->stage[s], k) == last) {
                    map->tape_offset[map->stage[s].first + k] = map->tape;
                    map->tape += map->operators[map->stage[s].first + k].tape;
                }
        map->own_tape = last ? map->own_tape : map->tape;
    }
}

static void count_operator(struct lm_map *map, int j) {
    const struct lm_operator *op = &map->operators[j];
    size_t units = lm_shape_units(&op->out);
    map->parameter_offset[j] = map->parameters;
    map->parameters += lm_operator_parameters(op);
    map->prepared_offset[j] = map->prepared;
    map->prepared += op->n_prepared;
    map->widest = units > map->widest ? units : map->widest;
}

static bool swaps(int n, const struct lm_operator_spec spec[], int n_inputs, int j) {
    return j >= 0 && j + 1 < n && (j > 0 || n_inputs == 1) && spec[j].kind == &lm_relu &&
           spec[j + 1].kind == &lm_maxpool2d;
}

/* Which operator of the settings is done as number j. */
static int in_turn(int n, const struct lm_operator_spec spec[], int n_inputs, int j) {
    return swaps(n, spec, n_inputs, j) ? j + 1 : swaps(n, spec, n_inputs, j - 1) ? j - 1 : j;
}

/* Have an operator do what `next` does behind it, if that is relu and it can. */
static bool rectify(struct lm_operator *op, const struct lm_operator_kind *next) {
    if (op->kind != &lm_maxpool2d || op->rectifies || next != &lm_relu)
        return false;
    op->rectifies = true;
    op->flops += (double)lm_shape_units(&op->out);
    return true;
}

bool lm_map_init(struct lm_map *map, int n, const struct lm_operator_spec spec[], int n_inputs,
                 const struct lm_shape in[], struct lm_status *status) {
    *map = (struct lm_map){0};
    if (n < 1 || n > LM_MAX_OPERATORS)
        return lm_fail(status, LM_CONFIG, "the map has %d operators: 1 to %d are expected", n,
                       LM_MAX_OPERATORS);
    for (int j = 0; j < n; j++) {
        struct lm_operator *op = &map->operators[map->n], *before = map->n ? op - 1 : NULL;
        int from = in_turn(n, spec, n_inputs, j);
        if (before && rectify(before, spec[from].kind))
            continue;
        if (!lm_operator_init(op, spec[from].kind, spec[from].option, before ? 1 : n_inputs,
                              before ? &before->out : in, status))
            return lm_fail_prefix(status, "operator %d of its map, ", from + 1);
        count_operator(map, map->n++);
    }
    map->out = map->operators[map->n - 1].out;
    make_stages(map);
    lay_out_activations(map);
    lay_out_tapes(map);
    return true;
}

/* Two arrays for what goes from stage to stage, then the stages' own. */
static size_t half(const struct lm_map *map, size_t width) {
    return map->n_stages > 1 ? map->widest * width : 0;
}

size_t lm_map_work(const struct lm_map *map, size_t width) {
    size_t most = 0;
    for (int s = 0; s < map->n_stages; s++) {
        const struct lm_stage *stage = &map->stage[s];
        size_t work = lm_stage_work(stage, &map->operators[stage->first], width);
        most = work > most ? work : most;
    }
    return 2 * half(map, width) + most;
}

double lm_map_flops(const struct lm_map *map) {
    double flops = 0;
    for (int j = 0; j < map->n; j++)
        flops += map->operators[j].flops;
    return flops;
}

void lm_map_prepare(const struct lm_map *map, const real *parameters, size_t part, size_t parts,
                    real *prepared) {
    for (int j = 0; j < map->n; j++) {
        const struct lm_operator *op = &map->operators[j];
        if (op->n_prepared)
            op->kind->prepare(op, parameters + map->parameter_offset[j], part, parts,
                              prepared + map->prepared_offset[j]);
    }
}

/* --- running ------------------------------------------------------------------------------ */

static real *activation(const struct lm_map *map, real *block, int j, size_t width) {
    return block + map->activation_offset[j] * width;
}

real *lm_map_output(const struct lm_map *map, real *activations, size_t width) {
    return activation(map, activations, map->n - 1, width);
}

/* Where the tapes of a stage are in a block of all tapes. */
static void set_tapes(const struct lm_map_run *run, const struct lm_stage *stage, real *block,
                      real *tape[]) {
    for (int k = 0; k < stage->n; k++)
        tape[k] = block + run->map->tape_offset[stage->first + k] * run->width;
}

/* The run of a stage; *x holds its input, but of the first stage. */
static struct lm_stage_run run_stage(const struct lm_map_run *run, const struct lm_stage *stage,
                                     const real **x) {
    const struct lm_map *map = run->map;
    struct lm_stage_run r = {.stage = stage,
                             .op = &map->operators[stage->first],
                             .parameters =
                                 run->parameters + map->parameter_offset[stage->first],
                             .width = run->width,
                             .x = run->x,
                             .work = run->work + 2 * half(map, run->width)};
    if (run->prepared && r.op->n_prepared)
        r.prepared = run->prepared + map->prepared_offset[stage->first];
    if (stage->first == 0) {
        r.relaxation = run->relaxation;
    } else {
        *x = activation(map, run->activations, stage->first - 1, run->width);
        r.x = x;
    }
    for (int k = 0; k < stage->n; k++)
        if (run->inner || k == stage->n - 1)
            r.y[k] = activation(map, run->activations, stage->first + k, run->width);
    if (run->tape)
        set_tapes(run, stage, run->tape, r.tape);
    int last = stage->n - 1;
    if (!run->moved && is_output(map, stage, last))
        r.tape[last] = r.y[last];
    return r;
}

/* The first n stages. */
static void forward(const struct lm_map_run *run, int n) {
    const real *x;
    for (int s = 0; s < n; s++) {
        struct lm_stage_run r = run_stage(run, &run->map->stage[s], &x);
        lm_stage_forward(&r);
    }
}

void lm_map_forward(const struct lm_map_run *run) {
    forward(run, run->map->n_stages);
}

/* Changes of the first n stages. */
static void difference(const struct lm_map_run *run, int n, const real *const dx[],
                       real *changes, real *tape) {
    const real *x, *change;
    for (int s = 0; s < n; s++) {
        const struct lm_stage *stage = &run->map->stage[s];
        struct lm_stage_run r = run_stage(run, stage, &x);
        real *moved_tape[LM_MAX_STAGE];
        set_tapes(run, stage, tape, moved_tape);
        if (s > 0)
            change = activation(run->map, changes, stage->first - 1, run->width);
        lm_stage_difference(
            &r, s ? &change : dx,
            activation(run->map, changes, stage->first + stage->n - 1, run->width), moved_tape);
    }
}

void lm_map_difference(const struct lm_map_run *run, const real *const dx[], real *changes,
                       real *tape) {
    difference(run, run->map->n_stages, dx, changes, tape);
}

/* Where the error at the input of stage s goes, apart from that at its output. */
static real *between(const struct lm_map_run *run, int s) {
    return run->work + (s % 2 ? half(run->map, run->width) : 0);
}

/* Pull e, at the output of stage n - 1, back through it and the stages below. */
static void pull_input(const struct lm_map_run *run, int n, const real *e, real *const ex[]) {
    const real *x;
    for (int s = n - 1; s >= 0; s--) {
        struct lm_stage_run r = run_stage(run, &run->map->stage[s], &x);
        real *to = between(run, s);
        lm_stage_pull_input(&r, e, s ? &to : ex);
        e = to;
    }
}

void lm_map_pull_input(const struct lm_map_run *run, const real *e, real *const ex[]) {
    pull_input(run, run->map->n_stages, e, ex);
}

void lm_map_infer(const struct lm_map_run *run, const real *const dx[],
                  const struct lm_operator_error *error, real *changes, real *tape, real *e,
                  real *const ex[]) {
    const struct lm_map *map = run->map;
    const struct lm_stage *stage = last_stage(map);
    struct lm_map_run moved = *run;
    const real *x, *change;
    int n = map->n_stages;
    moved.tape = tape;
    moved.moved = dx != NULL;
    if (dx) {
        difference(run, n - 1, dx, changes, tape);
    } else {
        moved.activations = changes;
        moved.inner = false;
        forward(&moved, n - 1);
    }
    struct lm_stage_run r = run_stage(dx ? run : &moved, stage, &x);
    real *to = between(run, n - 1);
    if (n > 1)
        change = activation(map, changes, stage->first - 1, run->width);
    lm_stage_infer(&r, dx && n > 1 ? &change : dx, error, e, n > 1 ? &to : ex);
    if (n > 1)
        pull_input(&moved, n - 1, to, ex);
}

void lm_map_pull_error(const struct lm_map_run *run, const struct lm_operator_error *error,
                       real *e, real *const ex[]) {
    int n = run->map->n_stages;
    const real *x;
    struct lm_stage_run r = run_stage(run, last_stage(run->map), &x);
    real *to = between(run, n - 1);
    lm_stage_pull_error(&r, error, e, n > 1 ? &to : ex);
    if (n > 1)
        pull_input(run, n - 1, to, ex);
}

void lm_map_pull_parameters(const struct lm_map_run *run, const real *e, real *gradient) {
    const struct lm_map *map = run->map;
    const real *x;
    int first = 0;
    while (first < map->n && lm_operator_parameters(&map->operators[first]) == 0)
        first++;
    for (int s = map->n_stages - 1; s >= 0 && map->stage[s].first >= first; s--) {
        struct lm_stage_run r = run_stage(run, &map->stage[s], &x);
        if (lm_operator_parameters(r.op))
            lm_stage_pull_parameters(&r, e,
                                     gradient + map->parameter_offset[map->stage[s].first]);
        real *to = between(run, s);
        if (map->stage[s].first > first)
            lm_stage_pull_input(&r, e, &to);
        e = to;
    }
}
