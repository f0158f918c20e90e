#include "yaml_text.h"

#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    const char *source;
    bool lines;
    const char *text;
    struct lm_status *status;
};

/* A node without content, from where an event begins. */
static struct lm_yaml node_at(const struct reader *reader, const yaml_mark_t *mark) {
    return (struct lm_yaml){.source = reader->source,
                            .line = reader->lines ? (long)mark->line + 1 : 0};
}

/* libyaml's complaint in one line. A complaint of its decoder has an offset instead of a mark.
 */
static bool fail_syntax(const struct reader *reader) {
    const yaml_parser_t *parser = &reader->parser;
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR) {
        mark.line = 0;
        for (size_t i = 0; i < parser->problem_offset; i++)
            mark.line += reader->text[i] == '\n';
    }
    struct lm_yaml here = node_at(reader, &mark);
    return lm_yaml_fail(reader->status, &here, "", "not valid YAML: %s%s%s",
                        parser->context ? parser->context : "", parser->context ? ", " : "",
                        parser->problem ? parser->problem : "out of memory");
}

static bool next_event(struct reader *reader, yaml_event_t *event) {
    if (yaml_parser_parse(&reader->parser, event))
        return true;
    return fail_syntax(reader);
}

/* What plain YAML has and settings do not take. */
static const char *refused(const yaml_event_t *event) {
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "an alias (*name) is not taken: write the value out";
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor)
            return "an anchor (&name) is not taken: write the value out";
        if (event->data.scalar.tag)
            return "a tag (!name) is not taken";
        if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
            return "a text with a zero byte is not taken";
        return NULL;
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor)
            return "an anchor (&name) is not taken: write the value out";
        return event->data.sequence_start.tag ? "a tag (!name) is not taken" : NULL;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor)
            return "an anchor (&name) is not taken: write the value out";
        return event->data.mapping_start.tag ? "a tag (!name) is not taken" : NULL;
    default:
        return NULL;
    }
}

static struct lm_yaml *read_node(struct reader *reader, const yaml_event_t *event, int depth);

/* The key that an event begins, or NULL. */
static char *read_key(struct reader *reader, const struct lm_yaml *mapping,
                      const yaml_event_t *event) {
    struct lm_yaml here = node_at(reader, &event->start_mark);
    const char *refusal = refused(event);
    if (event->type != YAML_SCALAR_EVENT || refusal) {
        lm_yaml_fail(reader->status, &here, "", "%s",
                     refusal ? refusal : "a key is a mapping or sequence: a text is expected");
        return NULL;
    }
    const char *key = (const char *)event->data.scalar.value;
    const struct lm_yaml *earlier = lm_yaml_entry(mapping, key);
    if (!earlier)
        return lm_copy_string(key);
    if (reader->lines)
        lm_yaml_fail(reader->status, &here, "", "key '%.60s' is already on line %ld", key,
                     earlier->line);
    else
        lm_yaml_fail(reader->status, &here, "", "key '%.60s' is there twice", key);
    return NULL;
}

/* One entry of a collection that begins with `event`. */
static bool read_entry(struct reader *reader, struct lm_yaml *node, yaml_event_t *event,
                       int depth) {
    char *key = NULL;
    struct lm_yaml here = node_at(reader, &event->start_mark);
    if (node->n == LM_YAML_MAX_ENTRIES)
        return lm_yaml_fail(reader->status, &here, "", "more than %d entries",
                            LM_YAML_MAX_ENTRIES);
    if (node->kind == LM_YAML_MAPPING) {
        key = read_key(reader, node, event);
        if (!key)
            return false;
        yaml_event_delete(event);
        if (!next_event(reader, event)) {
            lm_free(key);
            return false;
        }
    }
    struct lm_yaml *entry = read_node(reader, event, depth + 1);
    if (!entry) {
        lm_free(key);
        return false;
    }
    entry->key = key;
    entry->line = here.line;
    lm_yaml_append(node, entry);
    return true;
}

/* The entries of a collection up to its end. */
static bool read_entries(struct reader *reader, struct lm_yaml *node, int depth) {
    for (;;) {
        yaml_event_t event = {0};
        if (!next_event(reader, &event))
            return false;
        bool ended =
            event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        bool good = ended || read_entry(reader, node, &event, depth);
        yaml_event_delete(&event);
        if (ended || !good)
            return good;
    }
}

static struct lm_yaml *read_node(struct reader *reader, const yaml_event_t *event, int depth) {
    struct lm_yaml here = node_at(reader, &event->start_mark);
    const char *refusal = refused(event);
    if (refusal || depth >= LM_YAML_MAX_DEPTH) {
        lm_yaml_fail(reader->status, &here, "", "%s",
                     refusal ? refusal : "too many mappings or sequences inside each other");
        return NULL;
    }
    struct lm_yaml *node = lm_allocate(1, sizeof *node);
    *node = here;
    if (event->type == YAML_SCALAR_EVENT) {
        node->text = lm_copy_string((const char *)event->data.scalar.value);
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return node;
    }
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    node->kind = mapping ? LM_YAML_MAPPING : LM_YAML_SEQUENCE;
    node->flow = mapping ? event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE
                         : event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
    if (read_entries(reader, node, depth))
        return node;
    lm_yaml_destroy(node);
    return NULL;
}

