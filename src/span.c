#include "span.h"

static int size_of(struct lm_span span) {
    return span.end - span.first;
}

/* Where the second half of a node begins. */
static int middle(struct lm_span node) {
    return node.first + size_of(node) / 2;
}

struct lm_span lm_span_share(int chunks, int n, int i) {
    LM_ASSERT(0 <= i && i < n);
    struct lm_span share = {0, chunks};
    for (; n % 2 == 0; n /= 2) {
        bool second = i >= n / 2;
        *(second ? &share.first : &share.end) = middle(share);
        i -= second ? n / 2 : 0;
    }
    long size = size_of(share);
    return (struct lm_span){share.first + (int)(i * size / n),
                            share.first + (int)((i + 1) * size / n)};
}

/* Append the nodes at and below `node` that lie in `part`. */
static int collect(struct lm_span node, struct lm_span part, int n, struct lm_span nodes[]) {
    if (node.end <= part.first || node.first >= part.end || size_of(node) == 0)
        return n;
    if (part.first <= node.first && node.end <= part.end) {
        LM_ASSERT(n < LM_MAX_NODES);
        nodes[n] = node;
        return n + 1;
    }
    n = collect((struct lm_span){node.first, middle(node)}, part, n, nodes);
    return collect((struct lm_span){middle(node), node.end}, part, n, nodes);
}

int lm_span_nodes(int chunks, struct lm_span part, struct lm_span nodes[LM_MAX_NODES]) {
    return collect((struct lm_span){0, chunks}, part, 0, nodes);
}

int lm_span_split(int n, struct lm_span nodes[], int wanted) {
    while (n > 0 && n < wanted) {
        int largest = 0;
        for (int i = 1; i < n; i++)
            if (size_of(nodes[i]) > size_of(nodes[largest]))
                largest = i;
        if (size_of(nodes[largest]) <= 1)
            break;
        for (int i = n++; i > largest; i--)
            nodes[i] = nodes[i - 1];
        nodes[largest].end = nodes[largest + 1].first = middle(nodes[largest]);
    }
    return n;
}

int lm_span_depth(int n) {
    int depth = 0;
    while (1L << depth < n)
        depth++;
    return depth;
}

/* The sum of node `whole` from nodes[*next] on, which moves on. */
static real *sum(struct lm_span whole, const struct lm_span nodes[], real *const values[],
                 size_t first, size_t count, int *next) {
    const struct lm_span *node = &nodes[*next];
    if (node->first == whole.first && node->end == whole.end)
        return values[(*next)++];
    LM_ASSERT(size_of(whole) > 1 && node->first == whole.first && node->end < whole.end);
    int half = middle(whole);
    real *left = sum((struct lm_span){whole.first, half}, nodes, values, first, count, next);
    real *right = sum((struct lm_span){half, whole.end}, nodes, values, first, count, next);
    lm_add(count, right + first, left + first);
    return left;
}

real *lm_span_sum(struct lm_span whole, const struct lm_span nodes[], real *const values[],
                  size_t first, size_t count) {
    int next = 0;
    return sum(whole, nodes, values, first, count, &next);
}
