/* A fake OpenAI that is never the bottleneck, one epoll loop on one core.   ./upstream [PORT=18001] [CORE=1]
 *
 * POST any path -> a chat completion (663 B of JSON), or an SSE stream when the body says "stream": true.
 * The last message may contain "N=100 GAP=20 DELAY=0" (chunks, ms between them, ms before the answer); gateways
 * pass the text of messages on unchanged.  Every content chunk has a timestamp of its creation, "T" + 13 digits
 * (CLOCK_MONOTONIC, us), from which the client computes how long the gateway held it.
 * As with OpenAI, a stream has a usage chunk only if stream_options.include_usage is set. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ID "{\"id\":\"chatcmpl-BxR7aQ2nV0cW8mT3kLyZ1pJd5sUe\",\"object\":"
#define META "\"created\":1730000000,\"model\":\"gpt-6-luna-2026-09-15\","
#define USAGE "\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":100,\"total_tokens\":119," \
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0," \
    "\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}"
#define WHOLE ID "\"chat.completion\"," META "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":" \
    "\"The quick brown fox jumps over the lazy dog, and the dog does not mind. \",\"refusal\":null,\"annotations\":[]}," \
    "\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0ba0d124f1\"}"
#define MODELS "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-6-luna\",\"object\":\"model\",\"created\":1730000000,\"owned_by\":\"openai\"}]}"
#define CHUNK ID "\"chat.completion.chunk\"," META "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"T%013lld\"},\"finish_reason\":null}]}"
#define STOP ID "\"chat.completion.chunk\"," META "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"
#define LAST ID "\"chat.completion.chunk\"," META "\"choices\":[]," USAGE "}"
#define SSE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nx-request-id: req_0f3a\r\n" \
    "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"

#define FDS 65536
#define WHEEL 65536                             /* slots of 1 ms, so delays and gaps are below 65 s */
struct conn { char *in, *out; int inlen, incap, outlen, outcap, left, usage, head, whole; long long gap, due; int fd, next, open; };
static struct conn conns[FDS];
static int wheel[WHEEL], ep;                    /* wheel: slot -> first fd of a list through conn.next */
static long long tick;

