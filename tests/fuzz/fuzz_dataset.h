/* What a reader of data sets promises, whatever the files hold. */
#ifndef LAMINA_FUZZ_DATASET_H
#define LAMINA_FUZZ_DATASET_H

#include "dataset.h"

/* Read the fuzz folder and check the result. */
void fuzz_dataset(const char *format, enum lm_split split, int want, size_t classes);

#endif
