"""Hash every file below a directory, as ``sha256sum`` would.

IO jobs through the whole tree: eight workers read, the caller prints as results settle.

    python examples/hash_tree.py DIRECTORY

:Runs on: ``sha256`` on an io worker's thread; the rest on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors import checkpoint
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """The digest of one file; a stop is obeyed between two chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            checkpoint()
    return digest.hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files in a steady order, links left out; read as workers need them."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.is_file():
            yield path


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a file; exit with 1 if a file could not be read."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-j", "--workers", type=int, default=8)
    options = parser.parse_args(argv)

    with Pipeline(options.workers) as pipeline:
        for result in pipeline.results(sha256, files_below(options.folder)):
            (path,) = result.job.args
            if result.ok:
                print(f"{result.value}  {path}")
            else:
                print(f"{path}: {result.error}", file=sys.stderr)
    report = pipeline.report()
    print(report, file=sys.stderr)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
