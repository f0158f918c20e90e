/* lamina describe: layers, shapes, parameters, cost and placement, without running. */
#include "memory.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static void print_layers(const struct lm_network *network,
                         const struct lm_placement *placement) {
    printf("%-12s %-14s %10s %10s %12s %8s %5s  %s\n", "layer", "shape", "units", "parameters",
           "kflop/step", "KiB/input", "rank", "map");
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        char shape[LM_SHAPE_TEXT], map[1024];
        printf("%-12s %-14s %10zu %10zu %12.1f %9.1f %5d  %s", plan->name,
               lm_shape_text(&plan->map.out, shape), plan->units, plan->map.parameters,
               plan->flops / 1e3, (double)lm_plan_bytes_per_input(plan) / 1024,
               placement->rank[l], lm_plan_map_text(plan, map, sizeof map));
        if (plan->n_parents > 1 || (l > 0 && plan->parents[0] != l - 1)) {
            printf("  <-");
            for (int k = 0; k < plan->n_parents; k++)
                printf(" %s", plan->parents[k] == LM_INPUT
                                  ? "input"
                                  : network->layers[plan->parents[k]].name);
        }
        printf("\n");
    }
}

/* Cost of the busiest rank against all: what the ranks can gain at most. */
static void print_placement(const struct lm_network *network,
                            const struct lm_placement *placement) {
    double total = 0, busiest = 0;
    for (int r = 0; r < placement->n_ranks; r++) {
        double cost = 0;
        for (int l = 0; l < network->n_layers; l++)
            if (placement->rank[l] == r)
                cost += network->layers[l].flops;
        total += cost;
        busiest = cost > busiest ? cost : busiest;
    }
    printf("placement on %d rank%s: at most %.2f times as fast as one rank\n",
           placement->n_ranks, placement->n_ranks == 1 ? "" : "s",
           busiest > 0 ? total / busiest : 1);
}

static void print_run(const struct lm_settings *settings, const struct lm_network *network,
                      const struct lm_placement *placement) {
    char shape[LM_SHAPE_TEXT];
    printf("input %s, %d layers, longest path %d, %zu parameters, loss %s, numbers in %s\n",
           lm_shape_text(&network->input, shape), network->n_layers, lm_network_depth(network),
           lm_network_parameters(network), settings->loss, LM_REAL_NAME);
    printf("%s, step %g, %ld steps, state %s; batch %ld in chunks of %ld\n\n",
           settings->inference.rule, settings->inference.step, settings->inference.steps,
           settings->inference.state, settings->training.batch, settings->training.chunk);
    print_layers(network, placement);
    printf("\nkflop/step: thousand floating-point operations of one inference step, per "
           "input\nKiB/input: state that one input of a batch needs\n");
    print_placement(network, placement);
}

static bool describe(const struct lm_options *options, struct lm_status *status) {
    struct lm_settings_file *file = lm_settings_read(options->settings, options->n_set,
                                                     (const char *const *)options->set, status);
    if (!file)
        return false;
    struct lm_placement placement = {0};
    struct lm_network *network = lm_network_create(&lm_settings_get(file)->network, status);
    bool good = network && lm_session_placement(&placement, file, network,
                                                options->ranks ? options->ranks : 1, status);
    if (good && options->only_settings)
        fputs(lm_settings_text(file), stdout);
    else if (good)
        print_run(lm_settings_get(file), network, &placement);
    lm_placement_clear(&placement);
    lm_network_destroy(network);
    lm_settings_destroy(file);
    return good;
}

static int run(int argc, char **argv) {
    struct lm_options options;
    struct lm_status status = {.code = LM_OK};
    lm_options_read(&options, argc, argv, LM_TAKES_RANKS, true, &lm_describe_command,
                    "Nothing is run, no data are read.");
    bool good = describe(&options, &status);
    if (!good)
        fprintf(stderr, "lamina: %s\n", status.message);
    lm_options_clear(&options);
    return good ? LM_OK : (int)status.code;
}

const struct lm_command lm_describe_command = {
    "describe", "Show a network's layers, shapes, cost and placement.", run};
