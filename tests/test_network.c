/* Network: order, shapes, edges and counts of layers, and every mistake in a description. */
#include "network.h"

#include "make_network.h"
#include "memory.h"
#include "runner.h"

#include <limits.h>
#include <string.h>

#define VECTOR(N) ((struct lm_shape){1, {N, 1, 1}})
#define IMAGE(C, H, W) ((struct lm_shape){3, {C, H, W}})
#define COUNT(ARRAY) ((int)(sizeof(ARRAY) / sizeof *(ARRAY)))
#define LINEAR(N)                                                                              \
    1, {                                                                                       \
        OP("linear", N)                                                                        \
    }

static struct lm_network *mnist_network(void) {
    const struct lm_layer_spec layers[] = {
        {"V1", 0, {0}, 3, {OP("conv2d", "10", "3"), OP("relu", 0), OP("maxpool2d", "2")}},
        {"V2", 0, {0}, 3, {OP("conv2d", "5", "3"), OP("relu", 0), OP("flatten", 0)}},
        {"IT", 0, {0}, 2, {OP("linear", "50"), OP("relu", 0)}},
        {"PFC", 0, {0}, 2, {OP("linear", "30"), OP("relu", 0)}},
        {"out", 0, {0}, LINEAR("10")},
    };
    return make_network(IMAGE(1, 28, 28), COUNT(layers), layers);
}

/* Parameters and units that Rosenbaum (2022) prints. */
START_TEST(mnist_network_is_the_published_one) {
    const size_t parameters[] = {100, 455, 30300, 1530, 310};
    const size_t units[] = {10 * 13 * 13, 605, 50, 30, 10};
    struct lm_network *network = mnist_network();
    ck_assert(network->n_layers == 5);
    for (int l = 0; l < 5; l++) {
        ck_assert(network->layers[l].map.parameters == parameters[l]);
        ck_assert(network->layers[l].units == units[l]);
        ck_assert(network->layers[l].on_input == (l == 0));
    }
    ck_assert(lm_network_parameters(network) == 32695);
    ck_assert(lm_network_depth(network) == 5);
    lm_network_destroy(network);
}
END_TEST

START_TEST(cifar_network_is_the_published_one) {
    const struct lm_layer_spec layers[] = {
        {"1", 0, {0}, 2, {OP("conv2d", "64", "3", 0, "1"), OP("relu", 0)}},
        {"2",
         0,
         {0},
         3,
         {OP("conv2d", "128", "3", 0, "1"), OP("relu", 0), OP("maxpool2d", "2")}},
        {"3",
         0,
         {0},
         4,
         {OP("conv2d", "256", "3", 0, "1"), OP("relu", 0), OP("maxpool2d", "2"),
          OP("flatten", 0)}},
        {"4", 0, {0}, 2, {OP("linear", "256"), OP("relu", 0)}},
        {"5", 0, {0}, 2, {OP("linear", "256"), OP("relu", 0)}},
        {"6", 0, {0}, LINEAR("10")},
    };
    struct lm_network *network = make_network(IMAGE(3, 32, 32), COUNT(layers), layers);
    ck_assert(lm_network_parameters(network) == 4633738);
    ck_assert(network->layers[2].units == 16384);
    lm_network_destroy(network);
}
END_TEST

START_TEST(map_texts_are_cut_to_their_room) {
    char text[200], little[9];
    struct lm_network *network = mnist_network();
    ck_assert_str_eq(lm_plan_map_text(&network->layers[3], text, sizeof text),
                     "linear units=30 > relu");
    ck_assert_str_eq(lm_plan_map_text(&network->layers[3], little, sizeof little), "linear u");
    ck_assert(lm_network_find(network, "IT") == 2);
    ck_assert(lm_network_find(network, "it") == -1);
    lm_network_destroy(network);
}
END_TEST

/* A diamond with a skip, its layers out of order: a - (b, c) - d, and a - d. */
static const struct lm_layer_spec diamond[] = {
    {"d", 3, {"b", "c", "a"}, 2, {{0}}}, {"c", 1, {"a"}, 1, {{0}}},
    {"b", 1, {"a"}, 1, {{0}}},           {"a", 2, {"x", "input"}, 2, {{0}}},
    {"x", 1, {"input"}, 1, {{0}}},
};
enum { DIAMOND = 5 };

