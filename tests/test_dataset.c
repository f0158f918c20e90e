/* Data sets: the IDX reader on good and broken files, the search for a folder, chunks. */
#include "dataset.h"
#include "memory.h"

#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { INPUTS = 40, ROWS = 6, COLUMNS = 7, UNITS = ROWS * COLUMNS, CLASSES = 10 };
enum { IMAGE_BYTES = 16 + INPUTS * UNITS, LABEL_BYTES = 8 + INPUTS };
enum { BOTH = LM_WANT_IMAGES | LM_WANT_LABELS };

static char folder[PATH_MAX]; /* absolute, new for each test */
static char home[PATH_MAX];   /* working folder */
static size_t blocks;
static uint8_t image_file[IMAGE_BYTES], label_file[LABEL_BYTES];

/* Pixels without a pattern, so that gzip stores them as they are. */
static int pixel(int input, int unit) {
    unsigned z = (unsigned)(input * UNITS + unit + 1) * 2654435761u;
    return (int)((z ^ z >> 15) * 2246822519u >> 24);
}

static int label_of(int input) {
    return input * 7 % CLASSES;
}

static void put_word(uint8_t *byte, uint32_t word) {
    for (int i = 0; i < 4; i++)
        byte[i] = (uint8_t)(word >> (24 - 8 * i));
}

