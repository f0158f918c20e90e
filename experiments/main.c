/* lamina: the program. `lamina COMMAND ...` runs one of the subcommands. */
#include "command.h"

#include "tensor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct lm_command *const commands[] = {&lm_train_command,    &lm_gradients_command,
                                                    &lm_surprise_command, &lm_describe_command,
                                                    &lm_bench_command,    NULL};

static void print_help(FILE *stream) {
    fprintf(stream, "Usage: lamina COMMAND FILE [OPTION...]\n"
                    "       mpirun -n RANKS lamina COMMAND FILE [OPTION...]\n\n"
                    "Cortical layers that learn by predictive coding, one per MPI rank.\n\n");
    for (int i = 0; commands[i]; i++)
        fprintf(stream, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(stream, "\n'lamina COMMAND --help' explains a command and its options.\n\n%s\n",
            lm_exit_codes);
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return LM_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return LM_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("lamina %s, numbers in %s\n", LAMINA_VERSION, LM_REAL_NAME);
        return LM_OK;
    }
    for (int i = 0; commands[i]; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(argc - 1, argv + 1);
    fprintf(stderr, "lamina: '%s' is not a command; see 'lamina --help'\n", argv[1]);
    return LM_USAGE;
}

int main(int argc, char **argv) {
    int code = run(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == LM_OK) {
        fprintf(stderr, "lamina: cannot print: %s\n", strerror(errno));
        return LM_IO;
    }
    return code;
}
