/* Crowd: the ranks of a node when they have more threads than it has processors. They wait
 * asleep, and a rank with more than a processor's share of the work has a processor of its own,
 * so that others do not take it from the one they wait for: all but those that would cost it
 * more by what they exchange with it, from processor to processor, than by what they compute.
 */
#ifndef LAMINA_CROWD_H
#define LAMINA_CROWD_H

#include <stdbool.h>

/* Say that this rank computes with `threads` threads, what its work costs, in any unit, and
 * what `exchange` (ranks of the job; NULL: nothing) with each other rank would cost it, in that
 * unit, if that one had another processor. If the node is crowded its ranks sleep from now on
 * when they wait, and, with one thread each, have processors as lm_crowd_choose says, unless
 * mpirun has bound them already or LAMINA_BIND=none is in the environment (the other choice is
 * share; any other word ends the job, LM_USAGE). Collective. */
void lm_crowd_gather(int threads, double cost, const double exchange[]);

/* Which processors of `processors` each of n ranks may use, whose work costs `cost` and what
 * each exchanges with others exchange (n, n): a rank whose share of the costs is more than one
 * processor's has own[rank], from 0, alone, or with others that thereby exchange less between
 * processors, if the busiest one has less to do then; all others, own -1, have the rest, of
 * which there is at least one. False if no rank has its own. Local. */
bool lm_crowd_choose(int n, const double cost[], const double exchange[], int processors,
                     int own[]);

/* The processor of the node that this rank keeps to; -1: it may use several. Local. */
int lm_crowd_processor(void);

/* A number for each of as many ranks of the node as can have a processor each, at the same
 * time, from 0: who is to measure what the processors can do. Others have none that is less
 * than their number. Local. */
int lm_crowd_seat(void);

/* Listen, look for messages, and if there are none idle, with what was heard; again and again,
 * with n = 1, 2, ... Who has sent a message wakes its receiver, and who has received a long one
 * its sender. Where there is no crowd nobody sleeps and nobody is woken. Local, thread-safe. */
unsigned lm_crowd_listen(void);
void lm_crowd_idle(int n, unsigned heard);
void lm_crowd_wake(int rank);

#endif