static const char *path_of(const char *name) {
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* A file, through gzip when its name ends in .gz. */
static void write_file(const char *name, const void *data, size_t bytes) {
    bool plain = strcmp(name + strlen(name) - 3, ".gz") != 0;
    gzFile file = gzopen(path_of(name), plain ? "wbT" : "wb");
    ck_assert_ptr_nonnull(file);
    if (bytes)
        ck_assert_int_eq(gzwrite(file, data, (unsigned)bytes), (int)bytes);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

static void remove_files(void) {
    static const char *const split[] = {"train", "t10k"};
    static const char *const rest[] = {"images-idx3-ubyte", "images.idx3-ubyte",
                                       "labels-idx1-ubyte", "labels.idx1-ubyte"};
    static const char *const end[] = {"", ".gz"};
    for (int i = 0; i < 16; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s-%s%s", split[i & 1], rest[i >> 1 & 3], end[i >> 3]);
        unlink(path_of(name));
    }
}

/* The bytes of good files, and an empty folder. */
static void setup(void) {
    unsetenv("LAMINA_DATA");
    ck_assert_ptr_nonnull(getcwd(home, sizeof home - 32));
    snprintf(folder, sizeof folder, "%.*s/dataset-XXXXXX", PATH_MAX - 32, home);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    static const uint32_t head[] = {0x0803, INPUTS, ROWS, COLUMNS};
    for (int i = 0; i < 4; i++)
        put_word(image_file + 4 * i, head[i]);
    for (int i = 0; i < INPUTS * UNITS; i++)
        image_file[16 + i] = (uint8_t)pixel(i / UNITS, i % UNITS);
    put_word(label_file, 0x0801);
    put_word(label_file + 4, INPUTS);
    for (int i = 0; i < INPUTS; i++)
        label_file[8 + i] = (uint8_t)label_of(i);
    blocks = lm_memory_blocks();
}

static void teardown(void) {
    ck_assert_int_eq(chdir(home), 0);
    remove_files();
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_uint_eq(lm_memory_blocks(), blocks);
}

static void write_good(void) {
    write_file("train-images-idx3-ubyte", image_file, IMAGE_BYTES);
    write_file("train-labels-idx1-ubyte", label_file, LABEL_BYTES);
}

static void expect_good(const char *path, enum lm_split split, int want) {
    struct lm_dataset set;
    struct lm_status status = {0};
    ck_assert_msg(lm_dataset_read(&set, "idx", path, split, want, CLASSES, &status), "%s",
                  status.message);
    struct lm_shape shape = {3, {1, ROWS, COLUMNS}};
    ck_assert(lm_shape_equal(&set.shape, &shape));
    ck_assert_uint_eq(set.n, INPUTS);
    ck_assert_int_eq(set.images != NULL, !!(want & LM_WANT_IMAGES));
    ck_assert_int_eq(set.labels != NULL, !!(want & LM_WANT_LABELS));
    for (int i = 0; set.images && i < INPUTS * UNITS; i++)
        ck_assert_int_eq(set.images[i], pixel(i / UNITS, i % UNITS));
    for (int i = 0; set.labels && i < INPUTS; i++)
        ck_assert_int_eq(set.labels[i], label_of(i));
    lm_dataset_clear(&set);
    ck_assert_ptr_null(set.images);
}

/* A failure of this code whose message holds `part`; nothing is left allocated. */
static void expect_failure(const char *format, const char *path, int want, size_t classes,
                           enum lm_code code, const char *part) {
    struct lm_dataset set;
    struct lm_status status = {0};
    size_t before = lm_memory_blocks();
    ck_assert_msg(!lm_dataset_read(&set, format, path, LM_TRAIN, want, classes, &status),
                  "read although: %s", part);
    ck_assert_msg(status.code == code, "code %d: %s", status.code, status.message);
    ck_assert_msg(strstr(status.message, part) != NULL, "'%s' is not in: %s", part,
                  status.message);
    ck_assert_ptr_null(strchr(status.message, '\n'));
    ck_assert(!set.source && !set.label_source && !set.images && !set.labels);
    ck_assert_uint_eq(lm_memory_blocks(), before);
}

START_TEST(reads_every_name_and_want) {
    static const char *const images[] = {
        "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte",
        "train-images.idx3-ubyte.gz"};
    static const char *const labels[] = {"train-labels.idx1-ubyte.gz",
                                         "train-labels-idx1-ubyte", "train-labels.idx1-ubyte",
                                         "train-labels-idx1-ubyte.gz"};
    write_file(images[_i], image_file, IMAGE_BYTES);
    write_file(labels[_i], label_file, LABEL_BYTES);
    for (int want = 0; want <= BOTH; want++)
        expect_good(folder, LM_TRAIN, want);
}
END_TEST

START_TEST(reads_the_test_split) {
    write_file("t10k-images-idx3-ubyte", image_file, IMAGE_BYTES);
    write_file("t10k-labels-idx1-ubyte.gz", label_file, LABEL_BYTES);
    expect_good(folder, LM_TEST, BOTH);
    expect_failure("idx", folder, BOTH, CLASSES, LM_NO_INPUT,
                   "train-images-idx3-ubyte: is not");
}
END_TEST

/* Longer than the pieces in which gzip data is read. */
START_TEST(reads_a_long_gzip_file) {
    enum { LONG_INPUTS = 70000 };
    struct lm_dataset set;
    struct lm_status status;
    size_t bytes = 16 + (size_t)LONG_INPUTS * UNITS;
    uint8_t *data = calloc(bytes, 1);
    memcpy(data, image_file, 16);
    put_word(data + 4, LONG_INPUTS);
    for (size_t i = 16; i < bytes; i++)
        data[i] = (uint8_t)(i * i >> 7);
    write_file("train-images-idx3-ubyte.gz", data, bytes);
    put_word(label_file + 4, LONG_INPUTS);
    uint8_t *labels = calloc(8 + LONG_INPUTS, 1);
    memcpy(labels, label_file, 8);
    write_file("train-labels-idx1-ubyte", labels, 8 + LONG_INPUTS);
    ck_assert(lm_dataset_read(&set, "idx", folder, LM_TRAIN, BOTH, CLASSES, &status));
    ck_assert_uint_eq(set.n, LONG_INPUTS);
    ck_assert_int_eq(memcmp(set.images, data + 16, bytes - 16), 0);
    lm_dataset_clear(&set);
    free(data);
    free(labels);
}
END_TEST

/* One broken file beside a good one. */
static const struct broken {
    const char *name;
    size_t offset; /* of a word of the header that is replaced, 0: none at offset 0 */
    uint32_t word; /* 0 at offset 0: nothing is replaced */
    long grow;     /* bytes added to the good length */
    bool unwanted; /* found also when no content is wanted */
    const char *part;
} broken[] = {
    {"images-idx3-ubyte", 0, 0x0801, 0, true, "magic 0x00000801 found, 0x00000803 expected"},
    {"images-idx3-ubyte", 0, 0x0d03, 0, true, "magic 0x00000d03 found"},
    {"images-idx3-ubyte", 0, 0x1f000803, 0, true, "magic 0x1f000803 found"},
    {"images-idx3-ubyte.gz", 0, 0x0802, 0, true, "magic 0x00000802 found"},
    {"labels-idx1-ubyte", 0, 0x0803, 0, true, "magic 0x00000803 found, 0x00000801 expected"},
    {"images-idx3-ubyte", 4, 0, 0, true, "extent 1 is 0: at least 1 is expected"},
    {"images-idx3-ubyte", 12, 0, 0, true, "extent 3 is 0"},
    {"labels-idx1-ubyte.gz", 4, 0, 0, true, "extent 1 is 0"},
    {"images-idx3-ubyte", 0, 0, -1, true, "truncated: 1695 bytes found, 1696 expected"},
    {"images-idx3-ubyte", 0, 0, 1, true, "too long: 1697 bytes found, 1696 expected"},
    {"images-idx3-ubyte", 0, 0, 7 - IMAGE_BYTES, true, "truncated: 7 bytes found, 16 expected"},
    {"images-idx3-ubyte", 0, 0, -IMAGE_BYTES, true, "truncated: 0 bytes found, 16 expected"},
    {"images-idx3-ubyte.gz", 0, 0, -9, false, "truncated: 1687 bytes found, 1696 expected"},
    {"images-idx3-ubyte.gz", 0, 0, 3, false, "too long: more than the expected 1696 bytes"},
    {"images-idx3-ubyte.gz", 4, 41, 0, false, "truncated: 1696 bytes found, 1738 expected"},
    {"labels-idx1-ubyte", 0, 0, -1, true, "truncated: 47 bytes found, 48 expected"},
    {"labels-idx1-ubyte.gz", 0, 0, 5, false, "too long: more than the expected 48 bytes"},
    {"images-idx3-ubyte", 4, 0xffffffff, 0, true, "truncated: 1696 bytes found, 18038"},
    {"images-idx3-ubyte.gz", 4, 0x7fffffff, 0, true, "bytes of gzip data can hold"},
    {"images-idx3-ubyte.gz", 4, 1000, 0, false, "truncated: 1696 bytes found, 42016 expected"},
};

START_TEST(reports_broken_files) {
    const struct broken *broke = &broken[_i];
    bool images = broke->name[0] == 'i';
    uint8_t data[IMAGE_BYTES + 8] = {0};
    long good = images ? IMAGE_BYTES : LABEL_BYTES;
    char name[64];
    memcpy(data, images ? image_file : label_file, (size_t)good);
    if (broke->offset || broke->word)
        put_word(data + broke->offset, broke->word);
    if (images)
        write_file("train-labels-idx1-ubyte", label_file, LABEL_BYTES);
    else
        write_file("train-images-idx3-ubyte", image_file, IMAGE_BYTES);
    snprintf(name, sizeof name, "train-%s", broke->name);
    write_file(name, data, (size_t)(good + broke->grow));
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, broke->part);
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, path_of(name));
    if (broke->unwanted)
        expect_failure("idx", folder, 0, CLASSES, LM_DATA, broke->part);
}
END_TEST

