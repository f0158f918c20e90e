#include "settings.h"

#include "dataset.h"
#include "loss.h"
#include "memory.h"
#include "optimizer.h"
#include "rule.h"
#include "settings_schema.h"
#include "yaml_text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = 1 << 20, MAX_WHOLE = 0x7fffffff, SET_NAME = 160 };

/* What holds where nothing else is said. data.path, network.input and network.layers have
 * no default. */
static const char defaults[] = "data:\n"
                               "  format: idx\n"
                               "network:\n"
                               "  loss: mse\n"
                               "inference:\n"
                               "  rule: strict\n"
                               "  step: 0.1\n"
                               "  steps: 20\n"
                               "  state: deviation\n"
                               "  presynaptic: value\n"
                               "training:\n"
                               "  optimizer: adam\n"
                               "  rate: 0.002\n"
                               "  momentum: 0\n"
                               "  batch: 300\n"
                               "  chunk: 32\n"
                               "  epochs: 2\n"
                               "  steps: 0\n"
                               "  seed: 0\n"
                               "record:\n"
                               "  gradients: false\n"
                               "  gradients_every: 1\n"
                               "  test_every: 0\n"
                               "  errors:\n"
                               "    split: test\n"
                               "    inputs: 0\n"
                               "    every: 100\n"
                               "checkpoint:\n"
                               "  every: 0\n"
                               "  keep: 3\n"
                               "gradients:\n"
                               "  train: backprop\n"
                               "  step: [0.1]\n"
                               "  steps: 100\n"
                               "  updates: false\n"
                               "placement:\n"
                               "  replicas: 1\n"
                               "  ranks: []\n"
                               "  costs: []\n";

struct lm_settings_file {
    char *name, *by_default; /* "FILE, by default": as messages name what it does not say */
    int n_set;
    char **set; /* "--set a.b=c", as messages name them */
    struct lm_yaml *tree;
    char *text;
    struct lm_settings_block *memory;
    struct lm_settings *settings;
};

/* --- merging --- */

/* A section that the file lacks counts as one at its beginning; other defaults have no line. */
static void adopt_defaults(struct lm_yaml *tree, const char *source, const char *file,
                           int depth) {
    for (struct lm_yaml *node = tree->first; node; node = node->next) {
        adopt_defaults(node, source, file, depth + 1);
        if (node->source == source) {
            node->source = depth ? file : tree->source;
            node->line = depth ? 0 : tree->line;
        }
    }
}

/* The file's tree over the defaults. */
static bool merge_file(struct lm_settings_file *file, const char *text, size_t size,
                       struct lm_status *status) {
    static const char source[] = "built-in defaults";
    file->tree = lm_yaml_parse(source, true, defaults, strlen(defaults), status);
    LM_ASSERT(file->tree);
    struct lm_yaml *over = lm_yaml_parse(file->name, true, text, size, status);
    if (!over)
        return false;
    if (over->kind == LM_YAML_MAPPING) {
        lm_yaml_merge(file->tree, over);
        adopt_defaults(file->tree, source, file->by_default, 0);
        return true;
    }
    if (lm_yaml_is_null(over))
        lm_fail(status, LM_CONFIG, "%s: no settings are in it: data and network are expected",
                file->name);
    else
        lm_yaml_fail(status, over, "", "sections like network: are expected, not a %s",
                     over->kind == LM_YAML_SEQUENCE ? "list" : "text");
    lm_yaml_destroy(over);
    return false;
}

static bool merge_set(struct lm_settings_file *file, const char *assignment,
                      struct lm_status *status) {
    const char *dots = strlen(assignment) > SET_NAME ? "..." : "";
    char name[SET_NAME + 16];
    snprintf(name, sizeof name, "--set %.*s%s", SET_NAME, assignment, dots);
    const char *source = file->set[file->n_set++] = lm_copy_string(name);
    const char *equal = strchr(assignment, '=');
    struct lm_yaml here = {.source = source};
    if (!equal || equal == assignment || equal - assignment >= LM_YAML_KEY)
        return lm_yaml_fail(status, &here, "", "KEY=VALUE is expected");
    char key[LM_YAML_KEY];
    snprintf(key, sizeof key, "%.*s", (int)(equal - assignment), assignment);
    struct lm_yaml *value = lm_yaml_parse(source, false, equal + 1, strlen(equal + 1), status);
    return value && lm_yaml_put(file->tree, key, value, status);
}

