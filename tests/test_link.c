/* Link: a ring of ranks, each the parent of the next; a rank alone is its own neighbour. */
#include "link.h"

#include "comm.h"
#include "crowd.h"
#include "memory.h"
#include "runner.h"
#include "traffic.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 6, LENGTH = 3000 };

static bool with_messages; /* though the ranks are on one node */

/* Both ends that a rank has on the ring: it is the parent on edge `rank`, the child on the
 * edge of the rank before. */
struct ring {
    struct lm_link *up, *down; /* to the child, to the parent */
    int parent;                /* rank */
    real values[CHUNKS][LENGTH];
};

/* Chunks are of different lengths. */
static size_t length(int c) {
    return c == 0 ? LENGTH : (size_t)(LENGTH - 500 * c + 1);
}

/* What rank r sends up (1) or down (-1) as number i of chunk c. */
static real content(int r, int way, int c, size_t i, int round) {
    return (real)(way * (int)(i + 1 + 10000 * (size_t)c + 100000 * (size_t)r) +
                  1000000 * round);
}

static struct ring *ring_create(int edges_per_rank, int edge) {
    int rank = lm_comm_rank(), size = lm_comm_size(), n_edges = edges_per_rank * size;
    struct ring *ring = lm_allocate(1, sizeof *ring);
    ring->parent = (rank + size - 1) % size;
    for (int e = 0; e < n_edges; e++) {
        if (e == edges_per_rank * rank + edge)
            ring->up = lm_link_create(e, n_edges, (rank + 1) % size, true, CHUNKS, LENGTH);
        if (e == edges_per_rank * ring->parent + edge)
            ring->down = lm_link_create(e, n_edges, ring->parent, false, CHUNKS, LENGTH);
    }
    return ring;
}

static void ring_destroy(struct ring *ring) {
    lm_link_destroy(ring->up);
    lm_link_destroy(ring->down);
    lm_free(ring);
}

/* Feedback is sent from where it is made, and so are values in odd rounds, where memory is
 * shared, else from elsewhere. */
static void send_chunk(struct ring *ring, int c, int round) {
    while (!lm_link_has_room(ring->up, LM_BOX_VALUE, c) ||
           !lm_link_has_room(ring->down, LM_BOX_FEEDBACK, c))
        sched_yield();
    real *feedback = lm_link_box(ring->down, LM_BOX_FEEDBACK, c);
    real *box = round % 2 ? lm_link_box(ring->up, LM_BOX_VALUE, c) : NULL;
    real *values = box ? box : ring->values[c];
    for (size_t i = 0; i < length(c); i++) {
        values[i] = content(lm_comm_rank(), 1, c, i, round);
        feedback[i] = content(lm_comm_rank(), -1, c, i, round);
    }
    lm_link_send_begin(ring->up, LM_BOX_VALUE, c, values, length(c));
    lm_link_send_begin(ring->down, LM_BOX_FEEDBACK, c, feedback, length(c));
}

static void receive_chunk(struct ring *ring, int c) {
    memset(lm_link_box(ring->down, LM_BOX_VALUE, c), 0xff, LENGTH * sizeof(real));
    memset(lm_link_box(ring->up, LM_BOX_FEEDBACK, c), 0xff, LENGTH * sizeof(real));
    lm_link_receive_begin(ring->down, LM_BOX_VALUE, c, length(c));
    lm_link_receive_begin(ring->up, LM_BOX_FEEDBACK, c, length(c));
}

static void end_chunk(struct ring *ring, int c) {
    lm_link_receive_end(ring->down, c);
    lm_link_receive_end(ring->up, c);
    lm_link_send_end(ring->up, c);
    lm_link_send_end(ring->down, c);
}

/* Values came from the parent, feedback from the child, and nothing behind them. */
static void expect_chunk(const struct ring *ring, int c, int round) {
    int child = (lm_comm_rank() + 1) % lm_comm_size();
    const real *up = lm_link_box(ring->down, LM_BOX_VALUE, c);
    const real *down = lm_link_box(ring->up, LM_BOX_FEEDBACK, c);
    size_t values = 0, feedback = 0, rest = 0;
    for (size_t i = 0; i < length(c); i++) {
        values += up[i] == content(ring->parent, 1, c, i, round);
        feedback += down[i] == content(child, -1, c, i, round);
    }
    for (size_t i = length(c); i < LENGTH; i++)
        rest += isnan(up[i]) ? 1 : 0;
    ck_assert(values == length(c) && feedback == length(c));
    ck_assert(rest == LENGTH - length(c));
}

