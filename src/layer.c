#include "layer.h"

#include "memory.h"
#include "random.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Differences need the outputs within a stage; what rests on the input alone has none. */
static size_t activations_of(const struct lm_plan *plan) {
    return plan->on_input ? plan->map.outputs : plan->map.activations;
}

static void init_chunk(struct lm_layer *layer, struct lm_layer_chunk *chunk, size_t width) {
    const struct lm_map *map = &layer->plan->map;
    size_t state = lm_product(layer->plan->units, width);
    chunk->home.activations =
        lm_allocate(lm_product(activations_of(layer->plan), width), sizeof(real));
    chunk->home.tape = lm_allocate(lm_product(map->own_tape, width), sizeof(real));
    chunk->home.value = lm_allocate(state, sizeof(real));
    chunk->home.error = lm_allocate(state, sizeof(real));
    if (layer->is_output) {
        chunk->prediction = lm_allocate(state, sizeof(real));
        chunk->label = lm_allocate(width, sizeof(int));
    }
    chunk->child_feedback =
        lm_allocate((size_t)layer->plan->n_children, sizeof *chunk->child_feedback);
}

struct lm_layer *lm_layer_create(const struct lm_network *network, int index,
                                 const struct lm_optimizer *optimizer, size_t batch,
                                 size_t chunk) {
    struct lm_layer *layer = lm_allocate(1, sizeof *layer);
    layer->plan = &network->layers[index];
    layer->index = index;
    layer->is_output = index == network->n_layers - 1;
    size_t n = layer->plan->map.parameters;
    layer->parameters = lm_allocate(n, sizeof(real));
    layer->gradient = lm_allocate(n, sizeof(real));
    for (int m = 0; m < optimizer->n_moments; m++)
        layer->moment[m] = lm_allocate(n, sizeof(real));
    layer->clocks = lm_allocate(LM_CLOCKS, sizeof *layer->clocks);
    layer->n_chunks = (int)((batch + chunk - 1) / chunk);
    layer->chunks = lm_allocate((size_t)layer->n_chunks, sizeof *layer->chunks);
    for (int c = 0; c < layer->n_chunks; c++)
        init_chunk(layer, &layer->chunks[c], lm_width(chunk));
    return layer;
}

void lm_layer_destroy(struct lm_layer *layer) {
    if (!layer)
        return;
    for (int c = 0; c < layer->n_chunks; c++) {
        struct lm_layer_chunk *chunk = &layer->chunks[c];
        lm_free(chunk->home.activations);
        lm_free(chunk->home.tape);
        lm_free(chunk->home.value);
        lm_free(chunk->home.error);
        lm_free(chunk->prediction);
        lm_free(chunk->label);
        lm_free(chunk->child_feedback);
    }
    lm_free(layer->chunks);
    lm_free(layer->clocks);
    lm_free(layer->parameters);
    lm_free(layer->prepared);
    lm_free(layer->gradient);
    lm_free(layer->exact);
    for (int m = 0; m < LM_MAX_MOMENTS; m++)
        lm_free(layer->moment[m]);
    lm_free(layer);
}

static void move_to(const struct lm_layer *layer, struct lm_layer_chunk *chunk,
                    const struct lm_layer_home *home) {
    chunk->activations = home->activations;
    chunk->tape = home->tape;
    chunk->value = home->value;
    chunk->own_error = home->error;
    chunk->error = chunk->own_error;
    chunk->forward = lm_map_output(&layer->plan->map, chunk->activations, chunk->width);
}

void lm_layer_set_count(struct lm_layer *layer, int c, size_t count) {
    struct lm_layer_chunk *chunk = &layer->chunks[c];
    chunk->count = count;
    chunk->width = lm_width(count);
    move_to(layer, chunk, &chunk->home);
}

void lm_layer_place(struct lm_layer *layer, int c, int place) {
    if (!layer->is_output)
        move_to(layer, &layer->chunks[c], &layer->chunks[place].home);
}

void lm_layer_init_parameters(struct lm_layer *layer, uint64_t seed) {
    const struct lm_map *map = &layer->plan->map;
    for (int j = 0; j < map->n; j++) {
        const struct lm_operator *op = &map->operators[j];
        size_t first = map->parameter_offset[j], n = lm_operator_parameters(op);
        double bound = n ? 1 / sqrt((double)op->fan_in) : 0;
        for (size_t i = first; i < first + n; i++)
            layer->parameters[i] =
                (real)(bound * (2 * lm_random_uniform(seed, LM_STREAM_PARAMETERS,
                                                      (uint64_t)layer->index, i) -
                                1));
    }
}

void lm_layer_expect(struct lm_layer *layer, double pulls) {
    size_t n = lm_plan_prepared(layer->plan, pulls);
    layer->is_prepared = n > 0;
    if (n > 0 && !layer->prepared)
        layer->prepared = lm_allocate_room(n, sizeof(real));
}

double lm_layer_prepare(struct lm_layer *layer) {
    enum { PARTS = 64 };
    if (!layer->is_prepared)
        return 0;
    double start = omp_get_wtime();
#pragma omp for schedule(static) nowait
    for (size_t part = 0; part < PARTS; part++)
        lm_map_prepare(&layer->plan->map, layer->parameters, part, PARTS, layer->prepared);
    double seconds = omp_get_wtime() - start;
    lm_layer_spent(layer, seconds);
    return seconds;
}

struct lm_map_run lm_layer_run(const struct lm_layer *layer, int c,
                               const struct lm_scratch *scratch) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    return (struct lm_map_run){.map = &layer->plan->map,
                               .parameters = layer->parameters,
                               .prepared = layer->is_prepared ? layer->prepared : NULL,
                               .x = chunk->parent_forward,
                               .width = chunk->width,
                               .activations = chunk->activations,
                               .inner = !layer->plan->on_input,
                               .tape = chunk->tape,
                               .work = scratch->work,
                               .relaxation = chunk->relaxation};
}

