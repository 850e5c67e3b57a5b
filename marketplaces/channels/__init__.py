"""Adapters: ``base`` says what a channel and a payment processor are, ``registry`` answers the one for a tenant."""
