#include "stop.h"

#include "mpi_check.h"

#include <signal.h>
#include <time.h>

static const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
enum { N_SIGNALS = sizeof signals / sizeof *signals, LONGEST = 1 << 16 };
static const double SAME_REQUEST = 0.25, BETWEEN = 0.1; /* seconds */

static struct sigaction before[N_SIGNALS];
static volatile sig_atomic_t caught;
static struct timespec first;

/* What is reduced by MPI_MAX: a signal or 0, and minus the calls until the next reduction. */
static int mine[2], agreed[2];
static MPI_Request request = MPI_REQUEST_NULL;
static long calls, next, begun; /* begun: the call of the last reduction */
static struct timespec began;

static double seconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

static void catch (int number) {
    if (!caught) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        caught = number;
    } else if (seconds_since(&first) > SAME_REQUEST) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

void lm_stop_start(void) {
    struct sigaction action = {.sa_handler = catch, .sa_flags = SA_RESTART};
    caught = 0;
    for (int i = 0; i < N_SIGNALS; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (int i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &action, &before[i]);
    agreed[0] = 0;
    calls = next = begun = 0;
    clock_gettime(CLOCK_MONOTONIC, &began);
}

static void begin(void) {
    double seconds = seconds_since(&began), steps = (double)(calls - begun);
    double wish = seconds > 0 ? steps * BETWEEN / seconds : 1;
    mine[0] = caught;
    mine[1] = -(wish < 1 ? 1 : wish > LONGEST ? LONGEST : (int)wish);
    LM_MPI(MPI_Iallreduce(mine, agreed, 2, MPI_INT, MPI_MAX, lm_comm_agreement(), &request));
    begun = calls;
    clock_gettime(CLOCK_MONOTONIC, &began);
}

bool lm_stop_agreed(void) {
    if (request != MPI_REQUEST_NULL) {
        LM_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
        next = begun - agreed[1];
    }
    if (agreed[0] == 0 && calls >= next)
        begin();
    calls++;
    return request == MPI_REQUEST_NULL && agreed[0] != 0;
}

const char *lm_stop_signal(void) {
    return agreed[0] == SIGUSR1 ? "SIGUSR1" : agreed[0] == SIGTERM ? "SIGTERM" : "SIGINT";
}

void lm_stop_finish(void) {
    LM_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
    for (int i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}
