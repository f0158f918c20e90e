#include "output.h"

#include "audit.h"
#include "checkpoint.h"
#include "checkpoints.h"
#include "comm.h"
#include "memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct lm_output {
    struct lm_session *session;
    struct lm_peers peers;
    struct lm_run_meta *meta;
    struct lm_records_plan plan;
    const char **names;
    bool *owned;
    int64_t *error_steps;
    struct lm_records *records;
    struct lm_run_file *file;
    struct lm_checkpoint_traffic before; /* of this run's predecessors */
    char line[512];                      /* what the user is told of the traffic */
    long first, written;                 /* steps done at the start, and in the run file */
    char *newest;                        /* checkpoint */
};

/* Settings in which a resumed run may differ from its checkpoint. */
static const char *const may_differ[] = {"data.path", "checkpoint", "placement", NULL};

/* --- the table of layers for checkpoints ---------------------------------------------------
 */

/* Without the arrays of this rank if it does not `take` them. */
static struct lm_checkpoint_layer *checkpoint_layers(const struct lm_session *session,
                                                     bool moments, bool take) {
    const struct lm_network *network = session->network;
    const struct lm_optimizer *optimizer = session->optimizer;
    struct lm_checkpoint_layer *layers = lm_allocate((size_t)network->n_layers, sizeof *layers);
    for (int l = 0; l < network->n_layers; l++) {
        struct lm_layer *layer = take ? lm_cortex_find(session->cortex, l) : NULL;
        layers[l].name = network->layers[l].name;
        layers[l].n_parameters = network->layers[l].map.parameters;
        layers[l].parameters = layer ? layer->parameters : NULL;
        layers[l].n_moments = moments ? optimizer->n_moments : 0;
        layers[l].moment_names = optimizer->moments;
        for (int m = 0; layer && m < layers[l].n_moments; m++)
            layers[l].moment[m] = layer->moment[m];
    }
    return layers;
}

/* Settings that say nothing of the layers of a network. */
static const char *const beside_layers[] = {"data",      "network.loss", "inference",
                                            "training",  "record",       "checkpoint",
                                            "gradients", "placement",    NULL};

/* Whether a checkpoint has our settings, but for those that are `ignored`. */
static bool has_settings(const struct lm_session *session, const char *path,
                         const char *const ignored[], struct lm_status *status) {
    char *settings = lm_checkpoint_settings(path, status);
    if (!settings)
        return false;
    bool same = lm_settings_same(lm_settings_text(session->file), settings, ignored, status);
    lm_free(settings);
    return same ||
           lm_fail_prefix(status, "%s: the settings differ from the checkpoint's: ", path);
}

bool lm_output_restore(struct lm_session *session, const char *path, long *steps,
                       struct lm_status *status) {
    if (!has_settings(session, path, beside_layers, status))
        return false;
    struct lm_checkpoint_layer *layers = checkpoint_layers(session, false, true);
    struct lm_checkpoint checkpoint = {.n_layers = session->network->n_layers,
                                       .layers = layers};
    bool good = (lm_comm_rank() != 0 || lm_checkpoint_verify(path, status)) &&
                lm_checkpoint_read(path, &checkpoint, status);
    *steps = (long)checkpoint.steps_done;
    lm_free(layers);
    return good;
}

/* --- what is there already ---------------------------------------------------------------- */

/* What rank 0 sees in the folder; ranks on other hosts may see it later. */
struct findings {
    bool exists, is_folder, is_file;
    int64_t step;
    char newest[4096]; /* empty: no checkpoint */
    struct lm_status status;
};

static struct findings look(const char *out) {
    struct findings found = {0};
    if (lm_comm_rank() == 0) {
        char *newest = lm_checkpoints_newest(out, &found.step, &found.status);
        if (newest)
            snprintf(found.newest, sizeof found.newest, "%s", newest);
        lm_free(newest);
        struct stat about;
        found.exists = stat(out, &about) == 0;
        found.is_folder = found.exists && S_ISDIR(about.st_mode);
        found.is_file = found.exists && S_ISREG(about.st_mode);
    }
    lm_comm_broadcast(&found, sizeof found, 0);
    return found;
}

