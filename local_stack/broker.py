"""An MQTT 5 broker as a process: `python -m local_stack.broker --port N`. For demo and tests, not for production.

Two listeners share one router, because this broker speaks one protocol version per port. Nothing survives a restart.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from local_stack.ports import free_ports, if_free, listens
from local_stack.processes import Child
from tradewind.errors import StartupError

MAX_PAYLOAD_BYTES = 1_048_576
"""The broker drops the connection above this; its own default of 20 480 is too small for a forecast."""

_ATTEMPTS = 5


def broker_config(port: int, port_v4: int) -> str:
    """The broker's TOML: MQTT 5 on `port`, MQTT 3.1.1 on `port_v4`."""
    router = [
        "id = 0",
        "[router]",
        "id = 0",
        "max_connections = 1010",
        "max_outgoing_packet_count = 200",
        "max_segment_size = 104857600",
        "max_segment_count = 10",
    ]
    return "\n".join([*router, *_listener("v5", port), *_listener("v4", port_v4), ""])


def _listener(version: str, port: int) -> list[str]:
    return [
        f"[{version}.1]",
        f'name = "{version}-1"',
        f'listen = "127.0.0.1:{port}"',
        "next_connection_delay_ms = 1",
        f"[{version}.1.connections]",
        "connection_timeout_ms = 60000",
        f"max_payload_size = {MAX_PAYLOAD_BYTES}",
        "max_inflight_count = 1000",
        "dynamic_filters = false",
    ]


class Broker:
    """The broker as a child process that can be killed and comes back on the same ports."""

    def __init__(self, directory: Path, wanted: tuple[int, ...] = (0, 0)) -> None:
        """`wanted` are the ports for MQTT 5 and 3.1.1; 0, or one that is taken, means any."""
        self._directory, self._wanted = directory, wanted
        self._child: Child | None = None
        self.port = 0
        """For MQTT 5."""
        self.port_v4 = 0
        """For MQTT 3.1.1, which is what `mosquitto_pub` speaks unless told otherwise."""

    @property
    def url(self) -> str:
        """Where MQTT 5 clients connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """The process; StartupError before the first start."""
        if self._child is None:
            raise StartupError("the broker was never started")
        return self._child

    def start(self) -> None:
        """Starts it on free ports; on the ports it had where it ran before."""
        if self._child is not None:
            self._await(self._child, self.port, self.port_v4)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            ours = zip(self._wanted, free_ports(2), strict=True)
            port, port_v4 = (if_free(wanted) or free if attempt == 1 else free for wanted, free in ours)
            program = [sys.executable, "-m", "local_stack.broker", f"--port={port}", f"--port-v4={port_v4}"]
            child = Child("broker", program, self._directory)
            try:
                self._await(child, port, port_v4)
            except StartupError:
                # Somebody may have taken a port in between: others may still be free.
                child.stop()
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._child, self.port, self.port_v4 = child, port, port_v4
                return

    def stop(self) -> None:
        """Stops it; the ports stay its own for the next start."""
        if self._child is not None:
            self._child.stop()

    @staticmethod
    def _await(child: Child, *ports: int) -> None:
        child.start()
        child.wait_until(
            lambda: all(listens(child.pid, port) for port in ports), timeout_s=20, what="listen on its ports"
        )


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port for MQTT 5")
    parser.add_argument("--port-v4", type=int, required=True, help="loopback port for MQTT 3.1.1")
    arguments = parser.parse_args()
    from iotcore import Broker as RealBroker

    # It reports every packet as an error record.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(broker_config(arguments.port, arguments.port_v4))
        file.flush()
        broker = RealBroker(config_path=file.name)
    broker.run_forever()


if __name__ == "__main__":
    main()
