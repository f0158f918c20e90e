#include "schedule.h"

/* What steps s and on of chunk c cost. */
static double cost_from(const struct lm_schedule *schedule, int c, long s) {
    size_t width = c < schedule->n_chunks - 1 ? schedule->width : schedule->last_width;
    return (double)width * schedule->left[s];
}

static bool is_free(const struct lm_schedule *schedule, int c) {
    return !schedule->reached[c].taken && schedule->reached[c].steps < schedule->steps;
}

/* What is left to do of chunk c. */
static double left_of(const struct lm_schedule *schedule, int c) {
    return cost_from(schedule, c, schedule->reached[c].steps);
}

/* --- parts of the batch -------------------------------------------------------------- */

/* What the thread with most to do does where all chunks stay whole. */
static double whole_part(const struct lm_schedule *schedule) {
    int n = schedule->n_chunks, each = n / schedule->threads, rest = n % schedule->threads;
    double cost = cost_from(schedule, 0, 0), last = cost_from(schedule, n - 1, 0);
    return each * cost + (rest == 0 ? 0 : rest == 1 ? last : cost);
}

/* What a thread does where parts are even, beside what it costs it that a chunk comes to it. */
static double even_part(const struct lm_schedule *schedule, double price) {
    int n = schedule->n_chunks;
    double all = (n - 1) * cost_from(schedule, 0, 0) + cost_from(schedule, n - 1, 0);
    return (all - price) / schedule->threads;
}

/* The part of a thread where parts are even; 0: chunks are to stay whole. A chunk that is in
 * three parts would have two of them at the same time. */
static double share_of(const struct lm_schedule *schedule) {
    enum { WORTH = 16 }; /* the batch is to be shorter by this part */
    double price = (double)schedule->width * schedule->handover;
    double share = even_part(schedule, price), whole = whole_part(schedule);
    bool is_worth = share + price < whole * (WORTH - 1) / WORTH;
    return is_worth && share >= cost_from(schedule, 0, 0) ? share : 0;
}

/* Where a thread's part begins: with the first `steps` steps of `chunk`. The others of that are
 * the end of the part before. */
struct border {
    int chunk;
    long steps;
};

/* What is left of chunk c there is closest to `cost`. */
static long step_at(const struct lm_schedule *schedule, int c, double cost) {
    long s = 0;
    while (s < schedule->steps &&
           cost_from(schedule, c, s) + cost_from(schedule, c, s + 1) > 2 * cost)
        s++;
    return s;
}

static struct border border_of(const struct lm_schedule *schedule, int thread) {
    double share = share_of(schedule), before = thread * share;
    int c = thread * schedule->n_chunks / schedule->threads;
    if (share == 0 || thread == 0 || thread == schedule->threads)
        return (struct border){c, schedule->steps};
    double cost = cost_from(schedule, 0, 0);
    c = (int)(before / cost);
    return (struct border){c, step_at(schedule, c, before - c * cost)};
}

/* --- turns --------------------------------------------------------------------------- */

/* What is next in the thread's own part. */
static bool take_own(const struct lm_schedule *schedule, int thread, struct lm_turn *turn) {
    struct border from = border_of(schedule, thread), to = border_of(schedule, thread + 1);
    for (int c = from.chunk; c < to.chunk; c++) {
        *turn = (struct lm_turn){c, 0, c == from.chunk ? from.steps : schedule->steps};
        if (is_free(schedule, c) && schedule->reached[c].steps == 0 && turn->end > 0)
            return true;
    }
    *turn = (struct lm_turn){to.chunk, to.steps, schedule->steps};
    return to.steps < schedule->steps && is_free(schedule, to.chunk) &&
           schedule->reached[to.chunk].steps == to.steps;
}

/* The free chunk with most left. */
static bool take_any(const struct lm_schedule *schedule, int thread, struct lm_turn *turn) {
    int n = schedule->n_chunks, longest = -1;
    for (int i = 0; i < n; i++) {
        int c = (thread * n / schedule->threads + i) % n;
        if (is_free(schedule, c) &&
            (longest < 0 || left_of(schedule, c) > left_of(schedule, longest)))
            longest = c;
    }
    if (longest >= 0)
        *turn = (struct lm_turn){longest, schedule->reached[longest].steps, schedule->steps};
    return longest >= 0;
}

static bool take(struct lm_schedule *schedule, int thread, struct lm_turn *turn) {
    if (schedule->n_chunks == 0 ||
        (!take_own(schedule, thread, turn) && !take_any(schedule, thread, turn)))
        return false;
    schedule->reached[turn->chunk].taken = true;
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
