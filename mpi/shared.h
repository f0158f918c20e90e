/* Shared memory of two ranks of a node. It has no name, so that nothing is left of it after a
 * kill, and nobody else opens it. Internal to links. */
#ifndef LAMINA_SHARED_H
#define LAMINA_SHARED_H

#include <stdbool.h>
#include <stddef.h>

/* `bytes` zero bytes that this rank shares with rank `peer`, both of which call this, one as
 * the first; NULL to both when they are not on one node, are the same, or there is no room for
 * it. The variable LAMINA_LINKS=messages in the environment of the first says that there shall
 * be none; a word that is no choice ends the job, LM_USAGE. Tag: of messages of lm_comm_links
 * between them, free for that. Close with lm_shared_close. */
void *lm_shared_open(int peer, bool first, int tag, size_t bytes);
void lm_shared_close(void *memory, size_t bytes);

#endif
