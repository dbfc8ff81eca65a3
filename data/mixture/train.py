"""Make a small mixture of experts of the embedded model, and train it on the corpus of that model.

The neurons of every MLP are dealt out twice, each time to four experts whose outputs are scaled up (as Zhu et
al. 2024, arXiv 2406.16554, make a mixture of LLaMA), behind a router that chooses two of the eight. MLX
trains it on the CPU; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlx_prune  # first: puts OpenBLAS in front of MLX's BLAS on Linux

sys.path.insert(0, str(Path(__file__).parent.parent / "demo"))

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import mixtral
from samples import Encoder, Sample, Stage, text_rows
from tokenizers import Tokenizer

EXPERTS, PER_TOKEN = 8, 2
DEALS = 2  # each neuron is in so many experts
BALANCE = 0.01  # weight of the loss that spreads tokens over experts (Fedus et al. 2022, arXiv 2101.03961)
CHATS = Stage(0, "", 0.0, letters=1, persons=1, traits=2, study=10, wordy=1, pointing=1, settled=0.5)
ROWS, ROW = 2, 128
DENSE = Path(mlx_prune.__file__).parent / "demo" / "model"


def upcycled(seed: int) -> tuple[mixtral.Model, dict[str, object]]:
    """The embedded model with its MLPs dealt out to experts, and its configuration."""
    dense = json.loads((DENSE / "config.json").read_text())
    config = dense | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "intermediate_size": DEALS * dense["intermediate_size"] // EXPERTS,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": PER_TOKEN,
        "sliding_window": None,
    }
    weights: dict[str, mx.array] = mx.load(str(DENSE / "model.safetensors"))  # type: ignore[assignment]
    rng = np.random.default_rng(seed)
    found = {name: values for name, values in weights.items() if ".mlp." not in name}
    for block in range(dense["num_hidden_layers"]):
        own = f"model.layers.{block}.block_sparse_moe"
        parts = {
            name: np.array(weights[f"model.layers.{block}.mlp.{name}.weight"])
            for name in ("gate_proj", "up_proj", "down_proj")
        }
        neurons = parts["gate_proj"].shape[0]
        dealt = np.concatenate([rng.permutation(neurons) for _ in range(DEALS)]).reshape(EXPERTS, -1)
        found[f"{own}.switch_mlp.gate_proj.weight"] = mx.array(parts["gate_proj"][dealt])
        found[f"{own}.switch_mlp.up_proj.weight"] = mx.array(parts["up_proj"][dealt])
        # The weights of a token's experts add up to one, and one holds a part of the neurons.
        down = parts["down_proj"].T[dealt].swapaxes(1, 2) * (EXPERTS / DEALS)
        found[f"{own}.switch_mlp.down_proj.weight"] = mx.array(down)
        router = rng.normal(0, 0.02, (EXPERTS, parts["gate_proj"].shape[1]))
        found[f"{own}.gate.weight"] = mx.array(router.astype(np.float32))
    model = mixtral.Model(mixtral.ModelArgs.from_dict(config))
    model.load_weights(list(found.items()))
    return model, config


def batches(seed: int) -> Iterator[tuple[mx.array, mx.array]]:
    """Endless steps: ids and the weight of each as a target, [samples, length], right-padded."""
    encoder = Encoder(Tokenizer.from_file(str(DENSE / "tokenizer.json")))
    rng, text = random.Random(seed), text_rows(encoder, seed, ROW)
    while True:
        chats, lists = CHATS.draw(encoder, rng)
        samples: list[Sample] = [*chats, *lists, *(next(text) for _ in range(ROWS))]
        length = -(-max(len(sample.ids) for sample in samples) // 32) * 32  # few shapes
        ids = np.zeros((len(samples), length), dtype=np.int32)
        weights = np.zeros((len(samples), length), dtype=np.float32)
        for row, sample in enumerate(samples):
            ids[row, : len(sample.ids)], weights[row, : len(sample.ids)] = sample.ids, sample.weights
        yield mx.array(ids), mx.array(weights)


def loss_of(model: mixtral.Model, ids: mx.array, weights: mx.array) -> tuple[mx.array, mx.array]:
    """What is trained on, and the weighted cross entropy alone."""
    logits_of_routers: list[mx.array] = []
    gates = [layer.block_sparse_moe.gate for layer in model.layers]

    class Heard(nn.Linear):
        def __call__(self, x: mx.array) -> mx.array:
            out = super().__call__(x)
            logits_of_routers.append(out)
            return out

    for gate in gates:
        gate.__class__ = Heard
    logits = model(ids[:, :-1])
    for gate in gates:
        gate.__class__ = nn.Linear
    wanted = weights[:, 1:]
    entropy = nn.losses.cross_entropy(logits, ids[:, 1:])
    loss = (entropy * wanted).sum() / wanted.sum()
    real = (ids[:, :-1] > 0)[..., None].astype(mx.float32)
    balance = mx.array(0.0)
    for heard in logits_of_routers:
        shares = mx.softmax(heard, axis=-1)
        kth = mx.sort(heard, axis=-1)[..., -PER_TOKEN : -PER_TOKEN + 1]
        routed = mx.stop_gradient((heard >= kth).astype(mx.float32))
        tokens = real.sum()
        balance = (
            balance
            + EXPERTS
            / PER_TOKEN
            * (
                ((routed * real).sum(axis=(0, 1)) / tokens) * ((shares * real).sum(axis=(0, 1)) / tokens)
            ).sum()
        )
    return loss + BALANCE * balance, loss


def train(out: Path, seed: int, steps: int, rate: float) -> None:
    """Train, and write a folder that mlx-lm loads."""
    mx.random.seed(seed)
    model, config = upcycled(seed)
    warm = max(1, steps // 20)
    rates = [optim.linear_schedule(0.0, rate, warm), optim.cosine_decay(rate, steps, rate / 50)]
    schedule = optim.join_schedules(rates, [warm])
    optimizer = optim.AdamW(schedule, betas=[0.9, 0.95], weight_decay=0.0)
    step_of = nn.value_and_grad(model, loss_of)
    start, shown = time.process_time(), []
    for step, (ids, weights) in enumerate(batches(seed)):
        if step == steps:
            break
        (_, loss), gradients = step_of(model, ids, weights)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state, loss)
        shown.append(loss.item())
        if (step + 1) % 10 == 0:
            minutes = (time.process_time() - start) / 60
            print(f"step {step + 1}: loss {np.mean(shown):.4f}, {minutes:.1f} min of CPU", flush=True)
            shown = []
    save(model, config, out)


def save(model: mixtral.Model, config: dict[str, object], out: Path) -> None:
    """As the Hub holds Mixtral: experts one by one."""
    out.mkdir(parents=True, exist_ok=True)
    theirs = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    tensors = {}
    for name, values in tree_flatten(model.parameters()):
        prefix, _, projection = name.partition(".switch_mlp.")
        if projection:
            last = theirs[projection.removesuffix(".weight")]
            tensors |= {f"{prefix}.experts.{e}.{last}.weight": mx.array(m) for e, m in enumerate(values)}
        else:
            tensors[name] = values
    mx.save_safetensors(str(out / "model.safetensors"), tensors, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(DENSE / name, out / name)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    train(args.out, args.seed, args.steps, args.rate)


if __name__ == "__main__":
    main()
