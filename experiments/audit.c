#include "audit.h"

#include "comm.h"
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>

static int chunks_of_batch(const struct lm_session *session) {
    size_t chunk = (size_t)session->settings->training.chunk;
    return (int)((session->batch + chunk - 1) / chunk);
}

/* What this rank must have sent to rank `to` in one training step. */
static int64_t expected(const struct lm_session *session, enum lm_phase phase, int to) {
    int chunks = chunks_of_batch(session);
    const struct lm_cortex *cortex = session->cortex;
    switch (phase) {
    case LM_PHASE_FORWARD:
        return lm_cortex_forward_messages(cortex, to, chunks);
    case LM_PHASE_INFERENCE:
        return lm_cortex_inference_messages(cortex, session->rule,
                                            session->settings->inference.steps, to, chunks);
    case LM_PHASE_EXACT:
        return session->settings->record.gradients
                   ? lm_cortex_inference_messages(cortex, session->backprop, 1, to, chunks)
                   : 0;
    default:
        return 0;
    }
}

static bool are_neighbours(const struct lm_session *session, int a, int b) {
    return a != b && (lm_placement_edges(&session->placement, session->network, a, b) > 0 ||
                      lm_placement_edges(&session->placement, session->network, b, a) > 0);
}

static bool check_neighbours(const struct lm_session *session, struct lm_status *status) {
    for (int to = 0; to < lm_comm_size(); to++)
        for (int phase = 0; phase < LM_PHASES; phase++)
            if (lm_traffic_messages((enum lm_phase)phase, to) > 0 &&
                !are_neighbours(session, lm_comm_rank(), to))
                return lm_fail(status, LM_INTERNAL,
                               "traffic: messages went to rank %d, which is no neighbour", to);
    if (lm_traffic_elsewhere() > 0)
        return lm_fail(status, LM_INTERNAL, "traffic: %" PRId64 " calls went past the links",
                       lm_traffic_elsewhere());
    return true;
}

static bool check_counts(const struct lm_session *session, long steps,
                         struct lm_status *status) {
    static const char *const names[] = {"feedforward", "inference", "exact"};
    for (int to = 0; to < lm_comm_size(); to++)
        for (int phase = 0; phase < LM_PHASE_EVALUATE; phase++) {
            int64_t found = lm_traffic_messages((enum lm_phase)phase, to);
            int64_t wanted = steps * expected(session, (enum lm_phase)phase, to);
            if (found != wanted)
                return lm_fail(status, LM_INTERNAL,
                               "traffic: %" PRId64 " %s messages went to rank %d: %" PRId64
                               " were expected",
                               found, names[phase], to, wanted);
        }
    return true;
}

bool lm_audit_check(const struct lm_session *session, long steps, struct lm_status *status) {
    return lm_comm_agree(
        check_counts(session, steps, status) && check_neighbours(session, status), status);
}

bool lm_audit_check_neighbours(const struct lm_session *session, struct lm_status *status) {
    return lm_comm_agree(check_neighbours(session, status), status);
}

const char *lm_audit_text(const struct lm_session *session, char *text, size_t size) {
    const struct lm_rule *rule = session->rule;
    long down = rule->sweeps ? 1 : session->settings->inference.steps;
    if (lm_comm_size() == 1)
        snprintf(text, size, "traffic: one rank, no messages");
    else
        snprintf(text, size,
                 "traffic: per link, chunk and training step %ld values up and %ld feedback "
                 "down during inference, 1 value up before it; %d chunks; counted underneath "
                 "MPI, all between neighbouring layers, none elsewhere",
                 rule->values_travel ? down : 0, down, chunks_of_batch(session));
    return text;
}

struct lm_run_traffic lm_audit_traffic(int phases, const struct lm_run_text *line) {
    size_t ranks = (size_t)lm_comm_size();
    int64_t *messages = lm_allocate(ranks, sizeof *messages);
    int64_t *bytes = lm_allocate(ranks, sizeof *bytes);
    for (int to = 0; to < lm_comm_size(); to++)
        for (int phase = 0; phase < phases; phase++) {
            messages[to] += lm_traffic_messages((enum lm_phase)phase, to);
            bytes[to] += lm_traffic_bytes((enum lm_phase)phase, to);
        }
    return (struct lm_run_traffic){messages, bytes, 1, line};
}

void lm_audit_clear(struct lm_run_traffic *traffic) {
    lm_free((void *)(uintptr_t)traffic->messages);
    lm_free((void *)(uintptr_t)traffic->bytes);
}
