"""A scorer behind HTTP, on a server in this process that answers well, badly, late, or not at all."""

import http.server
import json
import math
import socket
import threading
import time

import numpy as np
import pytest

from elegans.reasoning.http import JsonClient
from elegans.reasoning.scorer import ScorerError
from elegans.reasoning.server import ServerScorer

KEY = "sk-very-secret"


def split(text):
    """Words with the space before them, and "." by itself."""
    parts, word = [], ""
    for letter in text:
        if letter in " ." and word:
            parts.append(word)
            word = ""
        word += letter
    return [*parts, word] if word else parts


def log_prob(token):
    return -0.1 * len(token)


def echo(text, index, bos=""):
    tokens = [*([bos] if bos else []), *split(text), " Yes"]
    return {
        "index": index,
        "text": "".join(tokens),
        "finish_reason": "length",
        "logprobs": {"tokens": tokens, "token_logprobs": [None, *map(log_prob, tokens[1:])], "top_logprobs": []},
    }


def good(body, **how):
    if body.get("echo"):
        return {"choices": [echo(text, i, **how) for i, text in enumerate(body["prompt"])][::-1]}
    logprobs = {"tokens": [" a", " b"], "token_logprobs": [-1.0, -2.0]}
    return {
        "choices": [
            {"index": i, "text": " a b", "finish_reason": "stop", "logprobs": logprobs} for i in range(body["n"])
        ]
    }


@pytest.fixture
def serve(monkeypatch):
    """`serve(answer)` starts a server; `answer(body)` gives an object, or bytes, or (status, object, headers)."""
    monkeypatch.setenv("TEST_KEY", KEY)
    started = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                server.requests.append((self.path, dict(self.headers)))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                result = answer(body)
                status, value, headers = result if isinstance(result, tuple) else (200, result, {})
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                try:
                    self.send_response(status)
                    for name, header in ({"Content-Length": str(len(data))} | headers).items():
                        self.send_header(name, header)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def connect(server, **settings):
    return ServerScorer(server.url, "toy", **{"key_variable": "TEST_KEY", "backoff": 0.0, "timeout": 5.0} | settings)


@pytest.mark.parametrize("bos", ["", "<s>"])
def test_continuations_are_scored_by_their_own_tokens(serve, bos):
    server = serve(lambda body: good(body, bos=bos))
    scorer = connect(server, max_batch=2)
    got = scorer.log_probs("pick up", [" the red.", " it", " a b c"])
    want = [[log_prob(t) for t in tokens] for tokens in ([" the", " red", "."], [" it"], [" a", " b", " c"])]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b)
    assert scorer.usage.passes == len(server.requests) == 3
    (whole,) = scorer.score([("", "pick up")])
    np.testing.assert_allclose(whole.log_probs, [log_prob(t) for t in (["pick", " up"] if bos else [" up"])])


def test_a_token_over_the_boundary_counts_for_every_continuation(serve):
    scorer = connect(serve(good))
    first, second = scorer.log_probs("pick u", ["p", " it"])
    np.testing.assert_allclose(first, [log_prob(" up")])
    np.testing.assert_allclose(second, [log_prob(" u"), log_prob(" it")])


def test_texts_are_generated(serve):
    scorer = connect(serve(good), scoring=False)
    texts = scorer.generate("x", max_tokens=2, num=3, temperature=1.0, stop=["\n"])
    assert [(t.text, t.log_prob, t.ended) for t in texts] == [(" a b", -3.0, "stop")] * 3
    assert scorer.usage.generated_tokens == 6 and not scorer.capabilities.log_probs
    with pytest.raises(ScorerError, match="gives no scores"):
        scorer.log_probs("a", [" b"])


def test_what_a_server_cannot_do_is_said(serve):
    scorer = connect(serve(good))
    with pytest.raises(ScorerError, match="gives no distributions"):
        scorer.distributions("a", [" b"])
    with pytest.raises(ScorerError, match="which tokens"):
        scorer.tokenize("a")
    with pytest.raises(ValueError, match="in text"):
        scorer.score([([1], [2])])
    with pytest.raises(ValueError, match="has no token"):
        scorer.log_probs("a", [""])


def change(**logprobs):
    def answer(body):
        made = good(body)
        for choice in made["choices"]:
            choice["logprobs"] |= {name: f(choice["logprobs"][name]) for name, f in logprobs.items()}
        return made

    return answer


def generated_only(body):
    logprobs = {"tokens": [" Yes"], "token_logprobs": [-0.1]}
    return {"choices": [{"index": i, "text": " Yes", "logprobs": logprobs} for i in range(len(body["prompt"]))]}


