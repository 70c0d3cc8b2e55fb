"""How to do it: policies, rollouts, divergences, objectives and training, on any Hugging Face causal language model.

Imports go down only: this floor knows `reward_models`, and nothing of runs, tasks or pages.
"""
