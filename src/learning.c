#include "learning.h"

#include "memory.h"

#include <omp.h>
#include <string.h>

static const size_t most_bytes = (size_t)1 << 30;

/* A node that one thread sums, chunk after chunk. */
struct lane {
    real *sum;
    real *const *levels; /* where the second half of each level below is summed */
};

struct lm_learning {
    int threads;
    size_t size; /* reals in `block` */
    real *block;
    struct lm_span *spans; /* (chunks) of the lanes */
    real **sums;           /* (chunks) of the lanes */
    real **levels;         /* (chunks) of all lanes: their arrays are fewer than chunks */
    struct lane *lanes;    /* (chunks) */
};

/* What a layer learns from. */
struct task {
    const struct lm_rule *rule;
    const struct lm_inference *inference;
    struct lm_layer *layer;
    int first; /* chunk of the batch */
};

struct lm_learning *lm_learning_create(int chunks, int threads) {
    struct lm_learning *learning = lm_allocate(1, sizeof *learning);
    size_t room = (size_t)chunks;
    learning->threads = threads;
    learning->spans = lm_allocate(room, sizeof *learning->spans);
    learning->sums = lm_allocate(room, sizeof *learning->sums);
    learning->levels = lm_allocate(room, sizeof *learning->levels);
    learning->lanes = lm_allocate(room, sizeof *learning->lanes);
    return learning;
}

void lm_learning_destroy(struct lm_learning *learning) {
    if (!learning)
        return;
    lm_free(learning->block);
    lm_free(learning->spans);
    lm_free(learning->sums);
    lm_free(learning->levels);
    lm_free(learning->lanes);
    lm_free(learning);
}

static int size_of(struct lm_span span) {
    return span.end - span.first;
}

/* Arrays for lanes: one for the sum of each and one for each level below it. */
static int count_arrays(int n, const struct lm_span lanes[]) {
    int arrays = n;
    for (int i = 0; i < n; i++)
        arrays += lm_span_depth(size_of(lanes[i]));
    return arrays;
}

/* Cut n nodes into as many lanes as there are chunks, or as fit into most_bytes. */
static int make_lanes(size_t parameters, int chunks, int n, const struct lm_span nodes[],
                      struct lm_span lanes[]) {
    size_t fit = most_bytes / ((parameters + 1) * sizeof(real));
    for (int wanted = chunks;; wanted = (wanted + 1) / 2) {
        memcpy(lanes, nodes, (size_t)n * sizeof *lanes);
        int found = lm_span_split(n, lanes, wanted);
        if (found == n || (size_t)count_arrays(found, lanes) <= fit)
            return found;
    }
}

int lm_learning_arrays(size_t parameters, int chunks) {
    struct lm_span *lanes = lm_allocate((size_t)chunks, sizeof *lanes);
    int n = make_lanes(parameters, chunks, 1, &(struct lm_span){0, chunks}, lanes);
    int arrays = count_arrays(n, lanes) - 1;
    lm_free(lanes);
    return arrays;
}

/* Give the lanes their arrays: the first of each node has its sum. */
static void place(struct lm_learning *learning, size_t parameters, int n_lanes, int n,
                  const struct lm_span nodes[], real *const sums[]) {
    size_t arrays = (size_t)(count_arrays(n_lanes, learning->spans) - n);
    if (arrays * parameters > learning->size) {
        lm_free(learning->block);
        learning->size = lm_product(arrays, parameters);
        learning->block = lm_allocate(learning->size, sizeof(real));
    }
    real *next = learning->block, **level = learning->levels;
    for (int i = 0, node = 0; i < n_lanes; i++) {
        bool begins = node < n && learning->spans[i].first == nodes[node].first;
        learning->sums[i] = begins ? sums[node++] : next;
        next += begins ? 0 : parameters;
        learning->lanes[i] = (struct lane){learning->sums[i], level};
        for (int k = lm_span_depth(size_of(learning->spans[i])); k > 0; k--) {
            *level++ = next;
            next += parameters;
        }
    }
}

/* sum = gradient of the chunks of a node; levels[0] and on are free. */
static void learn_node(const struct task *task, struct lm_span node, real *sum,
                       real *const levels[], const struct lm_scratch *scratch) {
    size_t n = task->layer->plan->map.parameters;
    if (size_of(node) == 1) {
        memset(sum, 0, n * sizeof *sum);
        task->rule->learn(task->inference, task->layer, node.first - task->first, scratch, sum);
        return;
    }
    struct lm_span halves[2] = {node};
    lm_span_split(1, halves, 2);
    learn_node(task, halves[0], sum, levels, scratch);
    learn_node(task, halves[1], levels[0], levels + 1, scratch);
    lm_add(n, levels[0], sum);
}

/* Add the lanes of one node, which begin at lane `begin`. */
static void add_lanes(const struct lm_learning *learning, struct lm_span node, int begin,
                      size_t parameters) {
    enum { SLICE = 4096 };
#pragma omp parallel for schedule(static) num_threads(learning->threads)
    for (size_t i = 0; i < parameters; i += SLICE)
        lm_span_sum(node, learning->spans + begin, learning->sums + begin, i,
                    parameters - i < SLICE ? parameters - i : SLICE);
}

void lm_learning_run(struct lm_learning *learning, const struct lm_rule *rule,
                     const struct lm_inference *inference, struct lm_layer *layer, int first,
                     int n, const struct lm_span nodes[], real *const sums[],
                     const struct lm_scratch scratch[]) {
    const struct task task = {rule, inference, layer, first};
    size_t parameters = layer->plan->map.parameters;
    int chunks = n > 0 ? nodes[n - 1].end - nodes[0].first : 0;
    if (chunks == 0 || parameters == 0)
        return;
    int lanes = make_lanes(parameters, chunks, n, nodes, learning->spans);
    place(learning, parameters, lanes, n, nodes, sums);
#pragma omp parallel for schedule(dynamic) num_threads(learning->threads)
    for (int i = 0; i < lanes; i++) {
        double start = omp_get_wtime();
        learn_node(&task, learning->spans[i], learning->lanes[i].sum, learning->lanes[i].levels,
                   &scratch[omp_get_thread_num()]);
        lm_layer_spent(layer, start);
    }
    for (int i = 0, node = 0; node < n; node++) {
        add_lanes(learning, nodes[node], i, parameters);
        while (i < lanes && learning->spans[i].end <= nodes[node].end)
            i++;
    }
}
