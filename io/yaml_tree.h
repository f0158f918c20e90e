/* YAML tree: a YAML text as a tree of nodes that know where they came from.
 *
 * Settings need what libcyaml does not offer: defaults, values from the command line,
 * and messages that name the file, line and key. So texts are read into trees
 * (yaml_text.h), merged, and written as one text again.
 *
 * Messages are LM_CONFIG, one line, "ORIGIN: KEY: what is wrong". */
#ifndef LAMINA_YAML_TREE_H
#define LAMINA_YAML_TREE_H

#include "status.h"

#include <stddef.h>

enum lm_yaml_kind { LM_YAML_SCALAR, LM_YAML_MAPPING, LM_YAML_SEQUENCE };

enum {
    LM_YAML_MAX_DEPTH = 32,     /* mappings and sequences inside each other */
    LM_YAML_MAX_ENTRIES = 4096, /* of one mapping or sequence */
    LM_YAML_KEY = 256           /* bytes of the text of a key path */
};

/* One value. */
struct lm_yaml {
    enum lm_yaml_kind kind;
    char *key;          /* within a mapping; else NULL */
    char *text;         /* of a scalar; else NULL */
    bool plain;         /* a scalar without quotes */
    bool flow;          /* written as {} or [] */
    const char *source; /* file name, or "--set a.b=c"; not owned */
    long line;          /* of the key, or of the value where there is none; 0: no line */
    int n;              /* entries */
    struct lm_yaml *first, *last, *next; /* entries; the next one beside this */
};

void lm_yaml_destroy(struct lm_yaml *node);

/* Add an entry behind the others; `entry` is taken. */
void lm_yaml_append(struct lm_yaml *node, struct lm_yaml *entry);

/* Whether the node is a scalar that stands for nothing: empty, ~ or null. */
bool lm_yaml_is_null(const struct lm_yaml *node);

/* The value at a path such as "network.layers[0].name" or "network.layers.0.name"; ""
 * is the root. NULL when it is not there. */
struct lm_yaml *lm_yaml_find(struct lm_yaml *root, const char *path);

/* The entry of a mapping by key, of a sequence by its number as text; NULL if none. */
struct lm_yaml *lm_yaml_entry(const struct lm_yaml *node, const char *step);

/* Put `over` on top of `base`: mappings key by key, everything else whole. An empty value
 * leaves a mapping as it was. Takes `over`. */
void lm_yaml_merge(struct lm_yaml *base, struct lm_yaml *over);

/* Give a node the content of `by`, which is taken; key and place stay. */
void lm_yaml_replace(struct lm_yaml *node, struct lm_yaml *by);

/* Give a scalar node {} (key NULL) or {key: {}} as its content. */
void lm_yaml_make_mapping(struct lm_yaml *node, const char *key);

/* Merge `value` at a path; takes it. Keys that are not there are made; numbers of sequence
 * entries must be there, and such an entry is replaced whole. LM_CONFIG names value's
 * origin. */
bool lm_yaml_put(struct lm_yaml *root, const char *path, struct lm_yaml *value,
                 struct lm_status *status);

/* Whether two trees say the same, but for keys at or under one of the paths in `ignored`
 * (NULL-ended). Order of keys and quotes do not count; numbers are compared as numbers.
 * LM_CONFIG names the first key that differs and both values, those of `a` first. */
bool lm_yaml_same(const struct lm_yaml *a, const struct lm_yaml *b, const char *const ignored[],
                  struct lm_status *status);

/* Fail with "ORIGIN: KEY: message"; key "" is left out. */
bool lm_yaml_fail(struct lm_status *status, const struct lm_yaml *node, const char *key,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Put "ORIGIN: KEY: " before the message in *status. */
bool lm_yaml_fail_prefix(struct lm_status *status, const struct lm_yaml *node, const char *key);

#endif
