#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*abort_hook)(int code);
static const char *abort_who;

/* A message is one line, whatever a file had in its values. */
static void make_printable(struct lm_status *status) {
    for (char *c = status->message; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
}

bool lm_fail(struct lm_status *status, enum lm_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    status->code = code;
    vsnprintf(status->message, sizeof status->message, format, arguments);
    va_end(arguments);
    make_printable(status);
    return false;
}

bool lm_fail_prefix(struct lm_status *status, const char *format, ...) {
    char old[sizeof status->message];
    memcpy(old, status->message, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(status->message, sizeof status->message, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof status->message)
        snprintf(status->message + length, sizeof status->message - (size_t)length, "%s", old);
    make_printable(status);
    return false;
}

void lm_abort_hook(void (*hook)(int code), const char *who) {
    abort_hook = hook;
    abort_who = who;
}

_Noreturn void lm_abort(enum lm_code code, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "lamina: %s%s%s\n", abort_who ? abort_who : "", abort_who ? ": " : "",
            message);
    fflush(NULL);
    if (abort_hook)
        abort_hook(code);
    exit(code);
}
