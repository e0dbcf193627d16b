"""A paho client that is driven line by line, so that a test can play with it.

usage: paho_peer.py PORT VERSION CLIENT_ID PASSWORD_HEX [WILL_TOPIC]

Reads commands on stdin, writes one JSON object a line on stdout.
  connect | sub QOS FILTER | unsub FILTER | pub QOS RETAIN TOPIC TEXT | quit
Events: connected, disconnected, suback, unsuback, puback, message.
"""

import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def number(code):
    return code.value if hasattr(code, "value") else int(code)


def main():
    port, version, client_id, password = sys.argv[1:5]
    v5 = version == "5"
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    # paho takes text or bytes; the raw CBOR bytes are what a device would send.
    client.username_pw_set(client_id, None)
    client._password = bytes.fromhex(password)
    if len(sys.argv) > 5:
        client.will_set(sys.argv[5], "gone", qos=1)
    client.on_connect = lambda c, u, f, code, p: say(
        "connected", code=number(code), present=f.session_present)
    client.on_disconnect = lambda c, u, f, code, p: say("disconnected", code=number(code))
    client.on_subscribe = lambda c, u, mid, codes, p: say("suback", codes=[number(x) for x in codes])
    client.on_unsubscribe = lambda c, u, mid, codes, p: say("unsuback")
    client.on_publish = lambda c, u, mid, code, p: say("puback", code=number(code))
    client.on_message = lambda c, u, m: say(
        "message", topic=m.topic, text=m.payload.decode("utf8", "replace"), qos=m.qos,
        retain=m.retain)
    say("ready")
    for line in sys.stdin:
        words = line.rstrip("\n").split(" ")
        if words[0] == "connect":
            if v5:
                properties = Properties(PacketTypes.CONNECT)
                properties.UserProperty = [("from", "paho"), ("from", "test")]
                client.connect("127.0.0.1", int(port), keepalive=30, properties=properties)
            else:
                client.connect("127.0.0.1", int(port), keepalive=30)
            client.loop_start()
        elif words[0] == "sub":
            client.subscribe(words[2], int(words[1]))
        elif words[0] == "unsub":
            client.unsubscribe(words[1])
        elif words[0] == "pub":
            client.publish(words[3], " ".join(words[4:]), int(words[1]), retain=words[2] == "1")
        elif words[0] == "quit":
            client.disconnect()
            client.loop_stop()
            break


main()
