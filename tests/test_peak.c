/* Peak: that what is counted was done: no processor does more, and none this much less. */
#include "peak.h"

#include "runner.h"
#include "tensor.h"

START_TEST(peak_is_what_a_processor_can_do) {
    double lanes = 64. / sizeof(real); /* no processor has wider vectors */
    for (int threads = 1; threads <= 2; threads++) {
        double peak = lm_peak_measure(threads, 0.01);
        ck_assert(peak <= threads * lanes * 4 * 8e9); /* 2 units, 2 operations each, 8 GHz */
        ck_assert(peak >= 1e6);
    }
}
END_TEST

int main(void) {
    return RUN_TESTS("peak", peak_is_what_a_processor_can_do);
}
