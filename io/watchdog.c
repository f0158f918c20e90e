#include "watchdog.h"

#include "memory.h"

#include <pthread.h>
#include <time.h>

struct lm_watchdog {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopped;
    struct timespec end;
    struct lm_status status;
};

static void *watch(void *data) {
    struct lm_watchdog *watchdog = data;
    int result = 0;
    pthread_mutex_lock(&watchdog->mutex);
    while (!watchdog->stopped && result == 0)
        result = pthread_cond_timedwait(&watchdog->changed, &watchdog->mutex, &watchdog->end);
    bool late = !watchdog->stopped;
    pthread_mutex_unlock(&watchdog->mutex);
    if (late)
        lm_abort(watchdog->status.code, "%s", watchdog->status.message);
    return NULL;
}

struct lm_watchdog *lm_watchdog_start(double seconds, const struct lm_status *status) {
    struct lm_watchdog *watchdog = lm_allocate(1, sizeof *watchdog);
    watchdog->status = *status;
    clock_gettime(CLOCK_REALTIME, &watchdog->end);
    watchdog->end.tv_sec += (time_t)seconds;
    watchdog->end.tv_nsec += (long)(1e9 * (seconds - (double)(time_t)seconds));
    if (watchdog->end.tv_nsec >= 1000000000) {
        watchdog->end.tv_sec++;
        watchdog->end.tv_nsec -= 1000000000;
    }
    pthread_mutex_init(&watchdog->mutex, NULL);
    pthread_cond_init(&watchdog->changed, NULL);
    if (pthread_create(&watchdog->thread, NULL, watch, watchdog) != 0)
        lm_abort(status->code, "%s", status->message);
    return watchdog;
}

void lm_watchdog_stop(struct lm_watchdog *watchdog) {
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->stopped = true;
    pthread_cond_signal(&watchdog->changed);
    pthread_mutex_unlock(&watchdog->mutex);
    pthread_join(watchdog->thread, NULL);
    pthread_cond_destroy(&watchdog->changed);
    pthread_mutex_destroy(&watchdog->mutex);
    lm_free(watchdog);
}
