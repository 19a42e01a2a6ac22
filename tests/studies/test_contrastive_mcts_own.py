"""Search on problems of one's own: with a random model from a directory, and with one behind a server."""

import http.server
import json
import re
import shutil
import string
import threading

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.run import LabCheckpoint
from elegans.lab.store import Store
from elegans.lm.grow import tiny_llama
from elegans.lm.tokens import char_tokenizer
from elegans.reasoning import HFScorer, default_search, trace
from elegans.reasoning.search import Trajectory
from elegans.report.assemble import assemble
from elegans.stats import judge
from elegans.studies.contrastive_mcts import own_prompts, solving
from elegans.studies.contrastive_mcts.own import ARM, answers, solve_study, summary
from elegans.study import UsageError
from elegans.tasks.blocksworld import Compact
from elegans.tasks.planning import Problem, solves
from elegans.tasks.problem_file import load_problems

CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n"
LINES = [
    {"name": "easy", "init": [["a"], ["b"]], "goal": [["b", "a"]]},
    {"name": "swap", "init": [["a", "b"]], "goal": [["b", "a"]]},
    {"name": "tower", "init": [["a", "b", "c", "d"]], "goal": [["d", "b"], ["a", "c"]]},
]
FEW = {"render": "compact", "shots": 1, "iterations": 3, "depth": 4, "draws": 2}


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """`directory(seed)` is that of a random Llama over characters."""
    root = tmp_path_factory.mktemp("lms")

    def make(seed=0, characters=CHARACTERS, context=4096, break_it=False):
        path = root / f"{seed}-{len(characters)}-{context}-{break_it}"
        if not path.exists():
            lm = tiny_llama(char_tokenizer(characters), width=8, depth=1, heads=2, ffn=8, context=context, seed=seed)
            if break_it:
                torch.nn.init.constant_(lm.model.get_output_embeddings().weight, float("nan"))
            lm.save(path)
        return path

    return make


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "My problems.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return path


class Silent:
    """A board that shows nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


@pytest.fixture
def run(tmp_path):
    """`run(study)` executes it: (results, failures, plan, store)."""

    def run(study, where="runs"):
        store, plan = Store(tmp_path / where), make_plan(study, Request(seeds=1))
        failures = execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())
        return collect(plan, store), failures, plan, store

    return run


def config_of(study):
    return study.at("laptop")[ARM].config


# ------------------------------------------------------------------------------------------------ good calls


def test_problems_are_searched_from_one_end_to_the_other(run, problems, directory):
    study = solve_study(problems, directory(), **FEW)
    results, failures, plan, store = run(study)
    assert study.name == "solve-my-problems" and not failures
    data = results[ARM].isel(seed=0)
    assert data.solved.sizes == {"planner": 3, "problem": 3} and data.shortest.values.tolist() == [2, 4, 8]
    assert data.status.values.tolist() == ["iterations"] * 3
    assert not data.solved.sel(problem="tower").any(), "eight actions do not fit into four"
    assert (data.passes.sel(planner="random") == 0).all() and (data.passes.sel(planner="search") > 0).all()
    assert ((data.length >= data.shortest) | data.length.isnull()).all()
    assert (data.length.notnull() == (data.solved > 0)).all()
    loaded = load_problems(problems, notation=Compact)
    for problem, answer in zip(loaded, answers(results), strict=True):
        plan_of = problem.world.notation.parse_plan("\n".join(answer.plan))
        assert answer.solved == solves(problem, plan_of)
        kept = json.loads(str(data.trace.sel(problem=problem.name).values))
        assert kept["plan"] == list(answer.plan) and kept["optimal_length"] == answer.shortest
        assert sum(node["parent"] is None for node in kept["nodes"]) == 1
    assert summary(answers(results)).startswith(f"solved {int(data.solved.sel(planner='search').sum())} of 3; greedy ")
    assert judge(study, results)[0].verdict != "inconclusive"
    assert [figure.name for figure in study.figures] == ["solved", "nodes", "tokens", "trees"]
    assert all(figure.data(results).size for figure in study.figures)
    assert assemble(plan, store).results[ARM].equals(results[ARM])
    assert not list((store.root / "checkpoints").iterdir())


def test_the_search_is_the_packages_default(run, problems, directory):
    study = solve_study(problems, directory(), **FEW)
    results, *_ = run(study)
    lm = solving.load_lm(directory())
    loaded = load_problems(problems, notation=Compact)
    prompts = own_prompts.shown(config_of(study), loaded).prompts(loaded[1].world, judge=True)
    scorer = HFScorer(lm.model, lm.tokenizer)
    search = default_search(scorer, prompts, depth_limit=4, budget=solving.Budget(iterations=3))
    expected = trace(search.search(loaded[1]))
    kept = json.loads(str(results[ARM].isel(seed=0).trace.sel(problem="swap").values))
    changing = {"seconds": 0, "optimal_length": 0}
    assert kept | changing == expected | changing


def test_countdown_with_an_amateur(run, tmp_path, directory):
    path = tmp_path / "sums.jsonl"
    path.write_text('{"numbers": [2, 3, 4], "target": 24}\n{"numbers": [1, 1], "target": 5}\n')
    how = FEW | {"render": "english", "reward": "ll+se+cd+jsd"}
    results, failures, *_ = run(solve_study(path, directory(), world="countdown", amateur=directory(1), **how))
    assert not failures
    factors = json.loads(str(results[ARM].isel(seed=0, problem=0).trace.values))["nodes"][1]["factors"]
    assert list(factors) == ["log-likelihood", "self-evaluation", "log-ratio", "jsd"]
    assert results[ARM].shortest.isel(seed=0).values[0] == 2 and answers(results)[1].shortest is None


class Walk:
    """A world of one's own: from a number to another, one step at a time."""

    def __init__(self, goal):
        self.goal = goal

    def actions(self, state):
        return (1, -1)

    def apply(self, state, action):
        return state + action

    def is_goal(self, state):
        return state == self.goal

    def goal_fraction(self, state):
        return float(self.is_goal(state))

    def render_state(self, state):
        return f"at {state}"

    def render_action(self, action):
        return f"go {action:+}"

    def render_goal(self):
        return f"be at {self.goal}"


