"""Why a name gave no model: answers of a real server on this machine, in the place of the Hub."""

import json
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from reward_models.errors import ArtifactError
from reward_models.loading import load, load_model

REFUSALS = {
    "org/missing": (404, {"X-Error-Code": "RepoNotFound"}),
    "org/private": (401, {"X-Error-Code": "RepoNotFound"}),
    "org/gated": (403, {"X-Error-Code": "GatedRepo"}),
    "org/disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}),
    "org/down": (503, {}),
}
FILES = {
    "org/adapter": ["adapter_config.json", "adapter_model.safetensors"],
    "org/pickled": ["config.json", "pytorch_model.bin", "tokenizer.json"],
    "org/tokens": ["tokenizer.json"],
    "org/unlisted-license": ["config.json", "model.safetensors", "tokenizer.json"],
}
ASKED: list[str] = []


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does to whoever asks for a model's list of files, or for one of them."""

    def do_GET(self) -> None:
        ASKED.append(self.path)
        name = "/".join(self.path.removeprefix("/api/models").split("/")[1:3])
        listing = self.path.startswith("/api/models/") and name in FILES
        # What is listed may still be kept from those who download it.
        status, headers = (200, {}) if listing else REFUSALS.get(name, REFUSALS["org/gated"])
        body = json.dumps({"id": name, "siblings": [{"rfilename": file} for file in FILES.get(name, ())]}).encode()
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body) if listing else 0)}.items():
            self.send_header(key, value)
        self.end_headers()
        if listing:
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server that huggingface_hub takes for the Hub, as if the environment had said so when it was imported."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        ASKED.clear()
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def refusal(name: str) -> str:
    with pytest.raises(ArtifactError, match=f"no model could be read from '{name}'") as caught:
        load_model(AutoModelForCausalLM, name, dtype=torch.float32)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/missing", "the Hub has no model of that name, or a private one (401 or 404); check the name"),
        ("org/private", "the Hub has no model of that name, or a private one (401 or 404); check the name"),
        ("org/gated", "its owner lets only some accounts have it; ask there, then set HF_TOKEN"),
        ("org/disabled", "the Hub has switched it off"),
        ("org/down", "the Hub answered 503; try again later, or give a local folder"),
        ("org/adapter", "it holds an adapter, no model; load its base"),
        ("org/pickled", "its weights are pickled (pytorch_model.bin)"),
        ("org/tokens", "it holds a tokenizer and no model"),
    ],
)
def test_what_the_hub_answers_is_said(name: str, said: str, hub: ThreadingHTTPServer) -> None:
    assert said in refusal(name)
    # One question, before anything is downloaded.
    assert [path for path in ASKED if name in path] == [f"/api/models/{name}"]


def test_what_is_refused_only_on_download_is_said(hub: ThreadingHTTPServer) -> None:
    assert "its owner lets only some accounts have it" in refusal("org/unlisted-license")
    assert any("resolve" in path for path in ASKED)


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    said = refusal("org/model")
    assert "it is no folder here, and the Hub (http://127.0.0.1:1) could not be reached (" in said
    assert "refused" in said and "give a local folder" in said


def test_a_network_that_the_environment_forbids_is_not_asked(
    hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network" in refusal("org/missing")
    assert ASKED == []


@pytest.fixture
def downloaded(
    tiny_model: Callable[..., PreTrainedModel], tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> Iterator[str]:
    """The name of a model that was downloaded at another time."""
    cache = Path(constants.HF_HUB_CACHE) / "models--org--down"
    snapshot = cache / "snapshots" / ("0" * 40)
    tiny_model("llama", causal=True).save_pretrained(snapshot)
    tiny_tokenizer().save_pretrained(snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    yield "org/down"
    shutil.rmtree(cache)


@pytest.mark.parametrize("trouble", ["the Hub is down", "no network", "a network that is forbidden"])
def test_what_was_downloaded_before_is_read_without_the_hub(
    trouble: str, downloaded: str, hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no network":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", trouble == "a network that is forbidden")
    found = load(AutoModelForCausalLM, downloaded, max_length=None, dtype=torch.float32, device=None)
    assert (type(found.model).__name__, len(found.tokenizer)) == ("LlamaForCausalLM", 106)
    assert found.model.name_or_path == downloaded
    assert not any("resolve" in path for path in ASKED)


def test_a_path_is_never_asked_for(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    refusal(str(tmp_path / "none"))
    refusal("runs/mine/models/agent")
    assert ASKED == []
