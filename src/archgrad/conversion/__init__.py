"""Architectures and logs of other tools to ours, and ours to their texts (docs/coming_from).

`convert` reads, `written` writes.
"""

from archgrad.conversion.found import WRITTEN, Conversion, Found, written
from archgrad.conversion.reading import FORMS, convert

__all__ = ["FORMS", "WRITTEN", "Conversion", "Found", "convert", "written"]
