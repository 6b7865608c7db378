"""Orders of threads that once broke a promise, each found by some of these seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.events import JobSettled
from actors.testing import explore
from supervision import Pipeline

if TYPE_CHECKING:
    from actors.testing import VirtualClock


def square(x: int) -> int:
    return x * x


def test_whoever_waits_for_jobs_finds_them_done_and_told() -> None:
    def body(_: VirtualClock) -> None:
        told: list[int] = []

        def listen(event: object) -> None:
            if isinstance(event, JobSettled):
                told.append(event.result.id)

        with Pipeline(2, cpu_workers=1, capacity=3) as pipeline:
            pipeline.add_listener(listen)
            scope = pipeline.scope("mail")

            future = scope.submit(square, 3)
            assert scope.wait()
            assert future.done()
            assert told == [1]

            future = pipeline.submit(square, 4)
            assert pipeline.wait()
            assert future.done()
            assert told == [1, 2]

            future = pipeline.submit(square, 5)
            pipeline.drain()
            assert future.done()
            assert told == [1, 2, 3]

    explore(body, seeds=60, auto_advance=True)
