"""Count the words of every text and Python file below a directory into SQLite.

CPU jobs read and count in processes; the sink writes each file's counts in one
transaction.  The sink runs on one thread, the collector's, so the database needs no
lock.

    python examples/index_tree.py DIRECTORY index.db

:Runs on: ``count_words`` in a cpu worker's process; ``Index.add`` on the collector's
    thread; the rest on the main thread.
:Owns: the connection to the database.
"""

from __future__ import annotations

import argparse
import collections
import io
import re
import sqlite3
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

from actors import job
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import JobResult

SUFFIXES = {".md", ".py", ".rst", ".txt"}
WORD = re.compile(r"[^\W\d_]\w*")


@job(kind="cpu", timeout=60)
def count_words(path: Path) -> dict[str, int]:
    """The words of a text, or the names in a Python file, with their number."""
    with tokenize.open(path) if path.suffix == ".py" else path.open() as file:
        text = file.read()
    if path.suffix != ".py":
        return dict(collections.Counter(WORD.findall(text.lower())))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return dict(
        collections.Counter(t.string for t in tokens if t.type == tokenize.NAME)
    )


class Index:
    """The database that the sink writes to."""

    def __init__(self, path: Path) -> None:
        # Made here, used by the collector's thread alone until the pipeline has ended.
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("CREATE TABLE words (path TEXT, word TEXT, number INTEGER)")

    def add(self, result: JobResult) -> None:
        """Sink: store one file's counts, or say why there are none."""
        path = str(result.job.args[0])
        if not result.ok:
            print(f"{path}: {result.error}", file=sys.stderr)
            return
        rows = [(path, word, number) for word, number in result.value.items()]
        with self._db:  # one transaction: all of a file, or nothing of it
            self._db.executemany("INSERT INTO words VALUES (?, ?, ?)", rows)

    def most_frequent(self, number: int) -> list[tuple[str, int]]:
        """The words that occur most, over all files."""
        return self._db.execute(
            "SELECT word, sum(number) AS total FROM words"
            " GROUP BY word ORDER BY total DESC, word LIMIT ?",
            (number,),
        ).fetchall()

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Index a tree and print its ten most frequent words."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("database", type=Path)
    options = parser.parse_args(argv)
    paths = (p for p in sorted(options.folder.rglob("*")) if p.suffix in SUFFIXES)

    index = Index(options.database)
    with Pipeline(1, cpu_workers=2) as pipeline:
        report = pipeline.run(count_words, paths, sink=index.add)
    for word, total in index.most_frequent(10):
        print(f"{total:7} {word}")
    index.close()
    print(report, file=sys.stderr)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
