"""The names of pandas used here that are not public, with their reasons.

A test says which of them a version of pandas no longer has.
"""

from pandas.io.common import get_handle, infer_compression

__all__ = ["get_handle", "infer_compression"]

# get_handle: opens a file with every compression that pandas knows, and with the
# options that a user gives for it. pandas has no public function for that.
#
# infer_compression: the compression that an ending means. pandas infers it from the
# path that it opens; here it gets an open file.
