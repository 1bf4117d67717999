"""Findings over a sweep of factors: table, statistics, figure and page."""
