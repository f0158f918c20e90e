/* lamina bench: what it was asked to measure, printed and written to a file. */
#include "bench.h"

#include "audit.h"
#include "bench_file.h"
#include "blas.h"
#include "comm.h"
#include "meta.h"
#include "output.h"

#include <stdio.h>

enum { REPEATS = 11 };

/* *file stays NULL when none is wanted. */
static bool open_file(struct lm_session *session, struct lm_bench_file **file,
                      struct lm_status *status) {
    if (!session->options->output)
        return true;
    if (!lm_output_may_write(session, false, status))
        return false;
    struct lm_peers peers = lm_meta_peers();
    struct lm_run_meta *meta = lm_meta_create(session);
    *file = lm_bench_file_create(session->options->output, &peers, meta, status);
    lm_meta_destroy(meta);
    return lm_comm_agree(*file != NULL, status);
}

static bool write_file(struct lm_bench_file *file, const struct lm_bench_table *table,
                       struct lm_status *status) {
    struct lm_run_traffic traffic = lm_audit_traffic(false);
    bool good = lm_bench_file_finish(file, table, &traffic, status);
    lm_audit_clear(&traffic);
    return lm_comm_agree(good, status);
}

/* What is compared with shall be at its best. */
static void warn(const struct lm_options *options) {
    bool compares = options->operators || options->peer || options->torch2pc;
    if (compares && lm_blas_is_slow() && lm_comm_rank() == 0 && !options->quiet)
        fprintf(stderr, "lamina: warning: OpenBLAS does not know this processor and takes "
                        "kernels without AVX: im2col + sgemm and PyTorch are faster with "
                        "OPENBLAS_CORETYPE=SkylakeX (AVX-512) or Haswell (AVX2)\n");
}

static bool work(struct lm_session *session, struct lm_status *status) {
    const struct lm_options *options = session->options;
    int repeats = options->repeats ? options->repeats : REPEATS;
    struct lm_bench_file *file = NULL;
    struct lm_bench_table table = {0};
    bool good = open_file(session, &file, status) &&
                (options->operators ? lm_bench_operators(session, repeats, &table, status)
                                    : lm_bench_rules(session, repeats, &table, status)) &&
                lm_audit_check_neighbours(session, status);
    if (good)
        warn(options);
    if (good && file)
        good = write_file(file, &table, status);
    else
        lm_bench_file_abandon(file);
    lm_bench_table_clear(&table);
    return good;
}

static int run(int argc, char **argv) {
    return lm_session_run(
        argc, argv, LM_TAKES_BENCH | LM_TAKES_RUN, &lm_bench_command,
        "A training step is all that `lamina train` does but for recording: load a batch, "
        "feedforward pass, inference, gradients, optimizer. Of the rules `strict` and "
        "`fixed-prediction` have the step size and steps of the settings if these are for "
        "the same rule, else 0.1 and 20; `exact` is fixed prediction with step size 1 and "
        "as many steps as layers, which costs and gives what `backprop` does. Times are those "
        "of the slowest rank; its threads go through the parts of a step chunk by chunk, and a "
        "part's time is the mean of what they spend on it, without waiting. The peak is that "
        "of this build's number type and instruction set on the processors of the job.\n\n"
        "Peers train the same network on made-up inputs that lie in memory, with as many "
        "threads as all our ranks have, on the same processors; they have their turn after "
        "each of ours. Their Python is /usr/bin/python3, or what $LAMINA_PYTHON names.\n\n"
        "With --operators each operator of the network works on a chunk of made-up inputs on "
        "one thread; those with weights are compared with im2col and OpenBLAS, and with "
        "oneDNN if that was found when lamina was built.",
        work);
}

const struct lm_command lm_bench_command = {
    "bench", "Measure time per training step against the machine's peak.", run};
