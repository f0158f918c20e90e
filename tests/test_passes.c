/* Passes over a batch: who loads, who is told that a chunk is done, and what is left when
 * chunks forget, on the ranks of the job, against one rank that keeps all. */
#include "comm.h"
#include "runner.h"
#include "small_networks.h"
#include "threads.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 70, CHUNK = 32, CHUNKS = 3, THREADS = 3, MOST_LAYERS = 8 };
enum { NARROW = 16, MANY = 12 }; /* as many as a net's large layer learns behind the rest */
enum { UNDER_WAY = 5 };          /* chunks of a thread, at most (mpi/pipeline.c) */

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
    const real *first[MANY]; /* where the first layer of the rank had its activations */
};

static void load(void *context, int c) {
    struct watch *watch = context;
    struct lm_shape input = watch->small->network->input;
    size_t n = lm_shape_units(&input) * lm_width(lm_cortex_count(watch->small->cortex, c));
    if (lm_cortex_input(watch->small->cortex, c))
        memcpy(lm_cortex_input(watch->small->cortex, c),
               lm_cortex_input(watch->source->cortex, c), n * sizeof(real));
    watch->loads[c]++;
}

static void done(void *context, int c) {
    struct watch *watch = context;
    for (int i = 0; i < lm_cortex_layers(watch->small->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(watch->small->cortex, i);
        watch->energy[layer->index][c] = lm_layer_energy(layer, c);
    }
    watch->first[c] = lm_cortex_layer(watch->small->cortex, 0)->chunks[c].activations;
    watch->done[c]++;
}

/* What becomes of a batch of a network whose chunks keep their state, on one thread of one
 * rank, and of the same batch where they forget it. */
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

/* On `ranks` ranks, or 0: this one. Few chunks are CHUNKS wide ones, many MANY narrow ones. */
static struct small_cortex *cortex_of(const char *name, int ranks, bool many, int threads) {
    return small_cortex_create(name, ranks, many ? MANY * NARROW : BATCH, many ? NARROW : CHUNK,
                               threads);
}

static int ranks_of_job(void) {
    return lm_comm_size() > 1 ? lm_comm_size() : 0;
}

static void run_pair(struct pair *pair, const char *name, bool many, int threads,
                     const struct lm_rule *rule, long steps) {
    pair->source = cortex_of(name, 0, many, 1);
    run(&pair->keeps, pair->source, cortex_of(name, 0, many, 1), rule, steps, false);
    lm_comm_barrier();
    run(&pair->forgets, pair->source, cortex_of(name, ranks_of_job(), many, threads), rule,
        steps, true);
}

static void clear_pair(struct pair *pair) {
    small_cortex_destroy(pair->keeps.small);
    small_cortex_destroy(pair->forgets.small);
    small_cortex_destroy(pair->source);
}

static void expect_same_outcome(const struct small_cortex *x, const struct small_cortex *y) {
    double losses[2][MANY * NARROW] = {{0}};
    int predictions[2][MANY * NARROW] = {{0}}, labels[2][MANY * NARROW] = {{0}};
    const struct lm_loss *loss = lm_loss_find("mse");
    lm_cortex_outcome(x->cortex, loss, losses[0], predictions[0], labels[0]);
    lm_cortex_outcome(y->cortex, loss, losses[1], predictions[1], labels[1]);
    ck_assert_mem_eq(losses[0], losses[1], sizeof losses[0]);
    ck_assert_mem_eq(predictions[0], predictions[1], sizeof predictions[0]);
    ck_assert_mem_eq(labels[0], labels[1], sizeof labels[0]);
}

/* What the layers of this rank learn, what the output predicts, and the energies that `done`
 * found are the same; each chunk is loaded and done once. */
static void expect_the_same(const struct pair *pair, const char *what) {
    const struct watch *a = &pair->keeps, *b = &pair->forgets;
    for (int i = 0; i < lm_cortex_layers(b->small->cortex); i++) {
        const struct lm_layer *y = lm_cortex_layer(b->small->cortex, i);
        const struct lm_layer *x = lm_cortex_find(a->small->cortex, y->index);
        size_t bytes = x->plan->map.parameters * sizeof(real);
        ck_assert_msg(memcmp(x->gradient, y->gradient, bytes) == 0, "%s: layer %s", what,
                      x->plan->name);
        ck_assert_mem_eq(a->energy[x->index], b->energy[x->index], sizeof a->energy[0]);
    }
    if (lm_cortex_has_output(b->small->cortex))
        expect_same_outcome(a->small, b->small);
    for (int c = 0; c < lm_cortex_chunks(b->small->cortex); c++)
        ck_assert(b->loads[c] == 1 && b->done[c] == 1);
}

static void forget(const char *name, bool many, int threads, const struct lm_rule *rule,
                   long steps) {
    struct pair pair;
    run_pair(&pair, name, many, threads, rule, steps);
    expect_the_same(&pair, rule->name);
    clear_pair(&pair);
}

/* Row i of networks x rules: to forget changes no bit. */
START_TEST(forgetting_changes_no_bit) {
    for (int threads = 1; threads <= THREADS; threads++)
        forget(networks[_i % 3], threads == THREADS, threads, lm_rules()[_i / 3], 7);
}
END_TEST

/* Nor where steps are enough for chunks to change threads: they are done when the last is. */
START_TEST(chunks_that_change_threads_are_done_once) {
    forget("conv", false, 2, lm_rule_find("strict", "deviation"), 400);
}
END_TEST

/* How many of the places where chunks had their activations differ. */
static int count_places(const struct watch *watch) {
    int n = 0;
    for (int c = 0; c < MANY; c++) {
        int before = 0;
        while (watch->first[before] != watch->first[c])
            before++;
        n += before == c;
    }
    return n;
}

/* Whether chunks were in as few places as they can be: one, where they do not wait for other
 * ranks; all, where they are sent from where they are. */
static bool are_few(int places) {
    const char *links = getenv("LAMINA_LINKS");
    if (links && strcmp(links, "messages") == 0)
        return places == MANY;
    return places <= (lm_comm_size() > 1 ? UNDER_WAY : 1);
}

/* One thread has the chunks that are under way in the same memory as those before, but for what
 * an output layer has; kept ones have each their own. The next batch may be kept again. */
START_TEST(chunks_that_forget_share_memory) {
    struct pair pair;
    run_pair(&pair, "conv", true, 1, lm_rule_find("strict", "deviation"), 7);
    const struct lm_layer *layer = lm_cortex_layer(pair.forgets.small->cortex, 0);
    ck_assert_int_eq(count_places(&pair.keeps), MANY);
    ck_assert(layer->is_output || are_few(count_places(&pair.forgets)));
    lm_cortex_set_batch(pair.forgets.small->cortex, MANY * NARROW);
    for (int c = 1; c < MANY; c++)
        ck_assert(layer->chunks[c].activations == layer->chunks[c].home.activations);
    clear_pair(&pair);
}
END_TEST

/* Where gradients of all chunks do not fit at once, chunks keep what they learn from later. */
START_TEST(large_layers_forget_nothing) {
    forget("wide", true, 1, lm_rule_find("backprop", "deviation"), 1);
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
