"""Worked examples as TOML files; ``handgrad.worked`` reads them. Their form: docs/worked-examples.md."""
