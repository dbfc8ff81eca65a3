"""Records per second: the batched engine, the sequential engine, and a plain loop over mlx_lm.generate.

    python bench/records_per_second.py [MODEL] [--bbq demo] [--items 60] [--rounds 3] [--batch-size N]
    python bench/records_per_second.py MODEL --bbq DIR --items 200 --neighbours --one-by-one 100
    python bench/records_per_second.py MODEL --shape 1b      (random weights of that shape, MODEL's tokenizer)

Items are spread over the whole source, as `--limit` takes them, or (`--neighbours`) its first ones, which
share more. What asks one item at a time costs the same for each, and may be timed on `--one-by-one N` of
them, spread over all.

The plain loop calls `mlx_lm.generate` once per item and seed, as the published study did, with this project's
keyed sampler so that its answers can be compared. The three take turns in a random order, all on the same
items; printed are the medians over the rounds and the paired ratios to the plain loop, by the wall clock and
by CPU time (which says more where the machine is shared, and nothing on a GPU). Answers must be
identical; each difference is listed with the distance of the two best scores where the answers part. A last,
profiled pass shows where the batched engine's time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)

import mlx.core as mx  # isort: skip
import mlx.nn as nn
from mlx_lm import generate
from mlx_lm.models import llama
from mlx_lm.models.cache import make_prompt_cache

from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.prompts import PromptBuilder
from mlx_prune.checkpoint import open as checkpoints
from mlx_prune.environment import backend, device, versions
from mlx_prune.generation.engines import make_engine
from mlx_prune.generation.forest import plant
from mlx_prune.generation.interface import GenerationSettings, Prompt
from mlx_prune.generation.sampling import Noise, StreamSampler, log_probabilities, perturb

# hidden size, intermediate size, blocks, heads
SHAPES = {"1b": (2048, 8192, 16, 32), "100m": (768, 2048, 12, 12)}
# Functions of the batched engine whose own or cumulative time tells a stage.
STAGES = {
    "root": "what all prompts begin with",
    "prefill": "the prompts, first-token logits",
    "advance": "decode forwards, noise and draws",
    "finished": "text of the answers",
    "plant": "arranging the prompts",
}

PLAIN = "plain mlx_lm.generate loop"
Answers = dict[tuple[str, int], str]


def random_model(shape: str, vocabulary: int) -> nn.Module:
    """A llama with random bf16 weights."""
    hidden, intermediate, blocks, heads = SHAPES[shape]
    arguments = llama.ModelArgs(
        model_type="llama",
        rms_norm_eps=1e-5,
        vocab_size=vocabulary,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
    )
    mx.random.seed(0)
    model = llama.Model(arguments)
    model.set_dtype(mx.bfloat16)
    mx.eval(model.parameters())
    return model.eval()


def plain_loop(
    model: nn.Module, tokenizer: Any, settings: GenerationSettings, prompts: list[Prompt], noise: Noise
) -> Answers:
    """One mlx_lm.generate per item and seed."""
    return {
        (prompt.item_id, seed): generate(
            model,
            tokenizer,
            list(prompt.tokens),
            max_tokens=settings.max_tokens,
            sampler=StreamSampler(settings, noise, seed, prompt.item_id),
        )
        for prompt in prompts
        for seed in settings.seeds
    }


def with_engine(engine: Any, prompts: list[Prompt]) -> Answers:
    """All answers of an engine."""
    return {(a.item_id, a.seed): a.text for batch in engine.answer(prompts) for p in batch for a in p.answers}


def margin(model: nn.Module, settings: GenerationSettings, noise: Noise, prompt: Prompt, seed: int) -> float:
    """Smallest distance of the two best scores over the draws of one answer."""
    tokens, cache, closest = list(prompt.tokens), make_prompt_cache(model), float("inf")
    logits = model(mx.array([tokens]), cache=cache)[:, -1]
    for step in range(settings.max_tokens):
        scores = log_probabilities(logits)
        if settings.temperature > 0:
            scores = perturb(scores, settings.temperature, noise.draw([(seed, prompt.item_id)], step))
        best = mx.sort(scores[0])[-2:]
        closest = min(closest, float((best[1] - best[0]).item()))
        logits = model(mx.argmax(scores, axis=-1, keepdims=True), cache=cache)[:, -1]
    return closest


def ratio(times: dict[str, list[float]], name: str) -> float:
    """How many times faster than the plain loop: the median over the rounds."""
    return statistics.median(p / t for p, t in zip(times[PLAIN], times[name], strict=True))


def where_time_goes(engine: Any, prompts: list[Prompt]) -> list[tuple[str, float]]:
    """Seconds per stage of the batched engine, from a profiled pass."""
    clock = time.process_time if backend() == "cpu" else time.perf_counter
    profile = cProfile.Profile(clock)
    start = clock()
    profile.runcall(with_engine, engine, prompts)
    total = clock() - start
    found = dict.fromkeys(STAGES.values(), 0.0)
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if "mlx_prune/generation" in file and name in STAGES:
            # MLX is lazy: a forward's time is spent where its result is first looked at.
            found[STAGES[name]] += cumulative
    found["building the computations (Python)"] = total - sum(found.values())
    return sorted(found.items(), key=lambda stage: -stage[1])


def main() -> int:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--bbq", default="demo")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", action="store_true")
    parser.add_argument("--one-by-one", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--noise", choices=["item", "seed"], default="item")
    parser.add_argument("--shape", choices=sorted(SHAPES))
    options = parser.parse_args()

    loaded = checkpoints.load(options.model)
    model, tokenizer = loaded.model, loaded.tokenizer
    if options.shape:
        model = random_model(options.shape, len(tokenizer))
    builder = PromptBuilder(tokenizer)
    if options.neighbours:
        items = load_items(options.bbq)[: options.items]
    else:
        items = load_items(options.bbq, limit=options.items)
    prompts = [Prompt(item.item_id, tuple(builder.tokens(item))) for item in items]
    settings = GenerationSettings(noise=options.noise)
    vocabulary = int(model(mx.array([[1]])).shape[-1])
    noise = Noise(settings.noise, vocabulary)
    batched = make_engine("batched", model, tokenizer, settings, batch_size=options.batch_size)
    sequential = make_engine("sequential", model, tokenizer, settings)
    step = max(1, len(prompts) // (options.one_by_one or len(prompts)))
    some = prompts[::step]
    ways: dict[str, Callable[[], Answers]] = {
        "batched engine": lambda: with_engine(batched, prompts),
        "sequential engine": lambda: with_engine(sequential, some),
        PLAIN: lambda: plain_loop(model, tokenizer, settings, some, noise),
    }
    # The first use of an engine measures the model and probes it; a long run pays for that once.
    with_engine(batched, prompts[:2])
    plain_loop(model, tokenizer, settings, prompts[:1], noise)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, Answers] = {}
    order = random.Random(0)
    for _ in range(options.rounds):
        for name in order.sample(sorted(ways), len(ways)):
            start, cpu_start = time.perf_counter(), time.process_time()
            answers[name] = ways[name]()
            # Per record, so that a part of the items may stand for all.
            seconds[name].append((time.perf_counter() - start) / len(answers[name]))
            cpu[name].append((time.process_time() - cpu_start) / len(answers[name]))

    plain = answers[PLAIN]
    records = len(answers["batched engine"])
    by_id = {prompt.item_id: prompt for prompt in prompts}
    machine, version = device(), versions()
    print(
        f"{records} records, {loaded.name}{f' in shape {options.shape}' if options.shape else ''}, ", end=""
    )
    print(f"{machine['machine']}, {machine['cores']} cores, {machine['backend']}, mlx {version['mlx']}")
    print("| way | records/s | times the plain loop | CPU ms/record | times the plain loop | identical |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in ways:
        same = sum(answers[name][key] == text for key, text in plain.items())
        rate, work = 1 / statistics.median(seconds[name]), statistics.median(cpu[name])
        print(f"| {name} | {rate:.1f} | {ratio(seconds, name):.1f} | ", end="")
        print(f"{1000 * work:.2f} | {ratio(cpu, name):.1f} | {same} of {len(plain)} |")
    differing = [key for key, text in plain.items() if answers["batched engine"][key] != text]
    for item_id, seed in differing:
        closest = margin(model, settings, noise, by_id[item_id], seed)
        print(f"differs: {item_id} seed {seed}, two best scores of a draw within {closest:.1e}")
    total = sum(len(prompt.tokens) for prompt in prompts)
    computed = plant(prompts, batched.batch_size or 1).computed_tokens()
    print(f"\nprompt tokens computed: {computed} of {total * len(settings.seeds)} of the plain loop")
    stages = where_time_goes(batched, prompts)
    whole = sum(share for _, share in stages)
    print("| where the batched engine's time goes | share |\n|---|---|")
    for stage, share in stages:
        print(f"| {stage} | {share / whole:.0%} |")
    if batched.note:
        print(batched.note)
    print(
        json.dumps(
            {
                "seconds_per_record": seconds,
                "cpu_seconds_per_record": cpu,
                "batch_size": batched.batch_size,
                "differing": len(differing),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
