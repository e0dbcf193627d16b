"""Asks once on $tessera/enrol, as a device does that has a claim code.

usage: enrol_mqtt.py PORT VERSION TENANT DEVICE CODE [REQUEST_HEX]

Writes the answer in hexadecimal digits. When the CONNECT is refused, it writes the return code and ends with status 1.
"""

import queue
import sys

import paho.mqtt.client as mqtt


def main():
    port, version, tenant, device, code = sys.argv[1:6]
    request = bytes.fromhex(sys.argv[6]) if len(sys.argv) > 6 else b""
    events = queue.Queue()
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=device,
        protocol=mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    client.username_pw_set(f"$claim/{tenant}", code)
    client.on_connect = lambda c, u, flags, reason, p: events.put(("connack", reason))
    client.on_subscribe = lambda c, u, mid, codes, p: events.put(("suback", codes))
    client.on_message = lambda c, u, message: events.put((message.topic, message.payload))
    client.connect("127.0.0.1", int(port), keepalive=30)
    client.loop_start()
    name, reason = events.get(timeout=30)
    if name != "connack" or reason.is_failure:
        print(reason)
        sys.exit(1)
    client.subscribe("$tessera/enrol", 1)
    name, codes = events.get(timeout=30)
    assert name == "suback" and not codes[0].is_failure, codes
    client.publish("$tessera/enrol", request, 1)
    topic, answer = events.get(timeout=30)
    assert topic == "$tessera/enrol", topic
    print(answer.hex())
    client.disconnect()
    client.loop_stop()


main()