def make(value):
    return Problem(Walk(value["to"]), value["from"], value["name"])


def test_a_world_of_ones_own(run, tmp_path, directory):
    path, examples = tmp_path / "walks.jsonl", tmp_path / "examples.jsonl"
    path.write_text('{"name": "near", "from": 1, "to": 2}\n{"name": "far", "from": 0, "to": 9}')
    examples.write_text('{"name": "back", "from": 5, "to": 3}')
    how = FEW | {"render": "english", "examples": examples, "world": f"{__name__}:make"}
    study = solve_study(path, directory(), **how)
    shown = own_prompts.shown(config_of(study), [make({"name": "p", "from": 0, "to": 1})])
    assert (
        shown.plans == "Goal: be at 3\nState: at 5\nAction: go -1\nState: at 4\nAction: go -1\nState: at 3\nDone.\n\n"
    )
    results, failures, *_ = run(study)
    assert not failures and [a.shortest for a in answers(results)] == [None, None] and not answers(results)[1].solved
    with pytest.raises(UsageError, match="give solved ones by --examples, or --shots 0"):
        solve_study(path, directory(), **how | {"examples": None})


@pytest.mark.parametrize(
    ("limit", "status"), [({"seconds": 0.0}, "seconds"), ({"tokens": 1}, "tokens"), ({"passes": 1}, "passes")]
)
def test_a_budget_that_ends_is_recorded_and_solves_nothing(run, problems, directory, limit, status):
    results, failures, *_ = run(solve_study(problems, directory(), **FEW, **limit))
    found = answers(results)
    assert not failures and [a.status for a in found] == [status] * 3 and not any(a.solved for a in found)
    assert str(found[0]) == f"easy: not solved: {status}"


def test_the_first_plan_ends_the_search(run, problems, directory):
    results, *_ = run(solve_study(problems, directory(), **FEW | {"iterations": 30}, stop_when_solved=True))
    assert str(answers(results)[0]) == "easy: solved in 2 actions (shortest: 2)"
    assert answers(results)[0].status == "solved"


def test_other_contents_are_another_job(problems, directory, tmp_path):
    def key(**how):
        ((_, record),) = make_plan(solve_study(problems, directory(), **FEW | how), Request(seeds=1)).records.items()
        return record.key

    keys = [key(), key(), key(amateur=directory(1)), key(reward="ll"), key(amateur=directory(1), reward="ll+cd")]
    problems.write_text(problems.read_text().replace("tower", "stack"))
    examples = tmp_path / "examples.jsonl"
    for name in ("a", "z"):
        examples.write_text(json.dumps({"init": [["a", "b", "c"]], "goal": [["ontable", "b"]], "name": name}))
        keys.append(key(examples=examples))
    assert keys[0] == keys[1] == keys[2], "an amateur that nothing asks changes nothing"
    assert len(set(keys)) == len(keys) - 2
    with pytest.raises(ValueError, match="has changed since this run was planned"):
        study = solve_study(problems, directory(), **FEW)
        problems.write_text(json.dumps(LINES[0]))
        solving.solve(config_of(study), 0, None)


