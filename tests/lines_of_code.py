"""Count lines of code: no blank lines, comments or docstrings.

`python tests/lines_of_code.py [FOLDER]` prints a table by folder.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(source):
    """Number of lines of a module that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def count(folder):
    """Lines of code of every module below a folder, by path."""
    return {p: lines_of_code(p.read_text("utf-8")) for p in sorted(Path(folder).rglob("*.py"))}


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "skrigidity")
    numbers = count(root)
    folders = Counter()
    for path, number in numbers.items():
        folders[str(path.parent.relative_to(root.parent))] += number
    for name, number in sorted(folders.items()):
        print(f"{number:6d}  {name}")
    print(f"{sum(numbers.values()):6d}  in all")
