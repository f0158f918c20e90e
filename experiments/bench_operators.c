/* The operators of `lamina bench --operators`: see bench.h. Each works on one chunk of made-up
 * numbers, on one thread. Other means (kernel.h) get the same numbers, must give the same
 * results, and are timed in turn. */
#include "bench.h"

#include "comm.h"
#include "kernel.h"
#include "memory.h"
#include "peak.h"
#include "random.h"
#include "run_file.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

static const double SECONDS = 0.005; /* of a measurement, and of the peak before and behind */
static const char *const functions[LM_FUNCTIONS] = {"forward", "difference", "pull_input",
                                                    "pull_parameters"};

static const struct lm_kernel *const others[] = {
    &lm_kernel_gemm,
#ifdef LAMINA_DNNL
    &lm_kernel_dnnl,
#endif
};

enum { OTHERS = sizeof others / sizeof *others, MOST_OTHERS = 2 };

enum column {
    FLOPS,
    MICROSECONDS,
    GFLOPS,
    PEAK,
    FRACTION,
    OTHER,
    RATIO = OTHER + MOST_OTHERS,
    COLUMNS = RATIO + MOST_OTHERS
};

static const struct lm_bench_column columns[COLUMNS] = {
    [FLOPS] = {"flops", "1", "floating-point operations per input", false, NULL},
    [MICROSECONDS] = {"microseconds", "us", "time per input", true, NULL},
    [GFLOPS] = {"gflops", "1e9/s", "operations per time", true, NULL},
    [PEAK] = {"peak", "1e9/s", "multiplications and additions possible on one thread", true,
              NULL},
    [FRACTION] = {"fraction", "1", "operations per time, of those possible", true, NULL},
    [OTHER] = {"gemm", "us", "time per input of im2col and sgemm", true, NULL},
    [OTHER + 1] = {"dnnl", "us", "time per input of oneDNN", true, NULL},
    [RATIO] = {"gemm_ratio", "1", "time of im2col and sgemm per time taken", true, NULL},
    [RATIO + 1] = {"dnnl_ratio", "1", "time of oneDNN per time taken", true, NULL},
};

/* --- one operator and its numbers --------------------------------------------------------- */

struct subject {
    const struct lm_operator *op;
    size_t count, width;
    real *parameters, *prepared, *x[LM_MAX_PARENTS], *ex[LM_MAX_PARENTS], *y, *dy, *e, *tape,
        *gradient;
    void *other[OTHERS]; /* state; NULL: not for this operator */
};

/* Uniform in (-1, 1), zero in the padding. */
static void make_up(real *array, uint64_t index, size_t units, const struct subject *s) {
    for (size_t u = 0; u < units; u++)
        for (size_t b = 0; b < s->count; b++)
            array[u * s->width + b] =
                (real)(2 * lm_random_uniform(0, LM_STREAM_MADE_UP, index, u * s->width + b) -
                       1);
}

static void init_subject(struct subject *s, const struct lm_operator *op, size_t count,
                         bool prepares) {
    *s = (struct subject){.op = op, .count = count, .width = lm_width(count)};
    size_t out = lm_shape_units(&op->out), n = lm_operator_parameters(op);
    s->y = lm_allocate(out * s->width, sizeof(real));
    s->dy = lm_allocate(out * s->width, sizeof(real));
    s->e = lm_allocate(out * s->width, sizeof(real));
    s->tape = lm_allocate(op->tape * s->width, sizeof(real));
    s->parameters = lm_allocate(n, sizeof(real));
    s->gradient = lm_allocate(n, sizeof(real));
    make_up(s->e, 0, out, s);
    for (size_t i = 0; i < n; i++)
        s->parameters[i] = (real)((2 * lm_random_uniform(0, LM_STREAM_MADE_UP, 1, i) - 1) /
                                  sqrt((double)op->fan_in));
    if (prepares && op->n_prepared) {
        s->prepared = lm_allocate_room(op->n_prepared, sizeof(real));
        op->kind->prepare(op, s->parameters, 0, 1, s->prepared);
    }
    for (int k = 0; k < op->n_inputs; k++) {
        size_t in = lm_shape_units(&op->in[k]);
        s->x[k] = lm_allocate(in * s->width, sizeof(real));
        s->ex[k] = lm_allocate(in * s->width, sizeof(real));
        make_up(s->x[k], (uint64_t)k + 2, in, s);
    }
    const struct lm_kernel_case c = {op, count, s->width, s->parameters, s->x[0], s->e};
    for (int o = 0; o < OTHERS; o++)
        s->other[o] = others[o]->create(&c);
}

