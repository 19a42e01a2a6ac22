"""One question or two: does a model conclude A ~> C at once, and does it by way of B?

Shapes: N triples.
"""

import torch
import xarray as xr
from torch import nn

from elegans.probes.decode import greedy
from elegans.tasks.base import score
from elegans.tasks.chain import TransitiveChain
from elegans.tasks.words import ask


def two_call(model: nn.Module, task: TransitiveChain) -> xr.Dataset:
    """The direct answer beside two sequential calls, for every triple of a chain.

    Variables over `triple` (N), as probabilities or 0/1:

    - `p_direct` = p(C | A ~>), `accuracy_direct`: greedy decoding gives C
    - `p_first` = p(B | A ->), `p_second` = p(C | B ->), `p_cot` = their product
    - `accuracy_cot`: the model's own greedy answer to `A ->`, asked again with `->`, gives C

    The coordinate `full` tells the triples whose conclusion was trained. Source: Zhu et al. 2024 (arXiv 2405.04669),
    Section 4, chain of thought as two queries.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    asked = {"direct": task.direct_items(), "first": task.first_items(), "second": task.second_items()}
    scores = {name: score(model, items.to(device)) for name, items in asked.items()}
    p = {name: values["nll"].double().neg().exp() for name, values in scores.items()}

    link = task.relation_tokens["->"]
    middle = greedy(model, ask(task.a_words, link).to(device), task.word_size)
    end = greedy(model, ask(middle.cpu(), link).to(device), task.word_size)
    values = {
        "p_direct": p["direct"],
        "p_first": p["first"],
        "p_second": p["second"],
        "p_cot": p["first"] * p["second"],
        "accuracy_direct": scores["direct"]["accuracy"].double(),
        "accuracy_cot": (end.cpu() == task.c_words).all(dim=1).double(),
    }
    return xr.Dataset(
        {name: ("triple", value.cpu().numpy()) for name, value in values.items()},
        coords={"full": ("triple", (torch.arange(len(task.a_words)) < task.n_full).numpy())},
    )
