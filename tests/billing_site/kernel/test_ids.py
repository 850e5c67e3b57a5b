"""Public ids: opaque, prefixed, sortable by creation."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel import ids


class TestNewId:
    def test_sorts_by_creation_and_never_repeats_across_threads(self) -> None:
        made: list[list[str]] = [[] for _ in range(4)]

        def make(into: list[str]) -> None:
            into.extend(ids.new_id("inv") for _ in range(5000))

        threads = [threading.Thread(target=make, args=(into,)) for into in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        everything = [each for into in made for each in into]
        assert len(set(everything)) == 20000
        assert all(into == sorted(into) for into in made)

    def test_has_the_prefix_and_26_characters(self) -> None:
        prefix, _, body = ids.new_id("sub").partition("_")
        assert prefix == "sub"
        assert len(body) == 26
        assert set(body) <= set(ids.ALPHABET)


class TestSerials:
    @given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
    def test_reads_back_and_sorts_as_the_number(self, one: int, other: int) -> None:
        first, second = ids.encode_serial("txn", one), ids.encode_serial("txn", other)
        assert ids.decode_serial("txn", first) == one
        assert (first < second) == (one < other)

    @pytest.mark.parametrize(
        "text",
        ["", "txn", "txn_", "ent_0000000000001", "txn_000000000000l", "txn_00000000000001", "txn_zzzzzzzzzzzzz"],
    )
    def test_answers_none_for_anything_else(self, text: str) -> None:
        assert ids.decode_serial("txn", text) is None

    @pytest.mark.parametrize("serial", [-1, 2**63])
    def test_refuses_what_is_no_bigint(self, serial: int) -> None:
        with pytest.raises(ValueError, match="BIGINT"):
            ids.encode_serial("txn", serial)
