/* Slots: a thread comes back to the one that it had last, and no two have the same one. */
#include "slots.h"

#include "runner.h"

#include <omp.h>
#include <stdbool.h>

enum { SLOTS = 6, THREADS = 4, ROUNDS = 1000 };

/* Also where slots were handed over meanwhile: one belongs to the thread that gave it. */
START_TEST(a_thread_comes_back_to_its_slot) {
    for (int changes = 0; changes < 2; changes++) {
        struct lm_slots *slots = lm_slots_create(SLOTS);
        int slot[2] = {lm_slots_take(slots, 0), lm_slots_take(slots, 1)};
        ck_assert(slot[0] != slot[1]);
        for (int thread = 0; thread < 2; thread++)
            lm_slots_give(slots, thread, slot[thread ^ changes]);
        for (int thread = 1; thread >= 0; thread--)
            ck_assert_int_eq(lm_slots_take(slots, thread), slot[thread ^ changes]);
        lm_slots_destroy(slots);
    }
}
END_TEST

/* Of two that it had, the last; of those that others had, none while there are new ones. */
START_TEST(the_last_is_the_first_to_be_taken_again) {
    struct lm_slots *slots = lm_slots_create(3);
    int a = lm_slots_take(slots, 0), b = lm_slots_take(slots, 0);
    lm_slots_give(slots, 0, b);
    lm_slots_give(slots, 0, a);
    int c = lm_slots_take(slots, 1);
    ck_assert(c != a && c != b);
    ck_assert_int_eq(lm_slots_take(slots, 0), a);
    ck_assert_int_eq(lm_slots_take(slots, 1), b);
    lm_slots_destroy(slots);
}
END_TEST

START_TEST(no_two_threads_have_the_same) {
    struct lm_slots *slots = lm_slots_create(SLOTS);
    int had[SLOTS] = {0};
    bool shared = false;
#pragma omp parallel num_threads(THREADS)
    for (int i = 0; i < ROUNDS; i++) {
        int before, slot = lm_slots_take(slots, omp_get_thread_num());
#pragma omp atomic capture
        before = had[slot]++;
        if (before != 0)
#pragma omp atomic write
            shared = true;
#pragma omp atomic
        had[slot]--;
        lm_slots_give(slots, omp_get_thread_num(), slot);
    }
    ck_assert(!shared);
    lm_slots_destroy(slots);
}
END_TEST

int main(void) {
    return RUN_TESTS("slots", a_thread_comes_back_to_its_slot,
                     the_last_is_the_first_to_be_taken_again, no_two_threads_have_the_same);
}
