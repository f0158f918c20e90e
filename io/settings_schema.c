#include "settings_schema.h"

#include "memory.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the schema: all offsets count from the start of struct lm_settings --- */

#define WHOLE(key, member) CYAML_FIELD_INT(key, CYAML_FLAG_DEFAULT, struct lm_settings, member)
#define NUMBER(key, member)                                                                    \
    CYAML_FIELD_FLOAT(key, CYAML_FLAG_STRICT, struct lm_settings, member)
#define TEXT(key, member)                                                                      \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER, struct lm_settings, member, 1,             \
                           CYAML_UNLIMITED)
#define FLAG(key, member)                                                                      \
    CYAML_FIELD_ENUM(key, CYAML_FLAG_STRICT, struct lm_settings, member, truth, 2)
#define SECTION(name, fields)                                                                  \
    {                                                                                          \
        .key = name, .value = {                                                                \
            CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct lm_settings, fields)                \
        }                                                                                      \
    }

static const cyaml_strval_t truth[] = {{"false", 0}, {"true", 1}};
static const cyaml_schema_value_t any_text = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, CYAML_UNLIMITED)};
static const cyaml_schema_value_t any_number = {CYAML_VALUE_FLOAT(CYAML_FLAG_STRICT, double)};
static const cyaml_schema_value_t any_whole = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, long)};
static const cyaml_schema_value_t any_extent = {CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, size_t)};

/* Filled from the table of operators by make_operators. */
enum { MAX_KINDS = 64 };
static cyaml_schema_field_t options[MAX_KINDS][LM_MAX_OPTIONS + 1];
static cyaml_schema_field_t operators[MAX_KINDS + 1];

static const cyaml_schema_value_t any_operator = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct lm_operator_spec, operators)};

static const cyaml_schema_field_t layer_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct lm_layer_spec, name, 1,
                           CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE_COUNT("inputs", CYAML_FLAG_OPTIONAL, struct lm_layer_spec, parents,
                               n_parents, &any_text, 1, LM_MAX_PARENTS),
    CYAML_FIELD_SEQUENCE_COUNT("map", CYAML_FLAG_DEFAULT, struct lm_layer_spec, operators,
                               n_operators, &any_operator, 1, LM_MAX_OPERATORS),
    CYAML_FIELD_END};
static const cyaml_schema_value_t any_layer = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct lm_layer_spec, layer_fields)};

static const cyaml_schema_field_t data_fields[] = {TEXT("format", data.format),
                                                   TEXT("path", data.path), CYAML_FIELD_END};
static const cyaml_schema_field_t network_fields[] = {
    CYAML_FIELD_SEQUENCE_COUNT("input", CYAML_FLAG_DEFAULT, struct lm_settings,
                               network.input.extent, network.input.rank, &any_extent, 1, 3),
    CYAML_FIELD_SEQUENCE_COUNT("layers", CYAML_FLAG_POINTER, struct lm_settings, network.layers,
                               network.n_layers, &any_layer, 1, LM_YAML_MAX_ENTRIES),
    TEXT("loss", loss), CYAML_FIELD_END};
static const cyaml_schema_field_t inference_fields[] = {
    TEXT("rule", inference.rule),
    NUMBER("step", inference.step),
    WHOLE("steps", inference.steps),
    TEXT("state", inference.state),
    TEXT("presynaptic", inference.presynaptic),
    CYAML_FIELD_END};
static const cyaml_schema_field_t training_fields[] = {
    TEXT("optimizer", training.optimizer),
    NUMBER("rate", training.rate),
    NUMBER("momentum", training.momentum),
    WHOLE("batch", training.batch),
    WHOLE("chunk", training.chunk),
    WHOLE("epochs", training.epochs),
    WHOLE("steps", training.steps),
    CYAML_FIELD_UINT("seed", CYAML_FLAG_DEFAULT, struct lm_settings, training.seed),
    CYAML_FIELD_END};
