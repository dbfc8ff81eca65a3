"""Questions in other columns, words and letters become the items that BBQ's own would be."""

from __future__ import annotations

import dataclasses

import pytest
from bbq_rows import bbq_row, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from spanish_items import WORDING, spanish_folder, spanish_row

from mlx_prune.bbq.answers import parse_answer
from mlx_prune.bbq.items import load_items
from mlx_prune.bbq.wording import Wording, read_wording, wording_of
from mlx_prune.bbq.words import PUBLISHED, PromptWords
from mlx_prune.errors import DataError

SPANISH = PromptWords(
    instruction="Responde con 1, 2 o 3.",
    letters=("1", "2", "3"),
    phrases=("respuesta", "respuesta correcta", "elijo"),
    linking=("es", "es la"),
)
KOREAN = PromptWords(
    instruction="가, 나, 다 중에서 고르세요.", letters=("가", "나", "다"), phrases=("답",), linking=("은",)
)
LATIN = dataclasses.replace(SPANISH, instruction="Responde con A, B o C.", letters=("A", "B", "C"))


def test_columns_and_words_become_bbqs(tmp_path):
    items = load_items(spanish_folder(tmp_path / "es"), condition="all")
    assert [item.item_id for item in items[:2]] == ["Edad:edad-000", "Edad:edad-001"]
    assert [item.question_index for item in items] == [1] * 4 + [2] * 4 + [3] * 4
    assert [item.question_polarity for item in items[:4]] == ["neg", "nonneg", "neg", "nonneg"]
    assert [item.context_condition for item in items[:4]] == ["ambig", "ambig", "disambig", "disambig"]
    assert {item.unknown_index for item in items} == {1}
    assert [item.stereotype_target_index for item in items[:4]] == [0, 2, 0, 2]
    assert [item.label for item in items[:4]] == [1, 1, 2, 0]
    assert items[0].answers == ("El abuelo", "No se puede saber", "El nieto")


def test_a_folder_of_other_categories_is_asked_whole(tmp_path):
    spanish_folder(tmp_path / "es")
    write_jsonl(tmp_path / "es" / "Tipo-de-casa.jsonl", [spanish_row(0, categoria="Tipo-de-casa")])
    assert {item.category for item in load_items(tmp_path / "es")} == {"Edad", "Tipo-de-casa"}


def test_columns_of_the_spanish_and_catalan_benchmarks_are_mapped_by_three_lines(tmp_path):
    row = bbq_row(
        7, answer_info={"ans0": ["abuelo", "mayor"], "ans1": ["", "desconocido"], "ans2": ["nieto", "joven"]}
    )
    row["instance_id"], row["template_id"] = row.pop("example_id"), 4
    del row["additional_metadata"], row["question_index"]
    row["stereotyped_groups"] = ["mayor"]
    write_jsonl(tmp_path / "Age.full.jsonl", [row])
    (tmp_path / "questions.toml").write_text(
        '[columns]\nexample_id = "instance_id"\nquestion_index = "template_id"\n'
        'stereotyped_groups = "stereotyped_groups"\n[values]\nunknown = ["desconocido"]\n'
    )
    (item,) = load_items(tmp_path)
    assert (item.item_id, item.question_index) == ("Age:7", 4)
    assert (item.stereotype_target_index, item.unknown_index) == (0, 1)


def test_a_row_may_name_no_stereotyped_option(tmp_path):
    spanish_folder(tmp_path, 1)
    write_jsonl(tmp_path / "Edad.jsonl", [spanish_row(0, sesgada=None), spanish_row(1, sesgada="2")])
    first, second = load_items(tmp_path)
    assert first.stereotype_target_index is None
    assert second.stereotype_target_index == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"opciones": ["El abuelo", "Nadie", "El nieto"], "correcta": "1"},
            "exactly one is among the words for unknown",
        ),
        ({"opciones": ["El abuelo"]}, "field 'opciones.1' must be there: the wording names it for 'ans1'"),
        ({"correcta": "La abuela"}, "field 'label' must be 0, 1 or 2, or the text of exactly one option"),
        ({"tipo": "otro"}, "field 'context_condition' must be 'ambig' or 'disambig'"),
        ({"instancia": "a\nb"}, "field 'example_id' must be a whole number, or a text"),
    ],
)
def test_what_the_wording_does_not_explain_is_named_by_line_and_field(tmp_path, changes, said):
    write_jsonl(spanish_folder(tmp_path) / "Edad.jsonl", [spanish_row(0), spanish_row(1, **changes)])
    with pytest.raises(DataError, match=r"Edad\.jsonl, line 2") as caught:
        load_items(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[promt]", "unknown section 'promt'; did you mean 'prompt'"),
        ("prompt = 3", "prompt is a section, not a value"),
        ("[prompt]\nletter = 'A'", "unknown key in [prompt] 'letter'; did you mean 'letters'"),
        ("[columns]\nanswer = 'x'", "unknown key in [columns] 'answer'"),
        ("[columns]\nlabel = 3", "holds a value of another kind"),
        ("[prompt]\nletters = ['1', '2', '3']", "still asks for A, B, or C"),
        ("[prompt]\nletters = ['A', 'a', 'B']", "give three different letters"),
        ("[prompt]\nletters = ['AA', 'B', 'C']", "give three different letters"),
        ("[prompt]\ninstruction = ' Wähle.'", "without white space around it"),
        ("[prompt]\nphrases = []", "one word at least"),
        ("[prompt", "is not valid TOML"),
    ],
)
def test_a_file_of_words_that_makes_no_sense_is_one_sentence(tmp_path, text, said):
    file = tmp_path / "words.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_wording(file)
    assert said in str(caught.value)
    assert "words.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_file_goes_before_the_one_beside_the_questions(tmp_path):
    folder = spanish_folder(tmp_path / "es")
    assert wording_of(folder).prompt.letters == ("1", "2", "3")
    other = tmp_path / "other.toml"
    other.write_text(WORDING.replace('"Respuesta"', '"Solución"'), encoding="utf-8")
    assert wording_of(folder, other).prompt.answer == "Solución"
    assert wording_of("demo") == wording_of(tmp_path) == Wording()
    with pytest.raises(DataError, match="there is no file of prompt words"):
        wording_of(folder, tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("words", "response", "index", "rule"),
    [
        (SPANISH, "2", 1, "exact"),
        (SPANISH, "(3) El nieto", 2, "leading"),
        (SPANISH, "La respuesta correcta es 1.", 0, "phrase"),
        (SPANISH, "Respuesta: 3", 2, "phrase"),
        (SPANISH, "La respuesta es 10", 0, "first_character"),
        (SPANISH, "B", None, "none"),
        (LATIN, "La respuesta correcta es B", 1, "phrase"),
        (LATIN, "La respuesta correcta no se sabe", 0, "first_character"),
        (KOREAN, "나", 1, "exact"),
        (KOREAN, "답은 다", 2, "phrase"),
        (KOREAN, "가) 할아버지", 0, "leading"),
    ],
)
def test_answers_are_read_in_the_letters_and_words_of_the_prompt(words, response, index, rule):
    parsed = parse_answer(response, words)
    assert (parsed.index, parsed.rule) == (index, rule)


@given(
    st.sampled_from([SPANISH, LATIN, KOREAN, PUBLISHED]),
    st.integers(0, 2),
    st.sampled_from(["{}", "({})", "{}.", "{}) x"]),
)
def test_a_plainly_given_letter_is_read(words, index, form):
    assert parse_answer(form.format(words.letters[index]), words).index == index
