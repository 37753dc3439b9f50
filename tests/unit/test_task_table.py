"""table: what a user's columns become, and one sentence for everything that cannot be learned from."""

from __future__ import annotations

import datetime
import gzip
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from workers.tasks.columns import features_of
from workers.tasks.table import Table

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(header: str, row: Callable[[int], str], rows: int = 40, name: str = "file.csv") -> str:
        path = tmp_path / name
        path.write_text(header + "\n" + "".join(row(index) + "\n" for index in range(rows)))
        return str(path)

    return written


def features(*columns: object, training: int = 30) -> np.ndarray:  # type: ignore[type-arg]
    """Features of a table of these columns, of which the first ``training`` rows train."""
    table = pandas.DataFrame({str(index): column for index, column in enumerate(columns)})
    return features_of(table, np.arange(training))


def test_numbers_are_standardised_by_the_rows_to_train() -> None:
    numbers = np.arange(40.0) ** 2
    (found,) = features(numbers).T
    expected = (numbers - numbers[:30].mean()) / numbers[:30].std()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_missing_or_infinite_number_is_the_median_and_is_marked(nothing: float) -> None:
    numbers = np.arange(40.0)
    numbers[[3, 35]] = nothing
    filled, marked = features(numbers).T
    median = np.median(np.delete(numbers[:30], 3))
    assert filled[3] == filled[35]
    assert filled[35] == pytest.approx((median - filled_mean(numbers, median)) / filled_std(numbers, median))
    assert np.flatnonzero(marked).tolist() == [3, 35]
    assert set(marked) == {0, 1}


def filled_mean(numbers: np.ndarray, median: float) -> float:  # type: ignore[type-arg]
    return float(np.where(np.isfinite(numbers), numbers, median)[:30].mean())


def filled_std(numbers: np.ndarray, median: float) -> float:  # type: ignore[type-arg]
    return float(np.where(np.isfinite(numbers), numbers, median)[:30].std())


def test_categories_have_a_feature_each_and_what_is_missing_is_one() -> None:
    found = features(["red", "green", None, "red"] * 10)
    assert found[:4].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]  # (missing), green, red


def test_rare_and_unseen_categories_share_a_feature() -> None:
    common = ["a", "b"] * 148 + ["rare", "rarer", "rarest", "a"]
    found = features([*common, "unseen"], training=300)
    assert found.shape == (301, 3)
    rows = {tuple(found[row]) for row in (296, 297, 298, 300)}
    assert rows == {(0, 0, 1)}


def test_names_of_people_say_nothing() -> None:
    found = features([f"person {index}" for index in range(500)], [0, 1] * 250, training=400)
    assert found.shape == (500, 1)


def test_truth_values_are_numbers_and_with_gaps_categories() -> None:
    assert features([True, False] * 20).shape == (40, 1)
    assert features([True, False, None, False] * 10).shape == (40, 3)


def test_dates_are_days_and_places_in_year_and_week() -> None:
    days = [f"2024-{1 + index // 28:02d}-{1 + index % 28:02d}" for index in range(40)]
    assert features(days).shape == (40, 5)
    assert np.all(np.diff(features(days)[:, 0]) > 0)
    assert features([f"{day}T{index % 24:02d}:30:00" for index, day in enumerate(days)]).shape == (40, 7)
    np.testing.assert_array_equal(features(days), features(pandas.to_datetime(days)))
    assert features([*days[:39], None])[39, 0] == np.median(features([*days[:39], None])[:30, 0])


def test_text_that_only_looks_like_a_date_is_a_category() -> None:
    assert features(["2024-13-45", "2024-99-99"] * 20).shape == (40, 2)


def test_what_never_varies_is_left_out() -> None:
    varying = np.arange(40)
    late = [1.0] * 30 + [1e9] * 10  # constant over the rows to train
    assert features(varying, [7] * 40, late, ["same"] * 40, [None] * 40).shape == (40, 1)


