#include "tally.h"

#include "memory.h"

#include <omp.h>
#include <stdatomic.h>

static const size_t most_bytes = (size_t)1 << 26; /* of arrays beside the sums */

/* A chunk of a lesson, and the node of the tree that begins with it as far as it is summed. */
struct leaf {
    real *sum;
    real *own;         /* an array for the sum, where no other is free */
    atomic_int halves; /* that are there, of those that meet before this chunk */
    struct leaf *next; /* below it in a pile of those whose sums have been added to others */
};

struct lm_tally {
    int layers, chunks, threads, first;
    const struct lm_lesson *lessons; /* (layers) those that are open */
    struct leaf *leaves;             /* (layers x chunks) */
    struct leaf **spare;             /* (threads x layers) piles */
    size_t size;                     /* reals in `block` */
    real *block;
};

struct lm_tally *lm_tally_create(int layers, int chunks, int threads) {
    struct lm_tally *tally = lm_allocate(1, sizeof *tally);
    size_t leaves = lm_product((size_t)layers, (size_t)chunks);
    tally->layers = layers;
    tally->chunks = chunks;
    tally->threads = threads;
    tally->leaves = lm_allocate(leaves, sizeof *tally->leaves);
    tally->spare = lm_allocate((size_t)(threads * layers), sizeof *tally->spare);
    return tally;
}

void lm_tally_destroy(struct lm_tally *tally) {
    if (!tally)
        return;
    lm_free(tally->leaves);
    lm_free(tally->spare);
    lm_free(tally->block);
    lm_free(tally);
}

/* Arrays for all chunks but the first of each node, which have the sum's. */
static real *open_lesson(const struct lm_tally *tally, int l, real *next) {
    const struct lm_lesson *lesson = &tally->lessons[l];
    struct leaf *leaf = tally->leaves + l * tally->chunks;
    for (int k = 0; k < lesson->n; k++)
        for (int c = lesson->nodes[k].first; c < lesson->nodes[k].end; c++, leaf++) {
            bool begins = c == lesson->nodes[k].first;
            leaf->sum = begins ? lesson->sums[k] : NULL;
            leaf->own = begins ? NULL : next;
            next += begins ? 0 : lm_lesson_parameters(lesson);
            atomic_store(&leaf->halves, 0);
        }
    return next;
}

bool lm_tally_open(struct lm_tally *tally, int first, int n, const struct lm_lesson lessons[]) {
    size_t size = 0;
    for (int l = 0; l < n; l++)
        size += lm_product((size_t)(lm_lesson_chunks(&lessons[l]) - lessons[l].n),
                           lm_lesson_parameters(&lessons[l]));
    if (size > most_bytes / sizeof(real))
        return false;
    if (size > tally->size) {
        lm_free(tally->block);
        tally->block = lm_allocate(size, sizeof(real));
        tally->size = size;
    }
    tally->first = first;
    tally->lessons = lessons;
    for (int i = 0; i < tally->threads * tally->layers; i++)
        tally->spare[i] = NULL;
    real *next = tally->block;
    for (int l = 0; l < n; l++)
        next = open_lesson(tally, l, next);
    return true;
}

/* Of a lesson, where a thread adds up. */
struct adding {
    struct leaf *leaves;
    int first; /* chunk of the batch */
    struct leaf **spare;
    size_t parameters;
};

/* Add up what can be of a node of which chunk c is learned; whether that is all of it. */
static bool add(const struct adding *adding, struct lm_span node, int c) {
    if (node.end - node.first == 1)
        return true;
    struct lm_span halves[2] = {node};
    lm_span_split(1, halves, 2);
    struct leaf *first = &adding->leaves[node.first - adding->first];
    struct leaf *second = &adding->leaves[halves[1].first - adding->first];
    if (!add(adding, halves[c >= halves[1].first], c) ||
        atomic_fetch_add(&second->halves, 1) == 0)
        return false;
    lm_add(adding->parameters, second->sum, first->sum);
    second->next = *adding->spare;
    *adding->spare = second;
    return true;
}

/* An array for the sum of a chunk: what the thread has last read, if there is such. */
static real *take(struct leaf *leaf, struct leaf **spare) {
    struct leaf *other = *spare;
    if (!other)
        return leaf->own;
    *spare = other->next;
    return other->sum;
}

void lm_tally_learn(struct lm_tally *tally, const struct lm_rule *rule,
                    const struct lm_inference *inference, int l, int c,
                    const struct lm_scratch *scratch) {
    const struct lm_lesson *lesson = &tally->lessons[l];
    struct leaf **spare = &tally->spare[omp_get_thread_num() * tally->layers + l];
    const struct adding adding = {tally->leaves + l * tally->chunks, tally->first, spare,
                                  lm_lesson_parameters(lesson)};
    struct leaf *leaf = adding.leaves + c;
    int chunk = c + tally->first;
    if (adding.parameters == 0)
        return;
    double start = omp_get_wtime();
    if (!leaf->sum)
        leaf->sum = take(leaf, spare);
    rule->learn(inference, lesson->layer, c, scratch, leaf->sum);
    for (int k = 0; k < lesson->n; k++)
        if (lesson->nodes[k].first <= chunk && chunk < lesson->nodes[k].end)
            add(&adding, lesson->nodes[k], chunk);
    lm_layer_spent(lesson->layer, omp_get_wtime() - start);
}