START_TEST(reports_extents_that_overflow) {
    write_good();
    for (int i = 4; i < 16; i += 4)
        put_word(image_file + i, 0xffffffff);
    write_file("train-images-idx3-ubyte", image_file, IMAGE_BYTES);
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, "too large for any machine");
}
END_TEST

START_TEST(reports_counts_that_disagree) {
    write_file("train-images-idx3-ubyte.gz", image_file, IMAGE_BYTES);
    put_word(label_file + 4, INPUTS - 1);
    write_file("train-labels-idx1-ubyte", label_file, LABEL_BYTES - 1);
    for (int want = 0; want <= BOTH; want++)
        expect_failure("idx", folder, want, CLASSES, LM_DATA,
                       "train-labels-idx1-ubyte: 39 labels found, 40 expected");
}
END_TEST

/* Gzip data itself: one bit wrong, cut in the middle, cut within the checksum, garbage behind.
 */
START_TEST(reports_damaged_gzip_data) {
    static const char *const part[] = {"corrupted gzip data: ", "truncated gzip data: ",
                                       "checksum is missing", "something is behind it"};
    uint8_t packed[2 * IMAGE_BYTES] = {0};
    const char *name = "train-images-idx3-ubyte.gz";
    write_file("train-labels-idx1-ubyte", label_file, LABEL_BYTES);
    write_file(name, image_file, IMAGE_BYTES);
    FILE *file = fopen(path_of(name), "rb");
    ck_assert_ptr_nonnull(file);
    size_t bytes = fread(packed, 1, sizeof packed, file);
    ck_assert(bytes > IMAGE_BYTES / 2 && bytes < sizeof packed);
    fclose(file);
    if (_i == 0)
        packed[bytes / 2] ^= 1;
    else
        bytes = _i == 1 ? bytes / 2 : _i == 2 ? bytes - 5 : bytes + 9;
    file = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(packed, 1, bytes, file), bytes);
    fclose(file);
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, part[_i]);
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, path_of(name));
    if (_i > 0)
        expect_failure("idx", folder, 0, CLASSES, LM_DATA, "something is behind it");
}
END_TEST

