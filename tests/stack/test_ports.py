"""Ports: free ones are found, and taken ones are told."""

import socket

import pytest

from devstack.stack.errors import AddressTakenError
from devstack.stack.ports import FIRST, LAST, check_free, free_port, is_free


def test_chosen_ports_are_free_different_and_below_what_the_system_lends() -> None:
    chosen: set[int] = set()
    ports = [free_port(["127.0.0.1"], besides=chosen) for _ in range(20)]
    assert set(ports) == chosen
    assert len(chosen) == 20
    assert all(FIRST <= port <= LAST and is_free("127.0.0.1", port) for port in ports)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        with pytest.raises(AddressTakenError, match=f"kafka-1 cannot listen on 127.0.0.1:{port}"):
            check_free("kafka-1", "127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_an_address_of_another_machine_has_no_free_port() -> None:
    with pytest.raises(AddressTakenError, match=r"is free on 192\.0\.2\.1"):
        free_port(["192.0.2.1"], besides=set())
