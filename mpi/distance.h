/* Distance: how far apart the processors of two ranks of a node are, by the time that a word in
 * memory takes from one to the other and back. Around 100 ns where they share a cache, several
 * times that where they do not, and half of it where they are one core's two threads, which
 * share its arithmetic too. A virtual machine may be moved from one to the other at any time.
 */
#ifndef LAMINA_DISTANCE_H
#define LAMINA_DISTANCE_H

/* Seconds, at best, between the first two ranks of this rank's node; 0 if it has but one.
 * Collective; takes a few milliseconds. */
double lm_distance_measure(void);

#endif