static void clear_subject(struct subject *s) {
    for (int o = 0; o < OTHERS; o++)
        if (s->other[o])
            others[o]->destroy(s->other[o]);
    for (int k = 0; k < s->op->n_inputs; k++) {
        lm_free(s->x[k]);
        lm_free(s->ex[k]);
    }
    lm_free(s->y);
    lm_free(s->dy);
    lm_free(s->e);
    lm_free(s->tape);
    lm_free(s->parameters);
    lm_free(s->prepared);
    lm_free(s->gradient);
}

static void run_ours(struct subject *s, enum lm_function function) {
    const struct lm_operator *op = s->op;
    const real *const *x = (const real *const *)s->x;
    if (function == LM_FORWARD)
        op->kind->forward(op, s->parameters, x, s->width, s->y, s->tape);
    else if (function == LM_DIFFERENCE)
        op->kind->difference(op, s->parameters, x, s->y, x, s->width, s->dy, s->tape);
    else if (function == LM_PULL_INPUT && s->prepared)
        op->kind->pull_prepared(op, s->prepared, s->e, s->width, NULL, s->ex[0]);
    else if (function == LM_PULL_INPUT)
        op->kind->pull_input(op, s->parameters, s->tape, s->e, s->width, s->ex);
    else
        op->kind->pull_parameters(op, s->x[0], s->e, s->width, false, s->gradient);
}

/* --- the same results -----------------------------------------------------------------------
 */

/* Length of what a function makes, and where ours has it. */
static size_t result_of(const struct subject *s, enum lm_function function,
                        const real **result) {
    if (function == LM_PULL_PARAMETERS) {
        *result = s->gradient;
        return lm_operator_parameters(s->op);
    }
    *result = function == LM_PULL_INPUT ? s->ex[0] : s->y;
    return s->width * lm_shape_units(function == LM_PULL_INPUT ? &s->op->in[0] : &s->op->out);
}

/* The largest magnitude of a - b; b NULL: of a. Without fmax, at which GCC 12 for aarch64 gives
 * up. */
static double largest(size_t n, const real *a, const real *b) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double magnitude = fabs((double)a[i] - (b ? (double)b[i] : 0));
        if (magnitude > most)
            most = magnitude;
    }
    return most;
}

/* Whether another way makes the same of a function as ours, but for rounding. */
static bool check_other(struct subject *s, int o, enum lm_function function,
                        struct lm_status *status) {
    const double tolerance = sizeof(real) == sizeof(float) ? 1e-4 : 1e-12;
    const real *ours;
    size_t n = result_of(s, function, &ours);
    real *theirs = lm_allocate(n, sizeof *theirs);
    run_ours(s, function);
    memcpy(theirs, ours, n * sizeof *theirs); /* the padding is not read */
    others[o]->run(s->other[o], function);
    others[o]->read(s->other[o], function, theirs);
    double difference = largest(n, ours, theirs), size = largest(n, ours, NULL);
    lm_free(theirs);
    if (difference <= tolerance * size)
        return true;
    return lm_fail(status, LM_INTERNAL, "%s of %s: %s differs from ours by %g of %g",
                   functions[function], s->op->kind->name, others[o]->name, difference, size);
}

static bool check_others(struct subject *s, struct lm_status *status) {
    for (int o = 0; o < OTHERS; o++)
        for (int function = 0; s->other[o] && function < LM_FUNCTIONS; function++)
            if (function != LM_DIFFERENCE &&
                !check_other(s, o, (enum lm_function)function, status))
                return false;
    return true;
}

/* --- measuring ------------------------------------------------------------------------------
 */

/* Seconds per function by our means (o < 0) or others, as often as fills the time of a
 * measurement. */
static double time_function(struct subject *s, int o, enum lm_function function) {
    double start = lm_run_clock(), elapsed;
    long n = 0;
    do {
        if (o < 0)
            run_ours(s, function);
        else
            others[o]->run(s->other[o], function);
        n++;
        elapsed = lm_run_clock() - start;
    } while (elapsed < SECONDS);
    return elapsed / (double)n;
}

static void measure(struct subject *s, enum lm_function function, struct lm_bench_table *table,
                    int row, int repeat) {
    bool counts = lm_operator_parameters(s->op) > 0; /* others are bound by memory */
    double before = lm_peak_measure(1, SECONDS), inputs = (double)s->count;
    double seconds = time_function(s, -1, function) / inputs;
    double peak = (before + lm_peak_measure(1, SECONDS)) / 2;
    *lm_bench_value(table, MICROSECONDS, row, repeat) = 1e6 * seconds;
    *lm_bench_value(table, PEAK, row, repeat) = 1e-9 * peak;
    if (counts) {
        *lm_bench_value(table, FLOPS, row, 0) = s->op->flops;
        *lm_bench_value(table, GFLOPS, row, repeat) = 1e-9 * s->op->flops / seconds;
        *lm_bench_value(table, FRACTION, row, repeat) = s->op->flops / seconds / peak;
    }
    for (int o = 0; o < OTHERS; o++) {
        if (!s->other[o] || function == LM_DIFFERENCE)
            continue;
        double theirs = time_function(s, o, function) / inputs;
        *lm_bench_value(table, OTHER + o, row, repeat) = 1e6 * theirs;
        *lm_bench_value(table, RATIO + o, row, repeat) = theirs / seconds;
    }
}

