#!/usr/bin/env node
/* A complete Tessera device: docs/device.md in JavaScript. The sections (§) in the comments are those of that page.
 *
 *     npm install mqtt
 *     node device.js --http https://tessera.example:8443 --mqtt mqtts://broker.example:8883 \
 *         --cafile ca.pem --device d-17 --claim CODE --dir d-17
 *
 * It enrols when --dir holds no token yet, publishes on d/ID/telemetry and prints what comes on d/ID/cmd. It keeps its
 * key and its token in --dir and needs the claim code once. It ends when it is refused for good, with exit status 3. */
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const mqtt = require('mqtt');

// Labels of the messages (§2, §6, §7).
const TOKEN = 1, REQ_CNF = 4, CLIENT_ID = 24, WORDS = 31, GRANT = 33, TOKEN_TYPE = 34, CNONCE = 39, TENANT = -65540,
  IAT = -65541, NONCE = -65542, SIGNATURE = -65543, SERVER_TIME = -65544, CODE = -65545, CLAIM = -65547;
const ANSWER_WITHIN = 10; // seconds for an answer, over MQTT (then REST is asked) and over REST, from connect to the last byte
const LONGEST_WAIT = 60; // seconds between two tries at most
const STEADY = 10; // seconds after which a connection counts as a good one
const LARGEST_ANSWER = 8192, LARGEST_NONCE = 64; // bytes
const LAST_SECOND = 2 ** 32 - 1; // a proof has 32 bits each for time and counter

const text = { type: 'string' };
const { values: args } = parseArgs({ options: { http: text, mqtt: text, device: text, tenant: text, claim: text, dir: text, cafile: text, verifier: text, every: text } });
const { device, tenant = 'default', claim, dir = '.', every = 10 } = args;
if (!args.http || !args.mqtt || !device) fail('--http URL, --mqtt URL and --device ID must be given');
const ca = args.cafile && fs.readFileSync(args.cafile);

function fail(why) { console.error(why); process.exit(1); }
const seconds = () => Math.floor(Date.now() / 1000);
const monotonic = () => performance.now() / 1000;
const between = (low, high) => low + (high - low) * Math.random();
const sha256 = (data) => crypto.createHash('sha256').update(data).digest();
const rest = (time) => new Promise((done) => setTimeout(done, time * 1000));

// ---- CBOR: a few fixed shapes are all that is needed (§1) ----
function head(major, n) {
  if (n < 24) return Buffer.from([major << 5 | n]);
  const size = n < 2 ** 8 ? 1 : n < 2 ** 16 ? 2 : n < 2 ** 32 ? 4 : 8;
  const b = Buffer.alloc(1 + size);
  b[0] = major << 5 | { 1: 24, 2: 25, 4: 26, 8: 27 }[size];
  size === 8 ? b.writeBigUInt64BE(BigInt(n), 1) : b.writeUIntBE(n, 1, size);
  return b;
}
function encode(value) {
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value);
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value]);
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encode)]);
  return Buffer.concat([head(5, value.size), ...[...value].flat().map(encode)]); // a Map
}
/** The first item of `data`; throws when it is none. */
function decode(data) {
  let at = 0;
  function item(depth) {
    if (at >= data.length || depth > 8) throw new Error('not CBOR');
    const major = data[at] >> 5;
    let n = data[at++] & 31;
    if (n >= 24) {
      const size = { 24: 1, 25: 2, 26: 4, 27: 8 }[n] ?? data.length;
      n = 0;
      for (const end = at + size; at < end; at++) n = n * 256 + (data[at] ?? NaN);
    }
    if (Number.isNaN(n) || major === 7 || (major > 1 && major < 6 && n > data.length - at)) throw new Error('not CBOR');
    if (major < 2) return major ? -1 - n : n;
    if (major < 4) { const s = data.subarray(at, at += n); return major === 2 ? Buffer.from(s) : s.toString(); }
    if (major === 6) return item(depth + 1);
    const next = () => item(depth + 1);
    return major === 4 ? Array.from({ length: n }, next) : new Map(Array.from({ length: n }, () => [next(), next()]));
  }
  return item(0);
}

/** The nonce of an answer; undefined when there is none that may be signed. */
function nonceOf(answer) {
  const nonce = answer.get(CNONCE);
  return Buffer.isBuffer(nonce) && nonce.length > 0 && nonce.length <= LARGEST_NONCE ? nonce : undefined;
}

/** A refusal of the service (§7). */
class Refused extends Error {
  constructor(answer, status) {
    super(`${answer.get(CODE) ?? '?'}: ${answer.get(WORDS) ?? `HTTP status ${status}`}`);
    this.cnonce = nonceOf(answer);
    // The same request will never do: neither the rates nor the state of the service are the cause.
    this.isFinal = status >= 400 && status < 500 && status !== 408 && status !== 429 && !this.cnonce;
  }
}