BAD = {
    "only generated tokens": (generated_only, "only generated tokens"),
    "no logprobs": (lambda body: {"choices": [{"index": 0, "text": "x", "logprobs": None}]}, "returns no log-prob"),
    "zeros": (change(token_logprobs=lambda v: [0.0] * len(v)), "of a known text are 0"),
    "not a number": (
        lambda body: json.dumps(change(token_logprobs=lambda v: [math.nan] * len(v))(body)).encode(),
        "NaN",
    ),
    "huge number": (change(token_logprobs=lambda v: [-(10**400)] * len(v)), "not a finite number"),
    "positive": (change(token_logprobs=lambda v: [1.0] * len(v)), "not a finite number"),
    "text for numbers": (change(token_logprobs=lambda v: ["-1"] * len(v)), "not a finite number"),
    "numbers for text": (change(tokens=lambda v: [1] * len(v)), "do not match"),
    "too few": (change(token_logprobs=lambda v: v[1:]), "do not match"),
    "other text": (change(tokens=lambda v: [t.upper() for t in v]), "another text"),
    "two choices": (lambda body: {"choices": good(body)["choices"] * 2}, "2 choices where 1"),
    "bad index": (lambda body: {"choices": [good(body)["choices"][0] | {"index": "0"}]}, "1 choices where 1"),
    "choices is text": (lambda body: {"choices": "abc"}, "no choices"),
    "a list": (lambda body: [1], "not an object"),
    "not json": (lambda body: b"<html>", "not JSON"),
    "deep": (lambda body: b"[" * 200_000, "not JSON"),
    "cut short": (
        lambda body: (200, b'{"choices"', {"Content-Length": "999", "Connection": "close"}),
        "IncompleteRead",
    ),
    "key in an error": (
        lambda body: (401, {"error": {"message": f"bad key {KEY}\n"}}, {}),
        r"status 401: bad key \*\*\*",
    ),
    "redirected": (lambda body: (302, b"", {"Location": "http://127.0.0.1:9/"}), "status 302"),
    "html error": (lambda body: (404, b"<h1>no</h1>", {}), "status 404: <h1>"),
    "odd error": (lambda body: (400, b"[]", {}), "status 400"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_answers_are_refused_in_one_line(serve, name):
    answer, message = BAD[name]
    with pytest.raises(ScorerError, match=message) as error:
        connect(serve(answer), retries=1, timeout=1.0)
    assert "\n" not in str(error.value) and KEY not in str(error.value) and len(str(error.value)) < 500


def test_a_server_that_turns_bad_later_is_refused_then(serve):
    now = [good]
    scorer = connect(serve(lambda body: now[0](body)))
    now[0] = generated_only
    with pytest.raises(ScorerError, match="only generated tokens"):
        scorer.log_probs("a", [" b"])


def test_a_busy_server_is_asked_again_and_the_key_is_sent_and_not_shown(serve):
    states = iter([(503, b"", {}), (429, b"", {"Retry-After": "0"}), None])
    server = serve(lambda body: next(states, None) or good(body))
    scorer = connect(server)
    assert len(server.requests) == 3
    path, headers = server.requests[0]
    assert path == "/v1/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(scorer) + repr(scorer.client) + str(vars(scorer)) + str(vars(scorer.client))


def test_attempts_end(serve):
    server = serve(lambda body: (500, b"oh", {}))
    with pytest.raises(ScorerError, match=r"status 500: oh \(3 attempts\)"):
        connect(server, retries=2)
    assert len(server.requests) == 3


def test_a_slow_server_is_given_up(serve):
    server = serve(lambda body: time.sleep(0.5) or good(body))
    with pytest.raises(ScorerError, match=r"no answer within 0.1 s \(2 attempts\)"):
        connect(server, timeout=0.1, retries=1)


def test_a_server_that_drips_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection:
                try:
                    for _ in range(100):
                        connection.sendall(b"H")
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        client = JsonClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2, retries=0)
        begun = time.monotonic()
        with pytest.raises(ScorerError, match="no answer within"):
            client.post("/completions", {})
        assert time.monotonic() - begun < 1
        client.close()
        thread.join()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ScorerError, match="ConnectionRefusedError"):
        ServerScorer(f"http://127.0.0.1:{port}/v1", "toy", backoff=0.0, retries=1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host", "host:80", "http://"])
def test_other_addresses_are_refused(url):
    with pytest.raises(ValueError, match="begins with http"):
        JsonClient(url)


def test_secrets_in_addresses_and_unusable_keys_are_refused_unseen(monkeypatch):
    with pytest.raises(ValueError, match="no user or password") as error:
        JsonClient(f"http://me:{KEY}@host/v1")
    assert KEY not in str(error.value)
    monkeypatch.setenv("TEST_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(ValueError, match="no header can carry") as error:
        ServerScorer("http://127.0.0.1:9/v1", "toy", key_variable="TEST_KEY")
    assert KEY not in str(error.value)
