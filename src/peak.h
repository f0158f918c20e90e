/* Peak: how many floating-point operations per second the processor can do at most, in the
 * number type and with the widest vectors of this build: multiplications and additions that
 * depend on registers only (fused where the instruction set has that), enough of them
 * independent of each other to hide their latency. */
#ifndef LAMINA_PEAK_H
#define LAMINA_PEAK_H

/* Operations per second of `threads` threads together, busy for about `seconds`: each
 * thread's count by its own clock, summed. */
double lm_peak_measure(int threads, double seconds);

#endif
