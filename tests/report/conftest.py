"""A toy study with every kind of verdict, figure and mishap."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from elegans.lab.engine import Failure
from elegans.report.page import StudyPage
from elegans.stats import ControlReading, Verdict
from elegans.study import (
    Arm,
    Bars,
    Claim,
    Config,
    Curves,
    Heatmap,
    Needs,
    Paper,
    Results,
    Study,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    model: str = setting("gpt", "a registered model <name>")
    width: int = setting(64, "residual stream", at_least=1)
    lr: float = setting(1e-3, "learning rate", above=0)
    sizes: tuple[int, ...] = setting((1, 2), "sizes")
    tied: bool = setting(False, "share input and output embeddings")


@dataclass(frozen=True, kw_only=True)
class OtherConfig(Config):
    steps: int = setting(100, "steps")


def toy_dataset(rate: float, seeds: int = 3) -> xr.Dataset:
    rng = np.random.default_rng(0)
    step = np.arange(0, 600, 2)
    loss = np.exp(-rate * step / 100)[None] * (1 + 0.3 * rng.random((seeds, 1)))
    loss[:, 5] = np.nan
    matrix = rng.normal(size=(seeds, 4, 3, 5, 6))
    matrix[:, :, 0, :, 4:] = np.nan
    return xr.Dataset(
        {
            "loss": (("seed", "step"), loss),
            "accuracy": (("seed", "split"), rng.random((seeds, 2))),
            "attention": (("seed", "epoch", "layer", "query", "key"), matrix),
            "text": (("seed",), ["a"] * seeds),
        },
        coords={
            "seed": range(seeds),
            "step": step,
            "split": ["train", "ood"],
            "epoch": [0, 10, 100, 1000],
            "key": list("ABABCD"),
        },
    )


def claim(name: str, **kwargs) -> Claim:
    kwargs = {"at_least": 0.98} | kwargs
    return Claim(
        name=name,
        statement=f"the {name} holds",
        source="Thm 3",
        value=lambda r: 0,
        controls={"c": lambda r: 0},
        **kwargs,
    )


def fail(results: Results) -> xr.DataArray:
    raise KeyError("a <mistake> in the study")


FIGURES = (
    Curves(
        name="loss",
        caption="Loss of <b>held</b> pairs.",
        data=lambda r: r.over({"one": "one", "two": "two, <i>wide</i>"}, lambda d: d.loss),
        x="step",
        y_label="loss (nats)",
        color="arm",
        log_y=True,
        rules={"chance": 0.5, "floor": 0.01},
    ),
    Curves(
        name="ramp",
        caption="Loss by arm.",
        data=lambda r: r.over(["one", "two"], lambda d: d.loss),
        x="step",
        facet="arm",
    ),
    Bars(
        name="accuracy",
        caption="Accuracy.",
        data=lambda r: r.over(["one", "two"], lambda d: d.accuracy),
        x="arm",
        color="split",
        rules={"chance": 0.1},
    ),
    Heatmap(
        name="attention",
        caption="Attention.",
        data=lambda r: r["one"].attention,
        x="key",
        y="query",
        facet="layer",
        slider="epoch",
    ),
    Heatmap(
        name="large",
        caption="A large matrix.",
        data=lambda r: xr.DataArray(np.random.default_rng(0).random((200, 300)), dims=("i", "j"), name="p"),
        x="j",
        y="i",
    ),
    Curves(name="missing", caption="Needs what is not there.", data=lambda r: r["three"].loss, x="step"),
    Curves(name="broken", caption="Its function fails.", data=fail, x="step"),
)

READING = ControlReading("symmetric", 0.004, 0.001, 0.007)
VERDICTS = (
    Verdict(
        "reverse-stays-unknown",
        "supported",
        "the interval lies wholly on the claimed side",
        3,
        1.01,
        1.001,
        1.019,
        0.99,
        "t",
        (READING,),
        READING,
    ),
    Verdict(
        "loss-falls",
        "refuted",
        "the interval lies wholly on the other side",
        3,
        0.5,
        0.4,
        0.6,
        0.99,
        "t",
        (READING,),
        READING,
    ),
    Verdict(
        "depth <helps> | a & b",
        "inconclusive",
        "about 5 more seeds would decide",
        3,
        0.97,
        0.9,
        1.04,
        0.95,
        "t",
        (READING,),
        READING,
    ),
    Verdict(
        "width-matters",
        "uninformative",
        "the control 'c' meets the claim too",
        3,
        1.5e-5,
        1.4e-5,
        1.6e-5,
        0.95,
        "t",
        (ControlReading("c", 1e-6, 1e-6, 1e-6),),
        ControlReading("c", 1e-6, 1e-6, 1e-6),
    ),
    Verdict("needs-three", "not testable", "arm 'three' failed"),
    Verdict(
        "one-seed",
        "inconclusive",
        "one seed gives no interval; run at least 3",
        1,
        1.0,
        float("-inf"),
        float("inf"),
        0.95,
        "t",
        (READING,),
        READING,
    ),
)


@pytest.fixture
def toy_study() -> Study:
    arms = {
        "one": Arm("toy:experiment", ToyConfig()),
        "two": Arm("toy:experiment", ToyConfig(width=128), needs={"start": Needs("one")}),
        "three": Arm("toy:other", OtherConfig()),
    }
    return Study(
        name="toy-study",
        title="A toy <script>alert('title')</script> study",
        paper=Paper(
            arxiv="2405.04669",
            title="Toys & <Theory>",
            authors="A. Author, B. Author",
            venue="NeurIPS 2024",
            code="https://example.org/code",
        ),
        question="Does it learn 'B is A' from 'A is B'?",
        arms={"laptop": arms},
        claims=[
            claim("reverse-stays-unknown", unit="nats"),
            claim("loss-falls"),
            claim("depth <helps> | a & b"),
            claim("width-matters", at_least=None, at_most=1e-3),
            claim("needs-three"),
            claim("one-seed"),
        ],
        figures=FIGURES,
        differences=["The paper trains <longer>.", "The released code has a switch, `<x>`, that does nothing."],
    )


@pytest.fixture
def toy_page(toy_study: Study) -> StudyPage:
    arms = dict(toy_study.arms["laptop"])
    arms["two"] = Arm("toy:experiment", ToyConfig(width=128, lr=0.01), needs={"start": Needs("one")})
    return StudyPage(
        study=toy_study,
        scale="laptop",
        seeds=(0, 1, 2),
        arms=arms,
        overrides=("two.config.lr=0.01",),
        results=Results(
            {"one": toy_dataset(1.0), "two": toy_dataset(0.4)}, {"three": "arm 'three' failed on 3 of 3 seeds"}
        ),
        verdicts=VERDICTS,
        command="elegans run toy-study --set two.config.lr=0.01",
        environment={"python": "3.11", "torch": "2.13", "device": "cpu"},
        seconds=161,
        failed=[Failure("three", (0,), "Traceback (most recent call last):\nValueError: <bad>")],
    )