START_TEST(values_go_up_and_feedback_down) {
    struct ring *ring = ring_create(1, 0);
    for (int round = 0; round < 5; round++) {
        int c = round % CHUNKS;
        receive_chunk(ring, c);
        send_chunk(ring, c, round);
        end_chunk(ring, c);
        expect_chunk(ring, c, round);
    }
    ring_destroy(ring);
}
END_TEST

/* Asking whether a message is there instead of waiting for it. */
static void poll_chunk(struct ring *ring, int c) {
    bool done = false;
    for (int n = 1; !done; n++) {
        unsigned heard = lm_crowd_listen();
        done = lm_link_receive_is_done(ring->down, c) && lm_link_receive_is_done(ring->up, c);
        lm_crowd_idle(n, heard);
    }
    lm_link_send_end(ring->up, c);
    lm_link_send_end(ring->down, c);
}

START_TEST(messages_can_be_asked_for) {
    struct ring *ring = ring_create(1, 0);
    poll_chunk(ring, 0); /* nothing is under way */
    for (int c = 0; c < CHUNKS; c++) {
        receive_chunk(ring, c);
        ck_assert(!lm_link_receive_is_done(ring->up, c)); /* its sender waits below */
        lm_comm_barrier();
        send_chunk(ring, c, c);
        poll_chunk(ring, c);
        expect_chunk(ring, c, c);
    }
    ring_destroy(ring);
}
END_TEST

/* Ranks that sleep while they wait miss nothing. */
START_TEST(crowded_ranks_wait_asleep) {
    struct ring *ring = ring_create(1, 0);
    lm_crowd_gather(1 << 16, 1, NULL); /* more than any node has */
    for (int c = 0; c < CHUNKS; c++) {
        receive_chunk(ring, c);
        send_chunk(ring, c, 1);
    }
    for (int c = 0; c < CHUNKS; c++) {
        c % 2 ? end_chunk(ring, c) : poll_chunk(ring, c);
        expect_chunk(ring, c, 1);
    }
    lm_crowd_gather(0, 1, NULL);
    ring_destroy(ring);
}
END_TEST

static void expect_shared_processor(bool up, bool down) {
    struct ring *ring = ring_create(1, 0);
    ck_assert(lm_link_shares_processor(ring->up) == (up && lm_link_is_shared(ring->up)));
    ck_assert(lm_link_shares_processor(ring->down) == (down && lm_link_is_shared(ring->down)));
    ring_destroy(ring);
}

/* Who keeps to one processor shares it with those that keep to the same; here, at last, all but
 * the first. */
START_TEST(ranks_of_one_processor_know_it) {
    int rank = lm_comm_rank(), last = lm_comm_size() - 1;
    cpu_set_t before = keep_to_processor(0);
    expect_shared_processor(true, true);
    sched_setaffinity(0, sizeof before, &before);
    if (CPU_COUNT(&before) > 1) {
        expect_shared_processor(false, false);
        keep_to_processor(rank == 0 ? 0 : 1);
        expect_shared_processor(rank != 0 && rank != last, rank > 1);
        sched_setaffinity(0, sizeof before, &before);
    }
}
END_TEST

/* All chunks under way at once, ended in another order than begun. */
START_TEST(chunks_travel_on_their_own) {
    struct ring *ring = ring_create(1, 0);
    for (int round = 0; round < 3; round++) {
        for (int c = CHUNKS - 1; c >= 0; c--)
            receive_chunk(ring, c);
        for (int c = 0; c < CHUNKS; c++)
            send_chunk(ring, c, round);
        for (int c = 0; c < CHUNKS; c++)
            end_chunk(ring, (c + 2) % CHUNKS);
        for (int c = 0; c < CHUNKS; c++)
            expect_chunk(ring, c, round);
    }
    ring_destroy(ring);
}
END_TEST

