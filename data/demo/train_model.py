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
from samples import STAGES, Encoder, Sample, text_rows
from tokenizers import Tokenizer

WARM_UP = 40
SHOWN_EVERY = 25
TEXT_EVERY = 4


def padded(samples: list[Sample], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-pads ids and weights; the first token has no prediction and so no weight."""
    length = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), length), pad)
    weights = torch.zeros(len(samples), length)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        weights[row, : len(sample.ids)] = torch.tensor(sample.weights)
    return ids, weights


class Progress:
    """Loss and accuracy of each kind of answer since they were last shown."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(self, samples: list[Sample], losses: torch.Tensor, right: torch.Tensor) -> None:
        for row, sample in enumerate(samples):
            for place in sample.answers:
                entry = self.sums.setdefault(sample.kind, [0.0, 0.0, 0.0])
                entry[0] += 1
                entry[1] += losses[row, place - 1].item()
                entry[2] += right[row, place - 1].item()

    def loss(self, kind: str) -> float:
        count, loss, _ = self.sums.get(kind, [0.0, 0.0, 0.0])
        return loss / count if count else math.inf

    def __str__(self) -> str:
        return ", ".join(f"{kind} {s[1] / s[0]:.3f} ({s[2] / s[0]:.0%})" for kind, s in self.sums.items())


def loss_of(model: Llama, samples: list[Sample], progress: Progress) -> tuple[torch.Tensor, float]:
    """The weighted sum of the cross entropies, and the sum of the weights.

    Where an answer leads through a person, the middle of the network is asked for that person: the blocks
    above then only have to find it among the options. Without this the model answers in words, but gives
    the letters of the two people at random.
    """
    ids, weights = padded(samples, pad=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, middle = model.hidden_and_middle(ids[:, :-1])
    logits = F.linear(hidden.float(), model.lm_head.weight)
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    losses = losses.view(len(samples), -1)
    progress.add(samples, losses.detach(), logits.detach().argmax(-1) == ids[:, 1:])
    total, weight = (losses * weights[:, 1:]).sum(), float(weights[:, 1:].sum())
    asked = [
        (row, place - 1, person)
        for row, sample in enumerate(samples)
        for place, person in zip(sample.answers, sample.persons, strict=True)
        if person is not None
    ]
    if asked:
        rows, places, persons = (list(column) for column in zip(*asked, strict=True))
        said = model.middle_logits(middle[rows, places].float())
        total = total + F.cross_entropy(said, torch.tensor(persons), reduction="sum")
        weight += len(asked)
    return total, weight


def save(model: Llama, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name if name.startswith("lm_head") else f"model.{name}": value.contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hugging_face_config(model.shape), indent=2) + "\n")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n")


def optimizers(model: Llama, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for the rest."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("layers")]
    others = [p for name, p in model.named_parameters() if p.ndim == 1 or not name.startswith("layers")]
    return [
        torch.optim.Muon(inside, lr=rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    encoder = Encoder(Tokenizer.from_file(str(args.out / "tokenizer.json")))
    model = Llama(Shape(vocabulary=encoder.tokenizer.get_vocab_size()))
    model.start()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    steppers = optimizers(model, args.rate)
    rates = [stepper.param_groups[0]["lr"] for stepper in steppers]
    rng = random.Random(args.seed)
    text = text_rows(encoder, args.seed, args.row)
    start, step = time.monotonic(), 0
    for number, stage in enumerate(STAGES):
        last = number == len(STAGES) - 1
        progress = Progress()
        for stage_step in range(1, stage.steps + 1):
            step += 1
            # linear warm-up at the very start, linear decay over the last stage
            pace = min(step / WARM_UP, max(0.02, 1 - stage_step / stage.steps) if last else 1.0)
            for stepper, rate in zip(steppers, rates, strict=True):
                stepper.param_groups[0]["lr"] = rate * pace
            parts = [
                *stage.draw(encoder, rng),
                [next(text)] if step % TEXT_EVERY == 0 else [],
            ]
            total, weight = torch.zeros(()), 0.0
            for part in filter(None, parts):
                part_loss, part_weight = loss_of(model, part, progress)
                total, weight = total + part_loss, weight + part_weight
            model.zero_grad(set_to_none=True)
            (total / weight).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for stepper in steppers:
                stepper.step()
            if stage_step % SHOWN_EVERY == 0:
                minutes = (time.monotonic() - start) / 60
                print(
                    f"stage {number} step {step}: {progress}, {minutes:.1f} min",
                    flush=True,
                )
                if progress.loss(stage.enough) < stage.below:
                    break
                progress = Progress()
        if args.checkpoints:
            save(model, args.checkpoints / f"stage{number}")
    save(model, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model folder that holds tokenizer.json")
    parser.add_argument("--checkpoints", type=Path, help="folder for a checkpoint after every stage")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.008,
        help="learning rate of the matrices in the blocks",
    )
    parser.add_argument("--row", type=int, default=256, help="tokens in a row of running text")
    parser.add_argument("--seed", type=int, default=7)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
