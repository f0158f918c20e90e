/* Layer: the parameters of one layer and its state for every chunk of a batch.
 *
 * The symbols are those of Rosenbaum (2022): v value (belief), mu prediction, eps
 * error = mu - v, hat v the value of the feedforward pass, theta parameters. Whether
 * `value`, the state, holds v, the deviation v - hat v or eps is up to the rule (rule.h). */
#ifndef LAMINA_LAYER_H
#define LAMINA_LAYER_H

#include "network.h"
#include "optimizer.h"

#include <stdint.h>

/* Numbers that threads write lie so many bytes apart: they would wait for each other's lines,
 * which processors fetch in pairs. */
enum { LM_APART = 128 };

/* Where the state of one chunk is kept. */
struct lm_layer_home {
    real *activations, *tape, *value, *error;
};

/* One layer's state for one chunk. All arrays are (units, width) unless said
 * otherwise. Pointers to parents and children point into their layers when these live
 * on the same rank, else into the buffers of a link: set by the cortex, not owned. */
struct lm_layer_chunk {
    size_t count, width; /* inputs, and inputs with padding (tensor.h) */
    real *activations;   /* of the map at hat v (map.h) */
    real *tape;          /* of the map at hat v */
    real *forward;       /* hat v, within activations. Not owned */
    real *value;         /* v, v - hat v or eps. The output layer has none that is free */
    bool still;          /* the values below are at hat v as yet. Set by the cortex */
    bool fresh;          /* the state is 0, and not written as yet (lm_rule.begin). Likewise */
    bool over;           /* nobody reads the state behind the step under way. Likewise */
    bool stays;          /* until eps is read or made again the state stays as it is, so that
                            eps may be the state itself. Likewise */
    real *copy;          /* NULL, or where values that move are written too (relaxation.h); */
    bool streams;        /* and whether past the caches. Likewise */
    const real *error;   /* eps; at the output d loss / d mu. In own_error, but for a rule that
                            takes over the feedback of an only child as it is, or the state */
    real *own_error;     /* where eps is made */
    struct lm_layer_home home; /* where those above are, unless lm_layer_place moved them */
    real *prediction;          /* mu at the last errors; output layer only, else NULL */
    int *label;                /* (count) output layer only, else NULL */
    const real *parent_forward[LM_MAX_PARENTS]; /* hat v of each parent, or the input */
    const real *parent_value[LM_MAX_PARENTS];   /* NULL: the input, which is clamped */
    real *feedback[LM_MAX_PARENTS];             /* J^T eps for each parent; NULL: input */
    const struct lm_relaxation *relaxation; /* NULL; or feedback is not written, but moves the
                                               only parent's values. Not owned */
    const real **child_feedback;            /* (children) J^T eps of each child */
};

/* What threads have computed. */
struct lm_clock {
    double seconds;
    char apart[LM_APART - sizeof(double)];
};

struct lm_layer {
    const struct lm_plan *plan; /* not owned */
    int index;                  /* layer of the network */
    bool is_output;
    real *parameters;             /* (plan->map.parameters) operators in turn, each weights
                                     row-major then biases */
    real *prepared;               /* NULL, or (plan->map.prepared) weights as lm_map_prepare
                                     makes them of the parameters */
    bool is_prepared;             /* errors are pulled back from them. Set by lm_layer_expect */
    real *gradient;               /* of the rule in use, like parameters */
    real *exact;                  /* of backprop, for comparison; NULL until asked for */
    real *moment[LM_MAX_MOMENTS]; /* of the optimizer */
    struct lm_clock *clocks;      /* (LM_CLOCKS) of threads with so many numbers in turn */
    int n_chunks;                 /* capacity */
    struct lm_layer_chunk *chunks;
};

/* What one thread needs to work on one chunk of any layer of a rank. */
struct lm_scratch {
    real *activations, *tape; /* of the widest map */
    real *work;               /* of the map (map.h) */
    real *inputs;             /* all parents' values side by side */
    real *sum;                /* one layer's feedback */
};

