"""Reads and checks the events of the proto files, and the aggregates that fold them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.declare_refusals import check_refusals
from eventspine.domain.declared import EventDeclaration
from eventspine.domain.domain import Domain
from eventspine.domain.options import commands_option, event_option
from eventspine.domain.problems import Problems
from eventspine.domain.shapes import (
    CATEGORY_CURE,
    descriptor_of,
    fingerprint,
    messages_of,
    valid_category,
)

Events = Mapping[str, EventDeclaration]


def declare_events(files: Iterable[FileDescriptor], problems: Problems) -> Events:
    """Returns the events of the files, by full name, in the order of the files."""
    events: dict[str, EventDeclaration] = {}
    for file in files:
        for message in messages_of(file):
            option = event_option(message)
            if option is None:
                continue
            if not valid_category(option.category):
                words = f"its event option has the category {option.category!r}"
                problems.add(message, words, CATEGORY_CURE)
            declared = EventDeclaration(
                GetMessageClass(message), option.category, fingerprint(message)
            )
            events[message.full_name] = declared
    return events


def declare_aggregates(
    domains: Iterable[Domain],
    files: Sequence[FileDescriptor],
    events: Events,
    problems: Problems,
) -> dict[str, Aggregate[Any]]:
    """Returns the aggregates of the domains, by category."""
    aggregates: dict[str, Aggregate[Any]] = {}
    used = {event.category for event in events.values()} | set(_command_categories(files))
    for domain in domains:
        for aggregate in domain.aggregates:
            category = aggregate.category
            place = (f"domain {domain.name!r}", f"aggregate {category!r}")
            if category in aggregates:
                cure = "make them one, or give one another category"
                problems.add_at(*place, "two aggregates have this category", cure)
            elif category not in used:
                cure = "write the category of an event or of a command service"
                problems.add_at(*place, "no event and no command service has this category", cure)
            aggregates.setdefault(category, aggregate)
            _check_parts(place, aggregate, problems)
            _check_evolvers(place, aggregate, events, problems)
    return aggregates


def is_message(value: object) -> bool:
    """Tells whether a value is the class of a message."""
    return isinstance(value, type) and issubclass(value, Message)


def _command_categories(files: Iterable[FileDescriptor]) -> Iterable[str]:
    for file in files:
        for service in file.services_by_name.values():
            option = commands_option(service)
            if option is not None:
                yield option.category


def _check_parts(place: tuple[str, str], aggregate: Aggregate[Any], problems: Problems) -> None:
    if not is_message(aggregate.state):
        problems.add_at(*place, "its state is not a message class", "declare a state message")
    if type(aggregate.version) is not int or aggregate.version < 1:
        problems.add_at(*place, f"its version is {aggregate.version!r}", "count from 1")
    for kind, functions in (("decider", aggregate.deciders), ("evolver", aggregate.evolvers)):
        for message, function in functions.items():
            if not is_message(message):
                cure = f"name the message class that the {kind} takes"
                problems.add_at(*place, f"has a {kind} for {message!r}, which is none", cure)
            elif not callable(function):
                cure = "name a function"
                problems.add(message.DESCRIPTOR, f"its {kind} cannot be called", cure)
    if isinstance(aggregate.refusals, EnumDescriptor):
        check_refusals(aggregate.refusals, problems)
    elif aggregate.refusals is not None:
        cure = "name the descriptor of the enum: `refusals=YourRefusal.DESCRIPTOR`"
        problems.add_at(*place, "its refusals are not an enum descriptor", cure)


def _check_evolvers(
    place: tuple[str, str], aggregate: Aggregate[Any], events: Events, problems: Problems
) -> None:
    own = [event.message for event in events.values() if event.category == aggregate.category]
    classes = {event.message for event in events.values()}
    for event in own:
        if event in aggregate.evolvers:
            continue
        cure = f"add it to the evolvers of the aggregate {aggregate.category!r}"
        problems.add(descriptor_of(event), "no evolver folds this event", cure)
    for message in aggregate.evolvers:
        if message in own or not is_message(message):
            continue
        if message in classes:
            category = events[message.DESCRIPTOR.full_name].category
            words = f"{place[1]} has an evolver for it, but it is an event of {category!r}"
            cure = "remove the evolver, or correct the category of the event"
        else:
            words = f"{place[1]} has an evolver for it, but it is no event of a hosted proto file"
            cure = "give it the event option, and list its module in the domain's protos"
        problems.add(descriptor_of(message), words, cure)
