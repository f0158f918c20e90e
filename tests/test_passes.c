/* Passes over a batch on one rank: who loads, who is told that a chunk is done, and what is
 * left when chunks forget. */
#include "comm.h"
#include "runner.h"
#include "small_networks.h"
#include "threads.h"

#include <string.h>

enum { BATCH = 70, CHUNK = 32, CHUNKS = 3, THREADS = 3, MOST_LAYERS = 8 };
enum { NARROW = 16, MANY = 12 }; /* of a net with a large layer, that learns behind the rest */

static const char *const networks[] = {"conv", "mlp", "skip"};

/* Calls for each chunk. */
static void count_load(void *context, int c) {
    int *loads = context;
#pragma omp atomic
    loads[c]++;
}

/* Each chunk is loaded once before it goes forward, and never without; passes that are done
 * take time, others none. */
START_TEST(passes_load_and_tell_their_time) {
    struct small_cortex *small = small_cortex_create("conv", 0, BATCH, CHUNK, 2);
    struct lm_inference inference = small_inference("mse", 0.1, BATCH);
    int loads[3] = {0};
    double seconds[LM_PASSES] = {0};
    struct lm_passes passes = {
        .load = count_load, .context = loads, .forward = true, .seconds = seconds};
    lm_cortex_run(small->cortex, &passes);
    for (int c = 0; c < 3; c++)
        ck_assert_int_eq(loads[c], 1);
    ck_assert(seconds[LM_PASS_FORWARD] > 0);
    ck_assert(seconds[LM_PASS_INFER] == 0 && seconds[LM_PASS_LEARN] == 0);
    double forward = seconds[LM_PASS_FORWARD];
    passes.forward = false;
    passes.rule = lm_rule_find("strict", "deviation");
    passes.inference = &inference;
    passes.steps = 2;
    passes.learn = true;
    lm_cortex_run(small->cortex, &passes);
    for (int c = 0; c < 3; c++)
        ck_assert_int_eq(loads[c], 1);
    ck_assert(seconds[LM_PASS_FORWARD] == forward);
    ck_assert(seconds[LM_PASS_INFER] > 0 && seconds[LM_PASS_LEARN] > 0);
    small_cortex_destroy(small);
}
END_TEST

/* A batch that is loaded from another cortex, and what was found where chunks were done. */
struct watch {
    struct small_cortex *small, *source;
    int loads[MANY], done[MANY];
    double energy[MOST_LAYERS][MANY];
    const real *first[MANY]; /* where the first layer had its activations */
};

static void load(void *context, int c) {
    struct watch *watch = context;
    struct lm_shape input = watch->small->network->input;
    size_t n = lm_shape_units(&input) * lm_width(lm_cortex_count(watch->small->cortex, c));
    memcpy(lm_cortex_input(watch->small->cortex, c), lm_cortex_input(watch->source->cortex, c),
           n * sizeof(real));
    watch->loads[c]++;
}

static void done(void *context, int c) {
    struct watch *watch = context;
    for (int i = 0; i < lm_cortex_layers(watch->small->cortex); i++)
        watch->energy[i][c] = lm_layer_energy(lm_cortex_layer(watch->small->cortex, i), c);
    watch->first[c] = lm_cortex_layer(watch->small->cortex, 0)->chunks[c].activations;
    watch->done[c]++;
}

/* What becomes of a batch of a network whose chunks keep their state, on one thread, and of the
 * same batch where they forget it. */
struct pair {
    struct small_cortex *source;
    struct watch keeps, forgets;
};

/* All passes of a rule over the batch of `source`, in another cortex like that. */
static void run(struct watch *watch, struct small_cortex *source, struct small_cortex *small,
                const struct lm_rule *rule, long steps, bool forgets) {
    struct lm_inference inference = small_inference("mse", 0.1, BATCH);
    *watch = (struct watch){.small = small, .source = source};
    lm_cortex_run(watch->small->cortex, &(struct lm_passes){.load = load,
                                                            .context = watch,
                                                            .forward = true,
                                                            .rule = rule,
                                                            .inference = &inference,
                                                            .steps = steps,
                                                            .ends = true,
                                                            .learn = true,
                                                            .done = done,
                                                            .forgets = forgets});
}

/* The large net has its batch in MANY narrow chunks. */
static struct small_cortex *cortex_of(const char *name, int threads) {
    bool large = strcmp(name, "wide") == 0;
    return small_cortex_create(name, 0, large ? MANY * NARROW : BATCH, large ? NARROW : CHUNK,
                               threads);
}