/* A layer with room for a batch of `batch` inputs in chunks of `chunk`; parameters are
 * zero. Free with lm_layer_destroy. */
struct lm_layer *lm_layer_create(const struct lm_network *network, int index,
                                 const struct lm_optimizer *optimizer, size_t batch,
                                 size_t chunk);
void lm_layer_destroy(struct lm_layer *layer);

/* Say how many inputs chunk c holds now, before anything is done with it; sets its width and
 * the pointers that move with it, and takes it home. */
void lm_layer_set_count(struct lm_layer *layer, int c, size_t count);

/* Keep the state of chunk c at the home of chunk `place` from now on, where nothing of it is as
 * yet. Chunks that are under way one after the other and leave nothing behind find that in
 * cache. That of an output layer stays where it is: the outcome is read there. */
void lm_layer_place(struct lm_layer *layer, int c, int place);

/* Initial parameters as PyTorch's default, U(-1, 1) / sqrt(fan_in) for weights and biases,
 * from the counter-based generator keyed by seed, layer and element. */
void lm_layer_init_parameters(struct lm_layer *layer, uint64_t seed);

/* Say how many times an error of a chunk is going to be pulled back before the parameters
 * change. Decides whether that is done from prepared weights, and has room for them;
 * lm_layer_prepare comes before all else then. */
void lm_layer_expect(struct lm_layer *layer, double pulls);

/* Prepare the weights, where that is to be done. All threads of a parallel region call it, and
 * each does its part; which is done when all have met. Returns the seconds that its part took,
 * which lm_layer_seconds counts too. */
double lm_layer_prepare(struct lm_layer *layer);

/* The map of the layer at chunk c's hat v below. */
struct lm_map_run lm_layer_run(const struct lm_layer *layer, int c,
                               const struct lm_scratch *scratch);

/* hat v and the tape of chunk c from the parents' hat v. */
void lm_layer_forward(struct lm_layer *layer, int c, const struct lm_scratch *scratch);

/* One optimizer step number t = 1, 2, ... from layer->gradient. All threads of a parallel
 * region call it, and each does its part; which is done when the region ends. */
void lm_layer_update(struct lm_layer *layer, const struct lm_optimizer *optimizer, long t,
                     double rate, double momentum);

/* A thread of a parallel region has computed on the layer for so many seconds. Thread-safe. */
enum { LM_CLOCKS = 32 };
void lm_layer_spent(struct lm_layer *layer, double seconds);

/* What all threads have. */
double lm_layer_seconds(const struct lm_layer *layer);

/* Half the squared norm of eps over the inputs of chunk c: a hidden layer's energy. That of the
 * output layer is the loss. eps is that of a mean over the batch (lm_inference.batch). */
double lm_layer_energy(const struct lm_layer *layer, int c);

/* magnitude (count) = Euclidean norm of eps of each input of chunk c: under the loss of that
 * input alone, if that is what it was inferred under (lm_inference.batch = 1). */
void lm_layer_magnitudes(const struct lm_layer *layer, int c, double *magnitude);

/* Whether every number of an array is finite. */
bool lm_all_finite(size_t n, const real *array);

/* Scratch for the largest of `n` layers. Free with lm_scratch_clear. */
void lm_scratch_init(struct lm_scratch *scratch, int n, struct lm_layer *const layers[],
                     size_t width);
void lm_scratch_clear(struct lm_scratch *scratch);

/* Reals of a layer's prepared weights, if errors of chunks are pulled back so many times before
 * its parameters change; 0: they are not prepared. */
size_t lm_plan_prepared(const struct lm_plan *plan, double pulls);

/* Bytes that a thread needs to work on a chunk of `width` inputs of a layer: its scratch, and
 * what an operator allocates meanwhile. */
size_t lm_plan_bytes_per_thread(const struct lm_plan *plan, size_t width);

/* Bytes that one input of a batch needs in a layer: activations, tape, value, error, and
 * feedback for the parents. */
size_t lm_plan_bytes_per_input(const struct lm_plan *plan);

#endif
