#include "learning.h"

#include "memory.h"

#include <omp.h>
#include <string.h>

static const size_t most_bytes = (size_t)1 << 30;
static const size_t small_bytes = (size_t)1 << 26; /* of layers that learn together */

/* A node that one thread sums, chunk after chunk. */
struct lane {
    struct lm_layer *layer;
    real *const *levels; /* where the second half of each level below is summed */
};

struct lm_learning {
    int threads;
    size_t size; /* reals in `block` */
    real *block;
    int *begin;            /* (layers + 1) the first lane of each lesson of a group */
    struct lm_span *spans; /* (layers x chunks) of the lanes */
    real **sums;           /* (layers x chunks) of the lanes */
    real **levels;      /* (layers x chunks) of all lanes: their arrays are fewer than chunks */
    struct lane *lanes; /* (layers x chunks) */
};

/* What is learned from. */
struct task {
    const struct lm_rule *rule;
    const struct lm_inference *inference;
    int first; /* chunk of the batch */
    const struct lm_scratch *scratch;
};

struct lm_learning *lm_learning_create(int layers, int chunks, int threads) {
    struct lm_learning *learning = lm_allocate(1, sizeof *learning);
    size_t room = lm_product((size_t)layers, (size_t)chunks);
    learning->threads = threads;
    learning->begin = lm_allocate((size_t)layers + 1, sizeof *learning->begin);
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
    lm_free(learning->begin);
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

size_t lm_lesson_parameters(const struct lm_lesson *lesson) {
    return lesson->layer->plan->map.parameters;
}

int lm_lesson_chunks(const struct lm_lesson *lesson) {
    return lesson->n > 0 ? lesson->nodes[lesson->n - 1].end - lesson->nodes[0].first : 0;
}

/* Cut the nodes of lessons into lanes until a lesson is large; how many lessons that are. */
static int make_group(struct lm_learning *learning, int n, const struct lm_lesson lessons[],
                      size_t *size) {
    int *begin = learning->begin;
    *size = 0;
    for (int l = 0; l < n; l++) {
        const struct lm_lesson *lesson = &lessons[l];
        struct lm_span *spans = learning->spans + begin[l];
        size_t parameters = lm_lesson_parameters(lesson);
        int found = 0;
        if (parameters > 0 && lm_lesson_chunks(lesson) > 0)
            found = make_lanes(parameters, lm_lesson_chunks(lesson), lesson->n, lesson->nodes,
                               spans);
        size_t arrays = (size_t)(count_arrays(found, spans) - (found ? lesson->n : 0));
        size_t more = lm_product(arrays, parameters);
        if (l > 0 && *size + more > small_bytes / sizeof(real))
            return l;
        *size += more;
        begin[l + 1] = begin[l] + found;
    }
    return n;
}

/* Give the lanes of a lesson their arrays, the first of each node its sum; where the next
 * arrays begin. */
static real *place(struct lm_learning *learning, const struct lm_lesson *lesson, int begin,
                   int end, real ***level, real *next) {
    size_t parameters = lm_lesson_parameters(lesson);
    for (int i = begin, node = 0; i < end; i++) {
        struct lm_span span = learning->spans[i];
        bool begins = node < lesson->n && span.first == lesson->nodes[node].first;
        learning->sums[i] = begins ? lesson->sums[node++] : next;
        next += begins ? 0 : parameters;
        learning->lanes[i] = (struct lane){lesson->layer, *level};
        for (int k = lm_span_depth(size_of(span)); k > 0; k--) {
            *(*level)++ = next;
            next += parameters;
        }
    }
    return next;
}

/* sum = gradient of the chunks of a node; levels[0] and on are free. */
static void learn_node(const struct task *task, struct lm_layer *layer, struct lm_span node,
                       real *sum, real *const levels[], const struct lm_scratch *scratch) {
    size_t n = layer->plan->map.parameters;
    if (size_of(node) == 1) {
        task->rule->learn(task->inference, layer, node.first - task->first, scratch, sum);
        return;
    }
    struct lm_span halves[2] = {node};
    lm_span_split(1, halves, 2);
    learn_node(task, layer, halves[0], sum, levels, scratch);
    learn_node(task, layer, halves[1], levels[0], levels + 1, scratch);
    lm_add(n, levels[0], sum);
}

/* Add the lanes of each node of a lesson; called by all threads, which need not wait. */
static void add_lanes(const struct lm_learning *learning, const struct lm_lesson *lesson,
                      int lane, int end) {
    enum { SLICE = 4096 };
    size_t parameters = lm_lesson_parameters(lesson);
    for (int node = 0; node < lesson->n && lane < end; node++) {
#pragma omp for schedule(static) nowait
        for (size_t i = 0; i < parameters; i += SLICE)
            lm_span_sum(lesson->nodes[node], learning->spans + lane, learning->sums + lane, i,
                        parameters - i < SLICE ? parameters - i : SLICE);
        while (lane < end && learning->spans[lane].end <= lesson->nodes[node].end)
            lane++;
    }
}

/* Give all lanes of a group their arrays, `size` reals. */
static void place_group(struct lm_learning *learning, int n, const struct lm_lesson lessons[],
                        size_t size) {
    const int *begin = learning->begin;
    if (size > learning->size) {
        lm_free(learning->block);
        learning->size = size;
        learning->block = lm_allocate(size, sizeof(real));
    }
    real *next = learning->block, **level = learning->levels;
    for (int l = 0; l < n; l++)
        next = place(learning, &lessons[l], begin[l], begin[l + 1], &level, next);
}

static void learn_lane(const struct lm_learning *learning, const struct task *task, int i,
                       const struct lm_scratch *scratch) {
    const struct lane *lane = &learning->lanes[i];
    double start = omp_get_wtime();
    learn_node(task, lane->layer, learning->spans[i], learning->sums[i], lane->levels, scratch);
    lm_layer_spent(lane->layer, omp_get_wtime() - start);
}

static void run_group(struct lm_learning *learning, const struct task *task, int n,
                      const struct lm_lesson lessons[], size_t size) {
    const int *begin = learning->begin;
    place_group(learning, n, lessons, size);
#pragma omp parallel num_threads(learning->threads)
    {
#pragma omp for schedule(dynamic)
        for (int i = 0; i < begin[n]; i++)
            learn_lane(learning, task, i, &task->scratch[omp_get_thread_num()]);
        for (int l = 0; l < n; l++)
            add_lanes(learning, &lessons[l], begin[l], begin[l + 1]);
    }
}

void lm_learning_run(struct lm_learning *learning, const struct lm_rule *rule,
                     const struct lm_inference *inference, int first, int n,
                     const struct lm_lesson lessons[], const struct lm_scratch scratch[]) {
    const struct task task = {rule, inference, first, scratch};
    for (int l = 0, together; l < n; l += together) {
        size_t size;
        together = make_group(learning, n - l, lessons + l, &size);
        run_group(learning, &task, together, lessons + l, size);
    }
}
