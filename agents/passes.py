"""The three passes that everything here is made of: over prompts, over completions behind them, and token by token."""

from agents.shared_prompt import CompletionPass as CompletionPass
from agents.shared_prompt import Decoder as Decoder
from agents.shared_prompt import Prefill as Prefill
from agents.shared_prompt import completion_pass as completion_pass
from agents.shared_prompt import prefill as prefill