/* An operator without options may be written `relu` or `relu:` instead of `relu: {}`. */
static void complete_operators(struct lm_yaml *tree) {
    struct lm_yaml *layers = lm_yaml_find(tree, "network.layers");
    for (struct lm_yaml *layer = layers ? layers->first : NULL; layer; layer = layer->next) {
        struct lm_yaml *map = lm_yaml_find(layer, "map");
        for (struct lm_yaml *entry = map ? map->first : NULL; entry; entry = entry->next) {
            if (entry->kind == LM_YAML_SCALAR && *entry->text)
                lm_yaml_make_mapping(entry, entry->text);
            for (struct lm_yaml *kind = entry->first; kind; kind = kind->next)
                if (lm_yaml_is_null(kind))
                    lm_yaml_make_mapping(kind, NULL);
        }
    }
}

/* --- checks: each names the key, its value and what is expected --- */

bool lm_settings_blame(const struct lm_settings_file *file, const char *key,
                       struct lm_status *status) {
    const struct lm_yaml *node = lm_yaml_find(file->tree, key);
    return lm_yaml_fail_prefix(status, node ? node : file->tree, key);
}

#define OF(member) offsetof(struct lm_settings, member)

static bool check_wholes(const struct lm_settings_file *file, struct lm_status *status) {
    static const struct {
        const char *key;
        size_t offset;
        long minimum;
    } wholes[] = {
        {"inference.steps", OF(inference.steps), 1},
        {"training.batch", OF(training.batch), 1},
        {"training.chunk", OF(training.chunk), 1},
        {"training.epochs", OF(training.epochs), 1},
        {"training.steps", OF(training.steps), 0},
        {"record.gradients_every", OF(record.gradients_every), 1},
        {"record.test_every", OF(record.test_every), 0},
        {"record.errors.inputs", OF(record.errors.inputs), 0},
        {"record.errors.every", OF(record.errors.every), 1},
        {"checkpoint.every", OF(checkpoint.every), 0},
        {"checkpoint.keep", OF(checkpoint.keep), 0},
        {"gradients.steps", OF(gradients.steps), 1},
        {"placement.replicas", OF(placement.replicas), 1},
    };
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        long value;
        memcpy(&value, (const char *)file->settings + wholes[i].offset, sizeof value);
        if (value < wholes[i].minimum || value > MAX_WHOLE) {
            lm_fail(status, LM_CONFIG, "%ld: a whole number from %ld to %d is expected", value,
                    wholes[i].minimum, MAX_WHOLE);
            return lm_settings_blame(file, wholes[i].key, status);
        }
    }
    return true;
}

static bool check_number(const struct lm_settings_file *file, const char *key, double value,
                         bool good, const char *expected, struct lm_status *status) {
    if (good && isfinite(value))
        return true;
    lm_fail(status, LM_CONFIG, "%g: %s is expected", value, expected);
    return lm_settings_blame(file, key, status);
}

/* It is calculated with as a real. */
static bool is_step_size(double step) {
    return (real)step > 0 && isfinite((real)step);
}

static bool check_numbers(const struct lm_settings_file *file, struct lm_status *status) {
    static const char positive[] = "a finite number above 0";
    const struct lm_settings *s = file->settings;
    for (int i = 0; i < s->gradients.n_step; i++) {
        char key[32];
        snprintf(key, sizeof key, "gradients.step[%d]", i);
        double step = s->gradients.step[i];
        if (!check_number(file, key, step, is_step_size(step), positive, status))
            return false;
    }
    double step = s->inference.step, rate = s->training.rate, momentum = s->training.momentum;
    return check_number(file, "inference.step", step, is_step_size(step), positive, status) &&
           check_number(file, "training.rate", rate, rate > 0, positive, status) &&
           check_number(file, "training.momentum", momentum, momentum >= 0 && momentum < 1,
                        "a number from 0 to below 1", status) &&
           check_number(file, "training.momentum", momentum,
                        momentum == 0 || strcmp(s->training.optimizer, "sgd") == 0,
                        "0, for momentum belongs to optimizer sgd,", status);
}

/* The name of row i of one of the tables of src/, NULL behind the last. */
static const char *loss_name(int i) {
    return lm_losses()[i] ? lm_losses()[i]->name : NULL;
}

static const char *optimizer_name(int i) {
    return lm_optimizers()[i] ? lm_optimizers()[i]->name : NULL;
}

static const char *rule_name(int i) {
    return lm_rules()[i] ? lm_rules()[i]->name : NULL;
}

static const char *train_name(int i) {
    return i == 0 ? "none" : rule_name(i - 1);
}

static const char *rule_state(int i) {
    return lm_rules()[i] ? lm_rules()[i]->state : NULL;
}

static const char *format_name(int i) {
    return lm_dataset_formats()[i] ? lm_dataset_formats()[i]->name : NULL;
}

static const char *presynaptic_name(int i) {
    static const char *const names[] = {"value", "feedforward", NULL};
    return names[i];
}

static const char *split_name(int i) {
    static const char *const names[] = {"train", "test", NULL};
    return names[i];
}

