"""A small music server: Pykka actors of several authors, as they are, in a tree.

As in Mopidy, frontends hear of what core plays.  The scrobbler fails on one track, the
notifier never starts, and the server closes its socket in ``on_stop`` alone.  None of
them knows of supervision: what the host wants stands in ``children_of``.

    python examples/supervised_host.py [PORT]

:Runs on: each actor on its own thread, ``accept`` on one that the server starts.
:Owns: nothing.
"""

import contextlib
import logging
import socket
import sys
import threading
from typing import Any

import pykka

from supervision import ChildSpec, Supervisor

TRACKS = ["Ada - First Light", "Station Jingle", "Grace - Second Wind"]


class Backend(pykka.ThreadingActor):
    def lookup(self, number: int) -> str:
        return TRACKS[number]


class CoreListener(pykka.ThreadingActor):
    def played(self, track: str) -> None:
        """Told of each track."""


class Core(pykka.ThreadingActor):
    def __init__(self, backend: Any) -> None:
        super().__init__()
        self.backend = backend

    def play(self, number: int) -> Any:
        track = self.backend.lookup(number).get()
        for ref in pykka.ActorRegistry.get_by_class(CoreListener):
            with contextlib.suppress(pykka.ActorDeadError):
                ref.proxy().played.defer(track)
        return track


class Scrobbler(CoreListener):
    def played(self, track: str) -> None:
        artist, title = track.split(" - ")  # nobody had thought of jingles
        sys.stdout.write(f"scrobbled: {title} by {artist}\n")  # whole; print is not


class Notifier(CoreListener):
    def on_start(self) -> None:
        self.desktop = socket.create_connection(("127.0.0.1", 1))  # nobody is there


class Server(pykka.ThreadingActor):
    def __init__(self, port: int, core: Any) -> None:
        super().__init__()
        self.port, self.core = port, core

    def on_start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):  # that is how on_stop ends it
            while True:
                self.actor_ref.tell(self.listener.accept()[0])

    def on_receive(self, message: socket.socket) -> None:
        with message, message.makefile("rw") as client:
            print(self.core.play(int(client.readline())).get(), file=client)

    def on_stop(self) -> None:
        with contextlib.suppress(OSError):  # macOS: it has no peer
            self.listener.shutdown(socket.SHUT_RDWR)  # Linux: close() wakes no accept()
        self.listener.close()

    def is_listening_on(self) -> int:
        return self.port


# -- the host


def children_of(port: int) -> list[ChildSpec[Any]]:
    core = ChildSpec(Core, kwargs=lambda its: {"backend": its.ref("Backend").proxy()})
    server = ChildSpec(Server, (port,), lambda its: {"core": its.ref(core).proxy()})
    # Core tells its listeners without a thought, so their mailboxes have no bound.
    scrobbler = ChildSpec(Scrobbler, capacity=None)
    notifier = ChildSpec(Notifier, capacity=None, required=False, give_up="leave_down")
    return [ChildSpec(Backend), core, scrobbler, notifier, server]


def play(port: int, what: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as s, s.makefile("rw") as server:
        print(what, file=server, flush=True)
        sys.stdout.write(f"{what}: {server.readline().rstrip() or 'no answer'}\n")


def main(port: int = 6600) -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    with Supervisor.start("one_for_one", children_of(port), name="host") as tree:
        for what in ("0", "1", "2", "nonsense"):
            play(port, what)
        # The mailbox of the one that crashed is kept: its successor answers.
        play(tree.ref("Server").proxy().is_listening_on().get(), "0")
        tree.ref("Notifier").actor_stopped.wait()  # nobody tries it any more
        sys.stdout.write(f"{tree.snapshot()}\n")
        tree.stop()  # each handles what it was sent before


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
