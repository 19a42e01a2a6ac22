"""Dynamic programs with a chain of thought: the table of the program written out between question and answer."""

from elegans.tasks.cot_dp.arithmetic import ModularArithmetic
from elegans.tasks.cot_dp.base import EOS, PAD, SEP, DynamicProgram, Problems
from elegans.tasks.cot_dp.edit_distance import EditDistance
from elegans.tasks.cot_dp.equations import LinearEquations
from elegans.tasks.cot_dp.lis import LongestIncreasingSubsequence
from elegans.tasks.cot_dp.prefix_sum import PrefixSum

__all__ = [
    "EOS",
    "PAD",
    "SEP",
    "DynamicProgram",
    "EditDistance",
    "LinearEquations",
    "LongestIncreasingSubsequence",
    "ModularArithmetic",
    "PrefixSum",
    "Problems",
]
