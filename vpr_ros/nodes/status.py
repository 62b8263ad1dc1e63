"""What /diagnostics say of the node."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vpr_ros.live_localiser import LiveLocaliser
from vpr_ros.localiser import Localiser
from vpr_ros.nodes.health import EVENTS, Health
from vpr_ros.prior import Prior

#: What shall not become of an image.
BAD = ("refused", "future", "out_of_order", "failed")


def node_status(
    state: str,
    error: str,
    live: LiveLocaliser | None,
    silence: str,
    refused_prior: str,
    health: Health,
    new: Mapping[str, int],
    seconds: float,
) -> DiagnosticStatus:
    """Return the status, without the names of the node.

    Args:
        state: of the managed node.
        error: that led to it.
        live: what answers, while configured.
        silence: why no images come, or not all; else empty.
        refused_prior: why the latest prior was refused, where it was.
        health: of all time.
        new: counts since the last status,
        seconds: and the time since.
    """
    if state == "active" and live is not None:
        concerns = _concerns(live, silence, health, new)
        level, text = (
            (DiagnosticStatus.WARN, concerns[0]) if concerns else (DiagnosticStatus.OK, "localising")
        )
    elif error:
        level, text = DiagnosticStatus.ERROR, f"{state}: {error}"
    else:
        level, text = DiagnosticStatus.OK, state
    values: dict[str, object] = {"state": state, "error": error, **_counted(health, new, seconds)}
    if live is not None:
        values |= {**_told_of(live.localiser), "prior refused": refused_prior}
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, message=text, values=pairs)


def _concerns(live: LiveLocaliser, silence: str, health: Health, new: Mapping[str, int]) -> list[str]:
    """Return what is to worry about, the worst first."""
    bad = sum(new[fate] for fate in BAD)
    concerns = {
        "no image received yet": not health.counts()["received"],
        silence: silence,
        f"{bad} images not answered: {health.last_reason}": bad,
        "images without a stamp are answered with the time at which they came": new["unstamped"],
        f"encoding on the CPU: {live.fell_back}": live.fell_back,
        live.localiser.out_of_reach(): live.localiser.out_of_reach(),
        live.localiser.doubts(): live.localiser.doubts(),
    }
    return [concern for concern, holds in concerns.items() if holds]


def _counted(health: Health, new: Mapping[str, int], seconds: float) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, count in health.counts().items():
        values[name.replace("_", " ") if name in EVENTS else f"frames {name}"] = count
    values["rate Hz"] = f"{new['answered'] / max(seconds, 1e-3):.1f}"
    values["last reason"] = health.last_reason
    for stage, taken in health.latencies().items():
        values |= {f"{stage} {name} ms": f"{ms:.2f}" for name, ms in taken.items() if ms is not None}
    return values


def _told_of(localiser: Localiser) -> dict[str, object]:
    return {
        "map": localiser.place_map.folder,
        "places": len(localiser.place_map),
        "device": localiser.engine.runs_on,
        "accepted above": f"{localiser.threshold:.4g}",
        "calibrated": str(localiser.calibration is not None).lower(),
        "prior": _source(localiser.prior),
        "places within reach": localiser.reached,
    }


def _source(prior: Prior | None) -> str:
    if prior is None:
        return "none"
    return "parameter" if prior.stamp is None else "topic"