/* Every layer of the diamond is linear, after concat where it has several inputs. */
static struct lm_network *diamond_network(void) {
    struct lm_layer_spec layers[DIAMOND];
    memcpy(layers, diamond, sizeof layers);
    for (int i = 0; i < DIAMOND; i++) {
        struct lm_operator_spec *operators = layers[i].operators;
        if (layers[i].n_operators == 2)
            *operators++ = (struct lm_operator_spec)OP("concat", 0);
        *operators = (struct lm_operator_spec)OP("linear", "4");
    }
    return make_network(VECTOR(6), DIAMOND, layers);
}

START_TEST(layers_are_put_in_order) {
    const char *const expected[] = {"x", "a", "c", "b", "d"};
    struct lm_network *network = diamond_network();
    for (int l = 0; l < DIAMOND; l++)
        ck_assert_str_eq(network->layers[l].name, expected[l]);
    for (int l = 0; l < DIAMOND; l++)
        for (int k = 0; k < network->layers[l].n_parents; k++)
            ck_assert(network->layers[l].parents[k] < l);
    ck_assert(network->layers[0].on_input && !network->layers[1].on_input);
    ck_assert(network->layers[1].parents[0] == 0 && network->layers[1].parents[1] == LM_INPUT);
    ck_assert(network->layers[1].map.operators[1].fan_in == 4 + 6);
    ck_assert(lm_network_depth(network) == 4); /* x a b d */
    lm_network_destroy(network);
}
END_TEST

START_TEST(distances_are_those_of_the_nearest_and_the_longest_path) {
    const int distance[] = {2, 1, 1, 1, 0}, farthest[] = {3, 2, 1, 1, 0};
    const int still[] = {INT_MAX, 2, 1, 1, 1};
    struct lm_network *network = diamond_network(); /* x a c b d */
    for (int l = 0; l < DIAMOND; l++) {
        ck_assert_int_eq(network->layers[l].distance, distance[l]);
        ck_assert_int_eq(network->layers[l].farthest, farthest[l]);
        ck_assert_int_eq(network->layers[l].still, still[l]);
    }
    lm_network_destroy(network);
}
END_TEST

START_TEST(layers_in_order_keep_it) {
    const struct lm_layer_spec layers[] = {
        {"a", 1, {"input"}, LINEAR("4")},
        {"b", 1, {"input"}, LINEAR("4")},
        {"c", 1, {"a"}, LINEAR("4")},
        {"d", 2, {"c", "b"}, 2, {OP("add", 0), OP("linear", "4")}},
    };
    struct lm_network *network = make_network(VECTOR(6), COUNT(layers), layers);
    for (int l = 0; l < COUNT(layers); l++)
        ck_assert_str_eq(network->layers[l].name, layers[l].name);
    ck_assert(lm_network_depth(network) == 3);
    lm_network_destroy(network);
}
END_TEST

/* Every edge is known to both of its ends, and no child or parent is without an edge. */
START_TEST(edges_agree_with_parents_and_children) {
    struct lm_network *network = diamond_network();
    int parents = 0, children = 0;
    ck_assert(network->n_edges == 6);
    for (int e = 0; e < network->n_edges; e++) {
        struct lm_edge edge = network->edges[e];
        ck_assert(network->layers[edge.child].parents[edge.slot] == edge.parent);
        ck_assert(network->layers[edge.parent].children[edge.child_slot] == edge.child);
        for (int other = 0; other < e; other++)
            ck_assert(memcmp(&network->edges[other], &edge, sizeof edge) != 0);
    }
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        children += plan->n_children;
        for (int k = 0; k < plan->n_parents; k++)
            parents += plan->parents[k] != LM_INPUT;
        for (int k = 1; k < plan->n_children; k++)
            ck_assert(plan->children[k - 1] < plan->children[k]);
    }
    ck_assert(parents == network->n_edges && children == network->n_edges);
    ck_assert(network->layers[DIAMOND - 1].n_children == 0);
    lm_network_destroy(network);
}
END_TEST

