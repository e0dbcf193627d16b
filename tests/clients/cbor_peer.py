"""Encodes the members of a device message as cbor2 does by default, and as a streaming encoder and fxamacker/cbor would,
one line of hex each.

usage: cbor_peer.py JSON    a list of [label, kind, value]; kind is text, bytes (hex), uint, or map (a list again)
"""

import json
import sys

import cbor2


def value(kind, given):
    if kind == "bytes":
        return bytes.fromhex(given)
    return {label: value(kind, inner) for label, kind, inner in given} if kind == "map" else given


def streamed(kind, given):
    """Indefinite lengths, as encoders write them that do not know the end."""
    if kind == "map":
        pairs = (cbor2.dumps(label) + streamed(kind, inner) for label, kind, inner in given)
        return b"\xbf" + b"".join(pairs) + b"\xff"
    whole = value(kind, given)
    if kind == "uint":
        return cbor2.dumps(whole)
    mark, half = (b"\x7f" if kind == "text" else b"\x5f"), len(whole) // 2
    return mark + cbor2.dumps(whole[:half]) + cbor2.dumps(whole[half:]) + b"\xff"


members = json.loads(sys.argv[1])
print(cbor2.dumps(value("map", members)).hex())
print(cbor2.dumps(value("map", members[::-1])).hex())
print(cbor2.dumps(value("map", members), canonical=True).hex())
print(cbor2.dumps(cbor2.CBORTag(55799, value("map", members))).hex())
print(streamed("map", members).hex())
# fxamacker/cbor by default (SortNone): struct fields with `cbor:"24,keyasint"` in the order of the struct, shortest heads.
order = [24, -65540, 4, -65547, -65542, -65543]
print(cbor2.dumps(value("map", sorted(members, key=lambda member: order.index(member[0])))).hex())
