/* Traffic: what is counted of messages on a ring of ranks, and what is not. */
#include "traffic.h"

#include "comm.h"
#include "runner.h"

#include <mpi.h>
#include <string.h>

enum { TAG = 5, NUMBERS = 30 };

static int next_rank(void) {
    return (lm_comm_rank() + 1) % lm_comm_size();
}

/* All messages and bytes of a phase that this rank sent to ranks other than `to`. */
static int64_t elsewhere_in(enum lm_phase phase, int to) {
    int64_t sum = 0;
    for (int r = 0; r < lm_comm_size(); r++)
        if (r != to)
            sum += lm_traffic_messages(phase, r) + lm_traffic_bytes(phase, r);
    return sum;
}

static void expect_counts(enum lm_phase phase, int64_t messages, int64_t bytes) {
    ck_assert_int_eq(lm_traffic_messages(phase, next_rank()), messages);
    ck_assert_int_eq(lm_traffic_bytes(phase, next_rank()), bytes);
    ck_assert_int_eq(elsewhere_in(phase, next_rank()), 0);
}

/* Send n numbers to the next rank of `comm` as MPI_Isend does, and receive as many. */
static void pass_on(int n, MPI_Comm comm) {
    double out[NUMBERS] = {0}, in[NUMBERS];
    int rank, size;
    MPI_Request request;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    MPI_Isend(out, n, MPI_DOUBLE, (rank + 1) % size, TAG, comm, &request);
    MPI_Recv(in, n, MPI_DOUBLE, (rank + size - 1) % size, TAG, comm, MPI_STATUS_IGNORE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
}

START_TEST(each_phase_has_its_counts) {
    lm_traffic_reset();
    pass_on(1, MPI_COMM_WORLD); /* outside any window */
    for (int phase = 0; phase < LM_PHASES; phase++) {
        lm_traffic_open((enum lm_phase)phase);
        for (int k = 0; k <= phase; k++)
            pass_on(NUMBERS, MPI_COMM_WORLD);
        lm_traffic_close();
        pass_on(1, MPI_COMM_WORLD);
    }
    for (int phase = 0; phase < LM_PHASES; phase++)
        expect_counts((enum lm_phase)phase, phase + 1, (phase + 1) * NUMBERS * 8);
    ck_assert(lm_traffic_elsewhere() == 0);
    lm_traffic_reset();
    for (int phase = 0; phase < LM_PHASES; phase++)
        expect_counts((enum lm_phase)phase, 0, 0);
}
END_TEST

/* All kinds of sends, whose receives are posted first. */
START_TEST(every_kind_of_send_is_counted) {
    enum { KINDS = 10 };
    int in[KINDS], out = 1, previous = (lm_comm_rank() + lm_comm_size() - 1) % lm_comm_size();
    char buffer[4096];
    MPI_Request received[KINDS], sent[4];
    MPI_Buffer_attach(buffer, sizeof buffer);
    lm_traffic_reset();
    for (int k = 0; k < KINDS - 2; k++)
        MPI_Irecv(&in[k], 1, MPI_INT, previous, TAG, MPI_COMM_WORLD, &received[k]);
    MPI_Barrier(MPI_COMM_WORLD); /* ready sends need it */
    lm_traffic_open(LM_PHASE_EXACT);
    MPI_Send(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD);
    MPI_Ssend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD);
    MPI_Bsend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD);
    MPI_Rsend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD);
    MPI_Isend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD, &sent[0]);
    MPI_Issend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD, &sent[1]);
    MPI_Ibsend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD, &sent[2]);
    MPI_Irsend(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD, &sent[3]);
    MPI_Waitall(KINDS - 2, received, MPI_STATUSES_IGNORE);
    MPI_Waitall(4, sent, MPI_STATUSES_IGNORE);
    MPI_Sendrecv(&out, 1, MPI_INT, next_rank(), TAG, &in[0], 1, MPI_INT, previous, TAG,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Sendrecv_replace(&out, 1, MPI_INT, next_rank(), TAG, previous, TAG, MPI_COMM_WORLD,
                         MPI_STATUS_IGNORE);
    lm_traffic_close();
    int size;
    void *detached;
    MPI_Buffer_detach(&detached, &size);
    expect_counts(LM_PHASE_EXACT, KINDS, KINDS * (int64_t)sizeof(int));
    ck_assert(lm_traffic_elsewhere() == 0);
}
END_TEST

/* A communicator that numbers the ranks the other way round: counts go by world rank. */
START_TEST(receivers_are_ranks_of_the_world) {
    MPI_Comm reversed;
    int size = lm_comm_size(), to = (lm_comm_rank() + size - 1) % size;
    MPI_Comm_split(MPI_COMM_WORLD, 0, -lm_comm_rank(), &reversed);
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_FORWARD);
    pass_on(3, reversed);
    lm_traffic_close();
    ck_assert(lm_traffic_messages(LM_PHASE_FORWARD, to) == 1);
    ck_assert(lm_traffic_bytes(LM_PHASE_FORWARD, to) == 24);
    ck_assert(elsewhere_in(LM_PHASE_FORWARD, to) == 0);
    MPI_Comm_free(&reversed);
}
END_TEST

START_TEST(nobody_is_no_receiver) {
    int token = 1;
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_FORWARD);
    MPI_Send(&token, 1, MPI_INT, MPI_PROC_NULL, TAG, MPI_COMM_WORLD);
    lm_traffic_close();
    expect_counts(LM_PHASE_FORWARD, 0, 0);
    ck_assert(lm_traffic_elsewhere() == 0);
}
END_TEST

