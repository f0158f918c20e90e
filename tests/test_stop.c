/* Stop: a signal on any rank ends all after the same step. Run with several rank counts. */
#include "stop.h"

#include "comm.h"
#include "runner.h"

#include <mpi.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 30 };

static void wait_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0)
        continue;
}

/* Steps until all agree, when rank `sender` gets `number` after `after` of its own. */
static long steps_until_stop(int sender, int number, long after, long ms) {
    long steps = 0;
    lm_stop_start();
    for (; steps < MOST && !lm_stop_agreed(); steps++) {
        if (lm_comm_rank() == sender && steps == after)
            raise(number);
        if (ms)
            wait_ms(ms);
    }
    ck_assert(steps > after);
    lm_stop_finish();
    return steps;
}

static void check_same(long steps) {
    long least, most;
    MPI_Allreduce(&steps, &least, 1, MPI_LONG, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&steps, &most, 1, MPI_LONG, MPI_MAX, MPI_COMM_WORLD);
    ck_assert(least == most);
}

START_TEST(all_end_after_the_same_step) {
    static const int numbers[] = {SIGUSR1, SIGTERM, SIGINT};
    static const char *const names[] = {"SIGUSR1", "SIGTERM", "SIGINT"};
    for (int sender = 0; sender < lm_comm_size(); sender++)
        for (int i = 0; i < 3; i++) {
            check_same(steps_until_stop(sender, numbers[i], 17 * sender + i, 0));
            ck_assert_str_eq(lm_stop_signal(), names[i]);
        }
}
END_TEST

/* When steps are longer than the time between reductions, each has one. */
START_TEST(long_steps_end_two_later) {
    long steps = steps_until_stop(lm_comm_size() - 1, SIGUSR1, 3, 150);
    check_same(steps);
    ck_assert(steps <= 3 + 2);
}
END_TEST

START_TEST(a_signal_before_the_first_step_counts) {
    lm_stop_start();
    if (lm_comm_rank() == 0)
        raise(SIGTERM);
    long steps = 0;
    while (!lm_stop_agreed())
        steps++;
    check_same(steps);
    lm_stop_finish();
}
END_TEST

START_TEST(without_a_signal_nothing_ends) {
    lm_stop_start();
    for (int i = 0; i < 1000; i++)
        ck_assert(!lm_stop_agreed());
    lm_stop_finish();
}
END_TEST

START_TEST(a_second_signal_ends_at_once) {
    if (lm_comm_rank() == 0) {
        pid_t child = fork();
        ck_assert(child >= 0);
        if (child == 0) {
            lm_stop_start();
            raise(SIGUSR1);
            raise(SIGTERM); /* at once: the same request, passed on by two */
            wait_ms(300);
            raise(SIGTERM);
            _exit(0);
        }
        int ended;
        ck_assert(waitpid(child, &ended, 0) == child);
        ck_assert(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
    }
    lm_comm_barrier();
}
END_TEST

START_TEST(leaves_signals_as_they_were) {
    struct sigaction old;
    signal(SIGUSR1, SIG_IGN);
    lm_stop_start();
    lm_stop_finish();
    sigaction(SIGUSR1, NULL, &old);
    ck_assert(old.sa_handler == SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
}
END_TEST

int main(void) {
    lm_comm_start();
    int result =
        RUN_TESTS_TOGETHER("stop", all_end_after_the_same_step, long_steps_end_two_later,
                           a_signal_before_the_first_step_counts, without_a_signal_nothing_ends,
                           a_second_signal_ends_at_once, leaves_signals_as_they_were);
    lm_comm_finish();
    return result;
}
