from io import StringIO

import pytest
from rich.console import Console

from elegans.report.boards import LiveBoard, PlainBoard, headline
from elegans.report.progress import Tracker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock) -> Tracker:
    tracker = Tracker(clock)
    tracker.start({"a": 2, "b": 4}, 2, {"b": 1})
    return tracker


def test_estimate_comes_with_the_first_report_of_a_made_step(tracker, clock):
    assert tracker.eta() is None
    clock.now += 5
    tracker.progress("a", (0,), 0, 100, {})
    assert tracker.eta() is None
    clock.now += 5
    tracker.progress("a", (0,), 10, 100, {})
    assert tracker.arm_eta("a") == pytest.approx(45)
    tracker.progress("b", (1,), 10, 100, {})
    assert tracker.arm_eta("b") == pytest.approx(90)


def test_a_resumed_job_is_measured_from_where_it_resumed(tracker, clock):
    tracker.progress("a", (0,), 900, 1000, {})
    clock.now += 10
    tracker.progress("a", (0,), 910, 1000, {})
    assert tracker.arm_eta("a") == pytest.approx(90)
    clock.now += 30
    assert tracker.arm_eta("a") == pytest.approx(60)


def test_whole_estimate_adds_what_is_queued_and_shares_it_among_workers(tracker, clock):
    tracker.progress("a", (0,), 0, 100, {})
    tracker.progress("b", (1, 2), 0, 100, {})
    clock.now += 10
    tracker.progress("a", (0,), 50, 100, {})
    tracker.progress("b", (1, 2), 50, 100, {})
    # Under way: 10 s and 10 s. Queued: one seed of a (20 s), one of b (20 s for two, so 10 s).
    assert tracker.eta() == pytest.approx((10 + 10 + 20 + 10) / 2)
    clock.now += 10
    tracker.finished("a", (0,), 20.0)
    tracker.finished("b", (1, 2), 20.0)
    assert tracker.eta() == pytest.approx((20 + 10) / 2)
    assert tracker.arms["b"].done == 3


def test_a_job_that_begins_again_is_measured_anew(tracker, clock):
    assert tracker.progress("a", (0,), 0, 100, {})
    clock.now += 10
    assert not tracker.progress("a", (0,), 50, 100, {})
    assert tracker.progress("a", (0,), 40, 100, {})
    clock.now += 10
    tracker.progress("a", (0,), 50, 100, {})
    assert tracker.arm_eta("a") == pytest.approx(50)


def test_a_job_that_only_others_need_does_not_disturb(tracker):
    tracker.progress("expert", (7,), 1, 2, {})
    tracker.finished("expert", (7,), 1.0)
    tracker.finished("a", (9,), 1.0)
    assert tracker.arms["expert"].over


def play(board, clock) -> None:
    with board:
        board.start("toy", "laptop", {"a": 2, "many": 3, "bad": 1}, 2, {"many": 1})
        board.progress("a", (0,), 0, 600, {})
        clock.now += 3
        board.progress("a", (0,), 10, 600, {"accuracy": 0.25, "loss": 2.34567})
        for step in range(20, 120, 10):
            clock.now += 2
            board.progress("a", (0,), step, 600, {"accuracy": 0.25, "loss": 2.34567})
        board.progress("many", (1, 2), 1, 600, {})
        board.finished("many", (1, 2), 14.0)
        board.failed("bad", (0,), "ValueError: no")
        board.waiting("a", (1,))
        board.waiting("a", (1,))


def test_plain_board(clock):
    out = StringIO()
    play(PlainBoard(out, clock), clock)
    lines = out.getvalue().splitlines()
    assert lines[0] == "toy, laptop, 3 arms x 1-3 seeds, 2 workers, 1/6 done before"
    assert lines[1] == "started   a seed 0"
    assert lines[2].startswith("running   a seed 0: step 10/600, loss 2.35, accuracy 0.25, ETA 2:57, all ")
    assert sum(line.startswith("running   a seed 0") for line in lines) == 3  # 20 s more, one line per 10 s
    assert "finished  many seeds 1-2 in 0:14, 3/3 of this arm" in lines
    assert "failed    bad seed 0: ValueError: no" in lines
    assert sum(line.startswith("waiting") for line in lines) == 1


def test_short_jobs_get_no_progress_lines(clock):
    out = StringIO()
    board = PlainBoard(out, clock)
    board.start("toy", "smoke", {"a": 3}, 1, {})
    for seed in range(3):
        for step in range(0, 6):
            clock.now += 0.2
            board.progress("a", (seed,), step, 6, {})
        board.finished("a", (seed,), 1.2)
    assert [line.split()[0] for line in out.getvalue().splitlines()[1:]] == ["started", "finished"] * 3


@pytest.mark.parametrize("width", [100, 72])
def test_live_board_fits_and_tells_all(clock, width):
    screen = Console(file=StringIO(), width=width, height=30, force_terminal=True)
    board = LiveBoard(screen, clock)
    play(board, clock)
    out = StringIO()
    Console(file=out, width=width).print(board.render())
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "toy  ·  laptop  ·  3 arms x 1-3 seeds  ·  2 workers" in text
    assert "step 110/600" in text and "loss 2.35" in text and "ETA 1:42" in text
    assert "3/3" in text and "1 failed" in text
    assert "0:23" in text
    assert "ValueError: no" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_live_board_keeps_to_the_screen(clock):
    screen = Console(file=StringIO(), width=100, height=12, force_terminal=True)
    with LiveBoard(screen, clock) as board:
        board.start("toy", "laptop", {f"arm-{i}": 1 for i in range(40)}, 1, {})
        board.progress("arm-30", (0,), 1, 2, {})
        out = StringIO()
        Console(file=out, width=100).print(board.render())
    assert len(out.getvalue().splitlines()) < 12
    assert "arm-30" in out.getvalue()
    assert "and 33 more arms" in out.getvalue()


def test_headline():
    assert (
        headline("x", "laptop", {"a": 3, "b": 3}, 1, {}, separator=" · ") == "x · laptop · 2 arms x 3 seeds · 1 worker"
    )
    assert headline("x", "smoke", {"a": 1}, 2, {}, separator=" · ") == "x · smoke · 1 arm x 1 seed · 2 workers"
