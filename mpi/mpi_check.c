#include "mpi_check.h"

#include "status.h"

void lm_mpi_check(int result, const char *call, const char *file, int line) {
    if (result == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    PMPI_Error_string(result, text, &length);
    lm_abort(LM_SYSTEM, "%s:%d: %s: %s", file, line, call, text);
}
