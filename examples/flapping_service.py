"""A service on another machine goes down for a while; what depends on it lives on.

The client fails with its connection and is started again and again, with longer and
longer delays, until the service is back.  Meanwhile nobody waits for it: the page, who
asks, is told at once that it is down, and shows what it knew before.  The ticker, a
sibling, notices nothing.  The log says what an operator should know.

    python examples/flapping_service.py

:Runs on: each actor on its own thread; ``main`` on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actors import Actor, ActorDown
from supervision import Backoff, ChildSpec, Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervision import ChildLike


class Service:
    """Stands for the other machine; its state is set by the main thread alone."""

    address = "sensor:4711"
    is_up = True
    calls = 0

    def connect(self) -> Service:
        if not self.is_up:
            raise ConnectionRefusedError(self.address)
        return self

    def temperature(self) -> int:
        if not self.is_up:
            raise ConnectionResetError(self.address)
        self.calls += 1
        return 20 + self.calls


class Client(Actor):
    """One connection; when that is gone, so is the client."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.connection = service.connect()

    def temperature(self) -> int:
        return self.connection.temperature()


class Page(Actor):
    """What the visitors look at."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self.client = client
        self.known = 0

    def render(self) -> str:
        try:
            self.known = self.client.temperature().get()
        except ConnectionError:
            return f"{self.known} degrees a moment ago, the connection has just failed"
        except ActorDown:
            return f"{self.known} degrees a while ago"
        return f"{self.known} degrees"


class Ticker(Actor):
    """Has nothing to do with the service."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks


def page_needs(siblings: Any) -> Mapping[str, Any]:
    return {"client": siblings.ref("Client").proxy()}


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    service = Service()
    client = ChildSpec(
        Client,
        (service,),
        backoff=Backoff(initial=0.05, maximum=0.2),
        crash_on_ask=ConnectionError,  # which else would go to the page alone
        while_down="fail",
    )
    children: list[ChildLike[Any]] = [client, (Page, page_needs), Ticker]
    # A start that fails is a restart too; the default of 3 in 5 s would soon give up,
    # and a warning would say so and name the number that this backoff needs.
    with Supervisor.start("one_for_one", children, intensity=28) as tree:
        page, ticker = tree.ref("Page").proxy(), tree.ref("Ticker").proxy()
        ticks, shown = 0, ""
        while ticks < 8 or "ago" in shown:
            service.is_up = not 3 <= ticks < 7
            ticks, shown = ticker.tick().get(), page.render().get()
            print(f"{ticks}: {shown}")
            tree.wait(0.1)
        print(tree.snapshot())


if __name__ == "__main__":
    main()
