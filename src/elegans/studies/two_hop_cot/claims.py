"""What the paper says, as executable claims.

Each value is one number per seed, of averaged weights. Accuracy is exact match: with a chain of thought bridge and tail
must both be right, without one the tail.
"""

from collections.abc import Mapping

import xarray as xr

from elegans.study import Claim, Metric, Results

NOISE = {"cot": 0.0, "tail-noise-10": 0.1, "tail-noise-20": 0.2, "tail-noise-40": 0.4}
LAMBDAS = ("lambda-low", "cot", "lambda-high")
OTHERS = ("mamba", "rwkv4", "looped")


def final(results: Results, arm: str, split: str, what: str = "final_accuracy") -> xr.DataArray:
    """A measurement on all items of a split at the end."""
    return results[arm][what].sel(split=split, drop=True)


def course(results: Results, arm: str, split: str) -> xr.DataArray:
    """Exact match on the way, on a sample of a split, from the first update on."""
    return results[arm].accuracy.sel(split=split, weights="ema", drop=True).sel(step=slice(1, None))


def steps_to(results: Results, arm: str, level: float = 0.95) -> xr.DataArray:
    """Updates until held-out ID two-hop facts are known, or all updates if that never happens."""
    known = course(results, arm, "test_id") >= level
    last = known.step[-1].drop_vars("step")
    return known.step.where(known).min("step").fillna(last)


def share_above_atomic(results: Results, split: str) -> xr.DataArray:
    """At which share of evaluations two-hop facts of a split are known better than the OOD facts one by one."""
    return (course(results, "cot", split) > course(results, "cot", "ood_atomic")).mean("step")


def over_two_lookups(results: Results, arm: str) -> xr.DataArray:
    """OOD accuracy over what two independent recalls of OOD facts would give a model trained on them."""
    return final(results, arm, "test_ood") / final(results, "cot", "ood_atomic") ** 2


def smallest_fall(results: Results, what: str, split: str) -> xr.DataArray:
    """The least that accuracy falls from one level of tail noise to the next."""
    levels = xr.concat([final(results, arm, split, what) for arm in NOISE], "level")
    return (-levels.diff("level")).min("level")


def cost_of_the_bridge(results: Results, split: str) -> xr.DataArray:
    """Accuracy under tail noise minus accuracy under bridge noise, a fifth of the items each."""
    return final(results, "tail-noise-20", split) - final(results, "bridge-noise-20", split)


def fall_from_peak(results: Results, arm: str) -> xr.DataArray:
    """Held-out ID accuracy at its best minus at the end."""
    accuracy = course(results, arm, "test_id")
    return accuracy.max("step") - accuracy.isel(step=-1, drop=True)


def exchange(
    results: Results, arm: str, what: str = "flips", layer: int = 0, state: str = "trained", donor: str = "own"
) -> xr.DataArray:
    """An interchange intervention: dimensions (seed, kind, position, output)."""
    return results[arm][what].sel(state=state, donor=donor, layer=layer, drop=True)


def direct(results: Results, arm: str, state: str = "trained", donor: str = "own") -> xr.DataArray:
    """The weakest of the four effects that the circuit has: h, r1 on the bridge and r2, b on the tail, ID and OOD."""
    found = exchange(results, arm, "becomes", state=state, donor=donor).min("kind")
    bridge = found.sel(output="b", position=["h", "r1"], drop=True).min("position")
    tail = found.sel(output="t", position=["r2", "b"], drop=True).min("position")
    return xr.concat([bridge, tail], "answer").min("answer")


def crossing(results: Results, arm: str, state: str = "trained") -> xr.DataArray:
    """The strongest effect that the circuit does not have: of h, r1 on the tail and of r2 on the bridge, ID and OOD."""
    found = exchange(results, arm, state=state).max("kind")
    tail = found.sel(output="t", position=["h", "r1"], drop=True).max("position")
    if "b" not in found.output:
        return tail
    return xr.concat([tail, found.sel(output="b", position="r2", drop=True)], "answer").max("answer")


