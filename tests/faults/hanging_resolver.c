/* Preloaded into a process: names below hang.invalid are never resolved, as by a resolver whose servers do not answer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (node != NULL && strstr(node, "hang.invalid") != NULL) {
        dprintf(STDERR_FILENO, "%s is looked up\n", node);
        for (;;)
            sleep(3600);
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, result);
}
