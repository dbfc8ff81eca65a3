"""What a method label says, and in which order methods stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.kinds import family, leaves_dose, method_order, only_quantized

IN_ORDER = [
    "dense",
    "random",
    "magnitude",
    "wanda",
    "wanda+q4",
    "wanda+owl",
    "wanda+owl+q4",
    "sparsegpt",
    "width",
    "width+mxfp4",
    "width+heads",
    "width+repair",
    "depth",
    "experts",
    "experts+random",
    "q8",
    "q4",
    "mxfp4",
    "q2",
    "other-tool",
]


def test_families_stand_together_plain_methods_first():
    found = sorted(set(IN_ORDER), key=method_order)
    assert found.index("q8") < found.index("q4") < found.index("q2") < found.index("other-tool")
    assert [family(name) for name in found] == [family(name) for name in IN_ORDER]
    assert found[:9] == IN_ORDER[:9]


@pytest.mark.parametrize(
    ("method", "kind", "dose"),
    [
        ("wanda+q4", "wanda", False),
        ("wanda+owl", "wanda", True),
        ("random", "random", True),
        ("width+repair", "width", False),
        ("q4-g32", "quantized", False),
        ("mxfp8", "quantized", False),
        ("bespoke", "bespoke", True),
        ("dense", "dense", False),
    ],
)
def test_a_label_tells_its_family_and_whether_its_sparsity_is_a_share_of_zeros(method, kind, dose):
    assert family(method) == kind
    assert leaves_dose(method) == dose
    assert only_quantized(method) == (kind == "quantized")


@given(st.text(max_size=20))
def test_any_text_is_a_method(text):
    assert isinstance(family(text), str)
    assert method_order(text) == method_order(text)
