// A receiver of webhooks: verifies with the library of Standard Webhooks.
//
// Prints its port, then for each request one line: the type and the subject of an event whose signature is right.
// usage: webhook_receiver.js; reads "SECRET PUBLIC_KEY" from standard input.

const http = require("node:http");
const readline = require("node:readline");
const { Webhook } = require("standardwebhooks");

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let hook;

const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts).toString();
  try {
    if (!hook) hook = new Webhook((await lines.next()).value.split(" ")[0]);
    const event = hook.verify(body, request.headers);
    console.log("verified", event.type, event.data.subject);
    response.writeHead(204).end();
  } catch (error) {
    console.log("refused", error.message);
    response.writeHead(400).end();
  }
});
server.listen(0, "127.0.0.1", () => console.log("port", server.address().port));
