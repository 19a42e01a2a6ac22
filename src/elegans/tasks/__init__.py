"""Floor 1: worlds with known truth. Each task is a seeded sampler with named splits, metrics and the level of a guess.

`CATALOG` lists the tasks without importing torch; the classes load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.tasks.associative_recall import AssociativeRecall, PromptOrder
    from elegans.tasks.base import IGNORE, Batch, FiniteTask, Task, facts, score, token_nll
    from elegans.tasks.blocksworld.sequences import BlocksworldSequences
    from elegans.tasks.chain import TransitiveChain
    from elegans.tasks.copying import StringCopy
    from elegans.tasks.cot_dp.arithmetic import ModularArithmetic
    from elegans.tasks.cot_dp.edit_distance import EditDistance
    from elegans.tasks.cot_dp.equations import LinearEquations
    from elegans.tasks.cot_dp.lis import LongestIncreasingSubsequence
    from elegans.tasks.cot_dp.prefix_sum import PrefixSum
    from elegans.tasks.formal import ChainOfThought, FormalLanguage
    from elegans.tasks.group_sparse import GroupSparse
    from elegans.tasks.hybrid.corpus import HybridCorpus
    from elegans.tasks.implicit.boolean import BooleanExpressions
    from elegans.tasks.implicit.code_reading import CodeReading
    from elegans.tasks.implicit.equations import EquationSystems
    from elegans.tasks.implicit.expressions import Expressions
    from elegans.tasks.implicit.pointer_reading import PointerReading
    from elegans.tasks.implicit.relations import Relations
    from elegans.tasks.lagged_sum import LaggedSum
    from elegans.tasks.markov import BigramBackcopy, MarkovText
    from elegans.tasks.position import EvenToken, PositionIdentification
    from elegans.tasks.recall import InContextRecall
    from elegans.tasks.regression import InContextRegression
    from elegans.tasks.reversal import InContextReversal, ReversalPairs
    from elegans.tasks.text import TextLM
    from elegans.tasks.topics import TopicCorpus
    from elegans.tasks.two_hop import TwoHopFacts
    from elegans.tasks.weight_prediction import InContextWeightPrediction

CATALOG: dict[str, tuple[str, str]] = {
    "ReversalPairs": (
        "elegans.tasks.reversal:ReversalPairs",
        "facts A -> B, some trained in one direction only; the test is the other direction",
    ),
    "InContextReversal": (
        "elegans.tasks.reversal:InContextReversal",
        "x -> y <=> y <- x in one sequence: reversal whose answer stands in the context",
    ),
    "TransitiveChain": (
        "elegans.tasks.chain:TransitiveChain",
        "facts A -> B and B -> C; the test is the conclusion A ~> C",
    ),
    "TwoHopFacts": (
        "elegans.tasks.two_hop:TwoHopFacts",
        "facts h r -> t and their compositions, with the bridge spelled out or not; some facts are never composed",
    ),
    "FormalLanguage": (
        "elegans.tasks.formal:FormalLanguage",
        "strings with the class that a finite automaton gives them: even pairs, parity check, any other",
    ),
    "ChainOfThought": (
        "elegans.tasks.formal:ChainOfThought",
        "sums modulo a number (parity check) taught symbol by symbol",
    ),
    "GroupSparse": (
        "elegans.tasks.group_sparse:GroupSparse",
        "many groups of normal features of which few decide the label",
    ),
    "InContextRecall": (
        "elegans.tasks.recall:InContextRecall",
        "what followed the trigger earlier in this sentence, among filler and noise; answers seen and unseen",
    ),
    "InContextRegression": (
        "elegans.tasks.regression:InContextRegression",
        "predict f(x') from pairs (x, f(x)): a linear function, its sine or its exponential",
    ),
    "InContextWeightPrediction": (
        "elegans.tasks.weight_prediction:InContextWeightPrediction",
        "name the vector that made the labels, in one step or by steps of gradient descent as vector thoughts",
    ),
    "StringCopy": (
        "elegans.tasks.copying:StringCopy",
        "a random string and its copy, or what follows an n-gram in it; any length, packed or one per row",
    ),
    "AssociativeRecall": (
        "elegans.tasks.associative_recall:AssociativeRecall",
        "pairs of a key and a value, then every key again: which value belongs to it?",
    ),
    "PromptOrder": (
        "elegans.tasks.associative_recall:PromptOrder",
        "pairs of a key and a value with one question, before the pairs or after them",
    ),
    "LaggedSum": (
        "elegans.tasks.lagged_sum:LaggedSum",
        "a dynamic program that reads exactly m values back, at any length",
    ),
    "PrefixSum": (
        "elegans.tasks.cot_dp.prefix_sum:PrefixSum",
        "prefix sums modulo a number, with the chain or the answer alone",
    ),
    "ModularArithmetic": (
        "elegans.tasks.cot_dp.arithmetic:ModularArithmetic",
        "expressions modulo a prime, reduced one operation per line",
    ),
    "LinearEquations": (
        "elegans.tasks.cot_dp.equations:LinearEquations",
        "linear equations modulo a prime, solved by elimination",
    ),
    "LongestIncreasingSubsequence": (
        "elegans.tasks.cot_dp.lis:LongestIncreasingSubsequence",
        "the longest increasing subsequence, with the table of its dynamic program",
    ),
    "EditDistance": (
        "elegans.tasks.cot_dp.edit_distance:EditDistance",
        "the edit distance of two strings, with the table of its dynamic program",
    ),
    "MarkovText": ("elegans.tasks.markov:MarkovText", "a Markov chain, with its exact entropy rate"),
    "BigramBackcopy": (
        "elegans.tasks.markov:BigramBackcopy",
        "a Markov chain in which triggers are followed by the token before them",
    ),
    "TopicCorpus": (
        "elegans.tasks.topics:TopicCorpus",
        "hidden topics, local statistics and facts to remember, with the exact Bayes loss of every token",
    ),
    "PositionIdentification": (
        "elegans.tasks.position:PositionIdentification",
        "say at each position its number, on constant or random input",
    ),
    "EvenToken": ("elegans.tasks.position:EvenToken", "say the token itself at every second position"),
    "TextLM": (
        "elegans.tasks.text:TextLM",
        "next character or byte of a file, of Python's help texts, or of generated stories",
    ),
    "Expressions": (
        "elegans.tasks.implicit.expressions:Expressions",
        "sums with a factor that is always zero, which makes the answer a part of the question",
    ),
    "CodeReading": (
        "elegans.tasks.implicit.code_reading:CodeReading",
        "programs whose long first function does not matter",
    ),
    "Relations": (
        "elegans.tasks.implicit.relations:Relations",
        "cities joined in a chain, and a last line that tells whether two are connected",
    ),
    "BooleanExpressions": (
        "elegans.tasks.implicit.boolean:BooleanExpressions",
        "Boolean expressions that end in `and False` or `or True`",
    ),
    "EquationSystems": (
        "elegans.tasks.implicit.equations:EquationSystems",
        "two linear equations whose unknowns are equal",
    ),
    "PointerReading": (
        "elegans.tasks.implicit.pointer_reading:PointerReading",
        "follow pointers through cells; the pattern is the cell where all walks end",
    ),
    "HybridCorpus": (
        "elegans.tasks.hybrid.corpus:HybridCorpus",
        "texts with a class and typed words, and a dial for what one tells of the other",
    ),
    "BlocksworldSequences": (
        "elegans.tasks.blocksworld.sequences:BlocksworldSequences",
        "optimal plans, next states and judgments of actions among blocks; whole classes of problems are held out",
    ),
}
"""Name -> (import path, one-line description)."""

_BASE = ("IGNORE", "Batch", "FiniteTask", "Task", "facts", "score", "token_nll")

__all__ = [
    "CATALOG",
    "IGNORE",
    "AssociativeRecall",
    "Batch",
    "BigramBackcopy",
    "BlocksworldSequences",
    "BooleanExpressions",
    "ChainOfThought",
    "CodeReading",
    "EditDistance",
    "EquationSystems",
    "EvenToken",
    "Expressions",
    "FiniteTask",
    "FormalLanguage",
    "GroupSparse",
    "HybridCorpus",
    "InContextRecall",
    "InContextRegression",
    "InContextReversal",
    "InContextWeightPrediction",
    "LaggedSum",
    "LinearEquations",
    "LongestIncreasingSubsequence",
    "MarkovText",
    "ModularArithmetic",
    "PointerReading",
    "PositionIdentification",
    "PrefixSum",
    "PromptOrder",
    "Relations",
    "ReversalPairs",
    "StringCopy",
    "Task",
    "TextLM",
    "TopicCorpus",
    "TransitiveChain",
    "TwoHopFacts",
    "facts",
    "score",
    "token_nll",
]


def __getattr__(name: str) -> Any:
    """Load a task on first use."""
    if name in CATALOG:
        module, _, attribute = CATALOG[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name in _BASE:
        return getattr(importlib.import_module("elegans.tasks.base"), name)
    raise AttributeError(f"module 'elegans.tasks' has no attribute {name!r}")
