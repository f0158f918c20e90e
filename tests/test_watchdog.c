#include "watchdog.h"

#include "runner.h"

#include <unistd.h>

static void wait_too_long(void) {
    struct lm_status status;
    lm_fail(&status, LM_IO, "the disk of %s", "rank 3");
    lm_watchdog_start(0.05, &status);
    sleep(60);
}

START_TEST(ends_the_job_with_what_it_was_told) {
    expect_abort(LM_IO, "lamina: the disk of rank 3", wait_too_long);
}
END_TEST

static void return_in_time(void) {
    struct lm_status status;
    lm_fail(&status, LM_IO, "late");
    for (int i = 0; i < 100; i++)
        lm_watchdog_stop(lm_watchdog_start(60, &status));
    lm_abort(LM_OK, "in time");
}

START_TEST(lets_go_when_stopped) {
    expect_abort(LM_OK, "in time", return_in_time);
}
END_TEST

int main(void) {
    return RUN_TESTS("watchdog", ends_the_job_with_what_it_was_told, lets_go_when_stopped);
}