static const cyaml_schema_field_t errors_fields[] = {
    TEXT("split", record.errors.split), WHOLE("inputs", record.errors.inputs),
    WHOLE("every", record.errors.every), CYAML_FIELD_END};
static const cyaml_schema_field_t record_fields[] = {
    FLAG("gradients", record.gradients), WHOLE("gradients_every", record.gradients_every),
    WHOLE("test_every", record.test_every), SECTION("errors", errors_fields), CYAML_FIELD_END};
static const cyaml_schema_field_t checkpoint_fields[] = {
    WHOLE("every", checkpoint.every), WHOLE("keep", checkpoint.keep), CYAML_FIELD_END};
static const cyaml_schema_field_t gradients_fields[] = {
    TEXT("train", gradients.train),
    CYAML_FIELD_SEQUENCE_COUNT("step", CYAML_FLAG_POINTER, struct lm_settings, gradients.step,
                               gradients.n_step, &any_number, 1, LM_YAML_MAX_ENTRIES),
    WHOLE("steps", gradients.steps), FLAG("updates", gradients.updates), CYAML_FIELD_END};
static const cyaml_schema_field_t placement_fields[] = {
    WHOLE("replicas", placement.replicas),
    CYAML_FIELD_SEQUENCE_COUNT("ranks", CYAML_FLAG_POINTER, struct lm_settings, placement.ranks,
                               placement.n, &any_whole, 0, LM_YAML_MAX_ENTRIES),
    CYAML_FIELD_SEQUENCE_COUNT("costs", CYAML_FLAG_POINTER, struct lm_settings, placement.costs,
                               placement.n_costs, &any_number, 0, LM_YAML_MAX_ENTRIES),
    CYAML_FIELD_END};

static const cyaml_schema_field_t sections[] = {SECTION("data", data_fields),
                                                SECTION("network", network_fields),
                                                SECTION("inference", inference_fields),
                                                SECTION("training", training_fields),
                                                SECTION("record", record_fields),
                                                SECTION("checkpoint", checkpoint_fields),
                                                SECTION("gradients", gradients_fields),
                                                SECTION("placement", placement_fields),
                                                CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct lm_settings, sections)};

/* Each kind of operator is a mapping of its options; all fill the same texts. */
static void make_operators(void) {
    const struct lm_operator_kind *const *kinds = lm_operator_kinds();
    for (int i = 0; kinds[i]; i++) {
        LM_ASSERT(i < MAX_KINDS);
        for (int k = 0; kinds[i]->options[k].name; k++) {
            bool needed = kinds[i]->options[k].fallback == NULL;
            unsigned flags = CYAML_FLAG_POINTER | (needed ? 0U : (unsigned)CYAML_FLAG_OPTIONAL);
            options[i][k] = (cyaml_schema_field_t)CYAML_FIELD_STRING_PTR(
                kinds[i]->options[k].name, flags, struct lm_operator_spec, option[0], 1,
                CYAML_UNLIMITED);
            options[i][k].data_offset += (uint32_t)((size_t)k * sizeof(char *));
        }
        operators[i] = (cyaml_schema_field_t){
            .key = kinds[i]->name,
            .value = {
                CYAML_VALUE_MAPPING(CYAML_FLAG_OPTIONAL, struct lm_operator_spec, options[i])}};
    }
}

/* --- complaints --- */

/* Where libcyaml met a mistake: the lines of its backtrace, innermost first. */
enum { MAX_FRAMES = 16, FRAME = 64 };
struct trace {
    int n;
    char step[MAX_FRAMES][FRAME]; /* key, "#3" for the third entry, "" for a mapping itself */
};

/* The text between the first pair of ' in a line. */
static void take_quoted(const char *line, const char *mark, char step[FRAME]) {
    const char *begin = strchr(line, '\'') ? strchr(line, '\'') + 1 : line;
    snprintf(step, FRAME, "%s%.*s", mark, (int)strcspn(begin, "'"), begin);
}

