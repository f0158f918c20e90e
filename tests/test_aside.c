/* Aside: under which name a file is found, and when. */
#include "aside.h"

#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/lamina-test-XXXXXX", path[64];
static struct lm_status status;

static bool is_there(const char *ending) {
    char name[100];
    snprintf(name, sizeof name, "%s%s", path, ending);
    return access(name, F_OK) == 0;
}

static void make(struct lm_aside *aside, const char *text) {
    lm_aside_init(aside, path);
    ck_assert(lm_aside_make(aside, &status));
    ck_assert(lm_aside_see(aside, &status));
    ck_assert(write(aside->descriptor, text, strlen(text)) == (ssize_t)strlen(text));
}

static void check_content(const char *expected) {
    char found[100] = "";
    FILE *file = fopen(path, "r");
    ck_assert(file && fgets(found, sizeof found, file));
    fclose(file);
    ck_assert_str_eq(found, expected);
}

START_TEST(takes_its_place_in_the_end) {
    struct lm_aside aside;
    for (int i = 0; i < 2; i++) { /* the second time over the first file */
        const char *text = i ? "second" : "first";
        make(&aside, text);
        ck_assert(is_there(".new") && !is_there(".partial") && is_there("") == (i > 0));
        ck_assert(lm_aside_expose(&aside));
        ck_assert(!is_there(".new") && is_there(".partial"));
        if (i)
            check_content("first");
        ck_assert(lm_aside_reserve(&aside, 1 << 20) && lm_aside_sync(&aside));
        ck_assert(lm_aside_publish(&aside));
        ck_assert(!is_there(".new") && !is_there(".partial"));
        check_content(text);
        struct stat info;
        ck_assert(stat(path, &info) == 0 && info.st_blocks * 512 < 1 << 20);
        lm_aside_clear(&aside);
    }
    unlink(path);
}
END_TEST

/* What a killed run still writes goes nowhere. */
START_TEST(is_another_file_than_a_killed_run_s) {
    struct lm_aside killed, aside;
    make(&killed, "old");
    make(&aside, "new");
    ck_assert(write(killed.descriptor, "old", 3) == 3);
    ck_assert(lm_aside_publish(&aside));
    check_content("new");
    lm_aside_clear(&killed);
    lm_aside_clear(&aside);
    unlink(path);
}
END_TEST

START_TEST(can_be_removed) {
    struct lm_aside aside;
    make(&aside, "text");
    lm_aside_empty(&aside);
    struct stat info;
    ck_assert(fstat(aside.descriptor, &info) == 0 && info.st_size == 0);
    lm_aside_remove(&aside);
    ck_assert(!is_there(".new"));
    lm_aside_clear(&aside);
}
END_TEST

START_TEST(says_why_it_cannot_be_made) {
    struct lm_aside aside;
    lm_aside_init(&aside, folder);
    ck_assert(!lm_aside_make(&aside, &status) && status.code == LM_CANT_CREATE);
    ck_assert(strstr(status.message, "it is a folder") != NULL);
    lm_aside_clear(&aside);
    lm_aside_init(&aside, path);
    ck_assert(!lm_aside_see(&aside, &status) && strstr(status.message, "share its folder"));
    lm_aside_clear(&aside);
}
END_TEST

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/run.h5", folder);
    int result =
        RUN_TESTS("aside", takes_its_place_in_the_end, is_another_file_than_a_killed_run_s,
                  can_be_removed, says_why_it_cannot_be_made);
    rmdir(folder);
    return result;
}
