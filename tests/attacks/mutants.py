"""Small wrong changes of a source file: what a mistake at the keyboard makes of it, each in one place.

Sentences and their pieces, annotations, docstrings, decorators and imports stay as they are: no test should repeat a text.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

SWAPS: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: (r"<", ("<=", ">=")),
    ast.LtE: (r"<=", ("<", ">")),
    ast.Gt: (r">", (">=", "<=")),
    ast.GtE: (r">=", (">", "<")),
    ast.Eq: (r"==", ("!=",)),
    ast.NotEq: (r"!=", ("==",)),
    ast.Is: (r"\bis\b", ("is not",)),
    ast.IsNot: (r"\bis\s+not\b", ("is",)),
    ast.In: (r"\bin\b", ("not in",)),
    ast.NotIn: (r"\bnot\s+in\b", ("in",)),
    ast.And: (r"\band\b", ("or",)),
    ast.Or: (r"\bor\b", ("and",)),
    ast.Add: (r"\+", ("-",)),
    ast.Sub: (r"-", ("+",)),
    ast.Mult: (r"\*", ("/",)),
    ast.Div: (r"/", ("*",)),
    ast.FloorDiv: (r"//", ("*",)),
    ast.Mod: (r"%", ("*",)),
    ast.Pow: (r"\*\*", ("*",)),
    ast.BitOr: (r"\|", ("&",)),
    ast.BitAnd: (r"&", ("|",)),
}
CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "median_low": "median_high",
    "median_high": "median_low",
}
WORD = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Mutant:
    """One file with one place changed.

    Attributes:
        file: as it is called in the repository.
        line: of the place, from 1.
        reached: the lines of the statement that the place is in, one of which runs where it does.
        names: of the functions, classes and variables that it stands in; the place is in a function's body where `inner`.
        before, after: the lines of the place without margins, joined.
        source: the whole changed file.
    """

    file: str
    line: int
    reached: range
    names: tuple[str, ...]
    inner: bool
    before: str
    after: str
    source: bytes

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.before, self.after

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.source).hexdigest()[:20]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n  - {self.before}\n  + {self.after}"


class _Places(ast.NodeVisitor):
    """Gathers (line, start, end, replacement, first and last line of the statement, names, inner) of each change."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[tuple[int, int, int, str, tuple[int, int], tuple[str, ...], bool]] = []
        self.statement = (1, 1)
        self.names: tuple[str, ...] = ()
        self.inner = False

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def add(self, node: ast.AST, new: str, span: tuple[int, int] | None = None) -> None:
        start, end = span or self.span(node)
        line = self.source.count(b"\n", 0, start) + 1
        self.found.append((line, start, end, new, self.statement, self.names, self.inner))

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def between(self, left: ast.AST, right: ast.AST, operator: ast.AST) -> None:
        """The operator that stands between two expressions."""
        pattern, others = SWAPS.get(type(operator), ("", ()))
        start, end = self.span(left)[1], self.span(right)[0]
        for new in others:
            match = re.search(pattern, self.source[start:end].decode())
            if match:
                self.add(right, new, (start + match.start(), start + match.end()))

    def visit(self, node: ast.AST) -> None:
        before = self.statement
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            self.statement = (node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno)
        super().visit(node)
        self.statement = before

    # what is passed over

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Sentences; Python before 3.12 does not say where their parts are."""

    def visit_Import(self, node: ast.Import) -> None: ...

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None: ...

    # where we are

    def body(self, statements: list[ast.stmt]) -> None:
        for number, statement in enumerate(statements):
            text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not (text and number == 0):
                self.visit(statement)

    def visit_Module(self, node: ast.Module) -> None:
        self.body(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before = self.names
        self.names = (*before, node.name)
        self.body(node.body)
        self.names = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        names, inner = self.names, self.inner
        self.names = (*names, node.name)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        self.inner = True
        self.body(node.body)
        self.names, self.inner = names, inner

    # what is changed

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self.between(left, right, operator)
            self.word(right)
        self.word(node.left)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, node.op)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(isinstance(side, (ast.JoinedStr, ast.Constant)) and _text(side) for side in (node.left, node.right)):
            self.between(node.left, node.right, node.op)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.Not, ast.USub)):
            self.add(node, self.text(node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(node, str(not value))
        elif isinstance(value, int):
            self.add(node, str(value + 1))
            if value == 1:
                self.add(node, "0")
        elif isinstance(value, float):
            self.add(node, repr(value * 2 or 1.0))

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in CALLS:
            self.add(node.func, CALLS[node.func.id])
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop") and node.args:
            self.word(node.args[0])
        self.visit(node.func)
        for argument in node.args:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg != "strict":  # of zip: what it guards against does not happen
                self.visit(keyword.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.word(node.slice)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key in node.keys:
            self.word(key)
        self.generic_visit(node)

    def word(self, node: ast.AST | None) -> None:
        """A string that is one word: a key or a name, on which something depends."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
            self.add(node, repr("other " + node.value))

    def condition(self, node: ast.If | ast.IfExp | ast.While) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if not isinstance(node.test, (ast.Compare, ast.UnaryOp, ast.Constant)):
            self.add(node.test, f"not ({self.text(node.test)})")
        self.generic_visit(node)

    visit_If = condition
    visit_IfExp = condition
    visit_While = condition

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.add(test, "True")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.word(node.value)
            if not isinstance(node.value, ast.Constant):
                self.add(node.value, "None")
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.add(node, "pass")
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        before = self.names
        self.names = (*before, *(target.id for target in node.targets if isinstance(target, ast.Name)))
        if "__all__" not in self.names:
            if isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
                self.add(node, "pass")
            self.word(node.value)
            self.generic_visit(node)
        self.names = before

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        before = self.names
        if isinstance(node.target, ast.Name):
            self.names = (*before, node.target.id)
        if node.value is not None:
            self.word(node.value)
            self.visit(node.value)
        self.names = before

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.between(node.target, node.value, node.op)
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add(node, "pass")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "break")


def _text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """All of one file, in its order."""
    places = _Places(source)
    places.visit(ast.parse(source))
    for line, start, end, new, (top, bottom), names, inner in sorted(set(places.found)):
        first = source.rfind(b"\n", 0, start) + 1
        last = source.find(b"\n", end)
        changed = source[:start] + new.encode() + source[end:]
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        before, after = source[first:last], source[first:start] + new.encode() + source[end:last]
        lines = range(top, bottom + 1)
        yield Mutant(file, line, lines, names, inner, _one_line(before), _one_line(after), changed)


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())