START_TEST(reports_a_label_beyond_the_classes) {
    char part[128];
    write_good();
    label_file[8 + 17] = CLASSES;
    write_file("train-labels-idx1-ubyte", label_file, LABEL_BYTES);
    snprintf(part, sizeof part, "labels-idx1-ubyte: label %d of input 17 is not below %d",
             CLASSES, CLASSES);
    expect_failure("idx", folder, BOTH, CLASSES, LM_DATA, part);
    struct lm_dataset set;
    struct lm_status status;
    ck_assert(lm_dataset_read(&set, "idx", folder, LM_TRAIN, BOTH, CLASSES + 1, &status));
    lm_dataset_clear(&set);
    ck_assert(lm_dataset_read(&set, "idx", folder, LM_TRAIN, LM_WANT_IMAGES, CLASSES, &status));
    lm_dataset_clear(&set);
}
END_TEST

START_TEST(reports_what_is_not_there) {
    expect_failure("parquet", folder, BOTH, CLASSES, LM_CONFIG,
                   "'parquet' is not known: expected one of idx, cifar10");
    expect_failure("idx", path_of("missing"), BOTH, CLASSES, LM_NO_INPUT, path_of("missing"));
    expect_failure("idx", folder, BOTH, CLASSES, LM_NO_INPUT,
                   "images-idx3-ubyte: is not there");
    write_file("train-images-idx3-ubyte", image_file, IMAGE_BYTES);
    expect_failure("idx", folder, 0, CLASSES, LM_NO_INPUT, "labels-idx1-ubyte: is not there");
    expect_failure("idx", path_of("train-images-idx3-ubyte"), BOTH, CLASSES, LM_NO_INPUT,
                   "Not a directory");
    unlink(path_of("train-images-idx3-ubyte"));
    ck_assert_int_eq(symlink(folder, path_of("train-images-idx3-ubyte")), 0);
    expect_failure("idx", folder, BOTH, CLASSES, LM_NO_INPUT, "is not a regular file");
}
END_TEST

