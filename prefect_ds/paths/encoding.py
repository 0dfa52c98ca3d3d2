"""Any text as a part of a file name, and back."""

import hashlib
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

SIDE_FOLDER: Final = ".prefect_ds"
"""The folder beside checkpoints that holds their manifests; no template may name it."""

_MAX_NAME_BYTES: Final = 255
_MAX_FIELD_BYTES: Final = 120
_HASH_DIGITS: Final = 32

_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+@() -]|\A[. ]|[. ]\Z")
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE
)
_SHORTENED = re.compile(
    rf"(?:%[0-9A-F]{{2}}|[\w.,=+@() -]){{20,}}%~[0-9a-f]{{{_HASH_DIGITS}}}"
)


def encode_text(text: str) -> str:
    """Return the text as a part of a file name that no other text is encoded to.

    Kept are ASCII letters and digits, ``_-.,=+@()``, blanks, and other letters and
    digits where the whole text is NFC; all else, a dot or blank at either end, and the
    first letter of a Windows device name become ``%XX``, their bytes in UTF-8. The
    empty text becomes ``%_``. A text that would take more than 120 bytes keeps its
    start, then ``%~`` and 32 digits of its sha256. Texts that differ only in case stay
    apart only on file systems that tell case.

    Examples
    --------
    >>> encode_text("../a:b*"), encode_text("größe 3"), encode_text("nul.csv")
    ('%2E.%2Fa%3Ab%2A', 'größe 3', '%6Eul.csv')
    >>> encode_text("")
    '%_'
    >>> encode_text("n" * 200)[80:]
    'nnnnnn%~1be63cc0bde6bd45dcbb205b96a7e699'
    """
    # Some file systems take é and e + accent for one name, so only one of the two
    # forms may stay as it is.
    is_nfc = unicodedata.is_normalized("NFC", text)

    def encode_character(match: re.Match[str]) -> str:
        character = match[0]
        if is_nfc and character.isalnum():
            return character
        return _percent(character)

    encoded = _UNSAFE.sub(encode_character, text) or "%_"
    if _WINDOWS_DEVICE.match(text):
        encoded = _percent(encoded[0]) + encoded[1:]
    return _shortened(encoded, text)


def decode_text(encoded: str) -> str | None:
    """Return the text that `encode_text` turned into this; ``None``: there is none.

    Examples
    --------
    >>> decode_text("a%2Fb"), decode_text("%_"), decode_text("a/b")
    ('a/b', '', None)
    """
    if encoded == "%_":
        return ""
    if _SHORTENED.fullmatch(encoded):
        return encoded
    try:
        text = unquote(encoded, errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    return text if encode_text(text) == encoded else None


def name_problem(name: str) -> str | None:
    """Return why no file or folder may have this name; ``None``: it may."""
    if name.casefold() == SIDE_FOLDER:
        return f"the name {name!r} is kept for the manifests of prefect_ds"
    size_bytes = len(name.encode("utf-8", "surrogatepass"))
    if size_bytes > _MAX_NAME_BYTES:
        return (
            f"the name {name[:30]!r}... is {size_bytes} bytes long, "
            f"more than the {_MAX_NAME_BYTES} of file systems"
        )
    return None


def _shortened(encoded: str, text: str) -> str:
    """Return an encoded text, or its start and a hash where it is too long."""
    as_bytes = encoded.encode()
    if len(as_bytes) <= _MAX_FIELD_BYTES:
        return encoded
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    mark = f"%~{sha256[:_HASH_DIGITS]}"
    start = as_bytes[: _MAX_FIELD_BYTES - len(mark)].decode(errors="ignore")
    # Without half of a %XX.
    return re.sub(r"%.?\Z", "", start) + mark


def _percent(character: str) -> str:
    as_bytes = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in as_bytes)
