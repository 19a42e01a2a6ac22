"""Systems of linear equations modulo p, solved by Gauss-Jordan elimination.

Source: Feng et al. 2023 (arXiv 2305.15408). Shapes: N problems, P tokens of a prompt, n variables.
"""

import numpy as np

from elegans.tasks.cot_dp.arithmetic import check_prime
from elegans.tasks.cot_dp.base import FIRST, SEP, DynamicProgram, Problems, View
from elegans.tasks.stream import constant
from elegans.tasks.words import check_at_least


class LinearEquations(DynamicProgram):
    """n equations ``3 a + 0 b + 7 c = 2 ,`` over Z_p as the question, the states of the elimination as the chain.

    State k has solved the first k columns: their pivot rows have been swapped up (the topmost row that can serve) and
    divided, and the column cleared in all other rows. It prints, row by row, a solved variable as its bare name in its
    own row and not at all in others, and every unsolved one with its coefficient, 0 and 1 included; the last state
    ``a = 5 , b = 1 , c = 0`` is the answer. Coefficients and right sides are uniform, singular systems are drawn again.

    States are as long as n and k say, so all prompts and all chains have one length. A state is computed from the one
    before: `locality` is two states.

    Args:
        n_variables: n.
        modulus: p, a prime.
        view: with the chain or the answer only, see `DynamicProgram`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples and of the division into splits.
    """

    address = "linear-equations"

    def __init__(
        self, *, n_variables: int = 3, modulus: int = 11, view: View = "cot", n_eval: int = 512, seed: int = 0
    ) -> None:
        check_at_least(1, n_variables=n_variables)
        check_prime(modulus)
        self.n, self.modulus = n_variables, modulus
        self.plus, self.equals, self.comma = range(FIRST + modulus + n_variables, FIRST + modulus + n_variables + 3)
        self._inverse = np.array([pow(x, -1, modulus) if x else 0 for x in range(modulus)])
        super().__init__(
            FIRST + modulus + n_variables + 3,
            prompt_length=self._state_length(0),
            chain_length=sum(self._state_length(k) for k in range(1, n_variables)),
            answer_length=4 * n_variables - 1,
            view=view,
            n_eval=n_eval,
            seed=seed,
        )

    @property
    def locality(self) -> int:
        """From the end of the first state back to the start of the question."""
        return self._state_length(0) + self._state_length(1) - 1

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """Uniform systems without the singular ones."""
        matrices = rng.integers(0, self.modulus, (size, self.n, self.n + 1))
        states, regular = self._eliminate(matrices)
        return self._encode([state[regular] for state in states])

    def solve(self, prompts: np.ndarray) -> Problems:
        """The elimination of each system."""
        numbers = prompts.reshape(len(prompts), self.n, -1)[:, :, [*range(0, 3 * self.n, 3), 3 * self.n]]
        return self._encode(self._eliminate(numbers - FIRST)[0])

    def _state_length(self, k: int) -> int:
        return self.n * (2 + 3 * (self.n - k)) + 2 * k

    def _eliminate(self, matrix: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The states [N, n, n + 1] before and after each column, and whether the system is regular."""
        row = np.arange(len(matrix))
        states, regular = [matrix], np.ones(len(matrix), dtype=bool)
        for k in range(self.n):
            nonzero = matrix[:, k:, k] != 0
            regular &= nonzero.any(1)
            pivot = nonzero.argmax(1) + k
            matrix = matrix.copy()
            matrix[row, pivot], matrix[:, k] = matrix[:, k].copy(), matrix[row, pivot]
            matrix[:, k] = matrix[:, k] * self._inverse[matrix[:, k, k]][:, None] % self.modulus
            factors = matrix[:, :, k].copy()
            factors[:, k] = 0
            matrix = (matrix - factors[:, :, None] * matrix[:, None, k]) % self.modulus
            states.append(matrix)
        return states, regular

    def _encode(self, states: list[np.ndarray]) -> Problems:
        question, *chain, answer = [self._print(state, k) for k, state in enumerate(states)]
        return Problems(question, np.hstack([question[:, :0], *chain]), answer[:, :-1])

    def _print(self, state: np.ndarray, k: int) -> np.ndarray:
        size = len(state)
        pieces = []
        for i in range(self.n):
            shown = [i] if i < k else []
            for j in [*shown, *range(k, self.n)]:
                if j >= k:
                    pieces.append(state[:, i, j, None] + FIRST)
                pieces += [constant(size, FIRST + self.modulus + j), constant(size, self.plus)]
            pieces[-1] = constant(size, self.equals)
            pieces += [state[:, i, self.n, None] + FIRST, constant(size, self.comma)]
        pieces[-1] = constant(size, SEP)
        return np.hstack(pieces)
