/* Bench table: what `lamina bench` measures, by rows (rules, operators) and columns (times,
 * ratios), most of it many times over. */
#ifndef LAMINA_BENCH_TABLE_H
#define LAMINA_BENCH_TABLE_H

#include "summary.h"

#include <stdbool.h>

/* A column: its name in files, units and meaning, and whether it has a value at each repeat or
 * one for all. */
struct lm_bench_column {
    const char *name, *units, *long_name; /* not owned */
    bool repeated;
    double *values; /* (rows, repeats) or (rows); NaN: not measured */
};

enum { LM_BENCH_TEXTS = 4 };

struct lm_bench_table {
    int n_rows, n_repeats, n_columns;
    char **rows; /* (n_rows) names */
    struct lm_bench_column *columns;
    int n_texts;
    char *texts[LM_BENCH_TEXTS][2]; /* what else to say of the run: name, text */
};

/* A table of columns as `columns` describes them (without values), nothing measured yet and
 * rows without a name. Free with clear. */
void lm_bench_table_init(struct lm_bench_table *table, int n_rows, int n_repeats, int n_columns,
                         const struct lm_bench_column columns[]);
void lm_bench_table_clear(struct lm_bench_table *table);

/* Copies of a row's name; and of one more text. */
void lm_bench_table_name(struct lm_bench_table *table, int row, const char *name);
void lm_bench_table_say(struct lm_bench_table *table, const char *name, const char *text);

/* A value, to be set or read; the repeat does not count where a column has none. */
double *lm_bench_value(const struct lm_bench_table *table, int column, int row, int repeat);

/* Of a row's repeats. */
struct lm_summary lm_bench_summary(const struct lm_bench_table *table, int column, int row);

/* Whether any of a column was measured. */
bool lm_bench_has(const struct lm_bench_table *table, int column);

#endif
