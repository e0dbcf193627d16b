"""One million devices in one provisioning service: import, a token for each, disk, memory, lists, audit, restart.

usage: tests/.venv/bin/python tests/million/run.py [--devices N] [--binary PATH] [--folder DIR]

Makes a service in a folder of its own, imports devices with keys of their own by `tessera import devices`, lets each of them
ask for a token with a proof by its key, and measures what an operator does beside them. Prints a table for
docs/performance.md.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import ask

SEED = "a million devices"
SITES = 10_000
# Connections of each of two processes that ask for tokens.
LINES = 48
ROUNDS = 2_000


def line_of(number: int) -> str:
    line = {
        "device": ask.name(number),
        "key": ask.base64url(ask.cose_key(ask.key(SEED, number))),
        "role": "sensor",
        "attributes": {"site": f"s-{number % SITES}"},
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def lines(path: pathlib.Path, devices: int) -> None:
    with path.open("w") as out:
        out.writelines(map(line_of, range(devices)))


class Service:
    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.data = binary, folder / "data"
        self.settings = folder / "settings.toml"
        self.settings.write_text(ask.SETTINGS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> float:
        began = time.monotonic()
        command = [self.binary, "provision", "--data", str(self.data)]
        command += ["--http", f"127.0.0.1:{self.port}", "--config", str(self.settings)]
        log = (self.data.parent / "log.txt").open("a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        while True:
            try:
                if self.raw("GET", "/readyz")[0] == 200:
                    return time.monotonic() - began
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"the service ended: see {log.name}")
            time.sleep(0.01)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def raw(self, method, path, token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def resident(self) -> int:
        """Bytes that are not of files: the page cache of the database is not memory of the service."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = [line for line in status.splitlines() if line.startswith("RssAnon")]
        return int(found[0].split()[1]) * 1024

    def disk(self) -> int:
        files = (self.data / "provisioning").rglob("*")
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def percentiles(service, token, paths):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers, took = {"authorization": f"Bearer {token}"}, []
    for path in paths:
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        took.append(time.perf_counter() - began)
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:200]}")
    took.sort()
    return took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000


def use(service, devices, rows) -> None:
    """Each device asks for a token; meanwhile snapshots are taken, as a verifier that starts does."""
    feed = (service.data / "feed.token").read_text().strip()
    half, began, snapshots, most = devices // 2, time.monotonic(), [], 0
    with ProcessPoolExecutor(2) as pool:
        parts = [(0, half), (half, devices)]
        asking = [pool.submit(ask.ask, service.port, SEED, first, end, LINES) for first, end in parts]
        while not all(one.done() for one in asking):
            asked = time.perf_counter()
            status, _ = service.raw("GET", "/v1/trust/snapshot", feed)
            snapshots.append((time.perf_counter() - asked) * 1000)
            if status != 200:
                raise SystemExit(f"snapshot: {status}")
            most = max(most, service.resident())
            time.sleep(1)
        took, refused = [], []
        for one in asking:
            took += one.result()[0]
            refused += one.result()[1]
    seconds = time.monotonic() - began
    if refused:
        raise SystemExit(f"{len(refused)} devices got no token, the first: {refused[0]}")
    took.sort()
    p99 = took[len(took) * 99 // 100] * 1000
    rows.append(("a token for each device", f"{seconds:.0f} s, {devices / seconds:.0f} a second, p99 {p99:.0f} ms"))
    rows.append(("trust snapshot meanwhile", f"{len(snapshots)} times, {max(snapshots):.0f} ms at most"))
    rows.append(("memory of the process meanwhile", f"{most >> 20} MiB at most"))


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parse.add_argument("--devices", type=int, default=1_000_000)
    parse.add_argument("--binary", default="target/release/tessera")
    parse.add_argument("--folder")
    args = parse.parse_args()
    folder = pathlib.Path(args.folder or tempfile.mkdtemp(prefix="tessera-million-"))
    folder.mkdir(exist_ok=True)
    file = folder / "devices.ndjson"
    if not file.exists():
        print(f"{args.devices} keys are made in {file}", flush=True)
        lines(file, args.devices)
    service = Service(os.path.abspath(args.binary), folder)
    token = (service.data / "operator.token").read_text().strip()
    before, empty = service.disk(), service.resident()
    print("import", flush=True)
    began, most = time.monotonic(), empty
    url = f"http://127.0.0.1:{service.port}"
    command = [service.binary, "import", "devices", str(file), "--http", url]
    command += ["--operator-token", f"@{service.data / 'operator.token'}"]
    importing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while importing.poll() is None:
        most = max(most, service.resident())
        time.sleep(0.2)
    took = time.monotonic() - began
    told = importing.stdout.read().decode().strip().splitlines()
    if importing.returncode != 0:
        raise SystemExit("\n".join(told[-5:]))
    rows = [("import", f"{took:.0f} s, {args.devices / took:.0f} devices/s")]
    rows.append(("disk", f"{(service.disk() - before) / args.devices:.0f} bytes a device"))
    rows.append(("memory of the process (RssAnon)", f"{empty >> 20} MiB empty, {most >> 20} MiB at most in the import"))
    disk = service.disk()
    print("tokens", flush=True)
    use(service, args.devices, rows)
    rows.append(("disk of a token that lives", f"{(service.disk() - disk) / args.devices:.0f} bytes"))
    rng = random.Random(1)
    some = [rng.randrange(args.devices) for _ in range(ROUNDS)]
    devices = "/v1/tenants/default/devices"
    measures = {
        "show a device": [f"{devices}/{ask.name(n)}" for n in some],
        "list 100 devices, at any place": [f"{devices}?limit=100&cursor={ask.name(n)}" for n in some],
        "find by prefix": [f"{devices}?limit=100&prefix={ask.name(n)[:8]}" for n in some],
        "find by attribute": [f"{devices}?limit=100&attr.site=s-{n % SITES}" for n in some],
        "audit log by subject": [f"/v1/audit?tenant=default&subject={ask.name(n)}" for n in some],
        "audit log by action and time": ["/v1/audit?action=import.end&since=1" for _ in some],
        "audit log, the newest 100": ["/v1/audit?last=100&limit=100" for _ in some],
        "history of a device": [f"{devices}/{ask.name(n)}/history" for n in some],
    }
    for label, paths in measures.items():
        print(label, flush=True)
        middle, p99 = percentiles(service, token, paths)
        rows.append((label, f"p50 {middle:.1f} ms, p99 {p99:.1f} ms"))
    feed = (service.data / "feed.token").read_text().strip()
    began = time.monotonic()
    status, body = service.raw("GET", "/v1/trust/snapshot", feed)
    rows.append(("trust snapshot", f"{time.monotonic() - began:.2f} s, {len(body)} bytes, HTTP {status}"))
    service.stop()
    rows.append(("start until ready", f"{service.start():.2f} s"))
    percentiles(service, token, measures["show a device"])
    rows.append(("memory after the start and 2,000 reads", f"{service.resident() >> 20} MiB"))
    service.stop()
    print(f"\n| {args.devices} devices | measured |\n|---|---|")
    for label, value in rows:
        print(f"| {label} | {value} |")


if __name__ == "__main__":
    main()
