"""The shim as a project's ML backend in Label Studio: connected, repaired, tried, removed again.

Measured with 1.23.2. Adding a backend makes a webhook at `{url}/webhook`, which carries no Basic auth and outlives
the backend. Listing a project's backends requests /health and /setup of each, so their states are of this moment.
Only the first backend of a project gets requests for predictions.
What its title is for is in `layoutloop.connect.backend_titles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from layoutloop.connect.backend_titles import TITLE, follow_version, known_form
from layoutloop.connect.reserved_networks import blocked_network, protection_advice
from layoutloop.connect.shim_address import ShimAddress
from layoutloop.errors import NotConnected, StudioUnavailable
from layoutloop.plural import counted
from layoutloop.studio.client import StudioClient
from layoutloop.studio.label_config import LabelConfig, parse_label_config, served_sentence

_NEEDED_EVENTS = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "TASKS_CREATED"})
_NO_TASKS = "Project has no tasks"

Say = Callable[[str], None]
"""Takes one sentence about what was done, or found already right."""


@dataclass(frozen=True, slots=True)
class Connected:
    """What came of connecting a project.

    Args:
        project: its id.
        backend: id of the shim among Label Studio's ML backends.
        changed: whether anything had to be done.
        regions: how many a test prediction drew; None where the project has no tasks yet.
    """

    project: int
    backend: int
    changed: bool
    regions: int | None


def connect(client: StudioClient, project: int, shim: ShimAddress, say: Say = print) -> Connected:
    """Make the shim the ML backend of a project, so that its predictions are seen; what is right is left alone.

    Raises:
        LabelConfigUnsupported: the project's label config cannot be served; nothing was changed.
        NotConnected: Label Studio does not take the shim, or got no prediction from it; says what to do.
        StudioUnavailable: Label Studio does not answer, or has no such project.
    """
    with _explained(shim):
        xml = str(client.get(f"/api/projects/{project}/")["label_config"])
        config = parse_label_config(xml)
        kind = "RectangleLabels" if config.kind == "rectanglelabels" else "rectangles with labels and text"
        say(f"the label config can be served: {kind}, {counted(len(config.labels), 'label')}")
        if sentence := served_sentence(xml, config):
            say(sentence)
        backend, others, backend_changed = _ensure_backend(client, project, shim, say)
        webhook_changed = _ensure_webhook(client, project, shim, say)
        shown_changed = False
        if all(other["id"] > backend["id"] for other in others):
            title = follow_version(client, backend)
            if title != backend["title"]:
                say(f"named the ML backend after its version, {title}, for the Data Manager to sort by its scores")
            shown_changed = _ensure_predictions_shown(client, project, title, say) or title != backend["title"]
        regions = _try_prediction(client, backend, config, say)
    return Connected(project, int(backend["id"]), backend_changed or webhook_changed or shown_changed, regions)


def disconnect(client: StudioClient, project: int, shim: ShimAddress, say: Say = print) -> bool:
    """Remove the shim and its webhooks from a project; return whether there was anything.

    Predictions and annotations stay.

    Raises:
        StudioUnavailable: Label Studio does not answer, or has no such project.
    """
    with _explained(shim):
        backends, _ = _backends(client, project, shim)
        webhooks = _webhooks(client, project, shim)
        shown = client.get(f"/api/projects/{project}/")["model_version"]
        for backend in backends:
            client.delete(f"/api/ml/{backend['id']}")
            say(f"removed the ML backend {backend['url']}")
            if shown == backend["title"]:
                _show_what_is_stored(client, project, backend["model_version"])
        for webhook in webhooks:
            client.delete(f"/api/webhooks/{webhook['id']}/")
            say(f"removed the webhook {webhook['url']}")
    if not backends and not webhooks:
        say(f"nothing of {shim.url} is there")
    return bool(backends or webhooks)


def _show_what_is_stored(client: StudioClient, project: int, version: str | None) -> None:
    """Let the label stream go on showing the predictions of a removed backend's last version, if there are any.

    Label Studio itself sometimes empties the project's `model_version` and sometimes leaves the title there, which
    no backend has any more; either way the stream would show none.
    """
    stored = client.get(f"/api/projects/{project}/model-versions/")
    client.patch(f"/api/projects/{project}/", {"model_version": version if stored.get(version) else ""})


def _ensure_backend(
    client: StudioClient, project: int, shim: ShimAddress, say: Say
) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    """Add the backend, or repair it; return its row, the other backends, whether it was changed."""
    ours, others = _backends(client, project, shim)
    if not ours:
        backend = client.post("/api/ml", _backend_fields(shim, project, TITLE))
        say(f"added {shim.url} as ML backend{_with_auth(shim)}")
    elif faults := _faults(ours[0], shim):
        fields = _backend_fields(shim, project, str(ours[0]["title"] or TITLE))
        backend = client.patch(f"/api/ml/{ours[0]['id']}", fields)
        say(f"repaired the ML backend {shim.url}{_with_auth(shim)}: it was {', '.join(faults)}")
    else:
        backend = ours[0]
        say(f"the ML backend {backend['url']} is there and connected{_with_auth(shim)}")
    for double in ours[1:]:
        client.delete(f"/api/ml/{double['id']}")
        say("removed a second ML backend with the same address")
    if backend["state"] != "CO":
        raise NotConnected(
            f"Label Studio calls the ML backend {shim.url} {backend['readable_state']}: "
            f"{backend['error_message'] or 'it cannot be reached from where Label Studio runs (--shim-url)'}"
        )
    for other in others:
        is_first = other["id"] < backend["id"]
        so = f"it is the one used; remove it for {TITLE} to be used" if is_first else f"{TITLE} is"
        say(
            f'another ML backend, "{other["title"]}" at {other["url"]}, is left alone. '
            f"Label Studio uses only the first of a project: {so}"
        )
    return backend, others, backend not in ours or len(ours) > 1


def _ensure_webhook(client: StudioClient, project: int, shim: ShimAddress, say: Say) -> bool:
    """Add the webhook, or repair it; return whether something was done."""
    found = _webhooks(client, project, shim)
    if not found:
        fields = {"url": shim.webhook, "send_payload": True, "send_for_all_actions": True, "headers": shim.headers}
        client.post("/api/webhooks/", {"project": project, **fields})
        say(f"added the webhook {shim.webhook}{_with_auth(shim)}")
        return True
    webhook, *doubles = found
    headers = {name: value for name, value in webhook["headers"].items() if name.lower() != "authorization"}
    wanted = {"headers": headers | shim.headers, "send_payload": True, "is_active": True}
    all_events = webhook["send_for_all_actions"] or bool(_NEEDED_EVENTS - set(webhook["actions"]))
    wanted |= {"send_for_all_actions": all_events, "actions": webhook["actions"]}  # omitted, they would be cleared
    wrong = [name for name, value in wanted.items() if webhook[name] != value]
    if wrong:
        client.patch(f"/api/webhooks/{webhook['id']}/", wanted)
        now = "carries Basic auth now" if shim.user else "carries no Authorization any more"
        if "headers" not in wrong:
            now = "sends annotations and new tasks now"
        say(f"repaired the webhook {webhook['url']}: it {now}")
    else:
        say(f"the webhook {webhook['url']} is there{_with_auth(shim)}")
    for double in doubles:
        client.delete(f"/api/webhooks/{double['id']}/")
        say("removed a second webhook with the same address")
    return bool(wrong or doubles)


def _ensure_predictions_shown(client: StudioClient, project: int, title: str, say: Say) -> bool:
    """Let annotators see predictions, always those of the version in service; return whether something was done."""
    found = client.get(f"/api/projects/{project}/")
    if found["show_collab_predictions"] and found["model_version"] == title:
        say("predictions are shown while labelling, those of the version in service")
        return False
    client.patch(f"/api/projects/{project}/", {"show_collab_predictions": True, "model_version": title})
    before = f" (before: {found['model_version']})" if found["model_version"] else ""
    say(f"turned on predictions while labelling, those of the version in service{before}")
    return True


def _try_prediction(client: StudioClient, backend: Mapping[str, Any], config: LabelConfig, say: Say) -> int | None:
    """Have a random task predicted, as Label Studio's Send Test Request does; nothing is stored."""
    try:
        body = client.post(f"/api/ml/{backend['id']}/predict/test", {}, {"random": "true"})
    except StudioUnavailable as error:
        if error.reason.startswith(_NO_TASKS):
            say("no test prediction: the project has no tasks yet")
            return None
        raise NotConnected(f"connected, but a test prediction failed: {error.reason or error}") from error
    task, answers = body["task"]["id"], body["response"]
    answer = answers[0] if isinstance(answers, list) and answers else None
    if not answer and config.kind == "rectanglelabels" and str(backend["model_version"]).startswith("ocr-"):
        say("test prediction: no regions yet, since RectangleLabels need a model; annotate some pages and train one")
        return 0
    if not answer:
        raise NotConnected(
            f"connected, but a test prediction for task {task} came back empty; "
            "the reason is in the shim's log (var/logs/shim.log)"
        )
    regions = len({region["id"] for region in answer["result"]})
    say(f"test prediction: task {task} gets {counted(regions, 'region')}")
    return regions


