"""What metering refuses, and under which stable code. Verdicts on single events are ``schemas.Code``."""

from billing_site.kernel import errors


class InvalidJson(errors.Invalid):
    """The body is no JSON."""

    code = "invalid_json"
    title = "Invalid JSON"


class InvalidBatch(errors.Invalid):
    """The body is JSON, but neither an event nor a batch of them."""

    code = "invalid_batch"
    title = "Invalid batch"


class EmptyBatch(errors.Invalid):
    """There is no event in the body."""

    code = "empty_batch"
    title = "Empty batch"


class TooManyEvents(errors.TooLarge):
    """More events than one batch may have."""

    code = "too_many_events"
    title = "Too many events"


class InvalidEncoding(errors.Invalid):
    """The body is not compressed the way that its header says."""

    code = "invalid_encoding"
    title = "Invalid encoding"


class DeadLetterNotFound(errors.NotFound):
    """There is no such dead letter, or it is another tenant's."""

    code = "dead_letter_not_found"
    title = "Dead letter not found"


class InvalidMapping(errors.Invalid):
    """The mapping of a file's columns to events cannot be used."""

    code = "invalid_mapping"
    title = "Invalid mapping"


class UnreadableFile(errors.Invalid):
    """The file is not what it is said to be."""

    code = "unreadable_file"
    title = "Unreadable file"
