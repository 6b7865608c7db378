"""``-e EXPR``: an expression of ``x`` as a function that imports what it names.

Everything that can be wrong with it is found before the first job: a statement where an
expression belongs, a name that nothing has, a misspelt function of a module.

:Runs on: the main thread, before the pipeline starts; ``Expression`` is then called by
    workers and, by value, in their processes.
:Owns: its entry of :mod:`linecache`, so that a traceback can show the text.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import symtable
import types
from typing import TYPE_CHECKING, Any

from actors.errors import ConfigurationError
from supervision.cli_modules import did_you_mean, import_module, module_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Expression"]

_FILE_NAME = "<-e>"


class Expression:
    """An expression of ``x`` as a function; the modules it names are imported.

    It travels to a worker process as the text of one ``lambda`` for :func:`eval`, so
    that the process need not import this package.

    Args:
        text: One Python expression.

    Raises:
        ConfigurationError: If it is not one, or uses a name that nothing has.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        tree = _parse(text)
        modules = _modules_of(tree, _free_names(text))
        self._source = _as_lambda(text, modules)
        code = compile(self._source, _FILE_NAME, "eval")
        lines = self._source.splitlines(keepends=True)
        linecache.cache[_FILE_NAME] = (len(self._source), None, lines, _FILE_NAME)
        self._fn = eval(code, {})  # the user's own text is what runs

    def __call__(self, x: Any) -> Any:
        """Evaluate the expression for one input."""
        return self._fn(x)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        return eval, (self._source, {})

    def __repr__(self) -> str:
        return f"-e {self.text!r}"


def _parse(text: str) -> ast.Expression:
    try:
        return ast.parse(text.strip(), _FILE_NAME, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if _is_statement(text):
            message = (
                f"-e takes one expression, and {_short(text)} is a statement; "
                "put it into a function and give MODULE:FUNCTION"
            )
        else:
            why = getattr(error, "msg", None) or str(error)
            column = getattr(error, "offset", None)
            place = f" at column {column}" if column else ""
            message = f"-e: {_short(text)} is not a Python expression: {why}{place}"
        raise ConfigurationError(message) from error


def _is_statement(text: str) -> bool:
    try:
        return bool(ast.parse(text.strip(), mode="exec").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text.strip().startswith(("return ", "yield "))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _free_names(text: str) -> set[str]:
    """The names that the expression takes from outside: not ``x``, not its own."""
    top = symtable.symtable(f"lambda x: (\n{text.strip()}\n)", _FILE_NAME, "eval")

    def names(table: symtable.SymbolTable) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                yield symbol.get_name()
        for child in table.get_children():
            yield from names(child)

    return set(names(top))


def _modules_of(tree: ast.Expression, free: set[str]) -> dict[str, list[str]]:
    """Import what the expression names: root name to the modules to import for it."""
    found: dict[str, list[str]] = {}
    roots: dict[str, types.ModuleType] = {}
    for name in sorted(free - set(dir(builtins))):
        roots[name] = _import_root(name)
        found[name] = [name]
    for root, *names in _chains(tree):
        if root in roots:
            found[root] += _submodules(root, roots[root], names)
    return {root: list(dict.fromkeys(needed)) for root, needed in found.items()}


def _import_root(name: str) -> types.ModuleType:
    module = import_module(name, asked=f"-e: module {name!r}")
    if module is not None:
        return module
    known = ["x", *dir(builtins), *module_names()]
    guess = did_you_mean(name, known)
    if len(name) == 1:
        guess = "; the input is called 'x'"
    message = f"-e: {name!r} is neither x nor a builtin nor a module{guess}"
    raise ConfigurationError(message)


def _chains(tree: ast.AST) -> Iterator[list[str]]:
    """Every ``a.b.c`` of the expression, as a list of names."""
    for node in ast.walk(tree):
        names: list[str] = []
        here: ast.AST = node
        while isinstance(here, ast.Attribute):
            names.append(here.attr)
            here = here.value
        if names and isinstance(here, ast.Name):
            yield [here.id, *reversed(names)]


def _submodules(path: str, owner: types.ModuleType, names: list[str]) -> Iterator[str]:
    """The modules below ``owner`` that ``a.b.c`` needs imported."""
    for name in names:
        path = f"{path}.{name}"
        if not hasattr(owner, name):
            _import_below(owner, name, path)
        value = getattr(owner, name)
        if not isinstance(value, types.ModuleType):
            return
        if value.__name__ == path:
            yield path
        owner = value


def _import_below(owner: types.ModuleType, name: str, path: str) -> None:
    is_package = hasattr(owner, "__path__")
    if is_package and import_module(path, asked=f"-e: module {path!r}") is not None:
        return
    names = [found for found in dir(owner) if not found.startswith("_")]
    guess = did_you_mean(name, [*names, *module_names(owner)])
    message = f"-e: module {owner.__name__!r} has no {name!r}{guess}"
    raise ConfigurationError(message)


def _as_lambda(text: str, modules: dict[str, list[str]]) -> str:
    """One self-contained expression: a function of ``x`` closed over its modules."""
    body = f"lambda x: (\n{text.strip()}\n)"
    if not modules:
        return body
    values = [
        f"[{', '.join(f'__import__({module!r})' for module in needed)}][0]"
        for needed in modules.values()
    ]
    return f"(lambda {', '.join(modules)}: {body})({', '.join(values)})"
