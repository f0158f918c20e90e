#include "records.h"

#include "memory.h"

#include <math.h>
#include <stdio.h>

/* One record: where it goes and what it is. */
struct row {
    const char *name;
    bool errors; /* in /errors/STEP over inputs; else in /training over steps */
    bool layered;
    bool whole; /* whole numbers */
    const char *units, *long_name;
};

static const struct row rows[LM_RECORDS] = {
    [LM_RECORD_LOSS] = {"loss", 0, 0, 0, "1", "mean loss of the training batch"},
    [LM_RECORD_ACCURACY] = {"accuracy", 0, 0, 0, "1", "accuracy on the training batch"},
    [LM_RECORD_TEST_LOSS] = {"test_loss", 0, 0, 0, "1", "mean loss of a test batch"},
    [LM_RECORD_TEST_ACCURACY] = {"test_accuracy", 0, 0, 0, "1", "accuracy on a test batch"},
    [LM_RECORD_RELATIVE_ERROR] = {"relative_error", 0, 1, 0, "1",
                                  "relative error of the update against the exact gradient"},
    [LM_RECORD_ANGLE] = {"angle", 0, 1, 0, "degrees",
                         "angle between the update and the exact gradient"},
    [LM_RECORD_ENERGY] = {"energy", 0, 1, 0, "1",
                          "half the sum of squared errors; of the output layer the mean loss"},
    [LM_RECORD_INDEX] = {"index", 1, 0, 1, "1", "position of the input in the data set"},
    [LM_RECORD_LABEL] = {"label", 1, 0, 1, "1", "label of the input"},
    [LM_RECORD_PREDICTION] = {"prediction", 1, 0, 1, "1", "predicted label"},
    [LM_RECORD_INPUT_LOSS] = {"loss", 1, 0, 0, "1", "loss of the input alone"},
    [LM_RECORD_MAGNITUDE] = {"magnitude", 1, 1, 0, "1",
                             "Euclidean norm of the layer's error for the input alone"},
};

struct lm_records {
    struct lm_records_plan plan;
    void **block; /* (LM_RECORDS, n_layers): doubles or int64_t (step) or (error record,
                     input); NULL: not owned */
};

_Static_assert(sizeof(double) == sizeof(int64_t), "a record takes one size");

static void **block_of(const struct lm_records *records, enum lm_record record, int layer) {
    size_t l = rows[record].layered ? (size_t)layer : 0;
    return records->block + (size_t)record * (size_t)records->plan.n_layers + l;
}

static bool owns(const struct lm_records_plan *plan, const struct row *row, int layer) {
    return row->layered ? plan->owned[layer] : layer == 0 && plan->owns_output;
}

static void *make_block(const struct lm_records_plan *plan, const struct row *row) {
    size_t n = (size_t)plan->n_steps;
    if (row->errors)
        n = lm_product((size_t)plan->n_error_steps, (size_t)plan->n_inputs);
    void *block = lm_allocate(n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        if (row->whole)
            ((int64_t *)block)[i] = -1;
        else
            ((double *)block)[i] = NAN;
    return block;
}

struct lm_records *lm_records_create(const struct lm_records_plan *plan) {
    LM_ASSERT(plan->n_layers > 0 && plan->n_steps >= 0 && plan->n_inputs >= 0);
    for (int k = 0; k < plan->n_error_steps; k++)
        LM_ASSERT(plan->error_steps[k] <= plan->n_steps &&
                  (k == 0 || plan->error_steps[k - 1] < plan->error_steps[k]));
    struct lm_records *records = lm_allocate(1, sizeof *records);
    records->plan = *plan;
    records->block = lm_allocate(LM_RECORDS * (size_t)plan->n_layers, sizeof *records->block);
    for (int record = 0; record < LM_RECORDS; record++)
        for (int l = 0; l < plan->n_layers; l++)
            if (owns(plan, &rows[record], l))
                *block_of(records, (enum lm_record)record, l) = make_block(plan, &rows[record]);
    return records;
}

void lm_records_destroy(struct lm_records *records) {
    if (!records)
        return;
    for (int i = 0; i < LM_RECORDS * records->plan.n_layers; i++)
        lm_free(records->block[i]);
    lm_free(records->block);
    lm_free(records);
}

const struct lm_records_plan *lm_records_get_plan(const struct lm_records *records) {
    return &records->plan;
}

double *lm_records_curve(struct lm_records *records, enum lm_record record, int layer) {
    LM_ASSERT(!rows[record].errors);
    return *block_of(records, record, layer);
}

double *lm_records_errors(struct lm_records *records, enum lm_record record, int k, int layer) {
    LM_ASSERT(rows[record].errors && !rows[record].whole && k < records->plan.n_error_steps);
    double *block = *block_of(records, record, layer);
    return block ? block + k * records->plan.n_inputs : NULL;
}

int64_t *lm_records_integers(struct lm_records *records, enum lm_record record, int k) {
    LM_ASSERT(rows[record].whole && k < records->plan.n_error_steps);
    int64_t *block = *block_of(records, record, 0);
    return block ? block + k * records->plan.n_inputs : NULL;
}

enum { GROUP_TEXT = 64, PATH_TEXT = 128 };

/* "/training" or "/errors/STEP" of error record k in text[GROUP_TEXT]. */
static const char *group_text(const struct lm_records_plan *plan, bool errors, int k,
                              char *text) {
    if (errors)
        snprintf(text, GROUP_TEXT, "/errors/%lld", (long long)plan->error_steps[k]);
    else
        snprintf(text, GROUP_TEXT, "/training");
    return text;
}

static bool make_scales(const struct lm_records_plan *plan, struct lm_store *store,
                        int64_t steps, struct lm_status *status) {
    struct lm_field layer = {.path = "/layer", .type = LM_FIELD_TEXT, .rank = 1, .units = "1"};
    layer.extent[0] = (size_t)plan->n_layers;
    layer.long_name = "layer";
    struct lm_field step = {.path = "/training/step", .type = LM_FIELD_INT64, .rank = 1};
    step.extent[0] = (size_t)steps;
    step.units = "1";
    step.long_name = "training step";
    struct lm_field input = step;
    input.path = "/errors/input";
    input.extent[0] = (size_t)plan->n_inputs;
    input.long_name = "recorded input";
    return lm_store_make_scale(store, &layer, plan->layers, status) &&
           lm_store_make_count(store, &step, 0, status) &&
           (!plan->n_error_steps || lm_store_make_count(store, &input, 0, status));
}

/* Make the datasets of one group. */
static bool make_group(const struct lm_records_plan *plan, struct lm_store *store,
                       const char *group, bool errors, size_t length,
                       struct lm_status *status) {
    const char *scale = errors ? "/errors/input" : "/training/step";
    for (const struct row *row = rows; row < rows + LM_RECORDS; row++) {
        if (row->errors != errors)
            continue;
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "%s/%s", group, row->name);
        struct lm_field field = {.path = path,
                                 .type = row->whole ? LM_FIELD_INT64 : LM_FIELD_DOUBLE,
                                 .rank = 1,
                                 .extent = {length},
                                 .scale = {scale},
                                 .units = row->units,
                                 .long_name = row->long_name};
        if (row->layered) {
            field.rank = 2;
            field.extent[0] = (size_t)plan->n_layers, field.extent[1] = length;
            field.scale[0] = "/layer", field.scale[1] = scale;
        }
        if (!lm_store_make(store, &field, status))
            return false;
    }
    return true;
}

