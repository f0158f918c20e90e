/* The training steps of `lamina bench`: see bench.h. */
#include "bench.h"

#include "comm.h"
#include "distance.h"
#include "memory.h"
#include "peer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_STEPS = 200 };
enum { SETTLE = 50000 }; /* microseconds after which threads that ended no longer spin */
static const double STEPS_SECONDS = 0.1; /* of a measurement */
static const double PEAK_SECONDS = 0.02; /* of the peak before and behind it */

enum { TORCH, TORCH2PC, PEERS };

enum column {
    STEP_SIZE,
    INFERENCE_STEPS,
    FLOPS,
    TIMED_STEPS,
    MILLISECONDS,
    GFLOPS,
    PEAK,
    DISTANCE,
    FLOOR,
    FRACTION,
    LOAD,
    FORWARD,
    INFER,
    LEARN,
    UPDATE,
    PEER,                 /* of the first peer; then that of the next */
    RATIO = PEER + PEERS, /* likewise */
    COLUMNS = RATIO + PEERS
};

static const struct lm_bench_column columns[COLUMNS] = {
    [STEP_SIZE] = {"step_size", "1", "step size of inference", false, NULL},
    [INFERENCE_STEPS] = {"inference_steps", "1", "steps of inference", false, NULL},
    [FLOPS] = {"flops", "1", "floating-point operations a training step needs", false, NULL},
    [TIMED_STEPS] = {"timed_steps", "1", "training steps per repeat", false, NULL},
    [MILLISECONDS] = {"milliseconds", "ms", "time per training step", true, NULL},
    [GFLOPS] = {"gflops", "1e9/s", "operations needed per time taken", true, NULL},
    [PEAK] = {"peak", "1e9/s", "multiplications and additions possible", true, NULL},
    [DISTANCE] = {"distance", "ns", "a word from one processor to another and back", true,
                  NULL},
    [FLOOR] = {"floor", "ms", "least time per training step at this peak", true, NULL},
    [FRACTION] = {"fraction", "1", "least time per time taken", true, NULL},
    [LOAD] = {"load", "ms", "loading the batch, per training step", true, NULL},
    [FORWARD] = {"forward", "ms", "feedforward pass, per training step", true, NULL},
    [INFER] = {"infer", "ms", "inference, per training step", true, NULL},
    [LEARN] = {"learn", "ms", "parameter gradients, per training step", true, NULL},
    [UPDATE] = {"update", "ms", "optimizer, per training step", true, NULL},
    [PEER + TORCH] = {"torch", "ms", "time per training step of PyTorch", true, NULL},
    [PEER + TORCH2PC] = {"torch2pc", "ms", "time per training step of Torch2PC", true, NULL},
    [RATIO + TORCH] = {"torch_ratio", "1", "time of PyTorch per time taken", true, NULL},
    [RATIO + TORCH2PC] = {"torch2pc_ratio", "1", "time of Torch2PC per time taken", true, NULL},
};

struct bench {
    struct lm_session *session;
    struct lm_bench_table *table;
    struct lm_method methods[LM_METHODS]; /* (rows) */
    long steps[LM_METHODS];               /* per repeat */
    bool compares[PEERS];
    long peer_steps[PEERS][LM_METHODS];
    char names[PEERS][128];
    struct lm_peer *peers[PEERS]; /* rank 0 only */
};

static double *value(const struct bench *bench, int column, int m, int repeat) {
    return lm_bench_value(bench->table, column, m, repeat);
}

static struct lm_summary summary(const struct bench *bench, int column, int m) {
    return lm_bench_summary(bench->table, column, m);
}

/* --- measuring ---------------------------------------------------------------------------- */

/* As many steps as take long enough to be timed. */
static long steps_of(const struct bench *bench, double seconds_per_step) {
    if (bench->session->options->steps > 0)
        return bench->session->options->steps;
    double wanted = ceil(STEPS_SECONDS / seconds_per_step);
    return wanted < MOST_STEPS ? (long)wanted : MOST_STEPS;
}

/* Enough steps to be timed; the first ones warm up. The same on all ranks. */
static long choose_steps(struct bench *bench, int m) {
    double seconds[LM_PARTS];
    lm_time_training(bench->session, &bench->methods[m], 1, seconds);
    lm_time_training(bench->session, &bench->methods[m], 2, seconds);
    return steps_of(bench, seconds[LM_PART_ALL] / 2);
}

static void prepare(struct bench *bench) {
    for (int m = 0; m < bench->table->n_rows; m++) {
        bench->steps[m] = choose_steps(bench, m);
        lm_bench_table_name(bench->table, m, bench->methods[m].name);
        *value(bench, STEP_SIZE, m, 0) = bench->methods[m].eta;
        *value(bench, INFERENCE_STEPS, m, 0) = (double)bench->methods[m].n;
        *value(bench, FLOPS, m, 0) = lm_method_flops(bench->session, &bench->methods[m]);
        *value(bench, TIMED_STEPS, m, 0) = (double)bench->steps[m];
    }
}

