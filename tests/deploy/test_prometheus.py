"""Alerts, the dashboard and the autoscaler's rule ask only for metrics and labels that somebody exports."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from handler import errors as handler_errors
from layoutloop import errors as shim_errors
from shim.predict.metrics import Metrics
from tests.deploy.rendered import KUBERNETES, ROOT

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "layoutloop.json").read_text(encoding="utf-8"))
SCRAPES = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in ALERTS for rule in group["rules"]]
ADAPTER = yaml.safe_load((KUBERNETES / "overlays/queue-latency/prometheus-adapter.yaml").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

OF_PROMETHEUS = {"job", "instance", "namespace", "pod"}
"""Labels that a scrape adds, the last two by prometheus.yml."""
WORDS = {
    *("sum", "max", "rate", "increase", "absent", "histogram_quantile", "clamp_min"),
    *("by", "and", "or", "unless", "on", "without"),
}
HISTOGRAM = ("_bucket", "_sum", "_count")


def exported() -> dict[str, set[str]]:
    """Labels by name of every time series: of the shim's registry, and of TorchServe's list of metrics."""
    found: dict[str, set[str]] = {"up": set()}
    for family in Metrics(lambda: 0).registry.collect():
        ends = {"counter": ("_total",), "histogram": HISTOGRAM}.get(family.type, ("",))
        found |= {family.name + end: set() for end in ends}
    found["layoutloop_tasks_total"] = {"outcome"}
    found["layoutloop_errors_total"] = {"code"}
    found["layoutloop_cached_pages_total"] = {"stage"}
    found |= {f"layoutloop_page_seconds{end}": {"stage"} for end in HISTOGRAM}
    listed = yaml.safe_load((DEPLOY / "torchserve" / "metrics.yaml").read_text(encoding="utf-8"))
    for part in ("ts_metrics", "model_metrics"):
        for kind, metrics in listed[part].items():
            for metric in metrics:
                for end in HISTOGRAM if kind == "histogram" else ("",):
                    found[metric["name"] + end] = set(metric["dimensions"]) | {"Hostname"}
    return {name: labels | OF_PROMETHEUS | ({"le"} if name.endswith("_bucket") else set())
            for name, labels in found.items()}  # fmt: skip


EXPORTED = exported()


def asked_for(expression: str) -> tuple[set[str], set[str]]:
    """The names of time series, and of labels, in a PromQL expression."""
    text = re.sub(r'"[^"]*"', '""', expression)
    labels = {label for matchers in re.findall(r"{([^}]*)}", text) for label in re.findall(r"(\w+)\s*[=!]", matchers)}
    text = re.sub(r"{[^}]*}", "", text)
    grouped = r"\bby\s*\(([^)]*)\)"
    labels |= {label.strip() for names in re.findall(grouped, text) for label in names.split(",")}
    text = re.sub(grouped, "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    return set(re.findall(r"\b[A-Za-z_]\w*", text)) - WORDS, labels


def expressions() -> list[Any]:
    found = [pytest.param(rule["expr"], id=f"alert {rule['alert']}") for rule in RULES]
    for panel in PANELS:
        found += [pytest.param(one["expr"], id=f"{panel['title']} {one['refId']}") for one in panel["targets"]]
    rule = ADAPTER["rules"]["external"][0]
    series = rule["seriesQuery"].partition("{")[0]
    query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", 'namespace="x"')
    return [*found, pytest.param(query, id="autoscaler")]


@pytest.mark.parametrize("expression", expressions())
def test_only_what_is_exported_is_asked_for(expression: str) -> None:
    names, labels = asked_for(expression)
    assert names
    assert names <= set(EXPORTED), names - set(EXPORTED)
    assert labels <= set.union(*(EXPORTED[name] for name in names)), labels
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


@pytest.mark.parametrize(
    ("expression", "names", "labels"),
    [
        pytest.param('sum by (le, a) (rate(b_bucket{c=~"d|e"}[5m]))', {"b_bucket"}, {"le", "a", "c"}, id="grouped"),
        pytest.param("rate(b[1m]) / 1e6 > 10 and up", {"b", "up"}, set(), id="numbers"),
        pytest.param("histogram_quantil(0.9, b)", {"histogram_quantil", "b"}, set(), id="a mistyped function"),
    ],
)
def test_names_are_found_in_an_expression(expression: str, names: set[str], labels: set[str]) -> None:
    assert asked_for(expression) == (names, labels)


@pytest.mark.parametrize("metric", ["layoutloop_tasks", "layoutloop_errors", "layoutloop_page_seconds"])
def test_the_shims_labels_are_these(metric: str) -> None:
    metrics = Metrics(lambda: 0)
    of = {"layoutloop_tasks": metrics.tasks, "layoutloop_errors": metrics.errors,
          "layoutloop_page_seconds": metrics.seconds}[metric]  # fmt: skip
    name = metric + ("_count" if metric == "layoutloop_page_seconds" else "_total")
    of.labels(*["x"])
    samples = [one for family in of.collect() for one in family.samples if one.name == name]
    assert set(samples[0].labels) <= EXPORTED[name]


def test_every_error_code_in_an_alert_is_one() -> None:
    codes = {one.code for module in (shim_errors, handler_errors) for one in vars(module).values()
             if isinstance(one, type) and issubclass(one, Exception) and hasattr(one, "code")}  # fmt: skip
    named = [code for rule in RULES for codes_ in re.findall(r'code=~"([^"]+)"', rule["expr"])
             for code in codes_.split("|")]  # fmt: skip
    assert named
    assert set(named) <= codes


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"LayoutLoop[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert all(text.rstrip().endswith(".") for text in rule["annotations"].values())


def test_no_alert_divides_by_what_stands_still() -> None:
    """x/0 is +Inf, which people cannot read; 0/0, of two rates of the same counter, is no alert."""
    divided = {rule["alert"]: rule["expr"].partition(" / ") for rule in RULES if " / " in rule["expr"]}
    loose = {name for name, (above, _, below) in divided.items() if "rate(" not in above and "clamp_min(" not in below}
    assert divided
    assert not loose


def test_alert_names_differ() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 8


def test_jobs_are_those_that_are_scraped() -> None:
    jobs = {one["job_name"] for one in SCRAPES["scrape_configs"]}
    everything = json.dumps(DASHBOARD) + json.dumps(RULES)
    assert set(re.findall(r'job=\\+"([^"\\]+)', everything)) == jobs
    assert SCRAPES["rule_files"] == ["alerts.yml"]


def test_the_dashboard_is_whole() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y) for panel in DASHBOARD["panels"]
             for x in range(panel["gridPos"]["w"]) for y in range(panel["gridPos"]["h"])]  # fmt: skip
    assert len(set(cells)) == len(cells), "two panels lie on each other"
    assert max(x for x, _ in cells) == 23
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_every_metric_of_the_handlers_has_a_panel() -> None:
    listed = yaml.safe_load((DEPLOY / "torchserve" / "metrics.yaml").read_text(encoding="utf-8"))["model_metrics"]
    ours = {one["name"] for kind in ("counter", "histogram") for one in listed[kind]}
    shown = {name for panel in PANELS for one in panel["targets"] for name in asked_for(one["expr"])[0]}
    assert ours <= {name.removesuffix("_bucket").removesuffix("_sum") for name in shown}
