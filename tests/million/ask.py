"""Devices that ask for tokens: each has a key of its own, derived from a seed and its number, and signs its own request."""

import asyncio
import hashlib
import os
import struct
import time
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TENANT = "default"
# What one address may ask: all devices of this run have the same one.
SETTINGS = """[provisioning.limits]
proved_per_second = 1000000
proved_total_per_second = 1000000
proved_burst = 1000000
proved_total_burst = 1000000
"""
CLIENT_ID, GRANT, TOKEN_TYPE, TENANT_KEY, IAT, NONCE, SIGNATURE = 24, 33, 34, -65540, -65541, -65542, -65543


def name(number: int) -> str:
    return f"m-{number:07}"


def key(seed: str, number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest())


def cose_key(private: Ed25519PrivateKey) -> bytes:
    """COSE_Key of an Ed25519 key (RFC 9053 section 7.2)."""
    return b"\xa3\x01\x01\x20\x06\x21\x58\x20" + private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def encode(value) -> bytes:
    """Deterministic CBOR (RFC 8949 section 4.2) of integers below 2^32, texts, byte strings, lists and maps."""

    def head(major: int, n: int) -> bytes:
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << 8:
            return struct.pack(">BB", major << 5 | 24, n)
        if n < 1 << 16:
            return struct.pack(">BH", major << 5 | 25, n)
        return struct.pack(">BI", major << 5 | 26, n)

    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    return head(5, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())


def request(seed: str, number: int) -> bytes:
    """A request for a token, whole (docs/refresh.md)."""
    private, device = key(seed, number), name(number)
    # The thumbprint of a key is that of its required members in deterministic order (RFC 9679 section 3).
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    thumbprint = hashlib.sha256(b"\xa3\x01\x01\x20\x06\x21\x58\x20" + public).digest()
    now, nonce = int(time.time()), os.urandom(16)
    signature = private.sign(encode(["tessera-refresh-1", TENANT, device, thumbprint, now, nonce, 2]))
    body = encode({CLIENT_ID: device, GRANT: 2, TOKEN_TYPE: 2, TENANT_KEY: TENANT, IAT: now, NONCE: nonce, SIGNATURE: signature})
    head = f"POST /v1/token HTTP/1.1\r\nhost: a\r\ncontent-type: application/ace+cbor\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def line(port: int, seed: str, numbers, took: list, refused: list) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        asked = request(seed, number)
        began = time.perf_counter()
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        took.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200 "):
            refused.append((name(number), head[:40], body[:200]))
    writer.close()


def ask(port: int, seed: str, first: int, end: int, lines: int) -> tuple[list, list]:
    """Lets devices `first` to `end` ask once each, over so many connections; gives the seconds of each and the refused."""
    took, refused, numbers = [], [], iter(range(first, end))

    async def all_lines() -> None:
        await asyncio.gather(*(line(port, seed, numbers, took, refused) for _ in range(lines)))

    asyncio.run(all_lines())
    return took, refused
