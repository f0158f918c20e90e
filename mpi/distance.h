/* Distance: how far apart the processors of two threads or ranks are, by the time that a word
 * in memory takes from one to the other and back. Around 100 ns where they share a cache,
 * several times that where they do not, and half of it where they are one core's two threads,
 * which share its arithmetic too. A virtual machine may move them at any time. */
#ifndef LAMINA_DISTANCE_H
#define LAMINA_DISTANCE_H

/* Seconds, at best, between the first two threads of the node's first rank, or if ranks have
 * one thread each, between the two with the first seats (crowd.h); 0 if there is but one.
 * `threads`: of this rank. Collective; takes a few milliseconds. */
double lm_distance_measure(int threads);

#endif
