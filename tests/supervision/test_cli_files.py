from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import ConfigurationError
from supervision.cli_files import check_paths, files_below

if TYPE_CHECKING:
    from pathlib import Path


def refuse(place: str, why: str) -> None:
    raise AssertionError((place, why))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.txt",
        "a.py",
        ".hidden",
        "sub/c.py",
        "sub/deep/d.py",
        ".git/config",
        "other/e.txt",
    ):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a.py", "b.txt", "other/e.txt", "sub/c.py", "sub/deep/d.py"]),
        ({"globs": ["*.py"]}, ["a.py", "sub/c.py", "sub/deep/d.py"]),
        ({"globs": ["*.txt", "a*"]}, ["a.py", "b.txt", "other/e.txt"]),
        ({"globs": ["sub/*"]}, ["sub/c.py", "sub/deep/d.py"]),
        ({"globs": ["sub/*/d.py"]}, ["sub/deep/d.py"]),
        ({"globs": ["nothing"]}, []),
        (
            {"hidden": True, "globs": ["*config", ".*"]},
            [".hidden", ".git/config"],
        ),
    ],
)
def test_files_below_a_directory_are_found(
    tree: Path, options: dict[str, Any], expected: list[str]
) -> None:
    found = list(files_below(["tree"], refuse, **options))

    assert found == [f"tree/{name}" for name in expected]


def test_names_are_those_that_find_prints(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)

    assert list(files_below(["."], refuse))[:2] == ["./a.py", "./b.txt"]


def test_file_that_is_named_is_taken_though_hidden(tree: Path) -> None:
    assert list(files_below(["tree/.hidden", "tree/.git"], refuse)) == [
        "tree/.hidden",
        "tree/.git/config",
    ]


def test_link_to_a_directory_is_followed_only_when_named(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "sub" / "link.py").symlink_to(tree / "a.py")
    (tree / "sub" / "broken.py").symlink_to(tree / "missing")
    (tree / "sub" / "circle").symlink_to("circle")

    below = list(files_below(["tree/sub"], refuse))
    named = list(files_below(["tree/sub/loop/other"], refuse))

    assert below == ["tree/sub/c.py", "tree/sub/link.py", "tree/sub/deep/d.py"]
    assert named == ["tree/sub/loop/other/e.txt"]


def test_pipes_and_sockets_are_passed_over(tree: Path) -> None:
    os.mkfifo(tree / "other" / "fifo")

    assert list(files_below(["tree/other"], refuse)) == ["tree/other/e.txt"]


def test_output_file_is_not_taken_for_input(tree: Path) -> None:
    at = (tree / "b.txt").stat()

    found = list(files_below(["tree"], refuse, skip={(at.st_dev, at.st_ino)}))

    assert "tree/b.txt" not in found
    assert "tree/a.py" in found


def test_file_that_a_job_writes_is_not_taken_for_input(tree: Path) -> None:
    found = []
    for path in files_below(["tree/other"], refuse):
        found.append(path)
        (tree / "other" / f"{len(found)}.out").touch()

    assert found == ["tree/other/e.txt"]


def test_odd_names_survive(tree: Path) -> None:
    odd = ["-rf", "a b", "a\nb", "naïve", "\udcff\udcfe", "'quoted'"]
    for name in odd:
        (tree / "other" / name).touch()

    found = {os.path.basename(path) for path in files_below(["tree/other"], refuse)}

    assert found == {*odd, "e.txt"}


def test_directory_that_cannot_be_read_is_told_and_passed_over(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def guarded(place: str) -> Any:
        if place == "tree/sub":
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", guarded)
    bad: list[tuple[str, str]] = []

    found = list(files_below(["tree"], lambda place, why: bad.append((place, why))))

    assert bad == [("'tree/sub'", "cannot be read: permission denied")]
    assert found == ["tree/a.py", "tree/b.txt", "tree/other/e.txt"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing", "--files: cannot read 'missing': no such file or directory"),
        ("app:parse", "MODULE:FUNCTION goes before --files"),
        ("nul\0l", "--files: cannot read"),
        ("/dev/null", "neither a directory nor a regular file"),
    ],
)
def test_path_that_is_no_input_is_refused_at_once(
    tree: Path, path: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_paths(["tree", path])

    assert told in str(caught.value)
