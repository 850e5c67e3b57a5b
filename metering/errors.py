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


class DeadLetterResolved(errors.Conflict):
    """The dead letter was replayed or discarded before; ``extra`` tells its state."""

    code = "dead_letter_resolved"
    title = "Dead letter resolved"


class DeadLetterBusy(errors.Conflict):
    """Somebody else is replaying or discarding the dead letter at this moment."""

    code = "dead_letter_busy"
    title = "Dead letter busy"


class PayloadIncomplete(errors.Unprocessable):
    """The stored payload is not all that was sent, so that it cannot be replayed as it is."""

    code = "payload_incomplete"
    title = "Payload incomplete"


class InvalidPeriod(errors.Invalid):
    """The period is empty, or ends before it begins."""

    code = "invalid_period"
    title = "Invalid period"


class InvalidMapping(errors.Invalid):
    """The mapping of a file's columns to events cannot be used."""

    code = "invalid_mapping"
    title = "Invalid mapping"


class UnreadableFile(errors.Invalid):
    """The file is not what it is said to be."""

    code = "unreadable_file"
    title = "Unreadable file"


class ThresholdNotFound(errors.NotFound):
    """There is no such usage threshold, or it is another tenant's."""

    code = "usage_threshold_not_found"
    title = "Usage threshold not found"


class ThresholdExists(errors.Conflict):
    """An active threshold of the tenant says the same."""

    code = "usage_threshold_exists"
    title = "Usage threshold exists"


class UnknownMeter(errors.Invalid):
    """No meter has this code, and no event type can be called that."""

    code = "unknown_meter"
    title = "Unknown meter"


class MeterNotRefusable(errors.Invalid):
    """The meter counts only some events of its type, so that a quota on it cannot be kept at the door."""

    code = "meter_not_refusable"
    title = "Meter not refusable"


class ArchiveNotConfigured(errors.Unavailable):
    """No archive was set up."""

    code = "archive_not_configured"
    title = "Archive not configured"


class ArchiveUnreachable(errors.Unavailable):
    """The archive does not take or give what it was asked."""

    code = "archive_unreachable"
    title = "Archive unreachable"


class ArchiveDamaged(errors.Conflict):
    """What lies in the archive is not what was put there."""

    code = "archive_damaged"
    title = "Archive damaged"


class MonthNotArchived(errors.NotFound):
    """The month was not sealed or dropped, so there is nothing to restore."""

    code = "month_not_archived"
    title = "Month not archived"


class MeterNotFound(errors.NotFound):
    """There is no such meter."""

    code = "meter_not_found"
    title = "Meter not found"


class MeterExists(errors.Conflict):
    """The code is another meter's, and a meter never changes."""

    code = "meter_exists"
    title = "Meter exists"


class MeterCodeIsEventType(errors.Conflict):
    """Events of that type were sent, and each type has a meter of its own name."""

    code = "meter_code_is_event_type"
    title = "Meter code is an event type"


class MetersAreShared(errors.Forbidden):
    """Meters count for all tenants; a key that is bound to one may read them and make none."""

    code = "meters_are_shared"
    title = "Meters are shared"


class UsageArchived(errors.Conflict):
    """What is asked for has to be counted from events of a month that was archived."""

    code = "usage_archived"
    title = "Usage archived"


class GroupNotOffered(errors.Invalid):
    """The meter is not told apart by what the usage is to be grouped by."""

    code = "group_not_offered"
    title = "Group not offered"
