/* Settings: what a run does, from a YAML file, read with libcyaml against a schema.
 *
 * Built-in defaults, then the file, then each `--set a.b=c`, are merged key by key
 * (sequences are replaced whole), then checked. A mistake is LM_CONFIG with one line
 * "FILE:LINE: KEY: what is wrong", or "--set a.b=c: KEY: ..." for a value from there.
 *
 * A key path names entries of sequences by number, from 0: network.layers[0].name.
 * Whole numbers are at most 2^31 - 1, but for the seed. */
#ifndef LAMINA_SETTINGS_H
#define LAMINA_SETTINGS_H

#include "network.h"

#include <stdint.h>

struct lm_settings {
    struct {
        const char *format; /* name of a data set reader: "idx", "cifar10" */
        const char *path;   /* folder; io/dataset.h says where a relative one is sought */
    } data;
    struct lm_network_spec network; /* layers in the order of the file; plain if the state is
                                       "value" */
    const char *loss;               /* network.loss: "mse", "cross_entropy" */
    struct {
        const char *rule;        /* "backprop", "strict", "fixed-prediction" */
        double step;             /* eta, dimensionless, above 0 */
        long steps;              /* n, of inference, at least 1 */
        const char *state;       /* "deviation", "value" */
        const char *presynaptic; /* "value", "feedforward" */
    } inference;
    struct {
        const char *optimizer; /* "adam", "sgd" */
        double rate;           /* learning rate, above 0 */
        double momentum;       /* of sgd, 0 <= momentum < 1; else 0 */
        long batch;            /* inputs per training step, at least 1 */
        long chunk;            /* inputs per chunk, at least 1 */
        long epochs;           /* at least 1 */
        long steps;            /* 0: all steps of the epochs; else stop after so many */
        uint64_t seed;
    } training;
    struct {
        bool gradients;       /* relative error and angle against exact gradients */
        long gradients_every; /* if so, every so many training steps, at least 1 */
        long test_every;      /* a test batch every so many steps; 0: never */
        struct {
            const char *split; /* "train", "test" */
            long inputs;       /* the first so many inputs of the split; 0: none */
            long every;        /* training steps between records, at least 1; the start
                                  and the end are always recorded */
        } errors;
    } record;
    struct {
        long every; /* training steps between checkpoints; 0: never */
        long keep;  /* newest checkpoints kept; 0: all */
    } checkpoint;
    struct {
        const char *train;  /* rule that trains the network before measuring, or "none" */
        int n_step;         /* step sizes to measure with, at least 1 */
        const double *step; /* each above 0 */
        long steps;         /* of inference, at most */
        bool updates;       /* record every parameter update itself after the last of them */
    } gradients;            /* used by `lamina gradients` only */
    struct {
        long replicas;     /* of the network, each with its share of every batch, at least 1 */
        int n;             /* 0: placed automatically */
        const long *ranks; /* rank within a replica of each layer in the order of the file */
        int n_costs;       /* 0: counted operations */
        const double *costs; /* of each layer in that order, above 0, in any unit */
    } placement;             /* `placement: {replicas: 2, ranks: [0, 0, 1]}` */
};

/* Read, merge and check settings. `set` holds n_set texts "a.b=c". Everything that
 * can be checked without the data and the ranks is checked here: names of rules,
 * losses and optimisers against the tables of src/, the network by building it once.
 * NULL on failure: LM_NO_INPUT when the file is not there or cannot be read, else
 * LM_CONFIG. Local; free with lm_settings_destroy. */
struct lm_settings_file;
struct lm_settings_file *lm_settings_read(const char *path, int n_set, const char *const set[],
                                          struct lm_status *status);

/* The settings; they live as long as the handle. */
const struct lm_settings *lm_settings_get(const struct lm_settings_file *file);
void lm_settings_destroy(struct lm_settings_file *file);

/* Inputs of a chunk: training.chunk, or the whole batch where that is less. */
size_t lm_settings_chunk(const struct lm_settings *settings);

/* All settings as YAML with every default filled in; reading this text again gives
 * the same settings. Owned by the handle. */
const char *lm_settings_text(const struct lm_settings_file *file);

/* Read settings from a text instead of a file (of a checkpoint, say); `name` stands
 * for the file in messages. */
struct lm_settings_file *lm_settings_parse(const char *name, const char *text, int n_set,
                                           const char *const set[], struct lm_status *status);

/* Put "FILE:LINE: KEY: " (or the --set) before the message of a mistake that a caller
 * found in the value of `key`, "placement.replicas" or "network.input" say; returns false. */
bool lm_settings_blame(const struct lm_settings_file *file, const char *key,
                       struct lm_status *status);

/* Whether two texts of lm_settings_text describe the same run. If not, the message is
 * "KEY: VALUE OF a against VALUE OF b" for the first key that differs. Keys at or under
 * one of `ignored` (NULL-ended; "training.steps", "checkpoint") may differ. */
bool lm_settings_same(const char *a, const char *b, const char *const ignored[],
                      struct lm_status *status);

#endif
