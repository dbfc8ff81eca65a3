"""What the study's Gemma-2 checkpoint would say on its card."""

from __future__ import annotations

from typing import Any

from mlx_prune.cards.base import BaseModel
from mlx_prune.cards.results import CardResults, Figure

# The study's Gemma-2 checkpoint: Wanda at "50 %".
META: dict[str, Any] = {
    "model": "google/gemma-2-9b-it",
    "method": "wanda",
    "command": "mlxprune prune google/gemma-2-9b-it -o OUT -m wanda -s 50 --scope paper",
    "target_sparsity": 50.0,
    "actual_sparsity": 33.333333,
    "total_prunable_params": 8323596288,
    "zero_params": 2774532096,
    "prune_time_s": 335.912,
    "pattern": None,
    "scope": "paper",
    "statistics": "dense",
    "seed": 0,
    "calibration": {"source": "c4", "samples": 128, "sequence_length": 2048, "sha256": "ab" * 32},
    "projections": {"self_attn.q_proj": {"params": 8, "zeros": 4, "sparsity": 50.0}},
    "warnings": ["Actual sparsity is 33.33 %, short of the target of 50 %."],
    "versions": {"mlx-prune": "0.1.0", "mlx": "0.32.4"},
}
RESULTS = CardResults(
    perplexity=Figure(13.1, 8.94),
    perplexity_text="Tulu 3 SFT mixture, 256 x 512 tokens",
    srs=Figure(0.065, 0.061),
    srs_by_category={"Age": Figure(0.193, 0.2, 0.18, 0.207), "Race_ethnicity": Figure(0.014, 0.013)},
    usr=Figure(0.9, 0.91),
    anti_rate=Figure(0.035, 0.029),
    parse_failure_rate=Figure(0.001, 0.0),
    emergence=0.013,
    emergence_null=0.011,
    latency_s=Figure(0.455, 0.456),
    latency_ratio=Figure(0.998, None, 0.98, 1.02),
    size_bytes=Figure(18.48e9, 18.48e9),
    items=12148,
    seeds=5,
    temperature=0.3,
    bbq="hub",
    device="Apple M3 Max",
)
GEMMA = BaseModel("gemma-2-9b-it", "google/gemma-2-9b-it", license="gemma", language=("en",))
