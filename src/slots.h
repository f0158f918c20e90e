/* Slots: where chunks that are under way keep their state, if it need not stay behind them. A
 * thread that begins a chunk takes the slot that it was the last to have, which is in its
 * cache. */
#ifndef LAMINA_SLOTS_H
#define LAMINA_SLOTS_H

struct lm_slots;

/* n slots, all of them free. Free with lm_slots_destroy. */
struct lm_slots *lm_slots_create(int n);
void lm_slots_destroy(struct lm_slots *slots);

/* A slot that is free, of which there must be one: the last that the thread gave; else one that
 * nobody has had; else that which others gave first. Thread-safe, and so is the next. */
int lm_slots_take(struct lm_slots *slots, int thread);

/* A slot is free again; `thread` had it. */
void lm_slots_give(struct lm_slots *slots, int thread, int slot);

#endif