START_TEST(only_layers_that_move_cost_their_map) {
    struct lm_network *network = mnist_network();
    ck_assert(network->layers[0].flops == 4. * 1690);
    ck_assert(network->layers[4].flops >= 2 * 2 * 30 * 10);
    lm_network_destroy(network);
}
END_TEST

START_TEST(all_operators_are_plain_or_none) {
    const struct lm_layer_spec layers[] = {{"V1", 0, {0}, LINEAR("4")},
                                           {"V2", 0, {0}, LINEAR("3")}};
    struct lm_status status;
    for (int plain = 0; plain < 2; plain++) {
        const struct lm_network_spec spec = {VECTOR(6), COUNT(layers), layers, plain};
        struct lm_network *network = lm_network_create(&spec, &status);
        ck_assert(network);
        for (int l = 0; l < network->n_layers; l++)
            for (int j = 0; j < network->layers[l].map.n; j++)
                ck_assert_int_eq(network->layers[l].map.operators[j].plain, plain);
        lm_network_destroy(network);
    }
}
END_TEST

/* The network is refused with LM_CONFIG and a message that holds all the words, and no memory
 * is left over. */
static void expect_refused(struct lm_shape input, int n, const struct lm_layer_spec *layers,
                           const char *const words[]) {
    struct lm_status status = {0};
    const struct lm_network_spec spec = {input, n, layers, false};
    size_t blocks = lm_memory_blocks();
    ck_assert(lm_network_create(&spec, &status) == NULL);
    ck_assert(status.code == LM_CONFIG);
    ck_assert(lm_memory_blocks() == blocks);
    for (; *words; words++)
        ck_assert_msg(strstr(status.message, *words) != NULL, "'%s' is not in: %s", *words,
                      status.message);
}

