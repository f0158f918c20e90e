#include "link.h"

#include "memory.h"
#include "mpi_check.h"

#include <limits.h>

struct lm_link {
    int peer;
    int send_tag, receive_tag; /* of chunk 0 */
    struct {
        MPI_Request send, receive; /* MPI_REQUEST_NULL: nothing under way */
        int expected;              /* reals to receive */
    } * chunks;
};

static void check_tag(int tag) {
    int *limit, found;
    LM_MPI(MPI_Comm_get_attr(lm_comm_links(), MPI_TAG_UB, &limit, &found));
    if (!found || tag > *limit)
        lm_abort(LM_SYSTEM, "the network has more links and chunks than MPI has tags (%d)",
                 found ? *limit : 32767);
}

struct lm_link *lm_link_create(int edge, int n_edges, int peer, bool is_parent, int n_chunks,
                               size_t length) {
    if (length > INT_MAX)
        lm_abort(LM_SYSTEM, "a message of %zu numbers is too long: take smaller chunks",
                 length);
    LM_ASSERT((long)n_edges * 2 * n_chunks <= INT_MAX);
    check_tag(n_edges * 2 * n_chunks);
    int up = 2 * edge * n_chunks, down = up + n_chunks;
    struct lm_link *link = lm_allocate(1, sizeof *link);
    link->peer = peer;
    link->send_tag = is_parent ? up : down;
    link->receive_tag = is_parent ? down : up;
    link->chunks = lm_allocate((size_t)n_chunks, sizeof *link->chunks);
    for (int c = 0; c < n_chunks; c++)
        link->chunks[c].send = link->chunks[c].receive = MPI_REQUEST_NULL;
    return link;
}

void lm_link_destroy(struct lm_link *link) {
    if (!link)
        return;
    lm_free(link->chunks);
    lm_free(link);
}

void lm_link_send_begin(struct lm_link *link, int c, const real *data, size_t n) {
    LM_ASSERT(link->chunks[c].send == MPI_REQUEST_NULL);
    LM_MPI(MPI_Isend(data, (int)n, LM_MPI_REAL, link->peer, link->send_tag + c, lm_comm_links(),
                     &link->chunks[c].send));
}

void lm_link_send_end(struct lm_link *link, int c) {
    lm_mpi_wait(&link->chunks[c].send, MPI_STATUS_IGNORE);
}

bool lm_link_send_is_done(struct lm_link *link, int c) {
    int done = link->chunks[c].send == MPI_REQUEST_NULL;
    if (!done)
        LM_MPI(MPI_Test(&link->chunks[c].send, &done, MPI_STATUS_IGNORE));
    return done;
}

void lm_link_receive_begin(struct lm_link *link, int c, real *buffer, size_t n) {
    LM_ASSERT(link->chunks[c].receive == MPI_REQUEST_NULL);
    link->chunks[c].expected = (int)n;
    LM_MPI(MPI_Irecv(buffer, (int)n, LM_MPI_REAL, link->peer, link->receive_tag + c,
                     lm_comm_links(), &link->chunks[c].receive));
}

static void check_length(const struct lm_link *link, int c, const MPI_Status *status) {
    int n;
    LM_MPI(MPI_Get_count(status, LM_MPI_REAL, &n));
    LM_ASSERT(n == link->chunks[c].expected);
}

void lm_link_receive_end(struct lm_link *link, int c) {
    if (link->chunks[c].receive == MPI_REQUEST_NULL)
        return;
    MPI_Status status;
    lm_mpi_wait(&link->chunks[c].receive, &status);
    check_length(link, c, &status);
}

bool lm_link_receive_is_done(struct lm_link *link, int c) {
    if (link->chunks[c].receive == MPI_REQUEST_NULL)
        return true;
    MPI_Status status;
    int done;
    LM_MPI(MPI_Test(&link->chunks[c].receive, &done, &status));
    if (done)
        check_length(link, c, &status);
    return done;
}
