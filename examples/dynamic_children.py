"""An echo server: one actor for each connection, under a dynamic supervisor.

Its actors wait in calls of the operating system, which no message ends.  What each of
them leaves with its stop token does: it has the call return, and the actor stops.

    python examples/dynamic_children.py

:Runs on: each actor on its own thread, what it leaves with its token on the clock's;
    the clients on the main thread.
:Owns: nothing.
"""

import contextlib
import logging
import socket
from typing import Any, Self, TextIO

from actors import Actor
from supervision import ChildSpec, DynamicSupervisor, MaxChildren, Supervisor


class Connection(Actor):
    @classmethod
    def child_spec(cls) -> ChildSpec[Self]:
        """Not restarted, for a peer that is gone does not come back."""
        return ChildSpec(cls, restart="temporary", on_crash="on_stop")

    def __init__(self, peer: socket.socket) -> None:
        super().__init__()
        self.peer, self.lines = peer, peer.makefile("rb")

    def on_start(self) -> None:
        self.stop_token.on_drain(self.hang_up)
        self.peer.sendall(f"welcome to {self.name}\n".encode())
        self.actor_ref.tell("go on")

    def on_receive(self, message: str) -> None:
        line = self.lines.readline()  # nothing, once either side has shut it down
        if line == b"crash\n":
            raise ValueError(line)
        if line:
            self.peer.sendall(line.upper())
            self.actor_ref.tell(message)
        else:
            self.stop()

    def hang_up(self, _reason: str) -> None:
        with contextlib.suppress(OSError):  # the peer may have been faster
            self.peer.shutdown(socket.SHUT_RD)

    def on_stop(self) -> None:
        self.lines.close()
        self.peer.close()


class Acceptor(Actor):
    """Its listener outlives it: whoever calls during a restart is kept waiting."""

    def __init__(self, listener: socket.socket, pool: Any) -> None:
        super().__init__()
        self.listener, self.pool = listener, pool

    def on_start(self) -> None:
        address = self.listener.getsockname()
        self.stop_token.on_drain(lambda _: socket.create_connection(address).close())
        self.actor_ref.tell("go on")

    def on_receive(self, message: str) -> None:
        peer, _ = self.listener.accept()
        if self.stop_token.draining:  # so this was the call above
            peer.close()
            self.stop()
            return
        try:
            self.pool.start_child((Connection, {"peer": peer}))
        except MaxChildren as error:
            peer.sendall(f"sorry: {error}\n".encode())
            peer.close()
        self.actor_ref.tell(message)


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    listener = socket.create_server(("127.0.0.1", 0))
    pool = ChildSpec(DynamicSupervisor, (), {"max_children": 2}, id="pool")
    accept = ChildSpec(Acceptor, (listener,), lambda its: {"pool": its.ref(pool)})
    clients: dict[str, TextIO] = {}

    def hear(name: str) -> None:
        print(f"{name}: {clients[name].readline().rstrip() or '(closed)'}")

    def dial(name: str) -> None:
        with socket.create_connection(listener.getsockname(), timeout=10) as peer:
            clients[name] = peer.makefile("rw")
        hear(name)

    def say(name: str, line: str) -> None:
        print(line, file=clients[name], flush=True)
        hear(name)

    with listener, Supervisor.start("one_for_one", [pool, accept]) as tree:
        for name in ("ada", "bob", "eve"):
            dial(name)
        print(tree.snapshot())
        bobs = tree.ref(pool).ref("Connection-2")
        say("bob", "crash")
        bobs.actor_stopped.wait()  # then there is room for another
        tree.ref(pool).terminate_child("Connection-1")
        hear("ada")
        dial("eve")
        say("eve", "hello")
        tree.stop()
        hear("eve")


if __name__ == "__main__":
    main()
