/* JSON: a writer for small files, line by line. */
#ifndef LAMINA_JSON_H
#define LAMINA_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { LM_JSON_DEPTH = 8 };

/* A writer to a stream, which is not owned; start from {.stream = ...}. Errors of writing stay
 * in the stream: see ferror. */
struct lm_json {
    FILE *stream;
    int depth;                  /* objects and arrays that are open */
    bool filled[LM_JSON_DEPTH]; /* whether the one at each depth has an entry */
};

/* Open an object ('{') or array ('['); close the innermost one. `key` is its name in the object
 * around it, NULL in an array and at the top; likewise below. */
void lm_json_begin(struct lm_json *json, const char *key, char bracket);
void lm_json_end(struct lm_json *json, char bracket);

/* An entry; the last kind is an array of n numbers on one line. A number that is not finite
 * becomes null. */
void lm_json_text(struct lm_json *json, const char *key, const char *text);
void lm_json_number(struct lm_json *json, const char *key, double number);
void lm_json_integer(struct lm_json *json, const char *key, int64_t number);
void lm_json_numbers(struct lm_json *json, const char *key, int n, const double numbers[]);

#endif
