#include "link.h"

#include "comm.h"
#include "crowd.h"
#include "memory.h"
#include "mpi_check.h"
#include "shared.h"
#include "traffic.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

/* How a box in shared memory goes from hand to hand. */
struct slot {
    atomic_long asked, sent; /* messages */
    atomic_bool wanted;      /* its sender waits for it */
    size_t length;           /* of the last message */
};

struct lm_link {
    int peer;
    bool is_parent;
    int send_tag, receive_tag; /* of chunk 0 */
    int n_chunks;
    size_t length;
    void *shared; /* (bytes) NULL: data travel in messages */
    size_t bytes;
    bool shares_processor; /* and memory */
    struct slot *slots;    /* (boxes, chunks), in shared memory */
    real *boxes[LM_BOXES]; /* (chunks, length); NULL: not of this end */
    struct {
        MPI_Request send, receive; /* MPI_REQUEST_NULL: nothing under way */
        enum lm_box box;           /* that is received */
        size_t expected;           /* reals to receive */
    } * chunks;
};

/* --- making ------------------------------------------------------------------------------- */

static void check_tag(long tag) {
    int *limit, found;
    LM_MPI(MPI_Comm_get_attr(lm_comm_links(), MPI_TAG_UB, &limit, &found));
    if (!found || tag > *limit)
        lm_abort(LM_SYSTEM,
                 "the network has more links and chunks than MPI has tags (%d): take larger "
                 "chunks",
                 found ? *limit : 32767);
}

