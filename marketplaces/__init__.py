"""
How a tenant's money and usage leave the house: billing channels and their adapters.

Doors: ``onboarding.onboard_customer`` makes the tenant known to its channel; ``channels.registry`` answers the adapter
of a channel, and the payment processor of one that can charge. No business rule lives in an adapter.
"""
