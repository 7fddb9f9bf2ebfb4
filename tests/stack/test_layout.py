"""Where servers listen: the same again in a state that is kept, and never another shape."""

from pathlib import Path

import pytest

from devstack.stack.cassandra import TOKENS
from devstack.stack.errors import ShapeError
from devstack.stack.layout import LAYOUT, layout_of
from devstack.stack.servers import Servers


def test_a_kept_state_is_laid_out_as_before(tmp_path: Path) -> None:
    first = layout_of(tmp_path, nodes=3, brokers=3)
    assert layout_of(tmp_path, nodes=3, brokers=3) == first
    assert [node.host for node in first.nodes()] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    ports = [*first.jmx_ports, *first.broker_ports, *first.controller_ports]
    assert len({*ports, first.native_port, first.storage_port}) == 11


def test_other_numbers_than_those_of_the_state_are_refused(tmp_path: Path) -> None:
    layout_of(tmp_path, nodes=1, brokers=1)
    with pytest.raises(ShapeError, match="was made with 1 nodes and 1 brokers"):
        layout_of(tmp_path, nodes=3, brokers=1)


def test_a_state_of_other_releases_is_refused(tmp_path: Path) -> None:
    layout_of(tmp_path, nodes=1, brokers=1)
    path = tmp_path / LAYOUT
    path.write_text(path.read_text().replace("kafka 4", "kafka 3"))
    with pytest.raises(ShapeError, match=r"made with .*kafka 3.*and this is .*kafka 4"):
        layout_of(tmp_path, nodes=1, brokers=1)


def test_a_state_of_another_number_of_tokens_is_refused(tmp_path: Path) -> None:
    layout_of(tmp_path, nodes=1, brokers=1)
    path = tmp_path / LAYOUT
    path.write_text(path.read_text().replace(f'"tokens": {TOKENS}', '"tokens": 16'))
    with pytest.raises(ShapeError, match="with 16 tokens a node"):
        layout_of(tmp_path, nodes=1, brokers=1)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"nodes": 1}'])
def test_a_file_that_is_no_layout_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / LAYOUT).write_text(text)
    with pytest.raises(ShapeError, match="is not a layout of a stack"):
        layout_of(tmp_path, nodes=1, brokers=1)


@pytest.mark.parametrize("counts", [{"nodes": 2}, {"nodes": -1}, {"brokers": 4}])
def test_numbers_that_cannot_be_started_are_refused_at_once(counts: dict[str, int]) -> None:
    with pytest.raises(ShapeError, match="choose 1 or 3"):
        Servers(**counts)
