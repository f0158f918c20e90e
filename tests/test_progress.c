/* What the progress bar and the plain lines say. */
#include "progress.h"

#include "runner.h"

#include <string.h>

static void expect(enum lm_progress_style style, long first, long step, double seconds,
                   const char *text) {
    char found[256];
    struct lm_progress *progress = lm_progress_create(style, "strict", first, 200);
    lm_progress_text(progress, step, 0.0125, 0.9, seconds, found, sizeof found);
    ck_assert_msg(strstr(found, text) != NULL, "'%s' has no '%s'", found, text);
    lm_progress_destroy(progress);
}

START_TEST(the_bar_grows_with_the_steps) {
    expect(LM_PROGRESS_BAR, 0, 0, 1, "[........................]");
    expect(LM_PROGRESS_BAR, 0, 99, 1, "[############............]  50 %  step 100/200");
    expect(LM_PROGRESS_BAR, 0, 199, 1, "[########################] 100 %  step 200/200");
    expect(LM_PROGRESS_LINES, 0, 99, 1, "strict   50 %");
}
END_TEST

START_TEST(rate_and_time_left_count_the_steps_of_this_run) {
    expect(LM_PROGRESS_LINES, 0, 99, 10,
           "10.0 steps/s  loss 0.0125  accuracy 0.900  10 s left");
    expect(LM_PROGRESS_LINES, 50, 99, 10,
           "5.0 steps/s  loss 0.0125  accuracy 0.900  20 s left");
    expect(LM_PROGRESS_LINES, 0, 0, 0, "0.0 steps/s");
}
END_TEST

int main(void) {
    return RUN_TESTS("progress", the_bar_grows_with_the_steps,
                     rate_and_time_left_count_the_steps_of_this_run);
}
