"""Show verdicts and figures from stored results: terminal, Markdown, JSON and an offline site. Nothing here trains."""