/* Fail with "'VALUE': a, b or c is expected", each name once. */
static bool fail_name(const struct lm_settings_file *file, const char *key, const char *value,
                      const char *(*name)(int i), struct lm_status *status) {
    char list[512];
    size_t length = 0;
    list[0] = '\0';
    for (int i = 0; name(i) && length < sizeof list; i++) {
        int earlier = 0;
        while (strcmp(name(earlier), name(i)) != 0)
            earlier++;
        if (earlier == i)
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%s",
                                       length ? " or " : "", name(i));
    }
    lm_fail(status, LM_CONFIG, "'%.60s': %s is expected", value, list);
    return lm_settings_blame(file, key, status);
}

static bool check_name(const struct lm_settings_file *file, const char *key, const char *value,
                       const char *(*name)(int i), struct lm_status *status) {
    for (int i = 0; name(i); i++)
        if (strcmp(name(i), value) == 0)
            return true;
    return fail_name(file, key, value, name, status);
}

static bool check_names(const struct lm_settings_file *file, struct lm_status *status) {
    const struct lm_settings *s = file->settings;
    const char *state = s->inference.state;
    return check_name(file, "data.format", s->data.format, format_name, status) &&
           check_name(file, "network.loss", s->loss, loss_name, status) &&
           check_name(file, "inference.state", state, rule_state, status) &&
           (lm_rule_find(s->inference.rule, state) ||
            fail_name(file, "inference.rule", s->inference.rule, rule_name, status)) &&
           check_name(file, "gradients.train", s->gradients.train, train_name, status) &&
           check_name(file, "inference.presynaptic", s->inference.presynaptic, presynaptic_name,
                      status) &&
           check_name(file, "training.optimizer", s->training.optimizer, optimizer_name,
                      status) &&
           check_name(file, "record.errors.split", s->record.errors.split, split_name, status);
}

static bool check_input(struct lm_settings_file *file, struct lm_status *status) {
    struct lm_shape *shape = &file->settings->network.input;
    long extent[3];
    double units = 1;
    for (int i = 0; i < shape->rank; i++) {
        extent[i] = (long)shape->extent[i];
        units *= (double)shape->extent[i];
    }
    if (units > MAX_WHOLE || !lm_shape_init(shape, shape->rank, extent, status)) {
        if (units > MAX_WHOLE)
            lm_fail(status, LM_CONFIG,
                    "%.0f units: extents from 1 on are expected, and at most %d units", units,
                    MAX_WHOLE);
        return lm_settings_blame(file, "network.input", status);
    }
    return true;
}

/* What a --set changed in a value, or the value itself. */
static const struct lm_yaml *changed_by_set(const struct lm_yaml *node) {
    for (const struct lm_yaml *entry = node->first; entry; entry = entry->next) {
        const struct lm_yaml *changed = changed_by_set(entry);
        if (changed->line == 0)
            return changed;
    }
    return node;
}

/* The network is built once for its complaints, which begin with "layer NAME", of two layers
 * of one name the later, or where a name itself is wrong with "layer NUMBER is named". */
static bool check_network(const struct lm_settings_file *file, struct lm_status *status) {
    const struct lm_network_spec *spec = &file->settings->network;
    struct lm_network *network = lm_network_create(spec, status);
    if (network) {
        lm_network_destroy(network);
        return true;
    }
    for (int i = spec->n_layers - 1; i >= 0; i--) {
        char begin[128], key[64];
        snprintf(begin, sizeof begin, "layer %d is named '", i + 1);
        snprintf(key, sizeof key, "network.layers[%d].name", i);
        if (strncmp(status->message, begin, strlen(begin)) == 0)
            return lm_settings_blame(file, key, status);
        snprintf(begin, sizeof begin, "layer %.100s", spec->layers[i].name);
        size_t length = strlen(begin);
        snprintf(key, sizeof key, "network.layers[%d]", i);
        if (strncmp(status->message, begin, length) == 0 &&
            strchr(": ", status->message[length]))
            return lm_yaml_fail_prefix(status, changed_by_set(lm_yaml_find(file->tree, key)),
                                       key);
    }
    return lm_settings_blame(file, "network.layers", status);
}

/* A list has nothing, or something for every layer. */
static bool check_count(const struct lm_settings_file *file, const char *key, int n,
                        const char *what, struct lm_status *status) {
    int layers = file->settings->network.n_layers;
    if (n == 0 || n == layers)
        return true;
    lm_fail(status, LM_CONFIG, "%d %s: one for each of the %d layers is expected", n, what,
            layers);
    return lm_settings_blame(file, key, status);
}

