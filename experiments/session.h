/* Session: what the subcommands that run a network share: settings, network, placement, data
 * and cortex, made together and checked by all ranks, and the passes over a batch. */
#ifndef LAMINA_SESSION_H
#define LAMINA_SESSION_H

#include "command.h"
#include "cortex.h"
#include "dataset.h"
#include "estimate.h"
#include "flops.h"
#include "lock.h"
#include "sampler.h"
#include "settings.h"

struct lm_session {
    const struct lm_options *options;
    char *checkpoint; /* where the settings come from; NULL: from a YAML file */
    struct lm_settings_file *file;
    const struct lm_settings *settings;
    struct lm_network *network;
    struct lm_placement placement;
    const struct lm_loss *loss;
    const struct lm_optimizer *optimizer;
    const struct lm_rule *rule;     /* of inference */
    const struct lm_rule *backprop; /* for exact gradients */
    int threads;
    struct lm_dataset train, test; /* of a trained network `test` is what --data and --split
                                      say, and there are no samplers */
    struct lm_data_mark mark;      /* of both */
    struct lm_sampler *train_sampler;
    struct lm_sampler *test_sampler; /* NULL when test batches are not recorded */
    size_t batch;
    const struct lm_dataset *set; /* of the batch that was taken, not owned */
    const uint32_t *index;        /* likewise */
    long steps;                   /* training steps in all */
    struct lm_lock *lock;         /* of the output, NULL: not taken */
    struct lm_cortex *cortex;
    double *energy; /* (layers of this rank, chunks of the batch) lm_session_keep_energies */
};

/* Operations per input of a training step of the settings, of each layer (layers); free with
 * lm_free. */
struct lm_flops *lm_session_flops(const struct lm_settings *settings,
                                  const struct lm_network *network);

/* A training step of the settings. `cost` (layers) is filled in and becomes the workload's:
 * operations per input, or the shares of their sum that placement.costs says. */
struct lm_workload lm_session_workload(const struct lm_settings *settings,
                                       const struct lm_network *network, double cost[]);

/* The placement of the settings on n_ranks ranks. */
bool lm_session_placement(struct lm_placement *placement, const struct lm_settings_file *file,
                          const struct lm_network *network, int n_ranks,
                          struct lm_status *status);

/* Make everything, with initial parameters (lm_output_restore takes those of a checkpoint).
 * Collective: on failure all ranks get the same status. Free with lm_session_clear, also after
 * a failure. */
bool lm_session_init(struct lm_session *session, const struct lm_options *options,
                     struct lm_status *status);
void lm_session_clear(struct lm_session *session);

/* Inference of the settings: with step size eta, and the loss a mean over `batch` inputs. */
struct lm_inference lm_session_inference(const struct lm_session *session, double eta,
                                         size_t batch);

/* Whether training step `step` (from 0) compares its updates with the exact gradient. */
bool lm_session_compares(const struct lm_session *session, long step);

/* --- records: on the first replica, of the whole batch. Replicas. --- */

/* Whether this rank is of the first replica, which writes files and speaks to the user; and
 * whether it has the output layer too. Local. */
bool lm_session_leads(const struct lm_session *session);
bool lm_session_leads_output(const struct lm_session *session);

/* lm_cortex_outcome under the loss of the session. */
void lm_session_outcome(const struct lm_session *session, double *losses, int *predictions,
                        int *labels);

/* Mean loss and accuracy of the batch; NaN unless leads_output. */
void lm_session_score(const struct lm_session *session, double *loss, double *accuracy);

/* Keep what chunk c, whose inference is done, has part in the energies of this rank's layers.
 * Thread-safe for different chunks. */
void lm_session_keep_energies(const struct lm_session *session, int c);

/* Energy of layer i of this rank, of which that was kept of all chunks: half the squared norm
 * of its errors, summed over the batch; of the output layer the batch's mean loss at its last
 * prediction. */
double lm_session_energy(const struct lm_session *session, int i);

/* Norm of the error of every input of the batch, magnitude (batch). */
void lm_session_magnitudes(const struct lm_session *session, const struct lm_layer *layer,
                           double *magnitude);

/* Make this the only run that writes an output, until lm_session_clear; LM_CANT_CREATE when
 * another does. Collective. */
bool lm_session_lock(struct lm_session *session, const char *output, struct lm_status *status);

/* End the job if a gradient of this rank is not finite, naming layer and step; `last` says
 * what is left or may help, NULL: nothing. */
void lm_session_check_finite(const struct lm_session *session, long step, const char *last);

/* End the job if a parameter of this rank is not finite after `steps` training steps: where
 * they are kept, since of the last ones no gradient tells. */
void lm_session_check_parameters(const struct lm_session *session, long steps);

/* The run of a subcommand: read the command line, start MPI, make the session, call `work` on
 * all ranks, print the failure, clear. Returns the exit code. */
int lm_session_run(int argc, char **argv, int takes, const struct lm_command *command,
                   const char *details,
                   bool (*work)(struct lm_session *session, struct lm_status *status));

#endif
