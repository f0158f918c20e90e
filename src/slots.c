#include "slots.h"

#include "memory.h"
#include "status.h"

struct slot {
    bool taken;
    int thread; /* the last that gave it */
    long given; /* when; 0: never */
};

struct lm_slots {
    int n;
    long now;
    struct slot *slot; /* (n) */
};

struct lm_slots *lm_slots_create(int n) {
    struct lm_slots *slots = lm_allocate(1, sizeof *slots);
    slots->n = n;
    slots->slot = lm_allocate((size_t)n, sizeof *slots->slot);
    return slots;
}

void lm_slots_destroy(struct lm_slots *slots) {
    if (!slots)
        return;
    lm_free(slots->slot);
    lm_free(slots);
}

/* How much a thread would like a slot: its own, the last first; new ones; of others, the first
 * that was given. */
static long worth(const struct slot *slot, int thread) {
    return slot->thread == thread ? slot->given : -slot->given;
}

/* The free one that it would like best; -1: none is free. */
static int find(const struct lm_slots *slots, int thread) {
    int best = -1;
    for (int i = 0; i < slots->n; i++)
        if (!slots->slot[i].taken &&
            (best < 0 || worth(&slots->slot[i], thread) > worth(&slots->slot[best], thread)))
            best = i;
    return best;
}

int lm_slots_take(struct lm_slots *slots, int thread) {
    int found;
#pragma omp critical(lm_slots)
    {
        found = find(slots, thread);
        LM_ASSERT(found >= 0);
        slots->slot[found].taken = true;
    }
    return found;
}

void lm_slots_give(struct lm_slots *slots, int thread, int slot) {
#pragma omp critical(lm_slots)
    {
        LM_ASSERT(slots->slot[slot].taken);
        slots->slot[slot] = (struct slot){false, thread, ++slots->now};
    }
}
