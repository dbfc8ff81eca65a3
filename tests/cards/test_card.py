"""Model cards: valid for the Hub, complete about what was done, silent about what was not measured."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from example_card import GEMMA, META, RESULTS
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.cards.base import BaseModel, base_model, card_metadata, with_card
from mlx_prune.cards.card import CARD_FILE, model_card, write_card
from mlx_prune.cards.results import CardResults, Figure
from mlx_prune.checkpoint.record import META_FILE, PruningRecord
from mlx_prune.errors import CheckpointError


def table_rows(card: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


def test_metadata_carry_the_published_tags_and_the_inherited_license():
    data = ModelCard(model_card(PruningRecord.of(META), base=GEMMA)).data.to_dict()
    assert data["license"] == "gemma"
    assert data["base_model"] == "google/gemma-2-9b-it"
    assert data["library_name"] == "mlx"
    assert data["language"] == ["en"]
    assert data["tags"] == [
        "pruning",
        "wanda",
        "bias-evaluation",
        "llm-compression",
        "arxiv:2605.08137",
        "research-only",
    ]


@pytest.mark.parametrize("results", [None, RESULTS])
def test_card_survives_a_round_trip_through_the_hub_library(results: CardResults | None):
    text = model_card(PruningRecord.of(META), results, base=GEMMA)
    card = ModelCard(text)
    assert str(card) == text
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


def test_sections_stand_in_the_published_order():
    card = model_card(PruningRecord.of(META), RESULTS, base=GEMMA)
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Pruning configuration",
        "## Measured effects",
        "## Caveats for edge deployment",
        "## Use",
        "## Reproduce",
        "## Citation",
    ]
    assert card.index("not for production use") < card.index(headings[0])
    assert "2605.08137" in card.split("## Citation")[1]


def test_configuration_states_target_actual_zeros_time_scope_and_calibration():
    section = (
        model_card(PruningRecord.of(META), base=GEMMA).split("## Pruning configuration")[1].split("## ")[0]
    )
    for said in (
        "50%",
        "33.33%",
        "2,774,532,096 of 8,323,596,288",
        "335.9 s",
        "o_proj and down_proj",
        "128 samples of 2048 tokens from C4",
        "abababababab",
        "self_attn.q_proj 50.00%",
        "short of the target",
    ):
        assert said in section


def test_every_measurement_stands_beside_its_dense_reference():
    rows = table_rows(model_card(PruningRecord.of(META), RESULTS, base=GEMMA))
    assert rows["Perplexity (Tulu 3 SFT mixture, 256 x 512 tokens)"] == ["13.10", "dense 8.94 (+46.5%)"]
    assert rows["SRS (mean over categories)"] == ["0.065", "dense 0.061 (+0.004); chance is 0.333"]
    assert rows["SRS, Age"] == ["0.193 (95 % CI 0.180 to 0.207)", "dense 0.200 (-0.007)"]
    assert rows["SRS, Race ethnicity"][0] == "0.014"
    assert rows["Answers without a letter"] == ["0.001", "dense 0.000 (+0.001)"]
    assert rows["New-bias-emergence rate"][0] == "1.30%"
    assert "1.10%" in rows["New-bias-emergence rate"][1]
    assert rows["Latency of one answer"] == ["0.455 s", "dense 0.456 s (-0.2%)"]
    assert "0.980 to 1.020" in rows["Latency, pruned over dense"][1]
    assert rows["Weights on disk"] == ["18.48 GB", "dense 18.48 GB (+0.0%)"]


@pytest.mark.parametrize(
    ("source", "said"),
    [("hub", "12,148 items of BBQ (Elfsong/BBQ) asked under 5 seeds"), ("demo", "which is not BBQ, asked")],
)
def test_card_says_which_questions_were_asked(source: str, said: str):
    assert said in model_card(PruningRecord.of(META), replace(RESULTS, bbq=source), base=GEMMA)


def test_card_without_results_claims_nothing():
    card = model_card(PruningRecord.of(META), base=GEMMA)
    assert not table_rows(card)
    assert "has **not** been measured" in card
    effects = card.split("## Measured effects")[1].split("## ")[0]
    assert "None yet" in effects
    assert not any(character.isdigit() for character in effects)


@given(
    st.sets(
        st.sampled_from(
            ["perplexity", "srs", "usr", "anti_rate", "parse_failure_rate", "latency_s", "size_bytes"]
        )
    ),
    st.floats(0.001, 0.999),
)
def test_only_measured_rows_appear_and_without_dense_none_is_invented(names: set[str], value: float):
    results = CardResults(**{name: Figure(value) for name in names})
    rows = table_rows(model_card(PruningRecord.of(META), results, base=GEMMA))
    rows.pop("Metric", None)
    assert len(rows) == len(names)
    assert all("dense model not measured" in reference for _, reference in rows.values())


@pytest.mark.parametrize(
    ("value", "dense", "shown"),
    [
        (5477545.0, 8.94, ["5,477,545", "dense 8.94 (+61269978.3%)"]),
        (math.inf, 8.94, ["over any bound", "dense 8.94"]),
    ],
)
def test_exploding_perplexity_stays_readable(value: float, dense: float, shown: list[str]):
    results = CardResults(perplexity=Figure(value, dense))
    assert table_rows(model_card(PruningRecord.of(META), results, base=GEMMA))["Perplexity"] == shown


def test_the_recorded_command_is_shown_and_its_absence_said():
    section = model_card(PruningRecord.of(META), base=GEMMA).split("## Reproduce")[1].split("## ")[0]
    assert section == f"\n\n```sh\n{META['command']}\n```\n\nMade with mlx-prune 0.1.0, mlx 0.32.4.\n\n"
    older = model_card(PruningRecord.of(META).without("command"), base=GEMMA).split("## Reproduce")[1]
    assert older.startswith(
        "\n\nThe version that made it recorded no command; its settings stand above.\n\nMade"
    )


def test_pattern_and_magnitude_leave_out_what_does_not_apply():
    meta = {
        **META,
        "method": "magnitude",
        "pattern": "2:4",
        "scope": "blocks",
        "statistics": None,
        "seed": None,
        "calibration": None,
    }
    card = model_card(PruningRecord.of(meta), base=GEMMA)
    assert "2 of every 4 consecutive inputs kept" in card
    assert "Calibration" not in card
    assert "Seed" not in card


def test_local_base_model_is_named_but_its_path_is_not(tmp_path: Path):
    base = tmp_path / "secret-user" / "My Model"
    base.mkdir(parents=True)
    (base / "README.md").write_text(
        "---\nlicense: other\nlicense_name: house\nlicense_link: https://x.example\nlanguage: de\n---\n"
    )
    meta = {**META, "model": str(base), "calibration": {**META["calibration"], "source": "/home/me/text.txt"}}
    card = model_card(PruningRecord.of(meta))
    data = ModelCard(card).data.to_dict()
    assert "secret-user" not in card
    assert "/home/me" not in card
    assert "base_model" not in data
    assert (data["license"], data["license_name"], data["license_link"]) == (
        "other",
        "house",
        "https://x.example",
    )
    assert data["language"] == ["de"]


def test_base_model_in_the_hub_cache_keeps_its_id(tmp_path: Path):
    snapshot = tmp_path / "hub" / "models--org--Big.Model-1" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense:\n- apache-2.0\n- mit\nlanguage:\n- en\n- fr\n---\n")
    assert base_model(PruningRecord(model=str(snapshot), entries={})) == BaseModel(
        "Big.Model-1", "org/Big.Model-1", "apache-2.0", language=("en", "fr")
    )


@pytest.mark.parametrize("text", ["", "# no header\n", "---\n: [\n---\n", "---\n- a\n- list\n---\n"])
def test_unreadable_base_card_means_an_unknown_license(tmp_path: Path, text: str):
    card = tmp_path / "README.md"
    card.write_text(text)
    assert card_metadata(card) == {}
    assert with_card(BaseModel("x"), {}).license is None
    assert "not recorded" in model_card(PruningRecord.of(META), base=BaseModel("x"))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model": "x"}'])
def test_folder_that_is_no_pruned_checkpoint_is_refused(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / META_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=META_FILE):
        write_card(tmp_path)
    assert not (tmp_path / CARD_FILE).exists()


def test_card_is_made_without_mlx():
    code = (
        "import sys, json; sys.modules.update({name: None for name in ('mlx', 'mlx.core', 'mlx_lm')})\n"
        "from mlx_prune.cards.card import model_card\n"
        "from mlx_prune.checkpoint.record import PruningRecord\n"
        "print(model_card(PruningRecord.of(json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(META)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "# gemma-2-9b-it" in done.stdout
