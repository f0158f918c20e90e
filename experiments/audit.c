#include "audit.h"

#include "comm.h"
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>

static int chunks_of_batch(const struct lm_session *session) {
    size_t chunk = lm_settings_chunk(session->settings);
    return (int)((session->batch + chunk - 1) / chunk);
}

/* Which ranks the messages of a phase may go to, and whether their number is known. */
static const struct {
    const char *name;
    bool within, exact; /* within a layer, else between neighbouring layers */
} phases[LM_PHASES] = {
    [LM_PHASE_FORWARD] = {"feedforward", false, true},
    [LM_PHASE_INFERENCE] = {"inference", false, true},
    [LM_PHASE_EXACT] = {"exact", false, true},
    [LM_PHASE_EVALUATE] = {"evaluation", false, false},
    [LM_PHASE_SUM] = {"sum", true, true},
    [LM_PHASE_RECORD] = {"record", true, false},
};

/* What this rank must have sent to rank `to` in the training steps from `first` on. */
static int64_t expected(const struct lm_session *session, enum lm_phase phase, int to,
                        long first) {
    int chunks = chunks_of_batch(session);
    const struct lm_cortex *cortex = session->cortex;
    const struct lm_settings *settings = session->settings;
    long steps = session->steps - first, every = settings->record.gradients_every;
    long compared = settings->record.gradients ? session->steps / every - first / every : 0;
    switch (phase) {
    case LM_PHASE_FORWARD:
        return steps * lm_cortex_forward_messages(cortex, to, chunks);
    case LM_PHASE_INFERENCE:
        return steps * lm_cortex_inference_messages(cortex, session->rule,
                                                    settings->inference.steps, to, chunks);
    case LM_PHASE_EXACT:
        return compared *
               lm_cortex_inference_messages(cortex, session->backprop, 1, to, chunks);
    case LM_PHASE_SUM:
        return (steps + compared) * lm_cortex_sum_messages(cortex, to, chunks);
    default:
        return 0;
    }
}

static bool may_send(const struct lm_session *session, enum lm_phase phase, int to) {
    const struct lm_placement *placement = &session->placement;
    int rank = lm_comm_rank();
    if (phases[phase].within)
        return lm_placement_are_replicas(placement, rank, to);
    return to != rank && (lm_placement_edges(placement, session->network, rank, to) > 0 ||
                          lm_placement_edges(placement, session->network, to, rank) > 0);
}

static bool check_neighbours(const struct lm_session *session, struct lm_status *status) {
    for (int to = 0; to < lm_comm_size(); to++)
        for (int phase = 0; phase < LM_PHASES; phase++)
            if (lm_traffic_messages((enum lm_phase)phase, to) > 0 &&
                !may_send(session, (enum lm_phase)phase, to))
                return lm_fail(
                    status, LM_INTERNAL, "traffic: %s messages went to rank %d, which is no %s",
                    phases[phase].name, to,
                    phases[phase].within ? "replica of the same layers" : "neighbour");
    if (lm_traffic_elsewhere() > 0)
        return lm_fail(status, LM_INTERNAL, "traffic: %" PRId64 " calls went past the links",
                       lm_traffic_elsewhere());
    return true;
}

static bool check_counts(const struct lm_session *session, long first,
                         struct lm_status *status) {
    for (int to = 0; to < lm_comm_size(); to++)
        for (int phase = 0; phase < LM_PHASES; phase++) {
            int64_t found = lm_traffic_messages((enum lm_phase)phase, to);
            int64_t wanted = expected(session, (enum lm_phase)phase, to, first);
            if (phases[phase].exact && found != wanted)
                return lm_fail(status, LM_INTERNAL,
                               "traffic: %" PRId64 " %s messages went to rank %d: %" PRId64
                               " were expected",
                               found, phases[phase].name, to, wanted);
        }
    return true;
}

bool lm_audit_check(const struct lm_session *session, long first, struct lm_status *status) {
    return lm_comm_agree(
        check_counts(session, first, status) && check_neighbours(session, status), status);
}

bool lm_audit_check_neighbours(const struct lm_session *session, struct lm_status *status) {
    return lm_comm_agree(check_neighbours(session, status), status);
}

const char *lm_audit_text(const struct lm_session *session, char *text, size_t size) {
    const struct lm_rule *rule = session->rule;
    long down = rule->sweeps ? 1 : session->settings->inference.steps;
    int replicas = session->placement.n_replicas;
    if (lm_comm_size() == 1)
        snprintf(text, size, "traffic: one rank, no messages");
    else
        snprintf(text, size,
                 "traffic: per link, chunk and training step %ld values up and %ld feedback "
                 "down during inference, 1 value up before it%s; %d chunks; %scounted "
                 "underneath MPI, all between neighbouring layers%s, none elsewhere",
                 rule->values_travel ? down : 0, down,
                 session->settings->record.gradients
                     ? ", 1 feedback down for each exact gradient recorded"
                     : "",
                 chunks_of_batch(session),
                 replicas > 1 ? "updates summed by the replicas of each layer; " : "",
                 replicas > 1 ? " or within a layer" : "");
    return text;
}

struct lm_run_traffic lm_audit_traffic(bool trains) {
    static const struct lm_run_text summary = {
        "summary",
        "counted underneath MPI, all between neighbouring layers or replicas of one, "
        "none elsewhere"};
    size_t ranks = (size_t)lm_comm_size();
    struct lm_run_traffic traffic = {.n_texts = trains ? 0 : 1, .texts = &summary};
    for (int m = 0; m < LM_MATRICES; m++)
        traffic.row[m] = lm_allocate(ranks, sizeof *traffic.row[m]);
    for (int phase = 0; phase < LM_PHASES; phase++) {
        bool within = phases[phase].within;
        for (int to = 0; to < lm_comm_size() && !(trains && phase == LM_PHASE_EVALUATE); to++) {
            traffic.row[within ? LM_MATRIX_WITHIN_MESSAGES : LM_MATRIX_MESSAGES][to] +=
                lm_traffic_messages((enum lm_phase)phase, to);
            traffic.row[within ? LM_MATRIX_WITHIN_BYTES : LM_MATRIX_BYTES][to] +=
                lm_traffic_bytes((enum lm_phase)phase, to);
        }
    }
    return traffic;
}

void lm_audit_add(struct lm_run_traffic *traffic, int64_t *const row[LM_MATRICES]) {
    for (int m = 0; m < LM_MATRICES; m++)
        for (int to = 0; to < lm_comm_size(); to++)
            traffic->row[m][to] += row[m][to];
}

void lm_audit_clear(struct lm_run_traffic *traffic) {
    for (int m = 0; m < LM_MATRICES; m++)
        lm_free(traffic->row[m]);
}
