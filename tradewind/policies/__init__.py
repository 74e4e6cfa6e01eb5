"""Policies: pure functions from what is known of the grid to a mix of variants.

One implementation serves and simulates.
"""

from tradewind.policies.policy import Choice, Policy, Situation, State
from tradewind.policies.registry import build_policy, policy_names

__all__ = ["Choice", "Policy", "Situation", "State", "build_policy", "policy_names"]
