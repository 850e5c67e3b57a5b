"""Log lines: structured, one a line, carrying the request's id."""

import logging

import structlog
import structlog.tracebacks

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def formatter(style_name: str) -> logging.Formatter:
    """The formatter that settings name: ``json`` for machines, ``console`` for people."""
    if style_name == "json":
        last: list[structlog.typing.Processor] = [
            structlog.processors.ExceptionRenderer(
                # Without the frames' variables: they hold keys, cards and customers' data.
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False),
            ),
            structlog.processors.JSONRenderer(),
        ]
    else:
        plain = structlog.dev.RichTracebackFormatter(show_locals=False)
        last = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