static void measure(struct bench *bench, int m, int repeat) {
    static const enum column parts[LM_PARTS] = {
        [LM_PASS_LOAD] = LOAD,   [LM_PASS_FORWARD] = FORWARD, [LM_PASS_INFER] = INFER,
        [LM_PASS_LEARN] = LEARN, [LM_PART_UPDATE] = UPDATE,   [LM_PART_ALL] = MILLISECONDS};
    double seconds[LM_PARTS], flops = *value(bench, FLOPS, m, 0);
    double apart = lm_distance_measure(bench->session->threads);
    if (apart > 0)
        *value(bench, DISTANCE, m, repeat) = 1e9 * apart;
    double before = lm_time_peak(bench->session, PEAK_SECONDS);
    lm_time_training(bench->session, &bench->methods[m], bench->steps[m], seconds);
    double peak = (before + lm_time_peak(bench->session, PEAK_SECONDS)) / 2;
    for (int p = 0; p < LM_PARTS; p++)
        *value(bench, parts[p], m, repeat) = 1e3 * seconds[p] / (double)bench->steps[m];
    double step = seconds[LM_PART_ALL] / (double)bench->steps[m];
    *value(bench, GFLOPS, m, repeat) = 1e-9 * flops / step;
    *value(bench, PEAK, m, repeat) = 1e-9 * peak;
    *value(bench, FLOOR, m, repeat) = 1e3 * flops / peak;
    *value(bench, FRACTION, m, repeat) = flops / peak / step;
}

/* --- peers ----------------------------------------------------------------------------------
 */

/* A peer's turn, with nobody else at work. */
static bool time_peer(const struct bench *bench, int p, int m, long k, double *seconds,
                      struct lm_status *status) {
    bool good = true;
    lm_comm_rest();
    if (lm_comm_rank() == 0) {
        usleep(SETTLE);
        good = lm_peer_time(bench->peers[p], &bench->methods[m], k, seconds, status);
        usleep(SETTLE);
    }
    lm_comm_rest();
    lm_comm_broadcast(seconds, sizeof *seconds, 0);
    return lm_comm_agree(good, status);
}

static bool start_peer(struct bench *bench, int p, struct lm_status *status) {
    const struct lm_session *session = bench->session;
    cpu_set_t where;
    int processors = lm_node_processors(&where);
    int threads = lm_comm_node_ranks() * session->threads;
    struct lm_peer_plan plan = {.option = p == TORCH ? "--peer torch" : "--torch2pc",
                                .script = p == TORCH ? "torch_peer.py" : "torch2pc_peer.py",
                                .argument = p == TORCH ? NULL : session->options->torch2pc,
                                .settings = lm_settings_text(session->file),
                                .threads = threads < processors ? threads : processors,
                                .where = &where};
    if (lm_comm_rank() == 0) {
        bench->peers[p] = lm_peer_start(&plan, status);
        if (bench->peers[p])
            snprintf(bench->names[p], sizeof bench->names[p], "%s",
                     lm_peer_name(bench->peers[p]));
    }
    lm_comm_rest();
    lm_comm_broadcast(bench->names[p], sizeof bench->names[p], 0);
    return lm_comm_agree(lm_comm_rank() != 0 || bench->peers[p], status);
}

/* Start those asked for, and let each warm up. */
static bool start_peers(struct bench *bench, struct lm_status *status) {
    bench->compares[TORCH] = bench->session->options->peer != NULL;
    bench->compares[TORCH2PC] = bench->session->options->torch2pc != NULL;
    for (int p = 0; p < PEERS; p++) {
        if (!bench->compares[p])
            continue;
        if (!start_peer(bench, p, status))
            return false;
        for (int m = 0; m < bench->table->n_rows; m++) {
            double seconds = 0;
            if (!time_peer(bench, p, m, 1, &seconds, status) ||
                !time_peer(bench, p, m, 1, &seconds, status))
                return false;
            bench->peer_steps[p][m] = steps_of(bench, seconds);
        }
        lm_bench_table_say(bench->table, columns[PEER + p].name, bench->names[p]);
    }
    return true;
}

static bool compare(struct bench *bench, int m, int repeat, struct lm_status *status) {
    for (int p = 0; p < PEERS; p++) {
        double seconds = 0;
        long k = bench->peer_steps[p][m];
        if (!bench->compares[p])
            continue;
        if (!time_peer(bench, p, m, k, &seconds, status))
            return false;
        *value(bench, PEER + p, m, repeat) = 1e3 * seconds / (double)k;
        *value(bench, RATIO + p, m, repeat) =
            *value(bench, PEER + p, m, repeat) / *value(bench, MILLISECONDS, m, repeat);
    }
    return true;
}

/* --- telling ------------------------------------------------------------------------------ */

