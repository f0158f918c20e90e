#include "command.h"

#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_SET = 256,
    KEY_RESUME,
    KEY_FORCE,
    KEY_FROM,
    KEY_RANKS,
    KEY_SETTINGS,
    KEY_RULES,
    KEY_REPEATS,
    KEY_STEPS,
    KEY_SYNTHETIC,
    KEY_PEER,
    KEY_TORCH2PC,
    KEY_DATA,
    KEY_SPLIT,
    KEY_LABELS,
    KEY_OPERATORS
};

const char lm_exit_codes[] =
    "Exit codes: 0 done; 3 the values diverged; 64 wrong command line or number of ranks; 65 "
    "wrong content of a data set or HDF5 file; 66 an input file is missing; 69 a program to "
    "compare with is missing; 70 a bug; 71 out "
    "of memory or MPI failed; 73 an output cannot be created; 74 reading or writing failed; 75 "
    "stopped by a signal, --resume goes on; 78 wrong settings.";

struct parse {
    struct lm_options *options;
    int takes;
    FILE *silence; /* where a rank that does not speak prints, but for getopt's own lines: one
                      that alone has a wrong option must tell it. NULL: it speaks */
};

static const struct {
    int takes; /* 0: every subcommand */
    struct argp_option option;
} all_options[] = {
    {0,
     {"set", KEY_SET, "KEY=VALUE", 0, "Change one setting, as in --set inference.steps=40", 0}},
    {LM_TAKES_OUTPUT, {"output", 'o', "FILE", 0, "The HDF5 file to write", 0}},
    {LM_TAKES_BENCH,
     {"output", 'o', "FILE", 0, "Write an HDF5 file, or with .json at its end JSON", 0}},
    {LM_TAKES_RESUME,
     {"resume", KEY_RESUME, NULL, 0, "Continue from the newest checkpoint", 0}},
    {LM_TAKES_OUTPUT | LM_TAKES_BENCH,
     {"force", KEY_FORCE, NULL, 0, "Replace FILE (train: and its checkpoints)", 0}},
    {LM_TAKES_FROM,
     {"from", KEY_FROM, "CHECKPOINT", 0, "Take the parameters from a checkpoint", 0}},
    {LM_TAKES_NETWORK,
     {"data", KEY_DATA, "PATH", 0, "The data set (default: data.path of the network)", 0}},
    {LM_TAKES_NETWORK,
     {"split", KEY_SPLIT, "SPLIT", 0, "Its split, test (default) or train", 0}},
    {LM_TAKES_NETWORK,
     {"labels", KEY_LABELS, "KINDS", 0, "Labels to impose (default: true,guess,wrong)", 0}},
    {LM_TAKES_RANKS, {"ranks", KEY_RANKS, "N", 0, "Show the placement on N ranks", 0}},
    {LM_TAKES_RANKS,
     {"settings", KEY_SETTINGS, NULL, 0, "Print the settings only, with all defaults", 0}},
    {LM_TAKES_BENCH,
     {"rules", KEY_RULES, "LIST", 0, "Only these, of strict,fixed-prediction,exact,backprop",
      0}},
    {LM_TAKES_BENCH, {"repeats", KEY_REPEATS, "N", 0, "Times to measure (default: 11)", 0}},
    {LM_TAKES_BENCH,
     {"steps", KEY_STEPS, "N", 0, "Training steps per measurement (default: 0.1 s of them)",
      0}},
    {LM_TAKES_BENCH,
     {"synthetic", KEY_SYNTHETIC, NULL, 0, "Made-up inputs in place of the data set", 0}},
    {LM_TAKES_BENCH,
     {"operators", KEY_OPERATORS, NULL, 0, "Single operators, in place of training steps", 0}},
    {LM_TAKES_BENCH, {"peer", KEY_PEER, "torch", 0, "Compare with PyTorch", 0}},
    {LM_TAKES_BENCH,
     {"torch2pc", KEY_TORCH2PC, "DIR", 0, "Compare with Torch2PC, a checkout of which is DIR",
      0}},
    {LM_TAKES_RUN,
     {"threads", 't', "N", 0, "Threads per rank (default: processors / ranks)", 0}},
    {LM_TAKES_RUN, {"quiet", 'q', NULL, 0, "Print nothing but errors", 0}},
};
enum { N_OPTIONS = sizeof all_options / sizeof *all_options };
enum { MOST = 1 << 20 }; /* of anything that an option counts */

static int parse_count(struct argp_state *state, const char *option, const char *text) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 1 || value > MOST)
        argp_error(state, "--%s is '%s': a whole number from 1 to %d is expected", option, text,
                   MOST);
    return (int)value;
}

/* Options of bench; false for any other. */
static bool parse_bench(int key, char *argument, struct argp_state *state) {
    struct lm_options *options = ((struct parse *)state->input)->options;
    switch (key) {
    case KEY_RULES:
        options->rules = argument;
        return true;
    case KEY_REPEATS:
        options->repeats = parse_count(state, "repeats", argument);
        return true;
    case KEY_STEPS:
        options->steps = parse_count(state, "steps", argument);
        return true;
    case KEY_SYNTHETIC:
        options->synthetic = true;
        return true;
    case KEY_OPERATORS:
        options->operators = true;
        return true;
    case KEY_PEER:
        if (strcmp(argument, "torch") != 0)
            argp_error(state, "--peer is '%s': torch is expected", argument);
        options->peer = argument;
        return true;
    case KEY_TORCH2PC:
        options->torch2pc = argument;
        return true;
    default:
        return false;
    }
}

