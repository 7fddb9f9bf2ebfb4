"""Renders the configuration of both tiers; promise: the same templates for every shape of platform.

Envoy's configuration has no variables, so that each process gets a file of its own.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from devstack.edge.contract import PROBES, Kind, RoutedService, routed_services
from devstack.edge.json_fields import field_table, request_table
from devstack.edge.settings import LOOPBACK_ORIGINS, Addresses, Certificates, Limits, Tier
from devstack.edge.templates import fill
from eventspine.rpc.address import split_address
from eventspine.rpc.errors import OverloadedError
from eventspine.rpc.status import to_status

HEALTH_PATH: Final = "/healthz"
"""Where each tier says over HTTP whether it takes calls: 200 or 503."""

CONTENT: Final = r"application/(grpc|grpc\+proto|grpc-web(-text)?(\+proto)?|json)( *;.*)?"
"""The content types that a gateway takes, as a regular expression."""

STREAM_WINDOW_BYTES: Final = 64 * 1024
CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
"""How much may be under way on one call, and on a connection of one caller."""

_WINDOW_BYTES_MAX: Final = 2**31 - 1
_OVERLOADED: Final = OverloadedError("too many calls at once; send the same again a little later")
_JSON_CODES: Final = {400: 3, 404: 12, 408: 4, 413: 8, 415: 3, 431: 8, 503: 14, 504: 4}
"""The google.rpc.Code of what a tier answers a JSON call with by itself, by HTTP status."""

_GRPC_CODES: Final = {400: 3, 413: 8}
"""Likewise for a gRPC call, where gRPC would read the HTTP status as something else."""


def render_gateway(
    contract: FileDescriptorSet,
    services: Mapping[Kind, Addresses],
    tier: Tier,
    *,
    origins: Sequence[str] = LOOPBACK_ORIGINS,
) -> str:
    """Returns the configuration of a gateway.

    Args:
        contract: All that is hosted, as `descriptor_set` returns it.
        services: The addresses of the instances of each kind.
        tier: Where it listens and what it lets through.
        origins: Regular expressions of the origins of pages that may call; none may where empty.
    """
    hosted = routed_services(contract)
    routed = [*hosted, *PROBES]
    clusters = [
        _cluster(name, services[kind], tier, health="grpc_health_check: {}", eject_unavailable=100)
        for kind in Kind
        for name in (kind.value, _streams(kind.value))
    ]
    names = [service.name for service in hosted]
    filters = fill(
        "parts/gateway_filters",
        unknown_fields=fill(
            "unknown_fields.lua",
            requests=request_table(contract, names),
            fields=field_table(contract),
        ),
        services=json.dumps(names),
        descriptor_set=b64encode(contract.SerializeToString(deterministic=True)).decode(),
        methods=json.dumps([_method_names(service) for service in routed]),
    )
    cors = fill("parts/cors", origins=json.dumps([{"safe_regex": {"regex": o}} for o in origins]))
    routes = [
        fill("parts/bad_deadline"),
        *(route for service in routed for route in _service_routes(service, tier.limits)),
        fill("parts/refusals", content=_quoted(CONTENT)),
    ]
    http = _http(tier, "gateway", filters=filters, cors=cors if origins else "", routes=routes)
    return _process("gateway", tier, http, clusters)


def render_load_balancer(contract: FileDescriptorSet, gateways: Addresses, tier: Tier) -> str:
    """Returns the configuration of a load balancer.

    Args:
        contract: All that is hosted, as `descriptor_set` returns it: streams go by other rules.
        gateways: The addresses of the gateways.
        tier: Where it listens and what it lets through.
    """
    health = f"http_health_check: {{path: {HEALTH_PATH}, codec_client_type: HTTP2}}"
    # A gateway passes on what a service says: that a service is unavailable is not its fault.
    clusters = [
        _cluster(name, gateways, tier, health=health, eject_unavailable=0)
        for name in ("gateway", _streams("gateway"))
    ]
    routes = [
        *(
            _route(f"{service.name}/{method}", _path(service, method), "gateway", streams=True)
            for service in (*routed_services(contract), *PROBES)
            for method in service.streaming
        ),
        _route("all", "prefix: /", "gateway", streams=False),
    ]
    http = _http(tier, "load_balancer", filters="", cors="", routes=routes)
    return _process("load_balancer", tier, http, clusters)


def _process(name: str, tier: Tier, http: str, clusters: Iterable[str]) -> str:
    """Returns the whole configuration of one process."""
    host, port = split_address(tier.listen)
    shared = fill(
        "parts/shared", admin_port=tier.admin_port, connections_max=tier.limits.connections
    )
    return fill(
        name,
        shared=shared,
        host=host,
        port=port,
        http=http,
        listener_tls="" if tier.listener is None else _listener_tls(tier.listener),
        clusters="".join(clusters),
    )


def _http(tier: Tier, name: str, *, filters: str, cors: str, routes: Iterable[str]) -> str:
    """Returns what both tiers do with HTTP."""
    replies = [
        _overloaded_replies(),
        *(
            fill("parts/local_reply_json", http_status=status, code=code)
            for status, code in _JSON_CODES.items()
        ),
        *(
            fill("parts/local_reply_grpc", http_status=status, code=code)
            for status, code in _GRPC_CODES.items()
        ),
    ]
    first_tier = name == "load_balancer"
    return fill(
        "parts/http",
        tier=name,
        first_tier=json.dumps(first_tier),
        # The load balancer's connections to a gateway carry the calls of all its callers.
        streams_max=tier.limits.streams if first_tier else tier.limits.requests,
        stream_window=STREAM_WINDOW_BYTES,
        connection_window=CONNECTION_WINDOW_BYTES if first_tier else _shared_window(tier.limits),
        access_log=_quoted_path(tier.access_log),
        health_path=HEALTH_PATH,
        local_replies="".join(replies),
        filters=filters,
        cors=cors,
        routes="".join(routes),
    )


def _overloaded_replies() -> str:
    """Returns how a tier says that too much comes at once."""
    status = to_status(_OVERLOADED)
    return fill(
        "parts/local_replies",
        overloaded=b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("="),
        overloaded_text=_quoted(status.message),
        overloaded_json=json.dumps(
            {
                "code": status.code,
                "message": status.message,
                "details": [MessageToDict(detail) for detail in status.details],
            }
        ),
    )


def _service_routes(service: RoutedService, limits: Limits) -> Iterable[str]:
    """Yields the routes of a service: each streaming method, then all others together."""
    rate = limits.rates[service.kind]
    for method in service.streaming:
        name = f"{service.name}/{method}"
        yield _route(
            name, _path(service, method), service.kind.value, streams=True, rate=rate, checked=True
        )
    match = f"prefix: /{service.name}/"
    yield _route(service.name, match, service.kind.value, streams=False, rate=rate, checked=True)


def _route(
    name: str,
    match: str,
    cluster: str,
    *,
    streams: bool,
    rate: int | None = None,
    checked: bool = False,
) -> str:
    """Returns one route.

    Args:
        name: For people.
        match: What paths it matches.
        cluster: Where it leads, for unary calls.
        streams: Whether its calls are streams.
        rate: Calls a second; None limits nothing.
        checked: Whether it is for known content types only.
    """
    limit = "" if rate is None else fill("parts/rate_limit", rate=rate, rate_per_fill=rate // 10)
    body = fill("parts/json_body") if checked and not streams else ""
    content = (
        f'headers: [{{name: content-type, string_match: {{safe_regex: {{regex: "{_quoted(CONTENT)}"'
        "}}}]"
    )
    return fill(
        "parts/route",
        name=name,
        match=f"{match}\n{content}" if checked else match,
        cluster=_streams(cluster) if streams else cluster,
        duration=fill("parts/duration_stream" if streams else "parts/duration_unary"),
        rate_limit=limit,
        json_body=body,
    )


def _cluster(
    name: str, addresses: Addresses, tier: Tier, *, health: str, eject_unavailable: int
) -> str:
    """Returns one cluster of instances."""
    endpoints = []
    for address in addresses:
        host, port = split_address(address)
        socket = json.dumps({"address": host, "port_value": port})
        endpoints.append(f"- endpoint: {{address: {{socket_address: {socket}}}}}\n")
    return fill(
        "parts/cluster",
        name=name,
        endpoints="".join(endpoints),
        tls="" if tier.upstream is None else _upstream_tls(tier.upstream),
        health_check=health,
        eject_unavailable=eject_unavailable,
        requests_max=tier.limits.requests,
        stream_window=STREAM_WINDOW_BYTES,
        connection_window=_shared_window(tier.limits),
    )


def _shared_window(limits: Limits) -> int:
    """Returns how much may be under way on a connection that many callers share, in bytes."""
    room = STREAM_WINDOW_BYTES * limits.requests
    return min(_WINDOW_BYTES_MAX, max(CONNECTION_WINDOW_BYTES, room))


def _listener_tls(files: Certificates) -> str:
    """Returns how a listener shows who it is, and whom it answers."""
    strict = files.authority is not None
    trusted = f"validation_context: {{trusted_ca: {{filename: {_quoted_path(files.authority)}}}}}"
    return fill(
        "parts/listener_tls",
        strict=json.dumps(strict),
        certificate=_quoted_path(files.certificate),
        key=_quoted_path(files.key),
        authority=trusted if strict else "",
    )


def _upstream_tls(files: Certificates) -> str:
    """Returns how calls to an instance show who we are, and whom they trust."""
    return fill(
        "parts/upstream_tls",
        certificate=_quoted_path(files.certificate),
        key=_quoted_path(files.key),
        authority=_quoted_path(files.authority),
        server_name=json.dumps(files.server_name),
    )


def _path(service: RoutedService, method: str) -> str:
    return f"path: /{service.name}/{method}"


def _method_names(service: RoutedService) -> dict[str, object]:
    return {"name": service.name, "method_names": [*service.unary, *service.streaming]}


def _streams(cluster: str) -> str:
    """Returns the name of the cluster with the same instances, for streams."""
    return f"{cluster}_streams"


def _quoted(text: str) -> str:
    """Returns a text as it stands between double quotes."""
    return json.dumps(text)[1:-1]


def _quoted_path(path: object) -> str:
    return json.dumps(str(path))
