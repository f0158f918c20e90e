#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*abort_hook)(int code);
static const char *abort_who;
static bool (*abort_voice)(void);
static char abort_note[600];

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

void lm_abort_voice(bool (*may_speak)(void)) {
    abort_voice = may_speak;
}

void lm_abort_note(const char *note) {
    snprintf(abort_note, sizeof abort_note, "%s%s", note ? "; " : "", note ? note : "");
}

_Noreturn void lm_abort(enum lm_code code, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (!abort_voice || abort_voice())
        fprintf(stderr, "lamina: %s%s%s%s\n", abort_who ? abort_who : "", abort_who ? ": " : "",
                message, abort_note);
    fflush(NULL);
    if (abort_hook)
        abort_hook(code);
    exit(code);
}