static void run_pair(struct pair *pair, const char *name, int threads,
                     const struct lm_rule *rule, long steps) {
    pair->source = cortex_of(name, 1);
    run(&pair->keeps, pair->source, cortex_of(name, 1), rule, steps, false);
    run(&pair->forgets, pair->source, cortex_of(name, threads), rule, steps, true);
}

static void clear_pair(struct pair *pair) {
    small_cortex_destroy(pair->keeps.small);
    small_cortex_destroy(pair->forgets.small);
    small_cortex_destroy(pair->source);
}

/* What is learned, what the output predicts, and the energies that `done` found are the same;
 * each chunk is loaded and done once. */
static void expect_the_same(const struct pair *pair, const char *what) {
    const struct watch *a = &pair->keeps, *b = &pair->forgets;
    double losses[2][MANY * NARROW] = {{0}};
    int predictions[2][MANY * NARROW] = {{0}}, labels[2][MANY * NARROW] = {{0}};
    for (int i = 0; i < lm_cortex_layers(a->small->cortex); i++) {
        const struct lm_layer *x = lm_cortex_layer(a->small->cortex, i);
        const struct lm_layer *y = lm_cortex_layer(b->small->cortex, i);
        size_t bytes = x->plan->map.parameters * sizeof(real);
        ck_assert_msg(memcmp(x->gradient, y->gradient, bytes) == 0, "%s: layer %d", what, i);
        ck_assert_mem_eq(a->energy[i], b->energy[i], sizeof a->energy[i]);
    }
    const struct lm_loss *loss = lm_loss_find("mse");
    lm_cortex_outcome(a->small->cortex, loss, losses[0], predictions[0], labels[0]);
    lm_cortex_outcome(b->small->cortex, loss, losses[1], predictions[1], labels[1]);
    ck_assert_mem_eq(losses[0], losses[1], sizeof losses[0]);
    ck_assert_mem_eq(predictions[0], predictions[1], sizeof predictions[0]);
    ck_assert_mem_eq(labels[0], labels[1], sizeof labels[0]);
    for (int c = 0; c < lm_cortex_chunks(b->small->cortex); c++)
        ck_assert(b->loads[c] == 1 && b->done[c] == 1);
}

static void forget(const char *name, int threads, const struct lm_rule *rule, long steps) {
    struct pair pair;
    run_pair(&pair, name, threads, rule, steps);
    expect_the_same(&pair, rule->name);
    clear_pair(&pair);
}

/* Row i of networks x rules: to forget changes no bit. */
START_TEST(forgetting_changes_no_bit) {
    for (int threads = 1; threads <= THREADS; threads++)
        forget(networks[_i % 3], threads, lm_rules()[_i / 3], 7);
}
END_TEST

/* Nor where steps are enough for chunks to change threads: they are done when the last is. */
START_TEST(chunks_that_change_threads_are_done_once) {
    forget("conv", 2, lm_rule_find("strict", "deviation"), 400);
}
END_TEST

/* One thread has all chunks in the same memory, one behind the other; kept ones have each their
 * own. The next batch may be kept again. */
START_TEST(chunks_that_forget_share_memory) {
    struct pair pair;
    run_pair(&pair, "conv", 1, lm_rule_find("strict", "deviation"), 7);
    for (int c = 1; c < CHUNKS; c++) {
        ck_assert(pair.forgets.first[c] == pair.forgets.first[0]);
        ck_assert(pair.keeps.first[c] != pair.keeps.first[0]);
    }
    const struct lm_layer *layer = lm_cortex_layer(pair.forgets.small->cortex, 0);
    lm_cortex_set_batch(pair.forgets.small->cortex, BATCH);
    for (int c = 1; c < CHUNKS; c++)
        ck_assert(layer->chunks[c].activations == layer->chunks[c].home.activations);
    clear_pair(&pair);
}
END_TEST

/* Where gradients of all chunks do not fit at once, chunks keep what they learn from later. */
START_TEST(large_layers_forget_nothing) {
    forget("wide", 1, lm_rule_find("backprop", "deviation"), 1);
}
END_TEST

int main(void) {
    int rules = 0;
    while (lm_rules()[rules])
        rules++;
    lm_comm_start();
    lm_threads_start(THREADS, 1);
    const struct repeated_test tests[] = {{passes_load_and_tell_their_time, 1},
                                          {forgetting_changes_no_bit, 3 * rules},
                                          {chunks_that_change_threads_are_done_once, 1},
                                          {chunks_that_forget_share_memory, 1},
                                          {large_layers_forget_nothing, 1},
                                          {NULL, 0}};
    lm_traffic_messages(LM_PHASE_FORWARD, 0); /* counts are made once for all tests */
    int result = run_repeated_tests("passes", true, tests);
    lm_comm_finish();
    return result;
}
