#include "timing.h"

#include "batch.h"
#include "comm.h"
#include "crowd.h"
#include "flops.h"
#include "memory.h"
#include "peak.h"
#include "run_file.h"

#include <string.h>

/* --- what is timed -------------------------------------------------------------------- */

static bool is_listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *word = list; word; word = strchr(word, ',')) {
        word += *word == ',';
        if (strncmp(word, name, length) == 0 && (word[length] == ',' || word[length] == '\0'))
            return true;
    }
    return false;
}

static int count_words(const char *list) {
    int n = 1;
    for (; *list; list++)
        n += *list == ',';
    return n;
}

int lm_methods_of(const struct lm_session *session, const char *list,
                  struct lm_method methods[LM_METHODS], struct lm_status *status) {
    const struct lm_settings *settings = session->settings;
    const char *state = settings->inference.state;
    struct lm_method all[LM_METHODS] = {
        {"strict", lm_rule_find("strict", state), 0.1, 20},
        {"fixed-prediction", lm_rule_find("fixed-prediction", state), 0.1, 20},
        {"exact", lm_rule_find("fixed-prediction", state), 1,
         lm_network_depth(session->network)},
        {"backprop", session->backprop, 1, 1}};
    int n = 0;
    for (int i = 0; i < LM_METHODS; i++) {
        struct lm_method *method = &all[i];
        if (i < 2 && method->rule == session->rule) {
            method->eta = settings->inference.step;
            method->n = settings->inference.steps;
        }
        bool again = i == 2 && method->eta == all[1].eta && method->n == all[1].n;
        if (list ? is_listed(list, method->name) : !again)
            methods[n++] = *method;
    }
    if (!list || n == count_words(list))
        return n;
    lm_fail(status, LM_USAGE,
            "--rules is '%s': a list of strict, fixed-prediction, exact and backprop with "
            "commas between is expected",
            list);
    return 0;
}

double lm_method_flops(const struct lm_session *session, const struct lm_method *method) {
    struct lm_inference inference = lm_session_inference(session, method->eta, session->batch);
    struct lm_flops flops = lm_flops_training(session->network, method->rule, method->eta,
                                              method->n, inference.presynaptic_value);
    return lm_flops_sum(&flops) * (double)session->batch;
}

/* --- training steps ---------------------------------------------------------------------- */

static void start_over(struct lm_session *session) {
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
        struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        lm_layer_init_parameters(layer, session->settings->training.seed);
        for (int m = 0; m < session->optimizer->n_moments; m++)
            memset(layer->moment[m], 0, layer->plan->map.parameters * sizeof *layer->moment[m]);
    }
}

static void train_step(struct lm_session *session, const struct lm_method *method, long step,
                       double seconds[LM_PARTS]) {
    const struct lm_settings *settings = session->settings;
    struct lm_inference inference = lm_session_inference(session, method->eta, session->batch);
    lm_batch_take(session, &session->train, lm_sampler_batch(session->train_sampler, step),
                  session->batch);
    lm_batch_train(session, method->rule, &inference, method->n,
                   &(struct lm_batch_extras){.seconds = seconds});
    double start = lm_run_clock();
    lm_cortex_update(session->cortex, step + 1, settings->training.rate,
                     settings->training.momentum);
    seconds[LM_PART_UPDATE] += lm_run_clock() - start;
}

/* Of each of n numbers the largest of all ranks. */
static void take_slowest(double seconds[LM_PARTS]) {
    int ranks = lm_comm_size();
    double *all = lm_allocate((size_t)(ranks * LM_PARTS), sizeof *all);
    lm_comm_gather(seconds, LM_PARTS, all);
    for (int i = 0; i < ranks * LM_PARTS; i++)
        if (all[i] > seconds[i % LM_PARTS])
            seconds[i % LM_PARTS] = all[i];
    lm_free(all);
}

void lm_time_training(struct lm_session *session, const struct lm_method *method, long k,
                      double seconds[LM_PARTS]) {
    memset(seconds, 0, LM_PARTS * sizeof *seconds);
    start_over(session);
    lm_sampler_batch(session->train_sampler, 0); /* an epoch's permutation takes its time */
    lm_comm_barrier();
    double start = lm_run_clock();
    for (long step = 0; step < k; step++)
        train_step(session, method, step, seconds);
    seconds[LM_PART_ALL] = lm_run_clock() - start;
    take_slowest(seconds);
    lm_session_check_finite(session, k - 1, "fewer --steps may help");
}

/* --- peak ------------------------------------------------------------------------------------
 */

int lm_node_processors(cpu_set_t *set) {
    CPU_ZERO(set);
    sched_getaffinity(0, sizeof *set, set);
    lm_comm_node_unite(set, sizeof *set);
    return CPU_COUNT(set);
}

double lm_time_peak(const struct lm_session *session, double seconds) {
    cpu_set_t set;
    int left = lm_node_processors(&set) - lm_crowd_seat() * session->threads;
    int threads = left < session->threads ? left : session->threads;
    lm_comm_rest();
    double rate = threads > 0 ? lm_peak_measure(threads, seconds) : 0, sum = 0;
    lm_comm_rest();
    double *all = lm_allocate((size_t)lm_comm_size(), sizeof *all);
    lm_comm_gather(&rate, 1, all);
    for (int r = 0; r < lm_comm_size(); r++)
        sum += all[r];
    lm_free(all);
    return sum;
}
