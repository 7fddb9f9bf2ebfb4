"""Wrong declarations of views and queries."""

from eventspine.domain import Folding
from tests.unit.domain.shop import Case, Edit, no_fold, twice, with_view, without

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


def key(partition_by: str, order_by: str = "") -> list[Edit]:
    return [(KEY, f"    partition_by: [{partition_by}]\n    order_by: [{order_by}]\n")]


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
        "a view with a merge that is no function",
        "CartLine",
        ["a merge that cannot be called", "name a function"],
        change=with_view(merge=lambda shop: "sum"),
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
