"""Implicit patterns: questions that can be computed, or answered by a pattern that they share."""

from elegans.tasks.implicit.boolean import BooleanExpressions
from elegans.tasks.implicit.code_reading import CodeReading
from elegans.tasks.implicit.equations import EquationSystems
from elegans.tasks.implicit.expressions import Expressions
from elegans.tasks.implicit.items import KINDS, Item, ItemTask, Kind
from elegans.tasks.implicit.pointer_reading import Documents, PointerPretraining, PointerReading
from elegans.tasks.implicit.relations import Relations

__all__ = [
    "KINDS",
    "BooleanExpressions",
    "CodeReading",
    "Documents",
    "EquationSystems",
    "Expressions",
    "Item",
    "ItemTask",
    "Kind",
    "PointerPretraining",
    "PointerReading",
    "Relations",
]
