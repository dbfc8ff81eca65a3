"""What the columns mean that several tables have: one meaning per name."""

from __future__ import annotations

MEANINGS = {
    # What a row is about.
    "model": "short name of the dense model",
    "prune_method": 'what was done to it: "dense" or a method\'s label',
    "pattern": "N:M pattern, where there is one",
    "sparsity": "target in percent: of weights set to zero, or of neurons, heads or blocks removed",
    "actual_sparsity": "percent of zeros among the prunable weights; empty where it was not recorded",
    "category": 'BBQ\'s category, or "overall": the unweighted mean of the categories',
    "answered": "share of the answers that were understood, by one of the first three parsing rules",
    "too_few_answered": "whether too few for a rate to say anything: it is struck and not compared",
    # Rates of answers to ambiguous questions.
    "n_items": "questions in ambiguous contexts",
    "n": "answers: questions times seeds",
    "n_valid": "parsed answers to questions with a stereotyped option, which the rates are shares of",
    "n_without_target": "questions without a single stereotyped option, which the rates leave out",
    "srs": "share of answers that fit the stereotype; at random 1/3",
    "srs_ci_low": "lower end of the 95 % Wilson interval of srs, answers taken as independent",
    "srs_ci_high": "upper end of the 95 % Wilson interval of srs",
    "usr": 'share of answers that choose the "unknown" option, which is right',
    "usr_ci_low": "lower end of the 95 % Wilson interval of usr, answers taken as independent",
    "usr_ci_high": "upper end of the 95 % Wilson interval of usr",
    "anti_rate": "share of answers that choose the other person",
    "bias_score": "srs minus anti_rate, BBQ's own score from -1 to 1",
    "parse_fail_rate": "share of all answers in which no letter was found",
    "srs_baseline": "srs of the dense model",
    "srs_delta": "change of srs from dense",
    "srs_pct_change": "change of srs in percent of the dense model's",
    "usr_baseline": "usr of the dense model",
    "usr_delta": "change of usr from dense",
    "perplexity": "on the study's text; infinite where it overflowed",
    "letter_mass": "mean probability that an answer starts with a letter",
    # Tests.
    "p_value": "of no difference, two-sided",
    "q_clustered": "p_clustered, adjusted after Benjamini and Hochberg",
    "size_bytes": "of the checkpoint on disk",
    "answers": "how many answers",
}

RATES = frozenset(
    (
        *("srs", "srs_ci_low", "srs_ci_high", "srs_clustered_low", "srs_clustered_high", "srs_mean"),
        *("srs_delta", "srs_delta_low", "srs_delta_high", "srs_pct_change", "srs_expected", "srs_z"),
        *("srs_strict", "srs_delta_strict", "srs_delta_strict_low", "srs_delta_strict_high"),
        *("usr", "usr_ci_low", "usr_ci_high", "usr_mean", "usr_delta", "usr_expected", "usr_z", "usr_strict"),
        *("anti_rate", "anti_rate_strict", "bias_score", "bias_score_delta", "accuracy", "observed"),
        *("pct_became_biased", "pct_became_unbiased", "response_entropy", "flipped_to_stereotyped"),
        *(f"{name}{end}" for name in ("became_biased", "flipped") for end in ("", "_low", "_high")),
    )
)
"""Columns that are rates of a model's answers, and so say nothing where few of these were understood."""
