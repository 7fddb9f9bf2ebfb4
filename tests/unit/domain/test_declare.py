"""A wrong declaration never runs: each problem is named with file, element and cure."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from bank.v1.account_pb2 import MoneyDeposited
from eventspine.domain import DeclarationError, Domain
from eventspine.domain.declare import declare
from eventspine.domain.shapes import fingerprint
from tests.unit.domain.shop import (
    Edit,
    Shop,
    compile_shops,
    declared,
)
from tests.unit.domain.wrong_reads import QUERIES, VIEWS
from tests.unit.domain.wrong_writes import AGGREGATES, COMMANDS, REFUSALS, SERVICES

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