# ------------------------------------------------------------------------------------------------ prompts


def test_examples_are_solved_and_none_of_the_users(problems, directory):
    config = config_of(solve_study(problems, directory(context=20_000), **FEW | {"shots": 4, "render": "english"}))
    loaded = load_problems(problems)
    shown = own_prompts.shown(config, loaded)
    assert shown.plans.count("Done.") == 4 and shown.judgments.count(own_prompts.QUESTION) == 4
    assert re.findall(r"\? (\w+)", shown.judgments) == ["good", "bad", "good", "bad"]
    drawn = own_prompts.draw_examples(loaded, "blocksworld", 4)
    assert own_prompts.draw_examples(drawn, "blocksworld", 4) != drawn
    identities = [own_prompts.identity(problem) for problem in (*drawn, *loaded)]
    assert len(set(identities)) == 7
    nothing = own_prompts.shown(config.replace(shots=0), loaded)
    assert nothing.plans == nothing.judgments and "Goal" not in nothing.plans


def test_a_prompt_goes_on_where_the_last_one_ended():
    (problem,) = own_prompts.draw_examples([], "blocksworld", 1, notation=Compact)
    world = problem.world
    prompts = own_prompts.Shown().prompts(world, judge=True)
    start = Trajectory((problem.start,))
    action = world.actions(problem.start)[0]
    after = start.then(action, world.apply(problem.start, action))
    first, second = prompts.policy(start), prompts.policy(after)
    assert second.startswith(first + prompts.action(start, action) + "\nState: ") and second.endswith("\nAction:")
    question, yes = prompts.judge(start, action)
    assert question.endswith(f"{world.render_action(action)}\n{own_prompts.QUESTION}") and yes == " good"


# ------------------------------------------------------------------------------------------------ interruptions


def test_an_interruption_costs_the_problem_under_way(run, problems, directory, monkeypatch):
    study, real, searched = solve_study(problems, directory(), **FEW), solving.trace, []

    def counted(result):
        searched.append(result.tree.problem.name)
        if searched == ["easy", "swap"]:
            raise KeyboardInterrupt
        return real(result)

    monkeypatch.setattr(solving, "trace", counted)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    results, failures, *_ = run(study)
    assert searched == ["easy", "swap", "swap", "tower"] and not failures
    undisturbed, *_ = run(study, "others")
    for name in ("solved", "length", "nodes", "passes", "tokens", "plan", "status"):
        assert results[ARM][name].equals(undisturbed[ARM][name]), name