static void collect(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    struct trace *trace = context;
    char line[256];
    (void)level;
    vsnprintf(line, sizeof line, format, arguments);
    if (strncmp(line, "  in ", 5) != 0) {
        if (!strstr(line, "Backtrace"))
            trace->n = 0;
        return;
    }
    if (trace->n == MAX_FRAMES)
        return;
    char *step = trace->step[trace->n++];
    if (strstr(line, "in mapping field"))
        take_quoted(line, "", step);
    else if (strstr(line, "in sequence entry"))
        take_quoted(line, "#", step);
    else
        *step = '\0';
}

/* A place in the settings: the value, what the schema says of it, and its key. */
struct place {
    const struct lm_yaml *node;
    const cyaml_schema_value_t *schema;
    char key[LM_YAML_KEY];
};

static const cyaml_schema_field_t *find_field(const cyaml_schema_value_t *mapping,
                                              const char *key) {
    for (const cyaml_schema_field_t *field = mapping->mapping.fields; field->key; field++)
        if (strcmp(field->key, key) == 0)
            return field;
    return NULL;
}

static void append_key(struct place *place, const char *key) {
    size_t length = strlen(place->key);
    snprintf(place->key + length, sizeof place->key - length, "%s%s", length ? "." : "", key);
}

static void descend_sequence(struct place *place, const char *step) {
    char number[24];
    size_t length = strlen(place->key);
    if (*step != '#' || place->schema->type != CYAML_SEQUENCE)
        return;
    snprintf(number, sizeof number, "%ld", strtol(step + 1, NULL, 10) - 1);
    const struct lm_yaml *node = lm_yaml_entry(place->node, number);
    if (!node)
        return;
    snprintf(place->key + length, sizeof place->key - length, "[%s]", number);
    place->schema = place->schema->sequence.entry;
    place->node = node;
}

static void descend_mapping(struct place *place, const char *step) {
    if (place->schema->type != CYAML_MAPPING)
        return;
    const cyaml_schema_field_t *field = find_field(place->schema, step);
    const struct lm_yaml *node = lm_yaml_entry(place->node, step);
    if (!field || !node)
        return;
    append_key(place, step);
    place->schema = &field->value;
    place->node = node;
}

/* Every key of a mapping, for messages. */
static const char *list_keys(const cyaml_schema_value_t *mapping, char text[512]) {
    size_t length = 0;
    text[0] = '\0';
    for (const cyaml_schema_field_t *field = mapping->mapping.fields; field->key; field++)
        if (length < 512)
            length += (size_t)snprintf(text + length, 512 - length, "%s%s", length ? ", " : "",
                                       field->key);
    return text[0] ? text : "none";
}

static bool fail_unknown_key(struct place *place, struct lm_status *status) {
    char keys[512];
    const struct lm_yaml *entry = place->node->first;
    while (entry && find_field(place->schema, entry->key))
        entry = entry->next;
    LM_ASSERT(entry);
    append_key(place, entry->key);
    return lm_yaml_fail(status, entry, place->key, "unknown key; possible: %s",
                        list_keys(place->schema, keys));
}

static bool fail_missing_key(struct place *place, struct lm_status *status) {
    const cyaml_schema_field_t *field = place->schema->mapping.fields;
    while (field->key && ((field->value.flags & CYAML_FLAG_OPTIONAL) ||
                          lm_yaml_entry(place->node, field->key)))
        field++;
    LM_ASSERT(field->key);
    append_key(place, field->key);
    return lm_yaml_fail(status, place->node, place->key, "this key is missing");
}

static const char *expected(const cyaml_schema_value_t *value) {
    switch (value->type) {
    case CYAML_INT:
        return "a whole number";
    case CYAML_UINT:
        return "a whole number from 0 on";
    case CYAML_FLOAT:
        return "a number";
    case CYAML_ENUM:
        return "true or false";
    case CYAML_MAPPING:
        return "a mapping {key: value}";
    case CYAML_SEQUENCE:
        return "a list [a, b]";
    default:
        return "a text";
    }
}

