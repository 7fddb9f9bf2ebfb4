"""`python -m command_svc`: the command service as a process of its own."""

from command_svc.compose import compose
from command_svc.settings import CommandSettings
from eventspine.process.entry import Service, main

SERVICE = Service(
    name="command",
    does="Takes commands in, decides them, stores their events and publishes them.",
    settings=CommandSettings,
    compose=compose,
)

if __name__ == "__main__":
    main(SERVICE)