bool lm_records_make(const struct lm_records *records, struct lm_store *store, int64_t steps,
                     struct lm_status *status) {
    const struct lm_records_plan *plan = &records->plan;
    if (!make_scales(plan, store, steps, status) ||
        !make_group(plan, store, "/training", false, (size_t)steps, status))
        return false;
    for (int k = 0; k < plan->n_error_steps && plan->error_steps[k] <= steps; k++) {
        char group[GROUP_TEXT];
        group_text(plan, true, k, group);
        if (!make_group(plan, store, group, true, (size_t)plan->n_inputs, status) ||
            !lm_store_set_integer(store, group, "step", plan->error_steps[k], status))
            return false;
    }
    return true;
}

/* One group of a file, and what of it is at work. */
struct part {
    const char *group;
    bool errors;
    size_t from, count; /* steps or inputs */
    size_t skip;        /* values before step or input 0 in a block */
    bool writes;        /* else reads */
};

/* Write or read all records of this rank in a part. */
static bool move(const struct lm_records *records, struct lm_store *store,
                 const struct part *part, struct lm_status *status) {
    for (int i = 0; i < LM_RECORDS * records->plan.n_layers; i++) {
        const struct row *row = &rows[i / records->plan.n_layers];
        char *block = records->block[i];
        if (!block || row->errors != part->errors)
            continue;
        char path[PATH_TEXT];
        snprintf(path, sizeof path, "%s/%s", part->group, row->name);
        struct lm_slab slab = {.path = path,
                               .type = row->whole ? LM_FIELD_INT64 : LM_FIELD_DOUBLE,
                               .offset = {part->from},
                               .count = {part->count}};
        if (row->layered) {
            slab.offset[0] = (size_t)(i % records->plan.n_layers), slab.offset[1] = part->from;
            slab.count[0] = 1, slab.count[1] = part->count;
        }
        void *values = block + (part->skip + part->from) * sizeof(double);
        if (!(part->writes ? lm_store_write(store, &slab, values, status)
                           : lm_store_read(store, &slab, values, status)))
            return false;
    }
    return true;
}

static bool move_steps(const struct lm_records *records, struct lm_store *store, bool writes,
                       int64_t from, int64_t to, struct lm_status *status) {
    LM_ASSERT(0 <= from && from <= to && to <= records->plan.n_steps);
    struct part part = {"/training", false, (size_t)from, (size_t)(to - from), 0, writes};
    return from == to || move(records, store, &part, status);
}

static bool move_errors(const struct lm_records *records, struct lm_store *store, bool writes,
                        int k, struct lm_status *status) {
    char group[GROUP_TEXT];
    size_t n = (size_t)records->plan.n_inputs;
    struct part part = {
        group_text(&records->plan, true, k, group), true, 0, n, (size_t)k * n, writes};
    return move(records, store, &part, status);
}

bool lm_records_write_steps(const struct lm_records *records, struct lm_store *store,
                            int64_t from, int64_t to, struct lm_status *status) {
    return move_steps(records, store, true, from, to, status);
}

bool lm_records_write_errors(const struct lm_records *records, struct lm_store *store, int k,
                             struct lm_status *status) {
    LM_ASSERT(0 <= k && k < records->plan.n_error_steps);
    return move_errors(records, store, true, k, status);
}

bool lm_records_read(struct lm_records *records, struct lm_store *store, int64_t steps,
                     struct lm_status *status) {
    const struct lm_records_plan *plan = &records->plan;
    size_t layers = (size_t)plan->n_layers, inputs = (size_t)plan->n_inputs;
    if (!lm_store_expect(store, "/layer", 1, &layers, status) ||
        !move_steps(records, store, false, 0, steps, status))
        return false;
    if (plan->n_error_steps && !lm_store_expect(store, "/errors/input", 1, &inputs, status))
        return false;
    for (int k = 0; k < plan->n_error_steps && plan->error_steps[k] <= steps; k++)
        if (!move_errors(records, store, false, k, status))
            return false;
    return true;
}