/* libcyaml reads 12abc as 12, 010 as 8 and -1 as a large unsigned number. */
static bool is_number(const char *text, cyaml_type_e type) {
    const char *digits = text + (*text == '-' || *text == '+');
    char *end;
    if (type == CYAML_FLOAT) {
        strtod(text, &end);
        return end != text && *end == '\0' && !strpbrk(text, "xX \t\n");
    }
    return *digits && strspn(digits, "0123456789") == strlen(digits) &&
           (digits[0] != '0' || !digits[1]) && (type == CYAML_INT || *text != '-');
}

static bool fail_value(const struct place *place, struct lm_status *status) {
    const struct lm_yaml *node = place->node;
    cyaml_type_e type = place->schema->type;
    bool number = type == CYAML_FLOAT || type == CYAML_INT || type == CYAML_UINT;
    if (node->kind != LM_YAML_SCALAR)
        return lm_yaml_fail(status, node, place->key, "a %s is here: %s is expected",
                            node->kind == LM_YAML_MAPPING ? "mapping" : "list",
                            expected(place->schema));
    if (!*node->text)
        return lm_yaml_fail(status, node, place->key, "no value: %s is expected",
                            expected(place->schema));
    if (number && is_number(node->text, type))
        return lm_yaml_fail(status, node, place->key, "'%.60s' is out of range", node->text);
    return lm_yaml_fail(status, node, place->key, "'%.60s' is not %s", node->text,
                        expected(place->schema));
}

/* Whether every number at and below a place that libcyaml accepted is one to the last letter.
 */
static bool check_number_texts(const struct place *place, struct lm_status *status) {
    cyaml_type_e type = place->schema->type;
    if (type == CYAML_INT || type == CYAML_UINT || type == CYAML_FLOAT)
        return is_number(place->node->text, type) || fail_value(place, status);
    const struct lm_yaml *entry = place->node->first;
    for (int i = 1; entry; entry = entry->next, i++) {
        struct place below = *place;
        char number[24];
        snprintf(number, sizeof number, "#%d", i);
        if (type == CYAML_SEQUENCE)
            descend_sequence(&below, number);
        else
            descend_mapping(&below, entry->key);
        if (!check_number_texts(&below, status))
            return false;
    }
    return true;
}

static bool fail_count(const struct place *place, struct lm_status *status) {
    const cyaml_schema_value_t *value = place->schema;
    return lm_yaml_fail(status, place->node, place->key,
                        "%d entries: from %u to %u are expected", place->node->n,
                        value->sequence.min, value->sequence.max);
}

/* libcyaml's complaint as ours. */
static bool explain(cyaml_err_t error, const struct trace *trace, struct lm_yaml *tree,
                    struct lm_status *status) {
    struct place place = {.node = tree, .schema = &schema};
    bool about_inside =
        error == CYAML_ERR_INVALID_KEY || error == CYAML_ERR_MAPPING_FIELD_MISSING ||
        error == CYAML_ERR_SEQUENCE_ENTRIES_MIN || error == CYAML_ERR_SEQUENCE_ENTRIES_MAX;
    for (int i = trace->n - 1; i >= about_inside; i--) {
        if (place.node->kind == LM_YAML_SEQUENCE)
            descend_sequence(&place, trace->step[i]);
        else
            descend_mapping(&place, trace->step[i]);
    }
    bool mapping = place.node->kind == LM_YAML_MAPPING && place.schema->type == CYAML_MAPPING;
    bool list = place.node->kind == LM_YAML_SEQUENCE && place.schema->type == CYAML_SEQUENCE;
    if (error == CYAML_ERR_INVALID_KEY && mapping)
        return fail_unknown_key(&place, status);
    if (error == CYAML_ERR_MAPPING_FIELD_MISSING && mapping)
        return fail_missing_key(&place, status);
    if (about_inside && list)
        return fail_count(&place, status);
    if (error == CYAML_ERR_INVALID_VALUE || error == CYAML_ERR_STRING_LENGTH_MIN)
        return fail_value(&place, status);
    return lm_yaml_fail(status, place.node, place.key, "%s", cyaml_strerror(error));
}

