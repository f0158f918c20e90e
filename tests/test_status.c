/* Status: messages of failures, and how the job ends. */
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(fail_fills_code_and_message) {
    struct lm_status status = {0};
    ck_assert(!lm_fail(&status, LM_CONFIG, "layer %s: %d", "V1", 7));
    ck_assert(status.code == LM_CONFIG);
    ck_assert_str_eq(status.message, "layer V1: 7");
}
END_TEST

START_TEST(prefix_comes_before_and_keeps_the_code) {
    struct lm_status status = {0};
    lm_fail(&status, LM_DATA, "100%% wrong %s", "%s%n");
    ck_assert(!lm_fail_prefix(&status, "file %s: ", "a%d"));
    ck_assert(!lm_fail_prefix(&status, "rank %d: ", 3));
    ck_assert(status.code == LM_DATA);
    ck_assert_str_eq(status.message, "rank 3: file a%d: 100% wrong %s%n");
}
END_TEST

START_TEST(messages_are_one_printable_line) {
    struct lm_status status = {0};
    lm_fail(&status, LM_DATA, "a\nb\033c\177\303\251");
    ck_assert_str_eq(status.message, "a b c \303\251");
    lm_fail_prefix(&status, "x\r\ty: ");
    ck_assert_str_eq(status.message, "x  y: a b c \303\251");
}
END_TEST

/* A status between two guards, and a text longer than a message. */
struct guarded {
    char before[16];
    struct lm_status status;
    char after[16];
};

static char long_text[5000];

static void expect_guards(const struct guarded *guarded) {
    for (size_t i = 0; i < sizeof guarded->before; i++)
        ck_assert(guarded->before[i] == '#' && guarded->after[i] == '#');
    ck_assert(strlen(guarded->status.message) == sizeof guarded->status.message - 1);
}

START_TEST(long_messages_are_cut) {
    struct guarded guarded;
    memset(long_text, 'x', sizeof long_text - 1);
    memset(&guarded, '#', sizeof guarded);
    ck_assert(!lm_fail(&guarded.status, LM_IO, "%s", long_text));
    expect_guards(&guarded);
    lm_fail_prefix(&guarded.status, "start: ");
    expect_guards(&guarded);
    ck_assert(strncmp(guarded.status.message, "start: xxx", 10) == 0);
    lm_fail_prefix(&guarded.status, "%s", long_text);
    expect_guards(&guarded);
    ck_assert(guarded.status.message[0] == 'x');
}
END_TEST

static void abort_plainly(void) {
    lm_abort(LM_SYSTEM, "no more %s", "memory");
}

static void abort_at_length(void) {
    memset(long_text, 'x', sizeof long_text - 1);
    lm_abort(LM_IO, "%s", long_text);
}

static void break_an_assertion(void) {
    int one = 1;
    LM_ASSERT(one == 1);
    LM_ASSERT(one == 2);
}

static void end_with_another_code(int code) {
    _exit(code == LM_DIVERGED ? LM_USAGE : 1);
}

static void abort_through_the_hook(void) {
    lm_abort_hook(end_with_another_code, "rank 3");
    lm_abort(LM_DIVERGED, "layer V1");
}

START_TEST(abort_ends_with_its_code_and_words) {
    expect_abort(LM_SYSTEM, "lamina: no more memory\n", abort_plainly);
    expect_abort(LM_IO, "lamina: xxxx", abort_at_length);
    expect_abort(LM_INTERNAL, "bug: one == 2 does not hold", break_an_assertion);
    expect_abort(LM_INTERNAL, "test_status.c:", break_an_assertion);
    expect_abort(LM_USAGE, "lamina: rank 3: layer V1\n", abort_through_the_hook);
}
END_TEST

int main(void) {
    return RUN_TESTS("status", fail_fills_code_and_message,
                     prefix_comes_before_and_keeps_the_code, messages_are_one_printable_line,
                     long_messages_are_cut, abort_ends_with_its_code_and_words);
}
