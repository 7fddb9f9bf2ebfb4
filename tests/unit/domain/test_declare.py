"""A wrong declaration never runs: each problem is named with file, element and cure."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from bank.v1.account_pb2 import MoneyDeposited
from eventspine.domain import DeclarationError, Domain, Folding
from eventspine.domain.declare import declare
from eventspine.domain.shapes import fingerprint
from tests.unit.domain.shop import (
    Change,
    Edit,
    Shop,
    compile_shops,
    declared,
    with_aggregate,
    with_view,
)


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


def stranger(domain: Domain, shop: Shop) -> Domain:
    return dataclasses.replace(domain, protos=(*domain.protos, ModuleType("json")))


COMMANDS_OPTION = '  option (eventspine.v1.commands) = {category: "cart"};\n'
QUERIES_OPTION = "  option (eventspine.v1.queries) = {};\n"
EVENT_OPTION = '  option (eventspine.v1.event) = {category: "cart"};\n'
ADD_ITEM = "rpc AddItem(AddItemRequest) returns (AddItemResponse);"
STREAM_ID = "string cart_id = 2 [(eventspine.v1.stream_id) = true];"
COMMAND_HEADER = "  eventspine.v1.CommandHeader header = 1;\n"
COMMAND_RESULT = "eventspine.v1.CommandResult result = 1;"
GET = "rpc GetCartLine(GetCartLineRequest) returns (GetCartLineResponse)"
LIST = "rpc ListCartLines(ListCartLinesRequest) returns (stream ListCartLinesResponse)"
WATCH = "rpc WatchCartLine(WatchCartLineRequest) returns (stream WatchCartLineResponse)"
GET_OPTION = '    option (eventspine.v1.query) = {get: "shop.CartLine"};\n'
GET_REQUEST = """message GetCartLineRequest {
  eventspine.v1.QueryHeader header = 1;
  string cart_id = 2;
  uint64 line = 3;
"""
WATCH_REQUEST = GET_REQUEST.replace("GetCartLine", "WatchCartLine")
LIST_REQUEST = """message ListCartLinesRequest {
  eventspine.v1.QueryHeader header = 1;
  string cart_id = 2;
  uint32 limit = 3;
  string cursor = 4;
"""
GET_RESPONSE = """  CartLine row = 1;
  eventspine.v1.QueryResult result = 2;
"""
LIST_RESPONSE = """  repeated CartLine rows = 1;
  string cursor = 2;
  eventspine.v1.QueryResult result = 3;
"""
WATCH_RESPONSE = """  CartLine row = 1;
  bool absent = 2;
  bool checkpoint = 3;
  eventspine.v1.QueryResult result = 4;
"""
KEY = """    partition_by: ["cart_id"]
    order_by: ["line"]
"""
REFUSAL = " [(eventspine.v1.refusal) = {code: STATUS_CODE_FAILED_PRECONDITION}]"


def key(partition_by: str, order_by: str = "") -> list[Edit]:
    return [(KEY, f"    partition_by: [{partition_by}]\n    order_by: [{order_by}]\n")]


SERVICES = [
    Case(
        "a service without an option",
        "CartCommands",
        ["has neither option", 'add `option (eventspine.v1.commands) = {category: "..."};`'],
        [(COMMANDS_OPTION, "")],
    ),
    Case(
        "a service with both options",
        "CartCommands",
        ["has both options", "keep either"],
        [(COMMANDS_OPTION, COMMANDS_OPTION + QUERIES_OPTION)],
    ),
    Case(
        "a command service without a category",
        "CartCommands",
        ["has the category ''", "give it 1 to 64 characters"],
        [(COMMANDS_OPTION, COMMANDS_OPTION.replace('category: "cart"', ""))],
    ),
    Case(
        "a category with a bad form",
        "CartCommands",
        ["has the category 'Cart/1'", "lower-case letter"],
        [(COMMANDS_OPTION, COMMANDS_OPTION.replace("cart", "Cart/1"))],
    ),
    Case(
        "a category without an aggregate",
        "CartCommands",
        ["no aggregate has the category 'cart'", "add `Aggregate(category='cart', ...)`"],
        change=without("aggregates"),
    ),
    Case(
        "a command service without a method",
        "CartCommands",
        ["has no method", "add a method"],
        [(ADD_ITEM, "")],
    ),
    Case(
        "a query service without a method",
        "Empty",
        ["has no method", "add a method"],
        [("message Price", "service Empty { option (eventspine.v1.queries) = {}; } message Price")],
    ),
    Case(
        "a module that is made from no proto file",
        "json",
        ["is not made from a proto file", "end in _pb2"],
        change=stranger,
    ),
    Case("a proto file listed twice", "domain 'shop'", ["listed twice"], change=twice("protos")),
]

COMMANDS = [
    Case(
        "a request without a stream id",
        "AddItemRequest",
        ["no field names the stream", "add [(eventspine.v1.stream_id) = true] to a string field"],
        [(STREAM_ID, "string cart_id = 2;")],
    ),
    Case(
        "a request with two stream ids",
        "AddItemRequest",
        ["cart_id and other both name the stream", "keep"],
        [(STREAM_ID, STREAM_ID + "string other = 9 [(eventspine.v1.stream_id) = true];")],
    ),
    Case(
        "a stream id that is a number",
        "AddItemRequest.cart_id",
        ["is int64", "make it a string"],
        [(STREAM_ID, STREAM_ID.replace("string", "int64"))],
    ),
    Case(
        "a stream id that is repeated",
        "AddItemRequest.cart_id",
        ["is repeated string", "make it a string"],
        [(STREAM_ID, "repeated " + STREAM_ID)],
    ),
    Case(
        "a request without a header",
        "AddItemRequest",
        ["has no field header", "add `eventspine.v1.CommandHeader header`"],
        [(COMMAND_HEADER, "")],
    ),
    Case(
        "a header of another type",
        "AddItemRequest.header",
        ["is eventspine.v1.QueryHeader", "make it `eventspine.v1.CommandHeader header`"],
        [(COMMAND_HEADER, COMMAND_HEADER.replace("Command", "Query"))],
    ),
    Case(
        "a response without a result",
        "AddItemResponse",
        ["has no field result", "add `eventspine.v1.CommandResult result`"],
        [(COMMAND_RESULT, "")],
    ),
    Case(
        "a result of another type",
        "AddItemResponse.result",
        ["is string", "make it `eventspine.v1.CommandResult result`"],
        [(COMMAND_RESULT, "string result = 1;")],
    ),
    Case(
        "a command that returns a stream",
        "CartCommands.AddItem",
        ["is a stream", "make it unary"],
        [(ADD_ITEM, ADD_ITEM.replace("returns (", "returns (stream "))],
    ),
    Case(
        "a command that takes a stream",
        "CartCommands.AddItem",
        ["is a stream", "make it unary"],
        [(ADD_ITEM, ADD_ITEM.replace("AddItem(", "AddItem(stream "))],
    ),
    Case(
        "a command with a query option",
        "CartCommands.AddItem",
        ["a command has the query option", "remove it"],
        [(ADD_ITEM, ADD_ITEM.rstrip(";") + "{" + GET_OPTION + "}")],
    ),
    Case(
        "two commands with one request",
        "CartCommands.PutItem",
        ["AddItem takes the same request", "its own request message"],
        [(ADD_ITEM, ADD_ITEM + ADD_ITEM.replace("AddItem(", "PutItem("))],
    ),
    Case(
        "a command without a decider",
        "CartCommands.AddItem",
        ["nothing decides this command", "add AddItemRequest to the deciders"],
        change=with_aggregate(deciders=lambda shop: {}),
    ),
    Case(
        "a decider for what is no command",
        "Price",
        ["has a decider for it", "remove the decider, or add a method"],
        change=with_aggregate(
            deciders=lambda shop: {shop.AddItemRequest: no_fold, shop.Price: no_fold}
        ),
    ),
]

AGGREGATES = [
    Case(
        "two aggregates of one category",
        "aggregate 'cart'",
        ["two aggregates have this category", "make them one"],
        change=twice("aggregates"),
    ),
    Case(
        "an aggregate of a category that nothing has",
        "aggregate 'basket'",
        ["no event and no command service has this category", "write the category"],
        change=with_aggregate(category=lambda shop: "basket"),
    ),
    Case(
        "a state that is no message",
        "aggregate 'cart'",
        ["its state is not a message class"],
        change=with_aggregate(state=lambda shop: dict),
    ),
    Case(
        "an aggregate's version 0",
        "aggregate 'cart'",
        ["its version is 0", "count from 1"],
        change=with_aggregate(version=lambda shop: 0),
    ),
    Case(
        "a decider that is no function",
        "AddItemRequest",
        ["its decider cannot be called", "name a function"],
        change=with_aggregate(deciders=lambda shop: {shop.AddItemRequest: "add"}),
    ),
    Case(
        "a decider for a class that is no message",
        "aggregate 'cart'",
        ["has a decider for <class 'str'>", "name the message class"],
        change=with_aggregate(deciders=lambda shop: {shop.AddItemRequest: no_fold, str: no_fold}),
    ),
    Case(
        "an event without a category",
        "ItemAdded",
        ["its event option has the category ''", "give it 1 to 64 characters"],
        [(EVENT_OPTION, EVENT_OPTION.replace('category: "cart"', ""))],
    ),
    Case(
        "an event without an evolver",
        "ItemAdded",
        ["no evolver folds this event", "add it to the evolvers of the aggregate 'cart'"],
        change=with_aggregate(evolvers=lambda shop: {}),
    ),
    Case(
        "an evolver for what is no event",
        "ItemAdded",
        ["it is no event of a hosted proto file", "give it the event option"],
        [(EVENT_OPTION, "")],
    ),
    Case(
        "an evolver for an event of another category",
        "ItemAdded",
        ["it is an event of 'basket'", "correct the category"],
        [(EVENT_OPTION, EVENT_OPTION.replace("cart", "basket"))],
    ),
]

REFUSALS = [
    Case(
        "a refusal without the option",
        "CartRefusal.CART_REFUSAL_FULL",
        ["has no refusal option", "STATUS_CODE_FAILED_PRECONDITION"],
        [(REFUSAL, "")],
    ),
    Case(
        "a refusal without a code",
        "CartRefusal.CART_REFUSAL_FULL",
        ["its refusal option has no status code", "add `[(eventspine.v1.refusal)"],
        [("STATUS_CODE_FAILED_PRECONDITION", "STATUS_CODE_UNSPECIFIED")],
    ),
    Case(
        "a refusal enum whose zero means something",
        "CartRefusal",
        ["its value 0 is CART_REFUSAL_GONE", "make value 0 `..._UNSPECIFIED`"],
        [("CART_REFUSAL_UNSPECIFIED", "CART_REFUSAL_GONE")],
    ),
    Case(
        "a refusal enum whose zero has a code",
        "CartRefusal.CART_REFUSAL_UNSPECIFIED",
        ["value 0 has the refusal option", "never raised"],
        [("UNSPECIFIED = 0", "UNSPECIFIED = 0" + REFUSAL)],
    ),
    Case(
        "a refusal enum with nothing to refuse with",
        "CartRefusal",
        ["has nothing to refuse with", "add values"],
        [("  CART_REFUSAL_FULL = 1" + REFUSAL + ";\n", "")],
    ),
    Case(
        "refusals that are no enum",
        "aggregate 'cart'",
        ["its refusals are not an enum descriptor", "refusals=YourRefusal.DESCRIPTOR"],
        change=with_aggregate(refusals=lambda shop: "CartRefusal"),
    ),
]

VIEWS = [
    Case(
        "a row without the view option",
        "CartLine",
        ["has no view option", "add `option (eventspine.v1.view)"],
        [("  option (eventspine.v1.view) = {\n" + KEY + "  };\n", "")],
    ),
    Case(
        "a row that is no message",
        "view of <class 'dict'>",
        ["its row is not a message class"],
        change=with_view(row=lambda shop: dict),
    ),
    Case(
        "a row message that no view has",
        "CartLine",
        ["no domain lists a view of it", "add `View(row=CartLine, ...)`"],
        change=without("views"),
    ),
    Case(
        "a view listed twice",
        "CartLine",
        ["two views have the version 1", "raise the version"],
        change=twice("views"),
    ),
    Case(
        "a view's version 0",
        "CartLine",
        ["a view has the version 0", "count from 1"],
        change=with_view(version=lambda shop: 0),
    ),
    Case(
        "a view that folds nothing",
        "CartLine",
        ["its view folds no event", "add a folding"],
        change=with_view(foldings=lambda shop: {}),
    ),
    Case(
        "a folding for what is no event",
        "CartLine",
        ["Price, which is no event of a hosted proto file", "give it the event option"],
        change=with_view(foldings=lambda shop: {shop.Price: Folding(no_fold, no_fold)}),
    ),
    Case(
        "a folding that is not a Folding",
        "CartLine",
        ["not Folding(keys, apply)", "name two functions"],
        change=with_view(foldings=lambda shop: {shop.ItemAdded: no_fold}),
    ),
    Case(
        "a key without a field",
        "CartLine",
        ["too few or too many fields", "name 1 to 4 in partition_by"],
        key(""),
    ),
    Case(
        "a key with too many fields",
        "CartLine",
        ["too few or too many fields", "up to 4 in order_by"],
        key('"cart_id"', '"line", "item", "line", "item", "line"'),
    ),
    Case("a key field twice", "CartLine", ["names line twice"], key('"line"', '"line"')),
    Case(
        "a key field that does not exist",
        "CartLine",
        ["its key names colour, which is no field of it", "name a field that it has"],
        key('"colour"'),
    ),
    *[
        Case(
            f"a key field of type {words}",
            f"CartLine.{field}",
            [f"is {words}", "make it a string, bytes, bool, enum or integer field"],
            key(f'"{field}"'),
        )
        for field, words in [("weight", "double"), ("tags", "repeated string")]
    ],
    Case("a key field that is a message", "CartLine.price", ["Price"], key('"price"')),
    Case("a key field in a oneof", "CartLine.small", ["in a oneof"], key('"small"')),
    Case(
        "a key field with a name that requests need",
        "CartLine.limit",
        ["is a key field", "rename it"],
        [("uint64 line = 2;", "uint64 limit = 2;"), ('order_by: ["line"]', 'order_by: ["limit"]')],
    ),
]

QUERIES = [
    Case(
        "a query without the option",
        "CartQueries.GetCartLine",
        ["has no query option that says what it reads", "add `option (eventspine.v1.query)"],
        [(GET_OPTION, "")],
    ),
    Case(
        "a query option without a kind",
        "CartQueries.GetCartLine",
        ["has no query option that says what it reads"],
        [(GET_OPTION, GET_OPTION.replace('get: "shop.CartLine"', ""))],
    ),
    *[
        Case(
            f"a {kind} of an unknown view",
            method,
            ["names 'shop.Price', which is no view", "write the full name of a row message"],
            [(f'{kind}: "shop.CartLine"', f'{kind}: "shop.Price"')],
        )
        for kind, method in [
            ("get", "CartQueries.GetCartLine"),
            ("list", "CartQueries.ListCartLines"),
            ("watch", "CartQueries.WatchCartLine"),
        ]
    ],
    Case(
        "a get that returns a stream",
        "CartQueries.GetCartLine",
        ["is a get, but returns a stream", "return one response"],
        [(GET, GET.replace("returns (", "returns (stream "))],
    ),
    Case(
        "a list that returns no stream",
        "CartQueries.ListCartLines",
        ["is a list, but returns no stream", "write `returns (stream ...)`"],
        [(LIST, LIST.replace("stream ", ""))],
    ),
    Case(
        "a watch that takes a stream",
        "CartQueries.WatchCartLine",
        ["takes a stream of requests", "take one request"],
        [(WATCH, WATCH.replace("Line(", "Line(stream "))],
    ),
    Case(
        "a get request without a key field",
        "GetCartLineRequest",
        ["has no field line", "add `uint64 line`"],
        [(GET_REQUEST, GET_REQUEST.replace("  uint64 line = 3;\n", ""))],
    ),
    Case(
        "a get request with a key field of another type",
        "GetCartLineRequest.line",
        ["is string", "make it `uint64 line`"],
        [(GET_REQUEST, GET_REQUEST.replace("uint64", "string"))],
    ),
    Case(
        "a watch request without a key field",
        "WatchCartLineRequest",
        ["has no field cart_id", "add `string cart_id`"],
        [(WATCH_REQUEST, WATCH_REQUEST.replace("  string cart_id = 2;\n", ""))],
    ),
    Case(
        "a request without a header",
        "GetCartLineRequest",
        ["has no field header", "add `eventspine.v1.QueryHeader header`"],
        [(GET_REQUEST, GET_REQUEST.replace("  eventspine.v1.QueryHeader header = 1;\n", ""))],
    ),
    Case(
        "a request with a field that is no key field",
        "GetCartLineRequest.item",
        ["means nothing to a get", "only the key can be asked for: cart_id, line"],
        [(GET_REQUEST, GET_REQUEST + "  string item = 4;\n")],
    ),
    Case(
        "a list request whose key fields do not begin the key",
        "ListCartLinesRequest.line",
        ["without all that stand before it", "add the key fields before it"],
        [(LIST_REQUEST, LIST_REQUEST.replace("string cart_id", "uint64 line"))],
    ),
    Case(
        "a list request without a limit",
        "ListCartLinesRequest",
        ["has no field limit", "add `uint32 limit`"],
        [(LIST_REQUEST, LIST_REQUEST.replace("  uint32 limit = 3;\n", ""))],
    ),
    Case(
        "a list request with a cursor of another type",
        "ListCartLinesRequest.cursor",
        ["is bytes", "make it `string cursor`"],
        [(LIST_REQUEST, LIST_REQUEST.replace("string cursor", "bytes cursor"))],
    ),
    Case(
        "a get response without a row",
        "GetCartLineResponse",
        ["has no field row", "CartLine row`"],
        [(GET_RESPONSE, GET_RESPONSE.replace("row", "line"))],
    ),
    Case(
        "a get response of another row",
        "GetCartLineResponse.row",
        ["Price", "CartLine row`"],
        [(GET_RESPONSE, GET_RESPONSE.replace("CartLine", "Price"))],
    ),
    Case(
        "a response without a result",
        "GetCartLineResponse",
        ["has no field result", "add `eventspine.v1.QueryResult result`"],
        [(GET_RESPONSE, "  CartLine row = 1;\n")],
    ),
    Case(
        "a list response with one row",
        "ListCartLinesResponse.rows",
        ["CartLine", "make it `repeated"],
        [(LIST_RESPONSE, LIST_RESPONSE.replace("repeated ", ""))],
    ),
    Case(
        "a list response without a cursor",
        "ListCartLinesResponse",
        ["has no field cursor", "add `string cursor`"],
        [(LIST_RESPONSE, LIST_RESPONSE.replace("  string cursor = 2;\n", ""))],
    ),
    Case(
        "a watch response that cannot say that there is no row",
        "WatchCartLineResponse",
        ["has no field absent", "add `bool absent`"],
        [(WATCH_RESPONSE, WATCH_RESPONSE.replace("  bool absent = 2;\n", ""))],
    ),
    Case(
        "a watch response with a checkpoint of another type",
        "WatchCartLineResponse.checkpoint",
        ["is string", "make it `bool checkpoint`"],
        [(WATCH_RESPONSE, WATCH_RESPONSE.replace("bool checkpoint", "string checkpoint"))],
    ),
]

CASES = [*SERVICES, *COMMANDS, *AGGREGATES, *REFUSALS, *VIEWS, *QUERIES]


@pytest.fixture(scope="module", name="shops")
def compiled_shops(tmp_path_factory: pytest.TempPathFactory) -> list[Shop]:
    edits = [[], [], *(case.edits for case in CASES)]
    return compile_shops(tmp_path_factory.mktemp("shops"), edits)


def problems(domain: Domain, shop: Shop) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        declare([domain])
    return str(caught.value).replace(f"{shop.file.package}.", "shop.").splitlines()


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.title for case in CASES])
def test_a_wrong_declaration_is_named_with_its_cure(shops: list[Shop], number: int) -> None:
    case, shop = CASES[number], shops[2 + number]
    domain = declared(shop)
    if case.change is not None:
        domain = case.change(domain, shop)
    lines = problems(domain, shop)
    named = [
        line for line in lines if re.search(rf"(: |: shop\.){re.escape(case.element)}: ", line)
    ]
    assert any(all(word in line for word in case.words) for line in named), "\n".join(lines)
    assert all(
        line.startswith(("shop.proto: shop.", "shop.proto: domain", "domain 'shop': "))
        for line in lines
    )
    assert all("; " in line for line in lines)


def test_all_problems_come_at_once(shops: list[Shop]) -> None:
    domain = dataclasses.replace(declared(shops[0]), aggregates=(), views=())
    lines = problems(domain, shops[0])
    assert len(lines) == 5
    assert len(set(lines)) == 5


def test_a_right_declaration_is_read_whole(shops: list[Shop]) -> None:
    shop = shops[0]
    domain = declared(shop)
    found = declare([domain])
    command = found.commands["shop0.AddItemRequest"]
    assert (command.service, command.method) == ("shop0.CartCommands", "AddItem")
    assert command.request is shop.AddItemRequest
    assert command.response is shop.AddItemResponse
    assert command.aggregate is domain.aggregates[0]
    assert command.stream_id_field == "cart_id"
    assert found.aggregates == {"cart": domain.aggregates[0]}
    assert found.events["shop0.ItemAdded"].message is shop.ItemAdded
    assert found.events["shop0.ItemAdded"].category == "cart"
    view = found.views["shop0.CartLine"]
    assert [field.name for field in view.key_fields] == ["cart_id", "line"]
    assert view.partition_field_count == 1
    assert view.versions == {1: domain.views[0]}
    assert view.key_of(shop.GetCartLineRequest(cart_id="a", line=7)) == ("a", 7)
    kinds = [(query.method, query.kind) for query in found.queries]
    assert kinds == [("GetCartLine", "get"), ("ListCartLines", "list"), ("WatchCartLine", "watch")]
    assert all(query.view is view for query in found.queries)


def test_several_versions_of_a_view_are_one_view(shops: list[Shop]) -> None:
    domain = declared(shops[0])
    newer = dataclasses.replace(domain.views[0], version=2)
    found = declare([dataclasses.replace(domain, views=(newer, *domain.views))])
    assert sorted(found.views["shop0.CartLine"].versions) == [1, 2]


def test_two_domains_are_declared_together(shops: list[Shop]) -> None:
    def renamed(shop: Shop, category: str) -> Domain:
        return dataclasses.replace(declared(shop), name=category)

    # Both have the category `cart`, which only one may have.
    with pytest.raises(DeclarationError, match="two aggregates have this category"):
        declare([renamed(shops[0], "one"), renamed(shops[1], "two")])


def test_one_domain_cannot_be_hosted_twice(shops: list[Shop]) -> None:
    with pytest.raises(DeclarationError, match="two domains have it; host it once"):
        declare([declared(shops[0]), declared(shops[0])])


def test_no_domain_declares_nothing() -> None:
    found = declare([])
    assert (found.commands, found.queries, found.events) == ({}, (), {})


def test_a_comment_leaves_the_fingerprint_and_a_nested_field_changes_it(tmp_path: Path) -> None:
    right = fingerprint_of(tmp_path / "right", [])
    assert len(right) == 8
    comment = [("message Price {", "// What it costs.\nmessage Price {")]
    assert fingerprint_of(tmp_path / "comment", comment) == right
    nested = [("int64 cents = 1;", "int64 cents = 1; string currency = 2;")]
    assert fingerprint_of(tmp_path / "nested", nested) != right
    own = [("string item = 1;", "bytes item = 1;")]
    assert fingerprint_of(tmp_path / "own", own) != right


def test_the_fingerprint_of_a_shipped_event_never_changes() -> None:
    assert fingerprint(MoneyDeposited.DESCRIPTOR).hex() == "f8b910869505b009"


def fingerprint_of(folder: Path, edits: Sequence[Edit]) -> bytes:
    folder.mkdir()
    return fingerprint(compile_shops(folder, [edits])[0].ItemAdded.DESCRIPTOR)