/* A relative path: the working folder comes before $LAMINA_DATA, then .data. */
START_TEST(seeks_relative_paths) {
    const char *name = strrchr(folder, '/') + 1;
    char tried[3 * PATH_MAX];
    struct lm_dataset set;
    struct lm_status status;
    write_good();
    expect_good(name, LM_TRAIN, BOTH);
    setenv("LAMINA_DATA", home, 1);
    ck_assert(lm_dataset_read(&set, "idx", name, LM_TRAIN, 0, CLASSES, &status));
    ck_assert_str_eq(set.source, name);
    lm_dataset_clear(&set);
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert(lm_dataset_read(&set, "idx", name, LM_TRAIN, 0, CLASSES, &status));
    ck_assert_str_eq(set.source, folder);
    lm_dataset_clear(&set);
    snprintf(tried, sizeof tried, "tried no-such-data, %s/no-such-data, /", home);
    expect_failure("idx", "no-such-data", 0, CLASSES, LM_NO_INPUT, tried);
    expect_failure("idx", "no-such-data", 0, CLASSES, LM_NO_INPUT, "/.data/no-such-data (");
    setenv("LAMINA_DATA", "", 1);
    expect_failure("idx", "no-such-data", 0, CLASSES, LM_NO_INPUT, "tried no-such-data, /");
    expect_failure("idx", "/no-such-data", 0, CLASSES, LM_NO_INPUT, "tried /no-such-data (");
}
END_TEST

/* Chunks of every fullness: units x width, pixel / 255, zeros in the padding. */
START_TEST(fills_chunks) {
    static const size_t counts[] = {0, 1, 16, 17, 33};
    enum { WIDTH = 48 };
    size_t count = counts[_i];
    uint32_t index[WIDTH];
    real x[UNITS * WIDTH];
    int label[WIDTH];
    struct lm_dataset set;
    struct lm_status status;
    write_good();
    ck_assert(lm_dataset_read(&set, "idx", folder, LM_TRAIN, BOTH, CLASSES, &status));
    for (size_t b = 0; b < WIDTH; b++) {
        index[b] = b < count ? (uint32_t)(b * 23 + 5) % INPUTS : UINT32_MAX;
        label[b] = -1;
    }
    for (int i = 0; i < UNITS * WIDTH; i++)
        x[i] = 7;
    lm_dataset_fill(&set, count, index, WIDTH, x, label);
    for (int u = 0; u < UNITS; u++)
        for (size_t b = 0; b < WIDTH; b++) {
            real want = b < count ? (real)pixel((int)index[b], u) / 255 : 0;
            ck_assert(x[(size_t)u * WIDTH + b] == want);
        }
    for (size_t b = 0; b < WIDTH; b++)
        ck_assert_int_eq(label[b], b < count ? label_of((int)index[b]) : -1);
    lm_dataset_clear(&set);
}
END_TEST

/* More units than are transposed at once, and each output alone. */
START_TEST(fills_wide_inputs_and_single_outputs) {
    enum { WIDE = 64 + 64 + 3, N = 20, WIDTH = 32 };
    uint8_t images[N * WIDE], labels[N];
    struct lm_dataset set = {.n = N, .shape = {3, {1, 1, WIDE}}, .images = images};
    uint32_t index[N];
    real x[WIDE * WIDTH];
    int label[N];
    for (int i = 0; i < N * WIDE; i++)
        images[i] = (uint8_t)pixel(i % 31, i);
    for (uint32_t b = 0; b < N; b++) {
        labels[b] = (uint8_t)(b + 3);
        index[b] = N - 1 - b;
    }
    lm_dataset_fill(&set, N, index, WIDTH, x, NULL);
    for (int u = 0; u < WIDE; u++)
        for (int b = 0; b < WIDTH; b++) {
            real want = b < N ? (real)images[(N - 1 - b) * WIDE + u] / 255 : 0;
            ck_assert(x[u * WIDTH + b] == want);
        }
    set = (struct lm_dataset){.n = N, .shape = set.shape, .labels = labels};
    lm_dataset_fill(&set, N, index, WIDTH, NULL, label);
    for (int b = 0; b < N; b++)
        ck_assert_int_eq(label[b], N - 1 - b + 3);
}
END_TEST