def half_way(results: Results, arm: str) -> xr.DataArray:
    """The strongest effect that h and r1 still have on any answer behind the first half of the blocks."""
    depth = results[arm].lens.sizes["layer"] - 1
    return exchange(results, arm, layer=depth // 2).sel(position=["h", "r1"]).max(("kind", "position", "output"))


def two_stages(results: Results, arm: str, state: str = "trained") -> xr.DataArray:
    """Double dissociation: the weakest direct minus the strongest crossing effect; 1 is perfect."""
    return direct(results, arm, state) - crossing(results, arm, state)


def resolved(results: Results, arm: str, kind: str, token: str = "bridge", position: str = "r2") -> xr.DataArray:
    """Mean reciprocal rank of a token in the lens at one position, behind the first half of the blocks, at the end."""
    found = results[arm].lens.sel(weights="ema", kind=kind, token=token, position=position, drop=True)
    return found.isel(step=-1, layer=(found.sizes["layer"] - 1) // 2, drop=True)


def lens_gap(results: Results, arm: str = "cot", token: str = "bridge") -> xr.DataArray:
    """How much earlier the bridge stands in the lens on ID than on OOD items."""
    return resolved(results, arm, "ID", token) - resolved(results, arm, "OOD", token)


def lens_gain(results: Results, token: str = "bridge") -> xr.DataArray:
    """How much earlier the bridge stands in the lens with a chain of thought than without, on ID items."""
    return resolved(results, "cot", "ID", token) - resolved(results, "no-cot", "ID", token)


def composed(results: Results, kind: str, by: str = "caller") -> xr.DataArray:
    """Share of three-hop walks that are solved."""
    return results["cot"].three_hops.sel(kind=kind, by=by, drop=True)


def second_hop_excess(results: Results, split: str) -> xr.DataArray:
    """Surprise at the tail given the true bridge, minus surprise at the bridge."""
    return final(results, "cot", split, "nll_tail") - final(results, "cot", split, "nll_bridge")


def least_over_lambda(results: Results) -> xr.DataArray:
    """The smallest OOD accuracy over lambda at one exposure."""
    return xr.concat([final(results, arm, "test_ood") for arm in LAMBDAS], "lam").min("lam")


def at_half_exposure(results: Results) -> xr.DataArray:
    """OOD accuracy of the reference when half of its updates are done."""
    accuracy = course(results, "cot", "test_ood")
    return accuracy.sel(step=float(accuracy.step[-1]) / 2, method="nearest").drop_vars("step")


def knows(split: str, level: float, *arms: str) -> Mapping[str, Metric]:
    """The guard that models know the items of a split."""

    def holds(results: Results) -> xr.DataArray:
        return xr.concat([final(results, arm, split) for arm in arms], "arm").min("arm") >= level

    return {f"{split} at least {level:g} in {', '.join(arms)}": holds}


FITTED = knows("train_two_hop", 0.9, "cot")
BOTH_FITTED = knows("train_two_hop", 0.9, "cot", "no-cot")


def in_another(model: str) -> tuple[Claim, Claim]:
    """Whether the two stages form in another architecture, and whether it composes OOD facts by them."""

    def stages(state: str) -> Metric:
        return lambda results: two_stages(results, model, state)

    return (
        Claim(
            name=f"two-stages-in-{model}",
            statement=f"The same two stages form in {model}: direct minus crossing effects of interchange at least 0.8.",
            source="ours",
            value=stages("trained"),
            at_least=0.8,
            controls={"untrained": stages("untrained")},
            guards=knows("train_two_hop", 0.9, model),
            unit="share of answers",
        ),
        Claim(
            name=f"ood-in-{model}",
            statement=f"Trained with the bridge spelled out, {model} composes the OOD facts that it knows, too.",
            source="ours",
            value=lambda results: final(results, model, "test_ood"),
            at_least=0.85,
            controls={"attention, OOD facts never seen": lambda r: final(r, "no-ood-atomics", "test_ood")},
            guards=knows("ood_atomic", 0.9, model),
            unit="accuracy",
        ),
    )


CLAIMS = (
    Claim(
        name="chains-generalize-ood",
        statement="Trained with the bridge spelled out, a model composes facts that it has only seen one by one.",
        source="abstract",
        value=lambda r: final(r, "cot", "test_ood"),
        at_least=0.85,
        controls={
            "no chain": lambda r: final(r, "no-cot", "test_ood"),
            "OOD facts never seen": lambda r: final(r, "no-ood-atomics", "test_ood"),
        },
        guards=BOTH_FITTED,
        unit="accuracy",
    ),
    Claim(
        name="no-chain-stays-at-chance",
        statement="Trained on the same facts without the bridge until they fit, it is within 3 times a guess on OOD.",
        source="abstract; threshold: ours",
        value=lambda r: final(r, "no-cot", "test_ood") / final(r, "no-cot", "test_ood", "chance"),
        at_most=3.0,
        controls={"chain": lambda r: final(r, "cot", "test_ood") / final(r, "cot", "test_ood", "chance")},
        guards=knows("train_two_hop", 0.9, "no-cot"),
        unit="times chance",
    ),
    Claim(
        name="chains-converge-faster",
        statement="With a chain, held-out ID facts are known to 95 % in 500 updates; without, not in 8 times as many.",
        source="abstract; threshold: ours",
        value=lambda r: steps_to(r, "cot"),
        at_most=500,
        controls={"no chain": lambda r: steps_to(r, "no-cot")},
        guards=BOTH_FITTED,
        unit="updates",
    ),
    Claim(
        name="ood-follows-atomic",
        statement="OOD two-hop facts are never known better than OOD facts one by one, at any evaluation.",
        source="ours, after the released curves",
        value=lambda r: share_above_atomic(r, "test_ood"),
        at_most=0.0,
        controls={"ID two-hop facts": lambda r: share_above_atomic(r, "test_id")},
        guards=FITTED,
        unit="share of evaluations",
    ),
    Claim(
        name="ood-is-two-lookups",
        statement="At the end OOD accuracy is at least 0.8 of two independent recalls of OOD facts.",
        source="ours, after the released curves",
        value=lambda r: over_two_lookups(r, "cot"),
        at_least=0.8,
        controls={"OOD facts never seen": lambda r: over_two_lookups(r, "no-ood-atomics")},
        guards=FITTED,
        unit="ratio",
    ),
    Claim(
        name="id-tolerates-tail-noise",
        statement="With a fifth of the trained tails wrong, held-out ID facts are still right to 93 %.",
        source="noise experiments; threshold: ours",
        value=lambda r: final(r, "tail-noise-20", "test_id"),
        at_least=0.93,
        controls={
            "all tails random": lambda r: final(r, "tail-noise-100", "test_id"),
            "OOD": lambda r: final(r, "tail-noise-20", "test_ood"),
        },
        guards=knows("id_atomic", 0.9, "tail-noise-20", "tail-noise-100"),
        unit="accuracy",
    ),
    Claim(
        name="ood-does-not-tolerate-it",
        statement="The same noise leaves at most 45 % of OOD facts right at this size.",
        source="ours: the released runs at published sizes keep most of them",
        value=lambda r: final(r, "tail-noise-20", "test_ood"),
        at_most=0.45,
        controls={
            "no noise": lambda r: final(r, "cot", "test_ood"),
            "ID": lambda r: final(r, "tail-noise-20", "test_id"),
        },
        guards=knows("id_atomic", 0.9, "tail-noise-20"),
        unit="accuracy",
    ),
    Claim(
        name="ood-falls-with-noise",
        statement="OOD accuracy falls by 0.02 or more at every step of tail noise, from 0 to 0.1, 0.2 and 0.4.",
        source="noise experiments; threshold: ours",
        value=lambda r: smallest_fall(r, "final_accuracy", "test_ood"),
        at_least=0.02,
        controls={
            "bridges of ID facts, which are trained clean": lambda r: smallest_fall(r, "bridge_accuracy", "test_id")
        },
        guards=knows("id_atomic", 0.9, *NOISE),
        unit="accuracy",
    ),
    Claim(
        name="wrong-bridges-cost-more",
        statement="At equal corruption wrong bridges cost OOD facts at least 0.1 more accuracy than wrong tails.",
        source="noise experiments, with noise drawn per item; threshold: ours",
        value=lambda r: cost_of_the_bridge(r, "test_ood"),
        at_least=0.1,
        controls={"ID facts": lambda r: cost_of_the_bridge(r, "test_id")},
        guards=knows("id_atomic", 0.9, "tail-noise-20", "bridge-noise-20"),
        unit="accuracy",
    ),
    Claim(
        name="noise-is-memorized",
        statement="With 40 % of tails wrong, held-out ID accuracy ends 0.05 or more below its peak: stop early.",
        source="ours, after the released curves",
        value=lambda r: fall_from_peak(r, "tail-noise-40"),
        at_least=0.05,
        controls={"no noise": lambda r: fall_from_peak(r, "cot")},
        guards=knows("id_atomic", 0.9, "tail-noise-40"),
        unit="accuracy",
    ),
    Claim(
        name="two-stages",
        statement="Exchanged at the input, h and r1 carry the bridge, r2 and b the tail, to the answer of the other run.",
        source="circuit analysis; threshold: ours",
        value=lambda r: direct(r, "cot"),
        at_least=0.9,
        controls={
            "untrained": lambda r: direct(r, "cot", state="untrained"),
            "another item's state": lambda r: direct(r, "cot", donor="another's"),
        },
        guards=FITTED,
        unit="share of answers",
    ),
    Claim(
        name="stages-do-not-cross",
        statement="Given the bridge, h and r1 change at most 10 % of tails, and r2 at most 10 % of bridges.",
        source="circuit analysis; threshold: ours",
        value=lambda r: crossing(r, "cot"),
        at_most=0.1,
        controls={"no chain: h and r1 on the tail": lambda r: crossing(r, "no-cot")},
        guards=BOTH_FITTED,
        unit="share of answers",
    ),
    Claim(
        name="heads-are-read-early",
        statement="Behind half of the blocks the states at h and r1 change at most 10 % of answers: they have been read.",
        source="ours",
        value=lambda r: half_way(r, "cot"),
        at_most=0.1,
        controls={"no chain": lambda r: half_way(r, "no-cot")},
        guards=BOTH_FITTED,
        unit="share of answers",
    ),
    Claim(
        name="bridge-earlier-on-id",
        statement="At r2, behind half of the blocks, the bridge ranks higher on ID than on OOD items: MRR by 0.2 or more.",
        source="circuit analysis; threshold: ours",
        value=lens_gap,
        at_least=0.2,
        controls={
            "a random entity": lambda r: lens_gap(r, token="random entity"),
            "no chain": lambda r: lens_gap(r, "no-cot"),
        },
        guards=BOTH_FITTED,
        unit="MRR",
    ),
    Claim(
        name="bridge-earlier-with-chain",
        statement="There the bridge of ID items also ranks higher than without a chain: MRR by 0.4 or more.",
        source="circuit analysis; threshold: ours",
        value=lens_gain,
        at_least=0.4,
        controls={"a random entity": lambda r: lens_gain(r, "random entity")},
        guards=BOTH_FITTED,
        unit="MRR",
    ),
    Claim(
        name="three-hops-compose-ood",
        statement="A caller composes two calls into three hops of OOD facts, which were never trained, right to 80 %.",
        source="three-hop test of the released code; threshold: ours",
        value=lambda r: composed(r, "OOD"),
        at_least=0.8,
        controls={"the model by itself": lambda r: composed(r, "OOD", "itself")},
        guards=FITTED,
        unit="accuracy",
    ),
    Claim(
        name="three-hops-compose-id",
        statement="The same of ID facts, right to 95 %; asked for three hops at once the model fails.",
        source="three-hop test of the released code; threshold: ours",
        value=lambda r: composed(r, "ID"),
        at_least=0.95,
        controls={"the model by itself": lambda r: composed(r, "ID", "itself")},
        guards=FITTED,
        unit="accuracy",
    ),
    Claim(
        name="second-hop-carries-the-risk",
        statement="Of the two terms of the bound on OOD facts the tail's is larger: by 0.01 nats or more.",
        source="ours: the terms are the paper's",
        value=lambda r: second_hop_excess(r, "test_ood"),
        at_least=0.01,
        controls={"ID facts": lambda r: second_hop_excess(r, "test_id")},
        guards=FITTED,
        unit="nats",
    ),
    Claim(
        name="exposure-decides",
        statement="At equal exposure to OOD facts lambda hardly matters: OOD accuracy is 0.85 or more at 3.6, 7.2 and 12.6.",
        source="ours",
        value=least_over_lambda,
        at_least=0.85,
        controls={"half the exposure": at_half_exposure},
        guards=knows("train_two_hop", 0.9, *LAMBDAS),
        unit="accuracy",
    ),
    *(claim for model in OTHERS for claim in in_another(model)),
)