static void print_head(const struct bench *bench) {
    const struct lm_session *session = bench->session;
    int ranks = lm_comm_size(), replicas = session->placement.n_replicas;
    printf("%s: %d layers, %zu parameters, batch %zu in chunks of %ld, %s, %s\n",
           session->options->settings, session->network->n_layers,
           lm_network_parameters(session->network), session->batch,
           session->settings->training.chunk, LM_REAL_NAME,
           session->settings->training.optimizer);
    printf("%d rank%s x %d thread%s%s; %s; medians of %d repeats\n\n", ranks,
           ranks == 1 ? "" : "s", session->threads, session->threads == 1 ? "" : "s",
           replicas > 1 ? " in replicas" : "", session->train.source, bench->table->n_repeats);
}

static void print_method(const struct bench *bench, int m) {
    const struct lm_method *method = &bench->methods[m];
    printf("%-16s ", method->rule->name);
    if (method->rule->sweeps)
        printf("%5s %4s ", "", "");
    else
        printf("%5g %4ld ", method->eta, method->n);
}

static void print_steps(const struct bench *bench) {
    printf("%-16s %5s %4s %9s %9s %9s %9s %8s %8s %9s %8s\n", "rule", "eta", "n", "ms/step",
           "lowest", "quartiles", "", "GF/s", "peak", "floor ms", "of peak");
    for (int m = 0; m < bench->table->n_rows; m++) {
        struct lm_summary time = summary(bench, MILLISECONDS, m);
        print_method(bench, m);
        printf("%9.3f %9.3f %9.3f %9.3f %8.1f %8.1f %9.3f %8.3f\n", time.median, time.minimum,
               time.quartile[0], time.quartile[1], summary(bench, GFLOPS, m).median,
               summary(bench, PEAK, m).median, summary(bench, FLOOR, m).median,
               summary(bench, FRACTION, m).median);
    }
    printf(
        "\nGF/s: operations that a step needs per time it took; peak: what these processors "
        "can do;\nfloor: the time a step needs at that peak. src/flops.h says what is counted; "
        "convolutions with\nmany channels do with fewer operations, so that a step can take "
        "less than the floor.\n");
}

static void print_distance(const struct bench *bench) {
    if (!lm_bench_has(bench->table, DISTANCE))
        return;
    struct lm_summary apart = summary(bench, DISTANCE, 0);
    printf("\nA word goes from one processor to another and back in %.0f ns (%.0f to %.0f).\n"
           "About 100 where they share a cache, 60 where they are threads of one core.\n",
           apart.median, apart.quartile[0], apart.quartile[1]);
}

static void print_parts(const struct bench *bench) {
    printf("\n%-16s %5s %4s %9s %9s %9s %9s %9s  ms/step\n", "rule", "eta", "n", "load",
           "forward", "infer", "learn", "update");
    for (int m = 0; m < bench->table->n_rows; m++) {
        print_method(bench, m);
        for (enum column c = LOAD; c <= UPDATE; c++)
            printf("%9.3f ", summary(bench, c, m).median);
        printf("\n");
    }
}

static void print_peer(const struct bench *bench, int p) {
    printf("\n%s\n%-16s %5s %4s %9s %9s %9s %9s %9s\n", bench->names[p], "rule", "eta", "n",
           "ms/step", "lamina", "ratio", "quartiles", "");
    for (int m = 0; m < bench->table->n_rows; m++) {
        struct lm_summary ratio = summary(bench, RATIO + p, m);
        print_method(bench, m);
        printf("%9.2f %9.3f %9.1f %9.1f %9.1f\n", summary(bench, PEER + p, m).median,
               summary(bench, MILLISECONDS, m).median, ratio.median, ratio.quartile[0],
               ratio.quartile[1]);
    }
}

static void print_all(const struct bench *bench) {
    print_head(bench);
    print_steps(bench);
    print_distance(bench);
    print_parts(bench);
    for (int p = 0; p < PEERS; p++)
        if (bench->compares[p])
            print_peer(bench, p);
}

/* --- all of it ---------------------------------------------------------------------------- */

static bool measure_all(struct bench *bench, struct lm_status *status) {
    prepare(bench);
    if (!start_peers(bench, status))
        return false;
    for (int repeat = 0; repeat < bench->table->n_repeats; repeat++)
        for (int m = 0; m < bench->table->n_rows; m++) {
            measure(bench, m, repeat);
            if (!compare(bench, m, repeat, status))
                return false;
        }
    return true;
}

bool lm_bench_rules(struct lm_session *session, int repeats, struct lm_bench_table *table,
                    struct lm_status *status) {
    struct bench bench = {.session = session, .table = table};
    int n = lm_methods_of(session, session->options->rules, bench.methods, status);
    if (n == 0)
        return false;
    lm_bench_table_init(table, n, repeats, COLUMNS, columns);
    bool good = measure_all(&bench, status);
    for (int p = 0; p < PEERS; p++)
        lm_peer_stop(bench.peers[p]);
    if (good && lm_comm_rank() == 0 && !session->options->quiet)
        print_all(&bench);
    return good;
}
