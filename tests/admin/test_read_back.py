"""Whatever an import accepts is read back equal, and by agents."""

import csv
import io
import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.directory import unreadable_rows
from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.errors import InvalidValue

EXAMPLES = settings(
    max_examples=60,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["\x00", "a\x00", "e\u0301", "'", '"', "=1+1", "x" * 129]))
AMOUNTS = st.one_of(
    st.decimals().map(str), st.decimals(0, 10**6, places=10).map(str), st.sampled_from(["", "-0", "1e400", "1" * 40])
)
TIMES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.datetimes(datetime(1999, 12, 30), datetime(9999, 1, 2)).map(str),
    st.sampled_from(["", "9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00", "infinity", "2030-01-01 12:00"]),
)

_numbers = itertools.count()


def csv_file(*rows: list[str]) -> bytes:
    """A file with these rows; surrogates cannot be in one."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def test_imported_users_are_read_back(administration: Administration, io_loop: IOLoop) -> None:
    """A user of a table has the comment, the models and the budget of its line."""
    accepted = []

    @EXAMPLES
    @given(
        TEXTS, TEXTS, AMOUNTS, st.sampled_from(["", "gpt-6*, gpt-5.5", "a", "\x00"]),
        st.sampled_from(["", "yes", "NO", "perhaps"]),
    )  # fmt: skip
    def check(name: str, comment: str, budget: str, models: str, standard: str) -> None:
        unique = f"{name[:100]}{next(_numbers)}"
        file = csv_file(
            ["name", "openai_key", "comment", "budget", "models", "standard_tier_only"],
            [unique, "sk-key", comment, budget, models, standard],
        )
        try:
            imported = io_loop.run_sync(lambda: administration.user_import.run(file))
        except InvalidValue:
            return
        if imported.errors:
            return
        accepted.append(name)
        user = io_loop.run_sync(lambda: administration.users.get(unique.strip()))
        budgets = io_loop.run_sync(lambda: administration.budgets.list(user=user.name))
        assert user.comment == comment.strip()
        assert user.standard_tier_only is (standard == "yes")
        assert [row.amount for row in budgets] == ([Decimal(budget)] if budget.strip() else [])

    check()
    assert len(accepted) > 5
    assert io_loop.run_sync(lambda: unreadable_rows(administration.stores.proofs)) == []


def test_imported_prices_are_read_back(administration: Administration, io_loop: IOLoop) -> None:
    """A price of a list has its amounts, to the last digit, and its date."""
    accepted = []

    @EXAMPLES
    @given(AMOUNTS, AMOUNTS, TIMES)
    def check(input_: str, output: str, moment: str) -> None:
        model = f"model-{next(_numbers)}"
        file = csv_file(["model", "input", "output", "effective_at"], [model, input_, output, moment])
        try:
            listed = io_loop.run_sync(lambda: price_import.read_body(file))
            difference = io_loop.run_sync(lambda: administration.price_import.compare(listed))
            io_loop.run_sync(lambda: administration.price_import.apply(difference))
        except InvalidValue:
            return
        prices = io_loop.run_sync(lambda: administration.prices.history(model))
        for price, new in zip(prices, listed.prices, strict=bool(prices)):
            accepted.append(price)
            assert price.rates == new.rates
            assert new.effective_at in (None, price.effective_at)
            assert datetime(2000, 1, 1, tzinfo=UTC) <= price.effective_at < datetime(9999, 1, 1, tzinfo=UTC)

    check()
    assert len(accepted) > 5
    assert io_loop.run_sync(lambda: unreadable_rows(administration.stores.proofs)) == []


@pytest.mark.parametrize("edge", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00", "1999-12-31T23:59:59Z"])
def test_price_list_with_a_date_at_the_edge_is_refused(
    administration: Administration, io_loop: IOLoop, edge: str
) -> None:
    """The message names the row, the column and the years."""
    file = csv_file(["model", "input", "output", "effective_at"], ["m", "1", "1", edge])
    with pytest.raises(InvalidValue, match=r"row 2: effective_at: .* is not in the years 2000 to 9998"):
        io_loop.run_sync(lambda: price_import.read_body(file))
