"""The model card, `README.md`: what the artifact is, in the hub's form, with the figures measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from quantserve.quantize.artifact import Manifest
from quantserve.quantize.gate.judge.verdict import GateVerdict
from quantserve.quantize.models.download import HUB_ID
from quantserve.quantize.models.source import read_source


def card(directory: Path, manifest: Manifest, report: dict[str, Any]) -> str:
    """Return the card. What is not known, such as the licence of a local base, is left out."""
    return f"---\n{front_matter(manifest, report, _license(report)).to_yaml()}\n---\n\n" + body(
        manifest, report
    )


def front_matter(manifest: Manifest, report: dict[str, Any], license: str | None) -> ModelCardData:
    """Return the front matter: base, licence, quantization, and the gate's figures."""
    base = manifest.base.id if manifest.base else None
    on_hub = base is not None and HUB_ID.fullmatch(base) is not None
    figures = report["figures"]
    return ModelCardData(
        base_model=base if on_hub else None,
        base_model_relation="quantized" if on_hub else None,
        license=license.lower() if license else None,
        language=report["evaluation"]["judged"] or None,
        library_name="vllm",
        pipeline_tag="text-generation",
        tags=["quantized", manifest.method],
        quantization={"base": base, "method": manifest.method, "bits": manifest.bits, **_settings(manifest)},
        gate={
            "verdict": report["verdict"],
            **(
                {}
                if figures is None
                else {
                    "perplexity_ratio": round(figures["perplexity_ratio"]["value"], 4),
                    "mean_kl_nats": round(figures["mean_kl"]["value"], 4),
                    "top1_agreement": round(figures["top1_agreement"]["value"], 4),
                }
            ),
        },
    )


def body(manifest: Manifest, report: dict[str, Any]) -> str:
    """Return the text under the front matter."""
    base = manifest.base.id if manifest.base else "an unknown base"
    engine = report["environment"]["engine"] or "the serving engine"
    lines = [
        f"# {manifest.name}, {manifest.method} {'' if manifest.bits is None else f'{manifest.bits:g} bit'}",
        "",
        f"Quantized from {base} with quantserve; version `{manifest.version}`. The quality gate says "
        f"**{report['verdict']}** after {_seen(report)} in {engine} on "
        f"{report['environment']['processor']}.",
        "",
    ]
    lines += [f"- {reason}" for reason in report["reasons"]] + ([""] if report["reasons"] else [])
    if report["checks"]:
        lines += ["| figure | base | this | value (95 %) | limit |", "|---|---|---|---|---|"]
        lines += [
            f"| {c['name']} | {c['base']} | {c['candidate']} | {_cell(c['value'])} | {c['limit']} |"
            for c in report["checks"]
        ]
        lines += ["", report["speed"]["sentence"], ""]
    if manifest.calibration is not None:
        share = ", ".join(f"{value:.0%} {name}" for name, value in manifest.calibration.languages.items())
        lines += [
            f"Calibrated on {manifest.calibration.tokens:,} tokens of {manifest.calibration.source}"
            f"{f' ({share})' if share else ''}.",
            "",
        ]
    serve = "Serve it: `quantserve serving up DIRECTORY`, or any vLLM. "
    lines += [
        f"{serve if report['verdict'] == GateVerdict.ACCEPT else ''}The whole report is `report.json`, "
        "with plots in `report.html`.",
        "",
    ]
    return "\n".join(lines)


def _seen(report: dict[str, Any]) -> str:
    """Return what was done: an artifact that does not run is started alone."""
    return "base and artifact were measured" if report["figures"] else "the artifact was tried"


def _settings(manifest: Manifest) -> dict[str, Any]:
    names = ("group_size", "symmetric", "precision_override")
    return {name: manifest.parameters[name] for name in names if manifest.parameters.get(name)}


def _license(report: dict[str, Any]) -> str | None:
    found = read_source(Path(report["base"]["directory"])).get("license")
    return str(found) if found else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
