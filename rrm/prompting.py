"""What a policy reads of a document: its text where that fits the model, else what was written of its parts.

Wu et al. 2021 always do the latter; a model with a long context need not. Whoever stands a level below writes of the
parts, once: what it wrote is kept in the store, read by the agents of this level and shown to people as an aid.
"""

from collections.abc import Sequence

from agents.policy import Policy
from reward_models.errors import InvalidInput
from rrm.standing import BASE
from rrm.store.part_briefs import part_briefs, put_part_briefs
from rrm.store.records import StoredDocument
from rrm.tasks.document import Document
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from rrm.writing_texts import sample_texts

SPARE = 16
"""Tokens that are kept free in a model's context: texts that are joined are not always the sum of their tokens."""


def prompts_of(bench: Workbench, found: Sequence[Document]) -> list[str]:
    """The prompts of documents; what has to be written of their parts is written first.

    Raises InvalidInput where even what was written of the parts does not fit the model.
    """
    by_parts = [document for document in found if reads_parts(bench, document)]
    _write_of_parts(bench, by_parts)
    chosen = {document.id for document in by_parts}
    return [_by_parts(bench, one) if one.id in chosen else bench.task.prompt(one) for one in found]


def prompts_by_id(bench: Workbench, found: Sequence[StoredDocument]) -> dict[str, str]:
    """The prompts of documents of the store; one that was brought along and is none of the task is its own prompt."""
    sources = {one.id: source_of(bench, one) for one in {each.id: each for each in found}.values()}
    own = [document for document in sources.values() if document is not None]
    prompts = dict(zip((document.id for document in own), prompts_of(bench, own), strict=True))
    return {one.id: prompts.get(one.id, one.text) for one in found}


def source_of(bench: Workbench, stored: StoredDocument) -> Document | None:
    """The task's document, which knows its parts; None for one that was brought along."""
    if not is_of_task(bench, stored):
        return None
    return bench.task.document(split=Split(stored.split), level=stored.level, index=stored.position)


def is_of_task(bench: Workbench, stored: StoredDocument) -> bool:
    """Whether a document of the store is one of the task, and was not brought along with judgements."""
    return stored.task == bench.task.name


def reads_parts(bench: Workbench, document: Document) -> bool:
    """Whether the document does not fit the model, and is read by what was written of its parts."""
    if not document.parts or bench.task.prompt_of_parts(document, [""] * len(document.parts)) is None:
        return False
    return not _fits(bench, bench.task.prompt(document))


def written_of_parts(bench: Workbench, document: Document) -> tuple[str, ...]:
    """What the writer of this height wrote of the parts of a document that is read so."""
    _write_of_parts(bench, [document])
    return part_briefs(bench.run, document.id, writer(bench, document))


def writer(bench: Workbench, document: Document) -> str:
    """Id of the agent that writes of the parts: the one that stands a level below."""
    return BASE if bench.config.judging.assistant == "base" else bench.incumbent(document.height - 1)


def _write_of_parts(bench: Workbench, found: Sequence[Document]) -> None:
    """Write of the parts of those documents that have nothing in the store yet, each seeded by its own id."""
    missing = [one for one in found if not part_briefs(bench.run, one.id, writer(bench, one))]
    if not missing:
        return
    prompts = prompts_of(bench, [part for document in missing for part in document.parts])
    policies: dict[str, Policy] = {}
    bench.progress.start("write of the parts", len(prompts))
    for document in missing:
        agent = writer(bench, document)
        policy = policies[agent] if agent in policies else policies.setdefault(agent, bench.policy(agent))
        own, prompts = prompts[: len(document.parts)], prompts[len(document.parts) :]
        texts = sample_texts(bench, policy, own, group=1, names=("parts", document.id, agent))
        put_part_briefs(bench.run, document.id, agent, [text for (text,) in texts])
    bench.progress.finish()


def _by_parts(bench: Workbench, document: Document) -> str:
    prompt = bench.task.prompt_of_parts(document, part_briefs(bench.run, document.id, writer(bench, document)))
    assert prompt is not None  # only documents that are read by their parts come here
    if not _fits(bench, prompt):
        raise InvalidInput(
            f"What was written of the {len(document.parts)} parts of {document.title!r} does not fit the "
            f"{bench.base.context} tokens of the model; lower sampling.max_new_tokens or text.fan_out"
        )
    return prompt


def _fits(bench: Workbench, prompt: str) -> bool:
    context = bench.base.context
    if context is None:
        return True
    return len(bench.base.encode_prompt(prompt)) + bench.config.sampling.max_new_tokens + SPARE <= context
