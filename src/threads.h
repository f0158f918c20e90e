/* Threads: OpenMP threads of one rank, all set alike.
 *
 * Every thread flushes denormal numbers to zero: Adam's moments decay into them, and
 * they slow each operation on them a hundredfold. */
#ifndef LAMINA_THREADS_H
#define LAMINA_THREADS_H

/* Use `n` threads (0: one per processor this process may run on, divided by the
 * `sharing` ranks of this node) in every parallel region from now on, and set them up.
 * Returns their number. Call once at the start of the program. */
int lm_threads_start(int n, int sharing);

#endif
