#!/usr/bin/env python3
"""A guard in front of a local MQTT broker: the agent decides, the broker delivers.

Devices connect to the guard. It asks `tessera agent` (docs/agent.md) about each CONNECT, PUBLISH and SUBSCRIBE, passes
on what is allowed, and reports what passed. The broker behind it listens on loopback alone and needs no users.

    guard.py --listen 0.0.0.0:1884 --broker 127.0.0.1:1883 --agent http://127.0.0.1:9465

It speaks MQTT 3.1.1. In this version a PUBLISH cannot be refused, so a refused one ends the connection.
"""

import argparse
import asyncio
import base64
import http.client
import json
import struct
import sys
import urllib.parse

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 8, 9, 14
PACKET_BYTES = 256 * 1024  # the largest packet of a device
CONNECT_SECONDS = 5  # from the socket to the CONNECT
REPORT_SECONDS = 2  # between two reports of one connection
AGENT_SECONDS = 10  # for one answer of the agent


class Ended(Exception):
    """The connection is over, for this reason."""


def post(agent, path, body):
    """One call of the agent. Without an answer nothing is allowed."""
    url = urllib.parse.urlsplit(agent)
    link = http.client.HTTPConnection(url.hostname, url.port, timeout=AGENT_SECONDS)
    try:
        link.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Ended(f"agent {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Ended(f"agent {path}: {error}") from error
    finally:
        link.close()


async def packet(reader):
    """The next packet: its first byte, its body, and all its bytes."""
    first = await reader.readexactly(1)
    length, shift, head = 0, 0, first
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 21:
            raise Ended("malformed")
    if length > PACKET_BYTES:
        raise Ended("too_large")
    body = await reader.readexactly(length)
    return first[0], body, head + body


class Fields:
    """Takes fields out of the body of a packet."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, number):
        end = self.at + number
        if end > len(self.body):
            raise Ended("malformed")
        taken, self.at = self.body[self.at : end], end
        return taken

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def data(self):
        return self.take(self.u16())

    def text(self):
        try:
            return self.data().decode()
        except UnicodeDecodeError as error:
            raise Ended("malformed") from error

    def left(self):
        return len(self.body) - self.at


class Guard:
    """One connection of a device."""

    def __init__(self, options, reader, writer):
        self.options, self.reader, self.writer = options, reader, writer
        self.session = None
        self.published = {}  # topic: [count, bytes]
        self.received = [0, 0]
        self.clean = False

    async def ask(self, path, body):
        return await asyncio.to_thread(post, self.options.agent, path, body)

    async def serve(self):
        try:
            first, body, raw = await asyncio.wait_for(packet(self.reader), CONNECT_SECONDS)
            if first >> 4 != CONNECT:
                raise Ended("the first packet is no CONNECT")
            await self.connect(body)
            await self.pass_on(raw)
        except Ended as ended:
            print(f"{self.peer()}: {ended}", file=sys.stderr)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            print(f"{self.peer()}: {error or 'no CONNECT in time'}", file=sys.stderr)
        finally:
            self.writer.close()
            if self.session:
                await self.tell_the_end()

    def peer(self):
        return (self.writer.get_extra_info("peername") or ("local",))[0]

    async def connect(self, body):
        fields = Fields(body)
        if fields.text() != "MQTT" or fields.u8() != 4:
            self.writer.write(bytes([CONNACK << 4, 2, 0, 1]))
            raise Ended("not MQTT 3.1.1")
        flags, keep_alive, client = fields.u8(), fields.u16(), fields.text()
        will = None
        if flags & 0x04:
            will = (fields.text(), len(fields.data()))
        if flags & 0x80:
            fields.text()
        password = fields.data() if flags & 0x40 else b""
        encoded = base64.urlsafe_b64encode(password).rstrip(b"=").decode()
        question = {"client_id": client, "password": encoded, "reports": True}
        if self.peer() != "local":
            question["address"] = self.peer()
        answer = await self.ask("/v1/connect", question)
        if not answer["allow"]:
            self.writer.write(bytes([CONNACK << 4, 2, 0, 5]))
            raise Ended(f"{client}: {answer['code']}: {answer['words']}")
        self.session = answer["session"]
        connected = {"kind": "connected", "keep_alive": keep_alive}
        if "address" in question:
            connected["address"] = question["address"]
        await self.report([connected])
        if will and not await self.may([self.publish_question(*will)]):
            self.writer.write(bytes([CONNACK << 4, 2, 0, 5]))
            raise Ended(f"{client}: the will is not allowed")

    async def pass_on(self, raw):
        host, port = self.options.broker
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(raw)
        tasks = [
            asyncio.create_task(self.upward(writer)),
            asyncio.create_task(self.downward(reader)),
            asyncio.create_task(self.report_often()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()

    async def upward(self, writer):
        """From the device to the broker."""
        while True:
            first, body, raw = await packet(self.reader)
            kind = first >> 4
            if kind == CONNECT:
                raise Ended("a second CONNECT")
            if kind == PUBLISH:
                await self.publish(first, body)
            if kind == SUBSCRIBE and not await self.subscribe(body):
                continue
            writer.write(raw)
            await writer.drain()
            if kind == DISCONNECT:
                self.clean = True
                return

    async def downward(self, reader):
        """From the broker to the device."""
        while True:
            first, body, raw = await packet(reader)
            if first >> 4 == PUBLISH:
                self.received[0] += 1
                self.received[1] += len(body)
            self.writer.write(raw)
            await self.writer.drain()

    def publish_question(self, topic, number, qos=0):
        question = {"ask": "publish", "session": self.session, "topic": topic}
        return {**question, "bytes": number, "qos": qos}

    async def publish(self, first, body):
        fields, qos = Fields(body), first >> 1 & 3
        topic = fields.text()
        if qos:
            fields.u16()
        if not await self.may([self.publish_question(topic, fields.left(), qos)]):
            raise Ended(f"publish to {topic!r} is not allowed")
        counts = self.published.setdefault(topic, [0, 0])
        counts[0] += 1
        counts[1] += fields.left()

    async def subscribe(self, body):
        fields = Fields(body)
        number, questions = fields.take(2), []
        while fields.left():
            topic, qos = fields.text(), fields.u8()
            question = {"ask": "subscribe", "session": self.session, "filter": topic, "qos": qos}
            questions.append(question)
        if not questions or len(questions) > 64:
            raise Ended("SUBSCRIBE with no filter, or with more than 64")
        if await self.may(questions):
            seen = [{"kind": "subscribed", "filter": one["filter"]} for one in questions]
            await self.report(seen)
            return True
        refused = number + b"\x80" * len(questions)
        self.writer.write(bytes([SUBACK << 4, len(refused)]) + refused)
        return False

    async def may(self, questions):
        answer = await self.ask("/v1/batch", {"questions": questions})
        answers = answer["answers"]
        return len(answers) == len(questions) and all(one["allow"] for one in answers)

    async def report(self, seen):
        reports = [{"session": self.session, "seen": one} for one in seen]
        answer = await self.ask("/v1/report", {"reports": reports})
        for one in answer["answers"]:
            if not one["holds"] and "code" in one:
                raise Ended(f"{one['code']}: {one['words']}")

    def counted(self):
        topics, self.published = self.published, {}
        (count, number), self.received = self.received, [0, 0]
        for topic, (many, size) in topics.items():
            yield {"kind": "published", "topic": topic, "count": many, "bytes": size}
        if count:
            yield {"kind": "received", "count": count, "bytes": number}

    async def report_often(self):
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            # Without news nothing is lost by asking: the answer tells whether the session may go on.
            seen = list(self.counted()) or [{"kind": "alive"}]
            for start in range(0, len(seen), 256):
                await self.report(seen[start : start + 256])

    async def tell_the_end(self):
        seen = [*list(self.counted())[:255], {"kind": "disconnected", "clean": self.clean}]
        try:
            await self.report(seen)
        except Ended as ended:
            print(f"{self.peer()}: {ended}", file=sys.stderr)


def place(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", type=place, default=("127.0.0.1", 1884))
    parser.add_argument("--broker", type=place, default=("127.0.0.1", 1883))
    parser.add_argument("--agent", default="http://127.0.0.1:9465")
    options = parser.parse_args()
    serve = lambda reader, writer: Guard(options, reader, writer).serve()
    server = await asyncio.start_server(serve, *options.listen)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"guard {host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
