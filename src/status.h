/* Status: how functions report what went wrong, and how the program stops.
 *
 * Three kinds of trouble, never mixed:
 *   - a bug in Lamina:            LM_ASSERT, always on, ends the job;
 *   - the machine cannot go on:   lm_abort (no memory, MPI failed), ends the job;
 *   - the user can mend it:       a function returns false and fills a struct
 *     lm_status with one line that names the file, line or key, the value, and
 *     what was expected.
 *
 * A function with a `struct lm_status *` parameter returns true, or what it made, on success
 * and false, or NULL, on failure; on failure, and only then, the status is written. */
#ifndef LAMINA_STATUS_H
#define LAMINA_STATUS_H

#include <stdbool.h>

/* What went wrong; also the exit code of the program (those of sysexits.h where
 * one fits). Listed for users in README.md and `lamina --help`. */
enum lm_code {
    LM_OK = 0,
    LM_DIVERGED = 3,     /* values, errors or parameters became infinite or NaN */
    LM_USAGE = 64,       /* command line, or a number of ranks that does not fit */
    LM_DATA = 65,        /* a data set or HDF5 file whose content is wrong */
    LM_NO_INPUT = 66,    /* an input file that is not there or cannot be read */
    LM_UNAVAILABLE = 69, /* a program of others that is not there or failed */
    LM_INTERNAL = 70,    /* a bug in Lamina */
    LM_SYSTEM = 71,      /* out of memory, MPI failure */
    LM_CANT_CREATE = 73, /* an output that cannot be created */
    LM_IO = 74,          /* reading or writing failed midway (disk full) */
    LM_STOPPED = 75,     /* ended early by a signal, with a checkpoint to go on from */
    LM_CONFIG = 78       /* settings that are wrong */
};

/* One failure: its kind and one line for the user, without newline. */
struct lm_status {
    enum lm_code code;
    char message[1024];
};

/* Fill *status with a code and a formatted line, in which a space stands for every
 * control character; returns false, so that a function can end with
 * `return lm_fail(status, ...)`. */
bool lm_fail(struct lm_status *status, enum lm_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put formatted text before the message already in *status (for instance the name
 * of the layer that an operator does not know); returns false. */
bool lm_fail_prefix(struct lm_status *status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Print "lamina: MESSAGE" on standard error and end the job with `code`: through
 * the hook if one is set (mpi/comm sets it to end all ranks), else by exit. */
_Noreturn void lm_abort(enum lm_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The function that ends the whole job with an exit code; it must not return.
 * `who` is printed before each message ("rank 3"), may be NULL, not owned. */
void lm_abort_hook(void (*hook)(int code), const char *who);

/* Asked before a message of lm_abort is printed: whether this process may speak, so that of
 * many that fail together one is heard. NULL: always. */
void lm_abort_voice(bool (*may_speak)(void));

/* What lm_abort adds to its message after a semicolon, for what the user should know however
 * the job ends; copied. NULL: nothing. */
void lm_abort_note(const char *note);

/* Always on: a condition that only a bug in Lamina can break. */
#define LM_ASSERT(condition)                                                                   \
    ((condition) ? (void)0                                                                     \
                 : lm_abort(LM_INTERNAL, "%s:%d: bug: %s does not hold", __FILE__, __LINE__,   \
                            #condition))

#endif
