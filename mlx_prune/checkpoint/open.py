"""Open a model once: from a folder, from the Hub, or the embedded one."""

from __future__ import annotations

import contextlib
import glob
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import _decode_tagged_floats
from mlx_lm.utils import load_model as _mlx_lm_load_model

from mlx_prune.chat.tokenizer import OpenedTokenizer, open_tokenizer
from mlx_prune.checkpoint.adapters import adapters_of, add_adapters
from mlx_prune.checkpoint.config import CONFIG_FILE, check_plausible, entries_changed, read_config
from mlx_prune.checkpoint.costs import Costs, costs_of
from mlx_prune.checkpoint.downloads import download
from mlx_prune.checkpoint.hashes import quick_hash
from mlx_prune.checkpoint.matrices import PrunableLinear, prunable_linears, weights_of
from mlx_prune.checkpoint.rope import check_rope
from mlx_prune.checkpoint.shards import Shards, open_shards
from mlx_prune.dtypes import DTYPES, FLOATS
from mlx_prune.environment import backend
from mlx_prune.errors import CheckpointError, no_folder, one_line
from mlx_prune.paths import expanded, looks_like_hub_id


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk: all that is known of it comes from here.

    Its folder is found, or downloaded, when it is first asked for; headers and configuration are read once.

    Attributes:
        given: What the user called it: a folder, a Hub id ("org/name"), or "demo" for the embedded model.
        trust_remote_code: Also fetch the Python files that it brings along, and let them run.
    """

    given: str | Path
    trust_remote_code: bool = False

    @classmethod
    def open(cls, model: Checkpoint | str | Path, *, trust_remote_code: bool = False) -> Checkpoint:
        """Find a model now; of a checkpoint, ``trust_remote_code`` is said already.

        Raises:
            CheckpointError: There is no such folder or model, or it cannot be reached.
        """
        found = model if isinstance(model, Checkpoint) else cls(model, trust_remote_code)
        _ = found.path
        return found

    @property
    def name(self) -> str:
        """What it is called in a record, where a folder is not to be taken for a Hub id."""
        name = str(self.given)
        return f"./{name}" if looks_like_hub_id(name) and expanded(name).is_dir() else name

    @cached_property
    def path(self) -> Path:
        """Its local folder, which holds a config.json.

        Raises:
            CheckpointError: There is no such folder or model, or it cannot be reached.
        """
        return _folder(self.given, self.trust_remote_code)

    @cached_property
    def shards(self) -> Shards:
        """Its weight files.

        Raises:
            CheckpointError: As :func:`~mlx_prune.checkpoint.shards.open_shards` does.
        """
        return open_shards(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config.json, made to say what mlx-lm reads; see :func:`.read_config`."""
        return read_config(self.path)

    @cached_property
    def quick_hash(self) -> str:
        """What its weights, and adapters beside them, are recognized by (:func:`.quick_hash`)."""
        return quick_hash(self.shards, [] if self.adapters is None else [self.adapters])

    @property
    def adapters(self) -> Path | None:
        """Low-rank adapters that a recovery left beside quantized weights; :meth:`load` adds them."""
        return adapters_of(self.path)

    @property
    def nbytes(self) -> int:
        """Bytes of its weight files, and of adapters beside them."""
        return self.shards.nbytes + (0 if self.adapters is None else self.adapters.stat().st_size)

    @property
    def stored_dtype(self) -> str:
        """The float type that most of its weights are stored in: "float32", "bfloat16" or "float16"."""
        sizes: dict[str, int] = {}
        for info in self.shards.tensors.values():
            if info.dtype in FLOATS:
                sizes[info.dtype] = sizes.get(info.dtype, 0) + info.nbytes
        return FLOATS[max(sizes, key=lambda key: sizes[key])] if sizes else "float32"

    def compute_dtype(self, dtype: str) -> str:
        """The type that a model computes in if it is asked for as ``dtype``; see :func:`load`."""
        if dtype == "auto" and backend() == "cpu":
            return "float32"
        return self.stored_dtype if dtype in ("auto", "stored") else dtype

    def network(self, dtype: str = "stored", *, lazy: bool = True) -> nn.Module:
        """The network alone, without adapters.

        Args:
            dtype: As in :func:`load`; or "stored", each weight in the type that the files hold it in.
            lazy: Leave each weight on disk until it is used.

        Raises:
            CheckpointError: As :func:`load`.
        """
        return self.network_and_config(dtype, lazy=lazy)[0]

    def network_and_config(self, dtype: str, *, lazy: bool = True) -> tuple[nn.Module, dict[str, Any]]:
        """The network, and the configuration as mlx-lm completed it (end tokens, format of quantization)."""
        path, tensors = self.path, self.shards.tensors
        if dtype not in (*DTYPES, "stored"):
            raise CheckpointError(f"Unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}.")
        if glob.has_magic(str(path)):
            raise CheckpointError(f"mlx-lm takes the *, ? or [ in {path} for a pattern; rename the folder.")
        check_plausible(path, self.config, len(tensors))
        if self.config.get("model_file") is not None and not self.trust_remote_code:
            raise CheckpointError(
                f"{path} brings its own Python code ({self.config['model_file']}); "
                "it runs only if you trust it explicitly."
            )
        trust = {"trust_remote_code": True} if self.trust_remote_code else {}
        changed = _decode_tagged_floats(entries_changed(path, self.config))
        said = io.StringIO()
        try:
            # Some architectures print, and stdout is the caller's; one leaves the process.
            with contextlib.redirect_stdout(said):
                network, config = _mlx_lm_load_model(path, lazy=True, model_config=changed, **trust)
        except (Exception, SystemExit) as error:  # whatever an architecture's constructor or loader raises
            reason = said.getvalue().strip(" .\n") if isinstance(error, SystemExit) else one_line(error)
            raise CheckpointError(f"mlx-lm cannot load {path}: {reason}.") from error
        check_rope(network, config, str(path / CONFIG_FILE))
        if dtype != "stored":
            network.set_dtype(getattr(mx, self.compute_dtype(dtype)))
        if not lazy:
            mx.eval(network.parameters())
        return network, config

    def on_disk(self, dtype: str) -> OnDisk:
        """The network in a compute type, its weights on disk until a block is brought in."""
        return OnDisk(self, self.network(dtype), self.compute_dtype(dtype))

    def weights(self) -> dict[str, mx.array]:
        """All weights as stored, by mlx-lm's names and in its shapes, lazy."""
        return weights_of(self.network())

    def matrices(self) -> list[PrunableLinear]:
        """The prunable matrices, as stored, lazy."""
        return prunable_linears(self.network())

    def costs(self, network: nn.Module | None = None) -> Costs:
        """What the model costs; of its network, if it is open already, nothing is evaluated."""
        return costs_of(self.network() if network is None else network, self.config, self.shards)

    def tokenizer(self) -> OpenedTokenizer:
        """Its tokenizer.

        Raises:
            CheckpointError: It is absent or damaged.
        """
        return open_tokenizer(self.path, trust_remote_code=self.trust_remote_code)

    def load(self, dtype: str = "auto", *, lazy: bool = False) -> LoadedModel:
        """Network and tokenizer; see :func:`load`."""
        network, config = self.network_and_config(dtype, lazy=lazy)
        if self.adapters is not None:
            add_adapters(network, self.path)
            mx.eval([] if lazy else network.parameters())
        opened = self.tokenizer()
        return LoadedModel(
            self.name, self, network, opened.tokenizer, config, self.compute_dtype(dtype), opened.notes
        )


