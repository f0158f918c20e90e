/* Leak: leaves a block of memory on the last rank, which LeakSanitizer must find beside all
 * that Open MPI leaves (leaks.supp). */
#include "comm.h"

#include <stdlib.h>
#include <string.h>

void forget_a_block(void);

__attribute__((noinline)) void forget_a_block(void) {
    char *volatile block = malloc(7);
    memset(block, 1, 7);
    block = NULL;
}

int main(void) {
    lm_comm_start();
    if (lm_comm_rank() == lm_comm_size() - 1)
        forget_a_block();
    lm_comm_finish();
    return 0;
}
