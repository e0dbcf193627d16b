"""Derives the key of a token as RFC 9202 section 3.3.2 says, with nothing of ours, and prints what our vector must say.

usage: derived_keys.py tests/vectors/ace/derived_key.json
"""

import hashlib
import hmac
import json
import sys

import cbor2


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf(ikm, info, length):
    """RFC 5869 with an empty salt, for one block of output."""
    return mac(mac(bytes(32), ikm), info + b"\x01")[:length]


vector = json.load(open(sys.argv[1], encoding="utf-8"))
shared, token, cti = (bytes.fromhex(vector[name]) for name in ("derivation_key", "token", "cti"))
key = hkdf(shared, cbor2.dumps(["ACE-CoAP-DTLS-key-derivation", 32, token]), 32)
name = hkdf(shared, cbor2.dumps(["tessera-derivation-key-id-1", 4, vector["audience"]]), 4)

claims = cbor2.loads(cbor2.loads(token).value.value[2])
assert claims[7] == cti and claims[8] == {3: name + cti}, "cnf of the token"
answer = cbor2.loads(bytes.fromhex(vector["token_answer"]))
assert answer[1] == token and answer[8] == {1: {1: 4, 2: name + cti, 3: 5, -1: key}}, "cnf of the answer"

response = bytes.fromhex(vector["client_auth_authentication_data"])
assert response[8:] == mac(key, bytes.fromhex(vector["signed_bytes"])), "answer to the challenge"
connect = vector["connect"]
proof = cbor2.loads(bytes.fromhex(connect["password"])[len(token):])
assert proof[:8] == connect["time"].to_bytes(4, "big") + connect["counter"].to_bytes(4, "big")
assert proof[8:] == mac(key, cbor2.dumps([
    "tessera-connect-1", vector["audience"], connect["client_id"],
    hashlib.sha256(token).digest(), connect["time"], connect["counter"],
])), "connect proof"
print(json.dumps({"key": key.hex(), "derivation_key_id": name.hex(), "kid": (name + cti).hex()}))