def _backends(
    client: StudioClient, project: int, shim: ShimAddress
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the project's backends at the shim's address, and all others, oldest first."""
    rows = sorted(client.get("/api/ml", {"project": project}), key=lambda row: int(row["id"]))
    ours = [row for row in rows if shim.is_at(row["url"])]
    return ours, [row for row in rows if not shim.is_at(row["url"])]


def _webhooks(client: StudioClient, project: int, shim: ShimAddress) -> list[dict[str, Any]]:
    rows = client.get("/api/webhooks/", {"project": project})
    return [row for row in rows if shim.is_at(row["url"], "/webhook")]


def _backend_fields(shim: ShimAddress, project: int, title: str) -> dict[str, Any]:
    """Return all fields: Label Studio tries the address with these, also for a change."""
    fields: dict[str, Any] = {"project": project, "url": shim.url, "title": title, "is_interactive": True}
    if not shim.user:
        return fields | {"auth_method": "NONE", "basic_auth_user": ""}  # a password it has cannot be emptied
    return fields | {"auth_method": "BASIC_AUTH", "basic_auth_user": shim.user, "basic_auth_pass": shim.password}


def _faults(row: Mapping[str, Any], shim: ShimAddress) -> list[str]:
    wanted = "BASIC_AUTH" if shim.user else "NONE"
    # The password cannot be read back; a wrong one shows as a state, since /setup needs it.
    other_auth = row["auth_method"] != wanted or (row["basic_auth_user"] or "") != shim.user
    return [
        *([f"in state {row['readable_state']}"] if row["state"] != "CO" else []),
        *(["without interactive"] if not row["is_interactive"] else []),
        *(["with another Basic auth" if shim.user else "with Basic auth"] if other_auth else []),
    ]


def _with_auth(shim: ShimAddress) -> str:
    return ", with Basic auth" if shim.user else ""


@contextmanager
def _explained(shim: ShimAddress) -> Iterator[None]:
    """Turn Label Studio's refusal of the shim's address into what to do."""
    try:
        with known_form():
            yield
    except StudioUnavailable as error:
        if network := blocked_network(error.reason):
            raise NotConnected(protection_advice(shim.url, network)) from error
        if error.studio_status in (400, 500) and error.reason:
            raise NotConnected(
                f"Label Studio does not take {shim.url}: {error.reason.rstrip('.')}. It must reach that itself; "
                "--shim-url gives it another one (from a container perhaps http://host.docker.internal:9090; the "
                "shim then needs LAYOUTLOOP_HOSTS=host.docker.internal, or Basic auth)"
            ) from error
        raise
