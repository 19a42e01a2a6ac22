"""Boolean expressions that end in ``and False`` or ``or True``, so that the last word is the answer.

Source: the released code of Yin et al. 2024 (arXiv 2410.04691). Repaired here:

- implicit items have the pattern: in the released run none ends in ``and False`` or ``or True``;
- the upper bound on the terms of a group stays: in the released code it shrinks from group to group;
- what stands before the last operator is in parentheses in all items, so that they do not give the answer away;
- it is true in half of the items of each kind, so that it tells nothing of the answer of an implicit one;
- misleading items are those on which the last word is wrong: half of the released ones are right by chance.
"""

import numpy as np

from elegans.tasks.implicit.items import ItemTask, pick
from elegans.tasks.implicit.python import evaluate
from elegans.tasks.words import check_at_least, check_range

ASK = "\nThe result is:"


class BooleanExpressions(ItemTask):
    """Groups ``(True and False or True)`` joined by ``and`` and ``or`` to E, and a last operator and literal.

    Implicit items are ``(E) and False`` or ``(E) or True``, others ``(E) or False`` or ``(E) and True``, each as often.
    In every kind half of the answers are True. On normal items the shortcut is right with probability 1/2.

    Args:
        n_groups: groups of E.
        max_terms: of a group; the least is 2.
        released: with the faults of the released code: implicit items are a bare E.
    """

    name = "boolean"
    instruction = "Is each Boolean expression True or False?"
    choices = ("True", "False")

    def __init__(self, *, n_groups: int = 3, max_terms: int = 4, released: bool = False) -> None:
        check_at_least(1, n_groups=n_groups)
        check_range("max_terms", max_terms, 2, 99, "a line")
        super().__init__(released=released)
        self.n_groups, self.max_terms = n_groups, max_terms

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """The expression and what is asked."""
        if self.released:
            body = self._groups(rng)
            return (body if kind == "implicit" else f"({body}) {pick(rng, 'or False', 'and True')}") + ASK
        last = pick(rng, "and False", "or True") if kind == "implicit" else pick(rng, "or False", "and True")
        truth = last.endswith("False") if kind == "misleading" else bool(rng.integers(2))
        while evaluate(body := self._groups(rng)) != truth:
            pass
        return f"({body}) {last}{ASK}"

    def formal(self, question: str) -> str:
        """The value of the expression."""
        return str(evaluate(question.removesuffix(ASK)))

    def shortcut(self, question: str) -> str:
        """The last literal."""
        return question.removesuffix(ASK).rstrip(")").split()[-1].lstrip("(")

    def vocabulary(self) -> tuple[str, ...]:
        """The letters of the words, parentheses, and spaces."""
        return tuple(sorted({*"()TrueFalseandor ", *ASK}))

    def _groups(self, rng: np.random.Generator) -> str:
        bound, words = self.max_terms, []
        for group in range(self.n_groups):
            n_terms = int(rng.integers(2, bound + 1))
            if self.released:
                bound = n_terms
            terms = [pick(rng, "True", "False")]
            for _ in range(n_terms - 1):
                terms += [pick(rng, "and", "or"), pick(rng, "True", "False")]
            if group:
                words.append(pick(rng, "and", "or"))
            words.append(f"({' '.join(terms)})")
        return " ".join(words)
