"""The page of a run: one HTML file that tells a search, made from its trace. It knows no model."""

from streamt1.report.page import PAGE, write_report

__all__ = ["PAGE", "write_report"]
