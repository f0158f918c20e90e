/* Settings schema: which keys settings have and of what type, for libcyaml, and its
 * complaints turned into messages that name the file, line and key. */
#ifndef LAMINA_SETTINGS_SCHEMA_H
#define LAMINA_SETTINGS_SCHEMA_H

#include "settings.h"
#include "yaml_tree.h"

/* The memory of loaded settings. */
struct lm_settings_block;

/* Load settings from `text`, which is lm_yaml_text(tree); the tree tells where a value came
 * from. Types and keys are right then, ranges and names are not checked. NULL on failure.
 * Free *memory with lm_settings_unload in either case; it must be NULL before. */
struct lm_settings *lm_settings_load(struct lm_yaml *tree, const char *text,
                                     struct lm_settings_block **memory,
                                     struct lm_status *status);
void lm_settings_unload(struct lm_settings_block *memory);

#endif
