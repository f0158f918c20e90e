/* Settings: defaults, merging, --set, the message of every kind of mistake, the text that
 * run files keep, and the settings of experiments/. */
#include "memory.h"
#include "settings.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LAMINA_SOURCE
#error "LAMINA_SOURCE must be the top folder of the source tree"
#endif

static const char small[] = "data: {path: digits}\n"
                            "network:\n"
                            "  input: [4]\n"
                            "  layers:\n"
                            "    - {name: a, map: [{linear: {units: 3}}, relu]}\n"
                            "    - {name: out, map: [{linear: {units: 2}}]}\n";

static const char *const nothing[] = {NULL};

static struct lm_settings_file *read_small(int n_set, const char *const set[]) {
    struct lm_status status;
    struct lm_settings_file *file = lm_settings_parse("small.yaml", small, n_set, set, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    return file;
}

/* Reading fails with exactly this message, and leaves no memory behind. */
static void expect(const char *text, const char *set, const char *message) {
    size_t blocks = lm_memory_blocks();
    struct lm_status status = {0};
    struct lm_settings_file *file =
        lm_settings_parse("t.yaml", text, set != NULL, &set, &status);
    ck_assert_msg(file == NULL, "accepted, expected: %s", message);
    ck_assert_str_eq(status.message, message);
    ck_assert_int_eq(status.code, LM_CONFIG);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}

/* The same for `small` with more lines, the first of which is line 7. */
static void expect_line(const char *lines, const char *message) {
    char text[1024];
    snprintf(text, sizeof text, "%s%s", small, lines);
    expect(text, NULL, message);
}

/* The same for `small` with a --set. */
static void expect_set(const char *set, const char *message) {
    char all[512];
    snprintf(all, sizeof all, "--set %s: %s", set, message);
    expect(small, set, all);
}

START_TEST(defaults) {
    size_t blocks = lm_memory_blocks();
    struct lm_settings_file *file = read_small(0, nothing);
    const struct lm_settings *s = lm_settings_get(file);
    ck_assert_str_eq(s->data.format, "idx");
    ck_assert_str_eq(s->data.path, "digits");
    ck_assert_str_eq(s->loss, "mse");
    ck_assert_str_eq(s->inference.rule, "strict");
    ck_assert(s->inference.step == 0.1);
    ck_assert_int_eq(s->inference.steps, 20);
    ck_assert_str_eq(s->inference.state, "deviation");
    ck_assert_str_eq(s->inference.presynaptic, "value");
    ck_assert_str_eq(s->training.optimizer, "adam");
    ck_assert(s->training.rate == 0.002 && s->training.momentum == 0);
    ck_assert_int_eq(s->training.batch, 300);
    ck_assert_int_eq(s->training.chunk, 32);
    ck_assert(lm_settings_chunk(s) == 32);
    ck_assert_int_eq(s->training.epochs, 2);
    ck_assert_int_eq(s->training.steps, 0);
    ck_assert(s->training.seed == 0);
    ck_assert(!s->record.gradients && s->record.gradients_every == 1);
    ck_assert_int_eq(s->record.test_every, 0);
    ck_assert_str_eq(s->record.errors.split, "test");
    ck_assert(s->record.errors.inputs == 0 && s->record.errors.every == 100);
    ck_assert(s->checkpoint.every == 0 && s->checkpoint.keep == 3);
    ck_assert_str_eq(s->gradients.train, "backprop");
    ck_assert(s->gradients.n_step == 1 && s->gradients.step[0] == 0.1);
    ck_assert(s->gradients.steps == 100 && !s->gradients.updates);
    ck_assert(s->placement.n == 0 && s->placement.replicas == 1);
    lm_settings_destroy(file);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(network_is_read) {
    const char *text =
        "data: {path: p}\n"
        "network:\n"
        "  input: [2, 9, 8]\n"
        "  layers:\n"
        "  - name: V1\n"
        "    map:\n"
        "    - conv2d: {kernel: 3x2, channels: 5}\n"
        "    - relu:\n"
        "    - flatten\n"
        "  - {name: side, inputs: [input], map: [flatten, linear: {units: 6}]}\n"
        "  - {name: out, inputs: [V1, side], map: [concat: {}, linear: {units: 2}]}\n"
        "placement: {ranks: [0, 1, 0]}\n";
    struct lm_status status;
    struct lm_settings_file *file = lm_settings_parse("t.yaml", text, 0, nothing, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    const struct lm_network_spec *network = &lm_settings_get(file)->network;
    ck_assert_int_eq(network->input.rank, 3);
    ck_assert_uint_eq(network->input.extent[1], 9);
    ck_assert_int_eq(network->n_layers, 3);
    const struct lm_layer_spec *layer = network->layers;
    ck_assert_str_eq(layer[0].name, "V1");
    ck_assert_int_eq(layer[0].n_parents, 0);
    ck_assert_int_eq(layer[0].n_operators, 3);
    ck_assert_ptr_eq(layer[0].operators[0].kind, lm_operator_find("conv2d"));
    ck_assert_str_eq(layer[0].operators[0].option[0], "5");
    ck_assert_str_eq(layer[0].operators[0].option[1], "3x2");
    ck_assert_ptr_null(layer[0].operators[0].option[2]);
    ck_assert_ptr_eq(layer[0].operators[1].kind, lm_operator_find("relu"));
    ck_assert_ptr_eq(layer[0].operators[2].kind, lm_operator_find("flatten"));
    ck_assert_int_eq(layer[1].n_parents, 1);
    ck_assert_str_eq(layer[1].parents[0], "input");
    ck_assert_int_eq(layer[2].n_parents, 2);
    ck_assert_str_eq(layer[2].parents[1], "side");
    ck_assert_int_eq(lm_settings_get(file)->placement.n, 3);
    ck_assert_int_eq(lm_settings_get(file)->placement.ranks[1], 1);
    lm_settings_destroy(file);
}
END_TEST

/* States that others are subtracted from are summed plainly. */
START_TEST(networks_of_values_are_plain) {
    const char *set[] = {"inference.state=value"};
    for (int n_set = 0; n_set <= 1; n_set++) {
        struct lm_settings_file *file = read_small(n_set, set);
        ck_assert_int_eq(lm_settings_get(file)->network.plain, n_set);
        lm_settings_destroy(file);
    }
}
END_TEST

START_TEST(file_over_defaults) {
    char text[1024];
    snprintf(text, sizeof text, "%strainin: x\n", small);
    text[strlen(small)] = '\0';
    strcat(text, "training:\n  seed: 18446744073709551615\n  rate: 5e-1\n"
                 "record: {gradients: true, errors: {inputs: 7}}\n"
                 "checkpoint:\n"
                 "gradients: {step: [0.5, 1, 2]}\n");
    struct lm_status status;
    struct lm_settings_file *file = lm_settings_parse("t.yaml", text, 0, nothing, &status);
    ck_assert_msg(file != NULL, "%s", status.message);
    const struct lm_settings *s = lm_settings_get(file);
    ck_assert(s->training.seed == UINT64_MAX);
    ck_assert(s->training.rate == 0.5);
    ck_assert_int_eq(s->training.batch, 300);
    ck_assert(s->record.gradients && s->record.errors.inputs == 7);
    ck_assert_int_eq(s->record.errors.every, 100);
    ck_assert_int_eq(s->checkpoint.keep, 3);
    ck_assert_int_eq(s->gradients.n_step, 3);
    ck_assert(s->gradients.step[2] == 2);
    lm_settings_destroy(file);
}
END_TEST

START_TEST(set_over_file) {
    static const char *const set[] = {"inference.steps=7",
                                      "gradients.step=[0.1, 0.2]",
                                      "network.layers.0.name=b",
                                      "network.layers[0].map[0].linear.units=9",
                                      "network.layers[0].map[1]={tanh: {}}",
                                      "training={rate: 1, seed: 4}",
                                      "training.seed=5",
                                      "data.path=a=b, c"};
    size_t blocks = lm_memory_blocks();
    struct lm_settings_file *file = read_small(8, set);
    const struct lm_settings *s = lm_settings_get(file);
    ck_assert_int_eq(s->inference.steps, 7);
    ck_assert_int_eq(s->gradients.n_step, 2);
    ck_assert(s->gradients.step[1] == 0.2);
    ck_assert_str_eq(s->network.layers[0].name, "b");
    ck_assert_str_eq(s->network.layers[0].operators[0].option[0], "9");
    ck_assert_str_eq(s->network.layers[0].operators[1].kind->name, "tanh");
    ck_assert(s->training.rate == 1 && s->training.seed == 5);
    ck_assert_int_eq(s->training.batch, 300);
    ck_assert_str_eq(s->data.path, "a=b, c");
    lm_settings_destroy(file);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(mistakes_of_set) {
    expect_set("inference.steps", "KEY=VALUE is expected");
    expect_set("=3", "KEY=VALUE is expected");
    expect_set("a b=3", "'a b' is not a key like a.b or a.b[0].c");
    expect_set("a..b=3", "'a..b' is not a key like a.b or a.b[0].c");
    expect_set("training.=3", "'training.' is not a key like a.b or a.b[0].c");
    expect_set("network.layers[].name=x",
               "'network.layers[].name' is not a key like a.b or a.b[0].c");
    expect_set("inference.rule.x=3", "inference.rule is a single value without keys");
    expect_set("network.layers[2].name=x",
               "network.layers has 2 entries, counted from 0, and no 2");
    expect_set("network.layers.first.name=x",
               "network.layers has 2 entries, counted from 0, and no first");
    expect_set("training={rate: 1", "not valid YAML: while parsing a flow mapping, did not "
                                    "find expected ',' or '}'");
    expect_set("training={rate: 1, rate: 2}", "key 'rate' is there twice");
    expect_set("inference.steps=abc", "inference.steps: 'abc' is not a whole number");
    expect_set("inference.steps=", "inference.steps: no value: a whole number is expected");
    expect_set("inference.stepz=1",
               "inference.stepz: unknown key; possible: rule, step, steps, "
               "state, presynaptic");
    expect_set("training={batch: 0}",
               "training.batch: 0: a whole number from 1 to 2147483647 is expected");
    expect_set("network.layers[0].map[0].linear.units=0",
               "network.layers[0]: layer a: operator 1 of its map, linear: units is '0': "
               "expected a whole number from 1 to 1073741824");
}
END_TEST

START_TEST(mistakes_of_syntax) {
    expect("", NULL, "t.yaml: no settings are in it: data and network are expected");
    expect("# a comment\n", NULL,
           "t.yaml: no settings are in it: data and network are expected");
    expect("- a\n", NULL, "t.yaml:1: sections like network: are expected, not a list");
    expect("\nhello\n", NULL, "t.yaml:2: sections like network: are expected, not a text");
    expect("a: 1\nb: [1,\n", NULL,
           "t.yaml:3: not valid YAML: while parsing a flow node, did not find expected node "
           "content");
    expect("a: 1\nb: @x\n", NULL,
           "t.yaml:2: not valid YAML: while scanning for the next token, found character that "
           "cannot start any token");
    expect("a: 1\nb: \xff\n", NULL, "t.yaml:2: not valid YAML: invalid leading UTF-8 octet");
    expect("a: 1\n\nb: \001\n", NULL,
           "t.yaml:3: not valid YAML: control characters are not allowed");
    expect("a: &x 1\nb: 2\n", NULL,
           "t.yaml:1: an anchor (&name) is not taken: write the value out");
    expect("a: 1\nb: *x\n", NULL,
           "t.yaml:2: an alias (*name) is not taken: write the value out");
    expect("a: 1\nb: !x {}\n", NULL, "t.yaml:2: a tag (!name) is not taken");
    expect("a: 1\nb: \"x\\0y\"\n", NULL, "t.yaml:2: a text with a zero byte is not taken");
    expect("a: 1\n? [b]\n: 2\n", NULL,
           "t.yaml:2: a key is a mapping or sequence: a text is expected");
    expect("a: 1\n---\nb: 2\n", NULL, "t.yaml:3: a second document is not taken");
    expect("a:\n  b: 1\n  c: 1\n  b: 2\n", NULL, "t.yaml:4: key 'b' is already on line 2");
    expect_line("data: {path: x}\n", "t.yaml:7: key 'data' is already on line 1");
}
END_TEST

START_TEST(mistakes_of_keys) {
    expect("data: {path: x}\nnetwork: {}\n", NULL,
           "t.yaml:2: network.input: this key is missing");
    expect("# nothing\n\ndata: {path: x}\n", NULL,
           "t.yaml:3: network.input: this key is missing");
    expect("\ntraining: {}\n", NULL, "t.yaml:2: data.path: this key is missing");
    expect_line("inference:\n  rule: strict\n  stepz: 3\n",
                "t.yaml:9: inference.stepz: unknown key; possible: rule, step, steps, state, "
                "presynaptic");
    expect_line("speed: 3\n",
                "t.yaml:7: speed: unknown key; possible: data, network, inference, "
                "training, record, checkpoint, gradients, placement");
    expect_line("record: {errors: {\n  size: 3}}\n",
                "t.yaml:8: record.errors.size: unknown key; possible: split, inputs, every");
    expect("data: {path: x}\nnetwork:\n  input: [4]\n  layers:\n  - name: a\n", NULL,
           "t.yaml:5: network.layers[0].map: this key is missing");
    expect("data: {path: x}\nnetwork:\n  input: [4]\n  layers:\n  - name: a\n    map:\n"
           "    - relu\n    - linear: {}\n",
           NULL, "t.yaml:8: network.layers[0].map[1].linear.units: this key is missing");
    expect("data: {path: x}\nnetwork:\n  input: [4]\n  layers:\n  - name: a\n    map:\n"
           "    - linear: {units: 3,\n        bias: 4}\n",
           NULL,
           "t.yaml:8: network.layers[0].map[0].linear.bias: unknown key; possible: units");
    expect("data: {path: x}\nnetwork:\n  input: [4]\n  layers:\n  - name: a\n    map:\n"
           "    - relu: {x: 1}\n",
           NULL, "t.yaml:7: network.layers[0].map[0].relu.x: unknown key; possible: none");
}
END_TEST

START_TEST(unknown_operator_lists_kinds) {
    struct lm_status status = {0};
    const char *const set[] = {"network.layers[1].map=[relu, bend]"};
    ck_assert_ptr_null(lm_settings_parse("t.yaml", small, 1, set, &status));
    ck_assert_ptr_nonnull(strstr(status.message, "network.layers[1].map[1].bend: unknown key"));
    for (int i = 0; lm_operator_kinds()[i]; i++)
        ck_assert_ptr_nonnull(strstr(status.message, lm_operator_kinds()[i]->name));
}
END_TEST

START_TEST(mistakes_of_types) {
    expect_line("inference:\n  steps: abc\n",
                "t.yaml:8: inference.steps: 'abc' is not a whole number");
    expect_line("inference: {steps: 1.5}\n",
                "t.yaml:7: inference.steps: '1.5' is not a whole number");
    expect_line("inference: {steps: 12abc}\n",
                "t.yaml:7: inference.steps: '12abc' is not a whole number");
    expect_line("inference: {steps: 010}\n",
                "t.yaml:7: inference.steps: '010' is not a whole number");
    expect_line("inference: {step: 0.1x}\n",
                "t.yaml:7: inference.step: '0.1x' is not a number");
    expect_line("inference: {step: }\n",
                "t.yaml:7: inference.step: no value: a number is expected");
    expect_line("inference: {steps: [3]}\n",
                "t.yaml:7: inference.steps: a list is here: a whole number is expected");
    expect_line("inference: 3\n", "t.yaml:7: inference: '3' is not a mapping {key: value}");
    expect_line("inference: {rule: [strict]}\n",
                "t.yaml:7: inference.rule: a list is here: a text is expected");
    expect_line("inference: {rule: ''}\n",
                "t.yaml:7: inference.rule: no value: a text is expected");
    expect_line("record: {gradients: maybe}\n",
                "t.yaml:7: record.gradients: 'maybe' is not true or false");
    expect_line("gradients:\n  step:\n  - 0.1\n  - x\n",
                "t.yaml:10: gradients.step[1]: 'x' is not a number");
    expect_line("gradients: {step: []}\n",
                "t.yaml:7: gradients.step: 0 entries: from 1 to 4096 are expected");
    expect_line("placement: [0]\n",
                "t.yaml:7: placement: a list is here: a mapping {key: value} is expected");
    expect_line("placement: {ranks: {}}\n",
                "t.yaml:7: placement.ranks: a mapping is here: a list [a, b] is expected");
    expect_set("network.input=[1, 2, 3, 4]",
               "network.input: 4 entries: from 1 to 3 are expected");
    expect_set("network.layers=[]", "network.layers: 0 entries: from 1 to 4096 are expected");
    expect_set("network.layers[1].map[0]={relu: {}, tanh: {}}",
               "network.layers[1].map[0]: 2 operators are here: one is expected, as in "
               "[{linear: {units: 10}}, {relu: {}}]");
    expect_set("network.layers[1].map[0]={}",
               "network.layers[1].map[0]: 0 operators are here: one is expected, as in "
               "[{linear: {units: 10}}, {relu: {}}]");
    expect_set("network.layers[1].map[0].linear.units=[2, 2]",
               "network.layers[1].map[0].linear.units: a list is here: a text is expected");
}
END_TEST

START_TEST(mistakes_of_ranges) {
    static const char *const from_1[] = {
        "inference.steps", "training.batch",      "training.chunk",        "training.epochs",
        "gradients.steps", "record.errors.every", "record.gradients_every"};
    static const char *const from_0[] = {"training.steps", "record.test_every",
                                         "record.errors.inputs", "checkpoint.every",
                                         "checkpoint.keep"};
    char set[128], message[256];
    for (int i = 0; i < 12; i++) {
        const char *key = i < 7 ? from_1[i] : from_0[i - 7];
        long minimum = i < 7;
        snprintf(set, sizeof set, "%s=%ld", key, minimum - 1);
        snprintf(message, sizeof message,
                 "%s: %ld: a whole number from %ld to 2147483647 is expected", key, minimum - 1,
                 minimum);
        expect_set(set, message);
        snprintf(set, sizeof set, "%s=2147483648", key);
        snprintf(message, sizeof message,
                 "%s: 2147483648: a whole number from %ld to 2147483647 is expected", key,
                 minimum);
        expect_set(set, message);
        snprintf(set, sizeof set, "%s=%ld", key, minimum);
        const char *const good[] = {set};
        lm_settings_destroy(read_small(1, good));
    }
    expect_set("training.seed=-1", "training.seed: '-1' is not a whole number from 0 on");
    expect_set("training.seed=18446744073709551616",
               "training.seed: '18446744073709551616' is out of range");
    expect_set("inference.step=0", "inference.step: 0: a finite number above 0 is expected");
    expect_set("inference.step=nan",
               "inference.step: nan: a finite number above 0 is expected");
    expect_set("training.rate=inf", "training.rate: inf: a finite number above 0 is expected");
    expect_set("training.rate=1e999", "training.rate: '1e999' is out of range");
    expect_set("training.momentum=1",
               "training.momentum: 1: a number from 0 to below 1 is expected");
    expect_set("gradients.step=[0.1, -2]",
               "gradients.step[1]: -2: a finite number above 0 is expected");
    expect_set("network.input=[1, 2]", "network.input: a shape has 1 or 3 extents, not 2");
    expect_set("network.input=[0]", "network.input: extent 1 is 0: at least 1 is expected");
    expect_set("network.input=[100000, 100000, 100000]",
               "network.input: 1000000000000000 units: extents from 1 on are expected, and at "
               "most 2147483647 units");
    expect_set("placement.ranks=[0]",
               "placement.ranks: 1 ranks: one for each of the 2 layers is expected");
    expect_set("placement.ranks=[0, -1]",
               "placement.ranks[1]: -1: the rank of a layer, from 0 on, is expected");
    expect_set("placement.costs=[1, 2, 3]",
               "placement.costs: 3 costs: one for each of the 2 layers is expected");
    expect_set("placement.costs=[1, 0]",
               "placement.costs[1]: 0: a finite number above 0 is expected");
    expect_set("placement.replicas=0",
               "placement.replicas: 0: a whole number from 1 to 2147483647 is expected");
}
END_TEST

START_TEST(mistakes_of_names) {
    expect_line("inference:\n  rule: strikt\n",
                "t.yaml:8: inference.rule: 'strikt': backprop or strict or fixed-prediction is "
                "expected");
    expect_set("inference.state=float",
               "inference.state: 'float': deviation or value is expected");
    expect_set("inference.presynaptic=x",
               "inference.presynaptic: 'x': value or feedforward is expected");
    expect_set(
        "gradients.train=x",
        "gradients.train: 'x': none or backprop or strict or fixed-prediction is expected");
    expect_set("network.loss=x", "network.loss: 'x': mse or cross_entropy is expected");
    expect_set("training.optimizer=x", "training.optimizer: 'x': sgd or adam is expected");
    expect_set("record.errors.split=x", "record.errors.split: 'x': train or test is expected");
    expect_set("network.layers[1].name=a",
               "network.layers[1]: layer a: two layers have this name");
    expect_set("network.layers[0].inputs=[x]",
               "network.layers[0]: layer a: its input 'x' is not a layer");
    expect("data: {path: x}\nnetwork:\n  input: [4]\n  layers:\n  - name: a\n    map: [relu]\n"
           "  - name: b\n    map: [flatten, conv2d: {channels: 2, kernel: 3}]\n",
           NULL,
           "t.yaml:7: network.layers[1]: layer b: operator 2 of its map, conv2d: the input has "
           "shape 4: channels x rows x columns are expected");
}
END_TEST

/* One entry of depth `depth`, as [[[...]]]. */
static char *nested(int depth) {
    char *text = malloc((size_t)depth * 2 + 4);
    memcpy(text, "a: ", 3);
    memset(text + 3, '[', (size_t)depth);
    memset(text + 3 + depth, ']', (size_t)depth);
    text[3 + 2 * depth] = '\0';
    return text;
}

START_TEST(hostile_texts) {
    char *deep = nested(100000);
    expect(deep, NULL, "t.yaml:1: too many mappings or sequences inside each other");
    free(deep);
    char *wide = malloc(3 * 5000 + 8);
    strcpy(wide, "a: [1");
    for (int i = 0; i < 5000; i++)
        strcat(wide + 3 * i, ", 1");
    strcat(wide, "]");
    expect(wide, NULL, "t.yaml:1: more than 4096 entries");
    free(wide);
    expect_line("\"x\\ny\": 3\n",
                "t.yaml:7: x y: unknown key; possible: data, network, inference, training, "
                "record, checkpoint, gradients, placement");
    char set[2001];
    struct lm_status status;
    memset(set, 'k', 2000);
    set[2000] = '\0';
    set[1000] = '=';
    const char *const sets[] = {set};
    ck_assert_ptr_null(lm_settings_parse("t.yaml", small, 1, sets, &status));
    ck_assert_ptr_nonnull(strstr(status.message, "...: KEY=VALUE is expected"));
}
END_TEST

/* Every text cut short, and every one with a byte replaced, is read or refused with a message.
 */
START_TEST(broken_texts_do_not_crash) {
    static const char bytes[] = "{}[],:-#&*!|>'\"%@`?~\n\t \0";
    size_t blocks = lm_memory_blocks(), length = strlen(small);
    for (size_t i = 0; i < length; i++) {
        for (size_t k = 0; k < sizeof bytes; k++) {
            char text[sizeof small];
            memcpy(text, small, sizeof small);
            text[i] = bytes[k];
            struct lm_status status = {0};
            struct lm_settings_file *file =
                lm_settings_parse("t.yaml", text, 0, nothing, &status);
            ck_assert(file || (status.code == LM_CONFIG && *status.message &&
                               !strchr(status.message, '\n')));
            lm_settings_destroy(file);
        }
    }
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(files) {
    char folder[] = "/tmp/lamina-settings-XXXXXX", path[64], message[256];
    struct lm_status status;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_ptr_null(lm_settings_read(folder, 0, nothing, &status));
    ck_assert_int_eq(status.code, LM_NO_INPUT);
    snprintf(path, sizeof path, "%s/a.yaml", folder);
    ck_assert_ptr_null(lm_settings_read(path, 0, nothing, &status));
    ck_assert_int_eq(status.code, LM_NO_INPUT);
    snprintf(message, sizeof message, "%s: cannot read settings: No such file or directory",
             path);
    ck_assert_str_eq(status.message, message);
    FILE *stream = fopen(path, "w");
    fputs(small, stream);
    fclose(stream);
    struct lm_settings_file *file = lm_settings_read(path, 0, nothing, &status);
    ck_assert_ptr_nonnull(file);
    lm_settings_destroy(file);
    ck_assert_int_eq(truncate(path, (1 << 20) + 1), 0);
    ck_assert_ptr_null(lm_settings_read(path, 0, nothing, &status));
    ck_assert_int_eq(status.code, LM_CONFIG);
    ck_assert_ptr_nonnull(
        strstr(status.message, "a.yaml: settings of more than 1048576 bytes"));
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(text_is_complete_and_stable) {
    static const char *const set[] = {"data.path='a, \"b\" # c'", "gradients.step=[1, 2]",
                                      "network.layers[0].name='3'"};
    struct lm_status status;
    struct lm_settings_file *first = read_small(3, set);
    const char *text = lm_settings_text(first);
    ck_assert_ptr_nonnull(strstr(text, "  momentum: 0\n"));
    ck_assert_ptr_nonnull(strstr(text, "  step: [1, 2]\n"));
    ck_assert_ptr_nonnull(strstr(text, "{relu: {}}"));
    struct lm_settings_file *second = lm_settings_parse("text", text, 0, nothing, &status);
    ck_assert_msg(second != NULL, "%s", status.message);
    ck_assert_str_eq(lm_settings_text(second), text);
    ck_assert_str_eq(lm_settings_get(second)->data.path, "a, \"b\" # c");
    ck_assert_str_eq(lm_settings_get(second)->network.layers[0].name, "3");
    lm_settings_destroy(second);
    lm_settings_destroy(first);
}
END_TEST

/* Compare `small` with `small` and a --set. */
static void compare(const char *set, const char *const ignored[], const char *message) {
    struct lm_status status = {0};
    const char *const sets[] = {set};
    struct lm_settings_file *a = read_small(0, nothing), *b = read_small(1, sets);
    bool same = lm_settings_same(lm_settings_text(a), lm_settings_text(b), ignored, &status);
    ck_assert(same == (message == NULL));
    if (message)
        ck_assert_str_eq(status.message, message);
    lm_settings_destroy(a);
    lm_settings_destroy(b);
}

START_TEST(same) {
    static const char *const some[] = {"training.step", "checkpoint", "training.steps", NULL};
    size_t blocks = lm_memory_blocks();
    compare("training.rate=2e-3", nothing, NULL);
    compare("training.rate=0.0021", nothing, "training.rate: 0.002 against 0.0021");
    compare("data.path='digits'", nothing, NULL);
    compare("data.path=x", nothing, "data.path: digits against x");
    compare("training.steps=5", some, NULL);
    compare("checkpoint={every: 3, keep: 1}", some, NULL);
    compare("checkpoint.every=3", nothing, "checkpoint.every: 0 against 3");
    compare("training.rate=0.5", some, "training.rate: 0.002 against 0.5");
    compare("gradients.step=[0.1, 0.2]", nothing,
            "gradients.step: 1 entries against 2 entries");
    compare("gradients.step=[0.2]", nothing, "gradients.step[0]: 0.1 against 0.2");
    compare("network.layers[1].inputs=[a]", nothing,
            "network.layers[1].inputs: (absent) against 1 entries");
    compare("network.layers[0].map[1]=tanh", nothing,
            "network.layers[0].map[1].relu: 0 keys against (absent)");
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}
END_TEST

START_TEST(same_looks_at_texts) {
    struct lm_status status;
    ck_assert(lm_settings_same("{a: 1, b: [x]}", "b:\n- x\na: 1.0\n", nothing, &status));
    ck_assert(!lm_settings_same("a: 18446744073709551615", "a: 18446744073709551614", nothing,
                                &status));
    ck_assert(!lm_settings_same("a: 1", "a: [1]", nothing, &status));
    ck_assert_str_eq(status.message, "a: 1 against 1 entries");
    ck_assert(!lm_settings_same("a: [", "a: 1", nothing, &status));
    ck_assert_ptr_nonnull(strstr(status.message, "not valid YAML"));
}
END_TEST

START_TEST(blame) {
    static const char *const set[] = {"training.batch=7"};
    struct lm_status status;
    struct lm_settings_file *file = read_small(1, set);
    ck_assert(lm_settings_chunk(lm_settings_get(file)) == 7);
    lm_fail(&status, LM_CONFIG, "too many");
    ck_assert(!lm_settings_blame(file, "training.batch", &status));
    ck_assert_str_eq(status.message, "--set training.batch=7: training.batch: too many");
    lm_fail(&status, LM_CONFIG, "too small");
    lm_settings_blame(file, "network.layers[1].name", &status);
    ck_assert_str_eq(status.message, "small.yaml:6: network.layers[1].name: too small");
    lm_settings_destroy(file);
}
END_TEST

START_TEST(figures) {
    static const struct {
        const char *rule, *loss;
        double step;
        long steps;
    } figure[] = {{"strict", "mse", 0.1, 20},
                  {"strict", "mse", 0.1, 20},
                  {"fixed-prediction", "cross_entropy", 0.1, 20},
                  {"fixed-prediction", "cross_entropy", 0.1, 20},
                  {"fixed-prediction", "cross_entropy", 1, 5}};
    for (int i = 0; i < 5; i++) {
        char path[512];
        struct lm_status status;
        snprintf(path, sizeof path, "%s/experiments/rosenbaum2022/fig%d.yaml", LAMINA_SOURCE,
                 i + 1);
        struct lm_settings_file *file = lm_settings_read(path, 0, nothing, &status);
        ck_assert_msg(file != NULL, "%s", status.message);
        const struct lm_settings *s = lm_settings_get(file);
        ck_assert_str_eq(s->inference.rule, figure[i].rule);
        ck_assert_str_eq(s->loss, figure[i].loss);
        ck_assert(s->inference.step == figure[i].step);
        ck_assert_int_eq(s->inference.steps, figure[i].steps);
        ck_assert_int_eq(s->training.batch, 300);
        ck_assert_int_eq(s->gradients.n_step, i == 1 || i == 3 ? 4 : 1);
        struct lm_network *network = lm_network_create(&s->network, &status);
        ck_assert_ptr_nonnull(network);
        ck_assert_uint_eq(lm_network_parameters(network), 32695);
        lm_network_destroy(network);
        lm_settings_destroy(file);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("settings");
    TCase *tests = tcase_create("settings");
    tcase_set_timeout(tests, 120);
    const TTest *const all[] = {defaults,
                                network_is_read,
                                file_over_defaults,
                                networks_of_values_are_plain,
                                set_over_file,
                                mistakes_of_set,
                                mistakes_of_syntax,
                                mistakes_of_keys,
                                unknown_operator_lists_kinds,
                                mistakes_of_types,
                                mistakes_of_ranges,
                                mistakes_of_names,
                                hostile_texts,
                                broken_texts_do_not_crash,
                                files,
                                text_is_complete_and_stable,
                                same,
                                same_looks_at_texts,
                                blame,
                                figures};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}
