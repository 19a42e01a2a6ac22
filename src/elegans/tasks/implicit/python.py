"""A small part of Python, interpreted: enough to compute what the generated expressions and programs print.

Numbers, booleans, arithmetic, comparisons, names, ``for`` over a ``range``, ``if``, functions and their calls. Nothing
else runs: a question that was not generated here is refused, not executed.
"""

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any

BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}


def evaluate(expression: str) -> Any:
    """The value of an expression of literals and operators. Raises `ValueError` for anything else."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"not an expression: {expression!r}") from error
    return _Interpreter("").value(tree.body, {})


def printed(program: str, given: str) -> str:
    """What a program prints that reads `given`. Raises `ValueError` for what this interpreter does not know."""
    try:
        tree = ast.parse(program)
    except SyntaxError as error:
        raise ValueError(f"not a program: {error}") from error
    interpreter = _Interpreter(given)
    interpreter.run(tree.body, {})
    return "\n".join(interpreter.output)


class _Interpreter:
    def __init__(self, given: str) -> None:
        self.output: list[str] = []
        self.functions: dict[str, ast.FunctionDef] = {}
        self.known: dict[str, Callable[..., Any]] = {
            "input": lambda: given,
            "int": int,
            "range": range,
            "print": lambda value: self.output.append(str(value)),
        }

    def run(self, statements: Sequence[ast.stmt], names: dict[str, Any]) -> tuple[Any] | None:
        """What a `return` gave, or None where there was none."""
        for statement in statements:
            match statement:
                case ast.FunctionDef():
                    self.functions[statement.name] = statement
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    names[name] = self.value(value, names)
                case ast.For(target=ast.Name(id=name), iter=values, body=body):
                    for value in self.value(values, names):
                        names[name] = value
                        if returned := self.run(body, names):
                            return returned
                case ast.If(test=test, body=body, orelse=orelse):
                    if returned := self.run(body if self.value(test, names) else orelse, names):
                        return returned
                case ast.Return(value=ast.expr() as value):
                    return (self.value(value, names),)
                case ast.Expr(value=value):
                    self.value(value, names)
                case _:
                    raise ValueError(f"no program of this kind: {ast.unparse(statement)!r}")
        return None

    def value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value) if isinstance(value, (int, float)):
                return value
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand, names)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                return BINARY[type(op)](self.value(left, names), self.value(right, names))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in BINARY:
                return BINARY[type(op)](self.value(left, names), self.value(right, names))
            case ast.BoolOp(op=op, values=values):
                found = (self.value(value, names) for value in values)
                return all(found) if isinstance(op, ast.And) else any(found)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(name, [self.value(arg, names) for arg in args])
        raise ValueError(f"no expression of this kind: {ast.unparse(node)!r}")

    def call(self, name: str, given: list[Any]) -> Any:
        if name in self.functions:
            function = self.functions[name]
            names = dict(zip((arg.arg for arg in function.args.args), given, strict=True))
            return (self.run(function.body, names) or (None,))[0]
        if name not in self.known:
            raise ValueError(f"no function {name!r}")
        return self.known[name](*given)
