"""Sample: the agent that stands at a level writes for fresh documents."""

from collections.abc import Mapping

from rrm.judging.imported import REASON
from rrm.prompting import prompts_of
from rrm.store import Purpose, comparisons
from rrm.store_documents import store_completions
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from rrm.writing_texts import sample_texts


def sample(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Let the agent write for this round's training documents and the validation documents, several completions each.

    Every round has training documents of its own as long as there are more; the validation documents are the same in
    all rounds of a level. Nothing is written for a purpose whose questions are all there already, as imported ones are.
    """
    settings = bench.config.sampling
    agent = bench.incumbent(level)
    policy = bench.policy(agent)
    batches = [
        (split, bench.places(split=split, level=level, count=count, first=first))
        for split, purpose, count, first in (
            (Split.TRAIN, Purpose.TRAIN, settings.train_documents, round * settings.train_documents),
            (Split.VALIDATION, Purpose.VALIDATION, settings.validation_documents, 0),
        )
        if still_to_ask(bench, level=level, round=round, purpose=purpose)
    ]
    documents = {split: [bench.document(split, level, place) for place in places] for split, places in batches}
    prompts = {split: prompts_of(bench, found) for split, found in documents.items()}
    bench.progress.start("sample", sum(len(places) for _, places in batches))
    for split, places in batches:
        texts = sample_texts(
            bench,
            policy,
            prompts[split],
            group=settings.completions_per_document,
            names=("sample", level, round, split),
        )
        store_completions(
            bench.run,
            bench.task,
            documents[split],
            texts,
            split=split,
            level=level,
            round=round,
            agent=agent,
            places=places,
        )
    bench.progress.finish()
    return {"agent": agent, "documents": sum(len(places) for _, places in batches)}


def still_to_ask(bench: Workbench, *, level: int, round: int, purpose: Purpose) -> int:
    """How many comparisons of a round and purpose (train or validation) are to be chosen beside imported ones."""
    judging = bench.config.judging
    wanted = judging.judgements_per_round if purpose is Purpose.TRAIN else judging.validation_judgements
    there = comparisons(bench.run, level=level, round=round, purpose=purpose)
    return max(0, wanted - sum(one.reason == REASON for one in there))
