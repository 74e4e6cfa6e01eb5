"""A microcontroller's way of saying an intensity: MQTT 3.1.1 over a bare socket, no library. MicroPython runs it too.

`meter.py HOST PORT USER PASSWORD ZONE VALUE`; the value holds from now until the next one.
"""

import socket
import sys


def text(value: str) -> bytes:
    """Text as MQTT writes it."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def packet(kind: int, body: bytes) -> bytes:
    """A packet of less than 16 384 bytes: far more than a reading needs."""
    low, high = len(body) % 128, len(body) // 128
    return bytes([kind, low | 128, high] if high else [kind, low]) + body


def say(host: str, port: int, user: str, password: str, zone: str, value: str) -> None:
    """Signs in, says the value with QoS 1 and waits until the broker has it."""
    connection = socket.create_connection((host, port), 10)
    flags, keepalive = b"\x04\xc2", b"\x00\x3c"  # Version 3.1.1; a user, a password, a clean session.
    connection.sendall(packet(0x10, text("MQTT") + flags + keepalive + text(user) + text(user) + text(password)))
    if connection.recv(4)[3:] != b"\x00":
        raise SystemExit("the broker refuses the login")
    connection.sendall(packet(0x32, text(f"carbon/v1/observations/{user}/{zone}") + b"\x00\x01" + value.encode()))
    connection.recv(4)
    connection.sendall(packet(0xE0, b""))
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 7:
        raise SystemExit("meter.py HOST PORT USER PASSWORD ZONE VALUE")
    host, port, *rest = sys.argv[1:]
    say(host, int(port), *rest)
