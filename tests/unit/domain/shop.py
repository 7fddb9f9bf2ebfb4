"""A small domain that is compiled at test time, so that a test can declare it wrongly."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from eventspine.domain import Aggregate, Domain, Folding, View

ROOT = Path(__file__).parents[3]

PROTO = """
syntax = "proto3";
package shop;
import "eventspine/v1/command.proto";
import "eventspine/v1/options.proto";
import "eventspine/v1/query.proto";

service CartCommands {
  option (eventspine.v1.commands) = {category: "cart"};
  rpc AddItem(AddItemRequest) returns (AddItemResponse);
}
message AddItemRequest {
  eventspine.v1.CommandHeader header = 1;
  string cart_id = 2 [(eventspine.v1.stream_id) = true];
  string item = 3;
}
message AddItemResponse {
  eventspine.v1.CommandResult result = 1;
}
message ItemAdded {
  option (eventspine.v1.event) = {category: "cart"};
  string item = 1;
  Price price = 2;
}
message Price {
  int64 cents = 1;
}
message CartState {
  repeated string items = 1;
}
enum CartRefusal {
  CART_REFUSAL_UNSPECIFIED = 0;
  CART_REFUSAL_FULL = 1 [(eventspine.v1.refusal) = {code: STATUS_CODE_FAILED_PRECONDITION}];
}
message CartLine {
  option (eventspine.v1.view) = {
    partition_by: ["cart_id"]
    order_by: ["line"]
  };
  string cart_id = 1;
  uint64 line = 2;
  string item = 3;
  double weight = 4;
  oneof size {
    string small = 5;
    string large = 6;
  }
  repeated string tags = 7;
  Price price = 8;
}
service CartQueries {
  option (eventspine.v1.queries) = {};
  rpc GetCartLine(GetCartLineRequest) returns (GetCartLineResponse) {
    option (eventspine.v1.query) = {get: "shop.CartLine"};
  }
  rpc ListCartLines(ListCartLinesRequest) returns (stream ListCartLinesResponse) {
    option (eventspine.v1.query) = {list: "shop.CartLine"};
  }
  rpc WatchCartLine(WatchCartLineRequest) returns (stream WatchCartLineResponse) {
    option (eventspine.v1.query) = {watch: "shop.CartLine"};
  }
}
message GetCartLineRequest {
  eventspine.v1.QueryHeader header = 1;
  string cart_id = 2;
  uint64 line = 3;
}
message GetCartLineResponse {
  CartLine row = 1;
  eventspine.v1.QueryResult result = 2;
}
message ListCartLinesRequest {
  eventspine.v1.QueryHeader header = 1;
  string cart_id = 2;
  uint32 limit = 3;
  string cursor = 4;
}
message ListCartLinesResponse {
  repeated CartLine rows = 1;
  string cursor = 2;
  eventspine.v1.QueryResult result = 3;
}
message WatchCartLineRequest {
  eventspine.v1.QueryHeader header = 1;
  string cart_id = 2;
  uint64 line = 3;
}
message WatchCartLineResponse {
  CartLine row = 1;
  bool absent = 2;
  bool checkpoint = 3;
  eventspine.v1.QueryResult result = 4;
}
"""

Edit = tuple[str, str]
Shop = SimpleNamespace
Change = Callable[[Domain, Shop], Domain]


def compile_shops(folder: Path, edits: Sequence[Sequence[Edit]]) -> list[Shop]:
    """Compiles the proto once for each list of edits; returns its classes, each in its package."""
    names = [f"shop{number}" for number in range(len(edits))]
    for name, changes in zip(names, edits, strict=True):
        text = PROTO
        for old, new in changes:
            assert old in text, f"the proto has no {old!r}"
            text = text.replace(old, new)
        text = text.replace("package shop;", f"package {name};").replace('"shop.', f'"{name}.')
        (folder / f"{name}.proto").write_text(text)
    output = folder / "shops.binpb"
    options = [f"-I{folder}", f"-I{ROOT / 'protos'}", "--include_imports"]
    google = Path(protoc.__file__).parent / "_proto"
    files = [f"{name}.proto" for name in names]
    arguments = ["protoc", *options, f"-I{google}", f"--descriptor_set_out={output}", *files]
    assert protoc.main(arguments) == 0
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(output.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return [_shop(pool, name) for name in names]


def _shop(pool: DescriptorPool, name: str) -> Shop:
    file = pool.FindFileByName(f"{name}.proto")
    messages = file.message_types_by_name.items()
    classes: dict[str, Any] = {key: GetMessageClass(message) for key, message in messages}
    module = ModuleType(f"{name}_pb2")
    module.DESCRIPTOR = file
    refusals = file.enum_types_by_name.get("CartRefusal")
    return Shop(file=file, module=module, refusals=refusals, **classes)


def declared(shop: Shop) -> Domain:
    """Returns the domain as it is right."""

    def apply(row: Any, event: Any) -> Any:
        return row

    def keys(event: Any) -> Any:
        return [(event.stream, event.stream_version)]

    cart = Aggregate(
        category="cart",
        state=shop.CartState,
        deciders={shop.AddItemRequest: lambda state, command: []},
        evolvers={shop.ItemAdded: lambda state, event: state},
        refusals=shop.refusals,
    )
    lines = View(row=shop.CartLine, foldings={shop.ItemAdded: Folding(keys, apply)})
    return Domain(name="shop", protos=(shop.module,), aggregates=(cart,), views=(lines,))


def with_aggregate(**changes: Callable[[Shop], Any]) -> Change:
    """Returns a change of the first aggregate's fields."""

    def change(domain: Domain, shop: Shop) -> Domain:
        new = {name: value(shop) for name, value in changes.items()}
        first = dataclasses.replace(domain.aggregates[0], **new)
        return dataclasses.replace(domain, aggregates=(first, *domain.aggregates[1:]))

    return change


def with_view(**changes: Callable[[Shop], Any]) -> Change:
    """Returns a change of the first view's fields."""

    def change(domain: Domain, shop: Shop) -> Domain:
        new = {name: value(shop) for name, value in changes.items()}
        first = dataclasses.replace(domain.views[0], **new)
        return dataclasses.replace(domain, views=(first, *domain.views[1:]))

    return change


class Case(NamedTuple):
    """A wrong declaration.

    Attributes:
        title: What is wrong.
        element: The element that is named, without its package.
        words: What the text says of it and of its cure.
        edits: Changes of the proto.
        change: A change of the Python declaration.
    """

    title: str
    element: str
    words: Sequence[str]
    edits: Sequence[Edit] = ()
    change: Change | None = None


def no_fold(event: object) -> list:
    return []


def twice(field: str) -> Change:
    def change(domain: Domain, shop: Shop) -> Domain:
        return dataclasses.replace(domain, **{field: getattr(domain, field) * 2})

    return change


def without(field: str) -> Change:
    def change(domain: Domain, shop: Shop) -> Domain:
        return dataclasses.replace(domain, **{field: ()})

    return change