bool lm_output_may_write(struct lm_session *session, bool checkpoints,
                         struct lm_status *status) {
    const struct lm_options *options = session->options;
    struct findings found = look(options->output);
    if (found.exists && !found.is_file)
        return lm_fail(status, LM_CANT_CREATE, "%s is %s: the name of a file is expected",
                       options->output, found.is_folder ? "a folder" : "no regular file");
    if (!lm_session_lock(session, options->output, status))
        return false;
    found = look(options->output);
    bool has_checkpoint = checkpoints && found.newest[0];
    if (checkpoints && found.status.code != LM_OK) {
        *status = found.status;
        return false;
    }
    if (options->force || options->resume || (!found.exists && !has_checkpoint))
        return true;
    return lm_fail(status, LM_CANT_CREATE, "%s exists: %s--force replaces it",
                   found.exists ? options->output : found.newest,
                   checkpoints ? "--resume goes on with it, " : "");
}

/* --- starting -------------------------------------------------------------------------------
 */

/* Error records are due at the start, every so many steps, and at the end. */
static void plan_errors(struct lm_output *output) {
    const struct lm_session *session = output->session;
    const struct lm_settings *settings = session->settings;
    long every = settings->record.errors.every, steps = session->steps;
    output->plan.n_inputs = settings->record.errors.inputs;
    if (settings->record.errors.inputs == 0)
        return;
    output->error_steps = lm_allocate((size_t)(steps / every + 2), sizeof(int64_t));
    for (long step = 0; step < steps; step += every)
        output->error_steps[output->plan.n_error_steps++] = step;
    output->error_steps[output->plan.n_error_steps++] = steps;
    output->plan.error_steps = output->error_steps;
}

static void make_records(struct lm_output *output) {
    const struct lm_session *session = output->session;
    size_t n = (size_t)session->network->n_layers;
    output->names = lm_allocate(n, sizeof *output->names);
    output->owned = lm_allocate(n, sizeof *output->owned);
    for (size_t l = 0; l < n; l++) {
        output->names[l] = session->network->layers[l].name;
        output->owned[l] =
            lm_session_leads(session) && lm_cortex_find(session->cortex, (int)l) != NULL;
    }
    output->plan = (struct lm_records_plan){.n_layers = (int)n,
                                            .layers = output->names,
                                            .owned = output->owned,
                                            .owns_output = lm_session_leads_output(session),
                                            .n_steps = session->steps};
    plan_errors(output);
    output->records = lm_records_create(&output->plan);
}

static void make_traffic(struct lm_output *output) {
    size_t ranks = (size_t)lm_comm_size();
    lm_audit_text(output->session, output->line, sizeof output->line);
    output->meta = lm_meta_create(output->session);
    output->before = (struct lm_checkpoint_traffic){
        .placement = output->meta->placement, .rank = lm_comm_rank(), .ranks = lm_comm_size()};
    for (int m = 0; m < LM_MATRICES; m++)
        output->before.row[m] = lm_allocate(ranks, sizeof(int64_t));
}

/* The traffic of training, with that of the runs that this one goes on with. Free with
 * lm_audit_clear. */
static struct lm_run_traffic all_traffic(const struct lm_output *output) {
    struct lm_run_traffic traffic = lm_audit_traffic(true);
    lm_audit_add(&traffic, output->before.row);
    return traffic;
}

static bool check_recorded_inputs(const struct lm_session *session, struct lm_status *status) {
    const struct lm_settings *settings = session->settings;
    bool train = strcmp(settings->record.errors.split, "train") == 0;
    const struct lm_dataset *set = train ? &session->train : &session->test;
    if ((size_t)settings->record.errors.inputs <= set->n)
        return true;
    lm_fail(status, LM_CONFIG, "%ld inputs of the %s split, which has only %zu",
            settings->record.errors.inputs, settings->record.errors.split, set->n);
    return lm_settings_blame(session->file, "record.errors.inputs", status);
}

static bool read_checkpoint(struct lm_output *output, const char *path,
                            struct lm_status *status) {
    struct lm_session *session = output->session;
    if (!has_settings(session, path, may_differ, status))
        return false;
    struct lm_checkpoint_layer *layers = checkpoint_layers(session, true, true);
    struct lm_checkpoint checkpoint = {.n_layers = session->network->n_layers,
                                       .layers = layers,
                                       .records = output->records,
                                       .traffic = &output->before,
                                       .data = &session->mark};
    bool good = lm_checkpoint_read(path, &checkpoint, status);
    lm_free(layers);
    output->first = (long)checkpoint.steps_done;
    if (good && checkpoint.build[0] && lm_comm_rank() == 0)
        fprintf(stderr,
                "lamina: warning: %s was written by another build (%s): the last bits may "
                "differ\n",
                path, checkpoint.build);
    return good;
}

