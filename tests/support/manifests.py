"""Manifests made by hand."""

import hashlib
import json


def sealed(changed):
    """Give the JSON of a body with the checksum that it should have."""
    canonical = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    return json.dumps(
        {"sha256": hashlib.sha256(canonical.encode()).hexdigest(), "manifest": changed}
    )
