/* Crowd: the ranks of a node when they have more threads than it has processors. They wait
 * asleep, and a rank with a processor's share of the work, or more, has a processor of its own,
 * so that others do not take it from the one they wait for. */
#ifndef LAMINA_CROWD_H
#define LAMINA_CROWD_H

#include <stdbool.h>

/* Say that this rank computes with `threads` threads, and what its work costs, in any unit. If
 * the node is crowded its ranks sleep from now on when they wait, and, with one thread each,
 * have processors as lm_crowd_choose says, unless mpirun has bound them already or
 * LAMINA_BIND=none is in the environment (the other choice is share; any other word ends the
 * job, LM_USAGE). Collective. */
void lm_crowd_gather(int threads, double cost);

/* Which processors of `processors` each of n ranks with these costs may use: a rank whose share
 * of the costs is more than one processor's has own[rank], from 0, alone; all others, own -1,
 * have the rest, of which there is at least one. False if no rank has one alone. Local. */
bool lm_crowd_choose(int n, const double cost[], int processors, int own[]);

/* Listen, look for messages, and if there are none idle, with what was heard; again and again,
 * with n = 1, 2, ... Who has sent a message wakes its receiver, and who has received a long one
 * its sender. Where there is no crowd nobody sleeps and nobody is woken. Local, thread-safe. */
unsigned lm_crowd_listen(void);
void lm_crowd_idle(int n, unsigned heard);
void lm_crowd_wake(int rank);

#endif
