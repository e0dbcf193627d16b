"""A receiver of webhooks: verifies with the library of Standard Webhooks, and the Ed25519 signature with cryptography.

Prints its port, then for each request one line: the type and the subject of an event whose signatures are right.
usage: webhook_receiver.py; reads "SECRET PUBLIC_KEY" from standard input.
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

keys = {}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            if not keys:
                keys["secret"], keys["public"] = sys.stdin.readline().split()
            Webhook(keys["secret"]).verify(body.decode(), headers)
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}"
            parts = [part.split(",") for part in headers["webhook-signature"].split(" ")]
            public = base64.b64decode(keys["public"].removeprefix("whpk_"))
            for kind, signature in parts:
                if kind == "v1a":
                    key = Ed25519PublicKey.from_public_bytes(public)
                    key.verify(base64.b64decode(signature), signed.encode())
            assert any(kind == "v1a" for kind, _ in parts)
            event = json.loads(body)
            print("verified", event["type"], event["data"]["subject"], flush=True)
            self.send_response(204)
        except WebhookVerificationError as error:
            print("refused", error, flush=True)
            self.send_response(400)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print("port", server.server_port, flush=True)
server.serve_forever()