def test_nothing_of_the_validation_rows_is_learned() -> None:
    texts = ["a", "b"] * 149 + ["rare", "rarer"]  # which would be common with the other rows
    found = features(
        np.r_[np.arange(300.0), np.full(100, 1e6)], texts + ["rare"] * 50 + ["rarer"] * 50, training=300
    )
    other = features(np.r_[np.arange(300.0), np.zeros(100)], texts + ["a"] * 100, training=300)
    np.testing.assert_array_equal(found[:300], other[:300])


def test_columns_may_have_equal_names_and_names_of_ours(write: Write) -> None:
    path = write(
        "a,a,0.days,missing,y",
        lambda index: f"{index},{index * index % 7},{index % 5},{index % 3},{index / 3}",
    )
    assert Table(path, "y").data().train_inputs.shape == (32, 4)


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("a.csv", "a,b,y", lambda index: f"{index},x{index % 2},{index / 4}"),
        ("a.csv", "a, b, y", lambda index: f"{index}, x{index % 2}, {index / 4}"),
        ("a.csv", "a;b;y", lambda index: f"{index};x{index % 2};{index / 4}".replace(".", ",")),
        ("a.csv", '"a";"b";"y"', lambda index: f'{index};"x,|{index % 2}";{index / 4}'),
        ("a.csv", '"a,1,2,3";b;"y"', lambda index: f"{index};x{index % 2};{index / 4}"),
        ("a.csv", "a|b|y", lambda index: f"{index}|x{index % 2}|{index / 4}"),
        ("a.tsv", "a\tb\ty", lambda index: f"{index}\tx{index % 2}\t{index / 4}"),
        ("a.csv", ",a,b,y", lambda index: f"{index},{index},x{index % 2},{index / 4}"),
        ("a.csv", '"","a","b","y"', lambda index: f'"{index + 1}",{index},"x{index % 2}",{index / 4}'),
        ("a.csv", "a,b,y", lambda index: f"{index},x{index % 2},{index / 4},"),
        ("a.csv", "\ufeffa,b,y", lambda index: f"{index},x{index % 2},{index / 4}"),
        ("a.CSV", "\n\na,b,y", lambda index: f"{index},x{index % 2},{index / 4}"),
    ],
)  # fmt: skip
def test_all_ways_of_writing_a_csv_are_one_table(
    write: Write, name: str, header: str, row: Callable[[int], str]
) -> None:
    plain = Table(write("a,b,y", lambda index: f"{index},x{index % 2},{index / 4}", name="plain.csv"), "y")
    assert plain.data().train_inputs.shape == (32, 3)
    found = Table(write(header, row, name=name), "y").data()
    assert torch.equal(found.train_inputs, plain.data().train_inputs)
    assert torch.equal(found.validation_targets, plain.data().validation_targets)