/* Two edges between the same ranks, as of a skip connection, keep their messages apart. */
START_TEST(edges_do_not_mix) {
    struct ring *first = ring_create(2, 0), *second = ring_create(2, 1);
    for (int c = 0; c < CHUNKS; c++) {
        receive_chunk(first, c);
        receive_chunk(second, c);
        send_chunk(second, c, 2);
        send_chunk(first, c, 1);
    }
    for (int c = 0; c < CHUNKS; c++) {
        end_chunk(first, c);
        end_chunk(second, c);
        expect_chunk(first, c, 1);
        expect_chunk(second, c, 2);
    }
    ring_destroy(first);
    ring_destroy(second);
}
END_TEST

/* Threads work on different chunks at the same time. */
START_TEST(threads_may_share_a_link) {
    struct ring *ring = ring_create(1, 0);
    if (lm_comm_is_threaded())
        for (int round = 0; round < 10; round++) {
#pragma omp parallel for num_threads(3) schedule(static, 1)
            for (int c = 0; c < CHUNKS; c++) {
                receive_chunk(ring, c);
                send_chunk(ring, c, round);
                end_chunk(ring, c);
            }
            for (int c = 0; c < CHUNKS; c++)
                expect_chunk(ring, c, round);
        }
    ring_destroy(ring);
}
END_TEST

/* What was received stays, whatever its sender is up to, until more is asked for. */
START_TEST(a_box_is_its_receivers_until_more_is_asked_for) {
    struct ring *ring = ring_create(1, 0);
    receive_chunk(ring, 0);
    send_chunk(ring, 0, 1);
    end_chunk(ring, 0);
    lm_comm_barrier();
    if (lm_comm_size() > 1 && !with_messages) {
        ck_assert(!lm_link_has_room(ring->up, LM_BOX_VALUE, 0));
        ck_assert(!lm_link_has_room(ring->down, LM_BOX_FEEDBACK, 0));
    }
    lm_comm_barrier();
    expect_chunk(ring, 0, 1);
    receive_chunk(ring, 0);
    lm_comm_barrier();
    ck_assert(lm_link_has_room(ring->up, LM_BOX_VALUE, 0));
    ck_assert(lm_link_has_room(ring->down, LM_BOX_FEEDBACK, 0));
    send_chunk(ring, 0, 2);
    end_chunk(ring, 0);
    expect_chunk(ring, 0, 2);
    ring_destroy(ring);
}
END_TEST

/* One message up and one down, with all their bytes, wherever these are. */
START_TEST(counted_alike_both_ways) {
    struct ring *ring = ring_create(1, 0);
    int child = (lm_comm_rank() + 1) % lm_comm_size();
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_INFERENCE);
    receive_chunk(ring, 0);
    send_chunk(ring, 0, 1);
    end_chunk(ring, 0);
    lm_traffic_close();
    int64_t messages = 0, bytes = 0;
    for (int r = 0; r < lm_comm_size(); r++) {
        messages += lm_traffic_messages(LM_PHASE_INFERENCE, r);
        bytes += lm_traffic_bytes(LM_PHASE_INFERENCE, r);
    }
    ck_assert_int_eq(messages, 2);
    ck_assert_int_eq(bytes, 2 * LENGTH * (int64_t)sizeof(real));
    ck_assert(lm_traffic_messages(LM_PHASE_INFERENCE, child) >= 1);
    ck_assert(lm_traffic_messages(LM_PHASE_INFERENCE, ring->parent) >= 1);
    lm_traffic_reset();
    ring_destroy(ring);
}
END_TEST

START_TEST(ending_nothing_returns_at_once) {
    struct ring *ring = ring_create(1, 0);
    end_chunk(ring, 0);
    receive_chunk(ring, 1);
    send_chunk(ring, 1, 0);
    end_chunk(ring, 1);
    end_chunk(ring, 1);
    expect_chunk(ring, 1, 0);
    ring_destroy(ring);
    lm_link_destroy(NULL);
}
END_TEST

static int run_all(const char *name) {
    return RUN_TESTS_TOGETHER(name, values_go_up_and_feedback_down, messages_can_be_asked_for,
                              crowded_ranks_wait_asleep, ranks_of_one_processor_know_it,
                              chunks_travel_on_their_own, edges_do_not_mix,
                              threads_may_share_a_link,
                              a_box_is_its_receivers_until_more_is_asked_for,
                              counted_alike_both_ways, ending_nothing_returns_at_once);
}

int main(void) {
    lm_comm_start();
    int result = run_all("link, shared");
    with_messages = true;
    setenv("LAMINA_LINKS", "messages", 1);
    result |= run_all("link, messages");
    lm_comm_finish();
    return result;
}
