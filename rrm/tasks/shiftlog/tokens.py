"""The base model's own tokenizer: byte-level BPE whose merges may span the words of a stock phrase.

A log repeats whole phrases, so the pieces that BPE may merge are numbers, equipment, events and remarks instead of
words (superword BPE). A claim is three tokens with its line end and a remark of twenty words is one: for the model a
log is cheap to read, for a person it is not. Any other text falls back to shorter pieces and in the end to bytes, so
nothing is unknown.
"""

from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.world import HEIGHTS, document_generator, write_document

PAD, END = "<pad>", "<end>"
VOCABULARY = 1536
"""The most tokens there may be; the language of the logs runs out of pieces to merge before."""

_PIECES = r"#\d+|, [a-z]+ \d+\.| [a-z]+( [a-z]+)?(?=[,\n]|$)| ?[A-Z][^\n]*\.|\n| ?[^\s]+|\s"


def train_tokenizer(*, seed: int, documents: int = 600) -> PreTrainedTokenizerFast:
    """A tokenizer learned from the longest prompts, of logs that no split has. Deterministic under the seed."""
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
    tokenizer.train_from_iterator(_prompts(seed, documents), trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def _prompts(seed: int, count: int) -> Iterator[str]:
    task, height = Shiftlog(seed=seed), HEIGHTS - 1
    for index in range(count):
        generator = document_generator(seed=seed, split="tokenizer", level=height, index=index)
        document, _ = write_document(generator=generator, height=height, id=str(index))
        yield task.prompt(document)
