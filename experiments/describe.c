/* lamina describe: layers, shapes, parameters, cost and placement, without running. */
#include "balance.h"
#include "learning.h"
#include "memory.h"
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that a layer needs whatever the batch: parameters, prepared weights, gradient, moments
 * and partial sums. */
static double layer_bytes(const struct lm_settings *settings,
                          const struct lm_workload *workload, const struct lm_plan *plan,
                          const struct lm_flops *flops, int replicas) {
    size_t chunks = (workload->batch - 1) / workload->chunk + 1;
    int mine = (int)((chunks - 1) / (size_t)replicas + 1);
    int arrays = 2 + lm_optimizer_find(settings->training.optimizer)->n_moments +
                 lm_learning_arrays(plan->map.parameters, mine);
    size_t prepared = lm_plan_prepared(plan, mine * lm_flops_pulls(flops));
    return ((double)arrays * (double)plan->map.parameters + (double)prepared) *
           (double)sizeof(real);
}

static void print_layers(const struct lm_settings *settings, const struct lm_workload *workload,
                         const struct lm_placement *placement) {
    const struct lm_network *network = workload->network;
    size_t width = lm_width(workload->chunk);
    struct lm_flops *flops = lm_session_flops(settings, network);
    printf("%-12s %-14s %10s %10s %12s %8s %9s %10s %5s  %s\n", "layer", "shape", "units",
           "parameters", "kflop/step", "KiB/input", "MiB", "MiB/thread", "rank", "map");
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        char shape[LM_SHAPE_TEXT], map[1024];
        printf("%-12s %-14s %10zu %10zu %12.1f %9.1f %9.1f %10.1f %5d  %s", plan->name,
               lm_shape_text(&plan->map.out, shape), plan->units, plan->map.parameters,
               plan->flops / 1e3, (double)lm_plan_bytes_per_input(plan) / 1024,
               layer_bytes(settings, workload, plan, &flops[l], placement->n_replicas) /
                   (1 << 20),
               (double)lm_plan_bytes_per_thread(plan, width) / (1 << 20), placement->rank[l],
               lm_plan_map_text(plan, map, sizeof map));
        if (plan->n_parents > 1 || (l > 0 && plan->parents[0] != l - 1)) {
            printf("  <-");
            for (int k = 0; k < plan->n_parents; k++)
                printf(" %s", plan->parents[k] == LM_INPUT
                                  ? "input"
                                  : network->layers[plan->parents[k]].name);
        }
        printf("\n");
    }
    lm_free(flops);
    printf(
        "\nkflop/step: thousand floating-point operations of one inference step, per input\n"
        "KiB/input: state that one input of a batch needs\n"
        "MiB: parameters, transposed weights, gradient, optimizer state, and partial sums of "
        "the gradient, which the large layers of a rank share\n"
        "MiB/thread: what a thread works in, the most of its rank's layers\n"
        "map: as it is done; a relu before a maxpool2d comes behind it, which gives the "
        "same\n");
}

/* Say so where most operations are on weights that are used once per input and do not stay in a
 * processor's second cache, and chunks are narrow: each reads them anew at every step. */
static void advise_chunk(const struct lm_settings *settings, const struct lm_network *network) {
    enum { WIDER = 64, CACHE = 1 << 20, ONCE = 8 }; /* operations per weight, forth and back */
    double large = 0, all = 0;
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        bool is_large = plan->map.parameters * sizeof(real) >= CACHE &&
                        plan->flops <= ONCE * (double)plan->map.parameters;
        all += plan->flops;
        large += is_large ? plan->flops : 0;
    }
    if (2 * large > all && settings->training.chunk < WIDER &&
        settings->training.batch >= 2 * WIDER)
        printf("training.chunk=%d may be faster: each chunk reads all of the large weights at "
               "every step\n",
               WIDER);
}

/* --- ranks -------------------------------------------------------------------------------- */

struct proposal {
    struct lm_placement placement;
    struct lm_estimate estimate;
};

static int faster_first(const void *a, const void *b) {
    double x = ((const struct proposal *)a)->estimate.speed_up;
    double y = ((const struct proposal *)b)->estimate.speed_up;
    return (x < y) - (x > y);
}

/* All ways to use `ranks` ranks, the fastest first; returns how many. At least one. */
static int make_proposals(const struct lm_workload *workload, int ranks,
                          struct proposal proposals[]) {
    int n = 0;
    for (int k = 1; k <= ranks; k++) {
        struct lm_status status;
        struct lm_placement_plan plan = {ranks, k, NULL};
        if (ranks % k == 0 &&
            lm_placement_init(&proposals[n].placement, workload->network, &plan, &status)) {
            lm_balance(workload, &proposals[n].placement);
            proposals[n].estimate = lm_estimate_step(workload, &proposals[n].placement);
            n++;
        }
    }
    qsort(proposals, (size_t)n, sizeof *proposals, faster_first);
    return n;
}

