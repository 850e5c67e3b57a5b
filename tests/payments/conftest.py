"""What tests of payments share: Stripe's stand-in."""

from tests.stand_ins.stripe.fixtures import running_stripe, stripe

__all__ = ["running_stripe", "stripe"]
