/* YAML text: a YAML text to a tree (yaml_tree.h) and back, with libyaml.
 *
 * Only plain YAML is taken: mappings with text keys, sequences and scalars; no anchors,
 * aliases, tags or second document. */
#ifndef LAMINA_YAML_TEXT_H
#define LAMINA_YAML_TEXT_H

#include "yaml_tree.h"

/* Read `size` bytes. `source` must outlive the tree; with `lines` false the nodes have no
 * line, since the source says enough. An empty text gives an empty scalar. NULL on failure:
 * LM_CONFIG "SOURCE:LINE: ..." for syntax, repeated keys, what is not taken, and more than
 * LM_YAML_MAX_DEPTH or LM_YAML_MAX_ENTRIES. Free with lm_yaml_destroy. */
struct lm_yaml *lm_yaml_parse(const char *source, bool lines, const char *text, size_t size,
                              struct lm_status *status);

/* The tree as text, in block or flow style as it was read; free with lm_free. Reading it
 * again gives the same text. */
char *lm_yaml_text(const struct lm_yaml *root);

#endif
