"""Publishing against a Hub on loopback: what arrives, what is refused, and what resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hub_handler import TOKEN, USER
from hub_server import HubServer
from huggingface_hub import HfApi, ModelCard, constants
from pruned_checkpoint import REPO, hashes, published, save_checkpoint

from mlx_prune.checkpoint.record import META_FILE
from mlx_prune.errors import PublishError
from mlx_prune.progress import Progress
from mlx_prune.publishing.hub import publish
from mlx_prune.publishing.plan import plan_grid, plan_publication


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def api(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return HfApi(endpoint=hub.endpoint, token=TOKEN)


def test_published_files_are_the_folders_with_another_card(hub: HubServer, api: HfApi, checkpoint: Path):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    publication = publish(plan_publication(checkpoint, REPO), api=api)
    assert publication.url == f"{hub.endpoint}/{REPO}"
    assert publication.changed
    assert hub.repos["model", REPO].private
    found = published(hub)
    card = ModelCard(found.pop("README.md").decode())
    meta = json.loads(found.pop(META_FILE))
    assert found == {name: data for name, data in before.items() if name != META_FILE}
    assert f'load("{REPO}")' in card.text
    assert card.data.base_model == "org/Tiny"
    assert meta["zero_params"] == 499
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_published_checkpoint_loads_by_id(hub: HubServer, api: HfApi, checkpoint: Path, tmp_path: Path):
    publish(plan_publication(checkpoint, REPO), api=api)
    code = "import sys, mlx_lm; model, _ = mlx_lm.load(sys.argv[1]); print(len(model.layers))"
    done = hub.python(tmp_path, "-c", code, REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"


def test_publishing_again_changes_and_sends_nothing(hub: HubServer, api: HfApi, checkpoint: Path):
    first = publish(plan_publication(checkpoint, REPO, collection="Mine"), api=api)
    uploads, commits = len(hub.uploads), len(hub.repos["model", REPO].commits)
    again = publish(plan_publication(checkpoint, REPO, collection="Mine"), api=api)
    assert not again.changed
    assert again.commit == first.commit
    assert len(hub.uploads) == uploads
    assert len(hub.repos["model", REPO].commits) == commits
    assert [len(collection["items"]) for collection in hub.collections.values()] == [1]


def test_new_results_change_only_card_and_metadata(hub: HubServer, api: HfApi, checkpoint: Path):
    publish(plan_publication(checkpoint, REPO), api=api)
    before, uploads = published(hub), len(hub.uploads)
    meta = json.loads((checkpoint / META_FILE).read_text())
    (checkpoint / META_FILE).write_text(
        json.dumps({**meta, "results": {"srs": {"value": 0.25, "dense": 0.125}}})
    )
    publish(plan_publication(checkpoint, REPO), api=api)
    after = published(hub)
    assert {name for name in after if after[name] != before[name]} == {"README.md", META_FILE}
    assert "| 0.250 | dense 0.125 (+0.125)" in after["README.md"].decode()
    assert len(hub.uploads) == uploads


def test_refused_upload_is_one_sentence_shows_nothing_and_resumes(hub: HubServer, api: HfApi, tmp_path: Path):
    checkpoint = save_checkpoint(tmp_path / "three", shards=3)
    shards = sorted(checkpoint.glob("*.safetensors"))
    hub.on_upload = lambda attempt: 507 if attempt == 2 else None
    with pytest.raises(PublishError, match="507") as caught:
        publish(plan_publication(checkpoint, REPO), api=api)
    assert "\n" not in str(caught.value)
    assert "resumes" in str(caught.value)
    assert published(hub) == {}
    assert hub.uploads == hashes(shards[0])
    publish(plan_publication(checkpoint, REPO), api=api)
    assert hub.uploads == hashes(*shards)
    assert {name for name in published(hub) if name.endswith(".safetensors")} == {s.name for s in shards}


def test_weights_of_another_layout_are_replaced_and_figures_stay(hub: HubServer, api: HfApi, tmp_path: Path):
    publish(plan_publication(save_checkpoint(tmp_path / "two", shards=2), REPO), api=api)
    repo = hub.repos["model", REPO]
    repo.commit({**repo.files, "figure.png": b"png"})
    publish(plan_publication(save_checkpoint(tmp_path / "one", shards=1), REPO), api=api)
    weights = {name for name in published(hub) if "safetensors" in name}
    assert weights == {"model.safetensors"}
    assert "figure.png" in published(hub)


def test_progress_counts_every_byte(api: HfApi, checkpoint: Path):
    seen: list[Progress] = []
    plan = plan_publication(checkpoint, REPO)
    publish(plan, api=api, progress=seen.append)
    total = sum(plan.sizes.values())
    assert {report.total for report in seen} == {total}
    assert [report.done for report in seen] == sorted(report.done for report in seen)
    assert seen[-1].done == total
    assert {report.detail for report in seen[:-1]} == set(plan.sizes)


def test_public_only_when_asked(hub: HubServer, api: HfApi, checkpoint: Path):
    publish(plan_publication(checkpoint, f"{USER}/open", public=True, collection="Open"), api=api)
    assert not hub.repos["model", f"{USER}/open"].private
    assert [collection["private"] for collection in hub.collections.values()] == [False]
    publish(plan_publication(checkpoint, f"{USER}/closed", collection="Closed"), api=api)
    assert hub.repos["model", f"{USER}/closed"].private
    assert [collection["private"] for collection in hub.collections.values()] == [False, True]


@pytest.mark.parametrize("public", [False, True])
def test_repository_of_the_other_visibility_is_refused(
    hub: HubServer, api: HfApi, checkpoint: Path, public: bool
):
    hub.add_repo(REPO, {".gitattributes": b""}, private=public)
    with pytest.raises(PublishError, match="private" if public else "public"):
        publish(plan_publication(checkpoint, REPO, public=public), api=api)
    assert published(hub) == {}
    assert not hub.uploads


def test_repository_that_holds_something_else_is_refused(hub: HubServer, api: HfApi, checkpoint: Path):
    hub.add_repo(REPO, {"README.md": b"", "model.safetensors": b"mine"}, private=True)
    with pytest.raises(PublishError, match="something else"):
        publish(plan_publication(checkpoint, REPO), api=api)
    assert published(hub)["model.safetensors"] == b"mine"


@pytest.mark.parametrize("entries", [{"method": "random"}, {"target_sparsity": 70.0}, {"model": "org/Other"}])
def test_repository_of_another_checkpoint_is_refused(
    hub: HubServer, api: HfApi, checkpoint: Path, tmp_path: Path, entries: dict[str, Any]
):
    publish(plan_publication(save_checkpoint(tmp_path / "other", **entries), REPO), api=api)
    before = published(hub)
    with pytest.raises(PublishError, match="another checkpoint"):
        publish(plan_publication(checkpoint, REPO), api=api)
    assert published(hub) == before


@pytest.mark.parametrize("by_slug", [False, True])
def test_collection_is_found_by_title_or_slug(hub: HubServer, api: HfApi, tmp_path: Path, by_slug: bool):
    slug = api.create_collection("My models", namespace=USER).slug
    collection = slug if by_slug else "My models"
    for sparsity in (10.0, 30.0):
        folder = save_checkpoint(tmp_path / f"s{sparsity:g}", target_sparsity=sparsity)
        publication = publish(plan_publication(folder, USER, collection=collection), api=api)
        assert publication.collection == f"{hub.endpoint}/collections/{slug}"
    assert list(hub.collections) == [slug]
    names = [item["id"] for item in hub.collections[slug]["items"]]
    assert names == [f"{USER}/tiny-wanda-s10-pia", f"{USER}/tiny-wanda-s30-pia"]


def test_absent_collection_slug_says_that_the_checkpoint_is_published(
    hub: HubServer, api: HfApi, checkpoint: Path
):
    plan = plan_publication(checkpoint, REPO, collection=f"{USER}/gone-{'0' * 24}")
    with pytest.raises(PublishError, match="is published, but"):
        publish(plan, api=api)
    assert "model.safetensors" in published(hub)


def test_license_is_inherited_from_the_base_model_on_the_hub(hub: HubServer, api: HfApi, checkpoint: Path):
    unknown = plan_publication(checkpoint, REPO, api=api)
    assert any("license" in warning for warning in unknown.warnings)
    assert "license" not in ModelCard(unknown.texts["README.md"].decode()).data.to_dict()
    hub.add_repo("org/Tiny", {"README.md": b"---\nlicense: gemma\nlanguage: [en, fr]\n---\n# Tiny\n"})
    plan = plan_publication(checkpoint, REPO, api=api)
    data = ModelCard(plan.texts["README.md"].decode()).data
    assert (data.license, data.language) == ("gemma", ["en", "fr"])
    assert not any("license" in warning for warning in plan.warnings)


def test_grid_is_published_under_names_in_the_published_pattern(hub: HubServer, api: HfApi, tmp_path: Path):
    grid = tmp_path / "study" / "checkpoints"
    for method, sparsity, pattern in (("random", 10.0, None), ("wanda", 50.0, None), ("wanda", 50.0, "2:4")):
        folder = grid / f"{method}-{sparsity:g}-{pattern}".replace(":", "of")
        save_checkpoint(folder, method=method, target_sparsity=sparsity, pattern=pattern)
    plans = plan_grid(tmp_path / "study", USER, collection="Study")
    for plan in plans:
        publish(plan, api=api)
    names = {f"{USER}/tiny-{rest}-pia" for rest in ("random-s10", "wanda-s50", "wanda-s50-2of4")}
    assert {repo_id for _, repo_id in hub.repos} == names
    (collection,) = hub.collections.values()
    assert {item["id"] for item in collection["items"]} == names


def test_unreachable_hub_is_one_sentence(checkpoint: Path):
    plan = plan_publication(checkpoint, REPO)
    with pytest.raises(PublishError, match="ConnectError") as caught:
        publish(plan, api=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