static bool check_placement(const struct lm_settings_file *file, struct lm_status *status) {
    const struct lm_settings *s = file->settings;
    for (int i = 0; i < s->placement.n; i++) {
        char key[48];
        long rank = s->placement.ranks[i];
        snprintf(key, sizeof key, "placement.ranks[%d]", i);
        if (rank < 0 || rank > MAX_WHOLE) {
            lm_fail(status, LM_CONFIG, "%ld: the rank of a layer, from 0 on, is expected",
                    rank);
            return lm_settings_blame(file, key, status);
        }
    }
    for (int i = 0; i < s->placement.n_costs; i++) {
        char key[48];
        double cost = s->placement.costs[i];
        snprintf(key, sizeof key, "placement.costs[%d]", i);
        if (!check_number(file, key, cost, cost > 0, "a finite number above 0", status))
            return false;
    }
    return check_count(file, "placement.ranks", s->placement.n, "ranks", status) &&
           check_count(file, "placement.costs", s->placement.n_costs, "costs", status);
}

/* --- reading --- */

static bool build(struct lm_settings_file *file, const char *text, size_t size, int n_set,
                  const char *const set[], struct lm_status *status) {
    if (!merge_file(file, text, size, status))
        return false;
    for (int i = 0; i < n_set; i++)
        if (!merge_set(file, set[i], status))
            return false;
    complete_operators(file->tree);
    file->text = lm_yaml_text(file->tree);
    file->settings = lm_settings_load(file->tree, file->text, &file->memory, status);
    if (file->settings)
        file->settings->network.plain = strcmp(file->settings->inference.state, "value") == 0;
    return file->settings && check_wholes(file, status) && check_numbers(file, status) &&
           check_names(file, status) && check_input(file, status) &&
           check_network(file, status) && check_placement(file, status);
}

static struct lm_settings_file *parse(const char *name, const char *text, size_t size,
                                      int n_set, const char *const set[],
                                      struct lm_status *status) {
    struct lm_settings_file *file = lm_allocate(1, sizeof *file);
    static const char by_default[] = ", by default";
    size_t room = strlen(name) + sizeof by_default;
    file->name = lm_copy_string(name);
    file->by_default = lm_allocate(room, 1);
    snprintf(file->by_default, room, "%s%s", name, by_default);
    file->set = lm_allocate((size_t)n_set, sizeof *file->set);
    if (build(file, text, size, n_set, set, status))
        return file;
    lm_settings_destroy(file);
    return NULL;
}

struct lm_settings_file *lm_settings_parse(const char *name, const char *text, int n_set,
                                           const char *const set[], struct lm_status *status) {
    return parse(name, text, strlen(text), n_set, set, status);
}

/* The bytes of a file into `text` (MAX_BYTES + 1). */
static bool read_file(const char *path, char *text, size_t *size, struct lm_status *status) {
    errno = 0;
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return lm_fail(status, LM_NO_INPUT, "%s: cannot read settings: %s", path,
                       strerror(errno));
    *size = fread(text, 1, MAX_BYTES + 1, stream);
    bool good = !ferror(stream) || lm_fail(status, LM_NO_INPUT, "%s: cannot read settings: %s",
                                           path, strerror(errno));
    fclose(stream);
    if (good && *size > MAX_BYTES)
        return lm_fail(status, LM_CONFIG, "%s: settings of more than %d bytes", path,
                       MAX_BYTES);
    return good;
}

struct lm_settings_file *lm_settings_read(const char *path, int n_set, const char *const set[],
                                          struct lm_status *status) {
    struct lm_settings_file *file = NULL;
    char *text = lm_allocate(MAX_BYTES + 1, 1);
    size_t size = 0;
    if (read_file(path, text, &size, status))
        file = parse(path, text, size, n_set, set, status);
    lm_free(text);
    return file;
}

void lm_settings_destroy(struct lm_settings_file *file) {
    if (!file)
        return;
    lm_settings_unload(file->memory);
    for (int i = 0; i < file->n_set; i++)
        lm_free(file->set[i]);
    lm_free(file->set);
    lm_yaml_destroy(file->tree);
    lm_free(file->text);
    lm_free(file->name);
    lm_free(file->by_default);
    lm_free(file);
}

const struct lm_settings *lm_settings_get(const struct lm_settings_file *file) {
    return file->settings;
}

size_t lm_settings_chunk(const struct lm_settings *settings) {
    long chunk = settings->training.chunk, batch = settings->training.batch;
    return (size_t)(chunk < batch ? chunk : batch);
}

const char *lm_settings_text(const struct lm_settings_file *file) {
    return file->text;
}

bool lm_settings_same(const char *a, const char *b, const char *const ignored[],
                      struct lm_status *status) {
    struct lm_yaml *first = lm_yaml_parse("first settings", true, a, strlen(a), status);
    struct lm_yaml *second = lm_yaml_parse("second settings", true, b, strlen(b), status);
    bool same = first && second && lm_yaml_same(first, second, ignored, status);
    lm_yaml_destroy(first);
    lm_yaml_destroy(second);
    return same;
}
