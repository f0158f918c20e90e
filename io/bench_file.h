/* Bench file: what `lamina bench` measured, as HDF5 or, when its name ends in .json, as JSON.
 * Both say of the run what a run file says (run_file.h); then
 *
 *     HDF5   /bench/row (row)      names of what was measured
 *            /bench/COLUMN         (row, repeat), or (row) for what is the same at all repeats
 *            what else the table says: attributes of /bench
 *     JSON   columns: {COLUMN: {units, long_name}}
 *            rows: [{name, COLUMN: value, or {median, minimum, maximum, quartiles, repeats}}]
 *
 * Columns of which nothing was measured are left out. It is made at PATH.partial and takes its
 * place at PATH in the end. */
#ifndef LAMINA_BENCH_FILE_H
#define LAMINA_BENCH_FILE_H

#include "bench_table.h"
#include "run_file.h"

struct lm_bench_file;

/* Start a file. NULL on failure: LM_CANT_CREATE. Called by all ranks, as are those below; of
 * JSON only rank 0 writes and learns of a failure, so the caller must let the ranks agree. */
struct lm_bench_file *lm_bench_file_create(const char *path, const struct lm_peers *peers,
                                           const struct lm_run_meta *meta,
                                           struct lm_status *status);

/* Write the table, which is the same on all ranks, and what this rank sent, and put the file at
 * its path. The file is gone afterwards, also on failure. */
bool lm_bench_file_finish(struct lm_bench_file *file, const struct lm_bench_table *table,
                          const struct lm_run_traffic *traffic, struct lm_status *status);

/* Close and remove PATH.partial. NULL is allowed. */
void lm_bench_file_abandon(struct lm_bench_file *file);

#endif
