"""Who decides about a failure: two levels of supervisors over a small database.

A word that is there already costs its message alone.  A bug restarts the writer, and
the index after it, which reads the words again.  For a broken file the level above has
a remedy: storage starts anew, from the checker on.  Nothing helps on a full disk:
storage stays down, and the desk lives with it.

    python examples/nested_trees.py

:Runs on: each actor on its own thread; ``main`` on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import queue
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from actors import Actor, ActorDeadError
from supervision import ChildSpec, Supervisor


class Checker(Actor):
    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.exists() and not path.read_bytes().startswith(b"SQLite format"):
            path.unlink()
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TABLE IF NOT EXISTS words (word PRIMARY KEY)")


class Writer(Actor):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = sqlite3.connect(path, isolation_level=None)
        self.file.execute("PRAGMA max_page_count = 16")  # that is our disk

    def on_receive(self, message: str) -> None:
        self.file.execute("INSERT INTO words VALUES (?)", [message.lower()])

    def on_stop(self) -> None:
        self.file.close()


class Index(Actor):
    def __init__(self, path: Path) -> None:
        super().__init__()
        with closing(sqlite3.connect(path)) as file:
            self.words = [word for (word,) in file.execute("SELECT * FROM words")]

    def known(self) -> list[str]:
        return self.words


class Desk(Actor):
    def __init__(self, index: Any) -> None:
        super().__init__()
        self.index = index

    def words(self) -> Any:
        try:
            return self.index.known().get()
        except ActorDeadError:
            return "closed"


def desk_needs(its: Any) -> dict[str, Any]:
    """Looked up at each start: a storage that starts anew has other children."""
    return {"index": its.ref("storage").ref("Index").proxy()}


def main() -> None:
    happened: queue.SimpleQueue[Any] = queue.SimpleQueue()
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "words.db"
    needs = {"path": path}
    writer = ChildSpec(Writer, kwargs=needs, on_crash="on_stop")
    storage = ChildSpec(
        Supervisor,
        ("rest_for_one", [(Checker, needs), writer, (Index, needs)]),
        {"decider": {sqlite3.IntegrityError: "resume", sqlite3.Error: "escalate"}},
        id="storage",
    )
    with (
        folder,
        Supervisor.start(
            "rest_for_one",
            [storage, (Desk, desk_needs)],
            decider={sqlite3.OperationalError: "stop"},
            on_event=happened.put,
            name="library",
        ) as tree,
    ):

        def write(what: str, word: Any, *, until: str) -> None:
            print(f"{what}:")
            tree.ref(storage).ref(writer).tell(word)
            line = ""
            while line != until:
                event = happened.get(timeout=10)
                line = f"{type(event).__name__} {event[0]}/{event[1]}"
                print("   ", line)
            print("    words:", tree.ref("Desk").proxy().words().get())

        write("the start", "Ada", until="ChildStarted library/Desk")
        write("a word twice", "ADA", until="ChildResumed library/storage/Writer")
        write("a bug", 5, until="ChildRestarted library/storage/Index")
        path.write_bytes(b"?" * 9000)
        write("a broken file", "Grace", until="ChildRestarted library/Desk")
        write("a full disk", "Grace" * 99_999, until="ChildStopped library/storage")
        print(tree.snapshot())


if __name__ == "__main__":
    main()
