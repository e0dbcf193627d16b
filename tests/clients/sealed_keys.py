"""Opens the sealed symmetric key of our vector with pyhpke, and prints what the vector must say.

usage: sealed_keys.py tests/vectors/ace/sealed_key.json
"""

import json
import sys

import cbor2
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

vector = json.load(open(sys.argv[1], encoding="utf-8"))
suite = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305
)
pair = suite.kem.derive_key_pair(bytes.fromhex(vector["opening_key_random"]))
request = cbor2.loads(bytes.fromhex(vector["token_request"]))
answer = cbor2.loads(bytes.fromhex(vector["token_answer"]))
assert request[-65549] == pair.public_key.to_public_bytes(), "answer_key of the request"
assert request[-65548] == "symmetric" and 8 not in answer
enc, sealed = answer[-65550][:32], answer[-65550][32:]
context = suite.create_recipient_context(enc, pair.private_key, info=b"tessera-symmetric-key-1")
cnf = cbor2.loads(context.open(sealed, aad=answer[1]))
key = cnf[1]
assert (key[1], key[3]) == (4, 5), "HS256"
print(json.dumps({"key": key[-1].hex(), "kid": key[2].hex(), "answer_key": request[-65549].hex()}))
