/* Bench table: where values are, and what was measured. */
#include "bench_table.h"

#include "runner.h"

#include <math.h>

static const struct lm_bench_column columns[] = {{"once", "1", "of a row", false, NULL},
                                                 {"often", "ms", "of a repeat", true, NULL},
                                                 {"never", "1", "nothing", true, NULL}};

START_TEST(values_stay_where_they_are_put) {
    struct lm_bench_table table;
    lm_bench_table_init(&table, 2, 3, 3, columns);
    for (int row = 0; row < 2; row++) {
        *lm_bench_value(&table, 0, row, 7) = row;
        for (int repeat = 0; repeat < 3; repeat++)
            *lm_bench_value(&table, 1, row, repeat) = 10 * row + repeat;
    }
    ck_assert(table.columns[0].values[1] == 1 && table.columns[1].values[4] == 11);
    struct lm_summary once = lm_bench_summary(&table, 0, 1);
    struct lm_summary often = lm_bench_summary(&table, 1, 1);
    ck_assert(once.median == 1 && once.minimum == 1 && once.maximum == 1);
    ck_assert(often.median == 11 && often.minimum == 10 && often.maximum == 12);
    lm_bench_table_clear(&table);
}
END_TEST

START_TEST(what_was_not_measured_is_known) {
    struct lm_bench_table table;
    lm_bench_table_init(&table, 2, 3, 3, columns);
    *lm_bench_value(&table, 0, 1, 0) = 4;
    ck_assert(lm_bench_has(&table, 0) && !lm_bench_has(&table, 1) && !lm_bench_has(&table, 2));
    *lm_bench_value(&table, 1, 1, 2) = 0;
    ck_assert(lm_bench_has(&table, 1) && isnan(lm_bench_summary(&table, 1, 1).median));
    lm_bench_table_clear(&table);
}
END_TEST

START_TEST(names_and_texts_are_copies) {
    struct lm_bench_table table;
    char text[] = "strict";
    lm_bench_table_init(&table, 1, 1, 3, columns);
    lm_bench_table_name(&table, 0, "other");
    lm_bench_table_name(&table, 0, text);
    lm_bench_table_say(&table, "rule", text);
    text[0] = 'x';
    ck_assert_str_eq(table.rows[0], "strict");
    ck_assert_str_eq(table.texts[0][0], "rule");
    ck_assert_str_eq(table.texts[0][1], "strict");
    ck_assert(table.n_texts == 1);
    lm_bench_table_clear(&table);
}
END_TEST

int main(void) {
    return RUN_TESTS("bench_table", values_stay_where_they_are_put,
                     what_was_not_measured_is_known, names_and_texts_are_copies);
}
