/* Aside: a file that is made beside the place it shall have, so that its readers find there
 * the whole of it or what was there before, whenever the program is killed.
 *
 * It is made at PATH.new, called PATH.partial when it can be read as far as it goes, and PATH
 * in the end. Of several ranks that write it, rank 0 makes it and calls it by other names. */
#ifndef LAMINA_ASIDE_H
#define LAMINA_ASIDE_H

#include "status.h"

#include <sys/types.h>

struct lm_aside {
    char *path;     /* in the end */
    char *name;     /* at the moment */
    int descriptor; /* where it was made; else -1 */
};

/* Nothing made yet. Free with lm_aside_clear, which leaves the file. Local, as all below. */
void lm_aside_init(struct lm_aside *aside, const char *path);
void lm_aside_clear(struct lm_aside *aside);

/* Make the file, in the place of what a kill left; LM_CANT_CREATE. On one rank. */
bool lm_aside_make(struct lm_aside *aside, struct lm_status *status);

/* Whether another rank sees the file that one made; LM_CANT_CREATE. */
bool lm_aside_see(const struct lm_aside *aside, struct lm_status *status);

/* Take the disk space up to byte `end`, where a file system can: false with errno when there
 * is none left. Does nothing where the file was not made. */
bool lm_aside_reserve(const struct lm_aside *aside, off_t end);

/* Call it PATH.partial, on all ranks; the maker renames it. False with errno. */
bool lm_aside_expose(struct lm_aside *aside);

/* Where it was made: give back space beyond its end and put all of it on the disk, so that
 * what is read next comes from there. False with errno. */
bool lm_aside_sync(const struct lm_aside *aside);

/* Where it was made: call it PATH, and make that last. False with errno. */
bool lm_aside_publish(const struct lm_aside *aside);

/* Where it was made: make it empty, or remove it. */
void lm_aside_empty(const struct lm_aside *aside);
void lm_aside_remove(const struct lm_aside *aside);

#endif
