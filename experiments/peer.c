#include "peer.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct lm_peer {
    const char *option;
    char *name;
    pid_t process;
    FILE *to, *from;
    char *line; /* the last one read, by getline */
    size_t room;
};

/* --- starting --------------------------------------------------------------------------- */

static const char *python(void) {
    const char *chosen = getenv("LAMINA_PYTHON");
    return chosen && *chosen ? chosen : "/usr/bin/python3";
}

/* Our environment with `threads` for every library that asks. */
static char **make_environment(int threads) {
    static const char *const names[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                        "MKL_NUM_THREADS"};
    enum { NAMES = sizeof names / sizeof *names, TEXT = 64 };
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **made = lm_allocate(n + NAMES + 1, sizeof *made);
    for (size_t i = 0; i < n; i++)
        if (!strstr(environ[i], "_NUM_THREADS="))
            made[kept++] = lm_copy_string(environ[i]);
    for (int i = 0; i < NAMES; i++) {
        made[kept] = lm_allocate(TEXT, 1);
        snprintf(made[kept++], TEXT, "%s=%d", names[i], threads);
    }
    return made;
}

static void free_environment(char **made) {
    for (char **text = made; *text; text++)
        lm_free(*text);
    lm_free(made);
}

/* In the new process, which may call little else before it becomes another program. */
static _Noreturn void become(char *const arguments[], char *const environment[],
                             const cpu_set_t *where, int in, int out) {
    static const char words[] = "error it cannot be started\n";
    sched_setaffinity(0, sizeof *where, where);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execve(arguments[0], arguments, environment);
    if (write(STDOUT_FILENO, words, sizeof words - 1) < 0)
        _exit(126);
    _exit(127);
}

static bool start_process(struct lm_peer *peer, const struct lm_peer_plan *plan,
                          struct lm_status *status) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return lm_fail(status, LM_SYSTEM, "%s: no pipe: %s", plan->option, strerror(errno));
    char **environment = make_environment(plan->threads);
    char script[4096], *const arguments[] = {(char *)(uintptr_t)python(),
                                             (char *)(uintptr_t) "-B", script,
                                             (char *)(uintptr_t)plan->argument, NULL};
    snprintf(script, sizeof script, "%s/%s", LAMINA_PEERS, plan->script);
    peer->process = fork();
    if (peer->process == 0)
        become(arguments, environment, plan->where, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    free_environment(environment);
    peer->to = fdopen(to[1], "w");
    peer->from = fdopen(from[0], "r");
    if (peer->process < 0)
        return lm_fail(status, LM_SYSTEM, "%s: no process: %s", plan->option, strerror(errno));
    return true;
}

/* --- talking ---------------------------------------------------------------------------- */

/* The next line of the peer, without its end. */
static bool read_line(struct lm_peer *peer, struct lm_status *status) {
    ssize_t length = getline(&peer->line, &peer->room, peer->from);
    if (length <= 0)
        return lm_fail(status, LM_UNAVAILABLE, "%s: %s ended before it answered", peer->option,
                       python());
    peer->line[strcspn(peer->line, "\n")] = '\0';
    if (strncmp(peer->line, "error ", 6) == 0)
        return lm_fail(status, LM_UNAVAILABLE, "%s: %s: %s", peer->option, python(),
                       peer->line + 6);
    return true;
}

struct lm_peer *lm_peer_start(const struct lm_peer_plan *plan, struct lm_status *status) {
    struct lm_peer *peer = lm_allocate(1, sizeof *peer);
    peer->option = plan->option;
    signal(SIGPIPE, SIG_IGN); /* a peer that died is found when it does not answer */
    if (start_process(peer, plan, status)) {
        fprintf(peer->to, "%s...\n", plan->settings);
        fflush(peer->to);
        if (read_line(peer, status)) {
            bool ready = strncmp(peer->line, "ready ", 6) == 0;
            peer->name = lm_copy_string(peer->line + (ready ? 6 : 0));
            if (ready)
                return peer;
            lm_fail(status, LM_UNAVAILABLE, "%s: it said '%s': 'ready' was expected",
                    plan->option, peer->line);
        }
    }
    lm_peer_stop(peer);
    return NULL;
}

const char *lm_peer_name(const struct lm_peer *peer) {
    return peer->name;
}

bool lm_peer_time(struct lm_peer *peer, const struct lm_method *method, long k, double *seconds,
                  struct lm_status *status) {
    char *end;
    fprintf(peer->to, "%s %.17g %ld %ld\n", method->rule->name, method->eta, method->n, k);
    fflush(peer->to);
    if (!read_line(peer, status))
        return false;
    *seconds = strtod(peer->line, &end);
    return (end != peer->line && *end == '\0' && *seconds > 0) ||
           lm_fail(status, LM_UNAVAILABLE, "%s: it said '%s': seconds were expected",
                   peer->option, peer->line);
}

void lm_peer_stop(struct lm_peer *peer) {
    if (!peer)
        return;
    if (peer->to)
        fclose(peer->to);
    if (peer->from)
        fclose(peer->from);
    if (peer->process > 0)
        waitpid(peer->process, NULL, 0);
    free(peer->line);
    lm_free(peer->name);
    lm_free(peer);
}
