/* Progress: how far a run has come, on standard error: a bar that redraws itself on a
 * terminal, a plain line now and then otherwise, nothing when quiet. One rank shows it, the
 * one that knows the loss, so that nobody has to send it. */
#ifndef LAMINA_PROGRESS_H
#define LAMINA_PROGRESS_H

#include <stdbool.h>

enum lm_progress_style { LM_PROGRESS_QUIET, LM_PROGRESS_LINES, LM_PROGRESS_BAR };

struct lm_progress;

/* Progress of steps first .. total - 1. Free with lm_progress_destroy. */
struct lm_progress *lm_progress_create(enum lm_progress_style style, const char *what,
                                       long first, long total);

/* Step `step` is done, with its training loss and accuracy (0 to 1). */
void lm_progress_step(struct lm_progress *progress, long step, double loss, double accuracy);

/* End the bar's line. NULL is allowed. */
void lm_progress_destroy(struct lm_progress *progress);

/* "[#####.....]  50 %  step 200/400  ..." for a number of seconds since the start: what is
 * shown, for tests. Returns text[size]. */
const char *lm_progress_text(const struct lm_progress *progress, long step, double loss,
                             double accuracy, double seconds, char *text, int size);

#endif
