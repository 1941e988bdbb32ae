"""The sections every report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quantserve.benchmarks.report import units
from quantserve.core.report.table import Section, Table
from quantserve.core.stats import QUANTILES, needed

_COUNTS = ", ".join(f"{name} takes {needed(q)} requests" for name, q in QUANTILES.items())
GLOSSARY = (
    ("TTFT", "time to first token: from sending the request to its first generated token"),
    (
        "TPOT",
        "time per output token after the first: (last token − first) / (tokens − those of the first chunk)",
    ),
    (
        "ITL",
        "inter-token latency: the same gap by gap, so that its tail shows stalls that TPOT averages away",
    ),
    ("E2E", "from sending the request to the last byte of its answer"),
    (
        "p50 … p99",
        "half, … 99 % of the requests were at least this fast. – where the sample does not carry it, because "
        f"its 95 % order-statistic interval ends outside: {_COUNTS}. ITL also takes a request in its tail, "
        "and gaps of one answer count together as far as they resemble each other",
    ),
    ("output tok/s", "generated tokens of successful requests / time from the first send to the last byte"),
    ("goodput", "requests per second that met every limit of the SLO"),
    (
        "[a, b]",
        "95 % interval: Student's t over the repeats for rates; order statistics, widened by a bootstrap "
        "over the repeats, for latencies",
    ),
)


VERDICTS = {
    "valid": ("VALID", "no check spoke against these figures."),
    "not valid": ("NOT VALID", "take these figures with the following in mind:"),
    "not known": ("NOT KNOWN", "nothing spoke against these figures, but not everything could be looked at:"),
}
"""The three verdicts as a reader sees them, each with what it means."""


def reasons(verdict: dict[str, Any]) -> list[str]:
    """The reasons against a run, one line for each kind, with the points it was seen at."""
    by_code: dict[str, list[dict[str, str]]] = {}
    for reason in verdict["reasons"]:
        by_code.setdefault(reason["code"], []).append(reason)
    lines = []
    for found in by_code.values():
        others = f" (likewise at {', '.join(r['point'] for r in found[1:])})" if len(found) > 1 else ""
        lines.append(f"{found[0]['point']}: {found[0]['text']}{others}")
    return lines


_SHOWN = {"ttft": ("p50", "p95", "p99"), "tpot": ("p50", "p95"), "itl": ("p99",), "e2e": ("p50", "p95")}


def results(points: Sequence[dict[str, Any]], slo: dict[str, Any]) -> Section:
    """Throughput and latency of every point."""
    goodput = any(value is not None for value in slo.values())
    columns = ["subject", "load", "requests", "failed", "output tok/s", "req/s"]
    columns += ["TTFT p50", "p95", "p99", "TPOT p50", "p95", "ITL p99", "E2E p50", "p95"]
    columns += (["good"] if goodput else []) + ["verdict"]
    several = len({point["workload"] for point in points}) > 1
    rows = []
    for p in points:
        f = p["figures"]
        subject = f"{p['subject']} · {p['workload']}" if several else p["subject"]
        row = [subject, p["load"], str(f["requests"]), units.failures(f)]
        row += [units.with_interval(f["output_tps"], f["output_tps_ci95"]), units.number(f["requests_ps"])]
        row += [units.ms(f["ttft"][q]) for q in ("p50", "p95", "p99")]
        row += [units.ms(f["tpot"]["p50"]), units.ms(f["tpot"]["p95"]), units.ms(f["itl"]["p99"])]
        row += [units.ms(f["e2e"]["p50"]), units.ms(f["e2e"]["p95"])]
        row += [units.percent(f["good_share"])] if goodput else []
        row.append(p["verdict"]["verdict"])
        rows.append(row)
    workloads = sorted({point["workload"] for point in points})
    text = f"Times in milliseconds. Workload: {'; '.join(workloads)}."
    return Section("Results", text, [Table("Results", columns, rows, too_few(points, _SHOWN))])


def too_few(points: Sequence[dict[str, Any]], shown: Mapping[str, Sequence[str]]) -> str:
    """Why percentiles of a table (by metric) are missing, in words; empty where none is."""
    missing = {
        name: point["figures"][metric]["too_few"][name]
        for point in points
        for metric, names in shown.items()
        for name in names
        if point["figures"][metric]["n"] and name in point["figures"][metric]["too_few"]
    }
    wanted = [f"{name} takes {missing[name]}" for name in sorted(missing)]
    return f"– is a percentile that too few requests carry: {', '.join(wanted)}" if wanted else ""


def brief(points: Sequence[dict[str, Any]]) -> Table:
    """The few columns that fit a terminal of eighty characters."""
    several = len({point["workload"] for point in points}) > 1
    columns = ["subject", "load", "ok", "bad", "tok/s", "TTFT", "TPOT", "E2E", "E2E p95"]
    rows = []
    for p in points:
        f = p["figures"]
        rows.append(
            [
                f"{p['subject']} · {p['workload']}" if several else p["subject"],
                p["load"],
                str(f["succeeded"]),
                str(f["failed"]),
                units.number(f["output_tps"]),
                units.ms(f["ttft"]["p50"]),
                units.ms(f["tpot"]["p50"]),
                units.ms(f["e2e"]["p50"]),
                units.ms(f["e2e"]["p95"]),
            ]
        )
    note = "medians in milliseconds; the report has the rest"
    few = too_few(points, {"ttft": ("p50",), "tpot": ("p50",), "e2e": ("p50", "p95")})
    return Table("Results", columns, rows, f"{note}; {few}" if few else note)


def server_side(points: Sequence[dict[str, Any]]) -> Section | None:
    """What the servers reported and used meanwhile; None when nothing is known."""
    columns = ["subject", "load", "running (mean / max)", "waiting max", "KV use max", "prefix hits"]
    columns += [
        "preemptions",
        "drafts accepted",
        "memory MiB",
        "server CPU",
        "GPU W",
        "client CPU",
        "other CPU",
    ]
    rows = []
    for p in points:
        s = p["server"]
        if not any(value is not None for name, value in s.items() if name != "client_cpu_share"):
            continue
        rows.append(
            [
                p["subject"],
                p["load"],
                f"{units.number(s['running_mean'])} / {units.number(s['running_max'])}",
                units.number(s["waiting_max"]),
                units.percent(s["kv_cache_use_max"]),
                units.percent(s["prefix_hit_share"]),
                units.number(s["preemptions"]),
                units.percent(s["draft_acceptance"]),
                units.mebibytes(s["memory_bytes_max"]),
                units.percent(s["server_cpu_share"]),
                units.number(s["gpu_power_w_mean"]),
                units.percent(s["client_cpu_share"]),
                units.percent(s["other_cpu_share"]),
            ]
        )
    if not rows:
        return None
    text = (
        "Sampled once a second from the server's /metrics, its process tree (proportional set size) and "
        "the machine. CPU is the share of all cores; “other” is what neither server nor client used."
    )
    return Section("Inside the server", text, [Table("Server", columns, rows)])


def failed(points: Sequence[dict[str, Any]], extra: dict[str, Any]) -> Section | None:
    """Subjects that did not start and requests that failed, with what they said."""
    rows = [[name, "did not start", "", why] for name, why in (extra.get("failed_subjects") or {}).items()]
    for p in points:
        for kind, example in p["figures"]["failure_examples"].items():
            rows.append(
                [p["subject"], p["load"], f"{p['figures']['failures'][kind]} × {kind}", example[:300]]
            )
    if not rows:
        return None
    text = "Failed requests are counted here and never enter a latency or a throughput."
    return Section(
        "Failures", text, [Table("Failures", ["subject", "load", "what", "in its own words"], rows)]
    )


def circumstances(
    config: dict[str, Any], environment: dict[str, Any], points: Sequence[dict[str, Any]]
) -> Section:
    """Hardware, versions, and how each server was started."""
    cpu = environment.get("cpu") or {}
    memory = environment.get("memory_bytes")
    rows = [
        ["command", str(config.get("command", ""))],
        ["seed", str(config.get("seed", ""))],
        ["CPU", f"{cpu.get('model')}, {cpu.get('cores')} cores, {', '.join(cpu.get('advertises') or [])}"],
        ["memory", units.UNKNOWN if memory is None else f"{memory / 2**30:.0f} GiB"],
        ["GPU", ", ".join(environment.get("gpus") or []) or "none"],
        ["software", f"Python {environment.get('python')}, Linux {environment.get('kernel')}"],
        ["source", str(environment.get("commit"))],
    ]
    servers = {p["subject"]: p["started_with"] for p in points}
    started = [
        [
            subject,
            units.number(info.get("ready_s")) if info.get("ready_s") else units.UNKNOWN,
            str(info.get("version") or units.UNKNOWN),
            " ".join(info.get("argv") or []) or "attached to a running server",
            " ".join(f"{k}={v}" for k, v in (info.get("env") or {}).items()) or units.UNKNOWN,
        ]
        for subject, info in servers.items()
    ]
    return Section(
        "Circumstances",
        "",
        [
            Table("Machine", ["what", "value"], rows),
            Table("Servers", ["subject", "ready after s", "version", "arguments", "environment"], started),
        ],
    )
