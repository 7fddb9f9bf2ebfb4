"""Wrong declarations of services, commands, events, aggregates and refusals."""

import dataclasses
from types import ModuleType

from eventspine.domain import Domain
from tests.unit.domain.shop import Case, Shop, no_fold, twice, with_aggregate, without


def stranger(domain: Domain, shop: Shop) -> Domain:
    return dataclasses.replace(domain, protos=(*domain.protos, ModuleType("json")))


COMMANDS_OPTION = '  option (eventspine.v1.commands) = {category: "cart"};\n'
QUERIES_OPTION = "  option (eventspine.v1.queries) = {};\n"
EVENT_OPTION = '  option (eventspine.v1.event) = {category: "cart"};\n'
ADD_ITEM = "rpc AddItem(AddItemRequest) returns (AddItemResponse);"
STREAM_ID = "string cart_id = 2 [(eventspine.v1.stream_id) = true];"
COMMAND_HEADER = "  eventspine.v1.CommandHeader header = 1;\n"
COMMAND_RESULT = "eventspine.v1.CommandResult result = 1;"
GET_OPTION = '    option (eventspine.v1.query) = {get: "shop.CartLine"};\n'
REFUSAL = " [(eventspine.v1.refusal) = {code: STATUS_CODE_FAILED_PRECONDITION}]"


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
