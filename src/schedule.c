#include "schedule.h"

/* What is left to do of chunk c. */
static double left_of(const struct lm_schedule *schedule, int c) {
    size_t width = c < schedule->n_chunks - 1 ? schedule->width : schedule->last_width;
    return (double)width * schedule->left[schedule->reached[c].steps];
}

static bool is_free(const struct lm_schedule *schedule, int c) {
    return !schedule->reached[c].taken && schedule->reached[c].steps < schedule->steps;
}

/* Chunks that nobody has begun, those that are not done, and the free one with most left, from
 * `first` on in a circle; -1: none is free. */
struct state {
    int fresh, open, longest;
};

static struct state look(const struct lm_schedule *schedule, int first) {
    struct state state = {.longest = -1};
    int n = schedule->n_chunks;
    for (int i = 0; i < n; i++) {
        int c = (first + i) % n;
        const struct lm_reached *reached = &schedule->reached[c];
        state.fresh += reached->steps == 0 && !reached->taken;
        state.open += reached->steps < schedule->steps;
        if (is_free(schedule, c) &&
            (state.longest < 0 || left_of(schedule, c) > left_of(schedule, state.longest)))
            state.longest = c;
    }
    return state;
}

/* Where a thread's share of what is left of a chunk is done. */
static long share_end(const struct lm_schedule *schedule, long first) {
    double left = schedule->left[first] * (1 - 1.0 / (schedule->threads + 1));
    long end = first + 1;
    while (end < schedule->steps && schedule->left[end] > left)
        end++;
    return end;
}

/* Whether chunks may go from thread to thread. */
static bool may_change(const struct lm_schedule *schedule) {
    enum { MANY = 8 }; /* handovers in the time of a chunk */
    return schedule->threads > 1 && MANY * schedule->handover < schedule->left[0];
}

static bool take(struct lm_schedule *schedule, int thread, struct lm_turn *turn) {
    struct state state = look(schedule, thread * schedule->n_chunks / schedule->threads);
    if (state.longest < 0)
        return false;
    int threads = schedule->threads;
    bool whole = !may_change(schedule) || state.fresh > threads + 1 + threads / 4 ||
                 state.open <= threads;
    struct lm_reached *reached = &schedule->reached[state.longest];
    turn->chunk = state.longest;
    turn->first = reached->steps;
    turn->end = whole ? schedule->steps : share_end(schedule, turn->first);
    reached->taken = true;
    return true;
}

bool lm_schedule_take(struct lm_schedule *schedule, int thread, struct lm_turn *turn) {
    bool found;
#pragma omp critical(lm_schedule)
    found = take(schedule, thread, turn);
    return found;
}

void lm_schedule_give(struct lm_schedule *schedule, const struct lm_turn *turn) {
#pragma omp critical(lm_schedule)
    schedule->reached[turn->chunk] = (struct lm_reached){.steps = turn->end};
}
