"""The revision of an experiment: a hash of the code that its numbers can depend on.

A result is reused only while this hash stands, so editing a model, a task or the experiment reruns exactly the jobs
that read it, and editing a claim, a figure or a comment reruns nothing. The hash covers, found by reading the source
without importing it:

- the experiment function and, transitively, what it names in its own module;
- every module of the same package that these import, whole, and what those import in turn; importing a package by
  name stands for all its modules, so studies import from modules;
- the models that the config or the experiment's code names as strings (registered, or ``pkg.module:Class``).

Comments, docstrings and layout do not count. The vocabulary, the lab and the report are left out: they move numbers
about but make none.
"""

import ast
import hashlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from elegans.models.registry import CATALOG
from elegans.study import UsageError

_NO_NUMBERS = ("elegans.study", "elegans.stats", "elegans.lab", "elegans.report", "elegans.cli")


def revision(experiment: str, names: Iterable[str] = ()) -> str:
    """The revision of ``"module:function"`` as 16 hex digits; `names` are the strings of its config."""
    parts: dict[str, str] = {}
    module, _, function = experiment.partition(":")
    _collect_definition(module, function, parts)
    for name in names:
        _collect_model(name, parts)
    text = "\n".join(f"{name} {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect_model(name: str, parts: dict[str, str]) -> None:
    """Add the module of a model if `name` is one."""
    target = CATALOG[name].path if name in CATALOG else name
    if ":" in target and _source(target.partition(":")[0]):
        _collect_module(target.partition(":")[0], parts)


def _collect_definition(module: str, name: str, parts: dict[str, str]) -> None:
    """Add the definition of `name` in `module` and everything it reaches."""
    tree = _parse(module)
    if tree is None:
        raise UsageError(f"cannot find the source of module {module!r}")
    definitions, imports = _module_names(module, tree)
    if name not in definitions:
        raise UsageError(f"module {module!r} defines no {name!r}")
    queue = [name]
    while queue:
        current = queue.pop()
        address = f"{module}:{current}"
        if address in parts:
            continue
        node = definitions[current]
        parts[address] = _digest(node)
        for used in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
            if used in definitions:
                queue.append(used)
            for imported in imports.get(used, ()):
                _collect_module(imported, parts)
        for imported in _imports(node, module):
            _collect_module(imported, parts)
        for constant in ast.walk(node):
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                _collect_model(constant.value, parts)


def _collect_module(module: str, parts: dict[str, str]) -> None:
    """Add a whole module and the modules of its package that it imports."""
    queue = [module]
    while queue:
        current = queue.pop()
        if current in parts or current.startswith(_NO_NUMBERS) or _source(current) is None:
            continue
        parts[current], imported = _summary(current)
        queue.extend(imported)


@cache
def _summary(module: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module and the modules that it stands for: its imports and, if it is a package, its children."""
    tree, source = _parse(module), _source(module)
    assert tree is not None and source is not None
    imported = list(_imports(tree, module))
    if _is_package(module):
        imported += [f"{module}.{child.name}" for child in pkgutil.iter_modules([str(source.parent)])]
    return _digest(tree), tuple(imported)


def _module_names(module: str, tree: ast.Module) -> tuple[dict[str, ast.AST], dict[str, list[str]]]:
    """The definitions of a module by name, and for each imported name the modules it may come from."""
    definitions: dict[str, ast.AST] = {}
    imports: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            definitions[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                definitions.update({n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)})
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                imports.setdefault(bound, []).extend(_imports_of_alias(node, alias, module))
    return definitions, imports


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield from _imports_of_alias(node, alias, module)


def _imports_of_alias(node: ast.Import | ast.ImportFrom, alias: ast.alias, module: str) -> list[str]:
    """The modules of the importer's own top-level package, or of elegans, that one import clause reads."""
    if isinstance(node, ast.Import):
        found = [alias.name]
    else:
        base = node.module or ""
        if node.level:
            package = module if _is_package(module) else module.rpartition(".")[0]
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])])
        found = [f"{base}.{alias.name}"] if _source(f"{base}.{alias.name}") else [base]
    tops = {module.split(".")[0], "elegans"}
    return [name for name in found if name.split(".")[0] in tops]


@cache
def _source(module: str) -> Path | None:
    """The source file of a module, found by its path below its top-level package: nothing is imported."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or []:
        path = Path(folder, *rest)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _is_package(module: str) -> bool:
    source = _source(module)
    return source is not None and source.name == "__init__.py"


@cache
def _parse(module: str) -> ast.Module | None:
    """The syntax tree of a module, without docstrings."""
    source = _source(module)
    if source is None:
        return None
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [child for child in node.body if not _is_text(child)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _digest(node: ast.AST) -> str:
    """A hash of the code under `node`, blind to comments and layout."""
    return hashlib.sha256(ast.dump(node).encode()).hexdigest()
