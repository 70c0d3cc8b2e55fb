"""What a model's own settings say of it as a policy: whether it is causal, how far it reads, and what ends a text."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from reward_models.errors import InvalidInput
from reward_models.loading import positions


def check_causal(model: PreTrainedModel) -> None:
    """Raises `InvalidInput` for a model that reads what comes after a token."""
    config = model.config
    # An encoder with an output layer over its vocabulary reads what comes after a token, unless it is told not to.
    reads_ahead = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if config.is_encoder_decoder or reads_ahead:
        kind = "an encoder-decoder" if config.is_encoder_decoder else "an encoder"
        raise InvalidInput(f"{type(model).__name__} is {kind}; a policy needs a causal language model (a decoder).")


def other_stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What the model's generation settings name as an end beside the tokenizer's.

    Only tokens that stand apart in the tokenizer: a number that is an ordinary word, as untouched settings have it, is
    no end.
    """
    stated = getattr(model.generation_config, "eos_token_id", None)
    named = stated if isinstance(stated, list | tuple) else [] if stated is None else [stated]
    apart = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids} - {tokenizer.eos_token_id}
    return tuple(dict.fromkeys(int(token) for token in named if token in apart))


def context_of(model: PreTrainedModel) -> int | None:
    """The longest text in tokens that the model states to take; None if it states nothing.

    A model that turns its positions by other angles once a text is long (LongRoPE) ends where it would begin to:
    beyond, the probability of a token would depend on what comes after it.
    """
    stated = [positions(model), *_turning_points(model)]
    return min((limit for limit in stated if limit is not None), default=None)


def _turning_points(model: PreTrainedModel) -> list[int]:
    """The lengths at which LongRoPE changes its frequencies."""
    stated = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    # One record for all layers, or one for each kind of layer.
    records = [stated, *(part for part in stated.values() if isinstance(part, dict))]
    lengths = [
        record.get("original_max_position_embeddings") for record in records if record.get("rope_type") == "longrope"
    ]
    return [int(length) for length in lengths if length]