// ---- §1 What a device keeps ----
const file = (name) => path.join(dir, name);
/** Durable and for the owner alone, before anything rests on it; never half a file. */
function keep(name, data) {
  fs.writeFileSync(file('new'), data, { mode: 0o600, flush: true });
  fs.renameSync(file('new'), file(name));
  const folder = fs.openSync(dir, 'r');
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}
fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
if (!fs.existsSync(file('device.key'))) keep('device.key', crypto.randomBytes(32).toString('hex'));
if (fs.statSync(file('device.key')).mode & 0o077) fail(`${file('device.key')}: others can read the key: chmod 600`);
const seed = Buffer.from(fs.readFileSync(file('device.key'), 'utf8').trim(), 'hex');
const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]); // RFC 8410 around the seed
const key = crypto.createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
const x = Buffer.from(crypto.createPublicKey(key).export({ format: 'jwk' }).x, 'base64url');
const coseKey = new Map([[1, 1], [-1, 6], [-2, x]]);
const thumbprint = sha256(encode(coseKey));
const sign = (...items) => crypto.sign(null, encode(items), key);

// ---- §3 Token, §5 Clock and counter ----
let token, claims, refreshAt, clock, counter = 0, tokenIsSuspect = false;
function hold(bytes) {
  const found = decode(decode(bytes)[2]); // 3 aud, 4 exp, 6 iat
  const [aud, exp, iat] = [3, 4, 6].map((label) => found.get(label));
  if (typeof aud !== 'string' || ![exp, iat].every(Number.isInteger)) throw new Error('not a token');
  if (iat <= 0 || exp <= iat || exp > LAST_SECOND) throw new Error('not a token of this century');
  [token, claims] = [bytes, found];
  refreshAt = iat + (exp - iat) * between(0.65, 0.75);
}
try { hold(fs.readFileSync(file('token'))); } catch { /* a lost one is asked for anew */ }
/** A new token. Its iat sets the clock for connect proofs; server_time counts as far as iat bears it out. */
function take(answer) {
  hold(answer.get(TOKEN));
  const issued = claims.get(6);
  const told = answer.get(SERVER_TIME);
  const time = Math.min(Math.max(Number.isInteger(told) ? told : 0, issued), issued + 60);
  clock = time - monotonic();
  if (Math.abs(time - seconds()) > 60) console.log(`clock: this machine's is wrong by ${seconds() - time} s; the token's is used`);
  keep('token', token);
  tokenIsSuspect = false;
}
/** Of a kept token: never before its iat. */
const now = () => Math.min(LAST_SECOND, clock === undefined ? Math.max(seconds(), claims.get(6)) : Math.floor(clock + monotonic()));

// ---- §4 Password: for one CONNECT alone ----
function password() {
  const time = now();
  counter = counter < LAST_SECOND ? Math.max(counter + 1, time) : time; // §5: needs no flash
  const proof = Buffer.alloc(8);
  proof.writeUInt32BE(time, 0);
  proof.writeUInt32BE(counter, 4);
  const signature = sign('tessera-connect-1', args.verifier ?? claims.get(3), device, sha256(token), time, counter);
  return Buffer.concat([token, encode(Buffer.concat([proof, signature]))]);
}

// ---- §2 Enrol, §6 Refresh over REST: a nonce of the service is signed, and no time ----
function post(route, body) {
  const url = new URL(route, args.http);
  const headers = { 'Content-Type': 'application/ace+cbor', Accept: 'application/ace+cbor', 'Content-Length': body.length };
  return new Promise((done, failed) => {
    const { request } = require(url.protocol === 'https:' ? 'node:https' : 'node:http');
    const asked = request(url, { method: 'POST', headers, ca, agent: false, signal: AbortSignal.timeout(ANSWER_WITHIN * 1000) }, (answer) => {
      const parts = [];
      let room = LARGEST_ANSWER;
      answer.on('error', failed).on('data', (part) => {
        parts.push(part);
        if ((room -= part.length) < 0) answer.destroy(new Error('the answer is too large'));
      }).on('end', () => {
        let got;
        try { got = decode(Buffer.concat(parts)); } catch { /* not of the service */ }
        if (!(got instanceof Map)) got = new Map();
        answer.statusCode === 200 ? done(got) : failed(new Refused(got, answer.statusCode));
      });
    });
    asked.on('error', failed).end(body);
  });
}
/** One try with a nonce, and one more when that nonce was refused: the refusal brings another. */
async function ask(route, request) {
  const cnonce = nonceOf(await post('/v1/enrol/nonce', Buffer.alloc(0)));
  if (!cnonce) throw new Error('an answer without a nonce');
  try {
    return await post(route, request(cnonce));
  } catch (no) {
    if (!no.cnonce) throw no;
    return post(route, request(no.cnonce));
  }
}
const enrolRequest = (cnonce) => encode(new Map([
  [REQ_CNF, new Map([[1, coseKey]])], [CLIENT_ID, device], [TENANT, tenant], [NONCE, cnonce],
  [SIGNATURE, sign('tessera-enrol-1', tenant, device, thumbprint, sha256(claim), cnonce)], [CLAIM, claim]]));