static void warn(const char *message) {
    fprintf(stderr, "lamina: warning: %s; taking the checkpoint before it\n", message);
}

/* The newest sound checkpoint, as rank 0 sees it; NULL: none. */
static char *find_checkpoint(const char *out, struct lm_status *status) {
    char path[4096] = "";
    int64_t step;
    status->code = LM_OK;
    if (lm_comm_rank() == 0) {
        char *found = lm_checkpoints_newest_sound(out, &step, warn, status);
        if (found)
            snprintf(path, sizeof path, "%s", found);
        lm_free(found);
    }
    lm_comm_broadcast(path, sizeof path, 0);
    lm_comm_broadcast(status, sizeof *status, 0);
    return *path ? lm_copy_string(path) : NULL;
}

static bool resume(struct lm_output *output, bool exists, struct lm_status *status) {
    const struct lm_options *options = output->session->options;
    if (!options->resume)
        return true;
    output->newest = find_checkpoint(options->output, status);
    if (!output->newest && status->code == LM_OK && exists)
        return lm_fail(status, LM_CANT_CREATE,
                       "%s exists, and no checkpoint to go on from: --force replaces it",
                       options->output);
    if (!output->newest)
        return status->code == LM_OK;
    if (lm_comm_rank() == 0 && !options->quiet)
        fprintf(stderr, "resuming from %s\n", output->newest);
    return lm_comm_agree(read_checkpoint(output, output->newest, status), status);
}

/* Whatever ends the job says which checkpoint is left. */
static void note_newest(const struct lm_output *output) {
    char note[600];
    snprintf(note, sizeof note, "%s%s",
             output->newest ? "the last checkpoint is " : "no checkpoint was written",
             output->newest ? output->newest : "");
    lm_abort_note(note);
}

/* The checkpoints of a run that is replaced go when the new one has begun. */
static bool drop_checkpoints(const struct lm_output *output, struct lm_status *status) {
    const struct lm_options *options = output->session->options;
    return !options->force || lm_comm_agree(lm_comm_rank() != 0 || lm_checkpoints_remove_all(
                                                                       options->output, status),
                                            status);
}

static bool create_file(struct lm_output *output, struct lm_status *status) {
    output->meta->traffic = output->line;
    output->meta->first_step = output->before.first_step;
    output->file = lm_run_file_create(output->session->options->output, &output->peers,
                                      output->meta, output->records, status);
    if (!output->file)
        return false;
    struct lm_status ignored; /* the next flush returns a failure to all ranks */
    lm_run_file_write_steps(output->file, 0, output->first, &ignored);
    for (int k = 0; k < output->plan.n_error_steps; k++)
        if (output->first > 0 && output->error_steps[k] <= output->first)
            lm_run_file_write_errors(output->file, k, &ignored);
    output->written = output->first;
    return lm_run_file_flush(output->file, output->first, status);
}

struct lm_output *lm_output_create(struct lm_session *session, long *first,
                                   struct lm_status *status) {
    if (!lm_output_may_write(session, true, status) ||
        !lm_comm_agree(check_recorded_inputs(session, status), status))
        return NULL;
    struct lm_output *output = lm_allocate(1, sizeof *output);
    output->session = session;
    output->peers = lm_meta_peers();
    bool exists = look(session->options->output).exists;
    make_records(output);
    make_traffic(output);
    bool good = resume(output, exists, status);
    note_newest(output);
    if (good && exists && session->options->resume && output->first == session->steps) {
        if (lm_comm_rank() == 0 && !session->options->quiet)
            fprintf(stderr, "%s is complete: nothing to do\n", session->options->output);
    } else {
        good = good && create_file(output, status) && drop_checkpoints(output, status);
    }
    *first = output->first;
    if (good)
        return output;
    lm_output_destroy(output);
    return NULL;
}

/* --- running --------------------------------------------------------------------------------
 */

struct lm_records *lm_output_records(struct lm_output *output) {
    return output->file ? output->records : NULL;
}

