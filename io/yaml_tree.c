#include "yaml_tree.h"

#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 64 };

bool lm_yaml_fail_prefix(struct lm_status *status, const struct lm_yaml *node,
                         const char *key) {
    const char *colon = *key ? ": " : "";
    if (node->line > 0)
        return lm_fail_prefix(status, "%s:%ld: %s%s", node->source, node->line, key, colon);
    return lm_fail_prefix(status, "%s: %s%s", node->source, key, colon);
}

bool lm_yaml_fail(struct lm_status *status, const struct lm_yaml *node, const char *key,
                  const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    status->code = LM_CONFIG;
    vsnprintf(status->message, sizeof status->message, format, arguments);
    va_end(arguments);
    return lm_yaml_fail_prefix(status, node, key);
}

static void clear_content(struct lm_yaml *node) {
    for (struct lm_yaml *entry = node->first, *next; entry; entry = next) {
        next = entry->next;
        lm_yaml_destroy(entry);
    }
    lm_free(node->text);
}

void lm_yaml_destroy(struct lm_yaml *node) {
    if (!node)
        return;
    clear_content(node);
    lm_free(node->key);
    lm_free(node);
}

bool lm_yaml_is_null(const struct lm_yaml *node) {
    return node->kind == LM_YAML_SCALAR && node->plain &&
           (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

void lm_yaml_append(struct lm_yaml *node, struct lm_yaml *entry) {
    entry->next = NULL;
    if (node->last)
        node->last->next = entry;
    else
        node->first = entry;
    node->last = entry;
    node->n++;
}

static struct lm_yaml *append_mapping(struct lm_yaml *node, const char *key) {
    struct lm_yaml *entry = lm_allocate(1, sizeof *entry);
    *entry = (struct lm_yaml){.kind = LM_YAML_MAPPING,
                              .key = lm_copy_string(key),
                              .flow = node->flow,
                              .source = node->source,
                              .line = node->line};
    lm_yaml_append(node, entry);
    return entry;
}

struct lm_yaml *lm_yaml_entry(const struct lm_yaml *node, const char *step) {
    struct lm_yaml *entry = node->first;
    if (node->kind == LM_YAML_MAPPING) {
        while (entry && strcmp(entry->key, step) != 0)
            entry = entry->next;
        return entry;
    }
    if (!*step || strspn(step, "0123456789") != strlen(step))
        return NULL;
    for (unsigned long i = strtoul(step, NULL, 10); entry && i > 0; i--)
        entry = entry->next;
    return entry;
}

/* Take the next step of a path: a key, "[3]" or "3". False when it is not one. */
static bool next_step(const char **path, char step[STEP]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-";
    const char *at = *path;
    bool bracket = *at == '[';
    at += bracket;
    size_t length = strspn(at, bracket ? "0123456789" : letters);
    if (length == 0 || length >= STEP)
        return false;
    memcpy(step, at, length);
    step[length] = '\0';
    at += length;
    if (bracket && *at++ != ']')
        return false;
    if (*at == '.' && at[1] && at[1] != '[')
        at++;
    else if (*at && *at != '[')
        return false;
    *path = at;
    return true;
}

struct lm_yaml *lm_yaml_find(struct lm_yaml *root, const char *path) {
    char step[STEP];
    struct lm_yaml *node = root;
    while (node && *path)
        node = next_step(&path, step) ? lm_yaml_entry(node, step) : NULL;
    return node;
}

void lm_yaml_replace(struct lm_yaml *node, struct lm_yaml *by) {
    clear_content(node);
    lm_free(by->key);
    by->key = node->key;
    by->next = node->next;
    *node = *by;
    lm_free(by);
}

void lm_yaml_make_mapping(struct lm_yaml *node, const char *key) {
    char *old = node->text;
    node->kind = LM_YAML_MAPPING;
    node->text = NULL;
    node->flow = true;
    if (key)
        append_mapping(node, key);
    lm_free(old);
}

void lm_yaml_merge(struct lm_yaml *base, struct lm_yaml *over) {
    if (base->kind != LM_YAML_MAPPING ||
        (over->kind != LM_YAML_MAPPING && !lm_yaml_is_null(over))) {
        lm_yaml_replace(base, over);
        return;
    }
    base->source = over->source;
    base->line = over->line;
    for (struct lm_yaml *entry = over->first, *next; entry; entry = next) {
        next = entry->next;
        struct lm_yaml *old = lm_yaml_entry(base, entry->key);
        if (old)
            lm_yaml_merge(old, entry);
        else
            lm_yaml_append(base, entry);
    }
    over->first = NULL;
    lm_yaml_destroy(over);
}

/* The node at a path, made where a mapping lacks it; NULL on failure. */
static struct lm_yaml *reach(struct lm_yaml *root, const char *path,
                             const struct lm_yaml *value, struct lm_yaml **parent,
                             struct lm_status *status) {
    char step[STEP];
    struct lm_yaml *node = root;
    const char *rest = path;
    for (int depth = 0; depth == 0 || *rest; depth++) {
        int done = (int)(rest - path) - (rest > path && rest[-1] == '.');
        if (depth == LM_YAML_MAX_DEPTH || !next_step(&rest, step)) {
            lm_yaml_fail(status, value, "", "'%.*s' is not a key like a.b or a.b[0].c",
                         LM_YAML_KEY, path);
            return NULL;
        }
        if (node->kind == LM_YAML_SCALAR) {
            lm_yaml_fail(status, value, "", "%.*s is a single value without keys", done, path);
            return NULL;
        }
        *parent = node;
        node = lm_yaml_entry(node, step);
        if (!node && (*parent)->kind == LM_YAML_SEQUENCE) {
            lm_yaml_fail(status, value, "", "%.*s has %d entries, counted from 0, and no %s",
                         done, path, (*parent)->n, step);
            return NULL;
        }
        if (!node) {
            node = append_mapping(*parent, step);
            node->source = value->source;
            node->line = value->line;
        }
    }
    return node;
}

bool lm_yaml_put(struct lm_yaml *root, const char *path, struct lm_yaml *value,
                 struct lm_status *status) {
    struct lm_yaml *parent = NULL, *node = reach(root, path, value, &parent, status);
    if (!node) {
        lm_yaml_destroy(value);
        return false;
    }
    bool is_new = node->n == 0 && node->source == value->source;
    if (parent->kind == LM_YAML_SEQUENCE || is_new)
        lm_yaml_replace(node, value);
    else
        lm_yaml_merge(node, value);
    return true;
}

/* --- comparing --- */

/* The terminator is among the letters that may follow a whole key. */
static bool is_ignored(const char *key, const char *const ignored[]) {
    for (int i = 0; ignored[i]; i++) {
        size_t length = strlen(ignored[i]);
        if (strncmp(key, ignored[i], length) == 0 && strchr(".[", key[length]))
            return true;
    }
    return false;
}

static bool same_scalar(const char *a, const char *b) {
    char *end[2];
    if (strcmp(a, b) == 0)
        return true;
    bool integers =
        a[strspn(a, "+-0123456789")] == '\0' && b[strspn(b, "+-0123456789")] == '\0';
    double x = strtod(a, &end[0]), y = strtod(b, &end[1]);
    bool numbers = end[0] != a && end[1] != b && !*end[0] && !*end[1];
    if (numbers && integers) /* beyond 2^53 doubles would hide a difference */
        return (*a == '-') == (*b == '-') && strtoull(a, NULL, 10) == strtoull(b, NULL, 10);
    return numbers && x == y;
}

/* What a message says of a node. */
static const char *summary(const struct lm_yaml *node, char text[STEP]) {
    static const char *const entries[] = {
        [LM_YAML_MAPPING] = "keys", [LM_YAML_SEQUENCE] = "entries"};
    if (!node)
        snprintf(text, STEP, "(absent)");
    else if (node->kind == LM_YAML_SCALAR)
        snprintf(text, STEP, "%s", *node->text ? node->text : "(empty)");
    else
        snprintf(text, STEP, "%d %s", node->n, entries[node->kind]);
    return text;
}

static bool differ(const struct lm_yaml *a, const struct lm_yaml *b, const char *key,
                   struct lm_status *status) {
    char text[2][STEP];
    return lm_fail(status, LM_CONFIG, "%s: %s against %s", key, summary(a, text[0]),
                   summary(b, text[1]));
}

static bool same_nodes(const struct lm_yaml *a, const struct lm_yaml *b, const char *key,
                       const char *const ignored[], struct lm_status *status);

/* Every entry of `a` that is not ignored against its match in `b`; with `absent_only`
 * just that there is one. */
static bool same_entries(const struct lm_yaml *a, const struct lm_yaml *b, const char *key,
                         const char *const ignored[], bool absent_only,
                         struct lm_status *status) {
    const struct lm_yaml *beside = b->first;
    int i = 0;
    for (const struct lm_yaml *entry = a->first; entry; entry = entry->next, i++) {
        char below[LM_YAML_KEY];
        if (a->kind == LM_YAML_MAPPING)
            snprintf(below, sizeof below, "%s%s%s", key, *key ? "." : "", entry->key);
        else
            snprintf(below, sizeof below, "%s[%d]", key, i);
        const struct lm_yaml *match =
            a->kind == LM_YAML_MAPPING ? lm_yaml_entry(b, entry->key) : beside;
        beside = beside ? beside->next : NULL;
        if (is_ignored(below, ignored))
            continue;
        if (!match)
            return absent_only ? differ(NULL, entry, below, status)
                               : differ(entry, NULL, below, status);
        if (!absent_only && !same_nodes(entry, match, below, ignored, status))
            return false;
    }
    return true;
}

static bool same_nodes(const struct lm_yaml *a, const struct lm_yaml *b, const char *key,
                       const char *const ignored[], struct lm_status *status) {
    if (a->kind != b->kind || (a->kind == LM_YAML_SEQUENCE && a->n != b->n))
        return differ(a, b, key, status);
    if (a->kind == LM_YAML_SCALAR)
        return same_scalar(a->text, b->text) || differ(a, b, key, status);
    return same_entries(a, b, key, ignored, false, status) &&
           (a->kind == LM_YAML_SEQUENCE || same_entries(b, a, key, ignored, true, status));
}

bool lm_yaml_same(const struct lm_yaml *a, const struct lm_yaml *b, const char *const ignored[],
                  struct lm_status *status) {
    return same_nodes(a, b, "", ignored, status);
}
