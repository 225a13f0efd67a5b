"""The encoding of names: injective everywhere, keeps prefixes, can be decoded."""

import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_state.errors import InvalidNameError
from temporal_state.storage import (
    KEPT_OF_LONG,
    MAX_ENCODED,
    check_key,
    check_prefix,
    decode_name,
    encode_name,
    encode_prefix,
)

ANY = settings(derandomize=True, max_examples=300)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
HOSTILE = [
    ".", "..", "...", ".hidden", "..\\..", "../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "/",
    "\\", "C:\\x", "\\\\host\\share", "~", "~root", "=", "=2e", "!", "!a", "%2e%2e%2f", "a\0b",
    "\n", " ", "a ", "a.", "con", "NUL", "COM1.txt", "-rf", "*", "a:b", "\u202e", "\ufeff", "😀",
]  # fmt: skip
LOOK_ALIKE = [
    ("a", "A"), ("straße", "STRASSE"), ("ß", "ss"), ("K", "\u212a"), ("k", "\u212a"),
    ("å", "\u212b"), ("i", "\u0130"), ("i", "\u0131"), ("s", "\u017f"), ("ﬁ", "fi"),
    ("é", unicodedata.normalize("NFD", "é")), ("가", unicodedata.normalize("NFD", "가")),
    ("①", "1"), ("a", "a\u200b"), ("a", "a "), ("a", "a."), ("a", "\uff41"), ("Σ", "ς"),
    ("a/b", "a\\b"), ("a/b", "a=2fb"), ("A", "!a"), (".a", "=2ea"), ("x" * 300, "X" * 300),
    ("x" * 300, "x" * 301), ("x" * 180, "x" * 181),
]  # fmt: skip


def folded(text: str) -> str:
    """What a file system that ignores case and normalises makes of a name."""
    return unicodedata.normalize("NFKD", text).casefold()


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("workflow-123", "workflow-123"),
        ("a_b.json", "a_b.json"),
        ("OrderImport-2026", "!order!import-2026"),
        ("a/b", "a=2fb"),
        (".env", "=2eenv"),
        ("..", "=2e."),
        ("é", "=c3=a9"),
        ("~=!", "=7e=3d=21"),
    ],
)
def test_examples(name, segment):
    assert encode_name(name) == segment
    assert decode_name(segment) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_harmless_segment(name):
    segment = encode_name(name)
    assert check_key(segment) == segment
    assert "/" not in segment
    assert decode_name(segment) == name


@pytest.mark.parametrize(("one", "other"), LOOK_ALIKE)
def test_names_that_look_alike_stay_apart(one, other):
    assert folded(encode_name(one)) != folded(encode_name(other))


def test_all_hostile_names_stay_apart():
    names = [*HOSTILE, *itertools.chain(*LOOK_ALIKE)]
    assert len({folded(encode_name(name)) for name in names}) == len(set(names))


@ANY
@given(NAMES, NAMES)
def test_any_two_names_stay_apart_on_a_file_system_that_folds(one, other):
    assert (folded(encode_name(one)) == folded(encode_name(other))) == (one == other)


@ANY
@given(NAMES)
def test_any_name_fits_and_comes_back(name):
    segment = encode_name(name)
    assert check_key(f"{segment}.json/{segment}")
    assert len(segment) <= MAX_ENCODED
    assert decode_name(segment) == (None if "~" in segment else name)


@ANY
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), NAMES)
def test_prefixes_are_kept(prefix, rest):
    encoded = encode_prefix(prefix)[:KEPT_OF_LONG]
    assert check_prefix(encoded) == encoded
    assert encode_name(prefix + rest).startswith(encoded)


def test_a_long_name_keeps_its_start_and_says_that_it_was_cut():
    segment = encode_name("Order" * 100)
    assert segment.startswith("!order!order")
    assert segment[KEPT_OF_LONG] == "~"
    assert len(segment) == KEPT_OF_LONG + 33
    assert decode_name(segment) is None


def test_the_longest_name_that_is_not_cut():
    assert encode_name("x" * MAX_ENCODED) == "x" * MAX_ENCODED
    assert len(encode_name("x" * (MAX_ENCODED + 1))) == KEPT_OF_LONG + 33


@pytest.mark.parametrize(
    "segment", ["=ff", "=61", "!", "=", "A", "a b", "a~b", "", ".a", "=2E", "é"]
)
def test_a_segment_that_no_name_has_decodes_to_nothing(segment):
    assert decode_name(segment) is None


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfff"])
def test_what_has_no_utf_8_is_refused(name):
    with pytest.raises(InvalidNameError):
        encode_name(name)


def test_a_refusal_never_repeats_a_huge_key():
    with pytest.raises(InvalidNameError) as caught:
        check_key("../" * 10_000)
    assert len(str(caught.value)) < 1000
