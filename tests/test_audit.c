/* Audit: what the program says of its messages can fail. On one rank there is nothing to say.
 */
#include "../experiments/audit.h"

#include "comm.h"
#include "memory.h"
#include "runner.h"
#include "small_networks.h"

#include <mpi.h>
#include <string.h>

enum { BATCH = 40, CHUNK = 16, STEPS = 4 };

/* A session of one training step that was done, all of its messages as they must be. */
struct trained {
    struct small_cortex *small;
    struct lm_settings settings;
    struct lm_session session;
};

static void train(struct trained *t) {
    struct lm_inference inference = small_inference("mse", 0.1, BATCH);
    *t = (struct trained){.small = small_cortex_create("mlp", lm_comm_size(), BATCH, CHUNK, 1)};
    t->settings.inference.steps = STEPS;
    t->settings.training.batch = BATCH;
    t->settings.training.chunk = CHUNK;
    t->settings.record.gradients_every = 1;
    t->session = (struct lm_session){.settings = &t->settings,
                                     .network = t->small->network,
                                     .placement = t->small->placement,
                                     .cortex = t->small->cortex,
                                     .rule = lm_rule_find("strict", "deviation"),
                                     .backprop = lm_rule_find("backprop", "deviation"),
                                     .batch = BATCH,
                                     .steps = 1};
    lm_comm_barrier();
    lm_traffic_reset();
    small_run(t->small, "strict", "deviation", &inference, STEPS, false);
}

/* One more message of a phase from the first rank to another. */
static void plant(enum lm_phase phase, int to) {
    int token = 1;
    lm_traffic_open(phase);
    if (lm_comm_rank() == 0)
        MPI_Send(&token, 1, MPI_INT, to, 5, MPI_COMM_WORLD);
    if (lm_comm_rank() == to)
        MPI_Recv(&token, 1, MPI_INT, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    lm_traffic_close();
}

static void expect_failure(const struct trained *t, const char *words) {
    struct lm_status status = {.code = LM_OK};
    ck_assert(!lm_audit_check(&t->session, 0, &status) && status.code == LM_INTERNAL);
    ck_assert_msg(strstr(status.message, words) != NULL, "%s", status.message);
}

static void clear(struct trained *t) {
    small_cortex_destroy(t->small);
    lm_traffic_reset();
}

START_TEST(a_training_step_is_as_it_must_be) {
    struct trained t;
    struct lm_status status;
    train(&t);
    ck_assert(lm_audit_check(&t.session, 0, &status));
    clear(&t);
}
END_TEST

START_TEST(one_message_too_many_is_counted) {
    struct trained t;
    train(&t);
    plant(LM_PHASE_INFERENCE, 1);
    expect_failure(&t, "inference messages went to rank 1");
    clear(&t);
}
END_TEST

START_TEST(a_message_past_the_neighbours_is_seen) {
    struct trained t;
    train(&t);
    plant(LM_PHASE_EVALUATE, 2);
    expect_failure(&t, "evaluation messages went to rank 2, which is no neighbour");
    clear(&t);
}
END_TEST

START_TEST(a_call_past_the_links_is_seen) {
    struct trained t;
    train(&t);
    lm_traffic_open(LM_PHASE_INFERENCE);
    MPI_Barrier(MPI_COMM_WORLD);
    lm_traffic_close();
    expect_failure(&t, "1 calls went past the links");
    clear(&t);
}
END_TEST

int main(void) {
    lm_comm_start();
    const struct repeated_test tests[] = {
        {a_training_step_is_as_it_must_be, 1},
        {one_message_too_many_is_counted, lm_comm_size() > 2},
        {a_message_past_the_neighbours_is_seen, lm_comm_size() > 2},
        {a_call_past_the_links_is_seen, 1},
        {NULL, 0},
    };
    int result = run_repeated_tests("audit", true, tests);
    lm_comm_rest();
    lm_comm_finish();
    return result;
}
