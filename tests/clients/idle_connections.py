"""Memory of idle HTTP connections: opens them to a running server and reads its resident size.

    python3 tests/clients/idle_connections.py PORT PID [COUNT]
"""

import socket
import sys
import time

PORT, PID = int(sys.argv[1]), sys.argv[2]
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
ASK = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def resident():
    with open(f"/proc/{PID}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def opened(count, text, answered):
    peers = []
    for _ in range(count):
        peer = socket.create_connection(("127.0.0.1", PORT))
        if text:
            peer.sendall(text)
        if answered:
            peer.recv(4096)
        peers.append(peer)
    return peers


# The first connections pay for what the process keeps.
for warm in opened(COUNT, ASK, True):
    warm.close()
time.sleep(3)
for name, text, answered in [
    ("silent", b"", False),
    ("idle behind an answer", ASK, True),
    ("in the middle of a head", ASK[:20], False),
]:
    before = resident()
    peers = opened(COUNT, text, answered)
    time.sleep(2)
    after = resident()
    print(f"{name}: {COUNT} connections, {(after - before) / COUNT:.2f} KiB each")
    for peer in peers:
        peer.close()
    time.sleep(4)
