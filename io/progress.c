#include "progress.h"

#include "memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BAR_WIDTH = 24, LINES = 10 };
static const double REDRAW_SECONDS = 0.2;

struct lm_progress {
    enum lm_progress_style style;
    char *what;
    long first, total, shown; /* last step shown, -1: none */
    struct timespec start;
    double drawn; /* seconds since the start when last shown */
};

static double seconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

struct lm_progress *lm_progress_create(enum lm_progress_style style, const char *what,
                                       long first, long total) {
    struct lm_progress *progress = lm_allocate(1, sizeof *progress);
    *progress = (struct lm_progress){style, lm_copy_string(what), first, total, -1, {0, 0}, -1};
    clock_gettime(CLOCK_MONOTONIC, &progress->start);
    return progress;
}

const char *lm_progress_text(const struct lm_progress *progress, long step, double loss,
                             double accuracy, double seconds, char *text, int size) {
    long done = step + 1, here = done - progress->first;
    double rate = seconds > 0 ? (double)here / seconds : 0;
    double left = rate > 0 ? (double)(progress->total - done) / rate : 0;
    char bar[BAR_WIDTH + 3] = "";
    if (progress->style == LM_PROGRESS_BAR) {
        int filled = (int)(BAR_WIDTH * done / progress->total);
        bar[0] = '[';
        memset(bar + 1, '#', (size_t)filled);
        memset(bar + 1 + filled, '.', (size_t)(BAR_WIDTH - filled));
        bar[BAR_WIDTH + 1] = ']';
    }
    snprintf(
        text, (size_t)size,
        "%s %s %3.0f %%  step %ld/%ld  %.1f steps/s  loss %.4g  accuracy %.3f  %.0f s left",
        progress->what, bar, 100 * (double)done / (double)progress->total, done,
        progress->total, rate, loss, accuracy, left);
    return text;
}

static bool is_due(const struct lm_progress *progress, long step, double seconds) {
    if (step + 1 == progress->total)
        return true;
    if (progress->style == LM_PROGRESS_BAR)
        return progress->drawn < 0 || seconds - progress->drawn >= REDRAW_SECONDS;
    long every = progress->total / LINES;
    return (step + 1) % (every > 0 ? every : 1) == 0;
}

void lm_progress_step(struct lm_progress *progress, long step, double loss, double accuracy) {
    if (progress->style == LM_PROGRESS_QUIET)
        return;
    double seconds = seconds_since(&progress->start);
    if (!is_due(progress, step, seconds))
        return;
    char text[256];
    lm_progress_text(progress, step, loss, accuracy, seconds, text, sizeof text);
    fprintf(stderr, progress->style == LM_PROGRESS_BAR ? "\r%s\033[K" : "%s\n", text);
    fflush(stderr);
    progress->drawn = seconds;
    progress->shown = step;
}

void lm_progress_destroy(struct lm_progress *progress) {
    if (!progress)
        return;
    if (progress->style == LM_PROGRESS_BAR && progress->shown >= 0)
        fputc('\n', stderr);
    lm_free(progress->what);
    lm_free(progress);
}