class Server:
    """Scores by the length of tokens, which are words; hangs up on whoever mentions `taboo`."""

    def __init__(self):
        outer, self.taboo, self.served = self, "", 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.taboo and any(outer.taboo in prompt for prompt in body["prompt"]):
                    return
                outer.served += 1
                answer = json.dumps({"choices": [choice(i, p) for i, p in enumerate(body["prompt"])]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        def choice(index, prompt):
            tokens = [*re.findall(r"\s*\S+", prompt), " yes"]
            log_probs = [None, *(-0.1 * len(token) for token in tokens[1:])]
            return {"index": index, "logprobs": {"tokens": tokens, "token_logprobs": log_probs}}

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1#toy"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


def test_a_fault_is_recorded_and_tried_again_and_the_others_are_kept(run, problems, server):
    study = solve_study(problems, server.url, retries=0, **FEW)
    server.taboo = "Goal: a b\nState: a table b a"  # the problem "swap"
    results, (failure,), plan, store = run(study)
    assert ARM not in results and judge(study, results)[0].verdict == "not testable"
    assert "1 of 3 problems ended in a fault" in failure.error and "swap (server 127.0.0.1" in failure.error
    ((_, record),) = plan.records.items()
    kept = solving.kept_answers(
        record.config, lambda name: LabCheckpoint(store.checkpoint_path(record.key, name), record.key)
    )
    assert [bool(a.fault) for a in kept] == [False, True, False] and not kept[1].solved
    assert str(kept[1]).startswith("swap: fault: server 127.0.0.1: RemoteDisconnected")
    server.taboo, before = "", server.served
    results, failures, *_ = run(study)
    assert not failures and [a.status for a in answers(results)] == ["iterations"] * 3
    whole = server.served - before
    assert whole - 1 == results[ARM].passes.sel(problem="swap", seed=0).sum(), "the probe, and one problem"


def test_a_model_without_numbers_is_a_fault_of_every_problem(run, problems, directory):
    _, (failure,), *_ = run(solve_study(problems, directory(break_it=True), **FEW))
    assert "3 of 3 problems ended in a fault" in failure.error and "not a finite number" in failure.error


def test_a_checkpoint_that_is_broken_is_searched_again(run, problems, directory, monkeypatch):
    study, real = solve_study(problems, directory(), **FEW), solving.trace

    def stop(result):
        if result.tree.problem.name == "tower":
            raise KeyboardInterrupt
        return real(result)

    monkeypatch.setattr(solving, "trace", stop)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    monkeypatch.setattr(solving, "trace", real)
    (broken,) = (problems.parent / "runs" / "checkpoints").glob("*-problem-0.safetensors")
    broken.write_bytes(broken.read_bytes()[:40])
    results, failures, *_ = run(study)
    assert not failures and np.isfinite(results[ARM].nodes).all()


# ------------------------------------------------------------------------------------------------ bad calls


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"world": "blockworld"}, "did you mean 'blocksworld'"),
        ({"world": "no_such:thing", "render": "english"}, "no world 'no_such:thing'"),
        ({"reward": "ll+es"}, "no reward 'es'; did you mean 'se'"),
        ({"reward": ""}, "no reward ''"),
        ({"reward": "ll+ll"}, "names a factor twice"),
        ({"reward": "ll+cd"}, "name one by --amateur"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"seconds": -1.0}, "seconds must be at least 0"),
        ({"render": "german"}, "render must be 'english' | 'compact' | 'pddl'"),
        ({"depth": 400}, "the model reads 4096; use fewer --shots"),
        ({"world": "countdown"}, "there is one way to write countdown"),
        ({"world": "countdown", "render": "english"}, "line 1: the line has no 'numbers'"),
    ],
)
def test_what_does_not_fit_is_refused(problems, directory, how, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        solve_study(problems, directory(), **FEW | how)


def test_models_that_do_not_fit_are_refused(problems, directory, tmp_path):
    with pytest.raises(UsageError, match="is not a directory"):
        solve_study(problems, tmp_path / "none", **FEW)
    with pytest.raises(UsageError, match="is not a directory"):
        solve_study(problems, directory(), amateur=tmp_path / "none", **FEW)
    with pytest.raises(UsageError, match="has another tokenizer"):
        solve_study(problems, directory(), amateur=directory(0, CHARACTERS + "\t"), reward="ll+cd", **FEW)
    shutil.copytree(directory(), tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="not a readable safetensors file"):
        solve_study(problems, tmp_path / "cut", **FEW)


def test_examples_that_do_not_do_are_refused(problems, directory, tmp_path):
    examples = tmp_path / "examples.jsonl"
    for lines, message in (
        ([LINES[1]], "the example swap is the problem swap"),
        ([{"init": [["x", "y"]], "goal": [["y", "x"]]}], "the example line-1 is the problem swap"),
        ([{"init": [["a", "b"]], "goal": [["a", "b"]]}], "the example line-1 has nothing to do"),
        ([{"init": 3}], "examples.jsonl, line 1"),
    ):
        examples.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(UsageError, match=message):
            solve_study(problems, directory(), examples=examples, **FEW)


def test_servers_that_do_not_do_are_refused(problems, server):
    for url, message in (
        (server.url.removesuffix("#toy"), "http://host:port/v1#model"),
        (server.url.replace("#", "?key=secret#"), "http://host:port/v1#model"),
        ("http://me:secret@127.0.0.1/v1#toy", "holds no user or password"),
    ):
        with pytest.raises(UsageError, match=message) as refused:
            solve_study(problems, url, retries=0, **FEW)
        assert "secret" not in str(refused.value)
    with pytest.raises(UsageError, match="which no server gives"):
        solve_study(problems, server.url, amateur=problems.parent, reward="ll+cd", **FEW)
    server.taboo = "France"
    with pytest.raises(UsageError, match="RemoteDisconnected"):
        solve_study(problems, server.url, retries=0, **FEW)
