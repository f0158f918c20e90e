#include "slots.h"

#include "memory.h"
#include "status.h"

enum { NOBODY = -1 };

struct slot {
    bool taken;
    int thread; /* the last that gave it */
    long given; /* when */
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
    for (int i = 0; i < n; i++)
        slots->slot[i].thread = NOBODY;
    return slots;
}

void lm_slots_destroy(struct lm_slots *slots) {
    if (!slots)
        return;
    lm_free(slots->slot);
    lm_free(slots);
}

/* Whether slot a is the better one for a thread. */
static bool is_better(const struct slot *a, const struct slot *b, int thread) {
    if (a->thread != b->thread && (a->thread == thread || b->thread == thread))
        return a->thread == thread;
    if (a->thread != b->thread && (a->thread == NOBODY || b->thread == NOBODY))
        return a->thread == NOBODY;
    return a->given > b->given;
}

static int find(const struct lm_slots *slots, int thread) {
    int best = NOBODY;
    for (int i = 0; i < slots->n; i++)
        if (!slots->slot[i].taken &&
            (best == NOBODY || is_better(&slots->slot[i], &slots->slot[best], thread)))
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
