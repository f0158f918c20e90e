/* Shared memory: every rank but the last shares some with the next one. */
#include "shared.h"

#include "comm.h"
#include "runner.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 3, BYTES = 100000 };

/* With the rank before and the rank behind; NULL where there is none. */
struct ends {
    char *before, *behind;
};

static struct ends open_ends(size_t bytes) {
    struct ends ends = {NULL, NULL};
    int rank = lm_comm_rank();
    if (rank > 0)
        ends.before = lm_shared_open(rank - 1, false, TAG, bytes);
    if (rank + 1 < lm_comm_size())
        ends.behind = lm_shared_open(rank + 1, true, TAG, bytes);
    return ends;
}

static void close_ends(const struct ends *ends) {
    if (ends->before)
        lm_shared_close(ends->before, BYTES);
    if (ends->behind)
        lm_shared_close(ends->behind, BYTES);
}

static bool is_filled(const char *memory, int with) {
    for (int i = 0; i < BYTES; i++)
        if (memory[i] != (char)with)
            return false;
    return true;
}

START_TEST(two_ranks_see_the_same) {
    int rank = lm_comm_rank();
    struct ends ends = open_ends(BYTES);
    ck_assert((ends.before != NULL) == (rank > 0));
    ck_assert((ends.behind != NULL) == (rank + 1 < lm_comm_size()));
    ck_assert(!ends.behind || is_filled(ends.behind, 0));
    lm_comm_barrier();
    if (ends.behind)
        memset(ends.behind, rank + 1, BYTES);
    lm_comm_barrier();
    ck_assert(!ends.before || is_filled(ends.before, rank));
    lm_comm_barrier();
    if (ends.before)
        memset(ends.before, 100 + rank, BYTES);
    lm_comm_barrier();
    ck_assert(!ends.behind || is_filled(ends.behind, 101 + rank));
    close_ends(&ends);
}
END_TEST

/* Open files and their memory go when nobody has them any more. */
static int count_files(void) {
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    ck_assert(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

START_TEST(no_file_stays_open) {
    int before = count_files();
    struct ends ends = open_ends(BYTES);
    ck_assert_int_eq(count_files(), before);
    close_ends(&ends);
    ck_assert_int_eq(count_files(), before);
}
END_TEST

START_TEST(a_rank_shares_nothing_with_itself) {
    ck_assert(!lm_shared_open(lm_comm_rank(), true, TAG, BYTES));
}
END_TEST

START_TEST(where_there_is_no_room_neither_has_any) {
    struct ends ends = open_ends((size_t)1 << 60);
    ck_assert(!ends.before && !ends.behind);
}
END_TEST

START_TEST(messages_can_be_asked_for) {
    setenv("LAMINA_LINKS", "messages", 1);
    struct ends ends = open_ends(BYTES);
    ck_assert(!ends.before && !ends.behind);
    setenv("LAMINA_LINKS", "shared", 1);
    ends = open_ends(BYTES);
    ck_assert((ends.behind != NULL) == (lm_comm_rank() + 1 < lm_comm_size()));
    close_ends(&ends);
    unsetenv("LAMINA_LINKS");
}
END_TEST

int main(void) {
    lm_comm_start();
    int result = RUN_TESTS_TOGETHER(
        "shared", two_ranks_see_the_same, no_file_stays_open, a_rank_shares_nothing_with_itself,
        where_there_is_no_room_neither_has_any, messages_can_be_asked_for);
    lm_comm_finish();
    return result;
}
