"""A bare paho subscriber: counts messages and says when it has them all."""

import sys
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


def main() -> None:
    """`python -m bench.subscriber PORT TOPIC COUNT`."""
    port, topic, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    heard = 0

    def on_message(_client: mqtt.Client, _data: Any, _message: mqtt.MQTTMessage) -> None:
        nonlocal heard
        heard += 1
        if heard == count:
            print("heard all", flush=True)
            client.disconnect()

    client.on_message = on_message
    client.on_subscribe = lambda *_: print(f"subscriber listening on 127.0.0.1:{port}", flush=True)
    client.connect("127.0.0.1", port)
    client.subscribe(topic, qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()