static const char *file_kind(int takes) {
    return takes & LM_TAKES_NETWORK ? "network" : "settings";
}

/* The one file that is no option. */
static error_t take_file(struct argp_state *state, const char *path) {
    struct parse *parse = state->input;
    bool network = parse->takes & LM_TAKES_NETWORK;
    const char **file = network ? &parse->options->network : &parse->options->settings;
    if (*file)
        argp_error(state, "one %s file is expected, '%s' is one too many",
                   file_kind(parse->takes), path);
    *file = path;
    return 0;
}

/* NAME.h5: by NAME the checkpoints beside it are called. */
static bool ends_in_h5(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    return length > 3 && strcmp(name + length - 3, ".h5") == 0;
}

/* What must be there, and what must not be together. */
static void check_together(const struct parse *parse, const struct argp_state *state) {
    const struct lm_options *options = parse->options;
    if (!options->settings && !options->network)
        argp_error(state, "a %s file is missing", file_kind(parse->takes));
    if (parse->takes & LM_TAKES_OUTPUT && (!options->output || !*options->output))
        argp_error(state, "-o FILE is missing: where to write");
    if (parse->takes & LM_TAKES_BENCH && options->output && !*options->output)
        argp_error(state, "-o '': the name of a file is expected");
    if (options->operators &&
        (options->rules || options->steps || options->peer || options->torch2pc))
        argp_error(state, "--operators excludes --rules, --steps, --peer and --torch2pc");
    if (parse->takes & LM_TAKES_RESUME && !ends_in_h5(options->output))
        argp_error(state, "-o '%s': a name that ends in .h5 is expected", options->output);
    if (options->resume && options->force)
        argp_error(state, "--resume and --force exclude each other");
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct parse *parse = state->input;
    struct lm_options *options = parse->options;
    switch (key) {
    case ARGP_KEY_INIT:
        if (parse->silence)
            state->err_stream = state->out_stream = parse->silence;
        return 0;
    case KEY_SET:
        options->set[options->n_set++] = argument;
        return 0;
    case 'o':
        options->output = argument;
        return 0;
    case KEY_RESUME:
        options->resume = true;
        return 0;
    case KEY_FORCE:
        options->force = true;
        return 0;
    case KEY_FROM:
        options->from = argument;
        return 0;
    case KEY_RANKS:
        options->ranks = parse_count(state, "ranks", argument);
        return 0;
    case KEY_SETTINGS:
        options->only_settings = true;
        return 0;
    case KEY_DATA:
        options->data = argument;
        return 0;
    case KEY_SPLIT:
        if (strcmp(argument, "test") != 0 && strcmp(argument, "train") != 0)
            argp_error(state, "--split is '%s': test or train is expected", argument);
        options->split = argument;
        return 0;
    case KEY_LABELS:
        options->labels = argument;
        return 0;
    case 't':
        options->threads = parse_count(state, "threads", argument);
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        return take_file(state, argument);
    case ARGP_KEY_END:
        check_together(parse, state);
        return 0;
    default:
        return parse_bench(key, argument, state) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

/* Append a word as a shell reads it: in quotes, if it has other signs than those here. */
static char *append(char *end, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    if (*word && word[strspn(word, plain)] == '\0')
        return stpcpy(end, word);
    *end++ = '\'';
    for (; *word; word++)
        if (*word == '\'')
            end = stpcpy(end, "'\\''");
        else
            *end++ = *word;
    return stpcpy(end, "'");
}

/* The command line in one string, to be typed again. */
static char *join(int argc, char **argv) {
    size_t length = sizeof "lamina";
    for (int i = 0; i < argc; i++)
        length += 4 * strlen(argv[i]) + 3;
    char *line = lm_allocate(length, 1), *end = stpcpy(line, "lamina");
    for (int i = 0; i < argc; i++) {
        *end++ = ' ';
        end = append(end, argv[i]);
    }
    return line;
}

void lm_options_read(struct lm_options *options, int argc, char **argv, int takes, bool speaks,
                     const struct lm_command *command, const char *details) {
    struct argp_option chosen[N_OPTIONS + 1] = {{0}};
    for (int i = 0, n = 0; i < N_OPTIONS; i++)
        if (all_options[i].takes == 0 || all_options[i].takes & takes)
            chosen[n++] = all_options[i].option;
    *options = (struct lm_options){.line = join(argc, argv), .split = "test"};
    options->set = lm_allocate((size_t)argc, sizeof *options->set);
    char doc[4096], name[64];
    snprintf(doc, sizeof doc, "%s\v%s\n\n%s", command->summary, details, lm_exit_codes);
    snprintf(name, sizeof name, "lamina %s", command->name);
    const struct argp argp = {
        chosen, parse_option, takes & LM_TAKES_NETWORK ? "NETWORK.h5" : "SETTINGS.yaml",
        doc,    NULL,         NULL,
        NULL};
    struct parse parse = {options, takes, speaks ? NULL : fopen("/dev/null", "w")};
    argv[0] = name;
    argp_err_exit_status = LM_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &parse);
    argv[0] = NULL;
    if (parse.silence)
        fclose(parse.silence);
}

void lm_options_clear(struct lm_options *options) {
    lm_free(options->set);
    lm_free(options->line);
}