static void print_proposals(const struct lm_network *network, int ranks, int n,
                            const struct proposal proposals[]) {
    printf("\n%d ranks, fastest first:\n%8s %9s %8s %11s %11s  %s\n", ranks, "replicas",
           "ranks", "speed-up", "MiB between", "MiB within", "layers:ranks of each replica");
    for (int i = 0; i < n; i++) {
        const struct proposal *proposal = &proposals[i];
        char text[4096];
        printf("%8d %9d %8.2f %11.2f %11.2f  %s\n", proposal->placement.n_replicas,
               proposal->placement.n_ranks, proposal->estimate.speed_up,
               proposal->estimate.between / (1 << 20), proposal->estimate.within / (1 << 20),
               lm_placement_text(&proposal->placement, network, text, sizeof text));
    }
    printf("speed-up: against one rank, by operations (or placement.costs) and bytes of the "
           "busiest rank;\nMiB between layers, and within them for sums over replicas: what it "
           "exchanges in a training step\n--set placement.replicas=%d takes the first\n",
           proposals[0].placement.n_replicas);
}

static void print_placement(const struct lm_workload *workload,
                            const struct lm_placement *placement) {
    int ranks = placement->n_ranks * placement->n_replicas;
    if (ranks == 1)
        return;
    printf("placement on %d ranks, %d replica%s: about %.2f times as fast as one rank\n", ranks,
           placement->n_replicas, placement->n_replicas == 1 ? "" : "s",
           lm_estimate_step(workload, placement).speed_up);
}

/* --- all of it ---------------------------------------------------------------------------- */

static void print_head(const struct lm_settings *settings, const struct lm_network *network) {
    char shape[LM_SHAPE_TEXT];
    printf("input %s, %d layers, longest path %d, %zu parameters, loss %s, numbers in %s\n",
           lm_shape_text(&network->input, shape), network->n_layers, lm_network_depth(network),
           lm_network_parameters(network), settings->loss, LM_REAL_NAME);
    printf("%s, step %g, %ld steps, state %s; batch %ld in chunks of %ld\n\n",
           settings->inference.rule, settings->inference.step, settings->inference.steps,
           settings->inference.state, settings->training.batch, settings->training.chunk);
}

/* More ranks than layers need replicas: without any in the settings the best are shown. */
static bool print_run(const struct lm_settings_file *file, const struct lm_network *network,
                      int ranks, struct lm_status *status) {
    const struct lm_settings *settings = lm_settings_get(file);
    struct proposal *proposals = lm_allocate((size_t)ranks, sizeof *proposals);
    double *cost = lm_allocate((size_t)network->n_layers, sizeof *cost);
    struct lm_workload workload = lm_session_workload(settings, network, cost);
    int n = make_proposals(&workload, ranks, proposals);
    struct lm_placement own = {0};
    bool propose = ranks > network->n_layers && settings->placement.replicas == 1 &&
                   settings->placement.n == 0;
    bool good = propose || lm_session_placement(&own, file, network, ranks, status);
    const struct lm_placement *placement = propose ? &proposals[0].placement : &own;
    if (good) {
        print_head(settings, network);
        print_layers(settings, &workload, placement);
        advise_chunk(settings, network);
        print_placement(&workload, placement);
        if (ranks > 1)
            print_proposals(network, ranks, n, proposals);
    }
    for (int i = 0; i < n; i++)
        lm_placement_clear(&proposals[i].placement);
    lm_placement_clear(&own);
    lm_free(proposals);
    lm_free(cost);
    return good;
}

static bool describe(const struct lm_options *options, struct lm_status *status) {
    struct lm_settings_file *file = lm_settings_read(options->settings, options->n_set,
                                                     (const char *const *)options->set, status);
    if (!file)
        return false;
    struct lm_network *network = lm_network_create(&lm_settings_get(file)->network, status);
    bool good = network != NULL;
    if (good && options->only_settings)
        fputs(lm_settings_text(file), stdout);
    else if (good)
        good = print_run(file, network, options->ranks ? options->ranks : 1, status);
    lm_network_destroy(network);
    lm_settings_destroy(file);
    return good;
}

/* For --help: the formats of data sets, and what a map may have, each kind with its options. */
static void list_choices(size_t size, char text[]) {
    size_t used =
        (size_t)snprintf(text, size, "Nothing is run, no data are read.\n\nFormats of data:\n");
    for (const struct lm_dataset_format *const *format = lm_dataset_formats(); *format;
         format++)
        used += (size_t)snprintf(text + used, size - used, "  %s: %s\n", (*format)->name,
                                 (*format)->summary);
    used += (size_t)snprintf(text + used, size - used, "\nOperators of a map:\n");
    for (const struct lm_operator_kind *const *kind = lm_operator_kinds(); *kind; kind++) {
        used += (size_t)snprintf(text + used, size - used, "  %s {", (*kind)->name);
        for (int i = 0; (*kind)->options[i].name; i++)
            used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
                                     (*kind)->options[i].name);
        used += (size_t)snprintf(text + used, size - used, "}: %s\n", (*kind)->summary);
        LM_ASSERT(used < size);
    }
}

static int run(int argc, char **argv) {
    struct lm_options options;
    struct lm_status status = {.code = LM_OK};
    char details[2048];
    list_choices(sizeof details, details);
    lm_options_read(&options, argc, argv, LM_TAKES_RANKS, true, &lm_describe_command, details);
    bool good = describe(&options, &status);
    if (!good)
        fprintf(stderr, "lamina: %s\n", status.message);
    lm_options_clear(&options);
    return good ? LM_OK : (int)status.code;
}

const struct lm_command lm_describe_command = {
    "describe", "Show a network's layers, shapes, cost and placement.", run};