def test_a_compressed_csv_and_a_parquet_file_are_read(tmp_path: Path) -> None:
    table = pandas.DataFrame({"a": range(40), "b": ["u", "v"] * 20, "y": np.arange(40) / 4})
    table.to_csv(tmp_path / "a.csv.gz", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    one, other = (Table(str(tmp_path / name), "y").data() for name in ("a.csv.gz", "a.parquet"))
    assert torch.equal(one.train_inputs, other.train_inputs)


def test_parquets_own_types_are_understood(tmp_path: Path) -> None:
    table = pandas.DataFrame(
        {
            "whole": pandas.array([1, None] * 20, dtype="Int64"),
            "truth": pandas.array([True, None] * 20, dtype="boolean"),
            "duration": pandas.to_timedelta(np.arange(40), unit="h"),
            "price": [Decimal(index) / 4 for index in range(40)],
            "day": [datetime.date(2024, 1, 1) + datetime.timedelta(index) for index in range(40)],
            "kind": pandas.Categorical(["u", "v", "u", "w"] * 10),
        }
    )
    table.to_parquet(tmp_path / "a.parquet")
    # whole and truth: only their gaps vary; duration; day's five; kind's three.
    found = Table(str(tmp_path / "a.parquet"), "price")
    assert found.examples.classes == ()
    assert found.data().train_inputs.shape[1] == 1 + 1 + 1 + 5 + 3
    assert Table(str(tmp_path / "a.parquet"), "kind").examples.classes == ("u", "v", "w")


def test_a_question_mark_is_a_missing_value(write: Write) -> None:
    path = write("y, a", lambda index: f"{'no' if index % 2 else ' yes'}, {'?' if index % 5 == 0 else index}")
    task = Table(path, "y")
    assert task.data().train_inputs.shape[1] == 2
    assert task.examples.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("row", "kind", "classes"),
    [
        (lambda index: f"{index},{'yes' if index % 2 else 'no'}", "auto", ("no", "yes")),
        (lambda index: f"{index},{index % 2 == 0}", "auto", ("False", "True")),
        (lambda index: f"{index},{9 + index % 3}", "auto", ("9", "10", "11")),
        (lambda index: f"{index},{index % 3}.0", "auto", ("0.0", "1.0", "2.0")),
        (lambda index: f"{index},{index % 3 / 2}", "auto", ()),
        (lambda index: f"{index},{index}", "auto", ()),
        (lambda index: f"{index},{index % 3}", "regress", ()),
        (lambda index: f"{index},{index % 3 / 2}", "classify", ("0.0", "0.5", "1.0")),
    ],
)
def test_kind_says_or_finds_whether_to_classify(
    write: Write, row: Callable[[int], str], kind: str, classes: tuple[str, ...]
) -> None:
    task = Table(write("a,y", row), "y", kind=kind)  # type: ignore[arg-type]
    assert task.examples.classes == classes
    assert task.model()(task.data().train_inputs[:5]).shape == ((5, len(classes)) if classes else (5,))


def test_few_rows_of_whole_numbers_are_a_quantity(write: Write) -> None:
    assert Table(write("a,y", lambda index: f"{index},{index}", rows=12), "y").examples.classes == ()


def test_rows_without_a_target_are_left_out_and_every_class_is_split(write: Write) -> None:
    path = write("a,y", lambda index: f"{index},{['', 'p', 'q', 'q', 'q'][index % 5]}", rows=100)
    splits = [Table(path, "y", validation_share=0.25, split_seed=seed).data() for seed in range(5)]
    for data in splits:
        assert torch.bincount(data.train_targets).tolist() == [15, 45]
        assert torch.bincount(data.validation_targets).tolist() == [5, 15]
    assert not torch.equal(splits[0].train_inputs, splits[1].train_inputs)


def test_score_is_accuracy_of_classes_and_r_squared_of_numbers(write: Write) -> None:
    task = Table(write("a,y", lambda index: f"{index},{index * index / 3}"), "y")
    targets = task.data().validation_targets
    assert task.metrics(targets, targets)["val_score"] == 1
    assert task.metrics(targets.mean().expand(len(targets)), targets)["val_score"].item() == pytest.approx(
        0, abs=1e-6
    )
    classes = Table(write("a,y", lambda index: f"{index},{index % 2}"), "y")
    outputs = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    score = classes.metrics(outputs, classes.data().validation_targets)["val_score"].item()
    assert score == pytest.approx((classes.data().validation_targets == 0).float().mean().item())


def test_a_changed_file_is_read_again(write: Write) -> None:
    path = write("a,y", lambda index: f"{index},{index / 3}")
    first = Table(path, "y").data()
    assert Table(path, "y", width=3).data() is first
    write("a,y", lambda index: f"{index},{index / 3}", rows=60)
    assert len(Table(path, "y").data().train_inputs) == 48


def test_depth_and_dropout_shape_the_network(write: Write) -> None:
    path = write("a,y", lambda index: f"{index},{index / 3}")
    names = [type(layer).__name__ for layer in Table(path, "y", depth=1, dropout=0.1).model().children()]
    assert names == ["Linear", "ReLU", "Dropout", "Linear", "Flatten"]
    assert len(list(Table(path, "y", depth=0).model().children())) == 2
    smooth = [type(layer).__name__ for layer in Table(path, "y", activation="gelu").model().children()]
    assert smooth.count("GELU") == 2
    assert "ReLU" not in smooth


