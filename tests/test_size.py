"""Files have at most 350 lines, functions 50: what is longer is divided by its subjects."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE_LINES, FUNCTION_LINES = 350, 50
PROGRAMS = {".py", ".sh", ".cpp", ".h", ".js", ".css", ".html"}


def sources() -> list[Path]:
    """The programs below `src`, `tests`, `bench` and `recipes`."""
    folders = (ROOT / name for name in ("src", "tests", "bench", "recipes"))
    return [path for folder in folders for path in sorted(folder.rglob("*.*")) if path.suffix in PROGRAMS]


def functions(source: str) -> list[tuple[str, int]]:
    """Name and lines of every function, decorators left out."""
    return [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_file_is_too_long() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert len(lines) > 300
    too_long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > FILE_LINES}
    assert not too_long


def test_no_function_is_too_long() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}": count
        for path in sources()
        if path.suffix == ".py"
        for name, count in functions(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 3000
    assert not {name: count for name, count in found.items() if count > FUNCTION_LINES}
