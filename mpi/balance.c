#include "balance.h"

#include "memory.h"

#include <math.h>
#include <string.h>

static const double least_gain = 0.05; /* of the time of blocks, that makes up for more links */
static const double least_step = 1e-3; /* of the busiest rank's time, for another change */
static const double patience = 4; /* of each message's time, for the choice among changes */

/* --- blocks ------------------------------------------------------------------------------- */

/* Time of a rank with layers first to last. */
static double block_time(const struct lm_workload *workload,
                         const struct lm_placement *placement, int first, int last) {
    enum { OTHER, MINE };
    struct lm_placement two = *placement;
    two.rank = lm_allocate((size_t)two.n_layers, sizeof *two.rank);
    for (int l = first; l <= last; l++)
        two.rank[l] = MINE;
    double time = lm_estimate_rank(workload, &two, MINE).time;
    lm_free(two.rank);
    return time;
}

/* best[r][l]: the least time of the slowest block when layers 0 to l lie on ranks 0 to r;
 * first[r][l]: where the last of these blocks begins. */
static void find_blocks(const struct lm_workload *workload,
                        const struct lm_placement *placement, double *best, int *first) {
    int n = placement->n_layers, ranks = placement->n_ranks;
    for (int l = 0; l < n; l++)
        for (int r = 0; r < ranks; r++)
            best[r * n + l] = INFINITY;
    for (int f = 0; f < n; f++)
        for (int l = f; l < n; l++) {
            double block = block_time(workload, placement, f, l);
            if (f == 0)
                best[l] = block;
            for (int r = 1; f > 0 && r < ranks; r++) {
                double time = fmax(block, best[(r - 1) * n + f - 1]);
                if (time <= best[r * n + l]) {
                    best[r * n + l] = time;
                    first[r * n + l] = f;
                }
            }
        }
}

static void place_blocks(const struct lm_workload *workload, struct lm_placement *placement) {
    int n = placement->n_layers, ranks = placement->n_ranks;
    double *best = lm_allocate((size_t)(ranks * n), sizeof *best);
    int *first = lm_allocate((size_t)(ranks * n), sizeof *first);
    find_blocks(workload, placement, best, first);
    for (int r = ranks - 1, last = n - 1; r >= 0; r--) {
        int f = first[r * n + last];
        for (int l = f; l <= last; l++)
            placement->rank[l] = r;
        last = f - 1;
    }
    lm_free(best);
    lm_free(first);
}

/* --- single layers ------------------------------------------------------------------------ */

static double time_of(const struct lm_workload *workload, const struct lm_placement *placement,
                      int rank) {
    return lm_estimate_rank(workload, placement, rank).time;
}

static int busiest_rank(const struct lm_workload *workload,
                        const struct lm_placement *placement) {
    int busiest = 0;
    for (int r = 1; r < placement->n_ranks; r++)
        if (time_of(workload, placement, r) > time_of(workload, placement, busiest))
            busiest = r;
    return busiest;
}

/* Layer `layer` goes to rank `to`, and layer `other` of that rank, if not -1, comes for it. */
struct change {
    int layer, to, other;
    double price; /* the longer one of the two ranks' times, and their messages */
};

static void apply(struct lm_placement *placement, const struct change *change) {
    int from = placement->rank[change->layer];
    placement->rank[change->layer] = change->to;
    if (change->other >= 0)
        placement->rank[change->other] = from;
}

/* Take a change for the best if it leaves both ranks less than `limit` of time, at the least
 * price. */
static void try_change(const struct lm_workload *workload, struct lm_placement *placement,
                       double limit, struct change change, struct change *best) {
    int from = placement->rank[change.layer];
    apply(placement, &change);
    struct lm_estimate a = lm_estimate_rank(workload, placement, from);
    struct lm_estimate b = lm_estimate_rank(workload, placement, change.to);
    double time = fmax(a.time, b.time);
    change.price = time + patience * LM_FLOPS_PER_BYTE * (a.between + b.between);
    if (time < limit && change.price < best->price)
        *best = change;
    placement->rank[change.layer] = from;
    if (change.other >= 0)
        placement->rank[change.other] = change.to;
}

static int count_layers(const struct lm_placement *placement, int rank) {
    int n = 0;
    for (int l = 0; l < placement->n_layers; l++)
        n += placement->rank[l] == rank;
    return n;
}

/* Make the busiest rank and the one it shares with less busy than it was; false if nothing
 * does. No other rank's time changes, so that this comes to an end. */
static bool relieve(const struct lm_workload *workload, struct lm_placement *placement) {
    int from = busiest_rank(workload, placement);
    bool gives = count_layers(placement, from) > 1;
    double limit = (1 - least_step) * time_of(workload, placement, from);
    struct change best = {.layer = -1, .price = INFINITY};
    for (int l = 0; l < placement->n_layers; l++) {
        if (placement->rank[l] != from)
            continue;
        for (int r = 0; gives && r < placement->n_ranks; r++)
            if (r != from)
                try_change(workload, placement, limit, (struct change){l, r, -1, 0}, &best);
        for (int m = 0; m < placement->n_layers; m++)
            if (placement->rank[m] != from)
                try_change(workload, placement, limit,
                           (struct change){l, placement->rank[m], m, 0}, &best);
    }
    if (best.layer >= 0)
        apply(placement, &best);
    return best.layer >= 0;
}

static double slowest(const struct lm_workload *workload,
                      const struct lm_placement *placement) {
    return time_of(workload, placement, busiest_rank(workload, placement));
}

void lm_balance(const struct lm_workload *workload, struct lm_placement *placement) {
    if (placement->n_ranks == 1) /* all layers are there already */
        return;
    size_t bytes = (size_t)placement->n_layers * sizeof *placement->rank;
    int *blocks = lm_allocate((size_t)placement->n_layers, sizeof *blocks);
    place_blocks(workload, placement);
    memcpy(blocks, placement->rank, bytes);
    double time = slowest(workload, placement);
    while (relieve(workload, placement))
        continue;
    if (slowest(workload, placement) > (1 - least_gain) * time)
        memcpy(placement->rank, blocks, bytes);
    lm_free(blocks);
}
