"""The reward server over a real socket: what it answers, protocol by protocol, and what it refuses."""

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from math import exp
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any

import pytest
import torch
import uvicorn

from reward_models.conversations import Conversation
from reward_models.errors import InvalidInput
from reward_models.remote_reward import RemoteReward
from reward_models.reward_function import RewardFunction
from reward_models.reward_model import AbstractScorer
from rrm.serving.queries import ENDS
from rrm.serving.requests import Limits
from tests.ui.tiny_runs import call
from ui.page.listening import listen
from ui.reward_server import Offered, make_app

TOKEN = "a-token-for-the-tests"
LIMITS = Limits(size=4000, items=5, characters=300)


class Reader(AbstractScorer):
    """Two members: the length of what is said, and that less the number of a's. It notes what it is asked."""

    members = 2

    def __init__(self) -> None:
        self.asked: list[tuple[Conversation, Conversation]] = []
        self.meeting = Barrier(2)
        self.met = False

    def scores(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> torch.Tensor:
        return torch.tensor([self._score(*pair) for pair in zip(prompts, completions, strict=True)]).T

    def _score(self, prompt: Conversation, completion: Conversation) -> tuple[float, float]:
        self.asked.append((prompt, completion))
        text = completion if isinstance(completion, str) else completion[0]["content"]
        if text == "a NaN":
            return float("nan"), 0.0
        if text == "wait for another":
            with suppress(BrokenBarrierError):
                self.meeting.wait(0.5)
                self.met = True
        if text == "a fault":
            raise ZeroDivisionError("a secret of the server")
        if text == "too long":
            raise InvalidInput("a prompt of 9 tokens does not fit the context of 8")
        return float(len(text)), float(len(text) - text.count("a"))


@dataclass
class Served:
    port: int
    reader: Reader

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | object = None, *, method: str = "POST", **headers: str) -> tuple[int, Any]:
        """Status and answer; what is no bytes goes as JSON, and the token along unless there are other headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            shown = headers or {"Authorization": f"Bearer {TOKEN}"}
            connection.request(method, path, body=None if method == "GET" else sent, headers=shown)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def refused(self, path: str, body: bytes | object, **headers: str) -> tuple[int, str]:
        status, said = self.ask(path, body, **headers)
        assert list(said) == ["error"]
        sentence = said["error"]
        assert not sentence[0].islower()
        assert sentence.endswith(".")
        assert not any(never in sentence for never in ("\n", "Traceback", TOKEN))
        return status, sentence


@contextmanager
def serving(*, limits: Limits = LIMITS) -> Iterator[Served]:
    reader = Reader()
    function = RewardFunction(reader, conservative="lower", coefficient=2.0)
    listening = listen("127.0.0.1", 0)
    app = make_app(Offered(function, token=TOKEN, ends=(*ENDS, "<END>"), limits=limits))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(listening.getsockname()[1], reader)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as found:
        yield found


def test_completions_get_reward_mean_and_spread(served: Served) -> None:
    status, said = served.ask("/score", {"prompts": ["p", "p", "q"], "completions": ["baa", "b", ""]})
    assert status == 200
    # Members say 3 and 1, 1 and 1, 0 and 0: means 2, 1, 0, spreads 1, 0, 0; less twice the spread.
    assert said == {"rewards": [0.0, 1.0, 0.0], "mean": [2.0, 1.0, 0.0], "spread": [1.0, 0.0, 0.0]}


def test_messages_are_understood(served: Served) -> None:
    asked = [{"role": "user", "content": "p", "name": "me"}]
    answered = [{"role": "assistant", "content": "baa", "tool_calls": None}]
    status, said = served.ask("/score", {"prompts": [asked, "p"], "completions": [answered, "ba"]})
    assert (status, said["mean"]) == (200, [2.0, 1.5])
    first, second = served.reader.asked[-2:]
    assert first == ([{"role": "user", "content": "p"}], [{"role": "assistant", "content": "baa"}])
    assert second == ("p", "ba")


def test_openrlhf_gets_what_it_reads(served: Served) -> None:
    query = ["Say: baa</s>", "<s>Say: b<END>"]
    body = {"query": query, "prompts": ["Say: ", "Say: "], "labels": [None, float("nan")], "datasources": ["x", "y"]}
    # As its client does it: no header but the type, and Python's own JSON, which writes NaN.
    kind = {"Content-Type": "application/json"}
    status, said = served.ask(f"/get_reward?token={TOKEN}", body, **kind)
    assert status == 200, said
    assert served.reader.asked[-2:] == [("Say: ", "baa"), ("Say: ", "b")]
    assert said["rewards"] == [0.0, 1.0]
    assert said["scores"] == pytest.approx([0.5, 1.0 / (1.0 + exp(-1.0))])
    assert said["extra_logs"] == {"mean": [2.0, 1.0], "spread": [1.0, 0.0]}


def test_openrlhf_is_told_where_a_query_is_not_its_prompts(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    body = {"query": ["Say: b", "ay: b"], "prompts": ["Say: ", "Say: "], "labels": [1, 2]}
    status, sentence = served.refused("/get_reward", body)
    assert status == 422
    assert sentence.startswith(
        "Query[1] does not begin with its prompt: it begins with 'ay: b', the prompt with 'Say: '"
    )
    # Its client shows nobody what the answer says, so the server does.
    assert "422: query[1] does not begin with its prompt" in capfd.readouterr().err
    status, sentence = served.refused("/get_reward", {"query": ["Say: b"]})
    assert (status, sentence) == (422, "'prompts' is missing; send an object with 'query', 'prompts', 'labels'.")


def test_a_trainer_with_our_client_gets_the_same(served: Served) -> None:
    found = RemoteReward(served.url, token=TOKEN).score(["p", "q"], ["baa", "b"])
    assert (found.rewards, found.mean, found.spread) == ((0.0, 1.0), (2.0, 1.0), (1.0, 0.0))
    with pytest.raises(InvalidInput, match="does not fit the context of 8"):
        RemoteReward(served.url, token=TOKEN)(["p"], ["too long"])


def test_health_needs_no_token_and_tells_nothing(served: Served) -> None:
    assert served.ask("/health", method="GET", Accept="*/*") == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/score", "/get_reward", "/score?token=", f"/score?token={TOKEN}x", "/score?token=é"])
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"Bearer {TOKEN} {TOKEN}", "é"]
)
def test_without_the_token_nothing_is_answered(served: Served, path: str, header: str) -> None:
    before = len(served.reader.asked)
    headers = {"Authorization": header} if header else {"Accept": "*/*"}
    sent = path.replace("é", "%C3%A9")
    status, sentence = served.refused(sent, {"prompts": ["p"], "completions": ["a"]}, **headers)
    assert status == 401
    assert sentence.startswith("The token is missing or wrong; send the header `Authorization: Bearer TOKEN`")
    assert len(served.reader.asked) == before


def test_the_token_counts_in_the_header_and_in_the_address(served: Served) -> None:
    body = {"prompts": ["p"], "completions": ["b"]}
    assert served.ask("/score", body, Authorization=f"bearer {TOKEN}")[0] == 200
    assert served.ask(f"/score?token={TOKEN}", body, Accept="*/*")[0] == 200
    # A proxy's own sign-in does not stand in the way of the address.
    assert served.ask(f"/score?token={TOKEN}", body, Authorization="Basic eDp5")[0] == 200


LONG = "x" * (LIMITS.characters + 1)
USER = {"role": "user", "content": "p"}


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 422, "The body is not JSON"),
        (b"{", 422, "The body is not JSON"),
        (b"\xff\xfe", 422, "The body is not JSON"),
        (b"[" * 3000, 422, "The body is not JSON"),
        (b'{"prompts": ["\\ud800"], "completions": ["a"]}', 422, "The body is not JSON"),
        (b"[]", 422, "The body is not a JSON object"),
        (b"NaN", 422, "The body is not a JSON object"),
        ({}, 422, "'prompts' is missing; send an object with 'prompts', 'completions'."),
        ({"prompts": ["p"]}, 422, "'completions' is missing"),
        ({"prompts": ["p"], "completions": ["a"], "n": 1}, 422, "'n' is not known here"),
        ({"prompts": "p", "completions": ["a"]}, 422, "Prompts is not a list; give one entry for each completion."),
        ({"prompts": ["p"], "completions": None}, 422, "Completions is not a list"),
        ({"prompts": ["p", 3], "completions": ["a", "b"]}, 422, "Prompts[1] cannot be used"),
        ({"prompts": ["p"], "completions": [None]}, 422, "Completions[0] cannot be used"),
        ({"prompts": ["p"], "completions": [float("nan")]}, 422, "Completions[0] cannot be used"),
        ({"prompts": ["p"], "completions": [[{"role": "user"}]]}, 422, "Completions[0] cannot be used"),
        ({"prompts": [[USER | {"content": [{}]}]], "completions": ["a"]}, 422, "Prompts[0] cannot be used"),
        ({"prompts": ["p"], "completions": ["a", "b"]}, 422, "1 prompts and 2 under 'completions' came"),
        ({"prompts": [], "completions": []}, 422, "Nothing stands under 'completions'"),
        (
            {"prompts": ["p"] * 6, "completions": ["a"] * 6},
            413,
            "6 completions came in one request, and 5 are the most",
        ),
        ({"prompts": ["p"], "completions": [LONG]}, 413, "Completions[0] has 301 characters, and 300 are the most"),
        ({"prompts": [[USER, USER | {"content": LONG}]], "completions": ["a"]}, 413, "Prompts[0] has 302 characters"),
        ({"prompts": ["p"] * 4000, "completions": ["a"]}, 413, "The body has more than 4000 bytes"),
        (b" " * (LIMITS.size + 1), 413, "The body has more than 4000 bytes, which are the most"),
        ({"prompts": ["p"], "completions": ["too long"]}, 422, "A prompt of 9 tokens does not fit the context of 8."),
        ({"prompts": ["p"], "completions": ["a NaN"]}, 500, "A member's score is not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(
    served: Served, body: bytes | object, status: int, sentence: str
) -> None:
    found = served.refused("/score", body)
    assert found[0] == status, found
    assert found[1].startswith(sentence)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"query": "x", "prompts": ["p"]}, 422, "Query is not a list"),
        ({"query": [[USER]], "prompts": ["p"]}, 422, "Query[0] cannot be used"),
        ({"query": ["p"], "prompts": ["p", "p"]}, 422, "2 prompts and 1 under 'query' came"),
        ({"query": ["p"] * 6, "prompts": ["p"] * 6}, 413, "6 completions came"),
        ({"query": ["p" + LONG], "prompts": ["p"]}, 413, "Query[0] has 302 characters"),
        ({"query": [], "prompts": []}, 422, "Nothing stands under 'query'"),
        (b"{", 422, "The body is not JSON"),
    ],
)
def test_the_protocol_of_openrlhf_has_the_same_limits(
    served: Served, body: bytes | object, status: int, sentence: str
) -> None:
    found = served.refused("/get_reward", body)
    assert found[0] == status, found
    assert found[1].startswith(sentence)


def test_the_most_that_is_allowed_is_answered(served: Served) -> None:
    body = {"prompts": ["p"] * 5, "completions": ["b" * 300] * 5}
    sent = json.dumps(body).encode().ljust(LIMITS.size)
    assert served.ask("/score", sent) == (200, {"rewards": [300.0] * 5, "mean": [300.0] * 5, "spread": [0.0] * 5})


def test_who_sends_too_much_can_read_why(served: Served) -> None:
    # More than sockets hold on the way: a server that just hung up would break the pipe of the sender.
    assert served.refused("/score", b" " * 12 * 2**20)[0] == 413
    assert served.ask("/score", {"prompts": ["p"], "completions": ["b"]})[0] == 200


def test_the_client_asks_for_whatever_is_within_the_limits_of_a_text() -> None:
    with serving(limits=Limits()) as served:
        remote = RemoteReward(served.url, token=TOKEN)
        # 128 pairs in one request of UTF-8, where escapes would take 18 MB; then 38 MB, which need several.
        assert remote(["\u4e00" * 24_000] * 128, ["b"] * 128) == [1.0] * 128
        assert remote(["\u4e00" * 100_000] * 128, ["b"] * 128) == [1.0] * 128
        with pytest.raises(InvalidInput, match=r"refuses \(413\): Prompts\[0\] has 100001 characters"):
            remote(["p" * 100_001], ["b"])
        with pytest.raises(InvalidInput, match=r"refuses \(413\): The body has more than 16777216 bytes"):
            remote(["p" * 2**24], ["b"])


@pytest.mark.parametrize(
    ("held", "sentence"), [(b"\xff\xfe a token", "holds bytes that are no text"), (b"short", "holds no usable token")]
)
def test_a_token_file_that_holds_no_token_is_named(
    held: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_bytes(held)
    said = call(capsys, "serve-reward", str(tmp_path), "--level", "0", "--token-file", str(file), code=1)
    assert said.startswith(f"{file} {sentence}")


def test_a_body_of_unknown_length_is_bounded_too(served: Served) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("POST", "/score", body=chunks(), headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"].startswith("The body has more than 4000 bytes")
    connection.close()


def test_who_leaves_in_the_middle_disturbs_nobody(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as leaving:
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n"
        leaving.sendall(head.encode() + b'{"prompts"')
    with socket.create_connection(("127.0.0.1", served.port)) as leaving:
        leaving.sendall(b"this is not HTTP\r\n\r\n")
        leaving.recv(1000)
    assert served.ask("/score", {"prompts": ["p"], "completions": ["b"]})[0] == 200
    said = capfd.readouterr().err
    assert not any(never in said for never in ("Traceback", "error inside"))


def test_a_fault_inside_is_told_to_whom_it_concerns(
    served: Served, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, sentence = served.refused("/score", {"prompts": ["p"], "completions": ["a fault"]})
    assert (status, sentence) == (500, "An error inside the server kept it from answering; it has said there which.")
    said = capfd.readouterr().err
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said
    (written,) = tmp_path.glob("rrm-error-*.txt")
    assert "a secret of the server" in written.read_text()
    # And the next one is answered.
    assert served.ask("/score", {"prompts": ["p"], "completions": ["b"]})[0] == 200


def test_other_paths_and_methods_are_refused(served: Served) -> None:
    assert served.refused("/other", {})[0] == 404
    status, said = served.ask("/score", method="GET")
    assert (status, said["error"]) == (405, "This server answers POST /score, POST /get_reward and GET /health.")
    for path in ("/docs", "/redoc", "/openapi.json", "/"):
        assert served.ask(path, method="GET")[0] == 404


def test_one_request_at_a_time_goes_through_the_model(served: Served) -> None:
    def ask(number: int) -> Any:
        completions = ["wait for another" if number < 2 else "b" * number]
        return served.ask("/score", {"prompts": ["p"], "completions": completions})[1]["mean"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    # "wait for another" has 16 characters and 2 a's, so its members say 16 and 14.
    assert found == [[15.0], [15.0], *([float(number)] for number in range(2, 8))]
    assert not served.reader.met


def test_tokens_in_addresses_are_written_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as served:
        assert served.ask(f"/score?token={TOKEN}", {"prompts": ["p"], "completions": ["b"]}, Accept="*/*")[0] == 200
        served.refused(f"/score?token={TOKEN}", b"{", Accept="*/*")
        served.refused(f"/other?token={TOKEN}", b"{", Accept="*/*")
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
