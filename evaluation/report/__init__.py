"""One set of cells, three files: `results.json`, `results.csv`, `report.html`."""

from evaluation.report.files import write_csv, write_json, write_report
from evaluation.report.page import render

__all__ = ["render", "write_csv", "write_json", "write_report"]
