/* Peer: a program of analysis/peers/ that trains the same network by other means, and is asked
 * between our own measurements how long that takes. It runs on the rank that starts it, with
 * pipes to its standard input and output (analysis/peers/peer.py has the protocol), and
 * sleeps in between. */
#ifndef LAMINA_PEER_H
#define LAMINA_PEER_H

#include "timing.h"

struct lm_peer;

struct lm_peer_plan {
    const char *option;     /* what asked for it, for messages: "--peer torch" */
    const char *script;     /* file of analysis/peers/ */
    const char *argument;   /* of the script, may be NULL */
    const char *settings;   /* lm_settings_text */
    int threads;            /* that it may use */
    const cpu_set_t *where; /* processors that it may use */
};

/* Start a peer and wait until it is ready. Its Python is /usr/bin/python3, or what
 * $LAMINA_PYTHON names. NULL and LM_UNAVAILABLE with the peer's own words when Python or what
 * the script needs is not there. Local; stop it with lm_peer_stop. */
struct lm_peer *lm_peer_start(const struct lm_peer_plan *plan, struct lm_status *status);

/* What the peer calls itself, with versions. Owned by the peer. */
const char *lm_peer_name(const struct lm_peer *peer);

/* Seconds that the peer needs for k training steps. LM_UNAVAILABLE when it died. Local. */
bool lm_peer_time(struct lm_peer *peer, const struct lm_method *method, long k, double *seconds,
                  struct lm_status *status);

/* End the peer. NULL is allowed. Local. */
void lm_peer_stop(struct lm_peer *peer);

#endif
