/* Span: shares cover a batch, nodes are those of the tree, sums have its order. */
#include "span.h"

#include "memory.h"
#include "random.h"
#include "runner.h"

#include <math.h>
#include <string.h>

enum { MOST = 40, COUNT = 5 };

/* The tree written out once more: whether [first, end) is one of its nodes. */
static bool is_node(int low, int high, int first, int end) {
    if (low == first && high == end)
        return true;
    int half = low + (high - low) / 2;
    return high - low > 1 && first >= low && end <= high &&
           (end <= half ? is_node(low, half, first, end) : is_node(half, high, first, end));
}

START_TEST(shares_cover_the_batch) {
    for (int chunks = 0; chunks <= MOST; chunks++)
        for (int n = 1; n <= 20; n++)
            for (int i = 0, next = 0; i < n; i++) {
                struct lm_span share = lm_span_share(chunks, n, i);
                int size = share.end - share.first;
                ck_assert(share.first == next && size >= chunks / n);
                ck_assert(size <= (chunks + n - 1) / n);
                ck_assert(i < n - 1 || share.end == chunks);
                if ((n & (n - 1)) == 0 && size > 0)
                    ck_assert(is_node(0, chunks, share.first, share.end));
                next = share.end;
            }
}
END_TEST

/* Nodes follow each other, and no two that do could be one. */
START_TEST(nodes_make_up_their_span) {
    struct lm_span nodes[LM_MAX_NODES];
    for (int chunks = 1; chunks <= MOST; chunks++)
        for (int first = 0; first <= chunks; first++)
            for (int end = first; end <= chunks; end++) {
                int n = lm_span_nodes(chunks, (struct lm_span){first, end}, nodes),
                    next = first;
                for (int i = 0; i < n; i++) {
                    ck_assert(nodes[i].first == next && nodes[i].end > next);
                    ck_assert(is_node(0, chunks, nodes[i].first, nodes[i].end));
                    ck_assert(i == 0 || !is_node(0, chunks, nodes[i - 1].first, nodes[i].end));
                    next = nodes[i].end;
                }
                ck_assert(next == end && n <= 2 * lm_span_depth(chunks) + 1);
            }
}
END_TEST

START_TEST(nodes_split_into_nodes) {
    struct lm_span nodes[MOST];
    for (int wanted = 1; wanted <= MOST; wanted++) {
        nodes[0] = (struct lm_span){0, 13};
        int n = lm_span_split(1, nodes, wanted), next = 0, smallest = 13, largest = 0;
        ck_assert(n == (wanted < 13 ? wanted : 13));
        for (int i = 0; i < n; i++) {
            int size = nodes[i].end - nodes[i].first;
            ck_assert(nodes[i].first == next && is_node(0, 13, nodes[i].first, nodes[i].end));
            next = nodes[i].end;
            smallest = size < smallest ? size : smallest;
            largest = size > largest ? size : largest;
        }
        ck_assert(next == 13 && largest <= 2 * smallest + 1);
    }
    ck_assert(lm_span_split(0, nodes, 5) == 0);
}
END_TEST

START_TEST(depths) {
    const int depth[] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 4};
    for (int n = 0; n < 10; n++)
        ck_assert_int_eq(lm_span_depth(n), depth[n]);
}
END_TEST

/* Numbers of many sizes, so that another order has other bits. */
static real number(int chunk, size_t i) {
    double size = pow(10, (double)(((size_t)chunk * 3 + i) % 7));
    return (real)(size * (lm_random_uniform(1, LM_STREAM_TEST, (uint64_t)chunk, i) - 0.5));
}

static real plain_sum(int low, int high, size_t i) {
    int half = low + (high - low) / 2;
    return high - low == 1 ? number(low, i)
                           : plain_sum(low, half, i) + plain_sum(half, high, i);
}

/* However a batch is cut into shares and these into nodes: the same bits. */
START_TEST(sums_have_the_order_of_the_tree) {
    static real value[MOST][COUNT];
    struct lm_span nodes[MOST + LM_MAX_NODES];
    real *values[MOST];
    int other_orders = 0;
    for (int chunks = 1; chunks <= MOST; chunks++)
        for (int replicas = 1; replicas <= 7; replicas++) {
            int n = 0;
            for (int r = 0; r < replicas; r++)
                n += lm_span_nodes(chunks, lm_span_share(chunks, replicas, r), nodes + n);
            n = lm_span_split(n, nodes, n + replicas % 3);
            for (int k = 0; k < n; k++) {
                values[k] = value[k];
                for (size_t i = 0; i < COUNT; i++)
                    value[k][i] = plain_sum(nodes[k].first, nodes[k].end, i);
            }
            real kept = value[0][0], in_turn = 0;
            ck_assert(lm_span_sum((struct lm_span){0, chunks}, nodes, values, 1, COUNT - 2) ==
                      value[0]);
            for (size_t i = 1; i < COUNT - 1; i++)
                ck_assert(value[0][i] == plain_sum(0, chunks, i));
            ck_assert(value[0][0] == kept); /* elements outside are left alone */
            for (int c = 0; c < chunks; c++)
                in_turn += number(c, 1);
            other_orders += in_turn != value[0][1];
        }
    ck_assert(other_orders > 0);
}
END_TEST

int main(void) {
    return RUN_TESTS("span", shares_cover_the_batch, nodes_make_up_their_span,
                     nodes_split_into_nodes, depths, sums_have_the_order_of_the_tree);
}
