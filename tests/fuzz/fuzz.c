#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];

void fuzz_broken(const char *file, int line, const char *promise) {
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
    abort();
}

static void abort_is_a_finding(int code) {
    fprintf(stderr, "lm_abort with code %d\n", code);
    abort();
}

static void remove_folder(void) {
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        if (entry->d_name[0] != '.')
            unlink(fuzz_path(entry->d_name));
    if (entries)
        closedir(entries);
    rmdir(folder);
}

void fuzz_start(void) {
    const char *top = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/lamina-fuzz-XXXXXX", top ? top : "/tmp");
    PROMISE(mkdtemp(folder));
    atexit(remove_folder);
    lm_abort_hook(abort_is_a_finding, NULL);
}

const char *fuzz_path(const char *name) {
    static char path[4][sizeof folder + 256];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

void fuzz_write(const char *path, const void *bytes, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    PROMISE(file >= 0);
    PROMISE(write(file, bytes, size) == (ssize_t)size);
    PROMISE(close(file) == 0);
}

void fuzz_check_failure(const struct lm_status *status, enum lm_code one, enum lm_code other) {
    PROMISE(status->code == one || status->code == other);
    PROMISE(status->message[0]);
    PROMISE(memchr(status->message, '\0', sizeof status->message));
    for (const char *c = status->message; *c; c++)
        PROMISE((unsigned char)*c >= ' ' && *c != 127);
}

uint8_t fuzz_byte(struct fuzz_input *input) {
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

unsigned fuzz_word(struct fuzz_input *input) {
    unsigned low = fuzz_byte(input);
    return low | (unsigned)fuzz_byte(input) << 8;
}
