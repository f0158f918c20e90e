#include "batch.h"

void lm_batch_take(struct lm_session *session, const struct lm_dataset *set,
                   const uint32_t *index, size_t n) {
    lm_cortex_set_batch(session->cortex, n);
    session->set = set;
    session->index = index;
}

static void load(void *context, int c) {
    const struct lm_session *session = context;
    const struct lm_cortex *cortex = session->cortex;
    size_t count = lm_cortex_count(cortex, c);
    lm_dataset_fill(session->set, count, session->index + lm_cortex_first(cortex, c),
                    lm_width(count), lm_cortex_input(cortex, c), lm_cortex_label(cortex, c));
}

static struct lm_passes forward_passes(struct lm_session *session, enum lm_phase phase) {
    return (struct lm_passes){
        .load = load, .context = session, .forward = true, .forward_phase = phase};
}

void lm_batch_forward(struct lm_session *session, enum lm_phase phase) {
    struct lm_passes passes = forward_passes(session, phase);
    lm_cortex_run(session->cortex, &passes);
}

void lm_batch_predict(struct lm_session *session) {
    struct lm_passes passes = forward_passes(session, LM_PHASE_EVALUATE);
    passes.forgets = true;
    lm_cortex_run(session->cortex, &passes);
}

void lm_batch_infer(struct lm_session *session, const struct lm_rule *rule,
                    const struct lm_inference *inference, long n, enum lm_phase phase) {
    lm_cortex_run(session->cortex, &(struct lm_passes){.rule = rule,
                                                       .inference = inference,
                                                       .steps = n,
                                                       .ends = true,
                                                       .infer_phase = phase});
}

static void exact(struct lm_session *session, double *seconds) {
    struct lm_inference inference = lm_session_inference(session, 1, session->batch);
    struct lm_passes passes = forward_passes(session, LM_PHASE_FORWARD);
    passes.rule = session->backprop;
    passes.inference = &inference;
    passes.steps = 1;
    passes.learn = passes.exact = true;
    passes.infer_phase = LM_PHASE_EXACT;
    passes.seconds = seconds;
    lm_cortex_run(session->cortex, &passes);
}

void lm_batch_exact(struct lm_session *session) {
    exact(session, NULL);
}

static void keep_energies(void *context, int c) {
    lm_session_keep_energies(context, c);
}

void lm_batch_train(struct lm_session *session, const struct lm_rule *rule,
                    const struct lm_inference *inference, long n,
                    const struct lm_batch_extras *extras) {
    struct lm_passes passes = {.context = session};
    if (extras->exact)
        exact(session, extras->seconds);
    else
        passes = forward_passes(session, LM_PHASE_FORWARD);
    passes.rule = rule;
    passes.inference = inference;
    passes.steps = n;
    passes.ends = passes.learn = passes.forgets = true;
    passes.done = extras->energy ? keep_energies : NULL;
    passes.infer_phase = LM_PHASE_INFERENCE;
    passes.seconds = extras->seconds;
    lm_cortex_run(session->cortex, &passes);
}

void lm_batch_step(struct lm_session *session, const struct lm_inference *inference,
                   bool first) {
    lm_cortex_run(session->cortex, &(struct lm_passes){.context = session,
                                                       .rule = session->rule,
                                                       .inference = inference,
                                                       .steps = 1,
                                                       .goes_on = !first,
                                                       .learn = true,
                                                       .done = keep_energies,
                                                       .infer_phase = LM_PHASE_EVALUATE});
}
