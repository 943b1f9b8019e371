"""`fastscnn-segment`, and what every command line of the project shares; nothing that robot code would import."""

__all__: list[str] = []
