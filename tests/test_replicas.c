/* Replicas: sums have the same bits on any number of ranks, records reach the first, and
 * messages are those foretold. Every rank is a replica of one layer. */
#include "replicas.h"

#include "comm.h"
#include "memory.h"
#include "random.h"
#include "runner.h"
#include "traffic.h"

#include <math.h>
#include <string.h>

enum { MOST = 700, SUMS = 3 };

static struct lm_placement placement(void) {
    static int rank[1];
    return (struct lm_placement){lm_comm_size(), 1, 1, rank};
}

/* Numbers of many sizes, so that another order has other bits. */
static real number(int sum, int chunk, size_t i) {
    double size = pow(10, (double)(((size_t)chunk * 3 + i) % 7));
    return (real)(size *
                  (lm_random_uniform((uint64_t)sum, LM_STREAM_TEST, (uint64_t)chunk, i) - 0.5));
}

static real plain_sum(int sum, int first, int end, size_t i) {
    int half = first + (end - first) / 2;
    return end - first == 1 ? number(sum, first, i)
                            : plain_sum(sum, first, half, i) + plain_sum(sum, half, end, i);
}

/* All sums at once, of n[...] numbers over `chunks` chunks. */
static void sum_all(struct lm_replicas *replicas, int chunks, const size_t n[SUMS]) {
    static real result[SUMS][MOST];
    struct lm_span nodes[LM_MAX_NODES];
    real *values[LM_MAX_NODES];
    for (int s = 0; s < SUMS; s++) {
        memset(result[s], 0xff, sizeof result[s]);
        int found = lm_replicas_nodes(replicas, s, chunks, n[s], result[s], nodes, values);
        ck_assert(found == 0 || values[0] == result[s]);
        for (int k = 0; k < found; k++)
            for (size_t i = 0; i < n[s]; i++)
                values[k][i] = plain_sum(s, nodes[k].first, nodes[k].end, i);
        lm_replicas_sum_begin(replicas, s);
    }
    for (int s = 0; s < SUMS; s++)
        lm_replicas_sum_reduce(replicas, s);
    for (int s = 0; s < SUMS; s++) {
        lm_replicas_sum_end(replicas, s);
        for (size_t i = 0; i < n[s]; i++)
            ck_assert(result[s][i] == plain_sum(s, 0, chunks, i));
        ck_assert(n[s] == MOST || isnan(result[s][n[s]]));
    }
}

START_TEST(sums_are_those_of_one_replica) {
    const size_t n[SUMS] = {MOST, 3, 0}, other[SUMS] = {17, 64, 333};
    struct lm_placement place = placement();
    struct lm_replicas *replicas = lm_replicas_create(&place, lm_comm_rank(), SUMS);
    for (int chunks = 1; chunks <= 12; chunks++) { /* some have none */
        sum_all(replicas, chunks, n);
        sum_all(replicas, chunks, other);
    }
    lm_replicas_destroy(replicas);
}
END_TEST

START_TEST(messages_are_those_foretold) {
    const size_t n[SUMS] = {MOST, 3, 0};
    struct lm_placement place = placement();
    struct lm_replicas *replicas = lm_replicas_create(&place, lm_comm_rank(), SUMS);
    for (int chunks = 1; chunks <= 12; chunks++) {
        lm_comm_barrier();
        lm_traffic_reset();
        lm_traffic_open(LM_PHASE_SUM);
        sum_all(replicas, chunks, n);
        lm_traffic_close();
        for (int to = 0; to < lm_comm_size(); to++) {
            int64_t expected = 0;
            for (int s = 0; s < SUMS; s++)
                expected += lm_replicas_messages(replicas, to, chunks, n[s]);
            ck_assert_int_eq(lm_traffic_messages(LM_PHASE_SUM, to), expected);
            ck_assert(expected > 0 || to == lm_comm_rank() || lm_comm_rank() > 0);
        }
        ck_assert(lm_traffic_elsewhere() == 0);
    }
    lm_traffic_reset();
    lm_replicas_destroy(replicas);
}
END_TEST

/* 70 inputs in chunks of 16, as whole numbers and as bytes. */
START_TEST(records_reach_the_first) {
    enum { N = 70, EACH = 16, ALL = 5 };
    struct lm_placement place = placement();
    struct lm_replicas *replicas = lm_replicas_create(&place, lm_comm_rank(), SUMS);
    struct lm_span share = lm_replicas_share(replicas, ALL);
    ck_assert(lm_replicas_index(replicas) == lm_comm_rank());
    int64_t inputs[N] = {0};
    char chunks[ALL] = "";
    for (int c = share.first; c < share.end; c++) {
        chunks[c] = (char)('a' + c);
        for (int i = c * EACH; i < (c + 1) * EACH && i < N; i++)
            inputs[i] = 1000 + i;
    }
    lm_replicas_gather(replicas, inputs, sizeof *inputs, N, EACH);
    lm_replicas_gather(replicas, chunks, 1, ALL, 1);
    for (int i = 0; lm_comm_rank() == 0 && i < N; i++)
        ck_assert(inputs[i] == 1000 + i && chunks[i / EACH] == 'a' + i / EACH);
    lm_replicas_destroy(replicas);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER("replicas", sums_are_those_of_one_replica,
                                    messages_are_those_foretold, records_reach_the_first);
    lm_comm_finish();
    return result;
}
