/* Data: what a session learns from, and the order in which it does. */
#ifndef LAMINA_DATA_H
#define LAMINA_DATA_H

#include "session.h"

/* Read the data sets of the settings or, of a trained network, of the command line, of each
 * only what this rank uses, or make some up; and make the samplers, which say how many training
 * steps there are. LM_DATA if ranks see different data. Collective: on failure all ranks get
 * the same status. */
bool lm_data_make(struct lm_session *session, struct lm_status *status);

#endif
