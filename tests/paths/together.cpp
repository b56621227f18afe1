// together COUNT COMMAND...: COUNT processes that run the command at the same moment. First prints
// their ids in a line; then `ID STATUS` of each that ends, -SIGNAL if it was killed. None of them
// outlives it.
#include <cstdio>
#include <cstdlib>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
    int gate[2];
    if (argc < 3 || ::pipe(gate) != 0) return 1;
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int count = std::atoi(argv[1]);
    for (int i = 0; i < count; ++i) {
        const pid_t child = ::fork();
        if (child < 0) return 1;
        if (child > 0) {
            std::printf("%d%c", child, i + 1 < count ? ' ' : '\n');
            continue;
        }
        char byte;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::close(gate[1]);
        if (::read(gate[0], &byte, 1) != 0) ::_exit(99); // until nobody has the other end any more
        ::close(gate[0]);
        ::execv(argv[2], argv + 2);
        ::_exit(99);
    }
    std::fflush(stdout);
    ::close(gate[1]);
    int status;
    for (pid_t ended; (ended = ::wait(&status)) > 0; std::fflush(stdout))
        std::printf("%d %d\n", ended, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 0;
}
