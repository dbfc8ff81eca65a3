"""``mlxprune publish``: put a pruned checkpoint, or a study's whole grid of them, on the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_prune import words
from mlx_prune.cli.terminal.console import emit_json, note, say, warn
from mlx_prune.cli.terminal.options import json_option

if TYPE_CHECKING:
    from mlx_prune.cards.results import CardResults
    from mlx_prune.publishing.hub import Publication
    from mlx_prune.publishing.plan import PublishPlan


@click.command("publish", short_help="Checkpoints and cards to the Hub.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("repo_id")
@click.option("--public", is_flag=True, help="Make the repository public; without this it is private.")
@click.option("--collection", metavar="TITLE|SLUG", help="Add it to this collection, created if absent.")
@click.option(
    "--run", type=click.Path(path_type=Path), help="Put the rates of this run of the checkpoint on its card."
)
@click.option(
    "--dense-run", type=click.Path(path_type=Path), help="Run of the dense model, for comparison on the card."
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and send nothing.")
@json_option
def command(
    checkpoint: Path,
    repo_id: str,
    public: bool,
    collection: str | None,
    run: Path | None,
    dense_run: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish CHECKPOINT as REPO_ID (owner/name) with its model card.

    With only an OWNER as REPO_ID, every checkpoint in the folder (a study's, with what it measured) is
    published under a name such as gemma-2-9b-it-wanda-s50-pia. Log in with `hf auth login` or HF_TOKEN
    first. An upload that was interrupted resumes when the command is given again.
    """
    from mlx_prune.publishing.hub import hub_api, publish
    from mlx_prune.publishing.plan import plan_grid, plan_publication

    api = hub_api()
    if "/" in repo_id:
        results = _results(checkpoint, run, dense_run)
        plans = [
            plan_publication(
                checkpoint, repo_id, public=public, collection=collection, results=results, api=api
            )
        ]
    elif run is not None or dense_run is not None:
        raise click.UsageError("--run and --dense-run are for one checkpoint, with REPO_ID as owner/name.")
    else:
        plans = plan_grid(checkpoint, repo_id, public=public, collection=collection, api=api)
    for plan in plans:
        for warning in plan.warnings:
            warn(f"{plan.repo_id}: {warning}")
    if dry_run:
        _show_plans(plans, as_json)
        return
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        disable_progress_bars()
    published = []
    for plan in plans:
        note(f"{plan.repo_id}: {len(plan.sizes)} files, {words.size(sum(plan.sizes.values()))}")
        published.append(publish(plan, api=api))
        if not as_json:
            _show_publication(published[-1])
    if as_json:
        emit_json({"published": published})


def _results(checkpoint: Path, run: Path | None, dense_run: Path | None) -> CardResults | None:
    from mlx_prune.checkpoint.record import PruningRecord
    from mlx_prune.study.card_results import results_of_runs

    if run is not None:
        return results_of_runs(PruningRecord.read(checkpoint), run, dense_run)
    if dense_run is not None:
        raise click.UsageError("--dense-run is compared with --run; give both.")
    return None


def _show_plans(plans: list[PublishPlan], as_json: bool) -> None:
    if as_json:
        emit_json({"dry_run": True, "would_publish": [_plan_json(plan) for plan in plans]})
        return
    for plan in plans:
        kind = "private" if plan.private else "public"
        say(f"Would create the {kind} repository {plan.repo_id}, unless it exists.")
        say(f"Would upload from {plan.folder}, as far as it is not there yet:")
        for name, n_bytes in plan.sizes.items():
            made = " (written for the Hub)" if name in plan.texts else ""
            say(f"  {words.size(n_bytes):>10}  {name}{made}")
        if plan.collection is not None:
            say(f"Would add it to the collection {plan.collection}.")
    say("Nothing was sent.")


def _plan_json(plan: PublishPlan) -> dict[str, Any]:
    return {
        "folder": plan.folder,
        "repo_id": plan.repo_id,
        "private": plan.private,
        "collection": plan.collection,
        "files": plan.sizes,
        "card": plan.texts["README.md"].decode(),
        "warnings": plan.warnings,
    }


def _show_publication(publication: Publication) -> None:
    state = "published" if publication.changed else "already there, unchanged"
    kind = "private" if publication.private else "public"
    say(f"{publication.url} ({kind}): {state}.")
    if publication.collection:
        say(f"In the collection {publication.collection}")
