"""Reads a Token Status List with CBOR, COSE and zlib libraries that are not ours, and prints what it says as JSON.

usage: status_list.py FILE SERIAL…
"""

import json
import sys
import zlib

import cbor2

with open(sys.argv[1], "rb") as file:
    signed = cbor2.loads(file.read())
assert signed.tag == 18, "COSE_Sign1 without tag 61"
protected, unprotected, payload, signature = signed.value
header, claims = cbor2.loads(protected), cbor2.loads(payload)
assert unprotected == {} and len(signature) == 64
assert header[16] == "application/statuslist+cwt" and header[1] == -19 and len(header[4]) == 8
status = claims[65533]
assert status["bits"] == 1
decoder = zlib.decompressobj()
bits = decoder.decompress(status["lst"], 1 << 20)
assert decoder.eof and not decoder.unused_data
base = claims[-65538]


def is_revoked(serial):
    index = serial - base
    return bool(bits[index // 8] >> (index % 8) & 1)


print(json.dumps({
    "sub": claims[2], "lives": claims[4] - claims[6], "ttl": claims[65534],
    "revoked": [is_revoked(int(serial)) for serial in sys.argv[2:]],
    "set": sum(bin(byte).count("1") for byte in bits),
}))
