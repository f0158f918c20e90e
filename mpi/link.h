/* Link: the connection of two layers on different ranks, seen from one end.
 *
 * The parent's end sends values up and receives feedback; the child's end receives values
 * and sends feedback down. Each chunk has one message under way in each direction at most,
 * so chunks travel on their own, and different threads may work on different chunks at the
 * same time. Between layers on one rank there is no link, but a pointer (node.h).
 *
 * A message arrives in a box. Ranks of one node, where they can, share the memory of their
 * boxes with each other and with nobody else (shared.h): what is sent is put there, or made
 * there, and an empty message says that it is there, so that whoever counts messages sees no
 * difference. Who asks for the next message gives the box to its sender until that has come. */
#ifndef LAMINA_LINK_H
#define LAMINA_LINK_H

#include "network.h"

/* What a message is. */
enum lm_box {
    LM_BOX_FORWARD,  /* hat v, upward */
    LM_BOX_VALUE,    /* upward */
    LM_BOX_FEEDBACK, /* downward */
    LM_BOXES
};

struct lm_link;

/* One end of edge number `edge` of `n_edges` to rank `peer`, for n_chunks chunks of messages of
 * at most `length` reals. Neighbour: both ranks make their end, each rank its ends in the order
 * of edges. Free with lm_link_destroy, when nothing is under way. */
struct lm_link *lm_link_create(int edge, int n_edges, int peer, bool is_parent, int n_chunks,
                               size_t length);
void lm_link_destroy(struct lm_link *link);

/* Whether data go through shared memory, where they are when send_begin returns; and whether
 * moreover the two ranks keep to one processor, so that they have the same caches. */
bool lm_link_is_shared(const struct lm_link *link);
bool lm_link_shares_processor(const struct lm_link *link);

/* The box (length) of chunk c: where what is received will be, and where feedback may be made
 * when lm_link_has_room; what is received stays until more is asked for. At the parent's end
 * that of feedback, and those of values only where memory is shared, else NULL: values that are
 * made there, when lm_link_has_room, are sent without a copy. */
real *lm_link_box(const struct lm_link *link, enum lm_box box, int c);

/* Whether the last message of chunk c from this end has left and the next may be made and sent.
 * Thread-safe for different chunks, like the following. */
bool lm_link_has_room(struct lm_link *link, enum lm_box box, int c);

/* Begin to send n reals of chunk c, where there is room; data must stay as they are until
 * send_end, which returns at once when nothing is under way, or until there is room again. */
void lm_link_send_begin(struct lm_link *link, enum lm_box box, int c, const real *data,
                        size_t n);
void lm_link_send_end(struct lm_link *link, int c);

/* Ask for n reals of chunk c; after receive_end, or when is_done, the box holds them. */
void lm_link_receive_begin(struct lm_link *link, enum lm_box box, int c, size_t n);
void lm_link_receive_end(struct lm_link *link, int c);
bool lm_link_receive_is_done(struct lm_link *link, int c);

#endif