static long long now_us(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}
static void watch(struct conn *c, int op, int ev) {
    struct epoll_event e = {.events = ev, .data.fd = c->fd}; epoll_ctl(ep, op, c->fd, &e);
}
static void drop(struct conn *c) {              /* with a pending timer, the fd is closed when it fires */
    c->open = 0; c->left = c->whole = c->inlen = c->outlen = 0;
    epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
    if (c->next == -1) close(c->fd); else shutdown(c->fd, SHUT_RDWR);
}
static void put(struct conn *c, const char *p, int n) {
    if (!c->outlen) {
        int w = send(c->fd, p, n, MSG_NOSIGNAL);
        if (w < 0 && errno != EAGAIN) { drop(c); return; }
        if (w > 0) p += w, n -= w;
        if (!n) return;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    if (c->outlen + n > c->outcap) c->out = realloc(c->out, c->outcap = 2 * (c->outlen + n));
    memcpy(c->out + c->outlen, p, n); c->outlen += n;
}
static void later(struct conn *c) {
    long long t = c->due / 1000 > tick ? c->due / 1000 : tick + 1;
    c->next = wheel[t % WHEEL]; wheel[t % WHEEL] = c->fd;
}
static int event(char *to, const char *text) {  /* one SSE event in one HTTP chunk */
    return sprintf(to, "%x\r\ndata: %s\n\n\r\n", (unsigned)strlen(text) + 8, text);
}
static int answer(char *to, const char *json) {
    return sprintf(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_0f3a\r\nContent-Length: %d\r\n\r\n%s",
                   (int)strlen(json), json);
}
static void step(struct conn *c) {              /* sends the next part of the response */
    static char buf[1 << 20], one[1024];
    int n = 0;
    if (c->whole) { c->whole = 0; put(c, buf, answer(buf, WHOLE)); return; }
    if (c->head) { n = sprintf(buf, SSE_HEAD); c->head = 0; }
    do {                                        /* GAP=0: all chunks in one write */
        sprintf(one, CHUNK, now_us()); n += event(buf + n, one);
    } while (--c->left > 0 && !c->gap && n < (int)sizeof buf - 4096);
    if (c->left <= 0) {
        n += event(buf + n, STOP);
        if (c->usage) n += event(buf + n, LAST);
        n += event(buf + n, "[DONE]"); n += sprintf(buf + n, "0\r\n\r\n");
    }
    put(c, buf, n);
    if (c->left > 0) { c->due += c->gap; later(c); }
}
static void request(struct conn *c, char *head, char *body) {
    static char buf[4096];
    int n = 100, gap = 20, delay = 0;
    char *plan = body;
    if (!strncmp(head, "get", 3)) { put(c, buf, answer(buf, MODELS)); return; }
    while ((plan = strstr(plan, "N=")) && sscanf(plan, "N=%d GAP=%d DELAY=%d", &n, &gap, &delay) != 3) plan += 2;
    int stream = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
    if (!stream && !delay) { put(c, buf, answer(buf, WHOLE)); return; }
    c->whole = !stream; c->head = 1; c->left = n; c->gap = gap * 1000LL; c->due = now_us() + delay * 1000LL;
    c->usage = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
    if (delay) later(c); else step(c);
}
static void readable(struct conn *c) {
    if (c->incap - c->inlen < 65536) c->in = realloc(c->in, c->incap += 131072);
    int got = recv(c->fd, c->in + c->inlen, c->incap - c->inlen - 1, 0);
    if (got <= 0) { if (!got || errno != EAGAIN) drop(c); return; }
    c->inlen += got;
    while (c->open) {
        c->in[c->inlen] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return;
        for (char *p = c->in; p < end; p++) if (*p >= 'A' && *p <= 'Z') *p |= 32;
        *end = 0;
        char *cl = strstr(c->in, "content-length:"), *e;
        int need = end + 4 - c->in;
        if (cl) need += atoi(cl + 15);
        else if (strstr(c->in, "chunked")) {
            if (!(e = strstr(end + 1, "\r\n0\r\n\r\n")) && !(e = strstr(end + 1, "\n0\r\n\r\n"))) { *end = '\r'; return; }
            need = strstr(e, "0\r\n\r\n") + 5 - c->in;
        }
        if (c->inlen < need) { *end = '\r'; return; }
        char keep = c->in[need]; c->in[need] = 0;
        request(c, c->in, end + 4);
        if (!c->open) return;
        c->in[need] = keep; c->inlen -= need;
        memmove(c->in, c->in + need, c->inlen + 1);
    }
}
int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 18001, one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event ev[512], le = {.events = EPOLLIN, .data.fd = ls};
    struct rlimit rl = {FDS, FDS};
    cpu_set_t set; CPU_ZERO(&set); CPU_SET(argc > 2 ? atoi(argv[2]) : 1, &set); sched_setaffinity(0, sizeof set, &set);
    setrlimit(RLIMIT_NOFILE, &rl); signal(SIGPIPE, SIG_IGN);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    ep = epoll_create1(0); epoll_ctl(ep, EPOLL_CTL_ADD, ls, &le);
    memset(wheel, -1, sizeof wheel); tick = now_us() / 1000;
    int busy = 0;                               /* a timer is set: wake up every ms */
    for (;;) {
        int n = epoll_wait(ep, ev, 512, busy ? 1 : 20);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd, s;
            struct conn *c = &conns[fd];
            if (fd == ls) {
                while ((s = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (s >= FDS) { close(s); continue; }
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    c = &conns[s]; c->fd = s; c->open = 1; c->next = -1;
                    c->inlen = c->outlen = c->left = c->whole = 0; watch(c, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            if (c->open && ev[i].events & EPOLLOUT && c->outlen) {
                int w = send(fd, c->out, c->outlen, MSG_NOSIGNAL);
                if (w < 0 && errno != EAGAIN) { drop(c); continue; }
                if (w > 0) { memmove(c->out, c->out + w, c->outlen - w); c->outlen -= w; }
                if (!c->outlen) watch(c, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (c->open && ev[i].events & ~EPOLLOUT) readable(c);
        }
        for (long long t = now_us() / 1000; tick < t;) {
            int fd = wheel[++tick % WHEEL], next; wheel[tick % WHEEL] = -1;
            for (; fd != -1; fd = next) {
                struct conn *c = &conns[fd];
                next = c->next; c->next = -1;
                if (!c->open) close(fd); else step(c);
            }
        }
        busy = 0;
        for (int k = 1; k <= 64 && !busy; k++) busy = wheel[(tick + k) % WHEEL] != -1;
    }
}
