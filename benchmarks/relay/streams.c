/* Opens many concurrent SSE streams in one epoll loop on one core, and prints one line of JSON.
 *   ./streams PORT C ROUNDS N RAMP_MS LIMIT_MS CORE < request      (request: raw HTTP head + body, 127.0.0.1 only)
 * Starts C streams over RAMP_MS, each followed by ROUNDS-1 more, each on a new connection; stops after LIMIT_MS.
 * late: arrival time of a chunk minus the timestamp in it, which is the time that the gateway held the chunk.
 * ttft: time from the request to the first content chunk.  A complete stream has N timestamps, [DONE] and the last
 * HTTP chunk. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
struct stream { long long t0; int fd, rounds, stamps, done, usage, got, taillen; char tail[64]; };
static struct stream *by_fd[FDS];
static int port, N, ep, reqlen, live, completed, errors, broken, usage;
static char req[1 << 20], first_error[200];
static unsigned *late, *ttft, *total; static int nlate, nttft, ntotal, caplate;

static long long now_us(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}
static void note_error(const char *p, int n) {
    if (!*first_error) for (int i = 0; i < n && i < 160; i++) first_error[i] = p[i] < 32 || p[i] == '"' || p[i] == '\\' ? ' ' : p[i];
}
static void start(int rounds) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&a, sizeof a)) { note_error(strerror(errno), 40); errors++; close(fd); return; }
    struct stream *s = calloc(1, sizeof *s); s->fd = fd; s->rounds = rounds; s->t0 = now_us();
    if (send(fd, req, reqlen, MSG_NOSIGNAL) != reqlen) { note_error("short send", 10); errors++; close(fd); free(s); return; }
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e); by_fd[fd] = s; live++;
}
static void finish(struct stream *s, long long t) {
    if (s->done && s->stamps == N) { completed++; usage += s->usage; total[ntotal++] = t - s->t0; }
    else if (s->stamps) broken++;
    else errors++;
    int rounds = s->rounds;
    close(s->fd); by_fd[s->fd] = NULL; free(s); live--;
    if (rounds > 1) start(rounds - 1);
}
static void readable(struct stream *s) {
    static char buf[64 + (1 << 18)];
    memcpy(buf, s->tail, s->taillen);
    int n = recv(s->fd, buf + s->taillen, 1 << 18, MSG_DONTWAIT);
    long long t = now_us(), stamp;
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0 && !s->got && strncmp(buf, "HTTP/1.1 200", 12)) { note_error(buf, n); n = 0; }
    if (n <= 0) { finish(s, t); return; }
    s->got += n; n += s->taillen; buf[n] = 0;
    char *p = buf, *from = buf;                 /* from: end of the last timestamp; the tail starts there or later */
    while ((p = memchr(p, 'T', buf + n - p))) {
        int k = 1; for (stamp = 0; k < 14 && p[k] >= '0' && p[k] <= '9'; k++) stamp = stamp * 10 + p[k] - '0';
        if (k == 14) {
            if (!s->stamps++) ttft[nttft++] = t - s->t0;
            if (nlate < caplate) late[nlate++] = t > stamp ? t - stamp : 0;
            from = p + 14;
        }
        p += k;
    }
    if (strstr(buf, "prompt_tokens")) s->usage = 1;
    if (strstr(buf, "[DONE]")) s->done = 1;
    if (s->done && !memcmp(buf + n - 5, "0\r\n\r\n", 5)) { finish(s, t); return; }
    s->taillen = buf + n - from < 20 ? buf + n - from : 20;
    memcpy(s->tail, buf + n - s->taillen, s->taillen);
}
static int cmp(const void *a, const void *b) { unsigned x = *(unsigned *)a, y = *(unsigned *)b; return (x > y) - (x < y); }
static double pct(unsigned *v, int n, double p) { return n ? v[(int)(n * p) < n ? (int)(n * p) : n - 1] / 1e3 : -1; }

int main(int argc, char **argv) {
    if (argc < 8) return 2;
    port = atoi(argv[1]); N = atoi(argv[4]);
    int C = atoi(argv[2]), rounds = atoi(argv[3]), launched = 0, left = 0;
    long long ramp = atoi(argv[5]) * 1000LL, limit = atoi(argv[6]) * 1000LL;
    cpu_set_t set; CPU_ZERO(&set); CPU_SET(atoi(argv[7]), &set); sched_setaffinity(0, sizeof set, &set);
    struct rlimit rl = {FDS, FDS}; setrlimit(RLIMIT_NOFILE, &rl);
    reqlen = fread(req, 1, sizeof req, stdin); ep = epoll_create1(0);
    caplate = C * rounds * N; late = calloc(caplate + 1, 4); ttft = calloc(C * rounds + 1, 4); total = calloc(C * rounds + 1, 4);
    long long begin = now_us(), t;
    struct epoll_event ev[512];
    while ((t = now_us()) - begin < limit && (live || launched < C)) {
        while (launched < C && t - begin >= launched * ramp / C) { start(rounds); launched++; }
        int n = epoll_wait(ep, ev, 512, launched < C ? 1 : 50);
        for (int i = 0; i < n; i++) if (by_fd[ev[i].data.fd]) readable(by_fd[ev[i].data.fd]);
    }
    double secs = (now_us() - begin) / 1e6;
    for (int i = 0; i < FDS; i++) if (by_fd[i]) left += by_fd[i]->rounds;
    left += (C - launched) * rounds;
    qsort(late, nlate, 4, cmp); qsort(ttft, nttft, 4, cmp); qsort(total, ntotal, 4, cmp);
    printf("{\"type\":\"Streams\",\"completed\":%d,\"errors\":%d,\"broken\":%d,\"unfinished\":%d,\"usage\":%d,\"chunks\":%d,\"seconds\":%.3f,"
           "\"ttft_p50_ms\":%.2f,\"ttft_p99_ms\":%.2f,\"late_p50_ms\":%.2f,\"late_p99_ms\":%.2f,\"total_p50_ms\":%.1f,\"first_error\":\"%s\"}\n",
           completed, errors, broken, left, usage, nlate, secs, pct(ttft, nttft, .5), pct(ttft, nttft, .99), pct(late, nlate, .5),
           pct(late, nlate, .99), pct(total, ntotal, .5), first_error);
}