void lm_layer_forward(struct lm_layer *layer, int c, const struct lm_scratch *scratch) {
    struct lm_map_run run = lm_layer_run(layer, c, scratch);
    lm_map_forward(&run);
}

void lm_layer_update(struct lm_layer *layer, const struct lm_optimizer *optimizer, long t,
                     double rate, double momentum) {
    enum { SLICE = 4096 };
    size_t n = layer->plan->map.parameters;
#pragma omp for schedule(static) nowait
    for (size_t first = 0; first < n; first += SLICE) {
        size_t length = n - first < SLICE ? n - first : SLICE;
        real *moment[LM_MAX_MOMENTS] = {NULL};
        for (int m = 0; m < optimizer->n_moments; m++)
            moment[m] = layer->moment[m] + first;
        optimizer->step(length, t, rate, momentum, layer->gradient + first, moment,
                        layer->parameters + first);
    }
}

void lm_layer_spent(struct lm_layer *layer, double seconds) {
    struct lm_clock *clock = &layer->clocks[omp_get_thread_num() % LM_CLOCKS];
#pragma omp atomic
    clock->seconds += seconds;
}

double lm_layer_seconds(const struct lm_layer *layer) {
    double sum = 0;
    for (int i = 0; i < LM_CLOCKS; i++)
        sum += layer->clocks[i].seconds;
    return sum;
}

/* Squares of the errors of each input, summed over the units. */
static void sum_squares(const struct lm_layer *layer, const struct lm_layer_chunk *chunk,
                        double *square) {
    memset(square, 0, chunk->count * sizeof *square);
    for (size_t u = 0; u < layer->plan->units; u++)
        for (size_t b = 0; b < chunk->count; b++) {
            double e = (double)chunk->error[u * chunk->width + b];
            square[b] += e * e;
        }
}

double lm_layer_energy(const struct lm_layer *layer, int c) {
    const struct lm_layer_chunk *chunk = &layer->chunks[c];
    double *square = lm_allocate(chunk->count, sizeof *square), sum = 0;
    sum_squares(layer, chunk, square);
    for (size_t b = 0; b < chunk->count; b++)
        sum += square[b];
    lm_free(square);
    return sum / 2;
}

void lm_layer_magnitudes(const struct lm_layer *layer, int c, double *magnitude) {
    sum_squares(layer, &layer->chunks[c], magnitude);
    for (size_t b = 0; b < layer->chunks[c].count; b++)
        magnitude[b] = sqrt(magnitude[b]);
}

bool lm_all_finite(size_t n, const real *array) {
    real sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += array[i] * 0; /* 0 for a finite number, NaN otherwise */
    return sum == 0;
}

/* Reals of a scratch. */
struct sizes {
    size_t activations, tape, work, inputs, sum;
};

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Make the sizes large enough for a layer too. */
static void enlarge(struct sizes *sizes, const struct lm_plan *plan, size_t width) {
    const struct lm_map *map = &plan->map;
    size_t in = 0;
    for (int k = 0; k < map->operators[0].n_inputs; k++)
        in += lm_shape_units(&map->operators[0].in[k]);
    sizes->activations = larger(sizes->activations, lm_product(map->outputs, width));
    sizes->tape = larger(sizes->tape, lm_product(map->tape, width));
    sizes->work = larger(sizes->work, lm_map_work(map, width));
    sizes->inputs = larger(sizes->inputs, lm_product(in, width));
    sizes->sum = larger(sizes->sum, lm_product(plan->units, width));
}

void lm_scratch_init(struct lm_scratch *scratch, int n, struct lm_layer *const layers[],
                     size_t width) {
    struct sizes sizes = {0};
    for (int i = 0; i < n; i++)
        enlarge(&sizes, layers[i]->plan, width);
    scratch->activations = lm_allocate(sizes.activations, sizeof(real));
    scratch->tape = lm_allocate(sizes.tape, sizeof(real));
    scratch->work = lm_allocate(sizes.work, sizeof(real));
    scratch->inputs = lm_allocate(sizes.inputs, sizeof(real));
    scratch->sum = lm_allocate(sizes.sum, sizeof(real));
}

void lm_scratch_clear(struct lm_scratch *scratch) {
    lm_free(scratch->activations);
    lm_free(scratch->tape);
    lm_free(scratch->work);
    lm_free(scratch->inputs);
    lm_free(scratch->sum);
}

/* Errors are not pulled back to the input. */
size_t lm_plan_prepared(const struct lm_plan *plan, double pulls) {
    enum { ENOUGH = 16 }; /* it takes what 2 to 12 save, by size and machine */
    return pulls >= ENOUGH && !plan->on_input ? plan->map.prepared : 0;
}

size_t lm_plan_bytes_per_thread(const struct lm_plan *plan, size_t width) {
    struct sizes sizes = {0};
    size_t room = 0;
    enlarge(&sizes, plan, width);
    for (int k = 0; k < plan->map.n; k++)
        room = larger(room, plan->map.operators[k].room);
    return (sizes.activations + sizes.tape + sizes.work + sizes.inputs + sizes.sum + room) *
           sizeof(real);
}

size_t lm_plan_bytes_per_input(const struct lm_plan *plan) {
    const struct lm_operator *first = &plan->map.operators[0];
    size_t feedback = 0;
    for (int k = 0; k < first->n_inputs; k++)
        if (plan->parents[k] != LM_INPUT)
            feedback += lm_shape_units(&first->in[k]);
    return (activations_of(plan) + plan->map.own_tape + 2 * plan->units + feedback) *
           sizeof(real);
}
