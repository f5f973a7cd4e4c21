"""What a checkpoint's file holds, how it is written, and what it must show before it is believed.

A file is read by `torch.load(weights_only=True)`, so it can hold numbers, text and tensors, and run nothing. Before
that its members must lie in it uncompressed: what is read is never larger than the file. After that its structure is
checked, so that whoever loads it meets the right types, and weights that are finite.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

import torch

from glaucoma.errors import IntegrityError, problems, shown_bytes
from glaucoma.provenance import versions

FORMAT = 2
_REQUIRED = ("state", "model")
_TENSORS = ("model", "ema")
_PLAIN = {type(None), bool, int, float, str}
_PICKLE_LIMIT_BYTES = 64_000_000
_MEMBER_LIMIT, _NODE_LIMIT, _DEPTH_LIMIT = 100_000, 1_000_000, 12
_SHARED_TIMES = 4
"""How often one storage may be counted: networks tie weights, and a moving average may share a buffer."""
_SHOWN = 8
_COUNTS_FOR_BITS = ("python", "platform", "torch", "timm", "segmentation-models-pytorch", "monai", "numpy",
                    "opencv-python-headless")  # fmt: skip
_UNREADABLE = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, TypeError,
               RuntimeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Whose checkpoint it is.

    Args:
        settings: The spec as plain JSON; where its weights file lies does not count, only that file's hash.
        data_sha256: Of the manifest of the prepared data.
    """

    experiment_id: str
    settings: Mapping[str, Any]
    data_sha256: str

    def differences(self, found: Any) -> list[str]:
        """Each as `name: there X, here Y`; empty where `found`, from a checkpoint, is this identity."""
        there = _flat(found) if isinstance(found, dict) else {}
        here = _flat(plain_identity(self))
        names = sorted({*there, *here}, key=lambda name: (name.startswith("settings."), name))
        return [
            f"{name.removeprefix('settings.')}: there {_shown(there, name)}, here {_shown(here, name)}"
            for name in names
            if name != "settings.weights_path" and (name not in there or name not in here or there[name] != here[name])
        ]


def plain_identity(identity: Identity) -> dict[str, Any]:
    """As it is written into a file: JSON's types only."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(identity), default=str))
    return plain


class _Hashing:
    """A file that hashes what is written to it.

    An error is kept for the end: torch's writer answers one in mid-write with another that hides it.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self._hasher = handle, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        if self.error is None:
            try:
                self._handle.write(content)
                self._hasher.update(content)
            except OSError as error:
                self.error = error
        return len(content)

    def flush(self) -> None:
        """Torch calls it; the caller syncs."""

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()


def write_payload(payload: Mapping[str, Any], handle: IO[bytes]) -> str:
    """Writes `payload` with the format's number and what it was made with; returns the SHA-256 of all bytes.

    Args:
        payload: Numbers, text, tensors, and dicts, lists and tuples of them; `identity` may be an `Identity`.

    Raises:
        TypeError: Something in it could not be loaded again.
        OSError: The disk does not take it.
    """
    whole = {"format": FORMAT, "made_with": made_with(), **payload}
    if isinstance(whole.get("identity"), Identity):
        whole["identity"] = plain_identity(whole["identity"])
    try:
        _require_plain(whole, limit_bytes=None)
    except IntegrityError as error:
        raise TypeError(f"a checkpoint would not load again: {error.found}") from error
    writer = _Hashing(handle)
    torch.save(whole, cast("IO[bytes]", writer))
    if writer.error is not None:
        raise writer.error
    return writer.sha256


def read_payload(handle: IO[bytes], name: str, size_bytes: int, device: str = "cpu") -> dict[str, Any]:
    """The payload in an open file of `size_bytes`, its structure checked.

    Raises:
        IntegrityError: It is no checkpoint of this format, or holds what no checkpoint holds; the message says what.
    """
    try:
        _require_stored(handle, size_bytes)
        handle.seek(0)
        with warnings.catch_warnings(action="ignore"):  # what torch warns of is refused below
            payload = torch.load(handle, map_location=device, weights_only=True)
    except IntegrityError as error:
        raise IntegrityError(f"{name} {error.found}") from error
    except torch.OutOfMemoryError:
        raise  # says nothing of the file
    except _UNREADABLE as error:
        raise IntegrityError(f"{name} cannot be read ({problems(error)})") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        found = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
        raise IntegrityError(f"{name} has format {found!r}", expected=f"format {FORMAT}")
    try:
        _require_plain(payload, limit_bytes=size_bytes)
        _require_structure(payload)
    except IntegrityError as error:
        raise IntegrityError(f"{name} {error.found}") from error
    return payload


