"""The client of a reward server, against servers that answer as they should and as they should not."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from reward_models.errors import InvalidInput, ServerError
from reward_models.remote_reward import BATCH, LARGEST_BODY, RemoteReward, compute_score

TOKEN = "a-token-for-the-tests"
Answer = Callable[[Any], tuple[int, bytes]]


@dataclass
class Elsewhere:
    """A server that somebody else wrote."""

    url: str
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    """Path, headers and body of every request."""


@contextmanager
def answering(answer: Answer, **headers: str) -> Iterator[Elsewhere]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), body))
            status, said = answer(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Elsewhere(f"http://127.0.0.1:{listening.server_port}")
        thread = Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def lengths(body: Any) -> tuple[int, bytes]:
    """The reward of a completion is its length, its mean one more, its spread 2."""
    sizes = [len(text) for text in body["completions"]]
    reply = {"rewards": sizes, "mean": [size + 1 for size in sizes], "spread": [2.0] * len(sizes)}
    return 200, json.dumps(reply).encode()


def saying(status: int, said: object) -> Answer:
    return lambda _: (status, said if isinstance(said, bytes) else json.dumps(said).encode())


def test_a_batch_goes_out_in_parts_and_comes_back_in_order() -> None:
    count = 2 * BATCH + 3
    completions = ["x" * (place % 7) for place in range(count)]
    logged: dict[str, float] = {}
    with answering(lengths) as server:
        function = RemoteReward(server.url + "/", token=TOKEN, name="there")
        found = function(["p"] * count, completions, log_metric=logged.__setitem__, label=[0] * count)
    assert found == [float(place % 7) for place in range(count)]
    assert [len(body["prompts"]) for _, _, body in server.asked] == [BATCH, BATCH, 3]
    for path, headers, _ in server.asked:
        assert path == "/score"
        assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert function.__name__ == "there"
    assert logged == pytest.approx({"there/mean": sum(found) / count + 1.0, "there/spread": 2.0})


def test_what_is_too_large_for_one_request_goes_out_in_halves() -> None:
    """60 pairs of 600,000 bytes: 36 MB, then 18 twice, which is still too much, then 9 four times."""
    prompts = ["\u4e00" * 100_000] * 60
    completions = ["\u4e8c" * (100_000 - place) for place in range(60)]
    with answering(lengths) as server:
        found = RemoteReward(server.url, token=TOKEN)(prompts, completions)
    assert found == [100_000.0 - place for place in range(60)]
    assert [len(body["prompts"]) for _, _, body in server.asked] == [15] * 4
    assert all(int(headers["Content-Length"]) <= LARGEST_BODY for _, headers, _ in server.asked)


def test_a_pair_that_is_too_large_is_refused_by_the_server() -> None:
    with (
        answering(saying(413, {"error": "Too long."})) as server,
        pytest.raises(InvalidInput, match=r"413\): Too long"),
    ):
        RemoteReward(server.url, token=TOKEN)(["p", "p"], ["x" * LARGEST_BODY, "a"])
    assert [len(body["prompts"]) for _, _, body in server.asked] == [1]


@pytest.mark.parametrize("prompt", ["half \ud83d", [{"role": "user", "content": "half \ud83d"}]])
def test_half_a_character_is_refused_before_anything_is_sent(prompt: Any) -> None:
    with answering(lengths) as server, pytest.raises(InvalidInput, match=r"half a character \(U\+D83D\); write it"):
        RemoteReward(server.url, token=TOKEN)([prompt], ["a"])
    assert not server.asked


def test_messages_go_as_they_are() -> None:
    prompt = [{"role": "user", "content": "What?"}]
    with answering(saying(200, {"rewards": [1], "mean": [2], "spread": [0.5]})) as server:
        RemoteReward(server.url, token=TOKEN).score([prompt], ["It."])
    assert server.asked[0][2] == {"prompts": [prompt], "completions": ["It."]}


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_TOKEN", f"{TOKEN}\n")
    with answering(lengths) as server:
        assert RemoteReward(server.url)(["p"], ["abc"]) == [3.0]
    assert server.asked[0][1]["Authorization"] == f"Bearer {TOKEN}"
    monkeypatch.delenv("RRM_TOKEN")
    with pytest.raises(InvalidInput, match="no token"):
        RemoteReward(server.url)
    with pytest.raises(InvalidInput, match="one line of ASCII"):
        RemoteReward(server.url, token="two\nlines")


@pytest.mark.parametrize("url", ["127.0.0.1:8100", "file:///etc/passwd", "ftp://host/", "http://", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="address is"):
        RemoteReward(url, token=TOKEN)


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (saying(422, {"error": "Prompts are missing."}), InvalidInput, r"refuses \(422\): Prompts are missing"),
        (saying(413, {"error": "Too long."}), InvalidInput, r"\(413\): Too long"),
        (saying(401, {"error": "Wrong token."}), ServerError, r"\(401\): Wrong token"),
        (saying(500, b"oops"), ServerError, r"\(500\): it does not say why"),
        (saying(200, b"not JSON"), ServerError, "2 finite numbers under 'rewards'"),
        (saying(200, {"rewards": [1.0]}), ServerError, "2 finite numbers under 'rewards'"),
        (saying(200, {"rewards": [1, 2], "mean": [1, "2"]}), ServerError, "under 'mean'"),
        (saying(200, {"rewards": [1, 2], "mean": [1, 2], "spread": [0.0, float("nan")]}), ServerError, "'spread'"),
        (saying(200, {"rewards": [1, float("inf")]}), ServerError, "under 'rewards'"),
    ],
)
def test_what_is_no_reward_is_never_taken_for_one(answer: Answer, kind: type[Exception], sentence: str) -> None:
    with answering(answer) as server, pytest.raises(kind, match=sentence) as refused:
        RemoteReward(server.url, token=TOKEN)(["p", "p"], ["a", "b"])
    assert TOKEN not in str(refused.value)


def test_the_token_follows_no_redirect() -> None:
    with (
        answering(lengths) as other,
        answering(saying(307, {}), Location=f"{other.url}/score") as server,
        pytest.raises(ServerError, match="307"),
    ):
        RemoteReward(server.url, token=TOKEN)(["p"], ["a"])
    assert not other.asked


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lengths) as proxy, answering(lengths) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert RemoteReward(server.url, token=TOKEN)(["p"], ["a"]) == [1.0]
    assert not proxy.asked


def test_a_server_that_is_gone_is_named() -> None:
    with answering(lengths) as server:
        pass
    with pytest.raises(ServerError, match=f"{server.url} cannot be asked .*serve-reward"):
        RemoteReward(server.url, token=TOKEN)(["p"], ["a"])


def test_unequal_numbers_are_refused_before_anything_is_sent() -> None:
    with answering(lengths) as server:
        function = RemoteReward(server.url, token=TOKEN)
        with pytest.raises(InvalidInput, match="2 prompts and 1 completions"):
            function(["p", "p"], ["a"])
        assert function([], []) == []
    assert not server.asked


def test_verl_is_answered_with_a_score_and_what_it_logs(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with answering(lengths) as server:
        asked = {"data_source": "logs", "ground_truth": "", "url": server.url, "token_file": str(tmp_path / "token")}
        found = compute_score(solution_str="four", extra_info={"question": "What?", "index": 3}, **asked)
        assert found == {"score": 4.0, "mean": 5.0, "spread": 2.0}
        compute_score(solution_str="four", extra_info={"prompt": "Where?"}, prompt_key="prompt", **asked)
        for extra_info in ({"index": 3}, None, {"question": 3}):
            with pytest.raises(InvalidInput, match="has no text under 'question'"):
                compute_score(solution_str="four", extra_info=extra_info, **asked)
    assert {headers["Authorization"] for _, headers, _ in server.asked} == {f"Bearer {TOKEN}"}
    assert [body for _, _, body in server.asked] == [
        {"prompts": ["What?"], "completions": ["four"]},
        {"prompts": ["Where?"], "completions": ["four"]},
    ]


def test_a_token_file_that_holds_no_text_or_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("bytes", "none"):
        with pytest.raises(InvalidInput, match=f"token file {tmp_path / name} cannot be read as text"):
            compute_score("logs", "four", "", {"question": "What?"}, token_file=str(tmp_path / name))


def test_the_client_needs_no_library_that_a_trainer_may_have_in_another_version() -> None:
    """A verl installation has its own torch and transformers, which this file must not ask for."""
    allowed = "sys.stdlib_module_names | {'reward_models'}"
    script = (
        "import sys; before = set(sys.modules); import reward_models.remote_reward; "
        f"print(sorted({{name.split('.')[0] for name in set(sys.modules) - before}} - ({allowed})))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
