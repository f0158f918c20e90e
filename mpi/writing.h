/* Writing: how a layer's values get to memory that another rank reads, through the caches or
 * past them.
 *
 * Between processors that share a cache the first is faster. Between others each line is taken
 * back from who has read it, which took 52 us for 216 KB on a Zen 3, and past the caches 11.
 * How far apart ranks are the system may not know, and a virtual machine may change; so the
 * faster way is taken, and every 64th time the other one is tried. The bits are the same.
 * Pure arithmetic, no message. */
#ifndef LAMINA_WRITING_H
#define LAMINA_WRITING_H

#include <stdbool.h>

/* Of one array, for one thread at a time; all zero at first. */
struct lm_writing {
    double seconds[2]; /* that it takes through the caches, and past them; 0: not known */
    unsigned times;
};

/* Whether the next time goes past the caches; and that it is done and took so many seconds. One
 * that took long counts little: another process may have had the processor. */
bool lm_writing_streams(const struct lm_writing *writing);
void lm_writing_took(struct lm_writing *writing, double seconds);

#endif
