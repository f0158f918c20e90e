/* Link: the connection of two layers on different ranks, seen from one end.
 *
 * The parent's end sends values up and receives feedback; the child's end receives values
 * and sends feedback down. Each chunk has one message under way in each direction at most,
 * so chunks travel on their own, and different threads may work on different chunks at the
 * same time. Between layers on one rank there is no link, but a pointer (cortex.h). */
#ifndef LAMINA_LINK_H
#define LAMINA_LINK_H

#include "network.h"

struct lm_link;

/* One end of edge number `edge` of `n_edges` to rank `peer`, for n_chunks chunks of messages
 * of at most `length` reals. Local; free with lm_link_destroy, when nothing is under way. */
struct lm_link *lm_link_create(int edge, int n_edges, int peer, bool is_parent, int n_chunks,
                               size_t length);
void lm_link_destroy(struct lm_link *link);

/* Begin to send n reals of chunk c; data must stay as they are until send_end, which returns
 * at once when nothing is under way; or until is_done says so, at once. Neighbour; thread-safe
 * for different chunks. */
void lm_link_send_begin(struct lm_link *link, int c, const real *data, size_t n);
void lm_link_send_end(struct lm_link *link, int c);
bool lm_link_send_is_done(struct lm_link *link, int c);

/* Post a receive of n reals for chunk c; after receive_end, or when is_done, the buffer holds
 * them. */
void lm_link_receive_begin(struct lm_link *link, int c, real *buffer, size_t n);
void lm_link_receive_end(struct lm_link *link, int c);
bool lm_link_receive_is_done(struct lm_link *link, int c);

#endif
