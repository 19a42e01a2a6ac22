"""Facts that compose: what does training on `h r1 r2 -> b t` teach about facts that were never composed?

Source: Yao et al. 2025 (arXiv 2502.04667), after Wang et al. 2024 (arXiv 2405.15071). Shapes: E entities, R relations,
K facts per head, N items, T positions.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, FiniteTask, facts, join
from elegans.tasks.words import check_at_least, check_range

Position = Literal["h", "r1", "r2", "b"]


class Chains(NamedTuple):
    """Walks through the graph: from each entity its relation leads to the next, as tokens.

    `entities` [N, hops + 1] are the head, the bridges, the tail; `relations` [N, hops].
    """

    entities: Int[Tensor, "N entities"]
    relations: Int[Tensor, "N hops"]

    def take(self, index: slice | Int[Tensor, " M"]) -> "Chains":
        """The walks at `index`."""
        return Chains(self.entities[index], self.relations[index])


class Pairs(NamedTuple):
    """Items and their counterfactuals, one token apart; the targets of each are what the facts say of its tokens."""

    clean: Batch
    changed: Batch


class TwoHopFacts(FiniteTask):
    """Atomic facts `h r -> t` and two-hop facts `h r1 r2 -> b t` with b = f(h, r1) and t = f(b, r2).

    Every head has `out_degree` different relations, each to a random tail. A share `ood_share` of the atomic facts is
    *OOD*: trained as atomic facts, never as a hop. Of the two-hop facts made of two ID facts, `test_share` are held out
    and `lam` (lambda, in the released code phi) per ID atomic fact are trained, one token sequence each:

    =============== ============ ==================
    form            tokens       scored after
    =============== ============ ==================
    atomic          h r          r (t)
    ``after``       h r1 r2 b    r2 (b), b (t)
    ``interleaved`` h r1 b r2    r1 (b), r2 (t)
    ``cot=False``   h r1 r2      r2 (t)
    =============== ============ ==================

    ===================== =============================================================================
    split                 items
    ===================== =============================================================================
    train                 all atomic facts and the trained two-hop facts, with their noise
    id_atomic, ood_atomic atomic facts
    train_two_hop         the trained two-hop facts as they are trained
    train_two_hop_clean   the same facts as they are true
    test_id               two-hop facts of two ID facts, never trained
    test_ood              two-hop facts of two OOD facts
    mixed_first           only the first hop is OOD
    mixed_second          only the second hop is OOD
    three_hop_id          with ``hops=3``: `h r1 r2 r3 -> b c t`, three ID facts (a sample), never trained
    three_hop_ood         with ``hops=3``: three OOD facts (a sample)
    ===================== =============================================================================

    Noise replaces, in each trained two-hop item independently, with probability `noise_first` its bridge (the tail stays
    that of the true bridge), with probability `noise_second` its tail, with probability `noise_both` both, by a uniform
    entity, which may be the right one: a share (E - 1) / E of the replaced tokens is wrong. Atomic facts are clean.

    `released_noise` reproduces the generator of the released code for first-hop noise: a replaced bridge stays in place
    for all later facts of the same (h, r1). So the trained bridges are wrong much more often than `noise_first` or
    `noise_both` says, those of ``test_id`` too, and two-hop facts whose second hop is OOD get into training.

    Args:
        n_entities, n_relations: E and R.
        out_degree: K, facts per head; at most R.
        ood_share: OOD share of the atomic facts.
        lam: trained two-hop facts per ID atomic fact.
        test_share: share of the ID two-hop facts that is held out.
        cot: whether two-hop answers name the bridge.
        order: where the bridge stands.
        hops: the longest walk that is asked for; those of three are never trained.
        n_three_hop: at most so many items in each split of three hops.
        noise_first, noise_second, noise_both: probabilities per trained two-hop item.
        released_noise: see above.
        without_ood_atomics: leave the OOD facts out of training: the control that cannot know them.
        seed: of facts, splits and noise.

    Tokens: the entities, the relations, one token of padding. Raises `ValueError` for sizes that do not fit, such as a
    `lam` that asks for more two-hop facts than there are.

    Attributes:
        table: [E, R] the tail of each head and relation, -1 where there is none.
        chains: the walks of every split but ``train``, by split, in the order of its items.
        positions: where the tokens h, r1, r2 and b of a two-hop item stand.
        outputs: the positions whose next token is b, and t.
    """

    def __init__(
        self,
        *,
        n_entities: int = 60,
        n_relations: int = 30,
        out_degree: int = 30,
        ood_share: float = 0.1,
        lam: float = 7.2,
        test_share: float = 0.05,
        cot: bool = True,
        order: Literal["after", "interleaved"] = "after",
        hops: Literal[2, 3] = 3,
        n_three_hop: int = 2000,
        noise_first: float = 0.0,
        noise_second: float = 0.0,
        noise_both: float = 0.0,
        released_noise: bool = False,
        without_ood_atomics: bool = False,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_entities=n_entities, n_relations=n_relations)
        check_range("out_degree", out_degree, 1, n_relations, "n_relations")
        shares = {"ood_share": ood_share, "test_share": test_share}
        noise = {"noise_first": noise_first, "noise_second": noise_second, "noise_both": noise_both}
        for name, share in {**shares, **noise}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {share}")
        if order not in ("after", "interleaved") or hops not in (2, 3):
            raise ValueError(f"order must be 'after' or 'interleaved' and hops 2 or 3, got {order!r} and {hops}")
        if not cot and (noise_first or noise_both or order != "after"):
            raise ValueError("without a chain of thought there is no bridge to place or to replace")
        if released_noise and (noise_second or bool(noise_first) == bool(noise_both)):
            raise ValueError("the released generator errs in the first hop: give noise_first or noise_both, alone")

        self.n_entities, self.cot, self.order = n_entities, cot, order
        self.pad_token = n_entities + n_relations
        self.positions: dict[str, int] = {name: place for place, name in enumerate(self._layout())}
        self.outputs = {"t": self.positions["b" if cot and order == "after" else "r2"]}
        if cot:
            self.outputs["b"] = self.positions["r2" if order == "after" else "r1"]

        def rng(what: str) -> np.random.Generator:
            return numpy_rng("two-hop-facts", seed, what)

        self._relation = _distinct_rows(rng("relations"), n_entities, n_relations)[:, :out_degree]
        self._tail = rng("tails").integers(0, n_entities, (n_entities, out_degree))
        self._ood = np.zeros(n_entities * out_degree, dtype=bool)
        self._ood[rng("ood").permutation(self._ood.size)[: round(ood_share * self._ood.size)]] = True
        self._ood = self._ood.reshape(n_entities, out_degree)
        table = np.full((n_entities, n_relations), -1)
        table[np.arange(n_entities)[:, None], self._relation] = self._tail
        self.table: Int[Tensor, "E R"] = torch.from_numpy(table)

        # [E, K, K]: walk (h, i, j) takes fact i of h, then fact j of its tail
        first, second = np.broadcast_arrays(self._ood[..., None], self._ood[self._tail])

        def walks(split: str, chosen: Bool[np.ndarray, "E K K"]) -> Int[np.ndarray, "N 3"]:
            return rng(split).permutation(np.argwhere(chosen))

        n_train = round(lam * int((~self._ood).sum()))
        if released_noise:
            xi, both = noise_first or noise_both, bool(noise_both)
            held, true, labelled = self._released_pool(rng, xi, both, test_share)
            size = len(true.entities)
            check_range("lam * (ID facts)", n_train, 0, size, "two-hop facts to train on")
            chosen = torch.from_numpy(rng("split").permutation(size)[:n_train])
            clean, trained = true.take(chosen), labelled.take(chosen)
        else:
            pool = walks("split", ~first & ~second)
            n_test = round(test_share * len(pool))
            check_range("lam * (ID facts)", n_train, 0, len(pool) - n_test, "two-hop facts to train on")
            held, clean = self._walk(pool[:n_test]), self._walk(pool[n_test:][:n_train])
            trained = self._with_noise(clean, rng("noise"), **noise)

        self.chains: dict[str, Chains] = {
            "id_atomic": self._walk(np.argwhere(~self._ood)),
            "ood_atomic": self._walk(np.argwhere(self._ood)),
            "train_two_hop": trained,
            "train_two_hop_clean": clean,
            "test_id": held,
            "test_ood": self._walk(walks("test-ood", first & second)),
            "mixed_first": self._walk(walks("mixed-first", first & ~second)),
            "mixed_second": self._walk(walks("mixed-second", ~first & second)),
        }
        if hops == 3:
            for split, ood in (("three_hop_id", False), ("three_hop_ood", True)):
                self.chains[split] = self._walk(self._three_hops(rng(split), n_three_hop, ood=ood))
        items = {split: self._form(chains) for split, chains in self.chains.items()}
        atomic = ("id_atomic",) if without_ood_atomics else ("id_atomic", "ood_atomic")
        train = join(*(items[split] for split in (*atomic, "train_two_hop")))
        super().__init__(self.pad_token + 1, {"train": train, **items})

    def _layout(self) -> tuple[str, ...]:
        """The tokens of a two-hop item."""
        if not self.cot:
            return ("h", "r1", "r2")
        return ("h", "r1", "r2", "b") if self.order == "after" else ("h", "r1", "b", "r2")

    # -------------------------------------------------------------------------------------------- walks and items

    def _walk(self, steps: Int[np.ndarray, "N entities"]) -> Chains:
        """Walks given by their head and the number of the fact that each hop takes."""
        entities, relations = [steps[:, 0]], []
        for fact in steps.T[1:]:
            relations.append(self._relation[entities[-1], fact] + self.n_entities)
            entities.append(self._tail[entities[-1], fact])
        return Chains(*(torch.from_numpy(np.stack(columns, axis=1)) for columns in (entities, relations)))

    def _three_hops(self, rng: np.random.Generator, limit: int, *, ood: bool) -> Int[np.ndarray, "N 4"]:
        """At most `limit` random walks of three facts that are all OOD, or all ID."""
        n_entities, out_degree = self._tail.shape
        if ood:
            pairs = np.argwhere(self._ood[..., None] & self._ood[self._tail])
            ends = self._tail[self._tail[pairs[:, 0], pairs[:, 1]], pairs[:, 2]]
            index, last = np.nonzero(self._ood[ends])
            walks = np.column_stack([pairs[index], last])
        else:
            steps = rng.integers(0, [n_entities, *[out_degree] * 3], (4 * limit, 4))
            ends, inside = steps[:, 0], np.ones(len(steps), dtype=bool)
            for fact in steps.T[1:]:
                inside &= ~self._ood[ends, fact]
                ends = self._tail[ends, fact]
            walks = np.unique(steps[inside], axis=0)
        return rng.permutation(walks)[:limit]

    def _form(self, chains: Chains) -> Batch:
        """Walks in the task's form; those of one hop are padded to the length of two."""
        entities, relations = chains
        n_hops = relations.shape[1]
        if n_hops > 1 and self.order == "interleaved":
            tokens = torch.stack([entities[:, :-1], relations], dim=2).flatten(1)
            targets = torch.full_like(tokens, IGNORE)
            targets[:, 1::2] = entities[:, 1:]
            return Batch(tokens, targets)
        prompts = torch.cat([entities[:, :1], relations], dim=1)
        batch = facts(prompts, entities[:, 1:] if self.cot else entities[:, -1:])
        missing = (0, max(len(self.positions) - batch.tokens.shape[1], 0))
        return Batch(pad(batch.tokens, missing, value=self.pad_token), pad(batch.targets, missing, value=IGNORE))

    def two_calls(self, split: Literal["three_hop_id", "three_hop_ood"]) -> tuple[Batch, Batch]:
        """Each three-hop walk as two two-hop questions: `h r1 r2 -> b c`, then `b r2 r3 c -> t`.

        A walk is solved by a caller who feeds the model's answers back if it gets every scored token of both right; the
        bridge of the second question is given. Source: the 3-hop test of the released code. Raises `ValueError` without
        a chain of thought, where the first call does not say where the second starts.
        """
        if not self.cot:
            raise ValueError("without a chain of thought the first call does not say where the second starts")
        entities, relations = self.chains[split]
        first = self._form(Chains(entities[:, :3], relations[:, :2]))
        second = self._form(Chains(entities[:, 1:], relations[:, 1:]))
        second.targets[:, self.outputs["b"]] = IGNORE
        return first, second

    # -------------------------------------------------------------------------------------------- noise

    def _with_noise(
        self, clean: Chains, rng: np.random.Generator, *, noise_first: float, noise_second: float, noise_both: float
    ) -> Chains:
        """A copy in which bridges and tails are replaced, item by item. The coins do not depend on the rates."""
        coins = torch.from_numpy(rng.random((len(clean.entities), 3)))
        anyone = torch.from_numpy(rng.integers(0, self.n_entities, (len(clean.entities), 2)))
        both = coins[:, 2] < noise_both
        entities = clean.entities.clone()
        for hop, noise in ((1, noise_first), (2, noise_second)):
            replaced = (coins[:, hop - 1] < noise) | both
            entities[:, hop] = torch.where(replaced, anyone[:, hop - 1], entities[:, hop])
        return Chains(entities, clean.relations)

    def _released_pool(
        self, rng: Callable[[str], np.random.Generator], xi: float, both: bool, test_share: float
    ) -> tuple[Chains, Chains, Chains]:
        """Held walks as labelled, and those for training as true and as labelled, by the released generator.

        It visits the facts of each (h, r1) in turn; a bridge replaced at one of them stays replaced. Its test for OOD
        facts looks at the replaced bridge, so it lets true OOD second hops pass.
        """
        shape = (*self._tail.shape, self._tail.shape[1])
        held = rng("held").random(shape) < test_share
        hit = rng("noise").random(shape) < xi
        anyone = rng("anyone").integers(0, self.n_entities, (2, *shape))
        is_ood = np.zeros(self.table.shape, dtype=bool)
        is_ood[np.arange(self.n_entities)[:, None], self._relation] = self._ood
        tails, relations = self._tail[self._tail], self._relation[self._tail]
        bridge, bridges, passed = self._tail.copy(), np.empty_like(tails), np.empty(shape, dtype=bool)
        for fact in range(shape[2]):
            r2, t = relations[..., fact], tails[..., fact]
            second = is_ood[bridge, r2] & (self.table.numpy()[bridge, r2] == t)
            passed[..., fact] = ~(second | (self._ood & (bridge == self._tail)))
            rebound = passed[..., fact] & ~held[..., fact] & hit[..., fact]
            bridge = np.where(rebound, anyone[0, ..., fact], bridge)
            bridges[..., fact] = bridge
        labelled = np.where(hit & both & ~held, anyone[1], tails)

        def chosen(mask: Bool[np.ndarray, "E K K"]) -> tuple[Chains, Chains]:
            true = self._walk(np.argwhere(mask))
            columns = np.column_stack([true.entities[:, 0], bridges[mask], labelled[mask]])
            return true, Chains(torch.from_numpy(columns), true.relations)

        return chosen(passed & held)[1], *chosen(passed & ~held)

    # -------------------------------------------------------------------------------------------- truth

    def answers(self, tokens: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
        """What the facts say after each scored position of two-hop items, given the tokens that stand there.

        With a chain of thought the tail follows from the bridge in `tokens`, right or wrong. `IGNORE` elsewhere, and
        where there is no such fact.
        """
        h, r1, r2 = (tokens[:, self.positions[name]] for name in ("h", "r1", "r2"))
        bridge = self._follow(h, r1)
        said = tokens[:, self.positions["b"]] if self.cot else bridge
        found = torch.full_like(tokens, IGNORE)
        for name, answer in (("b", bridge), ("t", self._follow(said, r2))):
            if name in self.outputs:
                found[:, self.outputs[name]] = torch.where(answer < 0, IGNORE, answer)
        return found

    def _follow(self, head: Int[Tensor, "*N"], relation: Int[Tensor, "*N"]) -> Int[Tensor, "*N"]:
        """The tail of each fact, negative where there is none."""
        return torch.where(head < 0, -1, self.table[head.clamp(min=0), relation - self.n_entities])

    def counterfactual(self, items: Batch, position: Position, *, seed: int = 0) -> Pairs:
        """Two-hop items and copies whose token at `position` is another one that changes what follows from it.

        A changed h or r1 leads to another bridge and not to the same tail, a changed r2 or b to another tail; the other
        tokens stay, also a bridge that no longer follows. Each is uniform among the tokens that do so. Items without
        such a token are left out. Raises `ValueError` for a position that the task's items do not have.
        """
        if position not in self.positions:
            raise ValueError(f"position must be one of {', '.join(self.positions)}, got {position!r}")
        place = self.positions[position]
        entity = position in ("h", "b")
        first, count = (0, self.n_entities) if entity else (self.n_entities, self.table.shape[1])
        tokens = items.tokens[:, None].repeat(1, count, 1)
        tokens[..., place] = torch.arange(first, first + count)
        h, r1, r2 = (tokens[..., self.positions[name]] for name in ("h", "r1", "r2"))
        bridge = tokens[..., place] if position == "b" else self._follow(h, r1)
        tail = self._follow(bridge, r2)
        true_bridge = self._follow(*(items.tokens[:, self.positions[name]] for name in ("h", "r1")))
        true_tail = self._follow(true_bridge, items.tokens[:, self.positions["r2"]])
        defined = bridge if position in ("h", "r1") and self.cot else tail
        fits = (defined >= 0) & (tail != true_tail[:, None])
        if position in ("h", "r1"):
            fits &= bridge != true_bridge[:, None]
        lot = torch.from_numpy(numpy_rng("two-hop-counterfactual", seed, position).random(tuple(fits.shape)))
        found = fits.any(1)
        changed = tokens[torch.arange(len(tokens)), (lot * fits).argmax(1)][found]
        return Pairs(items.take(found.nonzero()[:, 0]), Batch(changed, self.answers(changed)))

    def oracle(self, prompts: Int[Tensor, "N P"]) -> Int[Tensor, "N A"]:
        """The answers of a reader who knows every atomic fact, to prompts `h r1 r2 ...` of any number of hops."""
        entities = [prompts[:, 0]]
        for relation in prompts.T[1:]:
            entities.append(self._follow(entities[-1], relation))
        return torch.stack(entities[1:] if self.cot else entities[-1:], dim=1)

    def chance(self, split: str) -> Mapping[str, float]:
        """Accuracy of always naming the split's most frequent tail, and the NLL in nats of a uniform guess at entities."""
        targets = self.dataset(split).targets
        scored = targets != IGNORE
        last = scored.shape[1] - 1 - scored.flip(1).int().argmax(1)
        tails = targets[torch.arange(len(targets)), last]
        frequency = torch.bincount(tails, minlength=self.n_entities).max().item() / max(len(tails), 1)
        return {
            "accuracy": frequency,
            "nll": float(scored.sum()) / max(len(tails), 1) * math.log(self.n_entities),
        }


def _distinct_rows(rng: np.random.Generator, count: int, n: int) -> Int[np.ndarray, "count n"]:
    """`count` random orders of 0 ... n - 1."""
    return rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
