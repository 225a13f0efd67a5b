"""Writes the reference: a page for each public module, made of its docstrings.

    python docs/reference.py [folder]

The pages are not committed: they would have to be made again with every change of a docstring, and
would say something else than the code whenever that was forgotten.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent / "reference"
MODULES = {
    "temporal_state": "What most programs import.",
    "temporal_state.state": "The state of the run at hand, in workflow and activity code.",
    "temporal_state.state.keys": "Small values under names.",
    "temporal_state.state.system": "State that belongs to no run.",
    "temporal_state.state.credentials": "Access data without secrets.",
    "temporal_state.state.runs": "The records of runs, in workflow and activity code.",
    "temporal_state.state.snapshots": "Snapshots, in workflow and activity code.",
    "temporal_state.state.sync": "The same for threaded activities.",
    "temporal_state.documents": "What a `StateBackend` has for documents.",
    "temporal_state.runs": "What a `StateBackend` has for runs.",
    "temporal_state.storage": "Stores, and what a store of your own needs.",
    "temporal_state.testing": "For tests.",
}
WIDTH = 80
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Example|Examples):$", re.MULTILINE)
_ITEM = re.compile(r"^(\*{0,2}\w+): ", re.MULTILINE)


def main(folder: Path) -> None:
    """Write all pages and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    index = ["# Reference", "", "Made of the docstrings by `make docs`.", ""]
    for name, what in MODULES.items():
        (folder / f"{name}.md").write_text(page_of(importlib.import_module(name)))
        index.append(f"- [`{name}`]({name}.md): {what}")
    (folder / "README.md").write_text("\n".join(index) + "\n")
    print(f"{len(MODULES) + 1} pages in {folder}")


def page_of(module: ModuleType) -> str:
    """Return the page of a module: its docstring, then each name that it exports."""
    parts = [f"# {module.__name__}", text_of(module)]
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        if inspect.isclass(value):
            parts += class_entry(name, value, set(module.__all__))
        elif not inspect.ismodule(value):
            parts += entry_of(name, value, "##")
    return "\n\n".join(part for part in parts if part) + "\n"


def class_entry(name: str, kind: type, exported: set[str]) -> Iterator[str]:
    """Yield what is to be said of a class and of its methods."""
    made = vars(kind).get("__init__")
    arguments = signature_of(made) if inspect.isfunction(made) and not is_dataclass(kind) else ""
    bases = ", ".join(base.__name__ for base in kind.__bases__ if base.__name__ in exported)
    yield f"## {name}"
    yield f"```python\nclass {name}{arguments.removesuffix(' -> None')}\n```" if arguments else ""
    yield f"A `{bases}`." if bases else ""
    yield text_of(kind)
    for method, member in members_of(kind, exported):
        yield from entry_of(f"{name}.{method}", member, "###")


def entry_of(name: str, value: Any, heading: str) -> Iterator[str]:
    """Yield what is to be said of a function, a property or a constant."""
    yield f"{heading} {name}"
    if inspect.isfunction(value):
        word = "async def" if inspect.iscoroutinefunction(inspect.unwrap(value)) else "def"
        yield f"```python\n{word} {name.rpartition('.')[2]}{signature_of(value)}\n```"
        yield text_of(value)
    elif isinstance(value, property):
        yield text_of(value.fget)
    else:
        yield f"`{value!r}`"


def members_of(kind: type, exported: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties, those of bases included that have no entry."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base is kind or (
            base.__module__.startswith("temporal_state") and base.__name__ not in exported
        ):
            found |= {name: value for name, value in vars(base).items() if name[0] != "_"}
    for name, value in sorted(found.items()):
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if (inspect.isfunction(inner) or isinstance(inner, property)) and inner.__doc__:
            yield name, inner


def signature_of(function: Any) -> str:
    """Return the parameters as they are written, one a line if they are many."""
    tree = ast.parse(dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    for arguments in (tree.args.posonlyargs, tree.args.args):
        if arguments and arguments[0].arg in {"self", "cls"}:
            del arguments[0]
    returns = f" -> {ast.unparse(tree.returns)}" if tree.returns is not None else ""
    parameters = ast.unparse(tree.args)
    if len(parameters + returns) <= WIDTH:
        return f"({parameters}){returns}"
    lines = "".join(f"    {parameter},\n" for parameter in _parameters(tree.args))
    return f"(\n{lines}){returns}"


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    # Split where brackets are closed: types and defaults have commas of their own.
    depth, part = 0, ""
    for character in ast.unparse(arguments):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()


def text_of(value: Any) -> str:
    """Return a docstring as Markdown."""
    text = inspect.cleandoc(value.__doc__ or "").replace("``", "`")
    head, *sections = _SECTION.split(text)
    parts = [code_in(head.strip())]
    for title, section in zip(sections[::2], sections[1::2], strict=True):
        body = dedent(section.strip("\n")).strip()
        if title.startswith("Example"):
            parts.append(f"```python\n{body}\n```")
        else:
            parts.append(f"**{title}**\n\n{items_in(body)}")
    return "\n\n".join(part for part in parts if part)


def code_in(text: str) -> str:
    """Return paragraphs, with those that are indented as code."""
    return re.sub(
        r"(?:^ {4}.*\n?)(?:^(?: {4}.*)?\n?)*",
        lambda match: f"```\n{dedent(match[0]).rstrip()}\n```\n\n",
        text,
        flags=re.MULTILINE,
    ).strip()


def items_in(body: str) -> str:
    """Return ``name: text`` lines as a list; what they say goes on is indented already."""
    if not _ITEM.match(body):
        return body
    paragraphs, _, rest = body.partition("\n\n")
    listed = _ITEM.sub(r"- `\1`: ", paragraphs)
    return listed if not rest else f"{listed}\n\n{dedent(rest)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
