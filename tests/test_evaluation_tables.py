"""Pairs, goals, groups and comparisons of the evaluation, on made-up figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from utils.errors import BadArgument, UnreadableInput
from utils.evaluate.compare import differences_table
from utils.evaluate.figures import FIGURES, FIGURES_BY_NAME, GOALS, Goal, goals_of
from utils.evaluate.intervals import chance_of, group_difference, holm, mean_difference, resample, shuffle
from utils.evaluate.judge import NO_FACE, Score
from utils.evaluate.pairs import Label, plan_swaps, read_labels
from utils.evaluate.report import html_table, rank_worst
from utils.evaluate.tables import (
    ScoredSwap,
    compare_groups,
    groups_line,
    groups_table,
    judge_goals,
    means_table,
    read_rows,
    verdict_table,
    write_rows,
)

GOOD = Score(
    to_source=0.3,
    to_target=0.7,
    to_other=0.35,
    nearer_source=True,
    retrieved=True,
    second_nearer=True,
    mouth=0.005,
    eye_right=0.01,
    eye_left=0.01,
    brow=0.01,
    gaze=0.01,
    yaw_deg=0.3,
    pitch_deg=0.3,
    eye_symmetry=0.01,
    seam=1.0,
    edge_colour=1.0,
    sharpness=1.0,
    grain=1.0,
)


def swaps(count, group="", **changes):
    """Swaps with a little noise in the distances."""
    noise = np.random.default_rng(len(group)).normal(0, 0.01, count)
    return [
        ScoredSwap(f"{group}{n}.jpg", f"t{n}.jpg", group, replace(GOOD, to_source=0.3 + noise[n], **changes))
        for n in range(count)
    ]


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def names(plan):
    return [(pair.source.stem, pair.target.stem) for pair in plan.pairs]


def test_plain_photos_go_onto_the_second_photos_of_the_next_and_the_fifth_next(tmp_path):
    touch(tmp_path, *(f"{person}_{kind}.jpg" for person in "abcdefg" for kind in ("1", "2")))
    plan = plan_swaps(tmp_path, {})
    assert names(plan)[:3] == [("a_1", "b_2"), ("a_1", "f_2"), ("b_1", "c_2")]
    assert [person for person, _ in plan.gallery] == list("abcdefg")
    assert {path.stem for _, path in plan.gallery} == {f"{person}_2" for person in "abcdefg"}


def test_wild_photos_go_from_the_frontal_one_onto_all_of_the_next_person(tmp_path):
    kinds = {"x_1": "left", "x_2": "frontal", "y_1": "mouth", "y_2": "right", "y_3": "frontal"}
    touch(tmp_path, *(f"{name}.jpg" for name in kinds))
    labels = {f"{name}.jpg": Label(f"person {name[0]}", kind) for name, kind in kinds.items()}
    plan = plan_swaps(tmp_path, labels)
    assert names(plan) == [("x_2", "y_3"), ("x_2", "y_1"), ("x_2", "y_2"), ("y_3", "x_2"), ("y_3", "x_1")]
    assert [(person, path.stem) for person, path in plan.gallery] == [("person x", "x_1"), ("person y", "y_1")]


def test_too_few_people_are_an_error(tmp_path):
    touch(tmp_path, "a_1.jpg", "a_2.jpg", "b_1.jpg")
    with pytest.raises(BadArgument, match="1 persons with two photos"):
        plan_swaps(tmp_path, {})


def test_labels_without_group_or_kind_are_empty_and_other_files_are_refused(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps([{"file": "photos/a_1.jpg", "identity": "a", "kind": None}]))
    assert read_labels(path) == {"a_1.jpg": Label("a", "", "")}
    assert read_labels(None) == {}
    path.write_text('{"file": "a"}')
    with pytest.raises(UnreadableInput, match="no JSON list"):
        read_labels(path)
    with pytest.raises(UnreadableInput, match="not there"):
        read_labels(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("goal", "values", "reached", "met"),
    [
        (Goal("mouth", 0.01), [0.0, 0.01], 0.005, True),
        (Goal("mouth", 0.01), [0.0, np.inf], np.inf, False),
        (Goal("edge_colour", 3.0, "median"), [1.0, 2.0, 99.0], 2.0, True),
        (Goal("retrieved", 1.0, "share"), [1.0, 1.0, 0.0, 1.0], 0.75, False),
        (Goal("grain", 0.5, "share", (0.8, 1.25)), [0.79, 0.8, 1.25, 1.26, np.nan], 0.5, True),
    ],
)
def test_goals_are_means_medians_or_shares_of_what_could_be_measured(goal, values, reached, met):
    value = goal.value(np.array(values))
    assert value == pytest.approx(reached)
    assert goal.met(value) == met


def test_every_goal_is_about_a_figure_and_other_folders_have_goals_too():
    assert all(goal.figure in FIGURES_BY_NAME for goals in GOALS.values() for goal in goals)
    assert {figure.name for figure in FIGURES} <= set(vars(GOOD))
    assert goals_of("holiday")


def test_what_the_second_net_would_say_is_not_measured_without_it():
    verdicts = {
        verdict.goal.figure: verdict.text for verdict in judge_goals("london", swaps(4, second_nearer=None, grain=0.5))
    }
    assert verdicts["second_nearer"] == "not measured"
    assert verdicts["grain"] == "NOT met"
    assert verdicts["mouth"] == "met"


def test_rows_come_back_as_they_were(tmp_path):
    rows = [*swaps(2, "a", second_nearer=None), ScoredSwap("x.jpg", "y.jpg", "", NO_FACE)]
    write_rows(tmp_path / "set.csv", rows)
    assert read_rows(tmp_path / "set.csv") == rows
    (tmp_path / "set.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UnreadableInput):
        read_rows(tmp_path / "set.csv")


def test_a_group_that_is_served_worse_is_named_and_no_other():
    rows = [*swaps(12, "one"), *swaps(12, "other"), *swaps(12, "third", to_other=0.6)]
    findings = compare_groups(rows)
    assert {(finding.group, finding.figure) for finding in findings if finding.sure} == {
        ("third", FIGURES_BY_NAME["to_other"].title)
    }
    assert "third in distance to the source's other photo" in groups_line(findings)
    (row,) = [row for row in groups_table(findings) if row[0] == FIGURES_BY_NAME["to_other"].title]
    assert row[3].startswith("+0.250")
    assert row[3].endswith("!")
    assert not row[1].endswith("!")


def test_chance_alone_makes_no_group_worse():
    random = np.random.default_rng(1)
    rows = [
        ScoredSwap(
            f"{n}",
            "t",
            "abc"[n % 3],
            replace(GOOD, **{name: abs(random.normal()) for name in ("mouth", "seam", "brow")}),
        )
        for n in range(36)
    ]
    assert groups_line(compare_groups(rows)).endswith("none")
    assert groups_line(compare_groups(swaps(5))) == "groups: none are labelled"


def test_bootstrap_intervals_hold_the_mean_and_leave_out_what_is_missing():
    values = np.append(np.random.default_rng(0).normal(1, 0.5, 200), np.nan)
    interval = mean_difference(values, resample(201))
    assert interval.low < 1 < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(200), rel=0.15)
    inside = np.arange(201) < 100
    gap = group_difference(np.where(inside, values + 1, values), inside, resample(201))
    assert gap.low < 1 < gap.high
    assert chance_of(np.where(inside, values + 1, values), inside, shuffle(201)) < 0.001
    assert 0.05 < chance_of(values, inside, shuffle(201)) < 0.95
    assert chance_of(values, np.zeros(201, bool), shuffle(201)) == 1
    assert np.isnan(group_difference(values, np.zeros(201, bool), resample(201)).value)


def test_shuffling_gives_the_exact_chance_whatever_is_missing():
    values = np.array([9.0, np.nan, 8.0, 1.0, 2.0, np.nan, 3.0])
    inside = np.array([True, True, True, False, False, False, False])
    assert chance_of(values, inside, shuffle(7)) == pytest.approx(1 / 10, abs=0.01)  # one of the pairs of five
    assert chance_of(-values, inside, shuffle(7)) == pytest.approx(1)


def test_holm_is_stricter_the_more_is_looked_at():
    assert holm([0.03]) == [True]
    assert holm([0.03, 0.03]) == [False, False]
    assert holm([0.03, 0.01]) == [True, True]


def test_the_worst_come_first_and_both_sides_of_a_ratio_count():
    rows = [ScoredSwap("a", "t", "", replace(GOOD, sharpness=value)) for value in (1.0, 0.5, 1.5, np.nan)]
    assert rank_worst(rows, FIGURES_BY_NAME["sharpness"]) == [1, 2, 0]
    rows[2] = replace(rows[2], score=replace(GOOD, retrieved=False))
    assert rank_worst(rows, FIGURES_BY_NAME["retrieved"]) == [2]


def test_means_have_a_column_for_each_group():
    header, *rows = means_table([*swaps(2, "a"), *swaps(3, "b", mouth=0.1)])
    assert header == ["mean of", "all (5)", "a (2)", "b (3)"]
    assert ["mouth", "0.0620", "0.0050", "0.1000"] in rows


def test_tables_in_html_mark_goals_that_are_missed():
    table = html_table(verdict_table(judge_goals("lfw", swaps(3, mouth=0.5))))
    assert table.count('class="no"') == 1
    assert "&lt;=" in table


def test_two_evaluations_differ_by_what_got_worse():
    before = swaps(30)
    after = [replace(swap, score=replace(swap.score, mouth=swap.score.mouth + 0.01, grain=1.1)) for swap in before]
    table = {row[0]: row for row in differences_table(list(zip(before, after, strict=True)))}
    assert table["mouth"][1:5] == ["0.0050", "0.0150", "0.0050", "0.0150"]
    assert table["mouth"][5] == "+0.0100 [+0.0100, +0.0100] !"
    assert table["mouth"][6:] == ["0", "30"]
    assert table["grain"][6:] == ["0", "30"]
    assert table["retrieved"][6:] == ["0", "0"]
    after[0] = replace(after[0], score=NO_FACE)
    table = {row[0]: row for row in differences_table(list(zip(before, after, strict=True)))}
    assert table["mouth"][6:] == ["0", "30"]
    assert table["seam"][6:] == ["0", "1"]
