#include "summary.h"

#include "memory.h"
#include "status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Where a share of n sorted values is below. */
static double quantile(int n, const double sorted[], double share) {
    double place = share * (n - 1);
    int below = (int)place, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

struct lm_summary lm_summarize(int n, const double values[]) {
    LM_ASSERT(n >= 1);
    for (int i = 0; i < n; i++)
        if (isnan(values[i]))
            return (struct lm_summary){NAN, NAN, NAN, {NAN, NAN}};
    double *sorted = lm_allocate((size_t)n, sizeof *sorted);
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    struct lm_summary summary = {quantile(n, sorted, .5),
                                 sorted[0],
                                 sorted[n - 1],
                                 {quantile(n, sorted, .25), quantile(n, sorted, .75)}};
    lm_free(sorted);
    return summary;
}