/* --- loading --- */

/* libcyaml frees what each field points to, but the options of all kinds of operator fill
 * the same texts. So its memory is kept in a list and freed once, at the end. */
struct lm_settings_block {
    struct lm_settings_block *next, *previous; /* newer, older */
    size_t size;
    max_align_t data[];
};

static void link_block(struct lm_settings_block **newest, struct lm_settings_block *block) {
    block->previous = *newest;
    if (*newest)
        (*newest)->next = block;
    *newest = block;
}

static void unlink_block(struct lm_settings_block **newest, struct lm_settings_block *block) {
    if (block->next)
        block->next->previous = block->previous;
    else
        *newest = block->previous;
    if (block->previous)
        block->previous->next = block->next;
}

/* As realloc for libcyaml; size 0 would free. */
static void *reallocate(void *context, void *pointer, size_t size) {
    struct lm_settings_block **newest = context, *old = NULL, *block;
    if (pointer)
        old = (void *)((char *)pointer - offsetof(struct lm_settings_block, data));
    if (size == 0 || (old && size <= old->size))
        return size == 0 ? NULL : pointer;
    size = old ? 2 * size : size;
    block = lm_allocate(1, sizeof *block + size);
    block->size = size;
    if (old) {
        memcpy(block->data, old->data, old->size);
        unlink_block(newest, old);
        lm_free(old);
    }
    link_block(newest, block);
    return block->data;
}

void lm_settings_unload(struct lm_settings_block *memory) {
    for (struct lm_settings_block *block = memory, *previous; block; block = previous) {
        previous = block->previous;
        lm_free(block);
    }
}

/* The kind of each operator is the one key of its entry. */
static bool name_operators(struct lm_settings *settings, struct lm_yaml *tree,
                           struct lm_status *status) {
    struct lm_layer_spec *layer = (struct lm_layer_spec *)settings->network.layers;
    const struct lm_yaml *node = lm_yaml_find(tree, "network.layers")->first;
    for (int i = 0; node; node = node->next, layer++, i++) {
        struct lm_operator_spec *op = layer->operators;
        const struct lm_yaml *entry = lm_yaml_entry(node, "map")->first;
        for (int k = 0; entry; entry = entry->next, op++, k++) {
            char key[LM_YAML_KEY];
            snprintf(key, sizeof key, "network.layers[%d].map[%d]", i, k);
            if (entry->n != 1)
                return lm_yaml_fail(status, entry, key,
                                    "%d operators are here: one is expected, as in [{linear: "
                                    "{units: 10}}, {relu: {}}]",
                                    entry->n);
            op->kind = lm_operator_find(entry->first->key);
            LM_ASSERT(op->kind);
        }
    }
    return true;
}

struct lm_settings *lm_settings_load(struct lm_yaml *tree, const char *text,
                                     struct lm_settings_block **memory,
                                     struct lm_status *status) {
    struct trace trace = {0};
    cyaml_config_t config = {.log_fn = collect,
                             .log_ctx = &trace,
                             .mem_fn = reallocate,
                             .mem_ctx = memory,
                             .log_level = CYAML_LOG_ERROR,
                             .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *data = NULL;
    make_operators();
    cyaml_err_t error =
        cyaml_load_data((const uint8_t *)text, strlen(text), &config, &schema, &data, NULL);
    if (error != CYAML_OK) {
        explain(error, &trace, tree, status);
        return NULL;
    }
    struct place top = {.node = tree, .schema = &schema};
    return check_number_texts(&top, status) && name_operators(data, tree, status) ? data : NULL;
}