void lm_output_write_errors(struct lm_output *output, int k) {
    struct lm_status ignored; /* the next flush returns a failure to all ranks */
    lm_run_file_write_errors(output->file, k, &ignored);
}

bool lm_output_flush(struct lm_output *output, long step, struct lm_status *status) {
    struct lm_status ignored; /* as above */
    lm_run_file_write_steps(output->file, output->written, step, &ignored);
    output->written = step;
    return lm_run_file_flush(output->file, step, status);
}

bool lm_output_checkpoint(struct lm_output *output, long step, struct lm_status *status) {
    const struct lm_session *session = output->session;
    const char *out = session->options->output;
    char *path = lm_checkpoints_path(out, step);
    struct lm_checkpoint_layer *layers =
        checkpoint_layers(session, true, lm_session_leads(session));
    struct lm_run_traffic sent = all_traffic(output);
    struct lm_checkpoint_traffic traffic = output->before;
    memcpy(traffic.row, sent.row, sizeof traffic.row);
    struct lm_checkpoint checkpoint = {.settings = lm_settings_text(session->file),
                                       .steps_done = step,
                                       .n_layers = session->network->n_layers,
                                       .layers = layers,
                                       .records = output->records,
                                       .traffic = &traffic,
                                       .data = &session->mark};
    bool good = lm_checkpoint_write(path, &output->peers, &checkpoint, status);
    lm_audit_clear(&sent);
    lm_free(layers);
    if (!good) {
        lm_free(path);
        return lm_fail_prefix(status, "%s%s; ",
                              output->newest ? "the last good checkpoint is "
                                             : "no checkpoint was written",
                              output->newest ? output->newest : "");
    }
    lm_free(output->newest);
    output->newest = path;
    note_newest(output);
    int keep = (int)session->settings->checkpoint.keep;
    return lm_comm_agree(lm_comm_rank() != 0 || lm_checkpoints_prune(out, step, keep, status),
                         status);
}

const char *lm_output_newest(const struct lm_output *output) {
    return output->newest;
}

/* What all ranks together have computed on each layer. */
static bool write_costs(struct lm_output *output, struct lm_status *status) {
    const struct lm_session *session = output->session;
    size_t n = (size_t)session->network->n_layers, ranks = (size_t)lm_comm_size();
    double *mine = lm_allocate(n, sizeof *mine), *all = lm_allocate(ranks * n, sizeof *all);
    for (int i = 0; i < lm_cortex_layers(session->cortex); i++) {
        const struct lm_layer *layer = lm_cortex_layer(session->cortex, i);
        mine[layer->index] = lm_layer_seconds(layer);
    }
    lm_comm_gather(mine, n, all);
    for (size_t i = n; i < ranks * n; i++)
        all[i % n] += all[i];
    bool good = lm_run_file_write_costs(output->file, all, status);
    lm_free(mine);
    lm_free(all);
    return good;
}

/* What was sent, and which files there are now. */
static void tell(const struct lm_output *output) {
    printf("%s\n%s\n", output->line, output->session->options->output);
    if (output->newest)
        printf("%s\n", output->newest);
    else
        fprintf(stderr, "the trained network was not kept, for checkpoint.every is 0\n");
}

bool lm_output_finish(struct lm_output *output, struct lm_status *status) {
    const struct lm_session *session = output->session;
    struct lm_run_traffic traffic = all_traffic(output);
    bool good = lm_audit_check(session, output->first, status) &&
                lm_run_file_write_traffic(output->file, &traffic, status) &&
                write_costs(output, status);
    lm_audit_clear(&traffic);
    if (!good)
        return false;
    good = lm_run_file_finish(output->file, session->steps, status);
    output->file = NULL;
    if (good && lm_comm_rank() == 0 && !session->options->quiet)
        tell(output);
    return good;
}

void lm_output_destroy(struct lm_output *output) {
    if (!output)
        return;
    lm_run_file_abandon(output->file);
    lm_records_destroy(output->records);
    lm_meta_destroy(output->meta);
    for (int m = 0; m < LM_MATRICES; m++)
        lm_free(output->before.row[m]);
    lm_abort_note(NULL);
    lm_free(output->names);
    lm_free(output->owned);
    lm_free(output->error_steps);
    lm_free(output->newest);
    lm_free(output);
}
