"""Small programs that stand where servers do: they listen, fail, or will not stop."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from devstack.stack.child import ChildSpec
from devstack.stack.ports import free_port

LISTENS = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""
WILL_NOT_STOP = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{LISTENS}"
ENDS_WITH_THE_OTHER = f"""
import os, pathlib, signal, time

def ask(*_):
    folder = pathlib.Path.cwd().parent
    (folder / pathlib.Path.cwd().name / "asked").touch()
    while len(list(folder.glob("*/asked"))) < 2:
        time.sleep(0.01)
    os._exit(7)

signal.signal(signal.SIGTERM, ask)
{LISTENS}"""
"""Ends only when two have been asked to stop that have their folders beside each other."""
FAILS = 'import sys; sys.exit("no space left on device")'
SLEEPS = "import time; time.sleep(600)"


def spec_of(
    program: str, folder: Path, *, name: str = "child", start: float = 60, stop: float = 60
) -> ChildSpec:
    """Returns how to run a program on a free port, ready when it accepts a connection."""
    port = free_port(["127.0.0.1"], besides=set())
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-c", program, str(port)),
        folder=folder,
        ready=connects(port),
        addresses=(("127.0.0.1", port),),
        start_seconds=start,
        stop_seconds=stop,
    )


def connects(port: int) -> Callable[[], Awaitable[bool]]:
    """Returns a check whether something accepts connections and closes them."""

    async def ready() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await reader.read() == b""
        finally:
            writer.close()

    return ready