def made_with() -> dict[str, str]:
    """What the bits of a training depend on beside its spec: versions, threads, the kind of processor and GPU."""
    counting = {name: version for name, version in versions().items() if name in _COUNTS_FOR_BITS}
    return {
        **counting,
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def made_otherwise(payload: Mapping[str, Any], computed: Mapping[str, str]) -> str:
    """Differences between what a checkpoint was made with and what is here, each as `name: there X, here Y`; or empty.

    Args:
        computed: How this attempt computes (`Checkpoints`); empty: that is not compared.
    """
    here = {**made_with(), **computed}
    parts = [payload.get(key) for key in (("made_with", "computed") if computed else ("made_with",))]
    there = {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
    return listed(
        [
            f"{name}: there {_shown(there, name)}, here {_shown(here, name)}"
            for name in sorted({*there, *here}, key=str)
            if there.get(name) != here.get(name)
        ]
    )


def listed(differences: list[str]) -> str:
    """The first few of them in one line, and how many more there are."""
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return "; ".join(differences[:_SHOWN]) + more


def _require_stored(handle: IO[bytes], size_bytes: int) -> None:
    """A zip whose members lie in it as they are: none grows when it is read."""
    with zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
    if len(members) > _MEMBER_LIMIT:
        raise IntegrityError(f"holds {len(members)} members, more than any checkpoint")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise IntegrityError(f"holds a compressed member ({member.filename[:80]!r}), which no checkpoint does")
        if member.filename.endswith("data.pkl") and member.file_size > _PICKLE_LIMIT_BYTES:
            raise IntegrityError(f"has an index of {shown_bytes(member.file_size)}, larger than any checkpoint's")
    if sum(member.file_size for member in members) > size_bytes:
        raise IntegrityError(f"claims members of more bytes than its own {size_bytes}")


def _require_plain(payload: Any, limit_bytes: int | None) -> None:
    """Only numbers, text, dense tensors and containers of them, in a bounded tree, tensors in bounded bytes."""
    waiting: list[tuple[str, Any, int]] = [("payload", payload, 0)]
    nodes = n_bytes = 0
    while waiting:
        name, value, depth = waiting.pop()
        nodes += 1
        if nodes > _NODE_LIMIT or depth > _DEPTH_LIMIT:
            raise IntegrityError("holds more, or deeper, than any checkpoint does")
        if isinstance(value, torch.Tensor):
            n_bytes += _dense_bytes(name, value)
            if limit_bytes is not None and n_bytes > _SHARED_TIMES * limit_bytes:
                raise IntegrityError(f"unfolds to more than {_SHARED_TIMES} times its {shown_bytes(limit_bytes)}")
        elif type(value) in (dict, OrderedDict):
            if any(type(key) not in (str, int) for key in value):
                raise IntegrityError(f"has keys in {name} that are neither text nor whole numbers")
            waiting.extend((f"{name}[{str(key)[:60]!r}]", one, depth + 1) for key, one in value.items())
        elif type(value) in (list, tuple):
            waiting.extend((f"{name}[{index}]", one, depth + 1) for index, one in enumerate(value))
        elif type(value) not in _PLAIN:
            raise IntegrityError(f"holds a {type(value).__module__}.{type(value).__name__} at {name[:200]}")


def _dense_bytes(name: str, tensor: torch.Tensor) -> int:
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise IntegrityError(f"holds a tensor of another kind at {name[:200]}")
    n_bytes = tensor.numel() * tensor.element_size()
    if n_bytes > tensor.untyped_storage().nbytes():
        raise IntegrityError(f"holds a tensor at {name[:200]} that is larger than what is stored of it")
    return n_bytes


def _require_structure(payload: dict[str, Any]) -> None:
    for key in _REQUIRED:
        if not isinstance(payload.get(key), dict):
            raise IntegrityError(f"has no {key}")
    state = payload["state"]
    for key in ("epoch", "best_epoch"):
        if type(state.get(key)) is not int or state[key] < 0:
            raise IntegrityError(f"has {str(state.get(key))[:40]!r} for {key}, not a number of epochs")
    for part in _TENSORS:
        tensors = payload.get(part) or {}
        if not isinstance(tensors, dict):
            raise IntegrityError(f"has a {type(tensors).__name__} for {part}")
        for name, value in tensors.items():
            if not isinstance(value, torch.Tensor):
                raise IntegrityError(f"has a {type(value).__name__} for {part}.{name}, not a tensor")
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise IntegrityError(f"has weights that are not finite, in {part}.{name}")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, `a.b`; lists and tuples alike."""
    found: dict[str, Any] = {}
    for key, one in value.items():
        if isinstance(one, dict) and one:
            found |= _flat(one, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(one) if isinstance(one, tuple) else one
    return found


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = str(values[name]) if name in values else "nothing"
    return text if len(text) <= 80 else text[:80] + " ..."
