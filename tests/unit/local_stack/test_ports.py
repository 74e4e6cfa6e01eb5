"""Free ports are free, and a port is only ours when our process listens on it."""

import os
import socket

from local_stack.ports import free_ports, if_free, listens


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))


def test_a_port_is_ours_only_when_our_process_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not listens(os.getpid(), port)
        listener.listen()
        assert listens(os.getpid(), port)
        assert not listens(os.getppid(), port)
    assert not listens(os.getpid(), port)


def test_descriptors_that_close_meanwhile_do_not_hide_the_listener() -> None:
    # In the list of our own descriptors stands the list's, before the listener's and gone when it is read.
    with socket.socket() as gap, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        gap.close()
        assert listens(os.getpid(), listener.getsockname()[1])


def test_a_usual_port_is_taken_only_while_nobody_has_it() -> None:
    (port,) = free_ports(1)
    assert if_free(port) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert if_free(port) == 0
