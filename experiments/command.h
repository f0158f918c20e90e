/* Command: the subcommands of `lamina`, one source file each, and what their command lines
 * have in common. */
#ifndef LAMINA_COMMAND_H
#define LAMINA_COMMAND_H

#include "status.h"

#include <argp.h>

/* One subcommand. `run` gets the command line from the subcommand's name on and returns the
 * exit code. */
struct lm_command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};

extern const struct lm_command lm_train_command, lm_gradients_command, lm_surprise_command,
    lm_describe_command, lm_bench_command;

/* What the command line said. */
struct lm_options {
    const char *settings; /* path of the YAML file; NULL where a network is taken */
    const char *network;  /* path of a trained network: checkpoint or run file; else NULL */
    const char *output;   /* -o; NULL: none */
    const char *from;     /* --from: checkpoint to take parameters from, NULL: none */
    const char *data;     /* --data: data set in place of data.path, NULL: none */
    const char *split;    /* --split: "test" or "train" */
    const char *labels;   /* --labels, NULL: not given */
    int n_set;
    const char **set; /* (n_set) "a.b=c" */
    int threads;      /* per rank; 0: as many as processors there are for it */
    int ranks;        /* --ranks of describe */
    bool resume, force, quiet;
    bool only_settings;   /* --settings of describe */
    const char *rules;    /* --rules of bench, separated by commas; NULL: all */
    int repeats;          /* --repeats of bench; 0: its default */
    int steps;            /* --steps of bench; 0: enough to be timed */
    const char *peer;     /* --peer of bench; NULL: none */
    const char *torch2pc; /* --torch2pc of bench: a folder; NULL: none */
    bool operators;       /* --operators of bench */
    bool synthetic;       /* made-up inputs in place of the data set */
    char *line;           /* the whole command line, for run files */
};

/* The options that subcommands choose from; each is one bit. */
enum {
    LM_TAKES_OUTPUT = 1,
    LM_TAKES_RESUME = 2,
    LM_TAKES_FROM = 4,
    LM_TAKES_RANKS = 8,   /* --ranks, --settings */
    LM_TAKES_RUN = 16,    /* --threads, --quiet */
    LM_TAKES_BENCH = 32,  /* those of bench, whose output is optional */
    LM_TAKES_NETWORK = 64 /* a trained network instead of settings; --data, --split, --labels */
};

/* Read the command line of a subcommand that takes the options `takes`; `command` and
 * `details` go into its --help. A mistake ends the program with exit code 64, --help with 0;
 * only a rank that `speaks` prints. Free with lm_options_clear. */
void lm_options_read(struct lm_options *options, int argc, char **argv, int takes, bool speaks,
                     const struct lm_command *command, const char *details);
void lm_options_clear(struct lm_options *options);

/* Explanation of the exit codes, for --help. */
extern const char lm_exit_codes[];

#endif
