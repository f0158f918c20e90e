#include "json.h"

#include "status.h"

#include <inttypes.h>
#include <math.h>

static void write_string(FILE *stream, const char *text) {
    fputc('"', stream);
    for (const char *c = text; *c; c++)
        if (*c == '"' || *c == '\\')
            fprintf(stream, "\\%c", *c);
        else if ((unsigned char)*c < ' ')
            fprintf(stream, "\\u%04x", (unsigned)*c);
        else
            fputc(*c, stream);
    fputc('"', stream);
}

/* What stands before an entry: a comma, a line of its own, its name. */
static void start_entry(struct lm_json *json, const char *key) {
    if (json->depth > 0) {
        bool *filled = &json->filled[json->depth - 1];
        fprintf(json->stream, "%s\n%*s", *filled ? "," : "", 2 * json->depth, "");
        *filled = true;
    }
    if (key) {
        write_string(json->stream, key);
        fputs(": ", json->stream);
    }
}

void lm_json_begin(struct lm_json *json, const char *key, char bracket) {
    LM_ASSERT(json->depth < LM_JSON_DEPTH);
    start_entry(json, key);
    fputc(bracket, json->stream);
    json->filled[json->depth++] = false;
}

void lm_json_end(struct lm_json *json, char bracket) {
    LM_ASSERT(json->depth > 0);
    json->depth--;
    if (json->filled[json->depth])
        fprintf(json->stream, "\n%*s", 2 * json->depth, "");
    fputc(bracket, json->stream);
    if (json->depth == 0)
        fputc('\n', json->stream);
}

void lm_json_text(struct lm_json *json, const char *key, const char *text) {
    start_entry(json, key);
    write_string(json->stream, text);
}

static void write_number(FILE *stream, double number) {
    if (isfinite(number))
        fprintf(stream, "%.9g", number);
    else
        fputs("null", stream);
}

void lm_json_number(struct lm_json *json, const char *key, double number) {
    start_entry(json, key);
    write_number(json->stream, number);
}

void lm_json_numbers(struct lm_json *json, const char *key, int n, const double numbers[]) {
    start_entry(json, key);
    fputc('[', json->stream);
    for (int i = 0; i < n; i++) {
        fputs(i ? ", " : "", json->stream);
        write_number(json->stream, numbers[i]);
    }
    fputc(']', json->stream);
}

void lm_json_integer(struct lm_json *json, const char *key, int64_t number) {
    start_entry(json, key);
    fprintf(json->stream, "%" PRId64, number);
}
