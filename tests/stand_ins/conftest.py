"""The stand-in under test."""

from tests.stand_ins.stripe.fixtures import running_stripe, stripe

__all__ = ["running_stripe", "stripe"]
