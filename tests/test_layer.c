/* Layer: initial parameters, chunks, partial gradients, and what is summed over errors. */
#include "layer.h"

#include "make_network.h"
#include "memory.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { BATCH = 70, CHUNK = 32 };

/* conv 2 -> 3 (fan in 18), then linear 36 -> 12 and out 12 -> 10. */
static struct lm_network *network(void) {
    const struct lm_layer_spec layers[] = {
        {"V1", 0, {0}, 3, {OP("conv2d", "3", "3"), OP("relu", 0), OP("flatten", 0)}},
        {"IT", 0, {0}, 2, {OP("linear", "40"), OP("tanh", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    return make_network((struct lm_shape){3, {2, 5, 6}}, 3, layers);
}

static struct lm_layer *layer_of(const struct lm_network *net, int index, size_t batch) {
    return lm_layer_create(net, index, lm_optimizer_find("adam"), batch, CHUNK);
}

/* Parameters are U(-1, 1) / sqrt(fan in): inside the bound, close to it, of the right variance
 * (bound^2 / 3), and of mean 0. */
static void expect_uniform(size_t n, const real *parameters, double fan_in) {
    double bound = 1 / sqrt(fan_in), sum = 0, squares = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double p = (double)parameters[i];
        ck_assert(fabs(p) <= bound * (1 + 1e-7));
        largest = fmax(largest, fabs(p));
        sum += p;
        squares += p * p;
    }
    ck_assert(largest >= 0.9 * bound);
    ck_assert(fabs(sum / (double)n) <= 5 * bound / sqrt(3 * (double)n));
    ck_assert(fabs(squares / (double)n - bound * bound / 3) <=
              5 * bound * bound * sqrt((1 / 5. - 1 / 9.) / (double)n));
}

START_TEST(initial_parameters_are_those_of_pytorch) {
    struct lm_network *net = network();
    const double fan_in[] = {2 * 3 * 3, 36, 40};
    const size_t weights[] = {3 * 18, 36 * 40, 40 * 10}, biases[] = {3, 40, 10};
    for (int l = 0; l < 3; l++) {
        struct lm_layer *layer = layer_of(net, l, BATCH);
        ck_assert(layer->plan->map.parameters == weights[l] + biases[l]);
        for (size_t i = 0; i < weights[l] + biases[l]; i++)
            ck_assert(layer->parameters[i] == 0);
        lm_layer_init_parameters(layer, 5);
        expect_uniform(weights[l] + biases[l], layer->parameters, fan_in[l]);
        for (size_t i = 0; i < biases[l]; i++) /* biases are drawn too */
            ck_assert(layer->parameters[weights[l] + i] != 0);
        lm_layer_destroy(layer);
    }
    lm_network_destroy(net);
}
END_TEST

/* Each is a function of seed, layer and element: not of the batch, the order or the layer's
 * neighbours. */
START_TEST(initial_parameters_depend_on_seed_layer_and_element) {
    struct lm_network *net = network();
    struct lm_layer *one = layer_of(net, 1, BATCH), *other = layer_of(net, 1, 300);
    struct lm_layer *out = layer_of(net, 2, BATCH);
    size_t n = one->plan->map.parameters;
    lm_layer_init_parameters(out, 5);
    lm_layer_init_parameters(other, 6);
    lm_layer_init_parameters(one, 5);
    ck_assert(memcmp(one->parameters, other->parameters, n * sizeof(real)) != 0);
    lm_layer_init_parameters(other, 5);
    ck_assert(memcmp(one->parameters, other->parameters, n * sizeof(real)) == 0);
    for (size_t i = 0; i < n; i++) {
        double u = lm_random_uniform(5, LM_STREAM_PARAMETERS, 1, i);
        ck_assert(fabs((double)one->parameters[i] - (2 * u - 1) / 6) <= 1e-7);
    }
    for (size_t i = 0; i < 400; i++) /* layers do not share numbers */
        ck_assert(
            fabs((double)(one->parameters[i] * 6) - (double)out->parameters[i] * sqrt(40)) > 0);
    lm_layer_destroy(one);
    lm_layer_destroy(other);
    lm_layer_destroy(out);
    lm_network_destroy(net);
}
END_TEST

START_TEST(chunks_follow_their_count) {
    struct lm_network *net = network();
    struct lm_layer *layer = layer_of(net, 0, BATCH);
    ck_assert(layer->n_chunks == 3 && !layer->is_output);
    const size_t counts[] = {32, 32, 6}, widths[] = {32, 32, 16};
    for (int c = 0; c < 3; c++) {
        lm_layer_set_count(layer, c, counts[c]);
        const struct lm_layer_chunk *chunk = &layer->chunks[c];
        ck_assert(chunk->count == counts[c] && chunk->width == widths[c]);
        ck_assert(chunk->forward ==
                  lm_map_output(&layer->plan->map, chunk->activations, widths[c]));
        ck_assert(chunk->prediction == NULL && chunk->label == NULL);
        ck_assert(chunk->error == chunk->own_error);
    }
    lm_layer_set_count(layer, 0, 5);
    ck_assert(layer->chunks[0].width == 16);
    ck_assert(layer->chunks[0].forward ==
              lm_map_output(&layer->plan->map, layer->chunks[0].activations, 16));
    lm_layer_destroy(layer);
    layer = layer_of(net, 2, BATCH);
    ck_assert(layer->is_output && layer->chunks[2].prediction && layer->chunks[2].label);
    lm_layer_destroy(layer);
    lm_network_destroy(net);
}
END_TEST

/* A chunk that is placed has its state at another's home, until its count is set again; one of
 * an output layer stays. */
START_TEST(chunks_take_places) {
    struct lm_network *net = network();
    for (int l = 1; l <= 2; l++) {
        struct lm_layer *layer = layer_of(net, l, BATCH);
        const struct lm_layer_chunk *chunk = &layer->chunks[2];
        lm_layer_set_count(layer, 2, 6);
        lm_layer_place(layer, 2, 0);
        const struct lm_layer_home *home = &layer->chunks[layer->is_output ? 2 : 0].home;
        ck_assert(chunk->activations == home->activations && chunk->tape == home->tape);
        ck_assert(chunk->value == home->value && chunk->error == home->error);
        ck_assert(chunk->own_error == home->error && chunk->width == 16);
        ck_assert(chunk->forward == lm_map_output(&layer->plan->map, home->activations, 16));
        lm_layer_set_count(layer, 2, 6);
        ck_assert(chunk->activations == chunk->home.activations);
        ck_assert(chunk->value == chunk->home.value && chunk->error == chunk->home.error);
        lm_layer_destroy(layer);
    }
    lm_network_destroy(net);
}
END_TEST

/* An input's hat v does not depend on how the batch is cut. */
START_TEST(forward_of_a_short_chunk) {
    struct lm_network *net = network();
    struct lm_layer *layer = layer_of(net, 1, BATCH);
    struct lm_scratch scratch;
    real *wide = lm_allocate(36 * 32, sizeof *wide),
         *narrow = lm_allocate(36 * 16, sizeof *wide);
    for (size_t u = 0; u < 36; u++)
        for (size_t b = 0; b < 32; b++) {
            wide[u * 32 + b] = (real)lm_random_uniform(1, LM_STREAM_TEST, u, b);
            if (b < 6)
                narrow[u * 16 + b] = wide[u * 32 + b];
        }
    lm_scratch_init(&scratch, 1, &layer, 32);
    lm_layer_init_parameters(layer, 5);
    lm_layer_set_count(layer, 0, 32);
    lm_layer_set_count(layer, 1, 6);
    layer->chunks[0].parent_forward[0] = wide;
    layer->chunks[1].parent_forward[0] = narrow;
    lm_layer_forward(layer, 0, &scratch);
    lm_layer_forward(layer, 1, &scratch);
    for (size_t u = 0; u < 40; u++)
        for (size_t b = 0; b < 6; b++) {
            double sum = (double)layer->parameters[36 * 40 + u];
            for (size_t i = 0; i < 36; i++)
                sum += (double)layer->parameters[u * 36 + i] * (double)wide[i * 32 + b];
            ck_assert(fabs((double)layer->chunks[0].forward[u * 32 + b] - tanh(sum)) <= 1e-6);
            ck_assert(fabs((double)layer->chunks[1].forward[u * 16 + b] - tanh(sum)) <= 1e-6);
        }
    lm_free(wide);
    lm_free(narrow);
    lm_scratch_clear(&scratch);
    lm_layer_destroy(layer);
    lm_network_destroy(net);
}
END_TEST

/* A layer over the input keeps no outputs within its stages; written to the end under a memory
 * checker. */
START_TEST(runs_work_on_the_chunk) {
    struct lm_network *net = network();
    for (int l = 0; l < 3; l++) {
        struct lm_layer *layer = layer_of(net, l, BATCH);
        struct lm_scratch scratch;
        const struct lm_map *map = &layer->plan->map;
        lm_scratch_init(&scratch, 1, &layer, 32);
        lm_layer_set_count(layer, 1, 20);
        const struct lm_layer_chunk *chunk = &layer->chunks[1];
        struct lm_map_run run = lm_layer_run(layer, 1, &scratch);
        ck_assert(run.map == map && run.parameters == layer->parameters);
        ck_assert(run.x == (const real *const *)chunk->parent_forward && run.width == 32);
        ck_assert(run.activations == chunk->activations && run.tape == chunk->tape);
        ck_assert(run.inner == (l > 0) && !run.moved && run.work == scratch.work);
        memset(run.activations, 1,
               (run.inner ? map->activations : map->outputs) * 32 * sizeof(real));
        memset(run.tape, 1, map->own_tape * 32 * sizeof(real));
        lm_scratch_clear(&scratch);
        lm_layer_destroy(layer);
    }
    lm_network_destroy(net);
}
END_TEST

/* The parallel update in slices is the optimizer's step over all parameters. */
START_TEST(update_is_the_optimizers_step) {
    const struct lm_layer_spec spec[] = {{"out", 0, {0}, 1, {OP("linear", "100")}}};
    struct lm_network *net = make_network((struct lm_shape){1, {100, 1, 1}}, 1, spec);
    struct lm_layer *layer = layer_of(net, 0, BATCH);
    size_t n = 100 * 101;
    real *parameters = lm_allocate(n, sizeof(real));
    real *moment[] = {lm_allocate(n, sizeof(real)), lm_allocate(n, sizeof(real))};
    lm_layer_init_parameters(layer, 5);
    memcpy(parameters, layer->parameters, n * sizeof(real));
    for (long t = 1; t <= 3; t++) {
        for (size_t i = 0; i < n; i++)
            layer->gradient[i] =
                (real)(lm_random_uniform(1, LM_STREAM_TEST, (uint64_t)t, i) - 0.5);
        lm_layer_update(layer, lm_optimizer_find("adam"), t, 0.01, 0);
        lm_optimizer_find("adam")->step(n, t, 0.01, 0, layer->gradient, moment, parameters);
    }
    ck_assert(memcmp(parameters, layer->parameters, n * sizeof(real)) == 0);
    ck_assert(memcmp(moment[0], layer->moment[0], n * sizeof(real)) == 0);
    ck_assert(memcmp(moment[1], layer->moment[1], n * sizeof(real)) == 0);
    lm_free(parameters);
    lm_free(moment[0]);
    lm_free(moment[1]);
    lm_layer_destroy(layer);
    lm_network_destroy(net);
}
END_TEST

/* Norms of a short chunk's errors by plain loops; what stands in the padding does not count. */
START_TEST(magnitudes_and_energy) {
    struct lm_network *net = network();
    struct lm_layer *layer = layer_of(net, 2, BATCH);
    double magnitude[7], energy = 0;
    lm_layer_set_count(layer, 2, 6);
    struct lm_layer_chunk *chunk = &layer->chunks[2];
    for (size_t u = 0; u < 10; u++)
        for (size_t b = 0; b < 16; b++)
            chunk->own_error[u * 16 + b] =
                b < 6 ? (real)(lm_random_uniform(1, LM_STREAM_TEST, u, b) - 0.5) : (real)NAN;
    magnitude[6] = -1;
    lm_layer_magnitudes(layer, 2, magnitude);
    for (size_t b = 0; b < 6; b++) {
        double square = 0;
        for (size_t u = 0; u < 10; u++)
            square += pow((double)chunk->error[u * 16 + b], 2);
        ck_assert(fabs(magnitude[b] - sqrt(square)) <= 1e-14);
        energy += square / 2;
    }
    ck_assert(magnitude[6] == -1);
    ck_assert(fabs(lm_layer_energy(layer, 2) - energy) <= 1e-13);
    lm_layer_destroy(layer);
    lm_network_destroy(net);
}
END_TEST

START_TEST(finite_numbers_are_told) {
    enum { N = 100 };
    const double bad[] = {NAN, INFINITY, -INFINITY};
    real array[N];
    for (int i = 0; i < N; i++)
        array[i] = (real)(i % 2 ? 1e38 : -1e38);
    ck_assert(lm_all_finite(N, array) && lm_all_finite(0, array));
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i += 33) {
            real kept = array[i];
            array[i] = (real)bad[k];
            ck_assert(!lm_all_finite(N, array));
            ck_assert(lm_all_finite((size_t)i, array));
            array[i] = kept;
        }
}
END_TEST

/* Scratch fits the largest need of any layer: written to the end under a memory checker. */
START_TEST(scratch_fits_every_layer) {
    struct lm_network *net = network();
    struct lm_layer *layers[3];
    struct lm_scratch scratch;
    for (int l = 0; l < 3; l++)
        layers[l] = layer_of(net, l, BATCH);
    lm_scratch_init(&scratch, 3, layers, 32);
    for (int l = 0; l < 3; l++) {
        const struct lm_map *map = &layers[l]->plan->map;
        memset(scratch.activations, 1, map->outputs * 32 * sizeof(real));
        memset(scratch.tape, 1, map->tape * 32 * sizeof(real));
        memset(scratch.work, 1, lm_map_work(map, 32) * sizeof(real));
        memset(scratch.sum, 1, layers[l]->plan->units * 32 * sizeof(real));
        size_t kept = layers[l]->plan->on_input ? map->outputs : map->activations;
        ck_assert(lm_plan_bytes_per_input(layers[l]->plan) ==
                  (kept + map->own_tape + 2 * layers[l]->plan->units +
                   (l ? layers[l - 1]->plan->units : 0)) *
                      sizeof(real));
    }
    memset(scratch.inputs, 1, 2 * 5 * 6 * 32 * sizeof(real));
    lm_scratch_clear(&scratch);
    for (int l = 0; l < 3; l++)
        lm_layer_destroy(layers[l]);
    lm_layer_destroy(NULL);
    lm_network_destroy(net);
}
END_TEST

/* A thread has the scratch of the layer alone, and what an operator allocates: of a convolution
 * in tiles 36 transformed weights for each pair of channels, and inputs and errors, or sums, of
 * 64 tiles x inputs, and a little between the places. */
START_TEST(threads_need_scratch_and_room) {
    const struct lm_layer_spec layers[] = {
        {"V1", 0, {0}, 2, {OP("conv2d", "40", "3"), OP("flatten", 0)}},
        {"out", 0, {0}, 1, {OP("linear", "10")}},
    };
    struct lm_network *net = make_network((struct lm_shape){3, {33, 9, 8}}, 2, layers);
    for (int l = 0; l < 2; l++) {
        const struct lm_plan *plan = &net->layers[l];
        size_t in = l ? net->layers[0].units : 33 * 9 * 8, room = plan->map.operators[0].room;
        size_t scratch = (plan->map.outputs + plan->map.tape + in + plan->units) * 32 +
                         lm_map_work(&plan->map, 32);
        size_t all = 36 * (33 * 40 + 64 * (33 + 40));
        ck_assert(l ? room == 0 : room >= all && room < all + all / 50);
        ck_assert_uint_eq(lm_plan_bytes_per_thread(plan, 32), (scratch + room) * sizeof(real));
    }
    lm_network_destroy(net);
}
END_TEST

/* Weights are prepared for sixteen pulls back or more, of a layer that is not on the input. */
START_TEST(weights_are_prepared_for_many_pulls_back) {
    const double pulls[] = {0, 15.9, 16, 1, 1e9};
    struct lm_network *net = network();
    for (int l = 0; l < 3; l++) {
        struct lm_layer *layer = layer_of(net, l, BATCH);
        struct lm_scratch scratch;
        lm_scratch_init(&scratch, 1, &layer, CHUNK);
        lm_layer_set_count(layer, 0, CHUNK);
        for (size_t i = 0; i < sizeof pulls / sizeof *pulls; i++) {
            bool prepares = l > 0 && pulls[i] >= 16;
            lm_layer_expect(layer, pulls[i]);
            ck_assert_int_eq(layer->is_prepared, prepares);
            ck_assert_uint_eq(lm_plan_prepared(layer->plan, pulls[i]),
                              prepares ? layer->plan->map.prepared : 0);
            ck_assert_ptr_eq(lm_layer_run(layer, 0, &scratch).prepared,
                             prepares ? layer->prepared : NULL);
        }
        lm_scratch_clear(&scratch);
        lm_layer_destroy(layer);
    }
    lm_network_destroy(net);
}
END_TEST

/* By all threads together those of the parameters as they are now; without, none. */
START_TEST(threads_prepare_weights_together) {
    struct lm_network *net = network();
    struct lm_layer *layer = layer_of(net, 1, BATCH);
    size_t n = layer->plan->map.prepared;
    real *expected = lm_allocate(n, sizeof *expected);
    ck_assert_uint_eq(n, 36 * 40);
    for (uint64_t seed = 1; seed < 4; seed++) {
        lm_layer_init_parameters(layer, seed);
        lm_map_prepare(&layer->plan->map, layer->parameters, 0, 1, expected);
        lm_layer_expect(layer, 16);
#pragma omp parallel num_threads((int)seed)
        lm_layer_prepare(layer);
        ck_assert_mem_eq(layer->prepared, expected, n * sizeof *expected);
    }
    lm_layer_init_parameters(layer, 4);
    double spent = lm_layer_seconds(layer);
    ck_assert(spent > 0);
    lm_layer_expect(layer, 1);
    ck_assert(lm_layer_prepare(layer) == 0 && lm_layer_seconds(layer) == spent);
    ck_assert_mem_eq(layer->prepared, expected, n * sizeof *expected);
    lm_free(expected);
    lm_layer_destroy(layer);
    lm_network_destroy(net);
}
END_TEST

int main(void) {
    return RUN_TESTS("layer", initial_parameters_are_those_of_pytorch,
                     initial_parameters_depend_on_seed_layer_and_element,
                     chunks_follow_their_count, chunks_take_places, forward_of_a_short_chunk,
                     runs_work_on_the_chunk, update_is_the_optimizers_step,
                     magnitudes_and_energy, finite_numbers_are_told, scratch_fits_every_layer,
                     threads_need_scratch_and_room, weights_are_prepared_for_many_pulls_back,
                     threads_prepare_weights_together);
}
