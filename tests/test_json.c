/* JSON: what is written, to the letter. */
#include "json.h"

#include "runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t length;

static struct lm_json start(void) {
    return (struct lm_json){.stream = open_memstream(&text, &length)};
}

static void expect(struct lm_json *json, const char *wanted) {
    ck_assert(json->depth == 0);
    fclose(json->stream);
    ck_assert_str_eq(text, wanted);
    free(text);
}

START_TEST(entries_have_commas_and_lines) {
    struct lm_json json = start();
    lm_json_begin(&json, NULL, '{');
    lm_json_integer(&json, "ranks", -5);
    lm_json_begin(&json, "rows", '[');
    lm_json_begin(&json, NULL, '{');
    lm_json_number(&json, "x", 0.25);
    lm_json_end(&json, '}');
    lm_json_begin(&json, NULL, '{');
    lm_json_end(&json, '}');
    lm_json_end(&json, ']');
    lm_json_numbers(&json, "none", 0, NULL);
    lm_json_end(&json, '}');
    expect(&json, "{\n  \"ranks\": -5,\n  \"rows\": [\n    {\n      \"x\": 0.25\n    },\n"
                  "    {}\n  ],\n  \"none\": []\n}\n");
}
END_TEST

START_TEST(texts_are_escaped) {
    struct lm_json json = start();
    lm_json_text(&json, NULL, "a \"b\" \\ c\n\x01\xc3\xa9");
    expect(&json, "\"a \\\"b\\\" \\\\ c\\u000a\\u0001\xc3\xa9\"");
}
END_TEST

START_TEST(numbers_that_json_lacks_are_null) {
    const double numbers[] = {1, NAN, INFINITY, -1e-300, 1. / 3};
    struct lm_json json = start();
    lm_json_begin(&json, NULL, '[');
    lm_json_numbers(&json, NULL, 5, numbers);
    lm_json_number(&json, NULL, -INFINITY);
    lm_json_end(&json, ']');
    expect(&json, "[\n  [1, null, null, -1e-300, 0.333333333],\n  null\n]\n");
}
END_TEST

int main(void) {
    return RUN_TESTS("json", entries_have_commas_and_lines, texts_are_escaped,
                     numbers_that_json_lacks_are_null);
}
