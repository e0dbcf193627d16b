/* A complete Tessera device: docs/device.md in C. The sections (§) in the comments are those of that page.
 *
 *     apt install gcc libmosquitto-dev libssl-dev
 *     cc -O2 -Wall -o device device.c -lmosquitto -lssl -lcrypto
 *     ./device --http https://tessera.example:8443 --mqtt mqtts://broker.example:8883 \
 *         --cafile ca.pem --device d-17 --claim CODE --dir d-17
 *
 * It enrols when --dir holds no token yet, publishes on d/ID/telemetry and prints what comes on d/ID/cmd. It keeps its
 * key and its token in --dir and needs the claim code once. It ends when it is refused for good, with exit status 3. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mosquitto.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Labels of the messages (§2, §6, §7). */
enum { TOKEN = 1, REQ_CNF = 4, CLIENT_ID = 24, WORDS = 31, GRANT = 33, TOKEN_TYPE = 34, CNONCE = 39, TENANT = -65540,
       IAT = -65541, NONCE = -65542, SIGNATURE = -65543, SERVER_TIME = -65544, CODE = -65545, CLAIM = -65547 };
enum { ANSWER_WITHIN = 10, LONGEST_WAIT = 60, STEADY = 10 }; /* seconds; a connection of STEADY counts as a good one */
enum { LARGEST_NONCE = 64 }; /* bytes */
enum { NOW_OK, LATER }; /* how a try ends; one that is refused for good ends the program */

typedef unsigned char u8;
typedef struct { u8 b[6144]; size_t n; } Out;       /* bytes that are written */
typedef struct { const u8 *p, *end; } In;           /* bytes that are read; empty: not there */

static const char *http_url, *mqtt_url, *device, *tenant = "default", *claim, *dir = ".", *cafile, *verifier;
static double every = 10;
static EVP_PKEY *key;
static u8 public_key[32], thumbprint[32], token[4096];
static size_t token_n;
static uint64_t issued, expires, counter;
static char audience[65];
static double refresh_at, clock_set; /* clock_set: time by the token, less monotonic time; 0 when no token set it */
static int token_is_suspect;