START_TEST(every_pixel_is_divided_as_by_division) {
    enum { PIXELS = 256, WIDTH = 16 };
    uint8_t images[PIXELS];
    struct lm_dataset set = {.n = 1, .shape = {3, {1, 1, PIXELS}}, .images = images};
    const uint32_t index[] = {0};
    real x[PIXELS * WIDTH];
    for (int i = 0; i < PIXELS; i++)
        images[i] = (uint8_t)i;
    lm_dataset_fill(&set, 1, index, WIDTH, x, NULL);
    for (int i = 0; i < PIXELS; i++)
        ck_assert(x[i * WIDTH] == (real)i / 255);
}
END_TEST

/* Data are told apart by their inputs and labels, as far as these are known. */
START_TEST(marks_tell_data_apart) {
    struct lm_status status;
    uint8_t labels[] = {0, 1, 2}, others[] = {0, 1, 3};
    struct lm_dataset train = {.n = 3, .labels = labels}, test = {.n = 2}, other = train;
    struct lm_data_mark mark = lm_data_mark(&train, &test);
    ck_assert(mark.train == 3 && mark.test == 2 && mark.test_labels == -1);
    struct lm_data_mark same = lm_data_mark(&train, &test);
    ck_assert(lm_data_mark_same(&mark, &same, &status));
    other.labels = others;
    struct lm_data_mark different = lm_data_mark(&other, &test);
    ck_assert(!lm_data_mark_same(&different, &mark, &status) && status.code == LM_DATA);
    ck_assert(strstr(status.message, "training labels have CRC-32") != NULL);
    other.labels = NULL;
    different = lm_data_mark(&other, &test);
    ck_assert(lm_data_mark_same(&different, &mark, &status));
    test.n = 1;
    different = lm_data_mark(&train, &test);
    ck_assert(!lm_data_mark_same(&different, &mark, &status));
    ck_assert_str_eq(status.message, "1 test inputs: 2 are expected");
}
END_TEST

START_TEST(lists_its_formats) {
    const struct lm_dataset_format *const *formats = lm_dataset_formats();
    ck_assert_ptr_nonnull(formats[0]);
    for (int i = 0; formats[i]; i++) {
        ck_assert_ptr_eq(lm_dataset_find(formats[i]->name), formats[i]);
        ck_assert(formats[i]->summary && formats[i]->read);
    }
    ck_assert_ptr_null(lm_dataset_find("ID"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("dataset");
    TCase *tests = tcase_create("dataset");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, reads_every_name_and_want, 0, 4);
    tcase_add_test(tests, reads_the_test_split);
    tcase_add_test(tests, reads_a_long_gzip_file);
    tcase_add_loop_test(tests, reports_broken_files, 0, sizeof broken / sizeof broken[0]);
    tcase_add_test(tests, reports_extents_that_overflow);
    tcase_add_test(tests, reports_counts_that_disagree);
    tcase_add_loop_test(tests, reports_damaged_gzip_data, 0, 4);
    tcase_add_test(tests, reports_a_label_beyond_the_classes);
    tcase_add_test(tests, reports_what_is_not_there);
    tcase_add_test(tests, seeks_relative_paths);
    tcase_add_loop_test(tests, fills_chunks, 0, 5);
    tcase_add_test(tests, fills_wide_inputs_and_single_outputs);
    tcase_add_test(tests, every_pixel_is_divided_as_by_division);
    tcase_add_test(tests, marks_tell_data_apart);
    tcase_add_test(tests, lists_its_formats);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? 1 : 0;
}
