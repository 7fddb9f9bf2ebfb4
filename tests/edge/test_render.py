"""The templates and what is made of them; promise: what descriptors say is what is routed."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from devstack.edge import validate
from devstack.edge.binary import EnvoyNotFoundError, envoy_path
from devstack.edge.contract import Kind, RoutedService, descriptor_set, routed_services
from devstack.edge.process import EnvoyFailedError
from devstack.edge.render import render_gateway, render_load_balancer
from devstack.edge.settings import Tier
from devstack.edge.templates import TemplatesNotFoundError, fill
from domains.bank.domain import BANK
from tests.edge.fronted import CONTRACT, needs_envoy

SERVICES = {kind: (f"{kind.value}.example:7070",) for kind in Kind}


def routes(configuration: str) -> dict[str, str]:
    """Returns the cluster of each route by what the route matches."""
    found = {}
    match = ""
    for line in configuration.splitlines():
        word, _, value = line.strip().partition(": ")
        if word in ("path", "prefix"):
            match = value
        if word == "cluster":
            found[match] = value
    return found


def test_services_belong_where_their_options_say() -> None:
    found = {service.name: service.kind for service in routed_services(CONTRACT)}
    assert found == {
        "bank.v1.AccountCommands": Kind.COMMAND,
        "bank.v1.AccountQueries": Kind.QUERY,
        "eventspine.v1.AdminService": Kind.ADMIN,
        "eventspine.v1.CommandService": Kind.COMMAND,
        "eventspine.v1.QueryService": Kind.QUERY,
        "flights.v1.FlightCommands": Kind.COMMAND,
        "flights.v1.FlightQueries": Kind.QUERY,
    }


def test_a_domain_is_routed_when_it_is_in_the_descriptor_set_and_not_before() -> None:
    without = routes(render_gateway(descriptor_set(()), SERVICES, Tier()))
    with_bank = routes(render_gateway(descriptor_set(BANK.protos), SERVICES, Tier()))
    new = {match: to for match, to in with_bank.items() if match not in without}
    assert new == {
        "/bank.v1.AccountCommands/": "command",
        "/bank.v1.AccountQueries/": "query",
        "/bank.v1.AccountQueries/ListAccountBalances": "query_streams",
        "/bank.v1.AccountQueries/WatchAccountBalance": "query_streams",
        "/bank.v1.AccountQueries/ListStatementLines": "query_streams",
    }


def test_streams_have_clusters_of_their_own_in_both_tiers() -> None:
    for configuration, cluster in (
        (render_gateway(CONTRACT, SERVICES, Tier()), "query_streams"),
        (render_load_balancer(CONTRACT, ("127.0.0.1:1",), Tier()), "gateway_streams"),
    ):
        assert routes(configuration)["/eventspine.v1.QueryService/Subscribe"] == cluster


def test_a_service_without_an_option_is_not_routed() -> None:
    alien = descriptor_pb2.FileDescriptorProto(name="alien.proto", package="alien.v1")
    alien.service.add(name="Alien").method.add(name="Do")
    contract = descriptor_pb2.FileDescriptorSet(file=[alien])
    assert routed_services(contract) == []


def test_a_service_without_a_package_is_routed_by_its_name() -> None:
    contract = descriptor_pb2.FileDescriptorSet(file=[descriptor_pb2.FileDescriptorProto()])
    service = contract.file[0].service.add(name="Plain")
    service.method.add(name="One")
    service.method.add(name="Many", server_streaming=True)
    service.options.ParseFromString(
        next(
            service.options.SerializeToString()
            for file in CONTRACT.file
            if file.package == "bank.v1"
            for service in file.service
            if service.name == "AccountQueries"
        )
    )
    assert routed_services(contract) == [RoutedService("Plain", Kind.QUERY, ("One",), ("Many",))]


def test_imports_stand_before_what_imports_them() -> None:
    seen: set[str] = set()
    for file in CONTRACT.file:
        assert set(file.dependency) <= seen
        seen.add(file.name)
    assert {"google/rpc/error_details.proto", "google/rpc/status.proto"} <= seen


def test_a_word_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="admin_port"):
        fill("parts/shared", connections_max=1)


def test_a_template_that_is_not_there_says_where_it_was_looked_for() -> None:
    with pytest.raises(TemplatesNotFoundError, match=r"no envoy/nothing\.yaml in"):
        fill("nothing")


@pytest.mark.envoy
async def test_a_shape_that_envoy_refuses_is_named(tmp_path: Path) -> None:
    needs_envoy()
    with pytest.raises(EnvoyFailedError, match="nonsense"):
        await validate.validate("nonsense: 1", tmp_path)


def test_a_binary_that_is_none_is_told_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for text, words in (
        ("", "does not run here"),
        ("#!/bin/sh\necho 1/1.20.0/x", "not Envoy 1.40"),
    ):
        program = tmp_path / "envoy"
        program.write_text(text)
        program.chmod(0o755 if text else 0o644)
        monkeypatch.setenv("EVENTSPINE_ENVOY", str(program))
        envoy_path.cache_clear()
        with pytest.raises(EnvoyNotFoundError, match=words):
            envoy_path()
    envoy_path.cache_clear()
