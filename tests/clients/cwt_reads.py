"""Reads a token of ours with an independent CWT library and prints its claims as JSON.

usage: cwt_reads.py TOKEN_HEX ISSUER_PUBLIC_KEY_HEX KID_HEX
"""

import json
import sys

import cbor2
import cwt
from cwt import COSEKey

token, public, kid = (bytes.fromhex(argument) for argument in sys.argv[1:4])
key = COSEKey.new({1: 1, 2: kid, 3: -8, 4: [2], -1: 6, -2: public})
claims = cwt.decode(token, key)
assert token[:4] == bytes.fromhex("d83dd284"), "tags 61 and 18"
assert claims[8][1][-1] == 6 and len(claims[8][1][-2]) == 32, "cnf holds an Ed25519 key"
print(json.dumps({
    "iss": claims[1], "sub": claims[2], "aud": claims[3], "exp": claims[4], "iat": claims[6],
    "scope": cbor2.loads(claims[9]), "epochs": claims[-65537],
}))
