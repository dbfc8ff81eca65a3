"""Documents of files and of data sets on the Hub, as a model reads them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_models import save_tiny_model

from mlx_prune.chat.documents import digest, documents, enough_of, joined_text, joined_tokens
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import DataError
from mlx_prune.hub_data import HubData, parse_hub, source_name

TURNS = [{"role": "user", "content": "Who was late?"}, {"role": "assistant", "content": "The teacher."}]
WRITTEN = "<s><|user|>\nWho was late?</s>\n<|assistant|>\nThe teacher.</s>\n"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return open_tokenizer(save_tiny_model(tmp_path_factory.mktemp("m"), "llama")).tokenizer


def lines(folder, *rows):
    file = folder / "data.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS, "id": 5},
        {"text": None, "messages": TURNS},
        {"prompt": "Who was late?", "completion": "The teacher."},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
    ],
)
def test_conversations_are_written_by_the_models_own_template(tokenizer, tmp_path, row):
    (document,) = documents(lines(tmp_path, row), tokenizer)
    assert document.text == WRITTEN
    assert document.rendered
    expected = tokenizer.apply_chat_template(TURNS, tokenize=True)
    assert document.tokens == list(expected)


def test_texts_are_joined_by_blank_lines_and_conversations_by_nothing(tokenizer, tmp_path):
    rows = ({"text": "One."}, {"text": "Two."}, {"messages": TURNS}, {"messages": TURNS}, {"text": "Three."})
    found = list(documents(lines(tmp_path, *rows), tokenizer))
    assert joined_text(found) == f"One.\n\nTwo.{WRITTEN}{WRITTEN}Three."
    ids = joined_tokens(found, tokenizer)
    assert ids == tokenizer.encode(joined_text(found), add_special_tokens=False)
    assert [document.where.rpartition(", ")[2] for document in found] == [f"line {n}" for n in range(1, 6)]
    assert digest(found) != digest(found[:-1])


def test_no_more_is_read_than_holds_the_tokens_asked_for(tokenizer, tmp_path):
    rows = [{"text": f"The teacher was late on day {day}."} for day in range(40)]
    read = []
    found = documents(lines(tmp_path, *rows), tokenizer)
    taken = enough_of((read.append(document) or document for document in found), 100)
    assert taken == read
    assert len(joined_tokens(taken, tokenizer)) >= 100 > len(joined_tokens(taken[:-3], tokenizer)) - 20
    assert len(taken) < 40
    assert len(enough_of(documents(lines(tmp_path, *rows), tokenizer), None)) == 40


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"body": "x"},
            'line 2 has no string field "text"; give a string "text", a list "messages", or "prompt"',
        ),
        ({"text": 5}, 'line 2 has no string field "text"'),
        ({"text": "\ud800"}, "line 2 holds half of a surrogate pair"),
        ({"conversations": []}, 'line 2 has no string field "text"'),
        ({"prompt": "Who?"}, 'line 2 has no string field "text"'),
        (
            {"prompt": 5, "completion": "x"},
            "line 2: field 'prompt' must be a text or a list of messages, not 5",
        ),
        ({"messages": []}, "line 2: field 'messages' must be a text or a list"),
        (
            {"messages": [TURNS[0], {"role": "assistant"}]},
            "line 2: message 2 of 'messages' has no string 'content'",
        ),
        ({"messages": ["hello"]}, "line 2: message 1 of 'messages' has no string 'role'"),
        ({"messages": [{"role": "user", "content": "\udc00"}]}, "line 2 holds half of a surrogate pair"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tokenizer, tmp_path, row, said):
    with pytest.raises(DataError, match=r"data\.jsonl, line 2") as caught:
        list(documents(lines(tmp_path, {"text": "fine"}, row), tokenizer))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_conversation_needs_a_template_that_takes_it(tmp_path):
    file = lines(tmp_path, {"messages": TURNS})
    plain = open_tokenizer(save_tiny_model(tmp_path / "plain", "llama", chat_template=None)).tokenizer
    with pytest.raises(
        DataError, match="line 1 holds a conversation, and the tokenizer has no chat template"
    ):
        list(documents(file, plain))
    refusing = "{{ raise_exception('Roles must alternate') }}"
    refuses = open_tokenizer(save_tiny_model(tmp_path / "r", "llama", chat_template=refusing)).tokenizer
    with pytest.raises(
        DataError, match=r"line 1: the chat template refuses .* \(TemplateError: Roles must alternate\)"
    ):
        list(documents(file, refuses))


def test_a_conversation_that_went_wrong_is_one_sentence(real_data, tokenizer):
    found = list(documents(real_data / "cases" / "messages.jsonl", tokenizer))
    assert found
    assert all(document.rendered for document in found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hub:org/name", HubData("org/name")),
        ("hub:name", HubData("name")),
        ("hub:org/name#body", HubData("org/name", columns=("body",))),
        ("hub:org/name/test#a+b", HubData("org/name", split="test", columns=("a", "b"))),
        ("hub:org/na.me:wiki-2-v1/test", HubData("org/na.me", config="wiki-2-v1", split="test")),
        (
            "hub:org/name@0a1b:en/validation#text",
            HubData("org/name", "0a1b", "en", "validation", ("text",)),
        ),
    ],
)
def test_a_data_set_of_the_hub_is_named_in_one_word(source, expected):
    assert parse_hub(source) == expected
    assert source_name(source) == expected.path


@pytest.mark.parametrize(
    "source", ["hub:", "hub:a/b/c/d", "hub:org/name#", "hub:org/name#a+b+c", "hub: org/name"]
)
def test_another_word_is_refused_with_the_form(source):
    with pytest.raises(DataError, match="does not name a data set of the Hub; write hub:ORG/NAME"):
        parse_hub(source)


READ = """
import json, sys
from pathlib import Path
from mlx_prune.chat.documents import documents, enough_of
from mlx_prune.chat.tokenizer import open_tokenizer
from mlx_prune.errors import MlxPruneError
tokenizer = open_tokenizer(Path(sys.argv[1])).tokenizer
for source in sys.argv[2:]:
    try:
        found = enough_of(documents(source, tokenizer), 30)
        print(json.dumps([[document.text, document.where] for document in found]))
    except MlxPruneError as error:
        print(json.dumps(str(error)))