/* Calls that are no point-to-point messages, each made once; returns how many. */
static int communicate_otherwise(void) {
    static int in[64], out[64], counts[64], offsets[64];
    int size = lm_comm_size(), n = 0;
    MPI_Request request;
    MPI_Comm comm = MPI_COMM_WORLD, copy;
    MPI_Win window;
    void *memory;
    for (int r = 0; r < size; r++) {
        counts[r] = 1;
        offsets[r] = r;
    }
    n++, MPI_Barrier(comm);
    n++, MPI_Bcast(in, 1, MPI_INT, 0, comm);
    n++, MPI_Reduce(out, in, 1, MPI_INT, MPI_SUM, 0, comm);
    n++, MPI_Allreduce(out, in, 1, MPI_INT, MPI_SUM, comm);
    n++, MPI_Scan(out, in, 1, MPI_INT, MPI_SUM, comm);
    n++, MPI_Exscan(out, in, 1, MPI_INT, MPI_SUM, comm);
    n++, MPI_Gather(out, 1, MPI_INT, in, 1, MPI_INT, 0, comm);
    n++, MPI_Gatherv(out, 1, MPI_INT, in, counts, offsets, MPI_INT, 0, comm);
    n++, MPI_Scatter(out, 1, MPI_INT, in, 1, MPI_INT, 0, comm);
    n++, MPI_Scatterv(out, counts, offsets, MPI_INT, in, 1, MPI_INT, 0, comm);
    n++, MPI_Allgather(out, 1, MPI_INT, in, 1, MPI_INT, comm);
    n++, MPI_Allgatherv(out, 1, MPI_INT, in, counts, offsets, MPI_INT, comm);
    n++, MPI_Alltoall(out, 1, MPI_INT, in, 1, MPI_INT, comm);
    n++, MPI_Reduce_scatter_block(out, in, 1, MPI_INT, MPI_SUM, comm);
    n++, MPI_Ibarrier(comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    n++, MPI_Ibcast(in, 1, MPI_INT, 0, comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    n++, MPI_Iallreduce(out, in, 1, MPI_INT, MPI_SUM, comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    n++, MPI_Comm_dup(comm, &copy);
    n++, MPI_Comm_free(&copy);
    n++, MPI_Win_allocate_shared(sizeof(int), 1, MPI_INFO_NULL, comm, &memory, &window);
    n++, MPI_Win_free(&window);
    return n;
}

START_TEST(other_communication_is_seen) {
    lm_traffic_reset();
    communicate_otherwise();
    ck_assert(lm_traffic_elsewhere() == 0);
    lm_traffic_open(LM_PHASE_EVALUATE);
    int n = communicate_otherwise();
    lm_traffic_close();
    ck_assert_int_eq(lm_traffic_elsewhere(), n);
    expect_counts(LM_PHASE_EVALUATE, 0, 0);
    lm_traffic_reset();
    ck_assert(lm_traffic_elsewhere() == 0);
}
END_TEST

START_TEST(persistent_sends_are_seen) {
    int out = 1, in, previous = (lm_comm_rank() + lm_comm_size() - 1) % lm_comm_size();
    MPI_Request request;
    MPI_Send_init(&out, 1, MPI_INT, next_rank(), TAG, MPI_COMM_WORLD, &request);
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_EVALUATE);
    MPI_Start(&request);
    lm_traffic_close();
    MPI_Recv(&in, 1, MPI_INT, previous, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Request_free(&request);
    ck_assert(lm_traffic_elsewhere() == 1);
}
END_TEST

/* A thread's turn to another phase lasts until the window closes. */
START_TEST(a_thread_turns_to_another_phase) {
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_FORWARD);
    pass_on(1, MPI_COMM_WORLD);
    lm_traffic_turn(LM_PHASE_EXACT);
    pass_on(2, MPI_COMM_WORLD);
    lm_traffic_share(next_rank(), 5);
    lm_traffic_close();
    pass_on(3, MPI_COMM_WORLD);
    lm_traffic_open(LM_PHASE_INFERENCE);
    pass_on(4, MPI_COMM_WORLD);
    lm_traffic_close();
    expect_counts(LM_PHASE_FORWARD, 1, 8);
    expect_counts(LM_PHASE_EXACT, 1, 21);
    expect_counts(LM_PHASE_INFERENCE, 1, 32);
    lm_traffic_reset();
}
END_TEST

/* Several threads send at the same time: no message is lost. */
START_TEST(threads_are_counted_together) {
    lm_traffic_reset();
    lm_traffic_open(LM_PHASE_INFERENCE);
    if (lm_comm_is_threaded()) {
#pragma omp parallel for num_threads(4)
        for (int i = 0; i < 400; i++)
            pass_on(1, MPI_COMM_WORLD);
        expect_counts(LM_PHASE_INFERENCE, 400, 400 * 8);
    }
    lm_traffic_close();
    lm_traffic_reset();
}
END_TEST

int main(void) {
    lm_comm_start();
    int result =
        RUN_TESTS_TOGETHER("traffic", each_phase_has_its_counts, every_kind_of_send_is_counted,
                           receivers_are_ranks_of_the_world, nobody_is_no_receiver,
                           other_communication_is_seen, persistent_sends_are_seen,
                           a_thread_turns_to_another_phase, threads_are_counted_together);
    lm_comm_finish();
    return result;
}