static size_t size_of_slots(const struct lm_link *link) {
    enum { PAGE = 4096 };
    size_t bytes = lm_product(LM_BOXES * sizeof *link->slots, (size_t)link->n_chunks);
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* The first tag of messages up, at both ends. */
static int tag_up(const struct lm_link *link) {
    return link->is_parent ? link->send_tag : link->receive_tag;
}

/* Whether the peer keeps to the processor that this rank keeps to. Both ends ask. */
static bool ask_processor(const struct lm_link *link) {
    int mine = lm_crowd_processor(), other, tag = tag_up(link);
    LM_MPI(MPI_Sendrecv(&mine, 1, MPI_INT, link->peer, tag, &other, 1, MPI_INT, link->peer, tag,
                        lm_comm_links(), MPI_STATUS_IGNORE));
    return mine >= 0 && mine == other;
}

static void make_boxes(struct lm_link *link) {
    size_t all = lm_product((size_t)link->n_chunks, link->length);
    link->bytes = size_of_slots(link) + lm_product(all, LM_BOXES * sizeof(real));
    link->shared = lm_shared_open(link->peer, link->is_parent, tag_up(link), link->bytes);
    link->shares_processor = link->shared && ask_processor(link);
    link->slots = link->shared;
    for (int box = 0; box < LM_BOXES; box++)
        if (link->shared)
            link->boxes[box] =
                (real *)((char *)link->shared + size_of_slots(link)) + (size_t)box * all;
        else if (!link->is_parent || box == LM_BOX_FEEDBACK)
            link->boxes[box] = lm_allocate(all, sizeof(real));
}

struct lm_link *lm_link_create(int edge, int n_edges, int peer, bool is_parent, int n_chunks,
                               size_t length) {
    if (length > INT_MAX)
        lm_abort(LM_SYSTEM, "a message of %zu numbers is too long: take smaller chunks",
                 length);
    check_tag((long)n_edges * 2 * n_chunks);
    int up = 2 * edge * n_chunks, down = up + n_chunks;
    struct lm_link *link = lm_allocate(1, sizeof *link);
    *link = (struct lm_link){.peer = peer,
                             .is_parent = is_parent,
                             .send_tag = is_parent ? up : down,
                             .receive_tag = is_parent ? down : up,
                             .n_chunks = n_chunks,
                             .length = length};
    link->chunks = lm_allocate((size_t)n_chunks, sizeof *link->chunks);
    for (int c = 0; c < n_chunks; c++)
        link->chunks[c].send = link->chunks[c].receive = MPI_REQUEST_NULL;
    make_boxes(link);
    return link;
}

void lm_link_destroy(struct lm_link *link) {
    if (!link)
        return;
    if (link->shared)
        lm_shared_close(link->shared, link->bytes);
    for (int box = 0; box < LM_BOXES && !link->shared; box++)
        lm_free(link->boxes[box]);
    lm_free(link->chunks);
    lm_free(link);
}

bool lm_link_is_shared(const struct lm_link *link) {
    return link->shared != NULL;
}

bool lm_link_shares_processor(const struct lm_link *link) {
    return link->shares_processor;
}

real *lm_link_box(const struct lm_link *link, enum lm_box box, int c) {
    return link->boxes[box] ? link->boxes[box] + (size_t)c * link->length : NULL;
}

static struct slot *slot_of(const struct lm_link *link, enum lm_box box, int c) {
    return &link->slots[(int)box * link->n_chunks + c];
}

/* --- sending ------------------------------------------------------------------------------ */

static bool has_left(struct lm_link *link, int c) {
    int done = link->chunks[c].send == MPI_REQUEST_NULL;
    if (!done)
        LM_MPI(MPI_Test(&link->chunks[c].send, &done, MPI_STATUS_IGNORE));
    return done;
}

/* Whether the receiver has asked for the next message; if not, it will wake us then. */
static bool is_asked(struct slot *slot) {
    if (atomic_load(&slot->asked) > atomic_load(&slot->sent))
        return true;
    atomic_store(&slot->wanted, true);
    return atomic_load(&slot->asked) > atomic_load(&slot->sent);
}

bool lm_link_has_room(struct lm_link *link, enum lm_box box, int c) {
    return has_left(link, c) && (!link->shared || is_asked(slot_of(link, box, c)));
}

/* Into the box, if they are not there. */
static void put(struct lm_link *link, enum lm_box box, int c, const real *data, size_t n) {
    struct slot *slot = slot_of(link, box, c);
    LM_ASSERT(atomic_load(&slot->asked) > atomic_load(&slot->sent));
    if (data != lm_link_box(link, box, c))
        memcpy(lm_link_box(link, box, c), data, n * sizeof *data);
    slot->length = n;
    atomic_fetch_add(&slot->sent, 1);
    lm_traffic_share(link->peer, n * sizeof *data);
}

void lm_link_send_begin(struct lm_link *link, enum lm_box box, int c, const real *data,
                        size_t n) {
    LM_ASSERT(link->chunks[c].send == MPI_REQUEST_NULL);
    if (link->shared)
        put(link, box, c, data, n);
    LM_MPI(MPI_Isend(data, link->shared ? 0 : (int)n, LM_MPI_REAL, link->peer,
                     link->send_tag + c, lm_comm_links(), &link->chunks[c].send));
    lm_crowd_wake(link->peer);
}

void lm_link_send_end(struct lm_link *link, int c) {
    lm_mpi_wait(&link->chunks[c].send, MPI_STATUS_IGNORE);
}

/* --- receiving ---------------------------------------------------------------------------- */

static void ask(struct lm_link *link, enum lm_box box, int c) {
    struct slot *slot = slot_of(link, box, c);
    atomic_fetch_add(&slot->asked, 1);
    if (atomic_exchange(&slot->wanted, false))
        lm_crowd_wake(link->peer);
}

void lm_link_receive_begin(struct lm_link *link, enum lm_box box, int c, size_t n) {
    LM_ASSERT(link->chunks[c].receive == MPI_REQUEST_NULL);
    link->chunks[c].box = box;
    link->chunks[c].expected = n;
    LM_MPI(MPI_Irecv(lm_link_box(link, box, c), link->shared ? 0 : (int)n, LM_MPI_REAL,
                     link->peer, link->receive_tag + c, lm_comm_links(),
                     &link->chunks[c].receive));
    if (link->shared)
        ask(link, box, c);
}

static size_t received(const struct lm_link *link, int c, const MPI_Status *status) {
    int n;
    if (link->shared) {
        struct slot *slot = slot_of(link, link->chunks[c].box, c);
        return atomic_load(&slot->sent) == atomic_load(&slot->asked) ? slot->length : 0;
    }
    LM_MPI(MPI_Get_count(status, LM_MPI_REAL, &n));
    /* The sender of a long message, with what MPI adds to it, waits for that. */
    if ((size_t)n * sizeof(real) > LM_EAGER / 2)
        lm_crowd_wake(link->peer);
    return (size_t)n;
}

static void take(const struct lm_link *link, int c, const MPI_Status *status) {
    LM_ASSERT(received(link, c, status) == link->chunks[c].expected);
}

void lm_link_receive_end(struct lm_link *link, int c) {
    if (link->chunks[c].receive == MPI_REQUEST_NULL)
        return;
    MPI_Status status;
    lm_mpi_wait(&link->chunks[c].receive, &status);
    take(link, c, &status);
}

bool lm_link_receive_is_done(struct lm_link *link, int c) {
    if (link->chunks[c].receive == MPI_REQUEST_NULL)
        return true;
    MPI_Status status;
    int done;
    LM_MPI(MPI_Test(&link->chunks[c].receive, &done, &status));
    if (done)
        take(link, c, &status);
    return done;
}
