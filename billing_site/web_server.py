"""
gunicorn's configuration (``--config python:billing_site.web_server``): where its workers keep their counters.

Without it each worker tells its own counters at ``/metrics``.
"""

import os
import shutil
import tempfile
from typing import Any

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Read by prometheus-client as soon as it is imported, so it is set here and not in the settings. A fresh folder for
# each start: counters begin at 0 with the service, as Prometheus expects.
_made = None if os.environ.get(_VARIABLE) else tempfile.mkdtemp(prefix="billing-metrics-")
if _made:
    os.environ[_VARIABLE] = _made


def on_exit(server: Any) -> None:
    """Take the folder away again, if it is ours."""
    if _made:
        shutil.rmtree(_made, ignore_errors=True)
