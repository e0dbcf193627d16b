#!/usr/bin/env python3
"""A complete Tessera device: docs/device.md in Python. The sections (§) in the comments are those of that page.

    pip install paho-mqtt cryptography
    python3 device.py --http https://tessera.example:8443 --mqtt mqtts://broker.example:8883 \\
        --cafile ca.pem --device d-17 --claim CODE --dir d-17

It enrols when --dir holds no token yet, publishes on d/ID/telemetry and prints what comes on d/ID/cmd. It keeps its key
and its token in --dir and needs the claim code once. It ends when it is refused for good, with exit status 3.
With --enrol mqtt it enrols at the broker, which must offer that, and asks there once more by its claim code for a token when
its own is lost, refused or over.
"""
import argparse, hashlib, http.client, io, os, queue, random, ssl, struct, sys, threading, time, urllib.parse
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Labels of the messages (§2, §6, §7).
TOKEN, REQ_CNF, CLIENT_ID, ERROR, WORDS, GRANT, TOKEN_TYPE, CNONCE = 1, 4, 24, 30, 31, 33, 34, 39
TENANT, IAT, NONCE, SIGNATURE, SERVER_TIME, CODE, CLAIM = -65540, -65541, -65542, -65543, -65544, -65545, -65547
ANSWER_WITHIN = 10       # seconds for an answer, over MQTT (then REST is asked) and over REST, from connect to the last byte
LONGEST_WAIT = 60        # seconds between two tries at most
STEADY = 10              # seconds after which a connection counts as a good one
LARGEST_ANSWER, LARGEST_NONCE = 8192, 64   # bytes
LAST_SECOND = 2**32 - 1  # a proof has 32 bits each for time and counter


# --- CBOR: a few fixed shapes are all that is needed (§1) -------------------------------------------------------------
def encode(value):
    def head(major, n):
        for more, size, form in ((24, 1 << 8, ">BB"), (25, 1 << 16, ">BH"), (26, 1 << 32, ">BI"), (27, 1 << 64, ">BQ")):
            if n < 24:
                return bytes([major << 5 | n])
            if n < size:
                return struct.pack(form, major << 5 | more, n)
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    return head(5, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())


def decode(data):
    """The first item of `data`; ValueError when it is none."""
    def item(at, depth=0):
        if at >= len(data) or depth > 8:
            raise ValueError("not CBOR")
        major, n = data[at] >> 5, data[at] & 31
        at += 1
        if n >= 24:
            size = {24: 1, 25: 2, 26: 4, 27: 8}.get(n, len(data))
            n, at = int.from_bytes(data[at:at + size], "big"), at + size
        if major < 2:
            return (n if major == 0 else -1 - n), at
        if n > len(data) or major == 7 or major < 4 and at + n > len(data):
            raise ValueError("not CBOR")
        if major < 4:
            return (bytes(data[at:at + n]) if major == 2 else data[at:at + n].decode()), at + n
        if major == 6:
            return item(at, depth + 1)
        found = []
        for _ in range(n * (2 if major == 5 else 1)):
            value, at = item(at, depth + 1)
            found.append(value)
        return (found if major == 4 else dict(zip(found[::2], found[1::2]))), at
    return item(0)[0]


def nonce_of(answer):
    """The nonce of an answer; None when there is none that may be signed."""
    nonce = answer.get(CNONCE)
    return nonce if isinstance(nonce, bytes) and 0 < len(nonce) <= LARGEST_NONCE else None


class Answer(io.RawIOBase):
    """What comes on a socket, up to one deadline and so many bytes: a peer cannot make an answer last by single bytes."""
    def __init__(self, sock, until):
        self.sock, self.until, self.room = sock, until, LARGEST_ANSWER

    def readable(self):
        return True

    def readinto(self, to):
        self.sock.settimeout(max(self.until - time.monotonic(), 0.001))
        n = self.sock.recv_into(to)
        self.room -= n
        if self.room < 0 or time.monotonic() > self.until:
            raise TimeoutError("no whole answer in time") if self.room >= 0 else ValueError("the answer is too large")
        return n

    def makefile(self, mode):
        return io.BufferedReader(self, 1024)


