"""The base model's own tokenizer: byte-level BPE whose merges may span the words of a stock phrase.

A log repeats whole phrases, so the pieces that BPE may merge are numbers, equipment, events and remarks instead of words
(superword BPE). A claim is three tokens and a remark of twenty words is one: for the model a log is cheap to read, for a
person it is not. Any other text falls back to shorter pieces and in the end to bytes, so nothing is unknown.
"""

from collections.abc import Iterator

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rrm.tasks.shiftlog.world import document_generator, write_document

PAD, END = "<pad>", "<end>"
VOCABULARY = 1536

_PIECES = r"#\d+|, [a-z]+ \d+\.| [a-z]+( [a-z]+)?(?=[,\n]|$)| ?[A-Z][^\n]*\.|\n| ?[^\s]+|\s"


def train_tokenizer(*, seed: int, documents: int = 600) -> PreTrainedTokenizerFast:
    """A tokenizer learned from generated logs of the training split. Deterministic under the seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(_logs(seed, documents), trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def _logs(seed: int, count: int) -> Iterator[str]:
    for index in range(count):
        generator: np.random.Generator = document_generator(seed=seed, split="tokenizer", level=2, index=index)
        document, _ = write_document(generator=generator, height=2, id=str(index))
        yield document.text + "\nBrief:\n"
