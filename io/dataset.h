/* Data set: labelled inputs from files, in the format that one row of a table reads.
 *
 * A format is one file (idx.c, ...), its row declared below and one line in dataset.c.
 * Pixels are kept as the bytes of the file and become real numbers in [0, 1] when a
 * chunk is filled. */
#ifndef LAMINA_DATASET_H
#define LAMINA_DATASET_H

#include "tensor.h"

#include <stdint.h>

enum lm_split { LM_TRAIN, LM_TEST };

/* What a caller wants in memory; a rank asks only for what it uses. Counts and
 * shapes are always read and checked. */
enum lm_want { LM_WANT_IMAGES = 1, LM_WANT_LABELS = 2 };

/* One split of a data set. */
struct lm_dataset {
    char *source;          /* folder or file, for messages and run files */
    char *label_source;    /* file or folder of the labels, for messages */
    size_t n;              /* inputs */
    struct lm_shape shape; /* of one input */
    uint8_t *images;       /* (n, channels, rows, columns), 0..255; NULL unless wanted */
    uint8_t *labels;       /* (n); NULL unless wanted */
};

/* One format: `read` fills the zeroed *set, but for `source`, from `folder`, or fails
 * naming the file, what was found and what was expected (LM_NO_INPUT: not there or
 * unreadable; LM_DATA: truncated, too long, wrong magic, counts that disagree); what it
 * had allocated in *set by then is freed by its caller, lm_dataset_read. */
struct lm_dataset_format {
    const char *name;    /* as in settings: data.format */
    const char *summary; /* one line for help texts */
    bool (*read)(struct lm_dataset *set, const char *folder, enum lm_split split, int want,
                 struct lm_status *status);
};

/* "idx": the files of MNIST and Fashion-MNIST, images (1, rows, columns), plain or gzip.
 * The content of a file that is not wanted is not read: its length is still checked, of a gzip
 * file by its end. Gzip data are in one piece, with nothing behind it. */
extern const struct lm_dataset_format lm_dataset_idx;

/* "cifar10": the binary version of CIFAR-10, images (3, 32, 32), any number of records in
 * data_batch_1.bin to data_batch_5.bin (train) and test_batch.bin (test). When nothing is
 * wanted only the sizes are checked, else also that every label is 0 to 9. */
extern const struct lm_dataset_format lm_dataset_cifar10;

/* NULL when there is no such format. */
const struct lm_dataset_format *lm_dataset_find(const char *name);
const struct lm_dataset_format *const *lm_dataset_formats(void); /* ended by NULL */

/* Read one split. A relative `path` is sought in the working folder, then in
 * $LAMINA_DATA, then in the folder that experiments/get-data fills (.data of the
 * source tree); LM_NO_INPUT lists the places tried. Labels, when wanted, are checked to
 * be below `classes` (LM_DATA names the file or folder, the position from 0 and the label).
 * LM_CONFIG: no such format. On failure *set is empty; clear it after success. Local. */
bool lm_dataset_read(struct lm_dataset *set, const char *format, const char *path,
                     enum lm_split split, int want, size_t classes, struct lm_status *status);
void lm_dataset_clear(struct lm_dataset *set);

/* Fill one chunk: x (units, width) gets pixel / 255 of inputs index[0..count), zeros
 * in the padding; label[0..count) gets the labels. x or label may be NULL; what is not
 * must have been wanted. Thread-safe on one set. */
void lm_dataset_fill(const struct lm_dataset *set, size_t count, const uint32_t index[],
                     size_t width, real *x, int *label);

/* What tells data apart, as far as it is known: the inputs of both splits, 0: none, and a
 * CRC-32 of their labels, -1: not known. */
struct lm_data_mark {
    int64_t train, test, train_labels, test_labels;
};

/* That of two splits, which may be empty. Local. */
struct lm_data_mark lm_data_mark(const struct lm_dataset *train, const struct lm_dataset *test);

/* Whether a mark is the one expected, in what both know; else LM_DATA says what was found and
 * what was expected. Local. */
bool lm_data_mark_same(const struct lm_data_mark *mark, const struct lm_data_mark *expected,
                       struct lm_status *status);

#endif
