// An mqtt.js client that is driven line by line, so that a test can play with it.
//
// usage: mqttjs_peer.js '{"url": …, "version": 4|5, "id": …, "password": hex | "ace": {"token": hex, "seed": hex}, …}'
// further keys: "clean" (true), "will" (topic), "properties" (of CONNECT), "receive" (Receive Maximum).
//
// Reads commands on stdin, writes one JSON object a line on stdout.
//   connect | sub QOS FILTER [OPTIONS] | unsub FILTER | pub QOS RETAIN TOPIC TEXT [PROPERTIES] | reauth | quit | drop
// Events: ready, message, closed, error, and every packet of the broker by its name.

const crypto = require("node:crypto");
const mqtt = require("mqtt");
const readline = require("node:readline");

const plan = JSON.parse(process.argv[2]);

function say(event, more) {
  const plain = (_, value) => {
    if (value && value.type === "Buffer") return Buffer.from(value.data).toString("hex");
    return value instanceof Map ? Object.fromEntries(value) : value;
  };
  console.log(JSON.stringify({ event, ...more }, plain));
}

// Authentication Data of RFC 9431 (b): the length of the token, the token.
function token() {
  const bytes = Buffer.from(plan.ace.token, "hex");
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return { authenticationMethod: "ace", authenticationData: Buffer.concat([length, bytes]) };
}

// (d): our nonce, and the signature over both.
function answer(challenge) {
  const seed = Buffer.from(plan.ace.seed, "hex");
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const nonce = crypto.randomBytes(8);
  const proof = crypto.sign(null, Buffer.concat([challenge, nonce]), key);
  const properties = {
    authenticationMethod: "ace",
    authenticationData: Buffer.concat([nonce, proof]),
  };
  return { cmd: "auth", reasonCode: 0x18, properties };
}

function connect() {
  const properties = { ...plan.properties, ...(plan.ace && token()) };
  if (plan.receive) properties.receiveMaximum = plan.receive;
  const client = mqtt.connect(plan.url, {
    protocolVersion: plan.version,
    clientId: plan.id,
    username: plan.password && plan.id,
    password: plan.password && Buffer.from(plan.password, "hex"),
    clean: plan.clean !== false,
    keepalive: 30,
    reconnectPeriod: 0,
    autoAssignTopicAlias: plan.version === 5,
    will: plan.will && { topic: plan.will, payload: Buffer.from("gone"), qos: 1, retain: false },
    properties: plan.version === 5 ? properties : undefined,
  });
  client.handleAuth = (packet, done) =>
    packet.reasonCode === 0 ? done(null) : done(null, answer(packet.properties.authenticationData));
  client.on("packetreceive", (packet) => {
    if (packet.cmd !== "publish") say(packet.cmd, packet);
  });
  client.on("message", (topic, payload, packet) =>
    say("message", { ...packet, topic, payload: undefined, text: payload.toString() }));
  client.on("error", (error) => say("error", { code: error.code, text: error.message }));
  client.on("close", () => say("closed"));
  return client;
}

let client;
const commands = {
  connect: () => {
    client = connect();
  },
  sub: ([qos, filter, options]) =>
    client.subscribe(filter, { qos: Number(qos), ...JSON.parse(options ?? "{}") }, () => {}),
  unsub: ([filter]) => client.unsubscribe(filter, () => {}),
  pub: ([qos, retain, topic, text, properties]) => {
    const options = { qos: Number(qos), retain: retain === "1" };
    if (properties) options.properties = JSON.parse(properties);
    client.publish(topic, text, options, () => {});
  },
  // mqtt.js has no call of its own for re-authentication; the packet is the standard's.
  reauth: () => client._sendPacket({ cmd: "auth", reasonCode: 0x19, properties: token() }),
  quit: () => client?.end(),
  drop: () => client.stream.destroy(),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, ...words] = line.split(" ");
  commands[name](words);
}).on("close", () => process.exit(0));
say("ready");
