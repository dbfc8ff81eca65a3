"""The published study's tables the pandas way: one frame of all records, groupby, apply, merge.

Written from the definitions, as an analysis script would be: JSON lines into one frame, letters looked up
by a Python function per row. It is the peer that bench/analysis.py times, and whose figures ours must
equal.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

CONFIGURATION = ["model", "prune_method", "sparsity"]


def load(folder: Path) -> pd.DataFrame:
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        with open(path) as lines:
            rows += [json.loads(line) for line in lines]
    return pd.DataFrame(rows)


def letter(index: int) -> str:
    return "ABC"[index]


def wilson(k: float, n: float) -> tuple[float, float]:
    z = stats.norm.ppf(0.975)
    middle = (k + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    return middle - half, middle + half


def rates(records: pd.DataFrame) -> pd.DataFrame:
    def summarize(group: pd.DataFrame) -> pd.Series:
        understood = group[group["parsed_answer"].notna()]
        n = len(understood)
        if n == 0:
            return pd.Series({"n": len(group), "n_valid": 0})
        answer = understood["parsed_answer"]
        k = (answer == understood["stereotype_target_index"].map(letter)).sum()
        u = (answer == understood["unknown_index"].map(letter)).sum()
        (low, high), (usr_low, usr_high) = wilson(k, n), wilson(u, n)
        return pd.Series(
            {
                "n": len(group),
                "n_valid": n,
                "srs": k / n,
                "srs_ci_low": low,
                "srs_ci_high": high,
                "usr": u / n,
                "usr_ci_low": usr_low,
                "usr_ci_high": usr_high,
                "anti_rate": 1 - k / n - u / n,
                "parse_fail_rate": 1 - n / len(group),
            }
        )

    table = records.groupby([*CONFIGURATION, "category"]).apply(summarize, include_groups=False).reset_index()
    dense = table[table["prune_method"] == "dense"][["model", "category", "srs", "usr"]]
    table = table.merge(dense, on=["model", "category"], how="left", suffixes=("", "_baseline"))
    table["srs_delta"] = table["srs"] - table["srs_baseline"]
    table["srs_pct_change"] = 100 * table["srs_delta"] / table["srs_baseline"]
    table["usr_delta"] = table["usr"] - table["usr_baseline"]
    return table


def item_rates(records: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    work = records.copy()
    work["understood"] = work["parsed_answer"].notna()
    work["hit"] = work["parsed_answer"] == work["stereotype_target_index"].map(letter)
    table = work.groupby([*by, "category", "item_id"])[["understood", "hit"]].sum().reset_index()
    table["item_srs"] = table["hit"] / table["understood"]
    return table


def transitions(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    dense = item_rates(records[records["prune_method"] == "dense"], ["model"])
    clean = dense[dense["item_srs"] == 0][["model", "category", "item_id"]]
    pruned = records[records["prune_method"] != "dense"].merge(clean, on=["model", "category", "item_id"])
    items = item_rates(pruned, CONFIGURATION)
    items["became_biased"] = items["item_srs"] > 0
    table = items.groupby(CONFIGURATION)["became_biased"].agg(["count", "sum"]).reset_index()
    table = table.rename(columns={"count": "total_unbiased_items", "sum": "became_biased"})
    table["pct_became_biased"] = (table["became_biased"] / table["total_unbiased_items"] * 100).round(2)
    doses = table.groupby(["model", "sparsity"])
    response = doses.agg(
        avg_pct_became_biased=("pct_became_biased", "mean"), total_items=("total_unbiased_items", "mean")
    ).reset_index()
    response["avg_pct_became_biased"] = response["avg_pct_became_biased"].round(2)
    return table, response


def evaluation_gap(table: pd.DataFrame, perplexity: pd.DataFrame) -> pd.DataFrame:
    means = table.groupby(CONFIGURATION)[["srs", "usr"]].mean().reset_index()
    means = means.rename(columns={"srs": "srs_mean", "usr": "usr_mean"})
    gap = means.merge(perplexity, on=CONFIGURATION)
    dense = gap[gap["prune_method"] == "dense"].set_index("model")
    for name, column in (("srs", "srs_mean"), ("ppl", "perplexity")):
        base = gap["model"].map(dense[column])
        gap[f"{name}_pct_change"] = ((gap[column] - base) / base * 100).round(2)
    return gap


def tests(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (model, category), group in table.groupby(["model", "category"]):
        dense = group[group["prune_method"] == "dense"].iloc[0]
        for _, pruned in group[group["prune_method"] != "dense"].iterrows():
            counts = [
                (kept := round(row["srs"] * row["n_valid"]), int(row["n_valid"]) - kept)
                for row in (dense, pruned)
            ]
            chi2, p, _, _ = stats.chi2_contingency(counts)
            h = 2 * np.arcsin(np.sqrt(pruned["srs"])) - 2 * np.arcsin(np.sqrt(dense["srs"]))
            where = {"model": model, "prune_method": pruned["prune_method"], "sparsity": pruned["sparsity"]}
            rows.append(where | {"category": category, "chi2": chi2, "p_value": p, "cohens_h": h})
    return pd.DataFrame(rows)


def logistic(records: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for model, group in records[records["parsed_answer"].notna()].groupby("model"):
        hit = (group["parsed_answer"] == group["stereotype_target_index"].map(letter)).astype(float)
        dummies = pd.get_dummies(group[["category", "prune_method"]], drop_first=True, dtype=float)
        design = sm.add_constant(pd.concat([group["sparsity"].astype(float), dummies], axis=1))
        fit = sm.Logit(hit, design).fit(disp=0)
        rows += [
            {"model": model, "term": term, "coefficient": fit.params[term], "standard_error": fit.bse[term]}
            for term in design.columns
        ]
    return pd.DataFrame(rows)


def latent(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    dense = item_rates(records[records["prune_method"] == "dense"], ["model"])
    chosen = dense[dense["item_srs"] >= 0.2][["model", "category", "item_id"]]
    total = dense.groupby(["model", "category"]).size().rename("total_items")
    kept = chosen.groupby(["model", "category"]).size().rename("filtered_items")
    table = pd.concat([total, kept], axis=1).fillna(0).reset_index()
    table["pct_retained"] = (table["filtered_items"] / table["total_items"] * 100).round(1)
    return table, rates(records.merge(chosen, on=["model", "category", "item_id"]))


def entropy(answers: pd.Series) -> float:
    shares = answers.dropna().value_counts(normalize=True)
    return float(-(shares * np.log2(shares)).sum())


def every_table(records: pd.DataFrame, perplexity: pd.DataFrame) -> dict[str, pd.DataFrame]:
    table = rates(records)
    changed, response = transitions(records)
    latent_items, latent_rates = latent(records)
    groups = records.groupby(CONFIGURATION)
    half = table[table["sparsity"] == 50]
    return {
        "rates": table,
        "transitions": changed,
        "dose_response": response,
        "evaluation_gap": evaluation_gap(table, perplexity),
        "methods_at_50": half[[*CONFIGURATION, "category", "srs", "usr"]],
        "tests": tests(table),
        "logistic": logistic(records),
        "latent_items": latent_items,
        "latent_rates": latent_rates,
        "parse_failures": groups["parsed_answer"]
        .apply(lambda a: pd.Series({"total": len(a), "parse_failures": a.isna().sum()}))
        .unstack()
        .reset_index(),
        "latency": groups["elapsed_s"]
        .agg(latency_mean="mean", latency_median="median", latency_p95=lambda x: x.quantile(0.95))
        .reset_index(),
        "entropy": groups["parsed_answer"].apply(entropy).rename("response_entropy").reset_index(),
    }