/** Over a nonce of the service, or over this machine's own clock: never over a time that was told (§5). */
function tokenRequest(cnonce) {
  const nonce = crypto.randomBytes(16), fresh = cnonce ?? seconds();
  const signature = sign(cnonce ? 'tessera-refresh-nonce-1' : 'tessera-refresh-1', tenant, device, thumbprint, fresh, nonce, 2);
  return encode(new Map([[CLIENT_ID, device], [GRANT, 2], [TOKEN_TYPE, 2], [TENANT, tenant], [cnonce ? CNONCE : IAT, fresh],
    [NONCE, nonce], [SIGNATURE, signature]]));
}
async function refreshByRest() {
  take(await ask('/v1/token', tokenRequest));
  console.log('new token over rest');
}

// ---- §8 Lines ----
/** One connection from CONNECT to its end; whether it was let in. */
function session() {
  return new Promise((done, failed) => {
    // The library must not connect by itself: it would send the same password again.
    const client = mqtt.connect(args.mqtt, { clientId: device, username: device, password: password(), protocolVersion: 5, keepalive: 60, clean: true, ca, reconnectPeriod: 0, connectTimeout: 30_000, resubscribe: false });
    let letIn = false, over = false, timer, sent = 0, nextMessage = 0, asked, nonceSigned = false, wait = 1, retryAt = 0;
    const publish = (topic, payload) => client.publish(topic, payload, { qos: 1 }, () => {});
    function end(error) {
      [over, timer] = [true, clearInterval(timer)];
      client.end(true);
      error ? failed(error) : done(letIn);
    }
    client.on('error', (error) => {
      // 0x87 has many causes and tells none: a new token finds out (§7). 0x88 and the like: later.
      if (error.code === 0x87 && !letIn) tokenIsSuspect = true;
      console.log(letIn ? `connection ended: ${error.message}` : `no connection: ${error.message}`);
      end();
    });
    client.on('disconnect', (packet) => console.log(`connection ended: reason 0x${packet.reasonCode.toString(16)}`));
    client.on('close', () => {
      if (!over) console.log(letIn ? 'connection ended' : 'no connection: closed');
      end();
    });
    client.on('connect', () => {
      console.log('connected');
      letIn = true;
      client.subscribe(['$tessera/token', '$tessera/status', `d/${device}/cmd`], { qos: 1 }, (error) => {
        if (!error && !over) timer = setInterval(tick, 200);
      });
    });
    client.on('message', (topic, payload) => {
      try { message(topic, payload); } catch (error) { console.log(`not understood: ${error.message}`); end(); }
    });
    function message(topic, payload) {
      if (topic === '$tessera/status') {
        if (payload.includes('"refusal"')) console.log(`status: ${payload}`);
      } else if (topic !== '$tessera/token') {
        console.log(`command ${payload}`);
      } else {
        const answer = decode(payload);
        if (answer.has(TOKEN)) { // §6: installed at the broker already
          take(answer);
          console.log('new token over mqtt');
          [asked, wait] = [undefined, 1];
        } else if (asked !== undefined && !nonceSigned && nonceOf(answer)) { // §5: the clock was refused; §7: one nonce a request
          nonceSigned = true;
          publish('$tessera/token', tokenRequest(nonceOf(answer)));
        } else if (asked !== undefined) { // §7: REST tells the class of it
          console.log(`refused over mqtt: ${new Refused(answer).message}`);
          asked = -Infinity;
        } else { // the token that was handed in
          console.log(`not taken: ${new Refused(answer).message}`);
          end();
        }
      }
    }
    async function tick() {
      const time = monotonic();
      if (time >= nextMessage) {
        nextMessage = time + Number(every);
        publish(`d/${device}/telemetry`, `{"n":${++sent}}`);
      }
      if (asked === undefined && time >= retryAt && now() >= refreshAt) {
        [asked, nonceSigned] = [time, false];
        publish('$tessera/token', tokenRequest());
      }
      if (asked === undefined || time < asked + ANSWER_WITHIN) return;
      [asked, retryAt] = [undefined, Infinity]; // one request at a time
      try {
        await refreshByRest();
        publish('$tessera/token', token); // §6: handed in, so that the line goes on
        retryAt = 0;
      } catch (error) {
        if (error.isFinal) return end(error);
        console.log(`no new token yet: ${error.message}`);
        wait = Math.min(wait * 2, LONGEST_WAIT);
        retryAt = monotonic() + wait * between(0.5, 1);
      }
    }
  });
}

async function run() {
  for (let wait = 1; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      if (!token && claim) {
        take(await ask('/v1/enrol', enrolRequest));
        console.log('enrolled');
      } else if (!token || tokenIsSuspect || now() >= claims.get(4) - 1) {
        await refreshByRest();
      }
      const began = monotonic();
      if (await session() && monotonic() > began + STEADY) wait = 1;
    } catch (error) {
      if (error.isFinal) {
        console.log(`refused for good: ${error.message}`);
        process.exit(3);
      }
      console.log(`${error instanceof Refused ? 'refused for now' : 'no connection'}: ${error.message || error.code}`);
    }
    await rest(wait * between(0.5, 1)); // §8: back-off with jitter
  }
}
run();