#define REFUSED(INPUT, LAYERS, ...)                                                            \
    expect_refused(INPUT, COUNT(LAYERS), LAYERS, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(bad_names) {
    const struct lm_layer_spec twice[] = {
        {"V1", 0, {0}, LINEAR("4")}, {"V2", 0, {0}, LINEAR("4")}, {"V1", 0, {0}, LINEAR("4")}};
    const struct lm_layer_spec missing[] = {{"V1", 0, {0}, LINEAR("4")},
                                            {NULL, 0, {0}, LINEAR("4")}};
    const struct lm_layer_spec empty[] = {{"", 0, {0}, LINEAR("4")}};
    const struct lm_layer_spec reserved[] = {{"input", 0, {0}, LINEAR("4")}};
    const struct lm_layer_spec slash[] = {{"V1/a", 0, {0}, LINEAR("4")}};
    char name[102] = "";
    memset(name, 'a', 101);
    const struct lm_layer_spec longer[] = {{name, 0, {0}, LINEAR("4")}};
    REFUSED(VECTOR(6), longer, "layer 1", "at most 100");
    name[100] = '\0';
    lm_network_destroy(make_network(VECTOR(6), COUNT(longer), longer));
    REFUSED(VECTOR(6), twice, "layer V1", "two layers have this name");
    REFUSED(VECTOR(6), missing, "layer 2", "''");
    REFUSED(VECTOR(6), empty, "layer 1", "''");
    REFUSED(VECTOR(6), reserved, "layer 1", "'input'");
    REFUSED(VECTOR(6), slash, "'V1/a'");
    expect_refused(VECTOR(6), 0, NULL, (const char *const[]){"no layers", NULL});
}
END_TEST

START_TEST(bad_parents) {
    const struct lm_layer_spec unknown[] = {{"a", 0, {0}, LINEAR("4")},
                                            {"b", 1, {"V9"}, LINEAR("4")}};
    const struct lm_layer_spec twice[] = {{"a", 0, {0}, LINEAR("4")},
                                          {"b", 2, {"a", "a"}, 1, {OP("add", 0)}}};
    const struct lm_layer_spec several[] = {{"a", 0, {0}, LINEAR("4")},
                                            {"b", 2, {"a", "input"}, LINEAR("4")}};
    struct lm_layer_spec many[] = {{"a", 0, {0}, LINEAR("4")},
                                   {"b", 0, {0}, 1, {OP("add", 0)}}};
    many[1].n_parents = LM_MAX_PARENTS + 1;
    for (int k = 0; k < LM_MAX_PARENTS; k++)
        many[1].parents[k] = "a";
    REFUSED(VECTOR(6), unknown, "layer b", "'V9' is not a layer");
    REFUSED(VECTOR(6), twice, "layer b", "'a' is named twice");
    REFUSED(VECTOR(6), several, "layer b", "linear", "not 2");
    REFUSED(VECTOR(6), many, "layer b", "17 inputs", "at most 16");
}
END_TEST

START_TEST(cycles) {
    const struct lm_layer_spec itself[] = {{"a", 0, {0}, LINEAR("4")},
                                           {"loop", 1, {"loop"}, LINEAR("4")},
                                           {"out", 1, {"a"}, LINEAR("4")}};
    const struct lm_layer_spec cycle[] = {
        {"a", 0, {0}, LINEAR("4")},
        {"b", 2, {"a", "d"}, 2, {OP("concat", 0), OP("linear", "4")}},
        {"c", 1, {"b"}, LINEAR("4")},
        {"d", 1, {"c"}, LINEAR("4")},
        {"out", 1, {"d"}, LINEAR("4")}};
    REFUSED(VECTOR(6), itself, "layer loop", "cycle");
    REFUSED(VECTOR(6), cycle, "layer b", "cycle");
}
END_TEST

START_TEST(bad_outputs) {
    const struct lm_layer_spec two[] = {{"a", 0, {0}, LINEAR("4")},
                                        {"side", 1, {"a"}, LINEAR("4")},
                                        {"out", 1, {"a"}, LINEAR("4")}};
    const struct lm_layer_spec image[] = {{"V1", 0, {0}, 1, {OP("conv2d", "2", "3")}}};
    REFUSED(VECTOR(6), two, "layer side", "out", "one output layer");
    REFUSED(IMAGE(1, 8, 9), image, "layer V1", "2 x 6 x 7", "one extent");
}
END_TEST

START_TEST(bad_shapes_name_the_layer_and_the_shapes) {
    const struct lm_layer_spec image[] = {{"V1", 0, {0}, 1, {OP("conv2d", "2", "3")}},
                                          {"IT", 0, {0}, LINEAR("4")}};
    const struct lm_layer_spec sum[] = {{"a", 0, {0}, LINEAR("4")},
                                        {"b", 0, {0}, LINEAR("5")},
                                        {"sum", 2, {"a", "b"}, 1, {OP("add", 0)}}};
    const struct lm_layer_spec vector[] = {
        {"a", 0, {0}, 2, {OP("linear", "4"), OP("conv2d", "2", "3")}}};
    const struct lm_layer_spec window[] = {{"V1", 0, {0}, 1, {OP("conv2d", "2", "3")}},
                                           {"V2", 0, {0}, 1, {OP("maxpool2d", "9")}}};
    const struct lm_layer_spec option[] = {{"a", 0, {0}, LINEAR("four")}};
    const struct lm_layer_spec nothing[] = {{"a", 0, {0}, 0, {{0}}}};
    REFUSED(IMAGE(1, 8, 9), image, "layer IT", "operator 1", "linear", "2 x 6 x 7",
            "one extent");
    REFUSED(VECTOR(6), sum, "layer sum", "add", "4", "5");
    REFUSED(VECTOR(6), vector, "layer a", "operator 2", "conv2d", "4",
            "channels x rows x columns");
    REFUSED(IMAGE(1, 8, 9), window, "layer V2", "maxpool2d", "9x9", "2 x 6 x 7");
    REFUSED(VECTOR(6), option, "layer a", "units", "'four'");
    REFUSED(VECTOR(6), nothing, "layer a", "0 operators");
}
END_TEST

int main(void) {
    return RUN_TESTS(
        "network", mnist_network_is_the_published_one, cifar_network_is_the_published_one,
        map_texts_are_cut_to_their_room, layers_are_put_in_order,
        distances_are_those_of_the_nearest_and_the_longest_path, layers_in_order_keep_it,
        edges_agree_with_parents_and_children, only_layers_that_move_cost_their_map,
        all_operators_are_plain_or_none, bad_names, bad_parents, cycles, bad_outputs,
        bad_shapes_name_the_layer_and_the_shapes);
}