static void say(const char *form, ...) {
    va_list words;
    va_start(words, form), vprintf(form, words), va_end(words);
    putchar('\n'), fflush(stdout);
}
static void fail(const char *what, const char *why) { fprintf(stderr, "%s: %s\n", what, why), exit(1); }
static double monotonic(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static double between(double low, double high) { uint32_t r; RAND_bytes((u8 *)&r, 4); return low + (high - low) * r / UINT32_MAX; }

/* ---- CBOR: a few fixed shapes are all that is needed (§1) ---- */
static void add(Out *o, const void *data, size_t n) {
    if (n > sizeof o->b - o->n) fail("message", "too large");
    memcpy(o->b + o->n, data, n), o->n += n;
}
static void head(Out *o, int major, uint64_t n) {
    int size = n < 24 ? 0 : n <= 0xff ? 1 : n <= 0xffff ? 2 : n <= 0xffffffff ? 4 : 8;
    u8 b[9] = { major << 5 | (!size ? (int)n : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27) };
    for (int i = 0; i < size; i++) b[1 + i] = n >> 8 * (size - 1 - i);
    add(o, b, 1 + size);
}
static void number(Out *o, int64_t n) { n < 0 ? head(o, 1, -1 - n) : head(o, 0, n); }
static void bytes(Out *o, const void *data, size_t n) { head(o, 2, n), add(o, data, n); }
static void text(Out *o, const char *s) { head(o, 3, strlen(s)), add(o, s, strlen(s)); }

static int read_head(In *in, int *major, uint64_t *n) {
    if (in->p >= in->end) return 0;
    *major = *in->p >> 5, *n = *in->p++ & 31;
    if (*n > 27) return 0;
    if (*n >= 24) {
        int size = 1 << (*n - 24);
        if (in->end - in->p < size) return 0;
        for (*n = 0; size--; ) *n = *n << 8 | *in->p++;
    }
    return (*major != 2 && *major != 3) || *n <= (uint64_t)(in->end - in->p);
}
static int skip(In *in, int depth) {
    int major; uint64_t n;
    if (depth > 8 || !read_head(in, &major, &n)) return 0;
    if (major == 2 || major == 3) in->p += n;
    if (major == 6) return skip(in, depth + 1);
    if (major == 4 || major == 5)
        for (n *= major == 5 ? 2 : 1; n--; ) if (!skip(in, depth + 1)) return 0;
    return 1;
}
/* The value of a label in a map. */
static In member(In map, int64_t label) {
    int major; uint64_t pairs, n;
    if (!read_head(&map, &major, &pairs) || major != 5) return (In){0};
    while (pairs--) {
        In k = map, v;
        if (!skip(&map, 0)) break;
        v = map;
        if (!skip(&map, 0)) break;
        if (read_head(&k, &major, &n) && (int64_t)n == (label < 0 ? -1 - label : label) && major == (label < 0))
            return (In){ v.p, map.p };
    }
    return (In){0};
}
/* The bytes of a byte string (2) or text (3). */
static In content(In item, int wanted) {
    int major; uint64_t n;
    return read_head(&item, &major, &n) && major == wanted ? (In){ item.p, item.p + n } : (In){0};
}
static uint64_t value(In item) { int major; uint64_t n; return read_head(&item, &major, &n) && major == 0 ? n : 0; }
/* The nonce of an answer; empty when there is none that may be signed. */
static In nonce_of(In answer) {
    In nonce = content(member(answer, CNONCE), 2);
    return nonce.p && nonce.end > nonce.p && nonce.end - nonce.p <= LARGEST_NONCE ? nonce : (In){0};
}
static int words(In item, char *to, size_t room) {
    In t = content(item, 3);
    return snprintf(to, room, "%.*s", (int)(t.end - t.p), t.p ? (const char *)t.p : "");
}

/* ---- §1 What a device keeps ---- */
static char *file(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
/* Durable and for the owner alone, before anything rests on it; never half a file. */
static void keep(const char *name, const void *data, size_t n) {
    char *new = strdup(file("new"));
    int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n || fsync(fd) || close(fd) || rename(new, file(name)))
        fail(file(name), strerror(errno));
    if ((fd = open(dir, O_RDONLY)) < 0 || fsync(fd)) fail(dir, strerror(errno));
    close(fd), free(new);
}
static size_t load(const char *name, void *to, size_t room) {
    int fd = open(file(name), O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, to, room);
    if (fd >= 0) close(fd);
    return n < 0 ? 0 : n;
}
static void key_or_new(void) {
    u8 seed[32]; char hex[65]; struct stat found; size_t n = 32;
    if (access(file("device.key"), F_OK)) {
        if (RAND_bytes(seed, 32) != 1) fail("key", "no randomness");
        for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", seed[i]);
        keep("device.key", hex, 64);
    }
    if (stat(file("device.key"), &found) || found.st_mode & 077) fail(file("device.key"), "others can read the key: chmod 600");
    if (load("device.key", hex, 64) != 64) fail(file("device.key"), "not 32 bytes as hexadecimal");
    for (int i = 0; i < 32; i++) if (sscanf(hex + 2 * i, "%2hhx", &seed[i]) != 1) fail(file("device.key"), "not hexadecimal");
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    OPENSSL_cleanse(seed, 32), OPENSSL_cleanse(hex, 64);
    EVP_PKEY_get_raw_public_key(key, public_key, &n);
}
static void cose_key(Out *o) {
    head(o, 5, 3), number(o, 1), number(o, 1), number(o, -1), number(o, 6), number(o, -2), bytes(o, public_key, 32);
}
static void sign(const Out *o, u8 signature[64]) {
    EVP_MD_CTX *c = EVP_MD_CTX_new(); size_t n = 64;
    if (!c || EVP_DigestSignInit(c, NULL, NULL, NULL, key) != 1 || EVP_DigestSign(c, signature, &n, o->b, o->n) != 1)
        fail("signature", "OpenSSL failed");
    EVP_MD_CTX_free(c);
}

/* ---- §3 Token, §5 Clock and counter ---- */
static int hold(const u8 *data, size_t n) {
    In in = { data, data + n }, claims;
    int major; uint64_t x, iat, exp; char name[sizeof audience];
    if (n > sizeof token || !read_head(&in, &major, &x) || !read_head(&in, &major, &x) || !read_head(&in, &major, &x)) return 0;
    if (major != 4 || x != 4 || !skip(&in, 0) || !skip(&in, 0)) return 0;
    claims = content(in, 2);
    iat = value(member(claims, 6)), exp = value(member(claims, 4));
    if (!iat || exp <= iat || exp > UINT32_MAX) return 0; /* a proof has 32 bits for the time */
    if (words(member(claims, 3), name, sizeof name) <= 0) return 0;
    strcpy(audience, name), issued = iat, expires = exp;
    refresh_at = issued + ((double)expires - issued) * between(0.65, 0.75);
    memmove(token, data, n), token_n = n;
    return 1;
}
/* A new token. Its iat sets the clock for connect proofs; server_time counts as far as iat bears it out. */
static int take(In answer) {
    In t = content(member(answer, TOKEN), 2);
    uint64_t now = value(member(answer, SERVER_TIME));
    if (!t.p || !hold(t.p, t.end - t.p)) return 0;
    now = now < issued ? issued : now > issued + 60 ? issued + 60 : now;
    clock_set = now - monotonic();
    if (llabs((long long)now - time(NULL)) > 60)
        say("clock: this machine's is wrong by %lld s; the token's is used", (long long)time(NULL) - (long long)now);
    keep("token", token, token_n);
    token_is_suspect = 0;
    return 1;
}
static uint64_t now(void) { /* a kept token: never before its iat; 32 bits */
    uint64_t t = clock_set != 0 ? (uint64_t)(clock_set + monotonic()) : (uint64_t)time(NULL);
    if (clock_set == 0 && t < issued) t = issued;
    return t < UINT32_MAX ? t : UINT32_MAX;
}

/* ---- §4 Password: for one CONNECT alone; as text, because libmosquitto takes no zero bytes ---- */
static void password(char *to) {
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    Out o = {0}, p = {0}; u8 hash[32], proof[72]; uint64_t t = now();
    counter = counter + 1 > t && counter < UINT32_MAX ? counter + 1 : t; /* §5: needs no flash */
    SHA256(token, token_n, hash);
    head(&o, 4, 6), text(&o, "tessera-connect-1"), text(&o, verifier ? verifier : audience), text(&o, device);
    bytes(&o, hash, 32), number(&o, t), number(&o, counter);
    for (int i = 0; i < 4; i++) proof[i] = t >> (24 - 8 * i), proof[4 + i] = counter >> (24 - 8 * i);
    sign(&o, proof + 8);
    add(&p, token, token_n), bytes(&p, proof, 72);
    memset(p.b + p.n, 0, 2);
    for (size_t i = 0; i < p.n; i += 3) {
        unsigned three = p.b[i] << 16 | p.b[i + 1] << 8 | p.b[i + 2];
        for (size_t j = 0; j < 4 && i + j <= p.n; j++) *to++ = abc[three >> (18 - 6 * j) & 63];
    }
    *to = 0;
}

/* ---- HTTP(S): one request a connection, and one deadline from connect to the last byte (§7) ---- */
static void address(const char *url, const char *secure, char host[256], char port[8], int *tls) {
    const char *rest = strstr(url, "://"), *colon;
    if (!rest || !(colon = strrchr(rest + 3, ':')) || colon - rest - 3 > 255) fail(url, "not scheme://host:port");
    *tls = !strncmp(url, secure, rest - url) && (size_t)(rest - url) == strlen(secure);
    snprintf(host, 256, "%.*s", (int)(colon - rest - 3), rest + 3);
    snprintf(port, 8, "%d", atoi(colon + 1));
}
/* Whether the socket is ready before the time is over. */
static int ready(int fd, short what, double until) {
    double left = until - monotonic();
    return left > 0 && poll(&(struct pollfd){ fd, what, 0 }, 1, (int)(left * 1000) + 1) > 0;
}
enum { SHAKE, SEND, RECEIVE };
/* One step over TLS or in clear: what it did, or 0 when the line or the time is over. */
static int step(int act, SSL *ssl, int fd, u8 *data, int n, double until) {
    while (monotonic() < until) {
        ERR_clear_error();
        ssize_t done = ssl ? act == SHAKE ? SSL_connect(ssl) : act == SEND ? SSL_write(ssl, data, n) : SSL_read(ssl, data, n)
                           : act == SEND ? send(fd, data, n, MSG_NOSIGNAL) : recv(fd, data, n, 0);
        if (done > 0) return done;
        int why = ssl ? SSL_get_error(ssl, done) : done == 0 || errno != EAGAIN ? SSL_ERROR_SYSCALL
                      : act == SEND ? SSL_ERROR_WANT_WRITE : SSL_ERROR_WANT_READ;
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return 0;
        if (!ready(fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until)) return 0;
    }
    return 0;
}
/* A connection to one of the addresses, or -1. */
static int reach(struct addrinfo *at, double until) {
    for (; at; at = at->ai_next) {
        int error = 0, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        if (!connect(fd, at->ai_addr, at->ai_addrlen)) return fd;
        if (errno == EINPROGRESS && ready(fd, POLLOUT, until)
            && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){ sizeof error }) && !error) return fd;
        errno = error ? error : errno == EINPROGRESS ? ETIMEDOUT : errno;
        error = errno, close(fd), errno = error;
    }
    return -1;
}
/* Whether the answer is there as a whole: a proxy may keep the connection open behind it. */
static int is_whole(const Out *all) {
    const char *head = (const char *)all->b, *end = strstr(head, "\r\n\r\n"), *length = strcasestr(head, "\r\ncontent-length:");
    return end && length && length < end && all->b + all->n >= (const u8 *)end + 4 + strtoul(length + 17, NULL, 10);
}
/* The status, and the body in `answer`; 0 when there is none. */
static int post(const char *path, const Out *body, Out *answer) {
    char host[256], port[8], request[1024]; int tls, fd, n, status = 0;
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    double until = monotonic() + ANSWER_WITHIN;
    SSL_CTX *context = NULL; SSL *ssl = NULL;
    answer->n = 0;
    address(http_url, "https", host, port, &tls);
    if ((n = getaddrinfo(host, port, &hint, &found))) return say("no connection: %s: %s", host, gai_strerror(n)), 0;
    fd = reach(found, until), freeaddrinfo(found);
    if (fd < 0) return say("no connection: %s:%s: %s", host, port, strerror(errno)), 0;
    if (tls) { /* §8: the authority and the name are checked */
        context = SSL_CTX_new(TLS_client_method()), ssl = SSL_new(context);
        SSL_CTX_set_default_verify_paths(context);
        if (cafile) {
            X509_STORE *trusted = X509_STORE_new();
            if (X509_STORE_load_locations(trusted, cafile, NULL) != 1) fail(cafile, "no certificates in PEM");
            SSL_CTX_set_cert_store(context, trusted);
        }
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL), SSL_set_tlsext_host_name(ssl, host), SSL_set_fd(ssl, fd);
        X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
        if (X509_VERIFY_PARAM_set1_ip_asc(p, host) != 1) X509_VERIFY_PARAM_set1_host(p, host, 0);
        if (!step(SHAKE, ssl, fd, NULL, 0, until)) {
            say("no connection: %s:%s: certificate: %s", host, port, X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
            goto end;
        }
    }
    n = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nContent-Type: application/ace+cbor\r\n"
                 "Accept: application/ace+cbor\r\nContent-Length: %zu\r\n\r\n", path, host, port, body->n);
    Out all = {0};
    add(&all, request, n), add(&all, body->b, body->n);
    for (size_t sent = 0; sent < all.n; sent += n)
        if (!(n = step(SEND, ssl, fd, all.b + sent, all.n - sent, until))) goto end;
    for (all.n = 0, all.b[0] = 0; !is_whole(&all) && all.n < sizeof all.b - 1; all.n += n, all.b[all.n] = 0)
        if (!(n = step(RECEIVE, ssl, fd, all.b + all.n, sizeof all.b - 1 - all.n, until))) break;
    if (monotonic() >= until) all.n = 0; /* a part of an answer is none */
    all.b[all.n] = 0;
    u8 *split = memmem(all.b, all.n, "\r\n\r\n", 4);
    if (split && sscanf((char *)all.b, "HTTP/1.%*d %d", &status) == 1) add(answer, split + 4, all.b + all.n - split - 4);
    if (!status) say("no connection: %s:%s: no answer", host, port);
