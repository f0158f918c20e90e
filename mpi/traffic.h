/* Traffic: an audit of every message, counted underneath MPI.
 *
 * traffic.c stands between the program and the MPI library (profiling interface, PMPI) and
 * counts, while a window is open, what this rank sends: point-to-point messages by receiver,
 * and other calls that communicate (collectives, one-sided, persistent, file) as `elsewhere`,
 * whoever makes them, HDF5 included: all those that Lamina or HDF5 call, and more; traffic.c
 * lists them. So what is said of locality is measured where the messages pass, not where they
 * are meant. */
#ifndef LAMINA_TRAFFIC_H
#define LAMINA_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

/* What the messages were for. */
enum lm_phase {
    LM_PHASE_FORWARD,   /* feedforward values */
    LM_PHASE_INFERENCE, /* values and feedback of the rule that trains */
    LM_PHASE_EXACT,     /* exact errors for comparison, when gradients are recorded */
    LM_PHASE_EVALUATE,  /* test batches and recorded inputs, outside training steps */
    LM_PHASE_SUM,       /* parameter updates, between replicas of a layer */
    LM_PHASE_RECORD,    /* what is recorded, from replicas of a layer to the first */
    LM_PHASES
};

/* Open a window on a phase, or close it. Not nested. Call outside parallel regions. */
void lm_traffic_open(enum lm_phase phase);
void lm_traffic_close(void);

/* What this thread sends from now on is of another phase, until the window closes. */
void lm_traffic_turn(enum lm_phase phase);

/* Say that a message to rank `to` is about so many bytes in memory that both share: they are
 * counted like bytes of the message itself. */
void lm_traffic_share(int to, size_t bytes);

/* Messages and bytes that this rank sent to rank `to` in a phase. */
int64_t lm_traffic_messages(enum lm_phase phase, int to);
int64_t lm_traffic_bytes(enum lm_phase phase, int to);

/* Communicating calls other than point-to-point messages inside any window. */
int64_t lm_traffic_elsewhere(void);

/* Call `hook` with errno when MPI writes less to a file than it was asked to, whether it says
 * so or not. NULL: nobody. */
void lm_traffic_on_short_write(void (*hook)(int number));

/* Forget all counts. */
void lm_traffic_reset(void);

#endif