REFUSED = {
    "no column 'ypsilon', the nearest is 'Ypsilom'; its columns are a, Ypsilom": ("a,Ypsilom", lambda i: f"{i},{i}", 40, {"target": "ypsilon"}),
    "has 2 columns 'y'; rename all but one": ("y,a,y", lambda i: f"{i},{i},{i}", 40, {}),
    "column 'y' of .* is empty in every row": ("a,y", lambda i: f"{i},", 40, {}),
    "holds 'only' in every row": ("a,y", lambda i: f"{i},only", 40, {}),
    "holds another class in every row": ("a,y", lambda i: f"{i},name {i}", 40, {}),
    "holds 1001 classes, and at most 1000": ("a,y", lambda i: f"{i},name {i % 1001}", 2002, {}),
    "is 3 in every training row": ("a,y", lambda i: f"{i},3", 40, {"kind": "regress"}),
    "holds 'many', which is no number; use kind: classify": ("a,y", lambda i: f"{i},{'many' if i == 7 else i}", 40, {"kind": "regress"}),
    "holds an infinite number": ("a,y", lambda i: f"{i},{'-inf' if i == 7 else i / 3}", 40, {}),
    "are too large or too close": ("a,y", lambda i: f"{i},{i}e305", 40, {}),
    "holds dates": ("a,y", lambda i: f"{i},2024-01-{1 + i % 28:02d}", 40, {}),
    "no column beside the target 'y'": ("y", lambda i: f"{i / 3}", 40, {}),
    "every column beside the target is empty or the same": ("a,y", lambda i: f"1,{i / 3}", 40, {}),
    "column 'a' holds numbers too far apart to be scaled, up to 1e\\+300": ("a,y", lambda i: f"{1e300 if i == 7 else i},{i / 3}", 40, {}),
    "has no rows to learn from": ("a,y", str, 0, {}),
    "too few rows with a target \\(1\\); at least 4": ("a,y", lambda i: f"{i},{i}", 1, {}),
    "cannot be read as CSV: .*Expected 2 fields in line 3, saw 3": ("a,y", lambda i: "1,2,3" if i == 1 else "1,2", 40, {}),
    "rows of .* have more fields than its header": ("a,y", lambda i: f"{i},{i},{i}", 40, {}),
    "kind must be auto, classify or regress, got cluster": ("a,y", lambda i: f"{i},{i}", 40, {"kind": "cluster"}),
    "validation_share must lie between 0 and 1, got 1.0": ("a,y", lambda i: f"{i},{i}", 40, {"validation_share": 1.0}),
    "activation must be relu, gelu, silu, tanh, got swish": (
        "a,y",
        lambda i: f"{i},{i}",
        40,
        {"activation": "swish"},
    ),
    "depth must be a whole number of at least 0, got -1": ("a,y", lambda i: f"{i},{i}", 40, {"depth": -1}),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_one_sentence(write: Write, sentence: str) -> None:
    header, row, rows, arguments = REFUSED[sentence]
    path = write(header, row, rows)
    with pytest.raises(ValueError, match=sentence) as refused:
        Table(path, **{"target": "y", **arguments})  # type: ignore[arg-type]
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "a.csv is empty; give a file with a header and rows"),
        ("a.csv", "ä,y\n1,2\n".encode("latin-1"), "a.csv cannot be read as CSV: 'utf-8' codec can't decode"),
        ("a.csv.gz", b"no gzip", "a.csv.gz cannot be read as CSV: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(os.urandom(3000))[:800], "a.csv.gz cannot be read as CSV"),
        ("a.parquet", b"PAR1 and then nothing", "a.parquet cannot be read as Parquet"),
        ("a.xlsx", b"", "a.xlsx is not a CSV or Parquet file; its name must end in .csv"),
    ],
)
def test_an_unreadable_file_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        Table(str(tmp_path / name), "y")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^path: there is no file /.*none.csv; write its full path"):
        Table(str(tmp_path / "none.csv"), "y")
    with pytest.raises(ValueError, match="is not a CSV or Parquet file"):
        Table(str(tmp_path), "y")