"""


def test_rows_of_the_hub_are_streamed(hub, tmp_path):
    rows = [
        {"body": f"The teacher was late on day {n}.", "question": "Who?", "answer": "Ann.", "talk": TURNS}
        for n in range(50)
    ]
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    card = (
        "---\nconfigs:\n- config_name: talks\n  data_files:\n  - split: train\n    path: data/train.parquet\n"
        "  - split: test\n    path: data/test.parquet\n---\n"
    )
    files = {
        f"data/{split}.parquet": (tmp_path / f"{split}.parquet").read_bytes() for split in ("train", "test")
    }
    hub.add_repo("org/texts", {"README.md": card.encode(), **files}, kind="dataset")
    model = save_tiny_model(tmp_path / "m", "llama")
    sources = ("#body", "/test#talk", ":talks/test#question+answer", "", "#absent", "/dev#body", ":none")
    told = hub.python(
        tmp_path / "home",
        "-c",
        READ,
        str(model),
        *(f"hub:org/texts{part}" for part in sources),
        "hub:org/none",
    )
    assert told.returncode == 0, told.stderr
    body, talk, pair, unnamed, absent, dev, config, none = map(json.loads, told.stdout.splitlines())
    assert body[0] == ["The teacher was late on day 0.", "org/texts train, row 1"]
    assert len(body) < 50
    assert talk[0] == [WRITTEN, "org/texts test, row 1"]
    assert pair[0][0] == "<s><|user|>\nWho?</s>\n<|assistant|>\nAnn.</s>\n"
    assert 'org/texts train, row 1 has no string field "text"' in unnamed
    assert "has no column 'absent'; it has body, question, answer, talk" in absent
    for refused in (dev, config, none):
        assert "cannot be read from the Hub (" in refused
        assert "\n" not in refused
