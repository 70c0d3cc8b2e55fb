"""Models of two layers with random weights, and their tokenizers, built in memory: no test here needs a download."""

import string
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    RobertaConfig,
)

from reward_models.backbone import Backbone

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ("</s>", "<pad>", "<s>", "<user>", "<assistant>", "<system>")
CHARACTERS = len(SPECIAL) + len(string.printable)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def make_tokenizer(
    *, pad: str | None = "<pad>", padding_side: str = "right", begins: str | None = None, ends: str | None = None
) -> PreTrainedTokenizerFast:
    """A character a token; `</s>` is 0 and ends, `<pad>` is 1, `<s>` is 2; with a chat template."""
    words = {word: place for place, word in enumerate((*SPECIAL, *string.printable))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    added = [word for word in (begins, ends) if word]
    if added:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in (begins, "$A", ends) if part),
            special_tokens=[(word, words[word]) for word in added],
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        bos_token="<s>",
        pad_token=pad,
        padding_side=padding_side,
        extra_special_tokens=["<user>", "<assistant>", "<system>"],
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def make_byte_tokenizer(*, pad: str | None = "<pad>", padding_side: str = "right") -> Qwen2Tokenizer:
    """A byte a token, as Qwen has it: `AutoTokenizer` reads any tokenizer beside a Qwen2 model as one of these."""
    tokenizer = Qwen2Tokenizer(
        vocab={word: place for place, word in enumerate((*SPECIAL, *BYTES))},
        merges=[],
        unk_token="</s>",
        eos_token="</s>",
        pad_token=pad,
        padding_side=padding_side,
        extra_special_tokens=["<user>", "<assistant>", "<system>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_config(family: str) -> PreTrainedConfig:
    decoder = {
        "vocab_size": CHARACTERS,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "bos_token_id": 2,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    encoder = {name: value for name, value in decoder.items() if name != "num_key_value_heads"}
    makers: dict[str, Callable[[], PreTrainedConfig]] = {
        "llama": lambda: LlamaConfig(**decoder),
        "qwen2": lambda: Qwen2Config(**decoder | {"vocab_size": len(SPECIAL) + len(BYTES)}),
        "gpt2": lambda: GPT2Config(
            vocab_size=CHARACTERS, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=0
        ),
        "bert": lambda: BertConfig(**encoder | {"pad_token_id": 1}),
        "roberta": lambda: RobertaConfig(**encoder | {"pad_token_id": 1, "max_position_embeddings": 66}),
    }
    return makers[family]()


def make_model(family: str, *, seed: int = 0, causal: bool = False) -> PreTrainedModel:
    model = (AutoModelForCausalLM if causal else AutoModel).from_config(make_config(family))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Spread enough that a wrong token, position or mask shows in every state.
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1))
    return model.eval()


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    return make_tokenizer


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., PreTrainedModel]:
    return make_model


@pytest.fixture(scope="session")
def tiny_backbone() -> Callable[..., Backbone]:
    """Build a backbone of a family: `llama`, `qwen2`, `gpt2`, `bert` or `roberta`; options as in `make_tokenizer`."""

    def make(
        family: str,
        *,
        seed: int = 0,
        max_length: int = 64,
        pad: str | None = "<pad>",
        padding_side: str = "right",
        begins: str | None = None,
        ends: str | None = None,
    ) -> Backbone:
        if family == "qwen2" and not (begins or ends):
            tokenizer = make_byte_tokenizer(pad=pad, padding_side=padding_side)
        else:
            tokenizer = make_tokenizer(pad=pad, padding_side=padding_side, begins=begins, ends=ends)
        return Backbone(model=make_model(family, seed=seed), tokenizer=tokenizer, max_length=max_length)

    return make
