"""Method labels: one spelling per configuration, and errors that name the nearest known word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlx_prune.errors import RecipeError
from mlx_prune.kinds import family
from mlx_prune.labels import Label, extend, parse_label, recovered_label
from mlx_prune.pruning.methods.quantize import AFFINE_BITS, AFFINE_GROUPS, FIXED_MODES, Quantization

quantizations = st.one_of(
    st.builds(Quantization, st.just("affine"), st.sampled_from(AFFINE_BITS), st.sampled_from(AFFINE_GROUPS)),
    st.builds(Quantization, st.sampled_from(sorted(FIXED_MODES))),
)
modifiers = {
    "random": [()],
    "magnitude": [()],
    "wanda": [(), ("owl",)],
    "sparsegpt": [(), ("owl",)],
    "width": [(*units, *repair) for units in ((), ("heads",), ("both",)) for repair in ((), ("repair",))],
    "depth": [(*run, *repair) for run in ((), ("contiguous",)) for repair in ((), ("repair",))],
    "experts": [
        (*score, *guard)
        for score in ((), ("ean",), ("frequency",), ("weight-norm",), ("random",))
        for guard in ((), ("unguarded",))
    ],
    "dense": [()],
}
labels = st.sampled_from(sorted(modifiers)).flatmap(
    lambda base: st.builds(
        Label, st.just(base), st.sampled_from(modifiers[base]), st.one_of(st.none(), quantizations)
    )
)


@st.composite
def trained(draw: st.DrawFn) -> Label:
    """Labels that were trained back, or were not."""
    label: Label = draw(labels)
    when = draw(st.sampled_from(["", "before", "after"]))
    if when == "after" and label.quantization is not None:
        return replace(label, adapted=True)
    return replace(label, recovered=when == "before" and label.base != "dense")


@given(trained(), st.sampled_from(["chat", "c4", "a-b_2", "s50"]))
def test_a_calibration_text_has_one_place_in_a_label(label: Label, text: str) -> None:
    assume(label != Label("dense"))
    named = replace(label, calibration=text)
    if not label.calibrated:
        with pytest.raises(RecipeError, match="looks at no calibration text, so @"):
            parse_label(str(named))
        return
    assert parse_label(str(named)) == named
    assert f"@{text}" in str(named)
    assert str(named).replace(f"@{text}", "") == str(label)
    assert family(str(named)) == family(str(label))
    assert str(named.untrained).replace(f"@{text}", "") == str(label.untrained)


@given(trained())
def test_a_label_reads_back_as_written(label: Label) -> None:
    assert parse_label(str(label)) == label


@given(st.text(alphabet="abdeghilmnoprtw+q0248-x", max_size=24))
def test_any_text_is_a_label_with_one_spelling_or_refused(text: str) -> None:
    try:
        label = parse_label(text)
    except RecipeError as error:
        assert str(error).endswith((".", "?"))  # noqa: PT017
    else:
        assert str(label) == text


@pytest.mark.parametrize(
    ("text", "base", "pruned", "bits", "group"),
    [
        ("q4", "dense", "dense", 4, 64),
        ("q3-g32", "dense", "dense", 3, 32),
        ("wanda+q4", "wanda", "wanda", 4, 64),
        ("wanda+owl+q2", "wanda", "wanda+owl", 2, 64),
        ("width+mxfp4", "width", "width", 4, 32),
        ("depth+contiguous+repair+nvfp4", "depth", "depth+contiguous+repair", 4, 16),
        ("experts+weight-norm+q4", "experts", "experts+weight-norm", 4, 64),
        ("mxfp8", "dense", "dense", 8, 32),
    ],
)
def test_labels_come_apart(text: str, base: str, pruned: str, bits: int, group: int) -> None:
    label = parse_label(text)
    assert label.quantization is not None
    assert (label.base, label.pruned) == (base, pruned)
    assert (label.quantization.bits, label.quantization.group_size) == (bits, group)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnda", "did you mean 'wanda'"),
        ("wanda+repare", "did you mean 'repair'"),
        ("magnitude+owl", "owl goes with wanda and sparsegpt only"),
        ("depth+heads", "heads goes with width only"),
        ("wanda+repair", "repair goes with width and depth only"),
        ("width+repair+heads", "is written 'width\\+heads\\+repair'"),
        ("width+heads+both", "exclude each other"),
        ("q4+wanda", "Unknown method"),
        ("wanda+q4+owl", "must come last"),
        ("wanda+q4+q8", "must come last"),
        ("q5", "no quantization 'q5'"),
        ("q4-g64", "is written 'q4'"),
        ("q4-g16", "no quantization"),
        ("dense+q4", "Unknown method"),
        ("wanda+wanda", "no modifier 'wanda'"),
        ("", "Unknown method"),
    ],
)
def test_wrong_labels_are_refused_with_a_way_out(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_label(text)


@pytest.mark.parametrize(
    ("text", "pruned", "calibration"),
    [
        ("wanda@chat", "wanda@chat", "chat"),
        ("sparsegpt+owl@chat+recover+q4", "sparsegpt+owl@chat", "chat"),
        ("width+repair@c4+mxfp4+recover", "width+repair@c4", "c4"),
        ("q4+gptq@chat", "dense", "chat"),
        ("q4+gptq@chat+recover", "dense", "chat"),
        ("dynamic4.5@chat", "dense", "chat"),
    ],
)
def test_a_label_names_its_calibration_text(text: str, pruned: str, calibration: str) -> None:
    found = parse_label(text)
    assert str(found) == text
    assert (found.pruned, found.calibration) == (pruned, calibration)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wanda@chat+owl", "is written 'wanda\\+owl@chat'"),
        ("wanda+q4@chat", "is written 'wanda@chat\\+q4'"),
        ("q4@chat+gptq", "is written 'q4\\+gptq@chat'"),
        ("wanda+recover@chat", "is written 'wanda@chat\\+recover'"),
        ("wanda@chat+q4+recover@c4", "named twice"),
        ("wanda@", "cannot be the name of a calibration text"),
        ("wanda@Chat", "small letters"),
        ("wanda@a/b", "cannot be the name"),
        ("wanda@a@b", "cannot be the name"),
        ("magnitude@chat", "magnitude looks at no calibration text, so @chat would be ignored"),
        ("experts+weight-norm@chat", "looks at no calibration text"),
        ("q4@chat", "q4 looks at no calibration text"),
        ("wnda@chat", "did you mean 'wanda'"),
        ("@chat", "Unknown method"),
        ("dense@chat", "Unknown method"),
    ],
)
def test_a_calibration_text_that_fits_nowhere_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_label(text)


def test_a_quantization_is_appended_once() -> None:
    four = Quantization(bits=4)
    assert extend("dense", four) == "q4"
    assert extend("wanda+owl", four) == "wanda+owl+q4"
    with pytest.raises(RecipeError, match="quantized already"):
        extend("wanda+q4", four)


@pytest.mark.parametrize(
    ("mode", "bits", "group", "message"),
    [
        ("affine", 5, None, "2, 3, 4, 6 or 8 bits"),
        ("affine", 4, 16, "32, 64 or 128"),
        ("mxfp4", 8, None, "4 bits in groups of 32"),
        ("nvfp4", None, 32, "4 bits in groups of 16"),
        ("mxfp", None, None, "did you mean 'mxfp"),
    ],
)
def test_a_quantization_that_does_not_exist_is_refused(
    mode: str, bits: int | None, group: int | None, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        Quantization(mode, bits, group)


@pytest.mark.parametrize(
    "text", ["wanda+recover", "wanda+owl+recover", "width+repair+recover+q4", "depth+recover"]
)
def test_a_label_tells_that_a_model_was_trained_back(text: str) -> None:
    found = parse_label(text)
    assert str(found) == text
    assert found.recovered
    assert not parse_label(found.pruned).recovered
    assert recovered_label(found.pruned) == found.unquantized
    assert family(text) == found.base


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("q4+recover", "q4"),
        ("wanda+owl+q4-g32+recover", "wanda+owl+q4-g32"),
        ("q4+gptq+recover", "q4+gptq"),
        ("width+mxfp4+recover", "width+mxfp4"),
    ],
)
def test_a_label_tells_that_adapters_were_trained_beside_few_bits(text: str, before: str) -> None:
    found = parse_label(text)
    assert str(found) == text
    assert (found.adapted, found.recovered, found.trained) == (True, False, True)
    assert str(found.untrained) == before
    assert recovered_label(before) == text
    assert family(text) == family(before)


@pytest.mark.parametrize(
    "text",
    [
        *("recover", "recover+q4", "wanda+recover+owl", "wanda+recover+recover"),
        *("wanda+recover+q4+recover", "q4+recover+recover"),
    ],
)
def test_recovery_comes_behind_a_pruning(text: str) -> None:
    with pytest.raises(RecipeError, match="recover comes once, behind a method"):
        parse_label(text)


def test_the_label_of_another_tool_stays_as_it_is() -> None:
    for label in ("theirs", "dense"):
        assert recovered_label(label) == label