@dataclass(frozen=True)
class OnDisk:
    """A network whose weights lie on disk; each block is brought in, worked on and let go.

    Attributes:
        checkpoint: Where they lie.
        network: In evaluation mode, in the compute type.
        compute: The compute type.
    """

    checkpoint: Checkpoint
    network: nn.Module
    compute: str

    @cached_property
    def linears(self) -> list[PrunableLinear]:
        """The prunable matrices."""
        return prunable_linears(self.network)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run.

    Attributes:
        name: What it is called in tables and records.
        checkpoint: Where it comes from.
        model: The mlx-lm model, in evaluation mode.
        tokenizer: mlx-lm's ``TokenizerWrapper``.
        config: The checkpoint's config.json.
        dtype: The compute type: "float32", "bfloat16" or "float16".
        notes: What was put right in loading, as sentences for people.
    """

    name: str
    checkpoint: Checkpoint
    model: nn.Module
    tokenizer: Any
    config: dict[str, Any]
    dtype: str
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Its local folder."""
        return self.checkpoint.path


def load(
    model: str | Path, *, dtype: str = "auto", lazy: bool = False, trust_remote_code: bool = False
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        model: A folder, a Hub id ("org/name"), or "demo".
        dtype: Compute type. "auto" keeps the checkpoint's on a GPU and takes float32 on a CPU, where half
            precision products are some fifty times slower. Widening is exact.
        lazy: Leave each weight on disk until it is used.
        trust_remote_code: Run the Python files that the checkpoint brings along.

    Returns:
        The model, in evaluation mode, with its tokenizer and config.

    Raises:
        CheckpointError: The folder is missing, incomplete or damaged, or mlx-lm does not know the
            architecture.
    """
    return Checkpoint.open(model, trust_remote_code=trust_remote_code).load(dtype, lazy=lazy)


def _folder(model: str | Path, trust_remote_code: bool) -> Path:
    """The local folder of a model, which holds a config.json."""
    if model == "demo":
        from mlx_prune import demo

        return Path(demo.model_path())
    path = expanded(model)
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise CheckpointError(f"{path} holds no config.json, so it is not a model folder.")
        for entry in path.iterdir():
            # Whoever opens a FIFO waits for its writer, which no library below us thinks of.
            if entry.exists() and not entry.is_file() and not entry.is_dir():
                raise CheckpointError(f"{entry} is neither a file nor a folder; remove it.")
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a file; give the folder that holds config.json and the weights.")
    if isinstance(model, Path) or not looks_like_hub_id(model):
        raise no_folder(model)
    return download(model, trust_remote_code=trust_remote_code)
