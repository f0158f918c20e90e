#include "bench_table.h"

#include "memory.h"
#include "status.h"

#include <math.h>

static int length_of(const struct lm_bench_table *table, int column) {
    return table->n_rows * (table->columns[column].repeated ? table->n_repeats : 1);
}

void lm_bench_table_init(struct lm_bench_table *table, int n_rows, int n_repeats, int n_columns,
                         const struct lm_bench_column columns[]) {
    *table = (struct lm_bench_table){
        .n_rows = n_rows,
        .n_repeats = n_repeats,
        .n_columns = n_columns,
        .rows = lm_allocate((size_t)n_rows, sizeof *table->rows),
        .columns = lm_allocate((size_t)n_columns, sizeof *table->columns)};
    for (int c = 0; c < n_columns; c++) {
        table->columns[c] = columns[c];
        int n = length_of(table, c);
        table->columns[c].values = lm_allocate((size_t)n, sizeof(double));
        for (int i = 0; i < n; i++)
            table->columns[c].values[i] = NAN;
    }
}

void lm_bench_table_clear(struct lm_bench_table *table) {
    for (int i = 0; i < table->n_rows; i++)
        lm_free(table->rows[i]);
    for (int c = 0; c < table->n_columns; c++)
        lm_free(table->columns[c].values);
    for (int i = 0; i < table->n_texts; i++) {
        lm_free(table->texts[i][0]);
        lm_free(table->texts[i][1]);
    }
    lm_free(table->rows);
    lm_free(table->columns);
    *table = (struct lm_bench_table){0};
}

void lm_bench_table_name(struct lm_bench_table *table, int row, const char *name) {
    lm_free(table->rows[row]);
    table->rows[row] = lm_copy_string(name);
}

void lm_bench_table_say(struct lm_bench_table *table, const char *name, const char *text) {
    LM_ASSERT(table->n_texts < LM_BENCH_TEXTS);
    table->texts[table->n_texts][0] = lm_copy_string(name);
    table->texts[table->n_texts++][1] = lm_copy_string(text);
}

double *lm_bench_value(const struct lm_bench_table *table, int column, int row, int repeat) {
    const struct lm_bench_column *c = &table->columns[column];
    return &c->values[c->repeated ? row * table->n_repeats + repeat : row];
}

struct lm_summary lm_bench_summary(const struct lm_bench_table *table, int column, int row) {
    return lm_summarize(table->columns[column].repeated ? table->n_repeats : 1,
                        lm_bench_value(table, column, row, 0));
}

bool lm_bench_has(const struct lm_bench_table *table, int column) {
    for (int i = 0; i < length_of(table, column); i++)
        if (!isnan(table->columns[column].values[i]))
            return true;
    return false;
}
