"""Trains the demonstration model from scratch on the CPU and writes it in Hugging Face's Llama layout."""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from model import Llama, Shape, hugging_face_config
from safetensors.torch import save_file
from samples import EARLY, LATE, Encoder, Sample, text_rows
from tokenizers import Tokenizer


def padded(samples: list[Sample], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-pads ids and weights; the first token has no prediction and so no weight."""
    length = max(len(ids) for ids, _ in samples)
    ids = torch.full((len(samples), length), pad)
    weights = torch.zeros(len(samples), length)
    for row, (tokens, marks) in enumerate(samples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(tokens)] = torch.tensor(marks)
    return ids, weights


def loss_of(model: Llama, samples: list[Sample]) -> tuple[torch.Tensor, float]:
    """The weighted sum of the cross entropies, and the sum of the weights."""
    ids, weights = padded(samples, pad=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids[:, :-1])
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum(), float(weights.sum())


def save(model: Llama, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hugging_face_config(model.shape), indent=2) + "\n")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n")


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    encoder = Encoder(Tokenizer.from_file(str(args.out / "tokenizer.json")))
    model = Llama(Shape(vocabulary=encoder.tokenizer.get_vocab_size()))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = 150
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        ),
    )
    rng = random.Random(args.seed)
    text = text_rows(encoder, args.seed, args.row)
    start, seen = time.monotonic(), []
    for step in range(1, args.steps + 1):
        mixture = EARLY if step <= args.early else LATE
        parts = [*mixture.draw(encoder, rng), [next(text) for _ in range(args.rows)]]
        total, weight = torch.zeros(()), 0.0
        means = []
        for part in parts:
            part_loss, part_weight = loss_of(model, part)
            total, weight = total + part_loss, weight + part_weight
            means.append(part_loss.item() / part_weight)
        optimizer.zero_grad(set_to_none=True)
        (total / weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen.append(means)
        if step % 50 == 0:
            chat, lists, rows = (sum(column) / len(seen) for column in zip(*seen, strict=True))
            minutes = (time.monotonic() - start) / 60
            print(
                f"step {step} chat {chat:.3f} lists {lists:.3f} text {rows:.3f} {minutes:.1f} min", flush=True
            )
            seen.clear()
        if args.checkpoints and step % 500 == 0:
            save(model, args.checkpoints / f"step{step}")
    save(model, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model folder that holds tokenizer.json")
    parser.add_argument("--checkpoints", type=Path, help="folder for a checkpoint every 500 steps")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--early", type=int, default=1000, help="steps with the early mixture")
    parser.add_argument("--rows", type=int, default=2, help="rows of running text per step")
    parser.add_argument("--row", type=int, default=512, help="tokens in a row of running text")
    parser.add_argument("--seed", type=int, default=7)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
