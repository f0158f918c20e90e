#include "writing.h"

enum { TRIAL = 64 }; /* every so many times the other way */

bool lm_writing_streams(const struct lm_writing *writing) {
    bool trial = writing->times % TRIAL == TRIAL - 1;
    return (writing->seconds[true] < writing->seconds[false]) != trial;
}

void lm_writing_took(struct lm_writing *writing, double seconds) {
    const double growth = 1.25; /* at most, from one time to the next */
    double *known = &writing->seconds[lm_writing_streams(writing)];
    *known = *known > 0 && seconds > growth * *known ? growth * *known : seconds;
    writing->times++;
}