class Refused(Exception):
    """A refusal of the service (§7)."""
    def __init__(self, answer, status=None):
        self.code, self.cnonce, self.status = answer.get(CODE, "?"), nonce_of(answer), status
        self.error = answer.get(ERROR)
        super().__init__(f"{self.code}: {answer.get(WORDS, f'HTTP status {status}')}")

    def is_final(self):
        """The same request will never do: neither the rates nor the state of the service are the cause."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in (408, 429) and not self.cnonce


class Device:
    def __init__(self, args):
        self.args, self.id = args, args.device
        self.tls = ssl.create_default_context(cafile=args.cafile)
        self.token, self.claims, self.clock, self.counter = None, {}, None, 0
        self.token_is_suspect = False
        os.makedirs(args.dir, mode=0o700, exist_ok=True)
        self.key = self.key_or_new()
        x = self.key.public_key().public_bytes_raw()
        self.cose_key = {1: 1, -1: 6, -2: x}                                      # §1
        self.thumbprint = hashlib.sha256(encode(self.cose_key)).digest()
        try:
            with open(self.file("token"), "rb") as file:
                self.hold(file.read())
        except (OSError, ValueError, LookupError, TypeError):
            self.token = None                                                     # a lost one is asked for anew

    # --- §1 What a device keeps ---------------------------------------------------------------------------------------
    def file(self, name):
        return os.path.join(self.args.dir, name)

    def keep(self, name, data):
        """Durable and for the owner alone, before anything rests on it; never half a file."""
        new = self.file(name + ".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, self.file(name))
        folder = os.open(self.args.dir, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def key_or_new(self):
        path = self.file("device.key")
        if not os.path.exists(path):
            self.keep("device.key", os.urandom(32).hex().encode())
        if os.stat(path).st_mode & 0o077:
            sys.exit(f"{path}: others can read the key: chmod 600 {path}")
        with open(path) as file:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read().strip()))

    def sign(self, *items):
        return self.key.sign(encode(list(items)))

    # --- §2 Enrol, §6 Refresh over REST: a nonce of the service is signed, and no time ----------------------------------
    def post(self, path, body):
        url = urllib.parse.urlsplit(self.args.http)
        secure = {"context": self.tls} if url.scheme == "https" else {}
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        until = time.monotonic() + ANSWER_WITHIN                                  # §7: one for the whole answer
        line = kind(url.hostname, url.port, timeout=ANSWER_WITHIN, **secure)
        try:
            line.request("POST", path, body, {"Content-Type": "application/ace+cbor", "Accept": "application/ace+cbor",
                                              "Connection": "close"})
            answer = http.client.HTTPResponse(Answer(line.sock, until), method="POST")
            answer.begin()
            body = answer.read()
            try:
                body = decode(body)
            except (ValueError, TypeError):
                body = {}
            if answer.status == 200 and isinstance(body, dict):
                return body
            raise Refused(body if isinstance(body, dict) else {}, answer.status)
        finally:
            line.close()

    def ask(self, path, request, post=None):
        """One try with a nonce, and one more when that nonce was refused: the refusal brings another."""
        post = post or self.post
        try:
            nonce = nonce_of(post("/v1/enrol/nonce", b""))
            if not nonce:
                raise ValueError("an answer without a nonce")
            return post(path, request(nonce))
        except Refused as no:
            if not no.cnonce:
                raise
            return post(path, request(no.cnonce))

    def enrol(self):
        claim = self.args.claim
        def request(nonce):
            return encode({
                REQ_CNF: {1: self.cose_key}, CLIENT_ID: self.id, TENANT: self.args.tenant, NONCE: nonce,
                SIGNATURE: self.sign("tessera-enrol-1", self.args.tenant, self.id, self.thumbprint,
                                     hashlib.sha256(claim.encode()).digest(), nonce),
                CLAIM: claim})
        over_mqtt = self.args.enrol == "mqtt"
        self.take(self.ask_at_broker(request) if over_mqtt else self.ask("/v1/enrol", request))
        print("enrolled over mqtt" if over_mqtt else "enrolled", flush=True)

    def ask_at_broker(self, request):
        """§2 over MQTT: the code is the password of a connection that reaches one topic, and ends with the answer."""
        url = urllib.parse.urlsplit(self.args.mqtt)
        is_here = url.hostname in ("::1", "localhost") or url.hostname.startswith("127.")
        if url.scheme != "mqtts" and not is_here:
            raise SystemExit("the claim code is a secret: enrol at mqtts://, or at a broker on this machine")
        client, events = self.line(f"$claim/{self.args.tenant}", self.args.claim)
        try:
            name, code = events.get(timeout=30)
            if name != "connack" or code.is_failure:
                # 0x87: the code is not good for this device here, or the broker does not offer it. 0x88 and the like: later.
                final = name == "connack" and code.value == 0x87
                raise Refused({WORDS: f"not let in to enrol: {code}"}, 403 if final else None)
            client.subscribe("$tessera/enrol", 0)
            def post(_, body):
                client.publish("$tessera/enrol", body, 1)
                until = time.monotonic() + ANSWER_WITHIN
                while True:
                    name, value = events.get(timeout=max(until - time.monotonic(), 0.001))
                    if name == "closed":
                        raise OSError(f"the connection ended: {value}")
                    if name == "$tessera/enrol":
                        answer = decode(value)
                        if TOKEN in answer or CODE not in answer:
                            return answer
                        no = Refused(answer)
                        later = no.error == 1 and no.code != "request_malformed"  # §7: 1 may be of the server
                        no.status = None if later else 400
                        raise no
            return self.ask(None, request, post)
        finally:
            client.disconnect()
            client.loop_stop()

    def token_request(self, cnonce=None):
        """Over a nonce of the service, or over this machine's own clock: never over a time that was told (§5)."""
        nonce, now = os.urandom(16), int(time.time())
        context, fresh = ("tessera-refresh-nonce-1", cnonce) if cnonce else ("tessera-refresh-1", now)
        signature = self.sign(context, self.args.tenant, self.id, self.thumbprint, fresh, nonce, 2)
        return encode({CLIENT_ID: self.id, GRANT: 2, TOKEN_TYPE: 2, TENANT: self.args.tenant,
                       CNONCE if cnonce else IAT: fresh, NONCE: nonce, SIGNATURE: signature})

    def refresh_by_rest(self):
        self.take(self.ask("/v1/token", self.token_request))
        print("new token over rest", flush=True)

    # --- §3 Token, §5 Clock and counter ---------------------------------------------------------------------------------
    def take(self, answer):
        """A new token. Its iat sets the clock for connect proofs; server_time counts as far as iat bears it out."""
        self.hold(answer[TOKEN])
        issued = self.claims[6]
        told = answer.get(SERVER_TIME)
        now = min(max(told if isinstance(told, int) else 0, issued), issued + 60)
        self.clock = now - time.monotonic()
        if abs(now - time.time()) > 60:
            print(f"clock: this machine's is wrong by {int(time.time()) - now} s; the token's is used", flush=True)
        self.keep("token", self.token)
        self.token_is_suspect = False

    def hold(self, token):
        claims = decode(decode(token)[2])                                         # §3: 3 aud, 4 exp, 6 iat
        if not (isinstance(claims[3], str) and 0 < claims[6] < claims[4] <= LAST_SECOND):
            raise ValueError("not a token of this century")
        self.token, self.claims = token, claims
        self.refresh_at = claims[6] + (claims[4] - claims[6]) * random.uniform(0.65, 0.75)

    def now(self):
        if self.clock is None:                                                    # a kept token: never before its iat
            return min(max(int(time.time()), self.claims[6]), LAST_SECOND)
        return min(int(self.clock + time.monotonic()), LAST_SECOND)

    # --- §4 Password ----------------------------------------------------------------------------------------------------
    def password(self):
        """For one CONNECT alone."""
        now = self.now()
        self.counter = max(self.counter + 1, now) if self.counter < LAST_SECOND else now   # §5: needs no flash
        signature = self.sign("tessera-connect-1", self.args.verifier or self.claims[3], self.id,
                              hashlib.sha256(self.token).digest(), now, self.counter)
        return self.token + encode(struct.pack(">II", now, self.counter) + signature)

    # --- §8 Lines -------------------------------------------------------------------------------------------------------
    def line(self, user, password):
        """A client that connects, and the queue of what comes."""
        url = urllib.parse.urlsplit(self.args.mqtt)
        events = queue.Queue()
        # The library must not connect by itself: it would send the same password again.
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, self.id, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.username_pw_set(user, password)
        if url.scheme == "mqtts":
            client.tls_set_context(self.tls)
        client.on_connect = lambda c, u, flags, code, p: events.put(("connack", code))
        client.on_subscribe = lambda c, u, mid, codes, p: events.put(("suback", codes))
        client.on_message = lambda c, u, message: events.put((message.topic, message.payload))
        client.on_disconnect = lambda c, u, flags, code, p: events.put(("closed", code))
        client.connect(url.hostname, url.port or (8883 if client._ssl else 1883), keepalive=60, clean_start=True)
        client.loop_start()
        return client, events

    def session(self):
        """One connection from CONNECT to its end; whether it was let in."""
        client, events = self.line(self.id, self.password())
        try:
            return self.serve(client, events)
        finally:
            client.disconnect()
            client.loop_stop()

    def serve(self, client, events):
        name, code = events.get(timeout=30)
        if name != "connack" or code.is_failure:
            # 0x87 has many causes and tells none: a new token finds out (§7). 0x88 and the like: later.
            self.token_is_suspect = name == "connack" and code.value == 0x87
            print(f"not let in: {code}", flush=True)
            return False
        print("connected", flush=True)
        client.subscribe([("$tessera/token", 1), ("$tessera/status", 0), (f"d/{self.id}/cmd", 1)])
        sent, next_message, asked, nonce_signed, wait, retry_at = 0, None, None, False, 1, 0
        while True:
            try:
                name, value = events.get(timeout=0.2)
            except queue.Empty:
                name = None
            if name == "closed":
                print(f"connection ended: {value}", flush=True)
                return True
            elif name == "suback":
                next_message = time.monotonic()
            elif name == "$tessera/token":
                answer = decode(value)
                if TOKEN in answer:                                               # §6: installed at the broker already
                    self.take(answer)
                    print("new token over mqtt", flush=True)
                    asked, wait = None, 1
                elif asked and not nonce_signed and nonce_of(answer):              # §5: the clock was refused
                    nonce_signed = True                                           # §7: one nonce a request
                    client.publish("$tessera/token", self.token_request(nonce_of(answer)), 1)
                elif asked is not None:                                           # §7: REST tells the class of it
                    print(f"refused over mqtt: {Refused(answer)}", flush=True)
                    asked = -ANSWER_WITHIN
                else:                                                             # the token that was handed in
                    print(f"not taken: {Refused(answer)}", flush=True)
                    return True
            elif name == "$tessera/status":
                if b'"refusal"' in value:
                    print(f"status: {value.decode()}", flush=True)
            elif name:
                print(f"command {value.decode(errors='replace')}", flush=True)
            now = time.monotonic()
            if next_message is not None and now >= next_message:
                sent, next_message = sent + 1, now + self.args.every
                client.publish(f"d/{self.id}/telemetry", f'{{"n":{sent}}}', 1)
            if next_message is not None and asked is None and now >= retry_at and self.now() >= self.refresh_at:
                asked, nonce_signed = now, False
                client.publish("$tessera/token", self.token_request(), 1)
            if asked is not None and now >= asked + ANSWER_WITHIN:
                asked = None
                try:
                    self.refresh_by_rest()
                    client.publish("$tessera/token", self.token, 1)               # §6: handed in, so that the line goes on
                except Exception as error:
                    if isinstance(error, Refused) and error.is_final():
                        raise
                    print(f"no new token yet: {error}", flush=True)
                    wait = min(wait * 2, LONGEST_WAIT)
                    retry_at = now + wait * random.uniform(0.5, 1)

    def run(self):
        wait = 1
        while True:
            try:
                if self.token is None and self.args.claim:
                    self.enrol()
                elif self.token is None or self.token_is_suspect or self.now() >= self.claims[4] - 1:
                    by_claim = self.args.claim and self.args.enrol == "mqtt"
                    self.enrol() if by_claim else self.refresh_by_rest()                 # §2: the same key and code again
                began = time.monotonic()
                if self.session() and time.monotonic() > began + STEADY:
                    wait = 1
            except Refused as no:
                if no.is_final():
                    print(f"refused for good: {no}", flush=True)
                    return 3
                print(f"refused for now: {no}", flush=True)
            except Exception as error:                                            # the line, or anything a peer sends
                print(f"no connection: {error!r}", flush=True)
            threading.Event().wait(wait * random.uniform(0.5, 1))                 # §8: back-off with jitter
            wait = min(wait * 2, LONGEST_WAIT)


parser = argparse.ArgumentParser(description="A complete Tessera device (docs/device.md)")
parser.add_argument("--http", required=True, metavar="URL", help="provisioning: https://host:port, or http:// on this machine")
parser.add_argument("--mqtt", required=True, metavar="URL", help="the broker: mqtts://host:port or mqtt://host:port")
parser.add_argument("--device", required=True, metavar="ID")
parser.add_argument("--tenant", default="default", metavar="ID")
parser.add_argument("--claim", metavar="CODE", help="needed once")
parser.add_argument("--enrol", choices=["rest", "mqtt"], default="rest", help="where to enrol: at provisioning, or at the broker")
parser.add_argument("--dir", default=".", help="where key and token are kept")
parser.add_argument("--cafile", metavar="FILE", help="the authorities that may sign the servers' certificates, in PEM")
parser.add_argument("--verifier", metavar="NAME", help="the name of the broker, when it has one of its own")
parser.add_argument("--every", type=float, default=10, metavar="SECONDS", help="between two messages")
if __name__ == "__main__":
    try:
        sys.exit(Device(parser.parse_args()).run())
    except KeyboardInterrupt:
        sys.exit(0)