end:
    if (tls) SSL_free(ssl), SSL_CTX_free(context);
    close(fd);
    return status;
}

/* ---- §2 Enrol, §6 Refresh: a nonce of the service is signed, or this machine's own clock; no time that was told ---- */
static void signed_head(Out *o, const char *context, int items) {
    head(o, 4, items), text(o, context), text(o, tenant), text(o, device), bytes(o, thumbprint, 32);
}
static void enrol_request(Out *o, In cnonce) {
    Out s = {0}; u8 hash[32], signature[64];
    SHA256((const u8 *)claim, strlen(claim), hash);
    signed_head(&s, "tessera-enrol-1", 6), bytes(&s, hash, 32), bytes(&s, cnonce.p, cnonce.end - cnonce.p);
    sign(&s, signature);
    head(o, 5, 6), number(o, REQ_CNF), head(o, 5, 1), number(o, 1), cose_key(o), number(o, CLIENT_ID), text(o, device);
    number(o, TENANT), text(o, tenant), number(o, NONCE), bytes(o, cnonce.p, cnonce.end - cnonce.p);
    number(o, SIGNATURE), bytes(o, signature, 64), number(o, CLAIM), text(o, claim);
}
static void token_request(Out *o, In cnonce) {
    Out s = {0}; u8 nonce[16], signature[64]; uint64_t t = time(NULL);
    if (RAND_bytes(nonce, 16) != 1) fail("nonce", "no randomness");
    signed_head(&s, cnonce.p ? "tessera-refresh-nonce-1" : "tessera-refresh-1", 7);
    cnonce.p ? bytes(&s, cnonce.p, cnonce.end - cnonce.p) : number(&s, t);
    bytes(&s, nonce, 16), number(&s, 2);
    sign(&s, signature);
    head(o, 5, 7), number(o, CLIENT_ID), text(o, device), number(o, GRANT), number(o, 2), number(o, TOKEN_TYPE), number(o, 2);
    number(o, TENANT), text(o, tenant), number(o, cnonce.p ? CNONCE : IAT);
    cnonce.p ? bytes(o, cnonce.p, cnonce.end - cnonce.p) : number(o, t);
    number(o, NONCE), bytes(o, nonce, 16), number(o, SIGNATURE), bytes(o, signature, 64);
}
/* One try with a nonce, and one more when that nonce was refused: the refusal brings another. */
static int ask(const char *path, void (*request)(Out *, In)) {
    Out body = {0}, answer; char code[65], why[257]; int status = post("/v1/enrol/nonce", &body, &answer);
    for (int tries = 0; status && tries < 3; tries++) {
        In got = { answer.b, answer.b + answer.n }, cnonce = nonce_of(got);
        if (status == 200 && tries > 0) return take(got) ? NOW_OK : (say("no connection: an answer that is none"), LATER);
        if (!cnonce.p || tries == 2) {
            words(member(got, CODE), code, sizeof code), words(member(got, WORDS), why, sizeof why);
            int final = status >= 400 && status < 500 && status != 408 && status != 429 && !cnonce.p; /* §7 */
            say("refused for %s: %s: %s (HTTP %d)", final ? "good" : "now", code[0] ? code : "?", why, status);
            if (final) exit(3);
            return LATER;
        }
        Out with_nonce = {0};
        request(&with_nonce, cnonce);
        status = post(path, &with_nonce, &answer);
    }
    return LATER;
}
static int refresh_by_rest(void) {
    int end = ask("/v1/token", token_request);
    if (end == NOW_OK) say("new token over rest");
    return end;
}