static struct lm_yaml *empty_scalar(void) {
    struct lm_yaml *node = lm_allocate(1, sizeof *node);
    node->text = lm_copy_string("");
    node->plain = true;
    return node;
}

/* The whole stream: at most one document. */
static struct lm_yaml *read_stream(struct reader *reader) {
    struct lm_yaml *root = NULL;
    for (bool ended = false; !ended;) {
        yaml_event_t event = {0};
        bool good = next_event(reader, &event);
        bool value = event.type == YAML_SCALAR_EVENT || event.type == YAML_ALIAS_EVENT ||
                     event.type == YAML_SEQUENCE_START_EVENT ||
                     event.type == YAML_MAPPING_START_EVENT;
        struct lm_yaml here = node_at(reader, &event.start_mark);
        if (good && value && root)
            good = lm_yaml_fail(reader->status, &here, "", "a second document is not taken");
        else if (good && value)
            good = (root = read_node(reader, &event, 0)) != NULL;
        ended = !good || event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (!good) {
            lm_yaml_destroy(root);
            return NULL;
        }
    }
    return root ? root : empty_scalar();
}

struct lm_yaml *lm_yaml_parse(const char *source, bool lines, const char *text, size_t size,
                              struct lm_status *status) {
    struct reader reader = {.source = source, .lines = lines, .text = text, .status = status};
    if (!yaml_parser_initialize(&reader.parser))
        lm_abort(LM_SYSTEM, "out of memory: no YAML parser");
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
    struct lm_yaml *root = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    if (root && !root->source)
        root->source = source;
    return root;
}

/* --- writing --- */

/* Texts come from the parser, so they are valid; only memory can be lacking. */
static void emit(yaml_emitter_t *emitter, yaml_event_t *event, int made) {
    if (!made || !yaml_emitter_emit(emitter, event))
        lm_abort(LM_SYSTEM, "cannot write settings as YAML: %s",
                 emitter->problem ? emitter->problem : "out of memory");
}

/* An empty plain scalar cannot stand everywhere; what libyaml must quote, it quotes singly. */
static void emit_scalar(yaml_emitter_t *emitter, const char *text, bool was_plain) {
    yaml_event_t event;
    bool plain = was_plain && *text;
    int made = yaml_scalar_event_initialize(
        &event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), plain, true,
        plain ? YAML_PLAIN_SCALAR_STYLE : YAML_SINGLE_QUOTED_SCALAR_STYLE);
    emit(emitter, &event, made);
}

static void emit_node(yaml_emitter_t *emitter, const struct lm_yaml *node) {
    yaml_event_t event;
    if (node->kind == LM_YAML_SCALAR) {
        emit_scalar(emitter, node->text, node->plain);
        return;
    }
    bool mapping = node->kind == LM_YAML_MAPPING;
    int made = mapping ? yaml_mapping_start_event_initialize(
                             &event, NULL, NULL, true,
                             node->flow ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE)
                       : yaml_sequence_start_event_initialize(
                             &event, NULL, NULL, true,
                             node->flow ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
    emit(emitter, &event, made);
    for (const struct lm_yaml *entry = node->first; entry; entry = entry->next) {
        if (mapping)
            emit_scalar(emitter, entry->key, true);
        emit_node(emitter, entry);
    }
    made = mapping ? yaml_mapping_end_event_initialize(&event)
                   : yaml_sequence_end_event_initialize(&event);
    emit(emitter, &event, made);
}

char *lm_yaml_text(const struct lm_yaml *root) {
    char *buffer = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&buffer, &size);
    yaml_emitter_t emitter;
    yaml_event_t event;
    if (!stream || !yaml_emitter_initialize(&emitter))
        lm_abort(LM_SYSTEM, "out of memory: no YAML writer");
    yaml_emitter_set_output_file(&emitter, stream);
    yaml_emitter_set_unicode(&emitter, true);
    yaml_emitter_set_width(&emitter, -1);
    emit(&emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(&emitter, &event,
         yaml_document_start_event_initialize(&event, NULL, NULL, NULL, true));
    emit_node(&emitter, root);
    emit(&emitter, &event, yaml_document_end_event_initialize(&event, true));
    emit(&emitter, &event, yaml_stream_end_event_initialize(&event));
    yaml_emitter_delete(&emitter);
    fclose(stream);
    char *text = lm_copy_string(buffer);
    free(buffer);
    return text;
}