static bool is_timed(const struct lm_operator *op, int function) {
    return !op->kind->view &&
           (function != LM_PULL_PARAMETERS || lm_operator_parameters(op) > 0);
}

/* Rows of one operator from `row` on, if training prepares the layer's weights from these;
 * returns the row behind them, or -1. */
static int measure_operator(const struct lm_plan *plan, int j, size_t count, bool prepares,
                            struct lm_bench_table *table, int row, struct lm_status *status) {
    struct subject s;
    init_subject(&s, &plan->map.operators[j], count, prepares);
    bool good = check_others(&s, status);
    for (int function = 0; good && function < LM_FUNCTIONS; function++) {
        char name[256];
        if (!is_timed(s.op, function))
            continue;
        snprintf(name, sizeof name, "%s.%d %s %s", plan->name, j + 1, s.op->kind->name,
                 functions[function]);
        lm_bench_table_name(table, row, name);
        for (int repeat = -1; repeat < table->n_repeats; repeat++) /* the first warms up */
            measure(&s, (enum lm_function)function, table, row, repeat < 0 ? 0 : repeat);
        row++;
    }
    clear_subject(&s);
    return good ? row : -1;
}

/* --- telling ------------------------------------------------------------------------------ */

static void print_value(const struct lm_bench_table *table, int column, int row,
                        const char *format, int width) {
    double median = lm_bench_summary(table, column, row).median;
    if (isnan(median))
        printf(" %*s", width, "");
    else
        printf(format, width, median);
}

static void print_table(const struct lm_session *session, const struct lm_bench_table *table) {
    printf("%s: chunks of %ld inputs, %s, one thread; medians of %d repeats\n",
           session->options->settings, session->settings->training.chunk, LM_REAL_NAME,
           table->n_repeats);
    for (int i = 0; i < table->n_texts; i++)
        printf("%s: %s\n", table->texts[i][0], table->texts[i][1]);
    printf("\n%-32s %10s %8s %8s %8s %8s %8s\n", "operator", "us/input", "GF/s", "peak",
           "of peak", "gemm/it", "dnnl/it");
    for (int row = 0; row < table->n_rows; row++) {
        printf("%-32s", table->rows[row]);
        print_value(table, MICROSECONDS, row, " %*.3f", 10);
        print_value(table, GFLOPS, row, " %*.1f", 8);
        print_value(table, PEAK, row, " %*.1f", 8);
        print_value(table, FRACTION, row, " %*.3f", 8);
        print_value(table, RATIO, row, " %*.2f", 8);
        print_value(table, RATIO + 1, row, " %*.2f", 8);
        printf("\n");
    }
    printf("\ngemm/it, dnnl/it: time of im2col and %s, and of oneDNN, per time of it\n"
           "pull_input of linear: from transposed weights where training does so; transposing "
           "is not counted\n",
           sizeof(real) == sizeof(float) ? "sgemm" : "dgemm");
}

static int count_rows(const struct lm_network *network) {
    int n = 0;
    for (int l = 0; l < network->n_layers; l++)
        for (int j = 0; j < network->layers[l].map.n; j++)
            for (int function = 0; function < LM_FUNCTIONS; function++)
                n += is_timed(&network->layers[l].map.operators[j], function);
    return n;
}

bool lm_bench_operators(struct lm_session *session, int repeats, struct lm_bench_table *table,
                        struct lm_status *status) {
    const struct lm_network *network = session->network;
    size_t count = lm_settings_chunk(session->settings);
    double chunks = (double)((session->batch - 1) / count + 1);
    if (lm_comm_size() > 1)
        return lm_fail(status, LM_USAGE, "--operators is for one rank, not %d", lm_comm_size());
    omp_set_num_threads(1);
    lm_bench_table_init(table, count_rows(network), repeats, COLUMNS, columns);
    for (int o = 0; o < OTHERS; o++)
        lm_bench_table_say(table, others[o]->name, others[o]->describe());
    int row = 0;
    struct lm_flops *flops = lm_session_flops(session->settings, network);
    for (int l = 0; l < network->n_layers; l++) {
        const struct lm_plan *plan = &network->layers[l];
        bool prepares = lm_plan_prepared(plan, chunks * lm_flops_pulls(&flops[l])) > 0;
        for (int j = 0; row >= 0 && j < plan->map.n; j++)
            row = measure_operator(plan, j, count, prepares, table, row, status);
    }
    lm_free(flops);
    if (row >= 0 && !session->options->quiet)
        print_table(session, table);
    return row >= 0;
}
