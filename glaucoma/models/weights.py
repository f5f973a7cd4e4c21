"""Pretrained weights from local files: the named file, the workspace, the local hub cache. Never the network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glaucoma.errors import WeightsUnavailableError

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pth")
_CACHED_NAMES = ("model.safetensors", "pytorch_model.bin")
_SHARE_USED = 0.9
"""Below this share of a network's tensors found in the file, the file belongs to another network."""


@dataclass(frozen=True)
class Weights:
    """A file of weights, read."""

    path: Path
    tensors: dict[str, Tensor]

    def timm_overlay(self) -> dict[str, Any]:
        """What timm must be told to take these tensors in place of a download."""
        return {"state_dict": dict(self.tensors), "custom_load": False}

    def load_into(self, module: nn.Module) -> None:
        """Loads strictly, but for what the module's own loader leaves out; `WeightsUnavailableError` otherwise."""
        try:
            module.load_state_dict(dict(self.tensors))
        except (RuntimeError, KeyError) as error:
            raise self.misfit(str(error)) from error

    def misfit(self, reason: str) -> WeightsUnavailableError:
        """The error for a file that does not fit the network."""
        return WeightsUnavailableError(
            f"The weights in {self.path} do not fit the network ({' '.join(reason.split())[:300]})",
            expected="weights of this very network",
            remedy="name another weights_path, remove the file, or set pretrained to false",
        )


def find_weights(name: str, repository: str | None, weights_path: Path | None, weights_dir: Path | None) -> Weights:
    """The first of: `weights_path`; `<weights_dir>/<name>.safetensors` or `.pth`; the local hub cache's `repository`.

    Args:
        name: The model's name; a `tu-` before it is optional in the file's name.
        weights_path: Where it is given, nothing else is tried.

    Raises:
        WeightsUnavailableError: Nothing there (says where it looked), or a file that cannot be read.
    """
    looked: list[str] = []
    for path in _candidates(name, weights_path, weights_dir):
        if path.is_file():
            return read_weights(path)
        looked.append(str(path))
    if weights_path is None and repository is not None:
        cached = _in_hub_cache(repository)
        if cached is not None:
            return read_weights(cached)
        looked.append(f"{repository} in the local hub cache {_hub_cache()}")
    place = weights_dir / f"{name}.safetensors" if weights_dir is not None else "a file named by weights_path"
    raise WeightsUnavailableError(
        f"No pretrained weights for {name!r}; looked at: {'; '.join(looked) or 'no place, none was given'}",
        expected="a .safetensors or .pth file in one of these places; nothing is downloaded",
        consequence="Nothing was trained",
        remedy=f"put the weights{f' of {repository}' if repository else ''} at {place}, "
        "name a file with weights_path (segmentation_weights_path), or set pretrained to false",
    )


def read_weights(path: Path) -> Weights:
    """Reads tensors alone: no pickled object is executed. `WeightsUnavailableError` where the file is no such file."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return Weights(path, load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise WeightsUnavailableError(
            f"The weights file {path} cannot be read ({' '.join(str(error).split())[:200]})",
            expected="a .safetensors file, or a .pth file that holds tensors alone",
            remedy="replace the file, or set pretrained to false",
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
    return Weights(path, tensors)


def load_own(model: nn.Module, weights: Weights) -> None:
    """Loads an own model's weights, all of them; `WeightsUnavailableError` where one is missing or of another shape."""
    weights.load_into(model)


def refuse_unused(module: nn.Module, weights: Weights) -> None:
    """`WeightsUnavailableError` unless nearly all of the module's tensors are to be found in the file.

    Loaders are lenient about names, and a file of another network would leave random weights without a word. Compared
    by content, since a loader may rename; the head, which is new, and scalars do not count.
    """
    in_file = {_content(tensor) for tensor in weights.tensors.values()}
    own = [
        tensor
        for name, tensor in module.state_dict().items()
        if tensor.ndim > 0 and not name.startswith(("classifier", "fc", "head"))
    ]
    used = sum(_content(tensor) in in_file for tensor in own)
    if own and used < _SHARE_USED * len(own):
        raise weights.misfit(f"{used} of the network's {len(own)} tensors are in the file")


def _content(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.detach().cpu().float().contiguous().numpy().tobytes()).digest()


def _candidates(name: str, weights_path: Path | None, weights_dir: Path | None) -> list[Path]:
    if weights_path is not None:
        return [weights_path]
    if weights_dir is None:
        return []
    stems = dict.fromkeys((name, name.removeprefix("tu-")))
    return [weights_dir / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]


def _in_hub_cache(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for filename in _CACHED_NAMES:
        found = try_to_load_from_cache(repository, filename)
        if isinstance(found, str):
            return Path(found)
    return None


def _hub_cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)