/* ---- §8 Lines ---- */
static struct { int connected, refused, subscribed, ended, asked, nonce_signed; double asked_at, retry_at, wait; char command[128]; } line;

static void publish_request(struct mosquitto *m, In cnonce) {
    Out o = {0};
    token_request(&o, cnonce);
    mosquitto_publish(m, NULL, "$tessera/token", o.n, o.b, 1, false);
}
static void on_connect(struct mosquitto *m, void *u, int code) {
    (void)u;
    if (code) { /* 5 has many causes and tells none: a new token finds out (§7). 3: later. */
        say("not let in: %s", mosquitto_connack_string(code));
        token_is_suspect = code == 5, line.refused = line.ended = 1;
        return;
    }
    say("connected");
    line.connected = 1;
    char *topics[] = { "$tessera/token", "$tessera/status", line.command };
    mosquitto_subscribe_multiple(m, NULL, 3, topics, 1, 0, NULL);
}
static void on_subscribe(struct mosquitto *m, void *u, int mid, int n, const int *qos) {
    (void)m, (void)u, (void)mid, (void)n, (void)qos;
    line.subscribed = 1;
}
static void on_disconnect(struct mosquitto *m, void *u, int code) {
    (void)m, (void)u;
    if (line.connected && !line.ended) say("connection ended: %s", mosquitto_strerror(code));
    line.ended = 1;
}
static void on_message(struct mosquitto *m, void *u, const struct mosquitto_message *message) {
    (void)u;
    In got = { message->payload, (const u8 *)message->payload + message->payloadlen };
    char code[65], why[257];
    if (!strcmp(message->topic, "$tessera/status")) {
        if (memmem(got.p, got.end - got.p, "\"refusal\"", 9)) say("status: %.*s", message->payloadlen, (char *)message->payload);
    } else if (strcmp(message->topic, "$tessera/token")) {
        say("command %.*s", message->payloadlen, (char *)message->payload);
    } else if (take(got)) { /* §6: installed at the broker already */
        say("new token over mqtt");
        line.asked = 0, line.wait = 1;
    } else if (line.asked && !line.nonce_signed && nonce_of(got).p) { /* §5: the clock was refused; §7: one nonce a request */
        line.nonce_signed = 1;
        publish_request(m, nonce_of(got));
    } else { /* §7: REST tells the class of it; or the token that was handed in was not taken */
        words(member(got, CODE), code, sizeof code), words(member(got, WORDS), why, sizeof why);
        say("%s: %s: %s", line.asked ? "refused over mqtt" : "not taken", code, why);
        if (line.asked) line.asked_at = -ANSWER_WITHIN;
        else line.ended = 1;
    }
}
/* The token is renewed at about 70 % of its life: over MQTT, or over REST and handed in. */
static void renew(struct mosquitto *m) {
    double at = monotonic();
    if (!line.asked && at >= line.retry_at && now() >= refresh_at) {
        line.asked = 1, line.nonce_signed = 0, line.asked_at = at;
        publish_request(m, (In){0});
    }
    if (!line.asked || at < line.asked_at + ANSWER_WITHIN) return;
    line.asked = 0;
    if (refresh_by_rest() == NOW_OK) { /* §6: handed in, so that the line goes on */
        mosquitto_publish(m, NULL, "$tessera/token", token_n, token, 1, false);
        return;
    }
    line.wait = line.wait * 2 > LONGEST_WAIT ? LONGEST_WAIT : line.wait * 2;
    line.retry_at = at + line.wait * between(0.5, 1);
}
/* One connection from CONNECT to its end; whether it was let in. */
static int session(void) {
    static char secret[8300]; char host[256], port[8], topic[128], message[64]; int tls, error; unsigned long sent = 0;
    struct mosquitto *m = mosquitto_new(device, true, NULL);
    if (!m) fail("libmosquitto", strerror(errno));
    memset(&line, 0, sizeof line), line.wait = 1;
    snprintf(line.command, sizeof line.command, "d/%s/cmd", device), snprintf(topic, sizeof topic, "d/%s/telemetry", device);
    address(mqtt_url, "mqtts", host, port, &tls);
    password(secret);
    mosquitto_username_pw_set(m, device, secret);
    if (tls && cafile && mosquitto_tls_set(m, cafile, NULL, NULL, NULL, NULL)) fail(cafile, "no certificates in PEM");
    if (tls && !cafile) mosquitto_int_option(m, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
    mosquitto_connect_callback_set(m, on_connect), mosquitto_disconnect_callback_set(m, on_disconnect);
    mosquitto_subscribe_callback_set(m, on_subscribe), mosquitto_message_callback_set(m, on_message);
    error = mosquitto_connect(m, host, atoi(port), 60);
    double next = 0, let_in_by = monotonic() + 30;
    while (!error && !line.ended && (line.connected || monotonic() < let_in_by)) {
        error = mosquitto_loop(m, 200, 1); /* not loop_forever: it would send the same password again */
        if (error || line.ended || !line.subscribed) continue;
        if (monotonic() >= next) {
            next = monotonic() + every;
            int n = snprintf(message, sizeof message, "{\"n\":%lu}", ++sent);
            mosquitto_publish(m, NULL, topic, n, message, 1, false);
        }
        renew(m);
    }
    if (!line.connected && !line.refused) say("no connection: %s:%s: %s", host, port, mosquitto_strerror(error));
    mosquitto_disconnect(m), mosquitto_destroy(m);
    return line.connected;
}

int main(int n, char **v) {
    struct { const char *name, **to; } options[] = { { "--http", &http_url }, { "--mqtt", &mqtt_url }, { "--device", &device },
        { "--tenant", &tenant }, { "--claim", &claim }, { "--dir", &dir }, { "--cafile", &cafile }, { "--verifier", &verifier } };
    for (int i = 1; i < n; i += 2) {
        size_t o = 0, all = sizeof options / sizeof *options;
        while (o < all && strcmp(v[i], options[o].name)) o++;
        if (i + 1 < n && o < all) *options[o].to = v[i + 1];
        else if (i + 1 < n && !strcmp(v[i], "--every")) every = atof(v[i + 1]);
        else fail(v[i], "options: --http --mqtt --device --tenant --claim --dir --cafile --verifier --every, each with a value");
    }
    if (!http_url || !mqtt_url || !device) fail("missing", "--http URL --mqtt URL --device ID");
    if (strlen(device) > 64 || strlen(tenant) > 32 || (claim && strlen(claim) > 128)) fail(device, "a name is too long");
    signal(SIGPIPE, SIG_IGN);
    mosquitto_lib_init();
    if (mkdir(dir, 0700) && errno != EEXIST) fail(dir, strerror(errno));
    key_or_new();
    Out o = {0};
    cose_key(&o), SHA256(o.b, o.n, thumbprint);
    hold(o.b, load("token", o.b, sizeof o.b)); /* a lost one is asked for anew */
    for (double wait = 1;; wait = wait * 2 > LONGEST_WAIT ? LONGEST_WAIT : wait * 2) {
        int end = NOW_OK;
        if (!token_n && claim && *claim) {
            if ((end = ask("/v1/enrol", enrol_request)) == NOW_OK) say("enrolled");
        } else if (!token_n || token_is_suspect || now() + 1 >= expires) {
            end = refresh_by_rest();
        }
        double began = monotonic();
        if (end == NOW_OK && session() && monotonic() > began + STEADY) wait = 1;
        double pause = wait * between(0.5, 1); /* §8: back-off with jitter */
        nanosleep(&(struct timespec){ (time_t)pause, (long)((pause - (time_t)pause) * 1e9) }, NULL);
    }
}
